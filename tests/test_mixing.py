"""Random mixing: stateless draws, sums, recipes, activity, bad input. About 2 s."""

import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bsrnn.data import mixing
from bsrnn.errors import DataError, UsageError

RATE, STEMS = 1000, ("drums", "bass", "vocals")


class FakeSong:
    """A song whose samples say song, stem and position: song + stem / 10 + sample / 1e6."""

    def __init__(self, number, samples=4000, silent=(), channels=2):
        self.name, self.number, self.samples = f"song {number}", number, samples
        self.sample_rate, self.channels, self.silent = RATE, channels, silent
        self.duration_s = samples / RATE

    def read(self, stem, start=0, samples=None):
        stop = self.samples if samples is None else start + samples
        ramp = self.number + STEMS.index(stem) / 10 + np.arange(start, stop) / 1e6
        both = np.stack([ramp, -ramp])[: self.channels].astype(np.float32)  # (C, L)
        return both * (stem not in self.silent)


def dataset(songs):
    return types.SimpleNamespace(songs=songs, stems=STEMS, sample_rate=RATE)


def mixer(recipe="paper", songs=None, targets=("vocals",), samples=500, **options):
    songs = songs or [FakeSong(number) for number in range(1, 6)]
    recipe = mixing.recipe(recipe) if isinstance(recipe, str) else recipe
    return mixing.RandomMixer(dataset(songs), targets, samples, recipe, **options)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**9), st.integers(0, 2**31), st.sampled_from(sorted(mixing.recipes())))
def test_an_example_is_a_function_of_seed_and_index_only(index, seed, name):
    one, two = mixer(name, seed=seed), mixer(name, seed=seed, cache_bytes=0)
    two[index + 1], two[0]  # what was drawn before must not matter, nor whether songs are cached
    first, second = one[index], two[index]
    assert np.array_equal(first["mixture"], second["mixture"])
    assert np.array_equal(first["targets"], second["targets"])
    assert first["mixture"].dtype == first["targets"].dtype == np.float32


def test_seeds_and_indices_differ():
    examples = [mixer(seed=seed)[index]["mixture"] for seed in (0, 1) for index in (0, 1)]
    for i, one in enumerate(examples):
        assert not any(np.array_equal(one, other) for other in examples[:i])


@pytest.mark.parametrize("name", sorted(mixing.recipes()))
def test_the_mixture_is_the_sum_of_its_sources(name):
    every = mixer(name, targets=STEMS)
    for index in range(5):
        example = every[index]
        assert example["targets"].shape == (3, 2, 500)
        np.testing.assert_allclose(example["targets"].sum(0), example["mixture"], atol=1e-5)


def test_targets_come_in_the_order_asked_for():
    example = mixer(targets=("vocals", "drums"))[3], mixer(targets=("drums", "vocals"))[3]
    assert np.array_equal(example[0]["targets"], example[1]["targets"][::-1])


def test_a_pick_says_where_the_samples_come_from():
    every = mixer(targets=STEMS, seed=4)
    for pick, target in zip(every.picks(9), every[9]["targets"], strict=True):
        source = every.songs[pick.song].read(pick.stem, pick.start, 500)
        source = source[::-1] if pick.swap else source
        np.testing.assert_allclose(target, source * pick.gain, rtol=1e-5)


def picks(recipe, count=600):
    one = mixer(recipe)
    return [one.picks(index) for index in range(count)]


def test_statistics_of_the_paper_recipe():
    gains = np.array([pick.gain for example in picks("paper") for pick in example])
    assert abs((gains == 0).mean() - 0.1) < 0.03
    heard = 20 * np.log10(gains[gains > 0])
    assert heard.min() > -10 and heard.max() < 10 and abs(heard.mean()) < 0.6
    assert np.mean([len({pick.song for pick in e}) > 1 for e in picks("paper")]) > 0.9


