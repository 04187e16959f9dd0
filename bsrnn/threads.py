"""How many threads of torch train a network, and how they wait for each other.

After every operation OpenMP's threads wait for the slowest. By default they spin meanwhile, which
is best on an idle machine; beside other work they hold the cores that the slowest needs, and small
networks train several times slower (`python tests/busy.py` shows both cases).

How they wait is decided in the moment before torch is loaded, by the load of the machine. How many
there are decides the order of sums, and with it the last bit of a result: so it depends on the size
of the network, and never on what else the machine does.
"""

import contextlib
import importlib.abc
import os
import sys
import time
from pathlib import Path

SMALL = 200_000  # weights of a network that is trained on one thread
_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # a user's own decision, as are these:
_OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_LOOKS = 8
_BETWEEN_S = 0.01


def others() -> float:
    """How many threads of other processes want to run now, as a mean over some looks.

    Linux counts them; elsewhere 0 (OpenMP of macOS and Windows stops spinning by itself).
    """
    total = 0
    for _ in range(_LOOKS):
        try:
            running = Path("/proc/loadavg").read_text().split()[3].partition("/")[0]
        except OSError:
            return 0.0
        total += int(running) - 1  # without the thread that reads this
        time.sleep(_BETWEEN_S)
    return total / _LOOKS


def settle() -> None:
    """Have OpenMP's threads sleep while they wait, if other work wants half of the cores.

    An environment variable, read when OpenMP is loaded; one that a user has set is respected.
    """
    if any(name in os.environ for name in _OWN):
        return
    if others() >= (os.cpu_count() or 1) / 2:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


@contextlib.contextmanager
def suited(network):
    """One thread of torch meanwhile, if `network` has few weights: a second one gains it little
    where the machine is idle, and costs it most of its speed where it is not."""
    import torch

    before = torch.get_num_threads()
    weights = sum(weight.numel() for weight in network.parameters())
    if weights < SMALL and not any(name in os.environ for name in _COUNTS):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _BeforeTorch(importlib.abc.MetaPathFinder):
    """Finds nothing; it is asked first, so that it sees torch coming, whoever imports it."""

    def find_spec(self, name, path=None, target=None):
        if name == "torch" and self in sys.meta_path:
            sys.meta_path.remove(self)
            settle()


def watch() -> None:
    """Settle when torch is imported. Whatever imports bsrnn before torch is served: commands,
    lessons' kernels, workers of sweeps and of training."""
    if "torch" not in sys.modules:
        sys.meta_path.insert(0, _BeforeTorch())
