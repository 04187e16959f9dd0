"""Audio files in and out: read, write, resample, whole or in blocks; tags travel along.

Conventions: waveforms are numpy float32 (C, L) with full scale 1.0, channels in wav's order. Plain
numbers (wav, aiff ...), flac and ogg go through libsndfile (soundfile), all others and the streams
of `.stem.mp4` through FFmpeg's libraries as bundled by PyAV; no system ffmpeg is needed. Lengths
are counted while decoding. Resampling is soxr at its highest quality.

    waveform, sample_rate = read("song.mp3")
    with Reader("song.mp3") as file: block = file.read(44100); file.info, file.tags
    with Writer("vocals.m4a", 44100, 2, tags={"title": "Song"}) as file: file.write(block)
    resample(waveform, 44100, 16000); to_channels(waveform, 1)

Lessons 00 and 08.
"""

from bsrnn.audio.arrays import check_rate, sound, waveform
from bsrnn.audio.converting import Resampler, resample, resampled_length, to_channels
from bsrnn.audio.decoding import AudioInfo
from bsrnn.audio.reading import SUFFIXES, Reader, header, info, read
from bsrnn.audio.tags import TAGS
from bsrnn.audio.writing import FORMATS, Writer, fit, write

__all__ = [
    "FORMATS", "SUFFIXES", "TAGS", "AudioInfo", "Reader", "Resampler", "Writer", "check_rate",
    "fit", "header", "info", "read", "resample", "resampled_length", "sound", "to_channels",
    "waveform", "write",
]  # fmt: skip
