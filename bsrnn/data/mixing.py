"""Random mixing: training examples made from segments of different songs (lesson 07).

An example is a pure function of (seed, index): the same index gives the same samples in any order,
in any worker process, today or after a resume.

References: Luo & Yu 2022 (arXiv 2209.15174), section III; Uhlich et al. 2017 (random mixing,
channel swap, random gain).
"""

import dataclasses

import numpy as np

from bsrnn.common import DataError, UsageError, choose
from bsrnn.data import activity as rules
from bsrnn.data import augment
from bsrnn.data.activity import heard as activity
from bsrnn.data.recipes import Recipe, recipe, recipes

__all__ = ["Pick", "RandomMixer", "Recipe", "activity", "recipe", "recipes"]

TRIES = 8  # draws before the most active segment so far is taken; keeps nearly silent stems usable


@dataclasses.dataclass(frozen=True)
class Pick:
    """Where one source of one example comes from and what is done to it."""

    stem: str
    song: int  # number of the song in the mixer's list
    start: int  # first sample in the song
    gain: float  # factor; negative flips polarity, 0 drops the source
    swap: bool  # exchange left and right


class RandomMixer:
    """Stateless random examples from a dataset of songs, usable as a torch map-style dataset.

    `mixer[index]` is a dict of `mixture` (C, L) float32, `targets` (S, C, L) float32 in the order
    asked for, and `index`. The mixture is the sum of *all* stems of the dataset after their gains.
    Raises UsageError for a stem the dataset lacks or a segment longer than every song; DataError
    for a target stem that is silent in every song.

    >>> from bsrnn import data
    >>> songs = data.open("toy", "train", train=2, test=1, seconds=2.0)
    >>> RandomMixer(songs, ("vocals",), 44100, recipe("paper"))[7]["targets"].shape
    (1, 2, 44100)
    """

    def __init__(
        self,
        dataset,
        targets: tuple[str, ...],
        samples: int,
        recipe: Recipe,
        seed: int = 0,
        channels: int | None = None,
        distinct: int = 0,
        cache_bytes: int = 2_000_000_000,
    ):
        """`samples` is the segment length; `channels` 1 takes one random channel of each source;
        `distinct` > 0 repeats the first so many examples for ever (1 batch: the overfit check);
        songs are kept decoded in memory when the dataset needs at most `cache_bytes`."""
        self.stems = tuple(dataset.stems)
        for stem in targets:
            choose(stem, self.stems, "stem")
        self.targets = tuple(targets)
        self.songs = [song for song in dataset.songs if song.samples >= samples]
        if not self.songs:
            _refuse_length(dataset, samples)
        self.samples, self.recipe, self.seed = samples, recipe, seed
        self.channels, self.distinct = channels, distinct
        needed = sum(song.samples * song.channels for song in self.songs) * 4 * len(self.stems)
        self._cache = {} if needed <= cache_bytes else None
        for prefix in ("noise", "reverb"):
            if getattr(recipe, prefix):
                choose(getattr(recipe, f"{prefix}_stem"), self.stems, f"{prefix}_stem")
        for stem in self.targets:
            if not any(activity(part) > 0 for part in self._segments(stem)):
                raise DataError(
                    f"{stem} is silent in all {len(self.songs)} songs: train another stem"
                )
        self._listed = {stem: self._list(stem) for stem in self.stems} if recipe.segments else None

    def __getitem__(self, index: int) -> dict:
        picks, rng = self._draw(index)
        sources = [self._source(pick, rng) for pick in picks]  # stems x (C, L)
        mixture = np.sum(sources, axis=0, dtype=np.float32)
        targets = np.stack([sources[self.stems.index(stem)] for stem in self.targets])  # (S, C, L)
        factor = self._whole_factor(rng, max(float(np.abs(x).max()) for x in (mixture, targets)))
        if factor != 1:
            mixture, targets = mixture * np.float32(factor), targets * np.float32(factor)
        return {"mixture": mixture, "targets": targets, "index": index}

    def picks(self, index: int) -> list[Pick]:
        """The draw behind example `index`, one Pick per stem of the dataset."""
        return self._draw(index)[0]

    def _draw(self, index: int):
        """The picks of an example, and the generator for whatever is drawn after them."""
        index = index % self.distinct if self.distinct else index
        rng = np.random.default_rng([self.seed, index])
        remixed = rng.random() < self.recipe.remix
        if remixed:
            places = [self._place(rng, [stem]) for stem in self.stems]
        else:
            places = [self._place(rng, self.targets)] * len(self.stems)
        picks = [
            self._treat(rng, stem, *place) for stem, place in zip(self.stems, places, strict=True)
        ]
        later = np.random.default_rng([self.seed, index, 1])  # so that options added since the
        # first version leave the draws above as they were
        return self._drop(later, picks, remixed), later

    def _drop(self, rng, picks: list[Pick], remixed: bool) -> list[Pick]:
        """Take gains back, and drop others or all targets, as the recipe says."""
        recipe, kept_picks = self.recipe, []
        rest = [stem for stem in self.stems if stem not in self.targets]
        silenced = set(self.targets if rng.random() < recipe.silence_targets else ())
        if recipe.others and remixed and rest:
            kept = rng.integers(1, min(recipe.others, len(rest)) + 1)
            silenced |= set(rest) - set(rng.choice(rest, kept, replace=False))
        for pick in picks:
            gain = pick.gain if rng.random() < recipe.gain_share else float(np.sign(pick.gain))
            gain = 0.0 if pick.stem in silenced else gain
            kept_picks.append(dataclasses.replace(pick, gain=gain))
        return kept_picks

    def _whole_factor(self, rng, peak: float) -> float:
        """The factor for mixture and targets together."""
        recipe, factor = self.recipe, 1.0
        if recipe.normalise and peak > 1e-6:  # magronp's bound
            factor = 1 / peak
        elif recipe.limit and peak > 1:
            factor = 1 / (peak + rng.uniform(0, 0.5))  # BandIt's
        if recipe.whole_gain_db and rng.random() < recipe.whole_gain_share:
            factor *= 10 ** (rng.uniform(-recipe.whole_gain_db, recipe.whole_gain_db) / 20)
        return factor

    def blame(self, indices) -> str | None:
        """Name the first source with NaN or infinite samples among examples `indices`, or None."""
        for index in indices:
            for pick in self.picks(int(index)):
                if not np.isfinite(self._read(pick.stem, pick.song, pick.start)).all():
                    return self.describe(pick)
        return None

    def describe(self, pick: Pick) -> str:
        song = self.songs[pick.song]
        return f"song {song.name!r}, {pick.stem}, from {pick.start / song.sample_rate:.2f} s"

    def _place(self, rng, judged) -> tuple[int, int]:
        """A random (song, start) where at least one of the `judged` stems is heard enough."""
        if self._listed is not None:
            rows = self._listed[judged[int(rng.integers(len(judged)))]]  # (G, 3)
            number, low, high = rows[int(rng.integers(len(rows)))]
            return int(number), int(rng.integers(low, high + 1))
        best, best_share = None, -1.0
        for _ in range(TRIES):
            number = int(rng.integers(len(self.songs)))
            start = int(rng.integers(self.songs[number].samples - self.samples + 1))
            if self.recipe.active_share == 0:
                return number, start
            share = max(activity(self._read(stem, number, start)) for stem in judged)
            if share > self.recipe.active_share:
                return number, start
            if share > best_share:
                best, best_share = (number, start), share
        return best

    def _list(self, stem: str) -> np.ndarray:
        """(G, 3): song, first and last start of an excerpt in each segment that the rule keeps; in
        every segment of a stem of which it keeps none."""
        rule, rows, spare = rules.rule(self.recipe.segments), [], []
        for number, song in enumerate(self.songs):
            judged = rules.segments(song.read(stem), song.sample_rate, rule)
            for start, end, kept in zip(judged.starts, judged.ends, judged.kept, strict=True):
                first = min(int(start), song.samples - self.samples)
                row = (number, first, max(first, int(end) - self.samples))
                (rows if kept else spare).append(row)
        return np.array(rows or spare)

    def _treat(self, rng, stem: str, song: int, start: int) -> Pick:
        recipe = self.recipe
        gain = rng.uniform(recipe.gain_low, recipe.gain_high)
        gain = 10 ** (gain / 20) if recipe.gain_unit == "db" else gain
        swap = rng.random() < recipe.channel_swap
        gain = -gain if rng.random() < recipe.polarity else gain
        gain = 0.0 if rng.random() < recipe.silence else gain
        return Pick(stem, song, start, float(gain), bool(swap))

    def _source(self, pick: Pick, rng) -> np.ndarray:
        source = self._read(pick.stem, pick.song, pick.start)  # (C, L)
        if pick.swap:
            source = source[::-1]
        if self.channels == 1:
            # the swap already chose at random between left first and right first
            source = source[:1]  # (C, L) -> (1, L)
        source = np.ascontiguousarray(source) * np.float32(pick.gain)
        recipe = self.recipe
        if pick.stem == recipe.reverb_stem and rng.random() < recipe.reverb:
            source = augment.reverb(rng, source, self.songs[pick.song].sample_rate)
        if pick.stem == recipe.noise_stem and rng.random() < recipe.noise:
            source = augment.with_noise(rng, source, recipe.noise_snr_db)
        return source

    def _read(self, stem: str, number: int, start: int) -> np.ndarray:
        """(C, samples) of one stem, from memory where the dataset fits."""
        if self._cache is None:
            return self.songs[number].read(stem, start, self.samples)
        if (number, stem) not in self._cache:
            self._cache[number, stem] = self.songs[number].read(stem)
        return self._cache[number, stem][:, start : start + self.samples]

    def _segments(self, stem: str):
        """Every segment (C, samples) of one stem, song after song."""
        for number, song in enumerate(self.songs):
            for start in range(0, song.samples - self.samples + 1, self.samples):
                yield self._read(stem, number, start)


def _refuse_length(dataset, samples: int):
    if not len(dataset.songs):
        raise DataError("the dataset has no songs to train on: check its train folder")
    longest = max(dataset.songs, key=lambda song: song.samples)
    seconds = samples / longest.sample_rate
    raise UsageError(
        f"a segment of {seconds:.2f} s is longer than every song: "
        f"set seconds_per_segment to at most {longest.duration_s:.2f}"
    )
