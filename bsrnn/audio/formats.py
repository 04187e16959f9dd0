"""Which files are read and written (those that the tests read and write, at 8 to 192 kHz and 1, 2
and 6 channels), and their tags. Needs nothing, so that `--help` can list them at once."""

from typing import NamedTuple

SUFFIXES = (
    ".wav", ".flac", ".aif", ".aiff", ".aifc", ".w64", ".caf", ".au", ".ogg", ".oga", ".opus",
    ".mp3", ".m4a", ".mp4", ".m4b", ".aac", ".mov", ".mkv", ".mka", ".webm", ".wma", ".ac3", ".wv",
    ".tta", ".avi", ".mp2",
)  # fmt: skip
RATES_HZ = (1000, 1_000_000)  # below: a damaged header; above: no converter made for sound


class Format(NamedTuple):
    """How a suffix is written, and what it can hold: all rates where none are given."""

    container: str  # FFmpeg's name where the encoding is AAC
    encoding: str
    most_channels: int = 64
    rates_hz: tuple = ()


# MPEG-1, 2 and 2.5, layer III (ISO/IEC 11172-3, 13818-3); AAC-LC (ISO/IEC 14496-3).
_MP3_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_HZ = (*_MP3_HZ, 64000, 88200, 96000)
FORMATS = {
    ".wav": Format("WAV", "FLOAT"),  # keeps peaks above full scale
    ".flac": Format("FLAC", "PCM_24", 8),
    ".aiff": Format("AIFF", "PCM_24"),
    ".ogg": Format("OGG", "VORBIS", 8),
    ".opus": Format("OGG", "OPUS", 8, (48000,)),  # the rate of every decoder (RFC 7845)
    ".mp3": Format("MP3", "MPEG_LAYER_III", 2, _MP3_HZ),
    ".m4a": Format("ipod", "AAC", 6, _AAC_HZ),
    ".mp4": Format("mp4", "AAC", 6, _AAC_HZ),
}

# Tags as libsndfile calls them. "software" is left out: it would name who wrote the original.
TAGS = (
    "title", "artist", "album", "date", "genre", "tracknumber", "comment", "copyright", "license",
)  # fmt: skip
_AV = {"track": "tracknumber"}  # FFmpeg's names, where they differ


def known_tags(given: dict) -> dict[str, str]:
    """The entries of `given` that are `TAGS`, under those names; empty ones left out."""
    lower = {key.lower(): value.strip() for key, value in given.items()}
    named = {_AV.get(key, key): value for key, value in lower.items()}
    return {name: named[name] for name in TAGS if named.get(name)}
