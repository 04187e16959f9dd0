"""Metrics of the community's leaderboards that look at spectra. Numpy and scipy only.

s the reference, e the estimate, x the mixture, all (C, L); higher is better. |S|, |E|: magnitudes
of their short-time spectra. Four of the five are 100 / (1 + distance) and do not see phases.

References: l1_freq, bleedless, fullness and mr_stft as in github ZFTurbo/Music-Source-Separation-
Training, utils/metrics.py at 2127d5e (mr_stft: Steinmetz and Reiss 2020, auraloss 0.4.0); log_wmse:
github nomonosound/log-wmse-audio-quality, with the energies of crlandsc/torch-log-wmse 1.1.0.
Lesson 06.
"""

from functools import lru_cache

import numpy as np

from bsrnn.audio.arrays import checked_pair
from bsrnn.bands.frames import hann, spectra
from bsrnn.common import UsageError

_BLOCK = 1 << 18  # samples of frames at once: bounded memory
_HEARING_HZ = 44100  # the weights of log_wmse were designed at this rate
_EPSILON = 1e-8  # of log_wmse and of auraloss


def l1_freq(reference, estimate) -> float:
    """100 / (1 + 10 mean of ||E| - |S||), frames of 2048 samples every 1024, without a window.

    It is not free of level: the same error 20 dB lower scores better.

    >>> s = np.sin(np.arange(8192) / 9)[None]
    >>> l1_freq(s, s), l1_freq(0.1 * s, 0.05 * s) > l1_freq(s, 0.5 * s)
    (100.0, True)
    """
    total, count = 0.0, 0
    pair = np.stack(checked_pair(reference, estimate))  # (2, C, L)
    for s, e in _magnitudes(pair, 1024, np.ones(2048), "reflect"):
        total, count = total + np.abs(e - s).sum(), count + s.size
    return float(100 / (1 + 10 * total / count))


def bleedless(reference, estimate, sample_rate: int) -> float:
    """100 / (1 + mean excess in dB), over the mel bins where the estimate is above the reference.

    512 mel bands, frames of 4096 samples every 1024, levels at most 80 dB below the highest. A
    silent estimate has no bleeding and gets 100; see `fullness`.
    """
    return _of_levels(reference, estimate, sample_rate, 1)


def fullness(reference, estimate, sample_rate: int) -> float:
    """100 / (1 + mean lack in dB), over the mel bins where the estimate is below the reference.

    As `bleedless`. Bins that lack nothing do not count, so a little lack everywhere dilutes a hole.
    """
    return _of_levels(reference, estimate, sample_rate, -1)


def _of_levels(reference, estimate, sample_rate, sign: int) -> float:
    """100 / (1 + mean of what the estimate's mel levels have above (1) or below (-1) the others)"""
    pair = np.stack(checked_pair(reference, estimate))  # (2, C, L)
    filters = _mel(sample_rate, 4096, 512)  # (F, 512)
    blocks = [block @ filters for block in _magnitudes(pair, 1024, hann(4096), "constant")]
    levels = 20 * np.log10(np.maximum(np.concatenate(blocks, axis=2), 1e-10))  # (2, C, T, 512)
    highest = levels.max(axis=(1, 2, 3), keepdims=True)
    s, e = np.maximum(levels, highest - 80)
    excess_db = sign * (e - s)
    excess_db = excess_db[excess_db > 0]
    return float(100 / (1 + (excess_db.mean() if excess_db.size else 0.0)))


