"""Songs with stems: opened, checked and read, whatever their layout (`bsrnn.data.layouts`).

The mixture is the sum of the stems by definition; a published mixture file is only compared with
it. What does not fit costs a song at most, and is named (`Dataset.unused`, a warning): a song that
lacks a stem, with stems of another rate or of very unequal length, or with a damaged file. Ends
that differ by less than `TOLERANCE_S` are filled up with silence.
"""

import contextlib
import os
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bsrnn import audio
from bsrnn.common import DataError, UsageError, choose
from bsrnn.data import layouts, sources, splits
from bsrnn.data.layouts import MIXTURE
from bsrnn.data.sources import home

ORDERS = (("drums", "bass", "other", "vocals"), ("speech", "music", "sfx"))  # MUSDB18's, DnR's
MISSING = ("leave out", "silence")  # what becomes of a song without one of the stems
TOLERANCE_S = 0.1  # that stems of one song may differ in length: encoders pad by up to 50 ms
DECODING = 2  # how lossy files are decoded: another number makes the copies anew
SILENCE_DB = -60.0  # RMS of 100 ms below which `table` counts a stem as silent


class DataWarning(UserWarning):
    """One line on what of a dataset is not used, and why."""


@dataclass(frozen=True)
class Song:
    """One song. `files`: stem -> (path, stream), or None for silence; `first` and `samples` cut the
    song out of them; `ends`: where the file of a stem ends that is shorter than the others."""

    name: str
    subset: str
    files: dict
    sample_rate: int
    channels: int
    samples: int
    mixture_source: tuple | None = None
    first: int = 0
    ends: dict = field(default_factory=dict)

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
        """`samples` samples of one stem from `start` on (None: to the end): (C, L) float32, with
        zeros beyond the end; mono files in all channels of the dataset. Raises UsageError (stem),
        DataError (start, NaN, damaged file)."""
        return self._read(choose(stem, self.stems, "stem"), self.files[stem], start, samples)

    def mixture(self, start: int = 0, samples: int | None = None) -> np.ndarray:
        """The sum of all stems, (C, L): the mixture by definition."""
        return sum(self.sources(start, samples).values())

    def sources(self, start: int = 0, samples: int | None = None) -> dict[str, np.ndarray]:
        """All stems, in order: name -> (C, L)."""
        return {stem: self.read(stem, start, samples) for stem in self.stems}

    def mixture_file(self) -> np.ndarray | None:
        """The published mixture (C, L), None where there is none. It differs from the sum of the
        stems by rounding in MUSDB18-HQ, at 21-35 dB in MUSDB18's AAC files."""
        source = self.mixture_source
        return self._read(MIXTURE, source, 0, None) if source else None

    def _read(self, stem, source, start, samples):
        if not 0 <= start < self.samples:
            raise DataError(
                f"song {self.name!r}: start {start} is outside its {self.samples} samples"
            )
        wanted = self.samples - start if samples is None else samples
        first = self.first + start
        end = min(first + wanted, self.first + self.samples, self.ends.get(stem, np.inf))
        there = int(max(0, end - first))
        if source is None or not there:
            return np.zeros((self.channels, wanted), np.float32)
        waveform, _ = audio.read(seekable(*source), first, there)  # (C', L)
        waveform = audio.to_channels(waveform, self.channels)  # (C, L)
        return np.pad(waveform, ((0, 0), (0, wanted - there))) if there < wanted else waveform


