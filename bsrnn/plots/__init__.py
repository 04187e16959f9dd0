"""Figures: data in, Figure out. Every function returns a figure with titles, units and words.

`bsrnn.plots.spectrogram(...)` finds its function in the rooms below on first use, so importing
this package costs nothing. Signals: `signals`; band schemes: `schemes`; results: `results`;
published results: `ledger`; inside a network: `models`; boxes and arrows: `diagrams`;
songs of an evaluation, seen, heard and as a page: `tracks`, `page`;
colours, sizes and alt text: `style`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
