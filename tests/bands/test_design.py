"""Bands from data: the fast bound equals the oracle of `masks`; greedy splits are the best ones."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bsrnn import bands, data, design, masks
from bsrnn.common import DataError, UsageError
from bsrnn.plots import schemes as figures

RATE, N_FFT = 8000, 64


def sources(seed, samples=1500, stems=3, channels=2):
    """Coloured noise: stems that overlap in frequency, with a rest in the first."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((stems, channels, samples))
    x[1:, :, 1:] += np.linspace(-0.9, 0.9, stems - 1)[:, None, None] * x[1:, :, :-1]
    x[0, :, : samples // 3] = 0
    return dict(zip("abcdef", x.astype(np.float32), strict=False))


def stacked(parts):
    return np.stack(list(parts.values()))


names = st.sampled_from(["equal1", "equal5", "octave9", "mel8", "tribark6", "musical12", "bark5"])


@settings(deadline=None, max_examples=25)
@given(names, st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 2))
def test_the_fast_bound_equals_the_oracle(name, seed, stems, channels):
    try:
        scheme = bands.scheme(name, RATE, N_FFT)
    except UsageError:
        return  # this family has no such scheme on this small grid
    parts = sources(seed, stems=stems, channels=channels)
    got = design.Bound.of(parts, RATE, N_FFT).sdr_db(scheme)
    want = masks.band_sdr_db(scheme, stacked(parts))
    capped = np.minimum(want, 60)  # one stem alone: no error, only rounding
    np.testing.assert_allclose(np.minimum(got, 60), capped, atol=1e-3)


@pytest.mark.parametrize("name", ["v7", "musical64", "mel-roformer60"])
def test_the_fast_bound_equals_the_oracle_on_real_music(name):
    song = data.open("clip")[0]
    parts = song.sources(44100, 22050)
    scheme = bands.scheme(name)
    got = design.Bound.of(parts, 44100).sdr_db(scheme)
    np.testing.assert_allclose(got, masks.band_sdr_db(scheme, stacked(parts)), atol=1e-4)
    alone = design.Bound.of(parts, 44100, stems=["bass"]).sdr_db(scheme)
    assert alone == pytest.approx(got[1], abs=1e-9)


def test_silent_stems_and_short_signals():
    parts = sources(0)
    parts["a"] *= 0
    bound = design.Bound.of(parts, RATE, N_FFT)
    values = bound.sdr_db(bands.scheme("equal4", RATE, N_FFT))
    assert np.isnan(values[0]) and np.isfinite(values[1:]).all()
    short = design.Bound.of({k: x[:, :5] for k, x in sources(1).items()}, RATE, N_FFT)
    assert short.sdr_db(bands.scheme("mel8", RATE, N_FFT)).shape == (3,)
    nothing = design.Bound.of({k: 0 * x for k, x in parts.items()}, RATE, N_FFT)
    assert np.isnan(nothing.sdr_db(bands.scheme("mel8", RATE, N_FFT))).all()


def objective(bound, scheme):
    """Mean over stems of the explained share of energy: what greedy raises."""
    return float(np.mean(1 - 10 ** (-bound.sdr_db(scheme) / 10)))


def test_a_greedy_split_is_the_best_of_all_cuts():
    for seed in range(3):
        bound = design.Bound.of(sources(seed), RATE, N_FFT)
        bins = N_FFT // 2 + 1
        cuts = [bands.BandScheme("cut", ((0, i), (i, bins)), RATE, N_FFT) for i in range(1, bins)]
        best = max(cuts, key=lambda cut: objective(bound, cut))
        assert design.greedy(bound, 2).ranges == best.ranges


def test_greedy_never_falls_and_beats_equal_bands():
    bound = design.Bound.of(sources(3), RATE, N_FFT)
    values = [objective(bound, design.greedy(bound, k)) for k in range(1, 34)]
    assert (np.diff(values) >= -1e-12).all() and values[-1] == pytest.approx(1, abs=1e-9)
    for k in (4, 8, 16):
        assert values[k - 1] > objective(bound, bands.equal(k, RATE, N_FFT))
    scheme = design.greedy(bound, 7)
    assert len(scheme) == 7 and scheme.name == "greedy7"
    assert bands.BandScheme.from_json(scheme.to_json()) == scheme


