"""Other people's networks and weights: families of checkpoints, baselines, D3Net, export."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