@dataclass(frozen=True)
class Dataset:
    """Songs of one root. Index by number, slice or name; iterate; `len`.

    rung: of the data ladder: toy, film, clip, musdb7, musdb18, musdb18-hq, dnr or folder.
    split_hash: which songs are in which subset. unused: (what, why) of all in the root that is not
    used. everything: the songs of all subsets.
    """

    songs: list[Song]
    root: Path
    rung: str
    split_hash: str
    unused: tuple = ()
    everything: tuple = ()

    @property
    def training(self) -> "Dataset | None":
        """The training songs of the root that these songs come from; None if it has none."""
        songs = [song for song in self.everything or self.songs if song.subset == "train"]
        return replace(self, songs=songs) if songs else None

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
            names = [song.name for song in self.songs]
            return self.songs[names.index(choose(key, names, "song"))]
        return self.songs[key]

    def __repr__(self):
        counts = Counter(song.subset for song in self.songs)
        parts = ", ".join(f"{count} {subset}" for subset, count in counts.items())
        minutes = sum(song.duration_s for song in self.songs) / 60
        unused = layouts.summary(self.unused)
        text = f"{self.rung}: {parts}; {', '.join(self.stems)}; {minutes:.1f} min"
        return f"Dataset({text}; {unused})" if unused else f"Dataset({text})"

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
        """With only `share` (0 to 1) of the training seconds; validation and test songs stay. Songs
        are taken in the order of the SHA-256 of their names (a smaller share lies within a larger
        one), the last one cut around its middle. Lesson 10."""
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

        silence_<stem>: share of 100 ms frames below -60 dBFS; sum_vs_mixture_db: energy of the
        published mixture over that of its difference to the sum of stems (inf: equal, NaN: no
        file); note: what is odd.
        """
        import pandas as pd

        return pd.DataFrame([_row(song) for song in self.songs])


def _row(song: Song) -> dict:
    from bsrnn.data.checking import disagreement, sums

    row = {"song": song.name, "subset": song.subset, "seconds": round(song.duration_s, 2)}
    row |= {"sample_rate": song.sample_rate, "channels": song.channels}
    try:
        parts = song.sources()
        published = song.mixture_file()
    except DataError as error:
        return row | {"note": str(error)}
    shares = {stem: silence_share(sound, song.sample_rate) for stem, sound in parts.items()}
    row |= {f"silence_{stem}": round(share, 3) for stem, share in shares.items()}
    agreement_db, notes = float("nan"), []
    silent = [stem for stem, share in shares.items() if share == 1]
    if silent:
        notes.append("silent" if len(silent) == len(parts) else "silent: " + ", ".join(silent))
    if published is not None and published.any():
        agreement_db, words = disagreement(published, sum(parts.values()), song.sample_rate)
        notes += [words] if words else []
    notes += [f"{stem} is the sum of {' and '.join(of)}" for stem, of in sums(parts).items()]
    notes += [
        f"{stem} ends {song.samples - end} samples early, filled with silence"
        for stem, end in song.ends.items()
        if stem != MIXTURE
    ]
    return row | {"sum_vs_mixture_db": round(agreement_db, 1), "note": "; ".join(notes)}


def silence_share(waveform: np.ndarray, sample_rate: int) -> float:
    """Share of 100 ms frames of (C, L) whose RMS lies below -60 dBFS (a rest counts as a frame)."""
    frame = max(1, sample_rate // 10)
    starts = np.arange(0, waveform.shape[-1], frame)
    power = [np.square(waveform[:, s : s + frame]).mean() for s in starts]
    return float(np.mean(np.array(power) < 10 ** (SILENCE_DB / 10)))


def seekable(path: Path, stream: int = 0) -> Path:
    """A file with this sound that is read by seeking: wav and flac are their own, a lossy one is
    decoded once into `home()/cache` (its name carries path, size and time)."""
    if Path(path).suffix.lower() in (".wav", ".flac", ".aif", ".aiff"):
        return path
    status = os.stat(path)
    key = f"{Path(path).resolve()}|{status.st_size}|{status.st_mtime_ns}|{stream}|{DECODING}"
    cached = home() / "cache" / f"{Path(path).name.split('.')[0][:40]}-{splits.digest(key, 16)}.wav"
    if not cached.exists():
        waveform, rate = audio.read(path, stream=stream)
        subtype = "PCM_16" if np.abs(waveform).max(initial=0) < 1 else "FLOAT"
        audio.write(cached, waveform, rate, subtype)
    return cached


def open(
    root_or_name, subset=None, stems=None, seed: int = 0, missing: str = "leave out", **options
) -> Dataset:
    """Open a dataset by name, by folder or by a CSV of paths.

    root_or_name: "toy" (generated band), "film" (generated scenes), "clip" (the real excerpt that
    stempeg bundles), "musdb7" (7 s previews, downloaded once), or a root in any layout of
    `bsrnn.data.layouts`. subset: "train", "valid" or "test". stems: only these, in this order; by
    default those of at least half of the songs. missing: a song that lacks one is left out ("leave
    out"), or the stem is taken as "silence". seed, options (train, test, seconds): of generated
    sets. Warns of what is not used (DataWarning). Raises UsageError, DataError.
    """
    name = str(root_or_name)
    if not name.strip():
        raise UsageError("the dataset has no name: give toy, clip, musdb7, or a folder of songs")
    if options and name not in ("toy", "film"):
        raise UsageError(f"{', '.join(options)}: only 'toy' and 'film' take generation options")
    choose(missing, MISSING, "rule for missing stems")
    if name in ("toy", "film"):
        dataset = _folder(sources.generated(name, seed, options), stems, missing, name)
    elif name == "clip":
        dataset = _clip(stems)
    elif name == "musdb7":
        dataset = _folder(sources.previews(), stems, missing, name)
    else:
        dataset = _folder(Path(root_or_name).expanduser(), stems, missing)
    if dataset.unused:
        text = f"{dataset.root}: {layouts.summary(dataset.unused)}"
        warnings.warn(text, DataWarning, stacklevel=2)
    return dataset.subset(subset) if subset else dataset


def _folder(root: Path, stems, missing: str, rung: str | None = None) -> Dataset:
    """The songs of a root that fit together; what does not is named."""
    inventory = layouts.inventory(root)
    if not inventory.songs:
        why = layouts.summary(inventory.unused)
        raise DataError(
            f"{root}: no songs found; looked for [train|valid|test/]<song>/<stem>.wav, "
            f"<stem>/<song>.wav and <song>.stem.mp4 ({why or 'it is empty'}): check the folder"
        )
    known, rare = layouts.common_stems(inventory.songs, ORDERS)
    if not known:
        raise DataError(f"{root}: only mixtures in it, no stems: add <song>/<stem>.wav files")
    wanted = tuple(choose(stem, (*known, *rare), "stem") for stem in stems or known)
    if not stems:
        for stem in rare:
            inventory.leave(f"stem {stem}", "fewer than half of the songs have it")
    songs = []
    for found in inventory.songs:
        try:
            songs.append(_song(found, wanted, missing))
        except DataError as error:
            inventory.leave(f"song {found.name!r}", str(error))
    songs = _same_rate(songs, inventory)
    if not songs:
        raise DataError(f"{root}: no song can be used: {inventory.unused[-1][1]}")
    channels = max(song.channels for song in songs)
    songs = _assign([replace(song, channels=channels) for song in songs])
    lines = sorted(f"{song.subset}/{song.name}" for song in songs)
    split_hash = splits.digest("\n".join(lines))
    unused = tuple((what.removeprefix(f"{root}{os.sep}"), why) for what, why in inventory.unused)
    rung = rung or _rung(songs, root)
    return Dataset(songs, root, rung, split_hash, unused, everything=tuple(songs))


def _song(found: layouts.Found, stems: tuple, missing: str = "leave out") -> Song:
    """The song with these stems. Raises DataError, one line that says what does not fit."""
    absent = [stem for stem in stems if stem not in found.files]
    there = [stem for stem in stems if stem in found.files]
    if not there or (absent and missing == "leave out"):
        has = ", ".join(stem for stem in found.files if stem != MIXTURE) or "no stems"
        raise DataError(
            f"no stem {absent[0]!r} (it has {has}): add the file, name the stems to use, "
            'or take missing stems as silence (missing="silence")'
        )
    files = {stem: found.files.get(stem) for stem in stems}
    infos = {stem: audio.info(*files[stem]) for stem in there}
    rates = {stem: info.sample_rate for stem, info in infos.items()}
    lengths = {stem: info.samples for stem, info in infos.items()}
    rate, samples = next(iter(rates.values())), max(lengths.values())
    for values, unit in ((rates, "Hz"), (lengths, "samples")):
        allowed = TOLERANCE_S * rate if unit == "samples" else 0
        if max(values.values()) - min(values.values()) > allowed:
            text = ", ".join(f"{stem} {value}" for stem, value in values.items())
            raise DataError(f"unequal stems ({text} {unit}): mend it with `bsrnn data repair`")
    mixture = None
    with contextlib.suppress(DataError, KeyError):  # it is only compared with: it blocks nothing
        info = audio.info(*found.files[MIXTURE])
        if info.sample_rate == rate:
            infos[MIXTURE], lengths[MIXTURE] = info, info.samples
            mixture = found.files[MIXTURE]
    channels = max(info.channels for info in infos.values())
    ends = {stem: length for stem, length in lengths.items() if length < samples}
    return Song(found.name, found.subset, files, rate, channels, samples, mixture, ends=ends)


def _same_rate(songs: list[Song], inventory: layouts.Inventory) -> list[Song]:
    """The songs of the rate that most of them have."""
    rates = Counter(song.sample_rate for song in songs)
    usual = max(rates, key=rates.get, default=0)
    for song in songs:
        if song.sample_rate != usual:
            why = f"its rate is not the others' {usual} Hz: mend it with `bsrnn data repair`"
            inventory.leave(f"song {song.name!r}", why)
    return [song for song in songs if song.sample_rate == usual]


def _assign(songs: list[Song]) -> list[Song]:
    """Subset of every song: the folder's, with validation songs split off where it has none."""
    songs = [replace(song, subset=song.subset or "train") for song in songs]
    if any(song.subset == "valid" for song in songs):
        return songs
    valid = splits.validation(song.name for song in songs if song.subset == "train")
    chosen = lambda song: song.subset == "train" and song.name in valid  # noqa: E731
    return [replace(song, subset="valid") if chosen(song) else song for song in songs]


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
    name = path.name.removesuffix(".stem.mp4")
    found = next(song for song in layouts.inventory(path.parent).songs if song.name == name)
    song = _song(replace(found, subset="test"), wanted)
    first, last = round(0.1 * song.sample_rate), round(5.9 * song.sample_rate)
    song = replace(song, first=first, samples=last - first)
    return Dataset([song], path.parent, "clip", splits.digest(f"test/{song.name}"))