def test_linear_gain_swap_polarity_and_coherent_songs():
    flat = [pick for example in picks("magronp-nosad") for pick in example]
    assert min(p.gain for p in flat) >= 0.25 and max(p.gain for p in flat) <= 1.25
    assert abs(np.mean([p.swap for p in flat]) - 0.5) < 0.05
    few = picks("few-songs")
    assert abs(np.mean([p.gain < 0 for e in few for p in e]) - 0.45) < 0.05
    same = [len({(p.song, p.start) for p in e}) == 1 for e in few]
    assert abs(np.mean(same) - 0.5) < 0.07
    assert all(p.gain == 1 and not p.swap for e in picks("plain", 20) for p in e)


def test_normalise_bounds_the_mixture():
    for index in range(5):
        example = mixer("magronp")[index]
        peak = max(np.abs(example["mixture"]).max(), np.abs(example["targets"]).max())
        assert peak == pytest.approx(1, abs=1e-6) or peak == 0


def test_activity_avoids_silence_but_copes_with_it():
    half = [FakeSong(1), *(FakeSong(n, silent=("vocals",)) for n in (2, 3))]
    heard = [mixer("paper", half).picks(index)[2].song == 0 for index in range(200)]
    assert np.mean(heard) > 0.9  # one third by pure chance
    plain = mixing.Recipe(active_share=0)
    heard = [mixer(plain, half).picks(index)[2].song == 0 for index in range(200)]
    assert 0.2 < np.mean(heard) < 0.5


def test_activity_counts_chunks():
    waveform = np.zeros((2, 1000), np.float32)
    waveform[0, :400] = 0.1
    assert mixing.activity(waveform) == pytest.approx(0.4)
    assert mixing.activity(waveform * 1e-3) == 0
    assert mixing.activity(waveform * np.nan) == 1  # so that a broken stem is met, not avoided


def test_distinct_items_repeat():
    few = mixer(distinct=4)
    assert np.array_equal(few[1]["mixture"], few[5]["mixture"])
    assert not np.array_equal(few[1]["mixture"], few[2]["mixture"])


def test_mono_takes_one_channel():
    example = mixer("few-songs", channels=1)[0]
    assert example["mixture"].shape == (1, 500) and example["targets"].shape == (1, 1, 500)


def test_short_songs_are_passed_over():
    songs = [FakeSong(1, samples=300), FakeSong(2)]
    assert [song.name for song in mixer(songs=songs).songs] == ["song 2"]


def test_blame_names_song_stem_and_second():
    songs = [FakeSong(1)]
    read = songs[0].read

    def broken(stem, start=0, samples=None):
        waveform = read(stem, start, samples)
        return waveform * np.nan if stem == "bass" else waveform

    sound = mixer(songs=songs)
    assert sound.blame(range(3)) is None
    songs[0].read = broken
    spoilt = mixer(songs=songs)
    start = spoilt.picks(0)[1].start / RATE
    assert spoilt.blame([0]) == f"song 'song 1', bass, from {start:.2f} s"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targets": ("vocal",)}, "did you mean vocals"),
        ({"samples": 5000}, "set seconds_per_segment to at most 4.00"),
        ({"songs": [FakeSong(1, silent=("vocals",))]}, "vocals is silent in all 1 songs"),
    ],
)
def test_bad_input_is_one_line_with_the_fix(change, words):
    with pytest.raises(UsageError, match=words) as caught:
        mixer(**change)
    assert "\n" not in str(caught.value)


def test_an_empty_dataset_is_refused():
    with pytest.raises(DataError, match="no songs"):
        mixing.RandomMixer(dataset([]), ("vocals",), 10, mixing.recipe("paper"))


def test_recipes_check_themselves():
    with pytest.raises(UsageError, match="did you mean paper"):
        mixing.recipe("papre")
    with pytest.raises(UsageError, match="silence is 2"):
        mixing.Recipe(silence=2)
    with pytest.raises(UsageError, match="swap them"):
        mixing.Recipe(gain_low=3, gain_high=1)
