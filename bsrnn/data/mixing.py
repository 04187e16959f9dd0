"""Random mixing: training examples made from segments of different songs (lesson 07).

A training set of 28 songs has 28 mixtures, but 28^4 ways to combine one drum track with one bass,
one vocal and one other stem. Every published band-split recipe draws its examples so.

Conventions
    An example is a pure function of (seed, index): the same index gives the same samples in any
    order, in any worker process, today or after a resume. Nothing is remembered between examples.

References
    Luo & Yu 2022 (arXiv 2209.15174), section III: source activity detection, gain in [-10, 10] dB,
    each source dropped with probability 0.1.
    Uhlich et al. 2017: random mixing, channel swap, random gain.
"""

import dataclasses
import json

import numpy as np

from bsrnn.data.activity import heard as activity
from bsrnn.errors import DataError, UsageError, choose

TRIES = 8  # draws before the most active segment so far is taken; keeps nearly silent stems usable


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one training example is drawn. All probabilities are per example or per source.

    >>> Recipe.from_json(recipe("paper").to_json()) == recipe("paper")
    True
    """

    remix: float = 1.0  # probability of stems from different songs, else one moment of one song
    gain_low: float = -10.0  # lower end of the gain of each source, in gain_unit
    gain_high: float = 10.0  # upper end
    gain_unit: str = "db"  # "db": uniform in decibel; "linear": uniform factor
    channel_swap: float = 0.0  # probability of exchanging left and right of a source
    polarity: float = 0.0  # probability of flipping the sign of a source
    silence: float = 0.1  # probability of dropping a source (targets too: silence must be learnt)
    active_share: float = 0.5  # wanted share of heard chunks in a segment; 0 takes any segment
    normalise: bool = False  # divide mixture and targets by the mixture's peak

    def __post_init__(self):
        choose(self.gain_unit, ("db", "linear"), "gain_unit")
        for name in ("remix", "channel_swap", "polarity", "silence", "active_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}: give a share from 0 to 1")
        if self.gain_low > self.gain_high:
            raise UsageError(
                f"gain_low {self.gain_low} exceeds gain_high {self.gain_high}: swap them"
            )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        return cls(**json.loads(text))


_RECIPES = {
    # nothing random but song and moment: the mixtures as they were released
    "plain": Recipe(remix=0.0, gain_low=0.0, gain_high=0.0, silence=0.0, active_share=0.0),
    # Luo & Yu 2022
    "paper": Recipe(),
    # magronp/bsrnn, its default set with activity detection: the paper's, peak-normalised
    "magronp": Recipe(normalise=True),
    # magronp/bsrnn, the set of its published optimised models: no activity detection
    "magronp-nosad": Recipe(
        gain_low=0.25,
        gain_high=1.25,
        gain_unit="linear",
        channel_swap=0.5,
        silence=0.0,
        active_share=0.0,
    ),
    # for a handful of songs: all augmentations, and real combinations half of the time, because
    # only they have one key, one tempo and a producer's balance
    "few-songs": Recipe(remix=0.5, gain_low=-6.0, gain_high=6.0, channel_swap=0.5, polarity=0.5),
}


def recipes() -> dict[str, Recipe]:
    """Every built-in recipe by name."""
    return dict(_RECIPES)


def recipe(name: str) -> Recipe:
    """The built-in recipe `name`; UsageError with the nearest names otherwise."""
    return _RECIPES[choose(name, _RECIPES, "mixing recipe")]


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

    >>> from bsrnn.data.mixing import RandomMixer, recipe   # doctest: +SKIP
    >>> mixer = RandomMixer(songs, ("vocals",), 44100, recipe("paper"), seed=0)  # doctest: +SKIP
    >>> mixer[7]["targets"].shape  # doctest: +SKIP
    (1, 2, 44100)

    Errors: UsageError for a stem the dataset lacks or a segment longer than every song; DataError
    for a target stem that is silent in every song. Lesson 07.
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
        for stem in self.targets:
            self._require_sound(stem)

    def __getitem__(self, index: int) -> dict:
        sources = [self._source(pick) for pick in self.picks(index)]  # stems x (C, L)
        mixture = np.sum(sources, axis=0, dtype=np.float32)
        targets = np.stack([sources[self.stems.index(stem)] for stem in self.targets])  # (S, C, L)
        if self.recipe.normalise:
            peak = max(float(np.abs(mixture).max()), float(np.abs(targets).max()))
            if peak > 1e-6:
                mixture, targets = mixture / peak, targets / peak
        return {"mixture": mixture, "targets": targets, "index": index}

    def picks(self, index: int) -> list[Pick]:
        """The draw behind example `index`, one Pick per stem of the dataset."""
        index = index % self.distinct if self.distinct else index
        rng = np.random.default_rng([self.seed, index])
        if rng.random() < self.recipe.remix:
            places = [self._place(rng, [stem]) for stem in self.stems]
        else:
            places = [self._place(rng, self.targets)] * len(self.stems)
        return [
            self._treat(rng, stem, *place) for stem, place in zip(self.stems, places, strict=True)
        ]

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

    def _treat(self, rng, stem: str, song: int, start: int) -> Pick:
        recipe = self.recipe
        gain = rng.uniform(recipe.gain_low, recipe.gain_high)
        gain = 10 ** (gain / 20) if recipe.gain_unit == "db" else gain
        swap = rng.random() < recipe.channel_swap
        gain = -gain if rng.random() < recipe.polarity else gain
        gain = 0.0 if rng.random() < recipe.silence else gain
        return Pick(stem, song, start, float(gain), bool(swap))

    def _source(self, pick: Pick) -> np.ndarray:
        source = self._read(pick.stem, pick.song, pick.start)  # (C, L)
        if pick.swap:
            source = source[::-1]
        if self.channels == 1:
            # the swap already chose at random between left first and right first
            source = source[:1]  # (C, L) -> (1, L)
        return np.ascontiguousarray(source) * np.float32(pick.gain)

    def _read(self, stem: str, number: int, start: int) -> np.ndarray:
        """(C, samples) of one stem, from memory where the dataset fits."""
        if self._cache is None:
            return self.songs[number].read(stem, start, self.samples)
        if (number, stem) not in self._cache:
            self._cache[number, stem] = self.songs[number].read(stem)
        return self._cache[number, stem][:, start : start + self.samples]

    def _require_sound(self, stem: str) -> None:
        for number, song in enumerate(self.songs):
            for start in range(0, song.samples - self.samples + 1, self.samples):
                if activity(self._read(stem, number, start)) > 0:
                    return
        raise DataError(f"{stem} is silent in all {len(self.songs)} songs: train another stem")


def _refuse_length(dataset, samples: int):
    if not len(dataset.songs):
        raise DataError("the dataset has no songs to train on: check its train folder")
    longest = max(dataset.songs, key=lambda song: song.samples)
    seconds = samples / longest.sample_rate
    raise UsageError(
        f"a segment of {seconds:.2f} s is longer than every song: "
        f"set seconds_per_segment to at most {longest.duration_s:.2f}"
    )
