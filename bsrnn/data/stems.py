"""Songs with stems: discover, check and read them, whatever the layout.

Layouts: MUSDB18 `train|test/<song>.stem.mp4`, MUSDB18-HQ `train|test/<song>/<stem>.wav`, DnR v2
`tr|cv|tt/<id>/{mix,speech,music,sfx}.wav`, or any folder `<song>/<stem>.wav` (flac, mp3, ogg, m4a)
with any stem names. The mixture is the sum of the stems by definition; a published mixture file is
only compared with it (`Dataset.table`). Lossy sources are decoded once into wav files under
`home()/cache`, 16 bit unless they exceed full scale, so that random segments are reads by seeking.
"""

import os
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from bsrnn import audio
from bsrnn.common import DataError, UsageError, choose
from bsrnn.data import sources, splits
from bsrnn.data.sources import home

MIXTURES = ("mixture", "mix")
_NOT_STEMS = (*MIXTURES, "accompaniment", "linear_mixture")
ORDERS = (("drums", "bass", "other", "vocals"), ("speech", "music", "sfx"))  # MUSDB18's, DnR's
_MP4_STREAMS = {"drums": 1, "bass": 2, "other": 3, "vocals": 4}  # stream 0 is the mixture
SUBSET_FOLDERS = {
    "train": "train", "valid": "valid", "validation": "valid", "test": "test",
    "tr": "train", "cv": "valid", "tt": "test",
}  # fmt: skip
SILENCE_DB = -60.0  # RMS of 100 ms below which `table` counts a stem as silent


@dataclass(frozen=True)
class Song:
    """One song. `files` maps stems to (path, stream); lengths and rates are equal in all of them.

    `first` and `samples` cut the song out of its files. All times are in samples.
    """

    name: str
    subset: str
    files: dict
    sample_rate: int
    channels: int
    samples: int
    mixture_source: tuple | None = None
    first: int = 0

    @property
    def stems(self) -> tuple[str, ...]:
        return tuple(self.files)

    @property
    def artist(self) -> str:
        return splits.artist(self.name)

    @property
    def duration_s(self) -> float:
        return self.samples / self.sample_rate

    def read(self, stem: str, start: int = 0, samples: int | None = None) -> np.ndarray:
        """`samples` samples of one stem from `start` on: (C, L) float32, L exactly as asked for.

        samples=None reads to the end; what lies beyond the end is zeros. Mono files are copied to
        the dataset's channels. Raises UsageError (stem), DataError (start, NaN, damaged file).
        """
        return self._read(self.files[choose(stem, self.stems, "stem")], start, samples)

    def mixture(self, start: int = 0, samples: int | None = None) -> np.ndarray:
        """The sum of all stems, (C, L): the mixture by definition."""
        return sum(self.sources(start, samples).values())

    def sources(self, start: int = 0, samples: int | None = None) -> dict[str, np.ndarray]:
        """All stems, in order: name -> (C, L)."""
        return {stem: self.read(stem, start, samples) for stem in self.stems}

    def mixture_file(self, start: int = 0, samples: int | None = None) -> np.ndarray | None:
        """The published mixture (C, L), None where there is none. It may differ from the sum of the
        stems: by 16-bit rounding in MUSDB18-HQ, at 21-35 dB in MUSDB18's AAC files."""
        return self._read(self.mixture_source, start, samples) if self.mixture_source else None

    def _read(self, source, start, samples):
        if not 0 <= start < self.samples:
            raise DataError(
                f"song {self.name!r}: start {start} is outside its {self.samples} samples"
            )
        wanted = self.samples - start if samples is None else samples
        there = min(wanted, self.samples - start)
        waveform, _ = audio.read(seekable(*source), self.first + start, there)  # (C', L)
        waveform = audio.to_channels(waveform, self.channels)  # (C, L)
        return np.pad(waveform, ((0, 0), (0, wanted - there))) if there < wanted else waveform


