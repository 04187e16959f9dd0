"""The band-constrained oracle: the best mask that a scheme allows, by least squares. Numpy only.

Inside each band a mask may only be a combination of few shapes; the coefficients v minimise
sum |S - X sum_p v_p shape_p|^2 over the bins, per channel and frame (normal equations G v = r with
G = shapes |X|^2 shapes', r = shapes (X* S)). Bands that overlap are solved together. Bins outside
all bands get 0; so does a band where the mixture is silent. Lessons 03 and 04.
"""

import numpy as np

from bsrnn.bands.core import check_bins
from bsrnn.common import UsageError

RIDGE = 1e-14  # of the mean energy of the shapes, added to it: silent bands become solvable


def systems(scheme, mode="frame") -> list:
    """What is solved apart: (lo, hi, shapes (P, W)) for the bins [lo, hi), float64.

    mode: "frame" and "static" have one shape per band, an integer r has r cosines.

    >>> from bsrnn.bands import equal
    >>> [(lo, hi, shapes.shape) for lo, hi, shapes in systems(equal(2, 8000, 16), 3)]
    [(0, 4, (3, 4)), (4, 9, (3, 5))]
    """
    rank = 1 if mode in ("frame", "static") else mode
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise UsageError(f"mode {mode!r}: give 'frame', 'static' or the number of shapes per band")
    parts = []
    for k, (lo, hi) in enumerate(scheme.ranges):
        order = np.arange(min(rank, hi - lo))[:, None]  # (P, 1)
        cosines = np.cos(np.pi * order * (np.arange(hi - lo) + 0.5) / (hi - lo))  # (P, W)
        parts.append((lo, hi, scheme.matrix[k, lo:hi] * cosines))
    if not scheme.overlapping:
        return parts
    wide = [np.pad(shapes, ((0, 0), (lo, scheme.bins - hi))) for lo, hi, shapes in parts]
    return [(0, scheme.bins, np.concatenate(wide))]  # neighbours influence each other: one system


def solve(shapes, power, cross) -> tuple:
    """Coefficients (S, C, P, T) of one system, and the energy (S,) of each stem that they explain.

    shapes (P, W); power |X|^2 (C, W, T); cross X* S (S, C, W, T), its real part for real masks.
    """
    right = shapes @ cross  # (P, W) @ (S, C, W, T) -> (S, C, P, T)
    if len(shapes) == 1:  # one unknown: a division
        gram = np.square(shapes) @ power  # (C, 1, T)
        values = np.divide(right, gram, out=np.zeros_like(right), where=gram > 0)
    else:
        columns = np.concatenate((right.real, right.imag)).transpose(1, 3, 2, 0)  # (C, T, P, 2S)
        gram = _gram(shapes, power)  # (C, T, P, P)
        level = np.trace(gram, axis1=-2, axis2=-1)[..., None, None] / len(shapes)
        level = np.where(level > np.finfo(np.float32).tiny, level, 1)  # silence: nothing to solve
        solved = np.linalg.solve(gram / level + RIDGE * np.eye(len(shapes)), columns / level)
        real, imaginary = np.split(solved.transpose(3, 0, 2, 1), 2)  # (C, T, P, 2S) -> (S, C, P, T)
        values = real + 1j * imaginary if np.iscomplexobj(right) else real
    return values, (right.conj() * values).real.sum(axis=(1, 2, 3))


def _gram(shapes, power) -> np.ndarray:
    """Normal equations (C, T, P, P); only shapes that share bins are multiplied."""
    count, (channels, bins, frames) = len(shapes), power.shape
    gram = np.zeros((channels, frames, count, count))
    low = (shapes != 0).argmax(axis=1)
    high = bins - (shapes[:, ::-1] != 0).argmax(axis=1)
    for i in range(count):
        for j in range(i, count):
            shared = slice(max(low[i], low[j]), min(high[i], high[j]))
            product = shapes[i, shared] * shapes[j, shared]
            if product.any():
                gram[..., i, j] = gram[..., j, i] = product @ power[:, shared]  # (C, T)
    return gram


def masks(scheme, stems, mixture, mode="frame", real: bool = False) -> np.ndarray:
    """Best masks (S, C, F, T) for spectra `stems` (S, C, F, T) and `mixture` (C, F, T).

    mode="frame": one value per band and frame, "static": one value per band for the whole signal,
    an integer r: in every frame a combination of r cosines across the band (r = 1 is "frame", r as
    large as the widest band is full resolution). real=True allows real masks only.
    """
    check_bins(scheme, mixture)
    made = np.zeros(stems.shape, stems.real.dtype if real else stems.dtype)
    for lo, hi, shapes in systems(scheme, mode):
        power, cross = products(stems[..., lo:hi, :], mixture[..., lo:hi, :])
        if mode == "static":  # T -> 1
            power, cross = power.sum(-1, keepdims=True), cross.sum(-1, keepdims=True)
        values, _ = solve(shapes, power, cross.real if real else cross)  # (S, C, P, T)
        made[..., lo:hi, :] = shapes.T @ values  # (S, C, W, T)
    return made


def products(stems, mixture) -> tuple:
    """|X|^2 (C, F, T) float64 and X* S (S, C, F, T) complex128 of spectra."""
    mixture = mixture.astype(np.complex128)
    return np.square(np.abs(mixture)), mixture.conj() * stems