def test_greedy_is_near_the_optimum_of_all_schemes():
    n_fft = 32  # 17 bins: every cut into 4 bands can be tried
    bound = design.Bound.of(sources(5), RATE, n_fft)
    ends = itertools.combinations(range(1, 17), 3)
    cuts = [itertools.pairwise((0, *inner, 17)) for inner in ends]
    tried = [objective(bound, bands.BandScheme("x", cut, RATE, n_fft)) for cut in cuts]
    reached = objective(bound, design.greedy(bound, 4))
    assert reached <= max(tried) + 1e-12 and reached > np.percentile(tried, 90)


def test_several_songs_count_the_same_however_loud():
    quiet, loud = sources(1), {k: 1000 * x for k, x in sources(2).items()}
    alike = sources(2)
    pair = lambda second: [design.Bound.of(p, RATE, N_FFT) for p in (quiet, second)]  # noqa: E731
    assert design.greedy(pair(loud), 6).ranges == design.greedy(pair(alike), 6).ranges


def test_bounds_of_a_dataset_and_their_curve(tmp_path):
    songs = data.open("toy", train=2, test=1, seconds=2.0)
    learned = design.bounds(songs.subset("train"), ["bass"], n_fft=512, seconds=1.0)
    judged = design.bounds(songs.subset("test"), ["bass"], n_fft=512, seconds=1.0)
    rows = design.curve(judged, (4, 12), learned=learned)
    assert {row["family"] for row in rows} >= {"equal", "octave", "mel", "greedy", "equal-energy"}
    assert all(row["stem"] == "bass" and row["songs"] == 1 for row in rows)
    by = {(row["family"], row["bands"]): row["sdr_db"] for row in rows}
    assert by["greedy", 12] > by["equal", 12] > by["equal", 4]
    rows += design.bound_rows(judged, bands.scheme("v4", 44100, 512))
    picture = figures.bound_curves([{**row, "gmac": row["bands"] / 4} for row in rows])
    assert "v4" in str([t.get_text() for t in picture.axes[0].texts])
    assert len(picture.axes) == 2 and "equal4" in picture.description
    assert len(picture.png()) < 80_000


def test_gallery_and_pair_have_words():
    schemes = [bands.scheme(name) for name in ("v7", "mel48", "tet24")]
    for axis in ("linear", "log", "piano"):
        picture = figures.gallery(schemes, axis)
        labels = [t.get_text() for t in picture.axes[0].get_yticklabels()]
        assert labels == ["v7 (41)", "mel48 (48)", "tet24 (38)"] and "mel48" in picture.description
        shares = [np.eye(len(s))[0] for s in schemes]
        pair = figures.face_to_face(*schemes[:2], *shares[:2], "bass", axis)
        assert "100% of bass in its band from 0 to" in pair.description and pair.png()
        assert [len(boxes.get_paths()) for boxes in pair.axes[0].collections] == [41, 48]
    silent = figures.face_to_face(*schemes[:2], *(0 * s for s in shares[:2]), "bass")
    assert "bass silent" in silent.description


def test_bad_input_is_one_line():
    bound = design.Bound.of(sources(0), RATE, N_FFT)
    other = design.Bound.of(sources(0), RATE, 128)
    for call, message in [
        (lambda: bound.sdr_db(bands.scheme("v7")), "project"),
        (lambda: design.Bound.of(sources(0), RATE, N_FFT, ["voice"]), "unknown stem 'voice'"),
        (lambda: design.greedy([], 4), "bounds"),
        (lambda: design.greedy([bound, other], 4), "one n_fft"),
        (lambda: design.greedy(bound, 34), "33 bins"),
        (lambda: design.family("barc", 8, RATE, N_FFT), "did you mean bark"),
        (lambda: design.family("greedy", 8, RATE, N_FFT), "learned"),
        (lambda: figures.gallery([]), "no schemes"),
        (lambda: figures.gallery([bands.scheme("v7")], "logarithmic"), "axis"),
        (lambda: figures.bound_curves([]), "one stem"),
    ]:
        with pytest.raises(UsageError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    songs = data.open("toy", train=1, test=0, seconds=2.0)
    with pytest.raises(DataError, match="silent"):
        design.bounds([_Silent(songs[0])])


class _Silent:
    def __init__(self, song):
        self.song, self.samples, self.sample_rate = song, song.samples, song.sample_rate

    def sources(self, start, samples):
        return {stem: 0 * x for stem, x in self.song.sources(start, samples).items()}