@dataclass(frozen=True)
class Dataset:
    """Songs of one root. Index by number, slice or name; iterate; `len`.

    `rung` says which rung of the data ladder a result stands on: toy, film, clip, musdb7, musdb18,
    musdb18-hq, dnr or folder. `split_hash` identifies which songs are in which subset.
    """

    songs: list[Song]
    root: Path
    rung: str
    split_hash: str

    @property
    def stems(self) -> tuple[str, ...]:
        return self.songs[0].stems

    @property
    def sample_rate(self) -> int:
        return self.songs[0].sample_rate

    @property
    def channels(self) -> int:
        return self.songs[0].channels

    def __len__(self):
        return len(self.songs)

    def __iter__(self):
        return iter(self.songs)

    def __getitem__(self, key):
        if isinstance(key, slice):
            return replace(self, songs=self.songs[key])
        if isinstance(key, str):
            return self.songs[[s.name for s in self.songs].index(choose(key, self._names, "song"))]
        return self.songs[key]

    @cached_property
    def _names(self):
        return [song.name for song in self.songs]

    def __repr__(self):
        counts = Counter(song.subset for song in self.songs)
        parts = ", ".join(f"{count} {subset}" for subset, count in counts.items())
        minutes = sum(song.duration_s for song in self.songs) / 60
        return f"Dataset({self.rung}: {parts}; {', '.join(self.stems)}; {minutes:.1f} min)"

    def subset(self, name: str) -> "Dataset":
        """Only the songs of "train", "valid" or "test"."""
        choose(name, ("train", "valid", "test"), "subset")
        songs = [song for song in self.songs if song.subset == name]
        if not songs:
            counts = dict(Counter(song.subset for song in self.songs))
            raise DataError(
                f"no {name} songs in {self.root} (it has {counts}): choose another subset"
            )
        return replace(self, songs=songs)

    def portion(self, share: float) -> "Dataset":
        """With only `share` (0 to 1) of the training seconds; validation and test songs stay.

        Songs are taken in the order of the SHA-256 of their names (nobody's choice; a smaller
        share lies within a larger one), the last one cut around its middle. For learning curves:
        how much data does it take? Lesson 10.
        """
        if not 0 < share <= 1:
            raise UsageError(f"share is {share:g}: give more than 0, at most 1")
        train = [song for song in self.songs if song.subset == "train"]
        left, kept = share * sum(song.duration_s for song in train), {}
        for song in sorted(train, key=lambda song: splits.digest(song.name)):
            samples = min(round(left * song.sample_rate), song.samples)
            if samples > 0:
                first = song.first + (song.samples - samples) // 2
                kept[song.name] = replace(song, first=first, samples=samples)
                left -= samples / song.sample_rate
        songs = [kept.get(song.name, song) for song in self.songs]
        songs = [song for song in songs if song.subset != "train" or song.name in kept]
        split_hash = self.split_hash if share == 1 else splits.digest(f"{self.split_hash} {share}")
        return replace(self, songs=songs, split_hash=split_hash)

    def table(self):
        """Validation table (pandas): a row per song. Reads every file once.

        silence_<stem> is the share of 100 ms frames below -60 dBFS, sum_vs_mixture_db the energy of
        the published mixture over that of its difference to the sum of stems (inf: equal, NaN: no
        mixture file). `note` names silent stems and unreadable files.
        """
        import pandas as pd

        return pd.DataFrame([_row(song) for song in self.songs])

    def check(self) -> "Dataset":
        """Read everything before training; DataError on the first NaN, damage or silent song."""
        for song in self.songs:
            if all(not waveform.any() for waveform in song.sources().values()):
                raise DataError(
                    f"song {song.name!r} is silent in every stem: leave it out of training"
                )
        return self


def _row(song: Song) -> dict:
    row = {"song": song.name, "subset": song.subset, "seconds": round(song.duration_s, 2)}
    row |= {"sample_rate": song.sample_rate, "channels": song.channels}
    try:
        sources = song.sources()
        published = song.mixture_file()
    except DataError as error:
        return row | {"note": str(error)}
    shares = {stem: silence_share(sources[stem], song.sample_rate) for stem in sources}
    row |= {f"silence_{stem}": round(share, 3) for stem, share in shares.items()}
    row["sum_vs_mixture_db"] = float("nan")
    if published is not None and published.any():
        rest = float(np.square(published - sum(sources.values()), dtype=np.float64).sum())
        energy = float(np.square(published, dtype=np.float64).sum())
        row["sum_vs_mixture_db"] = round(10 * np.log10(energy / rest), 1) if rest else float("inf")
    silent = [stem for stem, share in shares.items() if share == 1]
    everywhere = len(silent) == len(sources)
    row["note"] = "silent" if everywhere else "silent: " + ", ".join(silent) if silent else ""
    return row


