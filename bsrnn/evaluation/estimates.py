"""A folder of anybody's stems as a system to score. Lesson 09.

Layouts, below any folders such as `test` or the name of a model:
    <song>/<stem>.wav         demucs, MSST, open-unmix, museval's eval_dir, this project
    <song>_<stem>.wav         flat names; <song>_(Vocals)_<model>.wav, 1_<song>_(Vocals).wav: UVR
    <stem>/<song>.wav         a folder for each stem
Songs are the data set's, compared by letters and digits only; "<song> - mixture" is the song, too.
"""

import logging
import re
import unicodedata
from pathlib import Path

import numpy as np

from bsrnn import audio
from bsrnn.common import DataError
from bsrnn.data.layouts import stem_name
from bsrnn.data.splits import digest
from bsrnn.data.stems import TOLERANCE_S

log = logging.getLogger(__name__)


class Estimates:
    """Estimates of `songs` in `folder`: `.stems`, and `of(song)`, a function that gives them.
    Raises DataError for a folder without any, two files for one stem, and a song that lacks a stem
    that others have. Extra stems and songs are warned about."""

    def __init__(self, folder, songs, stems=None):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError(f"{folder}: no such folder: give one of <song>/<stem>.wav")
        keys = {_key(song.name): song.name for song in songs}
        wanted, extra, self.files = songs[0].stems, [], {}
        for path in sorted(self.folder.rglob("*")):
            if path.suffix.lower() not in audio.SUFFIXES:
                continue
            song, stem = _place(path, keys, wanted)
            if song is None or stem not in wanted:
                extra.append(path)
            elif (song, stem) in self.files:
                both = f"{self.files[song, stem]} and {path}"
                raise DataError(f"two files hold {stem} of {song!r}, {both}: name one system")
            else:
                self.files[song, stem] = path
        there = {stem for _, stem in self.files}
        self.stems = tuple(stem for stem in wanted if stem in there and stem in (stems or wanted))
        if not self.stems:
            raise DataError(
                f"{folder}: no stem of these songs: name the files <song>/<stem>.wav, "
                f"such as {songs[0].name}/{wanted[0]}.wav"
            )
        lacking = [
            (s.name, stem) for s in songs for stem in self.stems if (s.name, stem) not in self.files
        ]
        if lacking:
            (song, stem), more = lacking[0], len(lacking) - 1
            others = f" and {more} more" if more else ""
            raise DataError(
                f"{folder} has no {stem} of {song!r}{others}: add the file, or name other stems"
            )
        if extra:
            log.warning("%s: %d files are not scored, such as %s", folder, len(extra), extra[0])

    def of(self, song):
        """(mixture, sample_rate) -> stem -> (C, L) as the song's, which `evaluate` takes. An end
        less than `TOLERANCE_S` off is cut or filled with silence, as museval does: encoders pad.
        DataError for another rate or length."""

        def read(mixture, sample_rate):
            return {stem: self._read(self.files[song.name, stem], song) for stem in self.stems}

        return read

    def _read(self, path, song) -> np.ndarray:
        waveform, rate = audio.read(path)
        if rate != song.sample_rate:
            raise DataError(f"{path} has {rate} Hz, the song {song.sample_rate}: resample it")
        waveform = audio.to_channels(waveform, song.channels)  # (C, L')
        missing = song.samples - waveform.shape[-1]
        if abs(missing) > TOLERANCE_S * rate:
            raise DataError(
                f"{path} has {waveform.shape[-1]} samples, the song {song.samples}: "
                "separate the whole song, and nothing beside it"
            )
        if missing:
            log.warning("%s is %d samples %s than the song: %s", path, abs(missing),
                        *(("shorter", "filled") if missing > 0 else ("longer", "cut")))  # fmt: skip
        return np.pad(waveform, ((0, 0), (0, max(0, missing))))[:, : song.samples]

    def digest(self) -> str:
        """What tells these files from others: their places, sizes and times."""
        states = [(str(path), path.stat()) for path in self.files.values()]
        return digest("\n".join(f"{path} {s.st_size} {s.st_mtime_ns}" for path, s in states), 16)


def _key(name: str) -> str:
    """Letters and digits without case; the name itself where it has none."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(char for char in plain if char.isalnum()) or plain


def _place(path: Path, keys: dict, wanted) -> tuple:
    """(name of the song or None, stem) of a file."""
    in_folder, name = _key(path.parent.name), _key(re.sub(r"^\d+_", "", path.stem))
    for key, stem in ((in_folder, _stem(path.stem, wanted)), (name, stem_name(path.parent.name))):
        song = keys.get(key) or keys.get(key.removesuffix("mixture"))
        if song is not None:
            return song, stem
    longest = max((key for key in keys if name.startswith(key)), key=len, default=None)
    return keys.get(longest), _stem(path.stem, wanted)


def _stem(name: str, wanted) -> str:
    """The stem that a file name ends in, or has in parentheses.

    >>> _stem("1_Song_(Vocals)", ("vocals",)), _stem("Song - drums", ("drums",))
    ('vocals', 'drums')
    """
    parts = [name, *reversed(re.findall(r"\(([^()]+)\)", name)), re.split(r"[ _-]+", name)[-1]]
    return next((stem_name(part) for part in parts if stem_name(part) in wanted), stem_name(name))
