"""Write audio files in blocks, atomically, in every format the course offers."""

import contextlib
import os
import secrets
from fractions import Fraction
from pathlib import Path

import numpy as np

from bsrnn.audio import tags as names
from bsrnn.common import DataError, UsageError

FORMATS = {  # suffix -> (container, encoding); float wav keeps peaks above full scale
    ".wav": ("WAV", "FLOAT"),
    ".flac": ("FLAC", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aiff": ("AIFF", "PCM_24"),
    ".m4a": ("ipod", "AAC"),  # FFmpeg's name for the container
    ".mp4": ("mp4", "AAC"),
}
_PCM_BITS = {"PCM_16": 16, "PCM_24": 24}
_BLOCK = 1 << 16  # samples per write: libsndfile's Vorbis encoder overflows on huge writes
# Rates and channel layouts of AAC-LC (ISO/IEC 14496-3); FFmpeg's encoder takes these.
_AAC_HZ = (
    7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000,
)  # fmt: skip
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
# Per channel and second; at 128 kbit/s FFmpeg's encoder stumbles over the first frames of a tone.
# The format allows 6 bits a sample.
_AAC_BITS = 192_000


class _SoundFile:
    """libsndfile's encoder."""

    def __init__(self, path: Path, container, encoding, sample_rate, channels, tags):
        import soundfile

        self.encoding = encoding
        self.file = soundfile.SoundFile(
            path, "w", sample_rate, channels, encoding, format=container
        )
        for name, value in tags.items():
            with contextlib.suppress(RuntimeError):  # a format without this tag
                setattr(self.file, name, value)

    def write(self, waveform: np.ndarray):
        frames = _pcm(waveform.T, self.encoding)  # (L, C)
        for first in range(0, len(frames), _BLOCK):
            self.file.write(frames[first : first + _BLOCK])

    def close(self):
        self.file.close()


class _AvFile:
    """FFmpeg's AAC encoder in an MP4 container, through PyAV.

    AAC codes frames of 1024 samples after one of priming. The container's edit list says where the
    sound begins and how long it is: in samples, because its clock is set to the sample rate.
    """

    def __init__(self, path: Path, container, encoding, sample_rate, channels, tags):
        import av

        self.rate, self.layout, self.position = sample_rate, _LAYOUTS.get(channels), 0
        if encoding != "AAC" or sample_rate not in _AAC_HZ or self.layout is None:
            raise ValueError("AAC takes 7350 to 96000 Hz and 1 to 6 or 8 channels")
        clock = {"movie_timescale": str(sample_rate)}
        self.container = av.open(str(path), "w", format=container, options=clock)
        self.container.metadata.update(names.for_av(tags))
        self.stream = self.container.add_stream("aac", rate=sample_rate, layout=self.layout)
        self.stream.bit_rate = channels * min(_AAC_BITS, 6 * sample_rate)

    def write(self, waveform: np.ndarray):
        import av

        for first in range(0, waveform.shape[-1], _BLOCK):
            block = np.ascontiguousarray(waveform[:, first : first + _BLOCK])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=self.layout)
            frame.sample_rate, frame.pts = self.rate, self.position
            frame.time_base = Fraction(1, self.rate)
            self.position += block.shape[-1]
            self.container.mux(self.stream.encode(frame))

    def close(self):
        try:
            if self.position:
                self.container.mux(self.stream.encode(None))
        finally:
            self.container.close()


class Writer:
    """Write a file in blocks, atomically: it gets its name only when the `with` block succeeds.

    The format follows the suffix (wav float, flac 24 bit, ogg, opus, mp3, aiff, m4a and mp4 with
    AAC; `subtype` such as "PCM_16" overrides). Integer formats round to the nearest step; they clip
    beyond full scale, see `.clips`. `samples`, if known, selects the 64-bit wav header where 4 GB
    would not do. tags: title, artist ... (`TAGS`), as `Reader.tags` gives them; kept where the
    format has them.
    """

    def __init__(
        self, path, sample_rate: int, channels: int, subtype=None, samples: int = 0, tags=None
    ):
        self.path = Path(path)
        container, default = FORMATS.get(self.path.suffix.lower(), (None, None))
        if container is None:
            raise UsageError(f"cannot write {self.path.name}: end it in {', '.join(FORMATS)}")
        self.subtype, self.sample_rate, self.channels = subtype or default, sample_rate, channels
        if container == "WAV" and samples * channels * 4 > 4e9:
            container = "RF64"
        self.peak, self.finished = 0.0, False
        self.temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.part")
        encoder = _AvFile if default == "AAC" else _SoundFile
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = encoder(
                self.temporary, container, self.subtype, sample_rate, channels,
                names.known(tags or {}),
            )  # fmt: skip
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
        try:
            self.file.write(waveform)
        except (OSError, RuntimeError, ValueError) as error:
            raise self._failure(error, "free some disk space") from error

    def finish(self):
        """Write what is left, under the temporary name still; what fails fails here."""
        if self.finished:
            return
        self.finished = True
        try:
            self.file.close()
        except (OSError, RuntimeError, ValueError) as error:
            raise self._failure(error, "check disk space and permissions") from error

    def close(self, keep: bool = True):
        """Finish and give the file its name. keep=False, or a failure, leaves nothing behind."""
        try:
            try:
                self.finish()
            except DataError:
                if keep:
                    raise
            if keep:
                os.replace(self.temporary, self.path)
        except OSError as error:
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


def write(path, waveform: np.ndarray, sample_rate: int, subtype=None, tags=None) -> Path:
    """Write (C, L) float to a file atomically; see `Writer`. Returns the path."""
    waveform = np.asarray(waveform)
    if waveform.ndim != 2:
        raise UsageError(f"write takes (C, L) waveforms, not the shape {waveform.shape}")
    with Writer(path, sample_rate, len(waveform), subtype, waveform.shape[1], tags) as file:
        file.write(waveform)
    return Path(path)
