"""Finding songs on disk: the layouts that people use, and a word for everything that is not used.

Layouts, in all of which train, valid and test folders may stand on top (`SUBSETS`):
    <song>/<stem>.wav   MUSDB18-HQ, DnR, own songs
    <stem>/<song>.wav   one folder a stem
    <song>.stem.mp4     MUSDB18
    a CSV               song, subset, and a column of paths for each stem; or `instrum,path`
A file that is a sum of others (`instrumental`, `no_vocals`) or a copy is no stem. Lesson 01.
"""

import csv
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bsrnn import audio
from bsrnn.common import DataError

SUBSETS = {
    "train": ("train", "training", "tr", "trn", "train_set", "training_set"),
    "valid": ("valid", "validation", "val", "cv", "dev", "validation_set"),
    "test": ("test", "testing", "tt", "tst", "eval", "evaluation", "test_set"),
}
STEMS = {
    "vocals": ("vocals", "vocal", "vox", "voice", "voices", "acapella", "acappella", "a capella"),
    "drums": ("drums", "drum", "drumkit", "drum kit"),
    "bass": ("bass",),
    "other": ("other", "others", "rest"),
    "speech": ("speech", "dialogue", "dialog", "dialogues", "dx"),
    "music": ("music", "mx"),
    "sfx": ("sfx", "effects", "effect", "fx", "sound effects"),
    "guitar": ("guitar", "guitars"),
    "piano": ("piano", "pianos"),
}
MIXTURE = "mixture"
_MIXTURES = {"mixture", "mix", "mixdown", "full mix", "fullmix", "full", "master", "original"}
_BACKINGS = {"accompaniment", "instrumental", "instrumentals", "inst", "karaoke", "backing",
             "backing track", "backingtrack", "minus one", "playback"}  # fmt: skip
_WITHOUT = re.compile(r"(?:no|without|minus|non)[ _-]*(.+)")
_COPY = re.compile(r"(.+?)[ _-]*(?:\(?copy\)?(?:[ _-]*\(?\d+\)?)?|\(\d+\)|backup|bak|old|~)")
_MP4_STREAMS = {"drums": 1, "bass": 2, "other": 3, "vocals": 4, MIXTURE: 0}
_STEM_OF = {word: stem for stem, words in STEMS.items() for word in words}
_SUBSET_OF = {word: subset for subset, words in SUBSETS.items() for word in words}
# Notes beside the sound, which nobody takes for songs.
_NOTES = re.compile(
    r"\.(txt|md|json|csv|ya?ml|pdf|png|jpe?g|gif|midi?|lab|html|xml|ini|db|lrc|log|nfo|url)"
)

NO_SOUND = "no sound in it"
A_SUM = "a sum of other stems"
A_COPY = "a copy of a stem"
ANOTHER_FORMAT = "the same sound in another format is used"
NOT_READ = "no format that is read here"
BESIDE = "beside the folders of the songs"


@dataclass(frozen=True)
class Found:
    """A song as it lies on disk: `files` maps stems, and "mixture", to (path, stream)."""

    name: str
    subset: str
    files: dict


@dataclass
class Inventory:
    """What a root holds: `songs`, and `unused`: (what, why) of all that is not one of them."""

    songs: list[Found] = field(default_factory=list)
    unused: list[tuple[str, str]] = field(default_factory=list)

    def leave(self, path, why: str) -> None:
        """Say that something is not used; notes beside the sound are not missed."""
        if not _is_note(Path(path)):
            self.unused.append((str(path), why))


def inventory(root: Path) -> Inventory:
    """All songs of `root`, a folder or a CSV. Raises DataError if it is neither."""
    if root.suffix.lower() == ".csv" and root.is_file():
        try:
            return _from_table(root)
        except DataError:
            raise
        except Exception as error:  # no text, no table, paths that no system has
            raise DataError(f"{root}: no table of songs ({error}): name them, one a row") from None
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder: give a root of songs, or one of toy, film, clip, musdb7"
        )
    result = Inventory()
    subsets = {path: subset_name(path.name) for path in _visible(root) if path.is_dir()}
    sections = {path: subset for path, subset in subsets.items() if subset}
    if not sections or _by_stem(root):
        _section(root, "", result)
        return result
    for path in _visible(root):
        if path not in sections:
            result.leave(path, BESIDE)
    for path in sorted(sections, key=lambda path: list(SUBSETS).index(sections[path])):
        _section(path, sections[path], result)
    return result


