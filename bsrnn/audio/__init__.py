"""Audio files in and out: read, write, resample, whole or in blocks; tags travel along.

Waveforms are numpy float32 (C, L) with full scale 1.0, channels in wav's order. Plain numbers (wav,
aiff ...), flac and ogg go through libsndfile, all others and the streams of `.stem.mp4` through
FFmpeg's libraries as bundled by PyAV. Lengths are counted while decoding.

    waveform, sample_rate = read("song.mp3")
    with Reader("song.mp3") as file: block = file.read(44100); file.info, file.tags
    with Writer("vocals.m4a", 44100, 2, tags={"title": "Song"}) as file: file.write(block)
    resample(waveform, 44100, 16000); to_channels(waveform, 1)

Lessons 00 and 08.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
