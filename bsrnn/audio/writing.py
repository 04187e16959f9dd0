"""Write audio files in blocks, atomically, in every format the course offers."""

import contextlib
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

from bsrnn.audio.arrays import check_rate, waveform
from bsrnn.audio.converting import XIPH_ORDER, Resampler, to_channels
from bsrnn.audio.decoding import warn_once
from bsrnn.audio.formats import FORMATS, known_tags
from bsrnn.common import DataError, UsageError, synced, unfinished

_PCM_BITS = {"PCM_16": 16, "PCM_24": 24}
_BLOCK = 1 << 16  # samples per write: libsndfile's Vorbis encoder overflows on huge writes
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1"}
# Per channel and second; at 128 kbit/s FFmpeg's encoder stumbles over the first frames of a tone.
# The format allows 6 bits a sample.
_AAC_BITS = 192_000


def fit(suffix: str, sample_rate: int, channels: int) -> tuple[int, int]:
    """The sample rate and channels that a format gives such a sound: its own, or the nearest ones
    that the format holds, with a warning. UsageError where no rule folds the channels.

    >>> fit(".flac", 44100, 2)
    (44100, 2)
    """
    check_rate(sample_rate)
    form = FORMATS[suffix.lower()]
    rate, width = sample_rate, channels
    if form.rates_hz and rate not in form.rates_hz:
        rate = next((hz for hz in form.rates_hz if hz > rate), form.rates_hz[-1])
        warn_once(f"{suffix} holds no {sample_rate} Hz: sound of that rate is written at {rate} Hz")
    if channels > form.most_channels:
        width = to_channels(np.zeros((channels, 0)), 2).shape[0]
        warn_once(f"{suffix} holds no {channels} channels: they are folded to stereo")
    return rate, width


class _SoundFile:
    """libsndfile's encoder."""

    def __init__(self, path: Path, container, encoding, sample_rate, channels, tags, streams):
        if len(streams) > 1:
            raise ValueError("it holds one stream")
        self.encoding = encoding
        self.order = XIPH_ORDER.get(channels) if container == "OGG" else None
        self.file = soundfile.SoundFile(
            path, "w", sample_rate, channels, encoding, format=container
        )
        for name, value in tags.items():
            with contextlib.suppress(RuntimeError):  # a format without this tag
                setattr(self.file, name, value)

    def write(self, block: np.ndarray, number: int):
        if self.order:
            block = block[list(self.order)]  # libsndfile leaves the order to its caller
        frames = _pcm(block.T, self.encoding)  # (L, C)
        for first in range(0, len(frames), _BLOCK):
            self.file.write(frames[first : first + _BLOCK])

    def close(self):
        self.file.close()


class _AacFile:
    """FFmpeg's AAC encoder in an MP4 container; several streams make a `.stem.mp4`.

    The edit list says where the sound begins and how long it is: in samples, because the
    container's clock is set to the sample rate.
    """

    def __init__(self, path: Path, container, encoding, sample_rate, channels, tags, streams):
        self.rate, self.layout = sample_rate, _LAYOUTS[channels]
        clock = {"movie_timescale": str(sample_rate)}
        self.container = av.open(str(path), "w", format=container, options=clock)
        if number := tags.pop("tracknumber", None):
            tags["track"] = number  # FFmpeg's name
        self.container.metadata.update(tags)
        self.streams, self.positions = [], [0] * len(streams)
        for name in streams:
            stream = self.container.add_stream("aac", rate=sample_rate, layout=self.layout)
            stream.bit_rate = channels * min(_AAC_BITS, 6 * sample_rate)
            stream.metadata.update({"handler_name": name} if name else {})
            self.streams.append(stream)

    def write(self, waveform: np.ndarray, number: int):
        for first in range(0, waveform.shape[-1], _BLOCK):
            block = np.ascontiguousarray(waveform[:, first : first + _BLOCK])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=self.layout)
            frame.sample_rate, frame.pts = self.rate, self.positions[number]
            frame.time_base = Fraction(1, self.rate)
            self.positions[number] += block.shape[-1]
            self.container.mux(self.streams[number].encode(frame))

    def close(self):
        try:
            for stream, position in zip(self.streams, self.positions, strict=True):
                if position:
                    self.container.mux(stream.encode(None))
        finally:
            self.container.close()


