"""Loudness as ITU-R BS.1770-4 and EBU R 128 measure it: how loud a mix is to people.

Waveforms are (C, L); LUFS are loudness units relative to full scale, 1 LU is 1 dB, silence is -inf.
K-weighting (a shelf of +4 dB above 1.7 kHz, the head, and a high-pass at 38 Hz), mean squares,
channels added up: mono counts as one loudspeaker, 3 LU less than the same signal on two.
torchaudio's meter clips what the shelf lifts above full scale, gives NaN for silence (pytorch/audio
issue 3816), refuses 5.1 and knows no loudness over time. Lesson 12.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import sosfilt

from bsrnn.audio import arrays
from bsrnn.audio.arrays import check_rate
from bsrnn.common import UsageError, choose

BLOCK_S, STEP_S, SHORT_TERM_S = 0.4, 0.1, 3.0
ABSOLUTE_LUFS, RELATIVE_LU = -70.0, -10.0  # the two gates
OFFSET_DB = -0.691  # a 997 Hz sine at 0 dBFS on one channel is -3.01 LUFS
WEIGHTS = {  # by number of channels: L, R, centre, [bass], surround left and right
    1: (1.0,), 2: (1.0, 1.0), 5: (1.0, 1.0, 1.0, 1.41, 1.41), 6: (1.0, 1.0, 1.0, 0.0, 1.41, 1.41),
}  # fmt: skip
# The standard's filter table is for 48 kHz: this is the analogue prototype that libebur128 derived.
_SHELF = (1681.974450955533, 0.7071752369554196, 3.999843853973347)  # Hz, Q, dB
_SHELF_BEND = 0.4996667741545416  # exponent of the gain halfway up the shelf
_HIGH_PASS = (38.13547087602444, 0.5003270373238773)  # Hz, Q


def k_filter(sample_rate: int) -> np.ndarray:
    """The two biquads of the K-weighting as scipy's second-order sections (2, 6)."""
    hz, q, gain_db = _SHELF
    k = np.tan(np.pi * hz / sample_rate)
    high = 10 ** (gain_db / 20)
    middle = high**_SHELF_BEND
    shelf = [high + middle * k / q + k * k, 2 * (k * k - high), high - middle * k / q + k * k]
    shelf += [1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k]
    hz, q = _HIGH_PASS
    k = np.tan(np.pi * hz / sample_rate)
    below = [1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k]
    return np.array([np.divide(shelf, shelf[3]), [1, -2, 1, *np.divide(below, below[0])]])


def over_time(waveform, sample_rate: int, window_s: float = SHORT_TERM_S) -> tuple:
    """(times_s, lufs): loudness of windows of `window_s`, one each 100 ms, without gates.

    times_s: middle of each window. The default is short-term loudness, 0.4 gives the momentary one.
    Errors as in `integrated`.
    """
    starts, power = _blocks(waveform, sample_rate, window_s)
    return starts / sample_rate + window_s / 2, _lufs(power)


def integrated(waveform, sample_rate: int) -> float:
    """Integrated loudness of (C, L) in LUFS: the mean over the blocks of 400 ms, one each 100 ms,
    above -70 LUFS and not more than 10 LU below the mean of those: pauses do not count.

    Channels: 1, 2, 5 or 6 in the order L, R, centre, [bass], surrounds. At least 0.4 s.
    Raises UsageError (shape, channels, too short), DataError (NaN).

    >>> time_s = np.arange(48000) / 48000
    >>> sine = 10 ** (-23 / 20) * np.sin(2 * np.pi * 997 * time_s)
    >>> round(integrated(np.stack([sine, sine]), 48000), 1)
    -23.0
    """
    _, power = _blocks(waveform, sample_rate, BLOCK_S)
    power = power[_lufs(power) > ABSOLUTE_LUFS]
    if not len(power):
        return float("-inf")
    power = power[_lufs(power) > _lufs(power.mean()) + RELATIVE_LU]  # never all of them
    return float(_lufs(power.mean()))


@dataclass(frozen=True)
class Balance:
    """Loudness of a mix and of its two sides in LUFS (-inf: silent), its sample peak in dBFS."""

    mix_lufs: float
    voice_lufs: float
    rest_lufs: float
    peak_dbfs: float

    @property
    def ratio_lu(self) -> float:
        """Voice above the rest in LU; NaN if one of them is silent."""
        both = np.isfinite([self.voice_lufs, self.rest_lufs]).all()
        return self.voice_lufs - self.rest_lufs if both else float("nan")


def balance(stems: dict, sample_rate: int, voice: str) -> Balance:
    """Balance of stems name -> (C, L), all of one shape: `voice` against the sum of the others.

    Each side is gated by itself, as in Torcoli et al. 2024, arXiv 2405.17364: pauses do not count.
    """
    choose(voice, stems, "stem")
    rest = sum((x for name, x in stems.items() if name != voice), np.zeros_like(stems[voice]))
    mix = stems[voice] + rest  # (C, L)
    with np.errstate(divide="ignore"):
        peak_dbfs = float(20 * np.log10(np.abs(mix).max(initial=0)))
    return Balance(*(integrated(x, sample_rate) for x in (mix, stems[voice], rest)), peak_dbfs)


def gain_to(waveform, sample_rate: int, target_lufs: float) -> float:
    """Gain in dB that brings (C, L) to an integrated loudness; UsageError for silence."""
    now = integrated(waveform, sample_rate)
    if not np.isfinite(now):
        raise UsageError("silence has no loudness to change: give a sound above -70 LUFS")
    return target_lufs - now


def _lufs(power):
    with np.errstate(divide="ignore"):
        return OFFSET_DB + 10 * np.log10(power)


def _blocks(waveform, sample_rate, window_s):
    """First sample of each window (a new one each 100 ms) and its weighted mean square."""
    check_rate(sample_rate)
    waveform = arrays.waveform(waveform).astype(np.float64)  # (C, L)
    if len(waveform) not in WEIGHTS:
        known = ", ".join(map(str, WEIGHTS))
        raise UsageError(f"waveform {waveform.shape}: give (C, L) with {known} channels")
    size = round(window_s * sample_rate)
    if waveform.shape[1] < size:
        has_s = waveform.shape[1] / sample_rate
        raise UsageError(f"{has_s:.2f} s are too short to measure: give at least {window_s:g} s")
    heard = sosfilt(k_filter(sample_rate), waveform)  # (C, L)
    squares = np.square(heard).T @ WEIGHTS[len(waveform)]  # (L,)
    count = int((waveform.shape[1] - size) / (STEP_S * sample_rate) + 1e-9) + 1
    starts = np.round(np.arange(count) * STEP_S * sample_rate).astype(int)
    starts = np.minimum(starts, waveform.shape[1] - size)
    total = np.concatenate([[0.0], np.cumsum(squares)])
    return starts, np.maximum(total[starts + size] - total[starts], 0) / size
