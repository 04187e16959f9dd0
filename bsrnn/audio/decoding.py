"""Decoders of one file each: libsndfile where it is exact, FFmpeg's libraries for all others.

Sample 0 is the first that can be decoded, the length is what can be decoded, in every format. A
length that a header declares cuts nothing, refuses nothing and is only warned about. MUSDB18's
`.stem.mp4` end with padding, which the file marks and musdb decodes: 299,891 samples here, 300,032
there, the same ones from the first on.
"""

import functools
import io
import logging
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile

from bsrnn.audio.converting import XIPH_ORDER
from bsrnn.audio.formats import known_tags
from bsrnn.common import DataError

log = logging.getLogger(__name__)
# Encodings that libsndfile seeks and measures to the sample.
_PLAIN = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")
# Containers whose frames are found by their own marks: what lies between is no fault of the sound.
_MARKED = ("mp3", "aac", "ac3", "eac3", "dts", "mpegts")
_BLOCK = 1 << 16
_TOLD_S = 0.1  # a declared length this far from the true one is worth a line


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds. `samples` counts per channel; `format` is e.g. "WAV/PCM_16"."""

    samples: int
    sample_rate: int
    channels: int
    format: str

    @property
    def duration_s(self) -> float:
        return self.samples / self.sample_rate


@functools.lru_cache(maxsize=4096)
def warn_once(text: str):
    """Log a warning, the first time only: files are opened more than once in a run."""
    log.warning("%s", text)


def _once(function):
    """Keep what a function of a file gives until the file changes."""

    @functools.lru_cache(maxsize=4096)
    def kept(path, size, time_ns, *more):
        return function(path, *more)

    @functools.wraps(function)
    def call(path: Path, *more):
        status = path.stat()
        return kept(path, status.st_size, status.st_mtime_ns, *more)

    return call


class _Forward:
    """A decoder that goes forward only: `_start` begins again, `read` goes on."""

    def seek(self, start: int):
        if start < self.position:
            self.close()
            self._start()
            self.position = 0
        while self.position < start and self.read(min(_BLOCK, start - self.position)).size:
            pass


class SoundFile(_Forward):
    """libsndfile: plain numbers and FLAC, which it seeks to the sample, and Ogg Vorbis, whose ends
    it alone trims right; there its seeks are not exact, so none is made."""

    def __init__(self, path: Path):
        self.path, self.position = path, 0
        self._start()
        kind, encoding = self.file.format, self.file.subtype
        self.tags = known_tags(self.file.copy_metadata())
        self.exact = kind != "OGG"
        samples = self.file.frames
        if kind == "OGG" and encoding == "VORBIS" and not _second(path, b"\x01vorbis"):
            samples = _count_vorbis(path)
        elif not encoding.startswith(_PLAIN) or kind == "FLAC" and not _flac_agrees(path):
            samples = 0
        if not samples:
            self.file.close()
            raise RuntimeError("FFmpeg counts it")
        declared, first, order = _declared_riff(path)
        rate, channels = self.file.samplerate, self.file.channels
        if declared is not None:
            self.file.close()
            sound = _From(path, first)
            self.file = soundfile.SoundFile(sound, "r", rate, channels, encoding, order, "RAW")
            samples = self.file.frames
            warn_once(
                f"{path}: its header declares {declared} bytes of sound, but {samples} samples "
                "follow: all are read"
            )
        self.info = AudioInfo(samples, rate, channels, f"{kind}/{encoding}")

    def _start(self):
        self.file = soundfile.SoundFile(self.path)
        if self.file.format == "OGG":
            self.file.seekable = lambda: False  # else soundfile seeks in every read

    def seek(self, start: int):
        if self.exact:
            self.file.seek(start)
        else:
            super().seek(start)

    def read(self, samples: int) -> np.ndarray:
        block = self.file.read(samples, dtype="float32", always_2d=True).T  # (L, C) -> (C, L)
        self.position += block.shape[-1]
        order = None if self.exact else XIPH_ORDER.get(len(block))
        return block[np.argsort(order)] if order else block

    def close(self):
        self.file.close()


def _second(path: Path, mark: bytes) -> bool:
    """Whether another stream begins within the file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(mark, data.find(mark) + 1) > 0


@_once
def _count_vorbis(path: Path) -> int:
    with soundfile.SoundFile(path) as file:
        file.seekable = lambda: False
        return sum(iter(lambda: len(file.read(_BLOCK, dtype="float32")), 0))


class _From(io.FileIO):
    """A file without its first bytes."""

    def __init__(self, path: Path, first: int):
        super().__init__(path)
        self.first = first
        self.seek(0)

    def seek(self, offset: int, whence: int = 0) -> int:
        return super().seek(offset + (0 if whence else self.first), whence) - self.first

    def tell(self) -> int:
        return super().tell() - self.first


def _declared_riff(path: Path):
    """(bytes declared, first byte, byte order) of the sound in a RIFF or AIFF file whose chunks do
    not fill the file; (None, 0, "") where all is well."""
    size, place, sound = path.stat().st_size, 12, None
    with path.open("rb") as file:
        form = file.read(12)
        endian = {b"RIFF": "<", b"RIFX": ">", b"FORM": ">"}.get(form[:4])
        while endian and place + 8 <= size:
            file.seek(place)
            name, length = struct.unpack(f"{endian}4sI", file.read(8))
            if not (name.isascii() and name.decode("ascii").isprintable()):
                break
            if name in (b"data", b"SSND"):
                ahead = 8 if name == b"SSND" else 0  # offset and block size come first
                sound = length - ahead, place + 8 + ahead
            place += 8 + length + length % 2
            if sound and sound[0] <= 0:
                break
    if sound is None or sound[0] > 0 and abs(place - size) < 8:
        return None, 0, ""
    little = endian == "<" or form[8:] == b"AIFC" and b"sowt" in path.read_bytes()[:4096]
    return *sound, "LITTLE" if little else "BIG"


