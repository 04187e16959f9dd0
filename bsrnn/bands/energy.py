"""What bands hold: energy, and inner products that add up to the waveforms'.

A bin that several bands share is divided by their weights, so that the bands add up to what their
bins hold. Lessons 01, 04 and 09.
"""

import numpy as np

from bsrnn.bands import frames
from bsrnn.bands.core import BandScheme, check_bins
from bsrnn.common import UsageError


def energy_per_band(scheme: BandScheme, spectrum: np.ndarray) -> np.ndarray:
    """Energy sum |X|^2 over bins and frames of each band: (..., F, T) -> (..., K) float64.

    >>> whole = BandScheme("whole", ((0, 3),), 8000, 4)
    >>> energy_per_band(whole, np.full((2, 3, 5), 2j)).tolist()
    [[60.0], [60.0]]
    """
    spectrum = np.asarray(spectrum)
    check_bins(scheme, spectrum)
    power = np.square(np.abs(spectrum), dtype=np.float64).sum(axis=-1)  # (..., F, T) -> (..., F)
    return power @ scheme.matrix.T.astype(np.float64)  # (..., F) -> (..., K)


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
    """(M, ..., L) -> (F, M, M); the sum over bins is that over samples.

    Hann frames, a quarter of n_fft apart, zeros at the ends: their squared windows add up to 1.5
    everywhere, so Parseval holds exactly.
    """
    hop = n_fft // 4
    if hop * 4 != n_fft:
        raise UsageError(f"n_fft {n_fft} is not a multiple of 4: use 1024, 2048, 4096 ...")
    count, length = len(signals), signals.shape[-1]
    gram = np.zeros((n_fft // 2 + 1, count, count))
    step = max(1, 256 // count)  # so many frames at once: bounded memory
    for channel in signals.reshape(count, -1, length).swapaxes(0, 1):  # (M, L)
        padded = np.pad(channel, ((0, 0), (n_fft, n_fft + -length % hop)))
        for block in range(0, padded.shape[-1] - n_fft + 1, step * hop):
            part = padded[:, block : block + n_fft + (step - 1) * hop]
            spectrum = frames.spectra(part, frames.hann(n_fft), hop)  # (M, T, F)
            parts = np.concatenate((spectrum.real, spectrum.imag), axis=1)  # (M, 2T, F)
            parts = np.ascontiguousarray(parts.transpose(2, 0, 1))  # (F, M, 2T)
            gram += parts @ parts.swapaxes(1, 2)  # (F, M, M)
    gram[1:-1] *= 2  # the bins between 0 and Nyquist stand for two
    return gram / (1.5 * n_fft)
