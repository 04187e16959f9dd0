"""The track browser: what it ranks, shows and plays, and every control over its range."""

from dataclasses import replace

import numpy as np
import pytest

widgets = pytest.importorskip("ipywidgets")

from bsrnn import bands, data, evaluation, explore, metrics  # noqa: E402
from bsrnn.common import UsageError  # noqa: E402
from bsrnn.data import toyband  # noqa: E402
from bsrnn.explore import tracks as widget  # noqa: E402
from bsrnn.plots import tracks  # noqa: E402

STEMS = ("drums", "bass", "vocals")


def half(mixture, sample_rate):
    return dict.fromkeys(("drums", "bass", "other", "vocals"), 0.5 * mixture)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    root = toyband.make(tmp_path_factory.mktemp("toy") / "set", train=0, test=3, seconds=3.0)
    songs = data.open(root)
    ladder = ("silence", "mixture", "HPSS", "ideal ratio mask")
    return evaluation.evaluate(
        half, songs, STEMS, ladder=ladder, progress=False, name="half"
    ), songs


def test_worst_song_comes_first_and_undefined_last(evaluated):
    report, songs = evaluated
    rank = tracks.ranked(report, "vocals", "half")
    assert rank.is_monotonic_increasing and set(rank.index) == {song.name for song in songs}
    frame = report.frame.copy()
    frame.loc[(frame["song"] == rank.index[0]) & (frame["stem"] == "vocals"), "value_db"] = np.nan
    holed = evaluation.Report(frame, report.card)
    assert tracks.ranked(holed, "vocals", "half").index[-1] == rank.index[0]
    picture, _ = explore.track_view(holed, songs, half, rank.index[0], "vocals")
    assert "uSDR undefined" in picture.description


def test_view_shows_and_plays_what_was_scored(evaluated, heard):
    report, songs = evaluated
    name = tracks.ranked(report, "bass", "half").index[0]
    picture, sounds = explore.track_view(report, songs, half, name, "bass")
    reference, mixture = songs[name].read("bass"), songs[name].mixture()
    shown = heard[-1]
    np.testing.assert_array_equal(shown["reference"], reference)
    np.testing.assert_allclose(shown["estimate"], 0.5 * mixture, atol=1e-7)
    np.testing.assert_allclose(shown["error"], shown["estimate"] - reference, atol=1e-7)
    value = metrics.usdr(reference, 0.5 * mixture)
    assert f"uSDR {value:.1f} dB, number 1 of 3 from the worst" in picture.description
    assert str(sounds).count(" s ") == 3
    best = tracks.ranked(report, "bass", "half").index[-1]
    picture, _ = explore.track_view(report, songs, half, best, "bass", metric="csdr")
    assert "cSDR" in picture.description


def test_bands_say_where_the_error_lies(evaluated):
    report, songs = evaluated
    hum = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(songs[0].samples) / 44100)

    def humming(mixture, sample_rate):
        return {stem: songs[0].read(stem) + hum.astype(np.float32) for stem in STEMS}

    scheme = bands.from_edges_hz([0, 500, 2000, 22050], 44100, 2048)
    one = replace(songs, songs=songs.songs[:1])
    report = evaluation.evaluate(humming, one, STEMS, progress=False, name="humming")
    picture, _ = explore.track_view(report, one, humming, one[0].name, "drums", scheme=scheme)
    assert "100 % of the error lies between 517 and 2003 Hz" in picture.description


def test_the_excerpt_is_where_most_error_is(evaluated):
    rate = 100
    error = np.zeros((2, 20 * rate))
    error[:, 11 * rate : 13 * rate] = 1
    assert 9 <= tracks.worst_excerpt_s(error, rate) <= 11
    assert tracks.worst_excerpt_s(error[:, : 3 * rate], rate) == 0


def test_a_silent_reference_and_a_perfect_estimate_are_shown(evaluated):
    report, songs = evaluated
    song = songs[0].name

    class Quiet:
        def __getitem__(self, name):
            return self

        name, sample_rate = song, 44100

        def sources(self):
            return {stem: np.zeros((2, 44100), np.float32) for stem in STEMS}

    picture, sounds = explore.track_view(report, Quiet(), half, song, "vocals")
    assert "reference silent; no error in any band" in picture.description and picture.png()
    assert "silent" in str(sounds)


def test_sorting_anew_keeps_the_song_and_orders_the_list(evaluated, monkeypatch):
    report, songs = evaluated
    browser = explore.track_browser(report, songs, half)
    song = browser.controls["song"]
    song.value = tracks.ranked(report, "drums", "half").index[1]
    kept, shown, real = song.value, [], widget.track_view
    monkeypatch.setattr(widget, "track_view", lambda *a, **k: (shown.append(1), real(*a, **k))[1])
    browser.controls["stem"].value = "vocals"
    assert song.value == kept
    rank = tracks.ranked(report, "vocals", "half")
    assert [option[1] for option in song.options] == list(rank.index)
    assert song.options[0][0].startswith(f"{rank.iloc[0]:+.1f} dB")
    assert kept in browser.text and "vocals of half" in browser.text and len(shown) == 1


def test_a_system_without_the_stem_says_so_and_recovers(evaluated):
    report, songs = evaluated
    browser = explore.track_browser(report, songs, half)
    browser.controls["stem"].value = "vocals"
    browser.controls["system"].value = "HPSS"
    assert browser.text == "HPSS gives no vocals: choose another stem or system."
    browser.controls["stem"].value = "drums"
    assert "drums of HPSS" in browser.text


def test_estimates_are_made_once_per_song_and_system(evaluated):
    report, songs = evaluated
    calls = []

    def counted(mixture, sample_rate):
        calls.append(1)
        return half(mixture, sample_rate)

    browser = explore.track_browser(report, songs, counted)
    browser.controls["stem"].value = "bass"
    browser.controls["metric"].value = "csdr"
    assert len(calls) == 1
    browser.controls["song"].value = browser.controls["song"].options[-1][1]
    assert len(calls) == 2
    explore.track_view(report, songs, {"half": counted, "other": None}, songs[0].name, "bass")
    assert len(calls) == 3


def test_bad_input_is_one_line(evaluated):
    report, songs = evaluated
    for words, change in (
        ("song", {"song": "No such song"}),
        ("stem", {"stem": "vocls"}),
        ("system", {"system": "magic"}),
        ("metric", {"metric": "sdr"}),
    ):
        arguments = {"song": songs[0].name, "stem": "bass"} | change
        with pytest.raises(UsageError, match=words):
            explore.track_view(report, songs, half, **arguments)
