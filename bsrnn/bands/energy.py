"""What bands hold: energy, overlap of stems, and inner products that add up to the waveforms'.

Conventions
    From spectra: of one's own STFT, sums over its bins and frames. From waveforms: Hann frames, a
    quarter of n_fft apart, with zeros at the ends; their squared windows add up to 1.5 everywhere,
    so Parseval holds exactly and the bands add up to sum x y over samples. A bin that several
    bands share is divided by their weights. Lessons 01, 04 and 09.
"""

import numpy as np

from bsrnn.bands.core import BandScheme, check_bins
from bsrnn.common import UsageError


def energy_per_band(scheme: BandScheme, spectrum: np.ndarray) -> np.ndarray:
    """Energy sum |X|^2 over bins and frames of each band: (..., F, T) -> (..., K) float64.

    A bin that bands share is divided by their weights, so the bands add up to the total energy
    of the covered bins. Lesson 01.

    >>> whole = BandScheme("whole", ((0, 3),), 8000, 4)
    >>> energy_per_band(whole, np.full((2, 3, 5), 2j)).tolist()
    [[60.0], [60.0]]
    """
    spectrum = np.asarray(spectrum)
    check_bins(scheme, spectrum)
    power = np.square(np.abs(spectrum), dtype=np.float64).sum(axis=-1)  # (..., F, T) -> (..., F)
    return power @ scheme.matrix.T.astype(np.float64)  # (..., F) -> (..., K)


def overlap_per_band(scheme: BandScheme, spectra: np.ndarray) -> np.ndarray:
    """How much stems sit in the same bins and frames of a band: (S, ..., F, T) -> (K, S, S).

    The cosine between magnitudes, sum |S_i| |S_j| / sqrt(sum |S_i|^2 sum |S_j|^2): 0 where no bin
    and frame holds both (a binary mask could part them), 1 where they are the same up to a gain.
    NaN with a stem that is silent in the band. Lesson 04.

    >>> whole = BandScheme("whole", ((0, 3),), 8000, 4)
    >>> overlap_per_band(whole, np.array([[[1, 0, 2j]], [[1, 1, 0]]]).swapaxes(1, 2)).round(3)[0, 0]
    array([1.   , 0.316])
    """
    magnitude = np.abs(np.asarray(spectra)).astype(np.float64)
    check_bins(scheme, magnitude)
    flat = np.moveaxis(magnitude, -2, 0)  # (S, ..., F, T) -> (F, S, ..., T)
    flat = flat.reshape(*flat.shape[:2], -1)  # (F, S, ... T)
    gram = flat @ flat.swapaxes(1, 2)  # (F, S, S)
    within = np.tensordot(scheme.matrix.astype(np.float64), gram, axes=1)  # (K, S, S)
    level = np.sqrt(np.diagonal(within, axis1=1, axis2=2))  # (K, S)
    both = level[:, :, None] * level[:, None]  # (K, S, S)
    return np.divide(within, both, out=np.full_like(within, np.nan), where=both > 0)


def gram_per_band(scheme: BandScheme, signals: np.ndarray) -> tuple:
    """Inner products of M waveforms in each band: (M, ..., L) -> (K, M, M), and (M, M) of the bins
    that no band covers. Their sum over the bands is that of the waveforms; the diagonal is energy.

    >>> x = np.random.default_rng(0).standard_normal((2, 1000))
    >>> within, outside = gram_per_band(BandScheme("whole", ((0, 33),), 8000, 64), x)
    >>> bool(np.allclose(within[0], x @ x.T)), outside.tolist()
    (True, [[0.0, 0.0], [0.0, 0.0]])
    """
    gram = _gram_per_bin(np.asarray(signals, np.float64), scheme.n_fft)  # (F, M, M)
    shares = scheme.matrix.astype(np.float64)  # (K, F)
    cover = shares.sum(axis=0)  # one on covered bins, to float32
    shares /= np.where(cover > 0, cover, 1.0)
    return np.tensordot(shares, gram, axes=1), gram[cover <= 0].sum(axis=0)


def _gram_per_bin(signals, n_fft: int) -> np.ndarray:
    """(M, ..., L) -> (F, M, M); the sum over bins is that over samples."""
    hop = n_fft // 4
    if hop * 4 != n_fft:
        raise UsageError(f"n_fft {n_fft} is not a multiple of 4: use 1024, 2048, 4096 ...")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    count, length = len(signals), signals.shape[-1]
    gram = np.zeros((n_fft // 2 + 1, count, count))
    for channel in signals.reshape(count, -1, length).swapaxes(0, 1):  # (M, L)
        padded = np.pad(channel, ((0, 0), (n_fft, n_fft + -length % hop)))
        frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=-1)
        frames = frames[:, ::hop]  # (M, L) -> (M, T, n_fft)
        step = max(1, 256 // count)  # so many frames at once: bounded memory
        for block in range(0, frames.shape[1], step):
            spectrum = np.fft.rfft(frames[:, block : block + step] * window)  # (M, T, F)
            parts = np.concatenate((spectrum.real, spectrum.imag), axis=1)  # (M, 2T, F)
            parts = np.ascontiguousarray(parts.transpose(2, 0, 1))  # (F, M, 2T)
            gram += parts @ parts.swapaxes(1, 2)  # (F, M, M)
    gram[1:-1] *= 2  # the bins between 0 and Nyquist stand for two
    return gram / (1.5 * n_fft)
