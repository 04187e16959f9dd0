"""Short-time spectra of numpy arrays in double precision: what measurements stand on. Lesson 02."""

import numpy as np


def hann(n_fft: int) -> np.ndarray:
    """The periodic Hann window (n_fft,), float64."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)


def spectra(signals, window, hop: int) -> np.ndarray:
    """Spectra (..., T, F) of signals (..., L): frame t is signals[t * hop :] times the window.

    No padding: whole frames only.

    >>> spectra(np.ones(16), np.ones(8), 4)[:, 0].real.tolist()
    [8.0, 8.0, 8.0]
    """
    frames = np.lib.stride_tricks.sliding_window_view(signals, len(window), axis=-1)
    return np.fft.rfft(frames[..., ::hop, :] * window)  # (..., T, n_fft) -> (..., T, F)


def centred(waveform, n_fft: int) -> np.ndarray:
    """Spectrum (C, F, T) complex128 of a waveform (C, L), as `bsrnn.stft` at hop n_fft / 4.

    Frames are centred on multiples of the hop, the ends mirrored; what is too short to mirror gets
    zeros behind it.

    >>> centred(np.ones((2, 2048)), 512).shape
    (2, 257, 17)
    """
    waveform = np.asarray(waveform, np.float64)
    missing = max(0, n_fft // 2 + 1 - waveform.shape[-1])
    padded = np.pad(waveform, ((0, 0), (0, missing)))
    padded = np.pad(padded, ((0, 0), (n_fft // 2, n_fft // 2)), mode="reflect")
    return spectra(padded, hann(n_fft), n_fft // 4).swapaxes(1, 2)  # (C, T, F) -> (C, F, T)
