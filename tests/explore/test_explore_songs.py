"""One's own song: what is separated, mixed, offered and refused."""

import base64
import datetime
import io
import re

import numpy as np
import pytest

widgets = pytest.importorskip("ipywidgets")

from bsrnn import audio, explore  # noqa: E402
from bsrnn.explore import mixer, songs  # noqa: E402

RATE = 8000


class Split:
    """Two stems that are a fixed part of the mixture each."""

    sample_rate = RATE

    def __init__(self, **parts):
        self.stems, self.parts, self.seen = tuple(parts), parts, []

    def __call__(self, mixture):
        self.seen.append(mixture.shape[-1])
        return mixture[:, None] * mixture.new_tensor(list(self.parts.values()))[:, None, None]


@pytest.fixture(scope="module")
def song():
    time_s = np.arange(9 * RATE, dtype=np.float32) / RATE
    return np.tile(0.4 * np.sin(2 * np.pi * (200 + 20 * time_s) * time_s), (2, 1))


@pytest.fixture
def models():
    return {"halves": Split(vocals=0.5, bass=0.5), "three": Split(vocals=0.2, drums=0.3, bass=0.1)}


@pytest.fixture
def panel(song, models):
    return explore.song_desk(models, {"chirp": (song, RATE), "short": (song[:, :RATE], RATE)}, 9.0)


def upload(panel, name: str, data: bytes):
    """What the browser does when a file is chosen."""
    file = {"name": name, "type": "", "size": len(data), "content": memoryview(data)}
    version_8 = not isinstance(panel.controls["upload"].value, dict)
    value = (
        ({**file, "last_modified": datetime.datetime.now(datetime.UTC)},)
        if version_8
        else {name: {"content": data}}
    )
    panel.controls["upload"].set_trait("value", value)


def encoded(waveform, tmp_path, name) -> bytes:
    return audio.write(tmp_path / name, waveform, RATE).read_bytes()


def links(shown) -> dict:
    """name -> waveform of every download link."""
    files = re.findall(r'download="([^"]+)" href="data:audio/\w+;base64,([^"]+)"', shown)
    import soundfile

    return {n: soundfile.read(io.BytesIO(base64.b64decode(x)))[0].T for n, x in files}


def test_beginning_of_a_song_is_separated_from_array_and_file(song, models, tmp_path):
    parts = explore.song_stems((song, RATE), models["halves"], max_s=2.5)
    assert set(parts.stems) == {"vocals", "bass"} and parts.sample_rate == RATE
    np.testing.assert_allclose(parts.stems["bass"], song[:, : round(2.5 * RATE)] / 2, atol=1e-6)
    assert "2.5 of 9.0 s" in parts.words
    path = audio.write(tmp_path / "song.wav", song, RATE)
    again = explore.song_stems(path, models["halves"], max_s=2.5)
    np.testing.assert_array_equal(again.stems["vocals"], parts.stems["vocals"])
    assert again.words == parts.words


def test_no_more_of_a_long_file_is_read_than_is_used(song, models, tmp_path, monkeypatch):
    path, asked, real = audio.write(tmp_path / "long.wav", song, RATE), [], audio.read
    monkeypatch.setattr(audio, "read", lambda *a, **k: asked.append(k["samples"]) or real(*a, **k))
    explore.song_stems(path, models["halves"], max_s=1.5)
    assert asked == [round(1.5 * RATE)]


def test_words_say_what_no_stem_has_and_resampling(song, models):
    assert "-8.0 dB" in explore.song_stems((song, RATE), models["three"]).words  # 0.4 is missing
    assert "add up" in explore.song_stems((song, RATE), models["halves"]).words
    assert "silent" in explore.song_stems((0 * song, RATE), models["halves"]).words
    other = explore.song_stems((song, 2 * RATE), models["halves"])
    assert "resampled to 8000 Hz" in other.words and other.stems["bass"].shape == song.shape


def test_downloads_hold_the_mix_of_the_faders_and_untouched_stems(song, models):
    parts = explore.song_stems((song, RATE), models["halves"])
    assert len(explore.song_view(parts)) == 3  # nothing was asked for: no links
    for suffix, bound in (("wav", 0), ("flac", 2**-23)):
        *_, made = explore.song_view(
            parts, {"bass": -20}, download="mix and stems", suffix=suffix, start_s=2
        )
        files = links(made.html)
        assert list(files) == [f"{n}.{suffix}" for n in ("mix", "vocals", "bass")]
        np.testing.assert_allclose(files[f"mix.{suffix}"], 0.55 * song, atol=bound + 1e-7)
        np.testing.assert_allclose(files[f"bass.{suffix}"], 0.5 * song, atol=bound + 1e-7)
    *_, made = explore.song_view(parts, mute=["bass", "vocals"], download="mix", suffix="wav")
    assert not links(made.html)["mix.wav"].any() and "mix.wav" in str(made)


