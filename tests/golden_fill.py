"""The fill rule of the golden fixtures: weights and inputs follow from a seed and a name.

Each .npz of tests/golden holds numbers that a public implementation gave for made-up weights.
A tensor is drawn from RandomState(crc32("<seed>/<name>")); with two or more axes it is divided by
the root of the product of all axes but the first, else it is 1 + 0.1 x for a gain, 0.1 x for the
rest; `exceptions` list [a, b] for a + b x.
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden"


def draw(seed, name, shape):
    """Standard normal numbers of one name."""
    return np.random.RandomState(zlib.crc32(f"{seed}/{name}".encode())).standard_normal(shape)


def fill(seed, name, shape, exceptions):
    """One tensor by the rule above."""
    x = draw(seed, name, shape).astype(np.float32)
    if name in exceptions:
        x = exceptions[name][0] + exceptions[name][1] * x
    elif len(shape) >= 2:
        x = x / math.sqrt(math.prod(shape[1:]))
    elif name.endswith(("weight", "gamma")):
        x = 1 + 0.1 * x
    else:
        x = 0.1 * x
    return torch.from_numpy(np.asarray(x, dtype=np.float32))


class Fixture:
    """One golden file: .meta, .state (the original's names), .mixture (B, C, L), .expected."""

    def __init__(self, path):
        with np.load(path) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}
        self.meta = meta = json.loads(str(self.arrays.pop("meta")))
        seed, exceptions = meta.get("seed"), meta.get("exceptions", {})
        aliases = dict(meta.get("aliases", {}))
        if isinstance(exceptions, list):  # RoFormers: [name, shape, "alias of <name>"]
            aliases.update({name: text.removeprefix("alias of ") for name, _, text in exceptions})
            exceptions = {}
        self.state = {
            name: fill(seed, name, shape, exceptions) for name, shape in meta.get("filled", [])
        }
        self.state.update({second: self.state[first] for second, first in aliases.items()})
        if "input_shape" in meta:
            mixture = 0.1 * draw(seed, "mix", meta["input_shape"])
            self.mixture = torch.from_numpy(mixture.astype(np.float32))
        self.expected = self.arrays.get("output")

    @property
    def limit(self):
        """Largest absolute difference allowed."""
        tolerance = self.meta["tolerance"]
        if "max_abs" in tolerance:
            return tolerance["max_abs"]
        return tolerance["max_abs_error_over_peak"] * np.abs(self.expected).max()

    def error(self, waveforms, expected=None):
        """Largest difference between (B, S, C, L) and the stored samples, every 16th."""
        expected = self.expected if expected is None else expected
        got = waveforms.detach().numpy()[..., ::16]
        if expected.ndim == 3:  # (B, C, L): the original drops the axis of a single stem
            expected = expected[:, None]
        assert got.shape[:-1] == expected.shape[:-1], (got.shape, expected.shape)
        return np.abs(got[..., : expected.shape[-1]] - expected).max()