def mr_stft(reference, estimate, sample_rate: int) -> float:
    """100 / (1 + 10 distance), the mean over frames of 1024, 2048 and 4096 samples (Hann, a quarter
    apart) of ||E - S|| / ||E|| + mean of |ln E - ln S|, on 128 mel bands after A-weighting.

    E stands in the denominator, so that too loud an estimate costs less than too quiet a one.
    """
    from scipy.signal import oaconvolve

    taps = _a_weighting(sample_rate)[None, None]
    pair = np.stack(checked_pair(reference, estimate))  # (2, C, L)
    pair = oaconvolve(pair, taps, mode="same", axes=-1)
    distances = []
    for n_fft in (1024, 2048, 4096):
        filters = _mel(sample_rate, n_fft, 128)  # (F, 128)
        error = energy = logarithms = count = 0.0
        for block in _magnitudes(pair, n_fft // 4, hann(n_fft), "reflect"):
            s, e = np.sqrt(np.maximum(block**2, _EPSILON)) @ filters  # (C, T, 128)
            error += np.square(e - s).sum()
            energy += np.square(e).sum()
            logarithms += np.abs(np.log(e / s)).sum()
            count += s.size
        distances.append(np.sqrt(error / energy) + logarithms / count)
    return float(100 / (1 + 10 * np.mean(distances)))


def log_wmse(reference, estimate, mixture, sample_rate: int) -> float:
    """-4 ln(|h * (e - s)|^2 / |h * x|^2 + 1e-8), mean over channels; h weighs as hearing does.

    A silent reference has a value, too. An exact estimate gets 73.7. UsageError at other rates than
    44.1 kHz.
    """
    from scipy.fft import next_fast_len, rfft

    if sample_rate != _HEARING_HZ:
        raise UsageError(f"log_wmse is defined at 44100 Hz, not {sample_rate}: resample first")
    s, e = checked_pair(reference, estimate)
    _, x = checked_pair(reference, mixture, "the mixture")
    taps, samples = _hearing(), s.shape[-1]
    n_fft = next_fast_len(samples + len(taps) - 1, real=True)
    weights = np.abs(rfft(taps, n_fft)) ** 2  # (F,)
    weights[1 : (n_fft + 1) // 2] *= 2  # the bins between 0 and Nyquist stand for two
    weights /= n_fft
    error, mixed = (np.abs(rfft(sound, n_fft)) ** 2 @ weights for sound in (e - s, x))  # (C,)
    ratio = error / np.maximum(mixed, samples * _EPSILON**2)
    return float(-4 * np.log(ratio + _EPSILON).mean())


def _magnitudes(signals, hop: int, window, padding: str):
    """|STFT| of (2, C, L) in blocks (2, C, t, F); frames are centred on multiples of the hop."""
    n_fft, samples = len(window), signals.shape[-1]
    if samples <= n_fft // 2:
        raise UsageError(f"{samples} samples are too few: give more than {n_fft // 2}")
    padded = np.pad(signals, ((0, 0), (0, 0), (n_fft // 2, n_fft // 2)), mode=padding)
    frames, step = 1 + samples // hop, _BLOCK // n_fft
    for first in range(0, frames, step):
        last = min(first + step, frames)
        part = padded[..., first * hop : (last - 1) * hop + n_fft]
        yield np.abs(spectra(part, window, hop))


@lru_cache
def _mel(sample_rate: int, n_fft: int, count: int) -> np.ndarray:
    """Triangles (F, count) on the mel scale of Slaney, of equal area."""
    from librosa.filters import mel

    return mel(sr=sample_rate, n_fft=n_fft, n_mels=count, dtype=np.float32).T.astype(np.float64)


@lru_cache
def _a_weighting(sample_rate: int) -> np.ndarray:
    """101 taps that weigh as IEC 61672's curve A, fitted at 512 frequencies by least squares."""
    from scipy.signal import bilinear, firls, freqz

    low, two, three, high = 2 * np.pi * np.array([20.598997, 107.65265, 737.86223, 12194.217])
    poles = -np.array([high, high, low, low, three, two])
    gain = high**2 * 10 ** (1.9997 / 20)
    digital = bilinear(np.poly1d([gain, 0, 0, 0, 0]), np.poly(poles), fs=sample_rate)
    frequencies, response = freqz(*digital, worN=512, fs=sample_rate)
    return firls(101, frequencies, np.abs(response), fs=sample_rate).astype(np.float32)


@lru_cache
def _hearing() -> np.ndarray:
    """4000 taps of no phase: a shelf of 5 dB at 1.5 kHz, 2.5 dB at 500 Hz, from 120 Hz to 10 kHz.

    Sections as in the Audio EQ Cookbook (Bristow-Johnson) and Butterworth's. The original reads
    the response at k / 4097 of the half rate and takes it for k / 4096; so it is done here.
    """
    from scipy.signal import butter, freqz, sosfreqz

    w = np.linspace(0, np.pi, 4097, endpoint=False)
    response = np.ones(len(w))
    for section in (_shelf(1500, 5, 0.5**0.5), _peak(500, 2.5, 1.5 * 0.5**0.5)):
        response *= np.abs(freqz(*section, worN=w)[1])
    for order, edge_hz, kind, times in ((2, 120, "highpass", 1), (1, 10_000, "lowpass", 2)):
        section = butter(order, edge_hz, kind, fs=_HEARING_HZ, output="sos")
        response *= np.abs(sosfreqz(section, worN=w)[1]) ** times
    return np.fft.fftshift(np.fft.irfft(response, 8192))[2097:6097].astype(np.float32)


def _shelf(edge_hz: float, gain_db: float, q: float) -> tuple:
    a, w = 10 ** (gain_db / 40), 2 * np.pi * edge_hz / _HEARING_HZ
    c, slope = np.cos(w), np.sqrt(a) * np.sin(w) / q
    up, down = a + 1 + (a - 1) * c, a + 1 - (a - 1) * c
    over = a * np.array([up + slope, -2 * (a - 1 + (a + 1) * c), up - slope])
    return over, np.array([down + slope, 2 * (a - 1 - (a + 1) * c), down - slope])


def _peak(centre_hz: float, gain_db: float, q: float) -> tuple:
    a, w = 10 ** (gain_db / 40), 2 * np.pi * centre_hz / _HEARING_HZ
    c, slope = -2 * np.cos(w), np.sin(w) / (2 * q)
    return [1 + slope * a, c, 1 - slope * a], [1 + slope / a, c, 1 - slope / a]