@_once
def _flac_agrees(path: Path) -> bool:
    """Whether the last frame ends where the header says, and no second stream follows."""
    if _second(path, b"fLaC"):
        return False
    try:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            if not stream.duration or stream.time_base * stream.rate != 1:
                return False
            container.seek(stream.duration - 1, stream=stream)
            packets = [packet for packet in container.demux(stream) if packet.size]
            return packets[-1].pts + packets[-1].duration == stream.duration
    except (OSError, ValueError, LookupError):
        return False


class Decoded(_Forward):
    """One audio stream through FFmpeg. A seek decodes what lies before: only so a part equals the
    same part of the whole."""

    def __init__(self, path: Path, stream: int):
        self.path, self.number = path, stream
        self.info = _count(path, stream)
        self._start()
        self.tags = known_tags({**self.stream.metadata, **self.container.metadata})

    def _start(self):
        self.container, self.stream = opened(self.path, self.number)
        self.resampler = av.AudioResampler(format="fltp")  # converts the sample format only
        self.frames, self.position = _frames(self.container, self.stream, self.path), 0
        self.held = np.zeros((self.info.channels, 0), np.float32)

    def _block(self) -> np.ndarray:
        """The next samples (C, n); none at the end."""
        for frame, samples in self.frames:
            (floats,) = self.resampler.resample(frame)
            return floats.to_ndarray()[:, :samples]
        return self.held[:, :0]

    def read(self, samples: int) -> np.ndarray:
        parts, have = [self.held], self.held.shape[-1]
        while have < samples and (block := self._block()).shape[-1]:
            parts.append(block)
            have += block.shape[-1]
        joined = np.concatenate(parts, axis=-1)  # (C, >= L)
        self.held = joined[:, samples:]
        self.position += min(samples, have)
        return joined[:, :samples]

    def close(self):
        self.container.close()


def opened(path: Path, number: int):
    """(container, audio stream `number`) of a file, open; DataError if it has no such stream."""
    container = av.open(str(path))
    streams = container.streams.audio
    if number < len(streams):
        return container, streams[number]
    container.close()
    raise DataError(f"{path}: has no audio stream {number}: convert it to wav or flac")


def _frames(container, stream, path: Path):
    """(frame, samples of it that count): fewer in the last, where the container's clock counts
    samples and says how many of them are the encoder's padding."""
    marked = container.format.name in _MARKED
    first = last = None
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except av.InvalidDataError:
            if not marked:
                raise
            continue
        for frame in decoded:
            if last is not None:
                yield last, last.samples
            first, last = first or frame, frame
            before, now = (f"{x.rate} Hz, {x.layout.nb_channels} channels" for x in (first, frame))
            if before != now:
                raise DataError(f"{path}: changes from {before} to {now}: cut it there")
    if last is None:
        return
    yield last, _unpadded(container, stream, last.samples, last.pts, last.duration)


def _unpadded(container, stream, samples: int, position: int, lasts: int) -> int:
    """How many of the last frame's samples are sound. The last packet says so where it lasts less
    than a frame; some encoders leave it to MP4's edit list, which others round to milliseconds."""
    if stream.time_base * stream.rate != 1:
        return samples
    if 0 < (lasts or 0) < samples:
        return lasts
    end = (stream.duration or 0) + (stream.start_time or 0) - (position or 0)
    return end if "mp4" in container.format.name and 0 < end < samples else samples


def _listed(container, stream, size: int) -> int:
    """Samples of AAC by MP4's table, which lists every frame: for data sets of hours, in a
    hundredth of the time. 0 where the table and the header disagree, or the file ends before."""
    plain = "mp4" in container.format.name and stream.codec_context.name == "aac"
    listed = [entry for entry in stream.index_entries if not entry.is_discard] if plain else []
    if len(listed) < 2 or stream.time_base * stream.rate != 1 or not stream.duration:
        return 0
    times = np.array([entry.timestamp for entry in listed])
    step = int(times[1] - times[0])
    over = times[-1] + step - stream.start_time - stream.duration  # the encoder's padding
    if (np.diff(times) != step).any() or times[0] != stream.start_time or abs(over) >= step:
        return 0
    if max(entry.pos + entry.size for entry in listed) > size:
        return 0
    container.seek(int(times[-1]), stream=stream)
    last = [packet for packet in container.demux(stream) if packet.size][-1]
    before = int(times[-1]) - stream.start_time
    return before + _unpadded(container, stream, step, last.pts, last.duration)


@_once
def _count(path: Path, number: int) -> AudioInfo:
    """Decode a stream to its end and say what it holds."""
    container, stream = opened(path, number)
    with container:
        rate, channels = stream.rate, stream.codec_context.channels
        samples = _listed(container, stream, path.stat().st_size)
        if samples:
            return AudioInfo(samples, rate, channels, f"MP4/{stream.codec_context.name}")
        for frame, counted in _frames(container, stream, path):
            samples += counted
            rate, channels = frame.rate, frame.layout.nb_channels
        kind = container.format.name
        kind = "MP4" if "mp4" in kind else kind.split(",")[0].upper()
        declared_s = float((stream.duration or 0) * stream.time_base)
        if declared_s and abs(declared_s - samples / rate) > _TOLD_S:
            warn_once(
                f"{path}: its header declares {declared_s:.2f} s, all "
                f"{samples / rate:.2f} s that can be decoded are read"
            )
        return AudioInfo(samples, rate, channels, f"{kind}/{stream.codec_context.name}")
