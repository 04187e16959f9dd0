"""Widgets: thin controls over the pure functions of the package. They compute nothing themselves.

Each widget has a static twin: the function that it calls is public, and its lesson shows it first.
All but the band instrument, which is JavaScript and needs no kernel, are made of core ipywidgets
(7.7 to 8); none needs a network, and every control has a label and works from the keyboard.
Lessons 01 to 15.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