def test_clipping_of_a_download_is_said(song, models):
    parts = explore.song_stems((song, RATE), models["halves"])
    words, *_ = explore.song_view(parts, {"bass": 12, "vocals": 12}, download="mix")
    assert "clipped in flac" in words and words.endswith("mix")
    words, *_ = explore.song_view(parts, {"bass": 12, "vocals": 12}, download="mix", suffix="wav")
    assert "clipped" not in words


def test_start_moves_the_excerpt_that_is_seen(song, models, monkeypatch):
    parts, seen = explore.song_stems((song, RATE), models["halves"]), []
    real = mixer.stem_mix
    monkeypatch.setattr(
        mixer, "stem_mix", lambda part, *a, **k: seen.append(part) or real(part, *a)
    )
    for start_s, first in ((0, 0), (2, 2 * RATE), (99, 3 * RATE)):  # never beyond the end
        explore.song_view(parts, start_s=start_s)
        part = song[:, first : first + 6 * RATE] / 2
        np.testing.assert_allclose(seen[-1]["bass"], part, atol=1e-6)


def test_faders_move_without_separating_again(panel, models):
    count = len(models["halves"].seen)
    panel.set(**{"gain bass": -6.0, "mute vocals": True, "download": "mix"})
    assert len(models["halves"].seen) == count
    panel.controls["model"].value = "three"
    assert len(models["halves"].seen) == count and models["three"].seen


def test_only_faders_of_the_chosen_model_are_seen(panel):
    def visible():
        rows = panel.children[2:5]
        return [row.children[0].description for row in rows if row.layout.display != "none"]

    assert visible() == ["solo vocals", "solo bass"]
    panel.controls["model"].value = "three"
    assert set(visible()) == {"solo vocals", "solo drums", "solo bass"}


def test_upload_becomes_the_song(panel, song, models, tmp_path):
    upload(panel, "loud song.flac", encoded(song[:, : 2 * RATE], tmp_path, "a.flac"))
    assert panel.controls["song"].value == songs.YOURS and "2.0 of 2.0 s" in panel.text
    assert models["halves"].seen[-1] == 2 * RATE
    upload(panel, "loud song.flac", encoded(song[:, : 3 * RATE], tmp_path, "b.flac"))
    assert "3.0 of 3.0 s" in panel.text  # the same name, another song
    panel.controls["song"].value = "chirp"
    assert "9.0 of 9.0 s" in panel.text  # a file that stays uploaded does not come back
    assert "separated 9.0 s" in panel.children[-2].value


def test_path_becomes_the_song(panel, song, tmp_path):
    path = audio.write(tmp_path / "song.wav", song[:, : 4 * RATE], RATE)
    panel.controls["path"].value = str(path)
    assert panel.controls["song"].value == songs.YOURS and "4.0 of 4.0 s" in panel.text
    panel.controls["path"].value = str(tmp_path / "gone.wav")
    assert "no such file" in panel.text


def test_bad_files_are_one_line_and_it_goes_on(panel, song, tmp_path):
    whole = encoded(song, tmp_path, "whole.flac")
    for name, data, words in (
        ("notes.wav", b"these are words, no sound", "not audio"),
        ("../cut.flac", whole[: len(whole) // 2], "truncated"),
        ("nothing.mp3", b"", "empty"),
    ):
        upload(panel, name, data)
        assert words in panel.text and len(panel.text.splitlines()) == 1
        assert name in panel.text and "/tmp" not in panel.text
        assert panel.children[-2].value == ""
    panel.controls["song"].value = "chirp"
    assert "9.0 of 9.0 s" in panel.text


def test_uploads_of_both_ipywidgets_versions():
    seven = {"a.wav": {"metadata": {"name": "a.wav", "size": 2}, "content": b"RI"}}
    eight = ({"name": "a.wav", "size": 2, "content": memoryview(b"RI")},)
    assert songs.uploaded(seven) == songs.uploaded(eight) == {"a.wav": b"RI"}
    assert songs.uploaded(()) == songs.uploaded({}) == {}
