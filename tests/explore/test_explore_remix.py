"""The remix desk: what it measures and plays; every control changes the picture or the words."""

import numpy as np
import pytest

widgets = pytest.importorskip("ipywidgets")

from bsrnn import explore, loudness  # noqa: E402

RATE = 44100


@pytest.fixture(scope="module")
def stems():
    """Nine seconds: speech pauses, music goes on."""
    time_s = np.arange(9 * RATE, dtype=np.float32) / RATE
    said = (time_s % 4 < 3).astype(np.float32)
    return {
        "speech": (0.1 * said * np.sin(2 * np.pi * 700 * time_s))[None],
        "music": (0.05 * np.sin(2 * np.pi * 220 * time_s))[None],
        "sfx": (0.03 * np.sin(2 * np.pi * 3000 * time_s))[None],
    }


def plain(words):
    return " ".join(words.split())


def test_numbers_are_those_of_the_meter(stems, heard):
    _, words, table, _ = explore.remix_view(stems, RATE, {"speech": 6, "music": -6})
    after = stems["speech"] * 10 ** (6 / 20) + stems["music"] * 10 ** (-6 / 20) + stems["sfx"]
    np.testing.assert_allclose(heard[-1]["after"], after, atol=1e-6)
    np.testing.assert_array_equal(heard[-1]["before"], sum(stems.values()))
    lufs = loudness.integrated(after, RATE)
    assert table.loc["integrated loudness (LUFS)", "after"] == round(lufs, 1)
    assert f"{lufs:.1f} LUFS" in plain(words) and "one common gain" in plain(words)
    peak = 20 * np.log10(np.abs(after).max())
    assert table.loc["peak (dBFS)", "after"] == round(peak, 1)
    rest = stems["music"] * 10 ** (-6 / 20) + stems["sfx"]
    ratio = loudness.integrated(stems["speech"], RATE) + 6 - loudness.integrated(rest, RATE)
    assert table.loc["speech above the rest (LU)", "after"] == pytest.approx(ratio, abs=0.06)


def test_targets_and_matching(stems, heard):
    gains = {"speech": 9}
    before = loudness.integrated(sum(stems.values()), RATE)
    for target, lufs in ((-23.0, -23.0), ("as before", before)):
        _, _, table, _ = explore.remix_view(stems, RATE, gains, target=target)
        assert loudness.integrated(heard[-1]["after"], RATE) == pytest.approx(lufs, abs=0.05)
        assert table.loc["integrated loudness (LUFS)", "after"] == pytest.approx(lufs, abs=0.06)
    _, words, table, _ = explore.remix_view(stems, RATE, gains, target=-14.0, matched=True)
    assert loudness.integrated(heard[-1]["after, matched"], RATE) == pytest.approx(before, abs=0.05)
    assert table.loc["integrated loudness (LUFS)", "after"] == -14.0, (
        "matching is for the ears only"
    )
    assert "loudness matched" in plain(words)


def test_louder_is_said_and_clipping_is_warned_of(stems):
    _, words, _, _ = explore.remix_view(stems, RATE, {"speech": 6})
    assert "match the loudness before you judge" in plain(words) and "WARNING" not in words
    _, words, table, _ = explore.remix_view(stems, RATE, target=-1.0)
    assert "WARNING: it clips" in plain(words) and table.loc["peak (dBFS)", "after"] > 0
    _, words, _, _ = explore.remix_view(stems, RATE)
    assert "judge" not in words


def test_before_is_drawn_untouched_and_silence_is_said(stems):
    touched = {"gains_db": {"speech": -20}, "mute": ["sfx"]}
    for view in ("short-term loudness", "waveforms"):
        (before, *_), (after, *_), (plain_mix, *_) = (
            explore.remix_view(stems, RATE, **how, view=view, state=state)
            for how, state in ((touched, "before"), (touched, "after"), ({}, "before"))
        )
        assert before.png() != after.png()
        if view == "waveforms":  # words of the sounds that are drawn
            assert before.description == plain_mix.description != after.description
    for target in ("as is", "as before", -23.0):
        quiet = {"mute": list(stems), "matched": True, "target": target}
        picture, words, _, sounds = explore.remix_view(stems, RATE, **quiet)
        assert "The remix is silent" in words and "silent" in str(sounds) and picture.png()
    _, words, _, _ = explore.remix_view(stems, RATE, mute=["speech"])
    assert "speech lies" not in plain(words)


def test_another_voice_and_a_short_scene(stems):
    _, words, table, _ = explore.remix_view(stems, RATE, voice="sfx")
    assert "The sfx lies" in plain(words) and "sfx above the rest (LU)" in table.index
    song = {"drums": stems["music"], "vocals": stems["speech"]}
    assert "The vocals lies" in plain(explore.remix_view(song, RATE)[1])
    short = {name: x[:, :RATE] for name, x in stems.items()}
    assert explore.remix_view(short, RATE)[0].png()


def test_desk_takes_twenty_seconds_and_plays_six(stems, heard):
    long = {name: np.tile(x, (1, 3)) for name, x in stems.items()}  # 27 s
    desk = explore.remix_desk(long, RATE)
    assert heard[-1]["before"].shape[1] == 20 * RATE and desk.controls["start_s"].max == 14
    assert "6.00 s" in desk.text
    short = explore.remix_desk({name: x[:, : 2 * RATE] for name, x in stems.items()}, RATE)
    assert short.controls["start_s"].disabled and "2.00 s" in short.text
