"""bsrnn: band-split source separation, taught, exact and fast.

`import bsrnn` is light: it loads neither torch nor numpy. Rooms are imported when first used,
so `bsrnn.bands.scheme("v7")` needs numpy only, and `bsrnn.load(...)` brings in torch. Import it
before torch, so that `bsrnn.threads` can settle how torch's threads wait for each other.

Conventions (the whole repository):
    B batch, S stems, C channels, L samples, F bins, T frames, K bands, W bins in a band,
    N features.
    Waveforms are (..., C, L) float32; separators map (B, C, L) to (B, S, C, L).
"""

import importlib
import importlib.abc
import importlib.machinery
import sys

import lazy_loader

from bsrnn import threads

__version__ = "0.1.0"

ROOMS = (
    "audio", "bands", "models", "data", "separation", "evaluation", "training", "plots", "explore",
    "experiments", "course", "cli",
)  # fmt: skip
# Names of the front door: modules of rooms under the names that users know.
DOORS = {
    "stft": "audio", "loudness": "audio", "listen": "audio", "distort": "audio",
    "design": "bands",
    "cost": "models", "benchmark": "models", "deploy": "models.zoo",
    "masks": "evaluation", "metrics": "evaluation", "leakage": "evaluation",
    "ledger": "evaluation", "complexity": "evaluation",
    "losses": "training",
}  # fmt: skip


class _Doors(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """`import bsrnn.cost` gives the very module `bsrnn.models.cost`."""

    def find_spec(self, name, path=None, target=None):
        package, _, door = name.rpartition(".")
        known = package == __name__ and door in DOORS
        return importlib.machinery.ModuleSpec(name, self) if known else None

    def create_module(self, spec):
        door = spec.name.rpartition(".")[2]
        module = importlib.import_module(f"{__name__}.{DOORS[door]}.{door}")
        self.kept = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = self.kept  # importing put the door's in its place


sys.meta_path.append(_Doors())
threads.watch()

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str):
    if name in DOORS:
        return importlib.import_module(f"{__name__}.{DOORS[name]}.{name}")
    return _load(name)
