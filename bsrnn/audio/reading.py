"""Read audio files whole, in parts or in blocks: `Reader`, `read`, `info`."""

import contextlib
import os
from pathlib import Path

import av
import numpy as np

from bsrnn.audio.arrays import MOST_CHANNELS
from bsrnn.audio.converting import resample, to_channels
from bsrnn.audio.decoding import AudioInfo, Decoded, SoundFile, opened
from bsrnn.audio.formats import RATES_HZ
from bsrnn.common import DataError, UsageError, another_kind

# How files begin that libsndfile reads: RIFF, AIFF, FLAC, W64, CAF, AU, Ogg; and what it seeks.
_DAMAGED = "damaged or truncated, it cannot be decoded whole: copy it again, or convert it"
_SNDFILE = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"riff", b"caff", b".snd", b"OggS")


class Reader:
    """Read a file in blocks: `with Reader(path) as file: block = file.read(44100)  # (C, L)`.

    `.info` is an AudioInfo, `.tags` holds title, artist and so on (`TAGS`), `.read(n)` gives the
    next n samples (fewer only at the end), `.seek(n)` goes to n. Raises DataError (one line) for
    files that are missing, empty, not audio, that the decoder calls damaged, or that hold NaN or
    infinite samples. `stream` chooses a stream of a `.stem.mp4`.
    """

    def __init__(self, path, stream: int = 0):
        self.path, self.position = Path(path), 0
        self.file = self._guard(_open, self.path, stream)
        self.info, self.tags = self.file.info, self.file.tags
        rate, channels = self.info.sample_rate, self.info.channels
        low, high = RATES_HZ
        wrong = None
        if self.info.samples <= 0:
            wrong = "holds no samples: leave it out or copy it again"
        elif not low <= rate <= high:
            wrong = f"declares {rate} Hz, no rate of sound: repair its header"
        elif channels > MOST_CHANNELS:
            wrong = f"declares {channels} channels: repair its header"
        if wrong:
            self.file.close()
            raise DataError(f"{self.path}: {wrong}")

    def seek(self, start: int):
        if not 0 <= start <= self.info.samples:
            raise DataError(f"{self.path}: start {start} is not in its {self.info.samples} samples")
        self._guard(self.file.seek, start)
        self.position = start

    def read(self, samples: int) -> np.ndarray:
        wanted = min(samples, self.info.samples - self.position)
        block = self._guard(self.file.read, wanted)
        if block.shape[-1] < wanted:
            raise DataError(f"{self.path}: {_DAMAGED}")
        if not np.isfinite(block).all():
            raise DataError(
                f"{self.path}: NaN or infinite samples near "
                f"{self.position / self.info.sample_rate:.2f} s: repair or leave out this file"
            )
        self.position += wanted
        return block

    def _guard(self, action, *arguments):
        """Whatever a decoder raises, as one line; memory and interrupts pass."""
        try:
            return action(*arguments)
        except (UsageError, MemoryError):
            raise
        except Exception as error:
            raise DataError(f"{self.path}: {_DAMAGED}") from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def _open(path: Path, stream: int):
    """The decoder for this file."""
    head, wrong = b"", None
    if path.is_dir():
        wrong = "is a folder: name an audio file in it"
    elif not path.exists():
        wrong = "no such file: check the path"
    elif not os.access(path, os.R_OK):
        wrong = "no permission to read it: change its mode"
    else:
        with path.open("rb") as file:
            head = file.read(512)
        wrong = another_kind(head) if head else "empty file: copy it again"
    if wrong:
        raise DataError(f"{path}: {wrong}")
    if stream == 0 and head.startswith(_SNDFILE):
        with contextlib.suppress(RuntimeError):  # FFmpeg may know it
            return SoundFile(path)
    try:
        opened(path, stream)[0].close()
    except (av.FFmpegError, ValueError) as error:
        what = "not audio, or damaged: convert it to wav or flac"
        if head[4:8] == b"ftyp":
            what = "its index (moov) is missing, as in half a download: copy it again"
        elif not head.strip(b"\0"):
            what = "holds zeros only, as in half a download: copy it again"
        raise DataError(f"{path}: {what}") from error
    return Decoded(path, stream)


def info(path, stream: int = 0) -> AudioInfo:
    """What the file holds, counted; same errors as `Reader`."""
    with Reader(path, stream) as file:
        return file.info


def header(path) -> AudioInfo:
    """What the header declares, true or not: for a bar of progress, without decoding all of it."""
    if Path(path).suffix.lower() in (".wav", ".flac", ".aif", ".aiff"):
        return info(path)
    try:
        container, stream = opened(path, 0)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not audio, or damaged: convert it to wav or flac") from error
    with container:
        rate, seconds = stream.rate, (container.duration or 0) / 1e6  # in microseconds
        return AudioInfo(round(seconds * rate), rate, stream.codec_context.channels, "")


def read(
    path, start: int = 0, samples=None, sample_rate=None, channels=None, stream: int = 0
) -> tuple[np.ndarray, int]:
    """Read a file, or a part of it by seeking: ((C, L) float32, sample rate in Hz).

    start, samples: the part, in samples of the file (None: to the end; what reaches beyond the end
    comes out shorter). sample_rate, channels: convert to these (see `resample`, `to_channels`).
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