def silence_share(waveform: np.ndarray, sample_rate: int) -> float:
    """Share of 100 ms frames of (C, L) whose RMS lies below -60 dBFS (a rest counts as a frame)."""
    frame = max(1, sample_rate // 10)
    starts = range(0, waveform.shape[-1], frame)
    power = [np.square(waveform[:, s : s + frame]).mean() for s in starts]
    return float(np.mean(np.array(power) < 10 ** (SILENCE_DB / 10)))


def seekable(path: Path, stream: int = 0) -> Path:
    """A file with this sound that can be read from any sample fast: wav and flac are their own, a
    lossy one is decoded once into `home()/cache` (its name carries path, size and time)."""
    if Path(path).suffix.lower() in (".wav", ".flac", ".aif", ".aiff"):
        return path
    status = os.stat(path)
    key = f"{Path(path).resolve()}|{status.st_size}|{status.st_mtime_ns}|{stream}"
    cached = home() / "cache" / f"{Path(path).name.split('.')[0][:40]}-{splits.digest(key, 16)}.wav"
    if not cached.exists():
        waveform, rate = audio.read(path, stream=stream)
        subtype = "PCM_16" if np.abs(waveform).max(initial=0) < 1 else "FLOAT"
        audio.write(cached, waveform, rate, subtype)
    return cached


def open(root_or_name, subset=None, stems=None, seed: int = 0, **options) -> Dataset:
    """Open a dataset by name or by folder.

    root_or_name: "toy" (generated band), "film" (generated scenes), "clip" (the real excerpt that
    stempeg bundles), "musdb7" (7 s previews, downloaded once), or a folder in any layout of this
    module's docstring. subset: "train", "valid" or "test"; stems: only these, in this order.
    seed and options (train, test, seconds) shape the generated sets. Raises DataError, one line.
    """
    name = str(root_or_name)
    if options and name not in ("toy", "film"):
        raise UsageError(f"{', '.join(options)}: only 'toy' and 'film' take generation options")
    if name in ("toy", "film"):
        dataset = _folder(sources.generated(name, seed, options), stems, name)
    elif name == "clip":
        dataset = _clip(stems)
    elif name == "musdb7":
        dataset = _folder(sources.previews(), stems, name)
    else:
        dataset = _folder(Path(root_or_name).expanduser(), stems)
    return dataset.subset(subset) if subset else dataset


def _folder(root: Path, stems, rung: str | None = None) -> Dataset:
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder: give a root of songs, or one of toy, film, clip, musdb7"
        )
    sections = [(root / f, subset) for f, subset in SUBSET_FOLDERS.items() if (root / f).is_dir()]
    found = [
        (path, subset, files)
        for folder, subset in sections or [(root, "")]
        for path in sorted(folder.iterdir())
        if (files := _song_files(path))
    ]
    if not found:
        raise DataError(
            f"{root}: no songs found; looked for [train|valid|test|tr|cv|tt/]<song>/<stem>."
            "(wav|flac|mp3|ogg|m4a) and <song>.stem.mp4: check the folder"
        )
    known = _common_stems([files for *_, files in found])
    if not known:
        raise DataError(f"{root}: only mixtures in it, no stems: add <song>/<stem>.wav files")
    wanted = tuple(choose(stem, known, "stem") for stem in stems or known)
    songs = [_song(path, subset, files, wanted) for path, subset, files in found]
    _same_rate(songs, root)
    channels = max(song.channels for song in songs)
    songs = _assign([replace(song, channels=channels) for song in songs])
    lines = sorted(f"{song.subset}/{song.name}" for song in songs)
    return Dataset(songs, root, rung or _rung(songs, root), splits.digest("\n".join(lines)))


def _song_files(path: Path) -> dict | None:
    """name -> (path, stream) for one song, None if `path` is no song."""
    if path.name.startswith("."):
        return None
    if path.name.endswith(".stem.mp4"):
        return {stem: (path, stream) for stem, stream in _MP4_STREAMS.items()} | {
            "mixture": (path, 0)
        }
    if not path.is_dir():
        return None
    files = {}
    for file in sorted(path.iterdir(), key=lambda file: (_preference(file), file.name)):
        if file.suffix.lower() in audio.SUFFIXES and not file.name.startswith("."):
            files.setdefault(file.stem, (file, 0))
    return files or None


