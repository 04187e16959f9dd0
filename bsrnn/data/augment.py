"""Coloured noise and artificial rooms for film scenes, as BandIt trains with (lesson 07).

BandIt's rooms are pedalboard's Freeverb; here they are decaying noise with the same parameters.
References: Watcharasupat et al. 2024 (arXiv 2309.02539) and its code; Moorer 1979, "About this
reverberation business": exponentially decaying noise as the response of a good hall.
"""

import numpy as np

LONGEST_S = 2.0  # reverberation time (-60 dB) of the largest room
SHORTEST_S = 0.1


def coloured_noise(rng, channels: int, samples: int, decay: float) -> np.ndarray:
    """Noise (C, L) of RMS 1 whose power falls as 1 / f^decay: 0 white, 1 pink, 2 brown, -2 violet.

    >>> coloured_noise(np.random.default_rng(0), 2, 1000, 1.0).shape
    (2, 1000)
    """
    spectrum = np.fft.rfft(rng.standard_normal((channels, samples)))  # (C, L) -> (C, F)
    weights = np.arange(1, spectrum.shape[-1] + 1) ** (-decay / 2)  # bin 0 is as loud as bin 1
    noise = np.fft.irfft(spectrum * weights, samples)  # (C, L)
    rms = np.sqrt(np.square(noise).mean())
    return (noise / rms if rms else noise).astype(np.float32)


def with_noise(rng, waveform: np.ndarray, snr_db: float) -> np.ndarray:
    """The waveform (C, L) with noise of a random colour, -`snr_db` to +`snr_db` dB below it."""
    noise = coloured_noise(rng, *waveform.shape, decay=rng.uniform(-2, 2))
    level = np.sqrt(np.square(waveform, dtype=np.float64).mean())
    return waveform + noise * np.float32(level * 10 ** (-rng.uniform(-snr_db, snr_db) / 20))


def room(rng, channels: int, sample_rate: int, size: float, damping: float, width: float):
    """An impulse response (C, n) of energy 1 per channel. All from 0 to 1: `size`, a reverberation
    time from 0.1 to 2 s; `damping`, how much faster the upper half of the spectrum dies away;
    `width`, how different the channels are."""
    time_s = SHORTEST_S + size * (LONGEST_S - SHORTEST_S)
    samples = max(2, round(time_s * sample_rate))
    times = np.arange(samples) / sample_rate
    shared = rng.standard_normal((1, samples))
    apart = rng.standard_normal((channels, samples))
    noise = np.sqrt(1 - width) * shared + np.sqrt(width) * apart  # (C, n)
    spectrum = np.fft.rfft(noise)
    spectrum[:, spectrum.shape[-1] // 2 :] = 0
    low = np.fft.irfft(spectrum, samples)
    fade = np.log(1000.0)  # -60 dB in amplitude
    decayed = low * np.exp(-fade * times / time_s)
    decayed += (noise - low) * np.exp(-fade * times / (time_s * (1 - 0.9 * damping)))
    return decayed / np.sqrt(np.square(decayed).sum(axis=-1, keepdims=True))


def reverb(rng, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """The waveform (C, L) in a random room: size, damping, wet share and width uniform from 0 to 1,
    the dry share is one minus the wet share. The tail beyond the end is cut."""
    from scipy.signal import fftconvolve

    size, damping, wet, width = rng.uniform(0, 1, 4)
    response = room(rng, len(waveform), sample_rate, size, damping, width)  # (C, n)
    tail = fftconvolve(waveform, response, axes=-1)[:, : waveform.shape[-1]]  # (C, L)
    return ((1 - wet) * waveform + wet * tail).astype(np.float32)
