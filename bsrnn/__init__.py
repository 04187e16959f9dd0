"""bsrnn: band-split source separation, taught, exact and fast.

`import bsrnn` is light: it loads neither torch nor numpy. Rooms are imported when first used,
so `bsrnn.bands.scheme("v7")` needs numpy only, and `bsrnn.load(...)` brings in torch.

Conventions (the whole repository):
    B batch, S stems, C channels, L samples, F bins, T frames, K bands, W bins in a band,
    N features.
    Waveforms are (..., C, L) float32; separators map (B, C, L) to (B, S, C, L).
"""

from bsrnn.lazy import attach

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {"models": ("load", "save"), "separation": ("separate", "separate_file")},
    rooms=(
        "audio", "stft", "bands", "masks", "design", "losses", "metrics", "loudness", "distort",
        "models", "deploy", "cost", "complexity", "data", "training", "separation", "evaluation",
        "benchmark", "ledger", "plots", "listen", "explore", "course", "sweep", "cli",
    ),
    more=("__version__",),
)  # fmt: skip
