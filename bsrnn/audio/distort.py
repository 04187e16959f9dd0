"""Distortions of known size: estimates of a stem that are wrong in one way only.

Kinds in `SCALED` reach the SDR that they are asked for exactly, before the result is rounded to
float32, so that one number can be heard in several ways. The others have an SDR of their own.
Musical noise is isolated time-frequency bins that get through (Cappé 1994, IEEE TSAP 2(2)).
Lesson 06.
"""

from typing import NamedTuple

import numpy as np

from bsrnn.audio.arrays import waveform
from bsrnn.common import UsageError, choose

SCALED = ("gain", "leakage", "noise", "musical noise", "low-pass", "clipping")
KINDS = (*SCALED, "delay", "polarity", "silence", "swap")
MUSICAL_SHARE = 0.02  # of the time-frequency bins of the rest that get through
MUSICAL_N_FFT = 2048


class Distorted(NamedTuple):
    """`waveform` (C, L) float32 and `setting`, in words how it was made."""

    waveform: np.ndarray
    setting: str


def distort(
    kind: str, sources: dict, stem: str, sample_rate: int, sdr_db=10.0, delay_ms=1.0, seed=0
) -> Distorted:
    """The stem of `sources` (name -> (C, L)), spoilt in one way: one of `KINDS`.

    gain: too soft. leakage: with some of the rest, which is the sum of the others. noise: white.
    musical noise: a random 2 % of the time-frequency bins of the rest. low-pass: nothing above a
    frequency. clipping: no sample beyond a limit. Their uSDR is `sdr_db`.
    delay: `delay_ms` late. polarity: upside down. silence. swap: the next source in its place.
    `seed` draws noise and bins.

    Raises:
        UsageError: a silent stem or rest where an SDR is to be reached, 0 dB or less of kinds that
            only take away.

    >>> sources = {"a": np.ones((1, 8)), "b": np.zeros((1, 8))}
    >>> distort("gain", sources, "a", 8000, sdr_db=20.0).waveform[0, :2].round(3)
    array([0.9, 0.9], dtype=float32)
    """
    choose(kind, KINDS, "distortion")
    choose(stem, sources, "stem")
    sources = {name: waveform(x, name).astype(np.float64) for name, x in sources.items()}
    target = sources[stem]  # (C, L)
    if kind == "delay":
        samples = min(max(1, round(delay_ms * sample_rate / 1000)), target.shape[-1])
        spoilt = np.pad(target, ((0, 0), (samples, 0)))[:, : target.shape[-1]]
        setting = f"{samples} samples ({1000 * samples / sample_rate:.2f} ms) late"
    elif kind == "polarity":
        spoilt, setting = -target, "every sample with the other sign"
    elif kind == "silence":
        spoilt, setting = np.zeros_like(target), "nothing"
    elif kind == "swap":
        names = list(sources)
        other = names[(names.index(stem) + 1) % len(names)]
        spoilt, setting = sources[other], f"{other} in the place of {stem}"
    else:
        spoilt, setting = _scaled(kind, sources, stem, target, sample_rate, sdr_db, seed)
    return Distorted(spoilt.astype(np.float32), setting)


def _scaled(kind, sources, stem, target, sample_rate, sdr_db, seed):
    wanted = np.square(target).sum() * 10 ** (-sdr_db / 10)  # energy of the error
    if not wanted:
        raise UsageError(f"{stem} is silent, so no SDR can be reached: choose another stem")
    if kind in ("gain", "low-pass", "clipping") and sdr_db <= 0:
        raise UsageError(f"{kind} only takes away: ask for more than 0 dB, not {sdr_db:g}")
    if kind == "gain":
        scale = 1 - 10 ** (-sdr_db / 20)
        return scale * target, f"{20 * np.log10(scale):.1f} dB"
    if kind == "low-pass":
        return _low_pass(target, sample_rate, wanted)
    if kind == "clipping":
        return _clip(target, wanted)
    rng = np.random.default_rng(seed)
    if kind == "noise":
        error, words = rng.standard_normal(target.shape), "white noise"
    else:
        error = sum(x for name, x in sources.items() if name != stem)
        words = "the rest"
        if kind == "musical noise":
            error = some_bins(error + np.zeros_like(target), MUSICAL_SHARE, rng)
            words = f"{MUSICAL_SHARE:.0%} of the bins of the rest"
    energy = np.square(error).sum()
    if not energy:
        raise UsageError(f"the rest of {stem} is silent, so nothing can leak: choose noise")
    scale = np.sqrt(wanted / energy)
    return target + scale * error, f"{words} at {20 * np.log10(scale):+.1f} dB"


def some_bins(waveform, share: float, rng, n_fft: int = MUSICAL_N_FFT) -> np.ndarray:
    """What remains of (C, L) if each time-frequency bin is kept with probability `share`.

    Sine windows, hop n_fft / 2; all channels keep the same bins. share=1 gives the waveform back.
    """
    from scipy.signal import istft, stft

    samples = waveform.shape[-1]
    window = np.sin(np.pi * (np.arange(n_fft) + 0.5) / n_fft)
    how = {"window": window, "nperseg": n_fft, "noverlap": n_fft // 2}
    padded = np.pad(waveform, ((0, 0), (0, max(0, n_fft - samples))))
    _, _, spectrum = stft(padded, **how)  # (C, F, T)
    spectrum *= (rng.random(spectrum.shape[:0:-1]) < share).T  # drawn frame by frame
    return istft(spectrum, **how)[1][:, :samples]  # (C, L)


def _low_pass(target, sample_rate, wanted):
    """Bins from the top are dropped until their energy is `wanted`, the last one in part."""
    length = target.shape[-1]
    spectrum = np.fft.rfft(target)  # (C, F)
    twice = np.full(spectrum.shape[-1], 2.0)  # bins between 0 and Nyquist stand for two
    twice[0] = 1
    if length % 2 == 0:
        twice[-1] = 1
    energy = twice * np.square(np.abs(spectrum)).sum(axis=0) / length  # (F,)
    above = np.cumsum(energy[::-1])[::-1]  # of this bin and all above it
    edge = int(np.count_nonzero(above >= wanted)) - 1  # the last bin that is not dropped whole
    rest = above[edge + 1] if edge + 1 < len(above) else 0.0
    spectrum[:, edge] *= 1 - np.sqrt((wanted - rest) / energy[edge])
    spectrum[:, edge + 1 :] = 0
    return np.fft.irfft(spectrum, length), f"nothing above {edge * sample_rate / length:.0f} Hz"


def _clip(target, wanted):
    """The limit t where the sum of (|s| - t)^2 over all |s| > t is `wanted`."""
    sizes = np.sort(np.abs(target), axis=None)[::-1]
    count = np.arange(1, sizes.size + 1)
    first, second = np.cumsum(sizes), np.cumsum(sizes**2)
    cut = second - 2 * sizes * first + count * sizes**2  # error with the limit at each size
    k = int(np.searchsorted(cut, wanted, side="right")) - 1  # the k + 1 largest are beyond it
    n, a, b = count[k], first[k], second[k]
    limit = (a - np.sqrt(max(a**2 - n * (b - wanted), 0.0))) / n  # n t^2 - 2 a t + b = wanted
    setting = f"limited to {limit:.3f}, {n / sizes.size:.0%} of samples"
    return np.clip(target, -limit, limit), setting
