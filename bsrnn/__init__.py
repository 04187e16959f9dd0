"""bsrnn: band-split source separation, taught, exact and fast.

`import bsrnn` is light: it loads neither torch nor numpy. Rooms are imported when first used,
so `bsrnn.bands.scheme("v7")` needs numpy only, and `bsrnn.load(...)` brings in torch.

Conventions (the whole repository):
    B batch, S stems, C channels, L samples, F bins, T frames, K bands, W bins in a band,
    N features.
    Waveforms are (..., C, L) float32; separators map (B, C, L) to (B, S, C, L).
"""

import importlib

__version__ = "0.1.0"

_ROOMS = (
    "audio", "stft", "bands", "masks", "design", "losses", "metrics", "loudness", "distort",
    "models", "deploy", "cost", "complexity", "data", "training", "separation", "evaluation",
    "benchmark", "ledger", "plots", "listen", "explore", "course", "sweep", "cli",
)  # fmt: skip
_SHORTCUTS = {
    "load": "models",
    "save": "models",
    "separate": "separation",
    "separate_file": "separation",
}

__all__ = [*_ROOMS, *_SHORTCUTS, "__version__"]


def __getattr__(name: str):
    if name in _SHORTCUTS:
        return getattr(importlib.import_module(f"bsrnn.{_SHORTCUTS[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"bsrnn.{name}")
    raise AttributeError(f"module 'bsrnn' has no attribute {name!r}; rooms: {', '.join(_ROOMS)}")


def __dir__():
    return sorted(__all__)