class Writer:
    """Write a file in blocks, atomically: it gets its name only when the `with` block succeeds.

    The format follows the suffix (`FORMATS`; `subtype` such as "PCM_16" overrides its encoding);
    see `fit` for what it cannot hold. Integers are rounded, and clipped beyond full scale (`.clips`
    says so). samples: if known, selects the 64-bit wav header where 4 GB would not do. tags: as in
    `Reader.tags`. streams: names, where an mp4 holds several; `write` says which.
    """

    def __init__(
        self, path, sample_rate: int, channels: int, subtype=None, samples: int = 0, tags=None,
        streams=("",),
    ):  # fmt: skip
        self.path, self.channels = Path(path), channels
        if self.path.suffix.lower() not in FORMATS:
            raise UsageError(f"cannot write {self.path.name}: end it in {', '.join(FORMATS)}")
        form = FORMATS[self.path.suffix.lower()]
        rate, self.width = fit(self.path.suffix, sample_rate, channels)
        self.resamplers = []
        if rate != sample_rate:
            self.resamplers = [Resampler(sample_rate, rate, self.width) for _ in streams]
        self.subtype = subtype or form.encoding
        container = form.container
        if container == "WAV" and samples * channels * 4 > 4e9:
            container = "RF64"
        self.peak, self.finished = 0.0, False
        encoder = _AacFile if form.encoding == "AAC" else _SoundFile
        try:
            self.temporary = unfinished(self.path)
            self.file = encoder(
                self.temporary, container, self.subtype, rate, self.width,
                known_tags(tags or {}), streams,
            )  # fmt: skip
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            with contextlib.suppress(OSError, AttributeError):
                self.temporary.unlink()
            what = f"{self.subtype}, {self.width} channels, {rate} Hz; {error}"
            fix = "check folder and permissions" if isinstance(error, OSError) else "choose wav"
            raise DataError(f"cannot write {self.path} ({what}): {fix}") from error

    @property
    def clips(self) -> bool:
        """Whether samples beyond full scale were cut off."""
        return self.peak > 1 and self.subtype not in ("FLOAT", "DOUBLE")

    @contextlib.contextmanager
    def _guard(self, fix: str):
        """What an encoder or a disk raises, as one line."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            raise DataError(f"cannot write {self.path} ({error}): {fix}") from error

    def write(self, block: np.ndarray, stream: int = 0):
        """Append (C, L). Refuses NaN and infinities."""
        block = waveform(block, f"the sound for {self.path}").astype(np.float32, copy=False)
        if block.shape[0] != self.channels:
            raise UsageError(f"waveforms must be ({self.channels}, L), not {block.shape}")
        block = to_channels(block, self.width)
        self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
        self._encode(self.resamplers[stream].push(block) if self.resamplers else block, stream)

    def _encode(self, block: np.ndarray, stream: int):
        with self._guard("free some disk space"):
            self.file.write(block, stream)

    def finish(self):
        """Write what is left, under the temporary name still; what fails fails here."""
        if self.finished:
            return
        self.finished = True
        try:
            for stream, resampler in enumerate(self.resamplers):
                self._encode(resampler.finish(), stream)
        finally:
            with self._guard("check disk space and permissions"):
                self.file.close()

    def close(self, keep: bool = True):
        """Finish and give the file its name. keep=False, or a failure, leaves nothing behind."""
        try:
            with contextlib.nullcontext() if keep else contextlib.suppress(DataError):
                self.finish()
            if keep:
                with self._guard("check disk space and permissions"):
                    synced(self.temporary)
                    os.replace(self.temporary, self.path)
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


def write(path, mixture: np.ndarray, sample_rate: int, subtype=None, tags=None) -> Path:
    """Write (C, L) float to a file atomically; see `Writer`. Returns the path."""
    mixture = waveform(mixture)
    with Writer(path, sample_rate, len(mixture), subtype, mixture.shape[1], tags) as file:
        file.write(mixture)
    return Path(path)
