"""The course: run lessons strictly, check their outputs, stamp badges, grade.

A lesson itself uses `begin`, `show`, `attempt`, `folder` and `write_card`; they import lightly.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
