"""Random mixing: stateless draws, sums, recipes, activity, bad input. About 2 s."""

import dataclasses
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bsrnn.common import DataError, UsageError
from bsrnn.data import augment, mixing

RATE, STEMS = 1000, ("drums", "bass", "vocals")
SCENES = ("bandit-augment", "bandit-reverb")


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
    recipe = scene_recipe(recipe) if recipe in SCENES else recipe
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


class RestingSong(FakeSong):
    """Noise; the vocals rest from 8 to 22 s."""

    def read(self, stem, start=0, samples=None):
        stop = self.samples if samples is None else start + samples
        noise = np.random.default_rng(self.number).standard_normal((2, self.samples))
        if stem == "vocals":
            noise[:, 8000:22000] = 0
        return noise[:, start:stop].astype(np.float32)


def count_songs(kind=FakeSong, samples=9000):
    return [kind(number, samples) for number in range(1, 4)]


def scene_recipe(name):
    """A recipe for scenes, with the stems of these songs."""
    return dataclasses.replace(mixing.recipe(name), noise_stem="drums", reverb_stem="vocals")


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


def test_amanteur_keeps_songs_together_and_remixes_a_quarter():
    """Three quarters real mixtures; else 1 to 3 others; a tenth without the target."""
    one = mixer("amanteur", count_songs(), targets=("vocals",))
    examples = [one.picks(index) for index in range(600)]
    together = [len({(p.song, p.start) for p in e}) == 1 for e in examples]
    assert abs(np.mean(together) - 0.75) < 0.06
    assert abs(np.mean([e[2].gain == 0 for e in examples]) - 0.1) < 0.04
    others = [sum(p.gain != 0 for p in e[:2]) for e, t in zip(examples, together, strict=True)]
    apart = [n for n, t in zip(others, together, strict=True) if not t]
    assert set(apart) == {1, 2} and {2} == {n for n, t in zip(others, together, strict=True) if t}
    peaks = [
        max(np.abs(x).max() for x in (e["mixture"], e["targets"]))
        for e in map(one.__getitem__, range(300))
    ]
    gains_db = 20 * np.log10(peaks)
    assert abs(np.mean(np.abs(gains_db) < 1e-3) - 0.5) < 0.1  # half of them without a gain
    assert gains_db.min() > -10.01 and 5 < gains_db.max() < 10.01


def test_lists_draw_inside_what_the_rule_keeps():
    """Vocals rest from 8 to 22 s: no 6 s segment there is heard in more than half."""
    songs = count_songs(RestingSong, 30000)
    for name in ("magronp", "paper-lists"):
        one = mixer(name, songs)
        starts = [one.picks(i)[2].start for i in range(200)]
        assert all(start <= 9000 - 500 or start >= 21000 for start in starts), name
        assert max(starts) > 26000 and len(set(starts)) > 150
    free = mixer("magronp-nosad", songs)
    assert any(9000 < free.picks(i)[2].start < 20000 for i in range(50))
    deaf = [FakeSong(1, 30000), FakeSong(2, 30000, silent=("drums",))]
    one = mixer("magronp", deaf)
    assert {one.picks(i)[0].song for i in range(50)} == {0}


def test_bandit_augments_half_and_limits_peaks():
    plain, augmented = mixer("bandit"), mixer(scene_recipe("bandit-augment"), targets=STEMS)
    assert all(p.gain == 1 for e in range(20) for p in plain.picks(e))
    gains = np.array([p.gain for e in range(600) for p in augmented.picks(e)])
    assert abs(np.mean(np.abs(gains) == 1) - 0.5) < 0.05 and abs(np.mean(gains < 0) - 0.5) < 0.05
    heard = 20 * np.log10(np.abs(gains))
    assert heard.min() > -6.01 and heard.max() < 6.01
    assert all(np.abs(augmented[e]["mixture"]).max() <= 1 + 1e-6 for e in range(20))


def test_scenes_get_noise_and_rooms():
    quiet = dataclasses.replace(mixing.recipe("bandit"), noise=1.0, noise_stem="drums")
    before, after = (mixer(r, targets=STEMS)[3]["targets"] for r in ("bandit", quiet))
    assert np.array_equal(before[1:], after[1:]) and not np.array_equal(before[0], after[0])
    snr_db = 10 * np.log10(np.square(before[0]).sum() / np.square(after[0] - before[0]).sum())
    assert -24.5 < snr_db < 24.5
    with pytest.raises(UsageError, match="reverb_stem"):
        mixer(mixing.recipe("bandit-reverb"))  # no speech among drums, bass and vocals


@pytest.mark.parametrize("decay", [-2.0, 0.0, 1.0, 2.0])
def test_coloured_noise_has_its_slope(decay):
    noise = augment.coloured_noise(np.random.default_rng(0), 2, 2**15, decay)
    assert np.sqrt(np.square(noise).mean()) == pytest.approx(1, abs=1e-3)
    power = np.square(np.abs(np.fft.rfft(noise))).mean(0)[16:]
    slope = np.polyfit(np.log(np.arange(16, 16 + len(power))), np.log(power), 1)[0]
    assert slope == pytest.approx(-decay, abs=0.1)


def test_a_room_decays_by_60_db_over_its_time():
    response = augment.room(np.random.default_rng(0), 2, 8000, size=1.0, damping=0.0, width=1.0)
    assert response.shape == (2, 16000) and np.square(response).sum(-1) == pytest.approx([1, 1])
    level = 10 * np.log10(np.square(response).reshape(2, 16, 1000).mean(-1))  # (C, 1/8 s)
    assert level[0, 0] - level[0, 15] == pytest.approx(60 * 15 / 16, abs=2)
    damped = augment.room(np.random.default_rng(0), 1, 8000, size=1.0, damping=1.0, width=0.0)
    bands = np.abs(np.fft.rfft(damped[0, 4000:8000]))
    assert bands[1200:].mean() < 0.05 * bands[:800].mean()  # treble has gone
    alike = augment.room(np.random.default_rng(0), 2, 8000, 0.5, 0.5, width=0.0)
    assert np.allclose(alike[0], alike[1])
    dry = np.zeros((1, 4000), np.float32)
    dry[0, 100] = 1
    wet = augment.reverb(np.random.default_rng(1), dry, 8000)
    assert wet.shape == dry.shape and np.abs(wet[0, :100]).max() < 1e-6 and wet[0, 101:].any()


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
