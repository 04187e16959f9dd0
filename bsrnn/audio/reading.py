"""Read audio files in blocks: libsndfile first, FFmpeg's libraries for the rest."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bsrnn.audio import tags
from bsrnn.audio.converting import resample, to_channels
from bsrnn.common import DataError, UsageError

AV_SUFFIXES = (".m4a", ".mp4", ".m4b", ".aac", ".mov", ".mkv", ".webm", ".wma")
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", *AV_SUFFIXES)
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
        self.tags = tags.known(self.file.copy_metadata())
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
        self.tags = tags.known({**self.stream.metadata, **self.container.metadata})
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

    `.info` is an AudioInfo, `.tags` holds title, artist and so on (`TAGS`), `.read(n)` gives the
    next n samples (fewer only at the end), `.seek(n)` goes to n. Raises DataError (one line) for
    files that are missing, empty, truncated, not audio, or that hold NaN or infinite samples.
    `stream` chooses a stream of a `.stem.mp4`.
    """

    def __init__(self, path, stream: int = 0):
        self.path = Path(path)
        self.file = _open(self.path, stream)
        self.info, self.tags = self.file.info, self.file.tags
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