def summary(unused) -> str:
    """One line on what is not used and why, the first of each kind by name; "" if nothing.

    >>> summary([("a/instrumental.wav", A_SUM), ("b/instrumental.wav", A_SUM), ("c", NO_SOUND)])
    'not used: 2 x a sum of other stems (a/instrumental.wav, ...), c: no sound in it'
    """
    first = {why: what for what, why in reversed(unused)}
    counts = Counter(why for _, why in unused)
    parts = [
        f"{first[why]}: {why}" if count == 1 else f"{count} x {why} ({first[why]}, ...)"
        for why, count in counts.items()
    ]
    return f"not used: {', '.join(parts)}" if parts else ""


def stem_name(text: str) -> str:
    """The stem that a file or folder of this name holds, "mixture" included.

    >>> stem_name("Vox"), stem_name("MIX"), stem_name("Kazoo")
    ('vocals', 'mixture', 'kazoo')
    """
    word = re.sub(r"[ _]+", " ", text.strip().lower())
    if word in _MIXTURES or word == "linear mixture":
        return MIXTURE
    return _STEM_OF.get(word, text.strip().lower())


def _is_stem(text: str) -> bool:
    return stem_name(text) in (*STEMS, MIXTURE)


def subset_name(text: str) -> str:
    """ "train", "valid", "test", or "" if the word means none of them."""
    return _SUBSET_OF.get(re.sub(r"[ -]+", "_", text.strip().lower()), "")


def missing_from(text: str) -> str | None:
    """The stem that a sum of stems leaves out; None if the name is no sum.

    >>> missing_from("no_vocals"), missing_from("Instrumental"), missing_from("noise")
    ('vocals', 'vocals', None)
    """
    word = re.sub(r"[ _]+", " ", text.strip().lower())
    if word in _BACKINGS:
        return "vocals"
    without = _WITHOUT.fullmatch(word)
    return _STEM_OF.get(without[1]) if without else None


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_note(path: Path) -> bool:
    return path.is_file() and (not path.suffix or bool(_NOTES.fullmatch(path.suffix.lower())))


