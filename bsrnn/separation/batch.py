"""Many songs: files, folders and globs in, a folder of stems for each out. Lesson 08."""

import contextlib
import glob
from collections import Counter
from pathlib import Path

from bsrnn import audio
from bsrnn.audio.arrays import MOST_CHANNELS
from bsrnn.common import DataError, UsageError, choose, file_names
from bsrnn.separation.run import STEM_MP4, bar, plan, separate_file, song_name


def find(paths, out_dir=None) -> list[Path]:
    """The audio files that `paths` mean, each once: files as they are, folders with all audio files
    below them, globs. What lies in `out_dir`, inside such a folder, is left out.

    Raises UsageError for a path that means none.
    """
    files = {}
    for path in paths:
        if not str(path).strip():
            raise UsageError("a path is empty: name a song, or a folder (. is this one)")
        plain = Path(path)
        if plain.is_dir():
            here = _below(plain, out_dir)
        elif plain.exists() or not glob.has_magic(str(path)):
            here = [plain]
        else:
            here = map(Path, sorted(glob.glob(str(path), recursive=True)))
            here = [file for file in here if file.is_file()]
        if not here or not here[0].exists():
            what = "no audio file in" if plain.is_dir() else "no file"
            raise UsageError(f"{what} {path}: check the path")
        for file in here:
            files.setdefault(file.resolve(), file)
    return list(files.values())


def _below(folder: Path, out_dir) -> list[Path]:
    """Audio files below a folder, without hidden ones and without earlier results."""
    out = Path(out_dir).resolve() if out_dir is not None else None
    if out == folder.resolve():
        raise UsageError(f"{folder} holds the songs: give another folder for the stems")
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in audio.SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not (out and folder.resolve() in out.parents and out in path.resolve().parents)
    ]


def folder_names(files) -> list[str]:
    """A folder for each file: its name; where several have one name, "<its folder> - <name>", and
    where that is not enough, a number behind it. Upper and lower case count as one.

    >>> folder_names([Path("a/song.wav"), Path("b/Song.mp3"), Path("b/tune.mp3")])
    ['a - song', 'b - Song', 'tune']
    """
    names = [song_name(path) for path in files]
    often = Counter(name.casefold() for name in names)
    for number, (path, name) in enumerate(zip(files, names, strict=True)):
        if often[name.casefold()] > 1:
            names[number] = f"{path.resolve().parent.name} - {name}"
    return file_names(names)


def foresee(files, suffix: str):
    """Warn, before any work, about what this format cannot hold of these songs.

    Raises UsageError for a format that is not written, or channels that no rule folds.
    """
    choose(suffix, (*audio.FORMATS, STEM_MP4), "format")
    form = audio.FORMATS[Path(suffix).suffix or suffix]
    if form.rates_hz or form.most_channels < MOST_CHANNELS:
        for path in files:
            with contextlib.suppress(DataError):  # which its turn will tell
                info = audio.header(path)
                audio.fit(suffix, info.sample_rate, info.channels)


def separate_files(
    separator, files, out_dir, progress: bool = False, suffix=".wav", overwrite=True, **options
):
    """Separate many files: an iterator of (path, paths of its stems by name, or the error).

    progress: one bar over the seconds of all files. The rest as in `separate_file`; wrong options
    raise their UsageError before the first file.
    """
    plan(separator, **options)
    files = [Path(path) for path in files]
    foresee(files, suffix)
    options |= {"suffix": suffix, "overwrite": overwrite}
    return _separate_each(separator, files, out_dir, progress, options)


def _separate_each(separator, files, out_dir, progress, options):
    lengths = [seconds([path]) if progress else 0.0 for path in files]
    with bar(sum(lengths), progress) as shown:
        for number, (path, name) in enumerate(zip(files, folder_names(files), strict=True)):
            before = shown.n
            shown.set_description(f"{number + 1}/{len(files)} {path.name}")
            try:
                made = separate_file(separator, path, out_dir, progress=shown, name=name, **options)
            except Exception as error:  # whatever is wrong with one song, the next may be sound
                made = error
                if progress:
                    shown.total = max(0, shown.total - lengths[number] + shown.n - before)
            yield path, made


def seconds(files) -> float:
    """How long these songs are by their headers; those that cannot be read count nothing."""
    total = 0.0
    for path in files:
        with contextlib.suppress(DataError):
            total += audio.header(path).duration_s
    return total
