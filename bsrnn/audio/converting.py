"""Other sample rates and channel counts: soxr, whole or as a stream of blocks."""

import math

import numpy as np

from bsrnn.common import UsageError


def resampled_length(samples: int, from_hz: int, to_hz: int) -> int:
    """Samples after resampling: ceil(L * to / from), so that there and back is never shorter."""
    return -(-samples * to_hz // from_hz)


class Resampler:
    """Resample a stream of blocks: `push((C, L))` as often as needed, then `finish()`.

    All returned blocks together equal `resample` of the whole.
    """

    def __init__(self, from_hz: int, to_hz: int, channels: int):
        import soxr

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
    waveform = np.asarray(waveform, np.float32)
    if from_hz == to_hz:
        return waveform
    if min(from_hz, to_hz) <= 0:
        raise UsageError(f"sample rates must be positive, not {from_hz} and {to_hz} Hz")
    *lead, samples = waveform.shape
    flat = waveform.reshape(math.prod(lead), samples)  # (..., L) -> (C, L)
    out = Resampler(from_hz, to_hz, len(flat)).push(flat, last=True)
    return np.ascontiguousarray(out).reshape(*lead, out.shape[-1])  # (C, L') -> (..., L')


def to_channels(waveform: np.ndarray, channels: int) -> np.ndarray:
    """Change the channel count of (C, L): to 1 by the mean, from 1 by copies, 5.1 to 2 by ITU-R
    BS.775 (centre and surrounds at -3 dB, no LFE; wav order L R C LFE Ls Rs). Else a UsageError.
    """
    have = waveform.shape[0]
    if have == channels:
        return waveform
    if channels == 1:
        return waveform.mean(axis=0, keepdims=True)  # (C, L) -> (1, L)
    if have == 1:
        return np.repeat(waveform, channels, axis=0)  # (1, L) -> (C, L)
    if (have, channels) == (6, 2):
        left, right, centre, _, surround_left, surround_right = waveform
        half = np.float32(0.5**0.5)
        pairs = ((left, surround_left), (right, surround_right))
        return np.stack([front + half * (centre + back) for front, back in pairs])
    raise UsageError(f"no rule to turn {have} channels into {channels}: mix them down first")