def _preference(file: Path) -> int:
    suffix = file.suffix.lower()
    return audio.SUFFIXES.index(suffix) if suffix in audio.SUFFIXES else len(audio.SUFFIXES)


def _common_stems(songs: list[dict]) -> tuple[str, ...]:
    """Every stem that any song has, in MUSDB18's or DnR's order where it is one of these sets."""
    names = {stem for files in songs for stem in files} - set(_NOT_STEMS)
    for order in ORDERS:
        if names == set(order):
            return order
    return tuple(sorted(names))


def _song(path: Path, subset: str, files: dict, stems: tuple) -> Song:
    name = path.name.removesuffix(".stem.mp4")
    for stem in stems:
        if stem not in files:
            there = ", ".join(stem for stem in files if stem not in MIXTURES) or "no stems"
            raise DataError(
                f"song {name!r} has no stem {stem!r} (it has {there}): add the file, "
                "leave the song out, or name the stems to use"
            )
    mixture = next((files[key] for key in MIXTURES if key in files), None)
    chosen = {stem: files[stem] for stem in stems}
    infos = {stem: audio.info(*source) for stem, source in chosen.items()}
    if mixture:
        infos["mixture"] = audio.info(*mixture)
    for what, unit in (("sample_rate", "Hz"), ("samples", "samples")):
        values = {stem: getattr(info, what) for stem, info in infos.items()}
        if len(set(values.values())) > 1:
            said = ", ".join(f"{stem} {value}" for stem, value in values.items())
            fix = "resample" if unit == "Hz" else "pad or cut"
            raise DataError(f"song {name!r} has unequal stems ({said} {unit}): {fix} them to match")
    rates = next(iter(infos.values()))
    channels = max(info.channels for info in infos.values())
    return Song(name, subset, chosen, rates.sample_rate, channels, rates.samples, mixture)


def _same_rate(songs: list[Song], root: Path):
    rates = Counter(song.sample_rate for song in songs)
    if len(rates) > 1:
        odd = next(song for song in songs if song.sample_rate == min(rates, key=rates.get))
        said = ", ".join(f"{rate} Hz: {count}" for rate, count in rates.items())
        raise DataError(
            f"{root}: songs of different rates ({said}; such as {odd.name!r}): resample them to one"
        )


def _assign(songs: list[Song]) -> list[Song]:
    """Subset of every song: the folder's, with validation songs split off where it has none."""
    songs = [replace(song, subset=song.subset or "train") for song in songs]
    if any(song.subset == "valid" for song in songs):
        return songs
    valid = splits.validation(song.name for song in songs if song.subset == "train")
    is_valid = [song.subset == "train" and song.name in valid for song in songs]
    return [
        replace(song, subset="valid") if chosen else song
        for song, chosen in zip(songs, is_valid, strict=True)
    ]


def _rung(songs: list[Song], root: Path) -> str:
    """Named by evidence only: the toy set's own marker, stem files, official names, DnR's stems."""
    if (root / "toyband.json").exists():
        return "toy" if set(songs[0].stems) <= set(ORDERS[0]) else "film"
    if songs[0].name in str(songs[0].files) and ".stem.mp4" in str(songs[0].files):
        return "musdb7" if max(song.duration_s for song in songs) < 8 else "musdb18"
    if any(song.name in splits.MUSDB_VALIDATION for song in songs):
        return "musdb18-hq"
    return "dnr" if set(songs[0].stems) <= set(ORDERS[1]) else "folder"


def _clip(stems) -> Dataset:
    """One song, 0.1-5.9 s of the file: its ends are faded by the encoder."""
    path = sources.clip()
    wanted = tuple(choose(stem, ORDERS[0], "stem") for stem in stems or ORDERS[0])
    song = _song(path, "test", _song_files(path), wanted)
    first, last = round(0.1 * song.sample_rate), round(5.9 * song.sample_rate)
    song = replace(song, first=first, samples=last - first)
    return Dataset([song], path.parent, "clip", splits.digest(f"test/{song.name}"))