def _is_sound(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in audio.SUFFIXES


def _by_stem(folder: Path) -> bool:
    """Whether the folders in `folder` are stems, and the files in them songs."""
    folders = [path for path in _visible(folder) if path.is_dir()]
    known = [path for path in folders if _is_stem(path.name)]
    if len(known) < 2 or len(known) < len(folders) / 2:
        return False
    files = [file.stem for path in known for file in _visible(path) if _is_sound(file)]
    return bool(files) and not any(map(_is_stem, files))


def _section(folder: Path, subset: str, result: Inventory) -> None:
    if _by_stem(folder):
        _songs_by_stem(folder, subset, result)
        return
    for path in _visible(folder):
        if path.name.endswith(".stem.mp4"):
            files = {stem: (path, stream) for stem, stream in _MP4_STREAMS.items()}
            result.songs.append(Found(path.name.removesuffix(".stem.mp4"), subset, files))
        elif path.is_dir():
            _song_folder(path, path.name, subset, result)
        else:
            result.leave(path, BESIDE if _is_sound(path) else NOT_READ)


def _song_folder(path: Path, name: str, subset: str, result: Inventory) -> None:
    """A folder of stems; or, with no sound of its own, of folders of stems (an album)."""
    sounds = [file for file in _visible(path) if _is_sound(file)]
    inner = [folder for folder in _visible(path) if folder.is_dir()]
    for file in _visible(path):
        if file.is_file() and file not in sounds:
            result.leave(file, NOT_READ)
    if sounds:
        result.songs.append(Found(name, subset, _stem_files(sounds, result)))
        for folder in inner:
            result.leave(folder, "a folder inside a song")
    elif len(inner) == 1 and inner[0].name.lower() in ("stems", "audio", "multitrack"):
        _song_folder(inner[0], name, subset, result)
    elif inner:
        for folder in inner:
            _song_folder(folder, f"{name} - {folder.name}", subset, result)
    else:
        result.leave(path, NO_SOUND)


def _stem_files(sounds: list[Path], result: Inventory) -> dict:
    """stem -> (path, 0) of the files of one song; copies, sums and second formats are left."""
    words = _without_prefix([file.stem for file in sounds])
    there = {stem_name(word) for word in words.values()}
    named: dict[str, Path] = {}
    by_format = lambda file: (audio.SUFFIXES.index(file.suffix.lower()), file.name)  # noqa: E731
    for file in sorted(sounds, key=by_format):
        word = words[file.stem]
        stem = stem_name(word)
        copied = _COPY.fullmatch(word.lower())
        if stem not in named and not (copied and stem_name(copied[1]) in there):
            named[stem] = file
        elif stem in named and named[stem].stem == file.stem:
            result.leave(file, ANOTHER_FORMAT)
        else:
            result.leave(file, A_COPY)
    stems = set(named) - {MIXTURE}
    sums = {stem: missing_from(stem) for stem in stems if missing_from(stem)}
    for stem, missing in sums.items():
        if stems - set(sums) - {missing}:  # what it is the sum of is there
            result.leave(named.pop(stem), A_SUM)
    return {stem: (file, 0) for stem, file in named.items()}


def _without_prefix(names: list[str]) -> dict[str, str]:
    """Each name without what all of them begin with ("Song_(Vocals)", "Song - drums")."""
    prefix = os.path.commonprefix(names)
    prefix = prefix[: max(map(prefix.rfind, "-_ (.")) + 1]
    short = {name: name[len(prefix) :].strip(" ()[]") for name in names}
    helps = prefix and len(names) > 1 and any(map(_is_stem, short.values()))
    return short if helps else {name: name for name in names}


def _songs_by_stem(folder: Path, subset: str, result: Inventory) -> None:
    songs: dict[str, dict] = {}
    folders = [path for path in _visible(folder) if path.is_dir()]
    for path in _visible(folder):
        if path not in folders:
            result.leave(path, BESIDE)
        elif missing_from(path.name) and len(folders) > 2:
            result.leave(path, A_SUM)
        else:
            for file in _visible(path):
                if _is_sound(file):
                    songs.setdefault(file.stem, {}).setdefault(stem_name(path.name), (file, 0))
                else:
                    result.leave(file, NOT_READ)
    result.songs += [Found(name, subset, files) for name, files in sorted(songs.items())]


def _from_table(path: Path) -> Inventory:
    """Songs of a CSV: columns song, subset (optional) and one of paths for each stem; or the
    columns `instrum` and `path`, where files of one folder, or of one name, are one song."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *lines = csv.reader(file)
    header = [name.strip().lower() for name in header]
    rows = [dict(zip(header, line, strict=False)) for line in lines if line]
    result = Inventory()
    songs: dict[tuple, dict] = {}
    if {"instrum", "path"} <= set(header):
        for row in rows:
            file = path.parent / row["path"]
            song = file.parent.name if _is_stem(file.stem) else file.stem
            songs.setdefault((song, ""), {})[stem_name(row["instrum"])] = (file, 0)
    else:
        song_column = next((name for name in ("song", "name", "track") if name in header), None)
        if song_column is None:
            raise DataError(f"{path}: no column `song`: name the songs, one a row")
        for row in rows:
            name, subset = row.pop(song_column), row.pop("subset", row.pop("split", ""))
            files = {stem_name(stem): (path.parent / at, 0) for stem, at in row.items() if at}
            songs[name, subset_name(subset)] = files
    for (name, subset), files in songs.items():
        absent = [str(file) for file, _ in files.values() if not file.is_file()]
        if absent:
            result.leave(name, f"{absent[0]} is not there")
        else:
            result.songs.append(Found(name, subset, files))
    return result


def common_stems(songs: list[Found], orders) -> tuple[tuple[str, ...], list[str]]:
    """(stems of at least half of the songs, in the order of a known set where it is one; others)"""
    counts = Counter(stem for song in songs for stem in song.files if stem != MIXTURE)
    kept = {stem for stem, count in counts.items() if 2 * count >= len(songs)}
    rare = sorted(set(counts) - kept)
    order = next((order for order in orders if kept == set(order)), None)
    return tuple(order or sorted(kept)), rare
