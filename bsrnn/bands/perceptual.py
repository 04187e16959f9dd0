"""Overlapping bands of BandIt (Bark, ERB, Mel, Musical, TriBark) and Mel-RoFormer, for any K.

Each family is a filterbank (K, F) of non-negative numbers, whose columns are divided by their sums.
Whether the Nyquist bin belongs to the last triangle hangs on float32 rounding of the highest point,
and parameter counts hang on that: so the triangles keep the single precision of the publication,
the other families its double precision. Mel as in Slaney, "Auditory Toolbox", 1998. Lesson 04.
"""

from functools import partial

import numpy as np

from bsrnn.bands.core import BandScheme, check_count
from bsrnn.common import UsageError

BANDIT = "BandIt (arXiv 2309.02539, III-B)"
MEL_ROFORMER = "Mel-Band RoFormer (arXiv 2310.01809)"
ERB_SCALE = 1000 * np.log(10) / (24.7 * 4.37)  # Glasberg and Moore 1990


def _linspace32(start: float, stop: float, n: int) -> np.ndarray:
    """n float32 steps counted from both ends, as torch.linspace does: the ends are exact, and each
    product is added before it is rounded (the doubles here stand for that fused operation)."""
    start, stop = np.float32(start), np.float32(stop)
    step = np.float64((stop - start) / np.float32(n - 1))
    i = np.arange(n)
    return np.where(i < n // 2, start + step * i, stop - step * (n - 1 - i)).astype(np.float32)


def _triangles(points_hz: np.ndarray, sample_rate: int, n_fft: int) -> np.ndarray:
    """Triangles (K, F) between K + 2 points, float32."""
    f = _linspace32(0, sample_rate // 2, n_fft // 2 + 1)[None]  # (1, F)
    p = points_hz.astype(np.float32)[:, None]  # (K + 2, 1)
    width = np.diff(p, axis=0)
    rise = (f - p[:-2]) / width[:-1]  # (K, F)
    fall = (p[2:] - f) / width[1:]  # (K, F)
    return np.maximum(np.float32(0), np.minimum(rise, fall))


def _mel(k: int, sample_rate: int, n_fft: int) -> np.ndarray:
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    m = _linspace32(0, top, k + 2)
    bank = _triangles(700 * (_power10(m / np.float32(2595)) - 1), sample_rate, n_fft)  # (K, F)
    bank[0, 0] = 1  # no triangle reaches 0 Hz
    return bank


def _erb(k: int, sample_rate: int, n_fft: int) -> np.ndarray:
    top = ERB_SCALE * np.log10(1 + 0.00437 * sample_rate / 2)
    e = _linspace32(0, top, k + 2)
    points = (_power10(e / np.float32(ERB_SCALE)) - 1) / np.float32(0.00437)
    return _fill_below_lowest(_triangles(points, sample_rate, n_fft))


def _tribark(k: int, sample_rate: int, n_fft: int) -> np.ndarray:
    z = _linspace32(0, 6 * np.arcsinh(sample_rate / 2 / 600), k + 2)
    sinh = np.sinh((z / np.float32(6)).astype(np.float64)).astype(np.float32)
    return _fill_below_lowest(_triangles(np.float32(600) * sinh, sample_rate, n_fft))


def _power10(x: np.ndarray) -> np.ndarray:
    """10**x, correctly rounded to float32: the single-precision power differs between machines."""
    return (10.0 ** x.astype(np.float64)).astype(np.float32)


def _fill_below_lowest(bank: np.ndarray) -> np.ndarray:
    lowest = int(np.flatnonzero(bank.any(axis=1))[0])
    bank[lowest, : int(np.flatnonzero(bank[lowest])[0])] = 1
    return bank


def _bark(k: int, sample_rate: int, n_fft: int, floor: float = 0.0) -> np.ndarray:
    """Wang's asymmetric Bark filters; bin i is taken at i * sample_rate / (n_fft + 1), so the last
    bin stays outside. Values below `floor` are zeroed."""
    centres = np.linspace(0, 6 * np.arcsinh(sample_rate / 2 / 600), k)[:, None]  # (K, 1)
    stop = int((n_fft + 1) * 600 * np.sinh(centres[-1, 0] / 6) / sample_rate)
    f = np.arange(min(stop, n_fft // 2 + 1)) * sample_rate / (n_fft + 1)
    d = 6 * np.arcsinh(f / 600)[None] - centres  # (K, stop)
    value = np.where(d <= -0.5, 10 ** (2.5 * (d + 0.5)), np.where(d < 0.5, 1, 10 ** (0.5 - d)))
    value[(d < -1.3) | (d > 2.5) | (value < floor)] = 0
    bank = np.zeros((k, n_fft // 2 + 1))  # (K, F)
    bank[:, : value.shape[1]] = value
    return bank


def _musical(k: int, sample_rate: int, n_fft: int) -> np.ndarray:
    """Rectangles around K equal steps of pitch from bin 1 to Nyquist, one step to either side."""
    step_hz, top = sample_rate / n_fft, sample_rate / 2
    ratio = 2 ** (np.log2(top / step_hz) / k)
    low_midi, high_midi = (12 * (np.log2(f) - np.log2(440.0)) + 69 for f in (step_hz, top))
    centres = 440 * 2 ** ((np.linspace(max(0, low_midi), high_midi, k) - 69) / 12)
    low = np.floor(centres / ratio / step_hz).astype(int)
    high = np.ceil(centres * ratio / step_hz).astype(int)
    bank = np.zeros((k, n_fft // 2 + 1))  # (K, F)
    for row, lo, hi in zip(bank, low, high, strict=True):
        row[lo : hi + 1] = 1
    bank[0, : low[0]] = 1
    bank[-1, high[-1] + 1 :] = 1
    return bank


def _mel_roformer(k: int, sample_rate: int, n_fft: int) -> np.ndarray:
    """Slaney mel bands as yes or no; 0 Hz and Nyquist are forced into the first and last band."""
    knee, log_step = 1000.0, np.log(6.4) / 27  # 15 mel at 1 kHz, linear below, logarithmic above
    top = sample_rate / 2
    top_mel = 3 * top / 200 if top < knee else 15 + np.log(top / knee) / log_step
    m = np.linspace(0, top_mel, k + 2)
    points = np.where(m < 15, 200 * m / 3, knee * np.exp(log_step * (m - 15)))[:, None]
    f = np.arange(n_fft // 2 + 1)[None] * sample_rate / n_fft  # (1, F)
    bank = ((f > points[:-2]) & (f < points[2:])).astype(float)  # (K, F)
    bank[0, 0] = bank[-1, -1] = 1
    return bank


FAMILIES = {
    "bark": (_bark, BANDIT),
    "erb": (_erb, BANDIT),
    "mel": (_mel, BANDIT),
    "musical": (_musical, BANDIT),
    "tribark": (_tribark, BANDIT),
    "minibark": (partial(_bark, floor=0.5**0.5), BANDIT),  # in its code, in no configuration
    "mel-roformer": (_mel_roformer, MEL_ROFORMER),
}


def build(family: str, k: int, sample_rate: int, n_fft: int) -> BandScheme:
    """The scheme f"{family}{k}": bands without a bin are dropped (as BandIt does) and noted."""
    name, bins = f"{family}{k}", n_fft // 2 + 1
    check_count(name, k, n_fft, least=2)
    make, source = FAMILIES[family]
    bank = make(k, sample_rate, n_fft)  # (K, F)
    total = bank.sum(axis=0, keepdims=True)  # (1, F)
    share = np.divide(bank, total, out=np.zeros_like(bank), where=total > 0)
    kept = [(np.flatnonzero(row)[[0, -1]] + [0, 1], row) for row in share if row.any()]
    kept.sort(key=lambda pair: pair[0][0])  # stable: only a dropped-in lowest band can move
    dropped = k - len(kept)
    uncovered = np.flatnonzero(total[0] == 0)
    top = max(hi for (_, hi), _ in kept)
    if len(uncovered) and (uncovered[0] < top or len(uncovered) > max(1, bins // 100)):
        raise UsageError(
            f"{name} leaves {len(uncovered)} of {bins} bins without a band at n_fft {n_fft}: "
            f"choose {'fewer' if dropped else 'more'} bands"
        )
    notes = [f"{dropped} of {k} bands hold no bin at n_fft {n_fft}: dropped"] if dropped else []
    if len(uncovered):
        notes.append(f"bins {uncovered[0]} to {bins - 1} belong to no band, as published")
    weights = [row[lo:hi] for (lo, hi), row in kept]
    return BandScheme(
        name, [span for span, _ in kept], sample_rate, n_fft, weights, rounding="filterbank",
        uncovered=uncovered, source=source, notes=notes,
    ).validate()  # fmt: skip
