"""Other sample rates and channel counts: soxr, whole or as a stream of blocks."""

import math

import numpy as np

from bsrnn.audio.arrays import check_rate, sound
from bsrnn.common import UsageError

# Where the channels of Vorbis and Opus (Vorbis I, 4.3.9) lie in wav's order.
XIPH_ORDER = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 4, 5, 3),
    7: (0, 2, 1, 5, 6, 4, 3),
    8: (0, 2, 1, 6, 7, 4, 5, 3),
}


def resampled_length(samples: int, from_hz: int, to_hz: int) -> int:
    """Samples after resampling: ceil(L * to / from), so that there and back is never shorter."""
    return -(-samples * to_hz // from_hz)


class Resampler:
    """Resample a stream of blocks: `push((C, L))` as often as needed, then `finish()`.

    All returned blocks together equal `resample` of the whole.
    """

    def __init__(self, from_hz: int, to_hz: int, channels: int):
        import soxr

        check_rate(from_hz)
        check_rate(to_hz)
        self.rates, self.received, self.sent = (from_hz, to_hz), 0, 0
        self.channels = channels
        self.stream = soxr.ResampleStream(from_hz, to_hz, channels, "float32", quality="VHQ")

    def push(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        self.received += block.shape[-1]
        frames = np.ascontiguousarray(block.T, np.float32)  # (L, C)
        out = self.stream.resample_chunk(frames, last=last).reshape(-1, self.channels).T  # (C, L')
        left = resampled_length(self.received, *self.rates) - self.sent
        if last and out.shape[-1] < left:  # soxr rounds the length to the nearest
            out = np.pad(out, ((0, 0), (0, left - out.shape[-1])))
        out = out[:, :left]
        self.sent += out.shape[-1]
        return out

    def finish(self) -> np.ndarray:
        return self.push(np.zeros((self.channels, 0), np.float32), last=True)


def resample(waveform: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Resample (..., L) to (..., ceil(L * to / from)) with soxr VHQ.

    >>> resample(np.zeros((2, 44100), np.float32), 44100, 16000).shape
    (2, 16000)
    """
    waveform = sound(waveform).astype(np.float32, copy=False)
    if from_hz == to_hz:
        return waveform
    *lead, samples = waveform.shape
    flat = waveform.reshape(math.prod(lead), samples)  # (..., L) -> (C, L)
    out = Resampler(from_hz, to_hz, len(flat)).push(flat, last=True)
    return np.ascontiguousarray(out).reshape(*lead, out.shape[-1])  # (C, L') -> (..., L')


_HALF = 0.5**0.5  # -3 dB
# Left of stereo from more channels, in wav's order; right is its mirror. ITU-R BS.775: centre and
# surrounds at -3 dB, no LFE.
_LEFT = {
    3: (1, 0, _HALF),  # L R C
    4: (1, 0, _HALF, 0),  # L R Ls Rs
    5: (1, 0, _HALF, _HALF, 0),  # L R C Ls Rs
    6: (1, 0, _HALF, 0, _HALF, 0),  # L R C LFE Ls Rs
    8: (1, 0, _HALF, 0, _HALF, 0, _HALF, 0),  # L R C LFE Lb Rb Ls Rs
}
_RIGHT = {
    3: (0, 1, _HALF),
    4: (0, 1, 0, _HALF),
    5: (0, 1, _HALF, 0, _HALF),
    6: (0, 1, _HALF, 0, 0, _HALF),
    8: (0, 1, _HALF, 0, 0, _HALF, 0, _HALF),
}


def to_channels(waveform: np.ndarray, channels: int) -> np.ndarray:
    """Change the channel count of (C, L): to 1 by the mean, from 1 by copies, from 3, 4, 5, 6 and 8
    in wav's order to 2 by ITU-R BS.775. Else a UsageError.

    >>> to_channels(np.array([[1.0], [0.0], [1.0]]), 2).round(2).tolist()  # left, right, centre
    [[1.71], [0.71]]
    """
    waveform = sound(waveform)
    have = waveform.shape[0]
    if have == channels:
        return waveform
    if channels == 1:
        return waveform.mean(axis=0, keepdims=True)  # (C, L) -> (1, L)
    if have == 1:
        return np.repeat(waveform, channels, axis=0)  # (1, L) -> (C, L)
    if channels == 2 and have in _LEFT:
        return np.array([_LEFT[have], _RIGHT[have]], waveform.dtype) @ waveform  # (2, L)
    raise UsageError(f"no rule to turn {have} channels into {channels}: mix them down first")
