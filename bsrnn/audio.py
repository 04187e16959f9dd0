"""Audio files in and out: read, write, resample, whole or in blocks.

Conventions: waveforms are numpy float32 (C, L) with full scale 1.0. wav, flac, ogg, mp3 and aiff go
through libsndfile (soundfile), m4a / mp4 / aac and the streams of `.stem.mp4` through FFmpeg's
libraries as bundled by PyAV; no system ffmpeg is needed. Resampling is soxr at its highest quality.
Lessons 00 and 08.
"""

import contextlib
import math
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bsrnn.errors import DataError, UsageError

AV_SUFFIXES = (".m4a", ".mp4", ".m4b", ".aac", ".mov", ".mkv", ".webm", ".wma")
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", *AV_SUFFIXES)
_FORMATS = {  # suffix -> libsndfile (container, encoding); float wav keeps peaks above full scale
    ".wav": ("WAV", "FLOAT"),
    ".flac": ("FLAC", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aiff": ("AIFF", "PCM_24"),
}
_PCM_BITS = {"PCM_16": 16, "PCM_24": 24}
_BLOCK = 1 << 16  # samples per write: libsndfile's Vorbis encoder overflows on huge writes
# Samples decoded and dropped after a seek, because lossy frames need their predecessors: an MP3
# frame draws on 511 bytes before it, up to 9 frames of 1152 samples at 32 kbit/s.
_PREROLL = 1 << 14


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says. `samples` counts per channel; `format` is e.g. "WAV/PCM_16"."""

    samples: int
    sample_rate: int
    channels: int
    format: str

    @property
    def duration_s(self) -> float:
        return self.samples / self.sample_rate


class _SoundFile:
    def __init__(self, path: Path):
        import soundfile

        self.file, self.position = soundfile.SoundFile(path), 0
        kind = f"{self.file.format}/{self.file.subtype}"
        self.exact = self.file.format not in ("MP3", "MPEG", "OGG")
        self.info = AudioInfo(self.file.frames, self.file.samplerate, self.file.channels, kind)
        said = re.search(r"\bdata : (\d+) \(should be (\d+)\)", self.file.extra_info)
        if said and int(said[2]) < int(said[1]) < 0x7FFFFFFF:  # above: a streaming writer's marker
            raise DataError(f"{path}: truncated, {said[2]} of {said[1]} bytes: copy it again")

    def seek(self, start: int):
        self.position = start

    def read(self, samples: int) -> np.ndarray:
        # soundfile seeks in every read, so lossy files need their pre-roll in each call.
        before = 0 if self.exact else min(self.position, _PREROLL)
        if self.file.tell() != self.position - before:
            self.file.seek(self.position - before)
        block = self.file.read(before + samples, dtype="float32", always_2d=True)  # (L, C)
        self.position += len(block) - before
        return block[before:].T  # (C, L)

    def close(self):
        self.file.close()


class _AvFile:
    """One audio stream of an MP4-like container. Its length is what the container declares, so the
    encoder's padding is dropped (musdb keeps it: 152 samples on MUSDB18's previews)."""

    def __init__(self, path: Path, stream: int):
        import av

        self.container = av.open(str(path))
        streams = self.container.streams.audio
        if stream >= len(streams):
            self.container.close()
            raise DataError(f"{path}: has no audio stream {stream}: convert it to wav or flac")
        self.stream = streams[stream]
        rate, context = self.stream.rate, self.stream.codec_context
        if "mp4" in self.container.format.name and self.stream.duration:
            samples = round(self.stream.duration * self.stream.time_base * rate)
        else:  # containers that only estimate their length: count
            samples = sum(frame.samples for frame in self.container.decode(self.stream))
        self.info = AudioInfo(samples, rate, context.channels, f"MP4/{context.name}")
        self.seek(0)

    def seek(self, start: int):
        # Below zero where need be: an encoder's priming frames carry negative times.
        target = (start - _PREROLL) / self.info.sample_rate / self.stream.time_base
        self.container.seek(int(target), stream=self.stream)
        self.position, self.held = start, np.zeros((self.info.channels, 0), np.float32)
        self.frames = self._frames()

    def _frames(self):  # (first sample, (C, n) float32)
        import av

        resampler = av.AudioResampler(format="fltp")  # converts the sample format only
        for decoded in self.container.decode(self.stream):
            for frame in resampler.resample(decoded):
                yield round(frame.pts * frame.time_base * frame.rate), frame.to_ndarray()

    def read(self, samples: int) -> np.ndarray:
        samples = min(samples, self.info.samples - self.position)
        parts, have = [self.held], self.held.shape[-1]
        while have < samples:
            first, block = next(self.frames, (None, None))
            if block is None:
                break
            block = block[:, max(0, self.position + have - first) :]  # drop what precedes the start
            parts.append(block)
            have += block.shape[-1]
        joined = np.concatenate(parts, axis=-1)  # (C, >= L)
        self.held = joined[:, samples:]
        self.position += min(samples, joined.shape[-1])
        return joined[:, :samples]

    def close(self):
        self.container.close()


class Reader:
    """Read a file in blocks: `with Reader(path) as file: block = file.read(44100)  # (C, L)`.

    `.info` is an AudioInfo, `.read(n)` gives the next n samples (fewer only at the end), `.seek(n)`
    goes to n. Raises DataError (one line) for files that are missing, empty, truncated, not
    audio, or that hold NaN or infinite samples. `stream` chooses a stream of a `.stem.mp4`.
    """

    def __init__(self, path, stream: int = 0):
        self.path = Path(path)
        self.file = _open(self.path, stream)
        self.info = self.file.info
        if self.info.samples <= 0:
            self.file.close()
            raise DataError(f"{self.path}: holds no samples: leave it out or copy it again")
        self.position = 0

    def seek(self, start: int):
        if not 0 <= start <= self.info.samples:
            raise DataError(f"{self.path}: start {start} is not in its {self.info.samples} samples")
        self._guard(self.file.seek, start)
        self.position = start

    def read(self, samples: int) -> np.ndarray:
        wanted = min(samples, self.info.samples - self.position)
        block = self._guard(self.file.read, wanted)
        if block.shape[-1] < wanted:
            raise DataError(
                f"{self.path}: truncated, {self.position + block.shape[-1]} of "
                f"{self.info.samples} samples can be decoded: copy the file again"
            )
        if not np.isfinite(block).all():
            raise DataError(
                f"{self.path}: NaN or infinite samples near "
                f"{self.position / self.info.sample_rate:.2f} s: repair or leave out this file"
            )
        self.position += wanted
        return block

    def _guard(self, action, argument):
        try:
            return action(argument)
        except (RuntimeError, OSError, ValueError, EOFError) as error:
            raise DataError(
                f"{self.path}: cannot be decoded beyond "
                f"{self.position / self.info.sample_rate:.2f} s: copy or convert the file again"
            ) from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def _open(path: Path, stream: int):
    """The decoder for this file. libsndfile first, except for the suffixes it never reads."""
    for broken, what in (
        (path.is_dir(), "is a folder: name an audio file in it"),
        (not path.exists(), "no such file: check the path"),
        (not os.access(path, os.R_OK), "no permission to read it: change its mode"),
    ):
        if broken:
            raise DataError(f"{path}: {what}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty file: copy it again")
    if path.suffix.lower() not in AV_SUFFIXES and stream == 0:
        try:
            return _SoundFile(path)
        except RuntimeError:  # not a libsndfile format: FFmpeg may know it
            pass
    try:
        return _AvFile(path, stream)
    except UsageError:
        raise
    except (OSError, ValueError, RuntimeError, EOFError) as error:
        raise DataError(f"{path}: not audio, or damaged: convert it to wav or flac") from error


def info(path, stream: int = 0) -> AudioInfo:
    """What the header says; same errors as `Reader`."""
    with Reader(path, stream) as file:
        return file.info


def read(
    path, start: int = 0, samples=None, sample_rate=None, channels=None, stream: int = 0
) -> tuple[np.ndarray, int]:
    """Read a file, or a part of it by seeking.

    start, samples: the part, in samples of the file (None: to the end; a part that reaches beyond
    the end comes out shorter). sample_rate, channels: convert to these (see `resample`,
    `to_channels`). Returns ((C, L) float32, sample rate in Hz).
    """
    with Reader(path, stream) as file:
        file.seek(start)
        waveform = file.read(file.info.samples if samples is None else samples)  # (C, L)
        rate = file.info.sample_rate
    if channels is not None:
        waveform = to_channels(waveform, channels)
    if sample_rate is not None and sample_rate != rate:
        waveform, rate = resample(waveform, rate, sample_rate), sample_rate
    return np.ascontiguousarray(waveform), rate


class Writer:
    """Write a file in blocks, atomically: it gets its name only when the `with` block succeeds.

    The format follows the suffix (wav float, flac 24 bit, ogg, opus, mp3, aiff; `subtype` such as
    "PCM_16" overrides). Integer formats round to the nearest step; they clip beyond full scale, see
    `.clips`. `samples`, if known, selects the 64-bit wav header where 4 GB would not do.
    """

    def __init__(self, path, sample_rate: int, channels: int, subtype=None, samples: int = 0):
        import soundfile

        self.path = Path(path)
        container, default = _FORMATS.get(self.path.suffix.lower(), (None, None))
        if container is None:
            raise UsageError(f"cannot write {self.path.name}: end it in {', '.join(_FORMATS)}")
        self.subtype, self.sample_rate, self.channels = subtype or default, sample_rate, channels
        if container == "WAV" and samples * channels * 4 > 4e9:
            container = "RF64"
        self.peak = 0.0
        self.temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = soundfile.SoundFile(
                self.temporary, "w", sample_rate, channels, self.subtype, format=container
            )
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            with contextlib.suppress(OSError):
                self.temporary.unlink()
            what = f"{self.subtype}, {channels} channels, {sample_rate} Hz; {error}"
            raise self._failure(what, "check folder and permissions, or choose wav") from error

    @property
    def clips(self) -> bool:
        """Whether samples beyond full scale were cut off."""
        return self.peak > 1 and self.subtype not in ("FLOAT", "DOUBLE")

    def _failure(self, what, fix: str) -> DataError:
        return DataError(f"cannot write {self.path} ({what}): {fix}")

    def write(self, waveform: np.ndarray):
        """Append (C, L). Refuses NaN and infinities."""
        waveform = np.asarray(waveform, np.float32)
        if waveform.ndim != 2 or waveform.shape[0] != self.channels:
            raise UsageError(f"waveforms must be ({self.channels}, L), not {waveform.shape}")
        if not np.isfinite(waveform).all():
            raise DataError(f"not writing NaN or infinite samples to {self.path}")
        self.peak = max(self.peak, float(np.abs(waveform).max(initial=0.0)))
        frames = _pcm(waveform.T, self.subtype)  # (L, C)
        try:
            for first in range(0, len(frames), _BLOCK):
                self.file.write(frames[first : first + _BLOCK])
        except (OSError, RuntimeError) as error:
            raise self._failure(error, "free some disk space") from error

    def close(self, keep: bool = True):
        """Finish. keep=False, or a failure, leaves nothing behind."""
        try:
            self.file.close()
            if keep:
                os.replace(self.temporary, self.path)
        except (OSError, RuntimeError) as error:
            raise self._failure(error, "check disk space and permissions") from error
        finally:
            self.temporary.unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(keep=kind is None)


def _pcm(frames: np.ndarray, subtype: str) -> np.ndarray:
    """Round to integers here: libsndfile scales by 2^(b-1) - 1 going out, 2^(b-1) coming in."""
    bits = _PCM_BITS.get(subtype)
    if bits is None:
        return np.ascontiguousarray(frames)
    full = 1 << (bits - 1)
    steps = np.clip(np.rint(frames.astype(np.float64) * full), -full, full - 1)
    if bits == 16:
        return steps.astype(np.int16)
    return steps.astype(np.int32) << (32 - bits)  # libsndfile keeps the upper bits


def write(path, waveform: np.ndarray, sample_rate: int, subtype: str | None = None) -> Path:
    """Write (C, L) float to a file atomically; see `Writer`. Returns the path."""
    waveform = np.asarray(waveform)
    if waveform.ndim != 2:
        raise UsageError(f"write takes (C, L) waveforms, not the shape {waveform.shape}")
    with Writer(path, sample_rate, waveform.shape[0], subtype, waveform.shape[1]) as file:
        file.write(waveform)
    return Path(path)


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
