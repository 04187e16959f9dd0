"""`separate` on what users bring: every format, rate, width and fault; many files at once."""

import json
import os
import re
import resource
import signal
import unicodedata
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch
from sounds import tones
from test_separation import Gains, noise

from bsrnn import audio, cli, data, separation
from bsrnn.common import DataError, UsageError, file_name, file_names, write_text
from bsrnn.models import BandSplitSeparator, load, presets, save
from bsrnn.models.zoo import registry
from bsrnn.separation import separate_file, separate_files


class Model(Gains):
    sample_rate = 44100


# ---- the matrix of inputs ----------------------------------------------------------------------

RATES = (8000, 22050, 44100, 192000)
LOSSLESS = [(".wav", "PCM_16"), (".wav", "PCM_24"), (".wav", "FLOAT"), (".flac", 0)]


@pytest.mark.parametrize("suffix, subtype", LOSSLESS)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_width_rate_and_depth_comes_back_as_it_was(tmp_path, suffix, subtype, rate, channels):
    mixture = tones(round(0.3 * rate), rate, channels)
    path = audio.write(tmp_path / f"a{suffix}", mixture, rate, subtype or None)
    paths = separate_file(Model(), path, tmp_path / "out", chunk_s=0.1, stems=("half",))
    found, found_rate = audio.read(paths["half"])
    assert found_rate == rate and found.shape == mixture.shape
    inner = slice(rate // 20, -rate // 20)  # resampling needs neighbours
    error = np.abs(found - 0.5 * mixture)[:, inner].max() / 0.15
    assert error < (2e-4 if subtype == "PCM_16" else 1e-5)  # 16 bit: half a step of 2^-15


@pytest.mark.parametrize("rate", [11025, 44100, 96000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".m4a", ".opus"])
def test_lossy_formats_in_and_out_hold_what_they_can(tmp_path, suffix, rate, channels):
    """A song in this format, and a wav of another rate and width, both to this format."""
    mixture = tones(rate // 2, rate, channels)
    held_hz, width = audio.fit(suffix, rate, channels)
    for source in (suffix, ".wav"):
        path = audio.write(tmp_path / f"a{source}", mixture, rate)
        paths = separate_file(Model(), path, tmp_path / source, suffix=suffix, chunk_s=0.2)
        heard, _ = audio.read(path, sample_rate=held_hz, channels=width)
        for stem, gain in zip(Model.stems, Model.gains, strict=True):
            found, found_rate = audio.read(paths[stem])
            assert found_rate == held_hz and abs(found.shape[1] - heard.shape[1]) <= 1
            wide = [0, 1, 2, 4, 5] if width == 6 else range(width)  # the LFE is low-passed
            inner = slice(held_hz // 10, -held_hz // 10)
            noise_rms = np.sqrt(np.square(found - gain * heard)[wide, inner].mean())
            assert noise_rms < 0.2 * abs(gain) * 0.3 / 2**0.5, (noise_rms, gain)


TAGS = {
    "title": "Söng", "artist": "Me & You", "album": "LP", "date": "2024", "genre": "Pop",
    "tracknumber": "3", "comment": "hi", "copyright": "me", "license": "CC0",
}  # fmt: skip
LOST = {".mp3": {"copyright", "license"}, ".wav": {"license"}, ".m4a": {"license"}}


@pytest.mark.parametrize("out", [".wav", ".flac", ".ogg", ".mp3", ".m4a"])
@pytest.mark.parametrize("source", [".flac", ".mp3", ".m4a"])
def test_tags_travel_where_the_format_has_them(tmp_path, source, out):
    path = audio.write(tmp_path / f"a{source}", tones(0.1, 44100, 2), 44100, tags=TAGS)
    paths = separate_file(Model(), path, tmp_path / "out", suffix=out, stems="half")
    lost = LOST.get(source, set()) | LOST.get(out, set())
    with audio.Reader(paths["half"]) as file:
        assert file.tags == {name: text for name, text in TAGS.items() if name not in lost}


def test_silent_clipped_and_tiny_songs(tmp_path):
    for name, mixture in {
        "silent": np.zeros((2, 5000), np.float32),
        "clipped": np.clip(5 * noise(5000), -1, 1),
        "one sample": noise(1),
        "two": noise(2, 1),
    }.items():
        path = audio.write(tmp_path / f"{name}.wav", mixture, 44100)
        for rule in ("context", "bandit"):
            paths = separate_file(Model(), path, tmp_path / rule, rule=rule, chunk_s=0.05)
            assert np.abs(audio.read(paths["minus"])[0] + 0.25 * mixture).max() < 1e-6


# ---- faults: one line, nothing left ------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    return save(BandSplitSeparator(presets()["tiny"]), tmp_path / "weights" / "net.safetensors")


def call(capsys, *words):
    code = cli.main(["separate", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def test_a_fault_late_in_a_file_is_one_line_and_leaves_nothing(tmp_path, checkpoint, capsys):
    path, bad = tmp_path / "nan.wav", noise(50000)
    bad[1, 49000] = np.nan
    soundfile.write(path, bad.T, 44100, "FLOAT")
    code, out, err = call(capsys, path, "--model", checkpoint, "-o", tmp_path / "out" / "deep")
    assert (code, out, len(err)) == (1, [], 1)
    assert "NaN" in err[0] and path.name in err[0]
    assert not (tmp_path / "out").exists()


def test_unreadable_file(tmp_path, monkeypatch):
    path = audio.write(tmp_path / "a.wav", noise(10), 44100)
    monkeypatch.setattr(os, "access", lambda *_: False)  # chmod does not stop root
    with pytest.raises(DataError, match="no permission to read it"):
        separate_file(Model(), path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".m4a"])
def test_full_disk_is_one_line_and_leaves_nothing(tmp_path, suffix):
    """The limit of a file's size stands in for a disk that is full."""
    path = audio.write(tmp_path / "a.wav", noise(10 * 44100, seed=1), 44100)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        with pytest.raises(DataError, match="cannot write .*: (free some|check) disk") as caught:
            separate_file(Model(), path, tmp_path / "out", suffix=suffix)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("refused", ["all.wav", "minus.wav"])
def test_stems_get_their_names_together(tmp_path, monkeypatch, refused):
    """If one cannot be finished, the others are not there either."""
    path = audio.write(tmp_path / "a.wav", noise(5000), 44100)
    finish = audio.Writer.finish

    def fail(self):
        if self.path.name == refused and not self.finished:
            self.finished = True
            raise DataError("no space")
        finish(self)

    monkeypatch.setattr(audio.Writer, "finish", fail)
    with pytest.raises(DataError, match="no space"):
        separate_file(Model(), path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- many files --------------------------------------------------------------------------------


@pytest.fixture
def songs(tmp_path):
    """Two songs of one name, one in a deeper folder, a letter, a hidden file, a broken song."""
    root = tmp_path / "songs"
    for name in ("a/song.wav", "b/Song.flac", "b/deep/tune.wav"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        audio.write(root / name, noise(3000), 44100)
    (root / "letter.txt").write_text("dear sir")
    (root / "b" / ".hidden.wav").write_text("no")
    (root / "a" / "broken.wav").write_text("dear sir or madam")
    return root


def test_find_takes_files_folders_and_globs_each_once(songs, monkeypatch):
    names = ["broken.wav", "song.wav", "Song.flac", "tune.wav"]
    assert [path.name for path in separation.find([songs])] == names
    found = separation.find([f"{songs}/b/*.flac", songs / "b", f"{songs}/**/*.wav"])
    assert [path.name for path in found] == ["Song.flac", "tune.wav", "broken.wav", "song.wav"]
    audio.write(songs / "b" / "[live].wav", noise(9), 44100)  # a name that looks like a glob
    assert separation.find([songs / "b" / "[live].wav"]) == [songs / "b" / "[live].wav"]
    for missing in (songs / "no.wav", f"{songs}/*.ogg", songs / "letter"):
        with pytest.raises(UsageError, match="check the path"):
            separation.find([missing])
    monkeypatch.chdir(songs)
    with pytest.raises(UsageError, match="another folder"):
        separation.find(["."], ".")


def test_a_second_run_does_not_separate_the_stems_of_the_first(songs):
    first = separation.find([songs], songs / "out")
    assert len(list(separate_files(Model(), first, songs / "out"))) == 4
    assert separation.find([songs], songs / "out") == first
    assert len(separation.find([songs], songs.parent / "elsewhere")) == len(first) + 9


def test_a_batch_goes_on_after_a_broken_file(songs, checkpoint, capsys, tmp_path):
    out = tmp_path / "out"
    words = [songs, "--model", checkpoint, "-o", out, "--two-stems", "vocals", "--format", "flac"]
    code, lines, err = call(capsys, *words)
    assert code == 1 and len(err) == 2
    assert "broken.wav: not audio" in err[0] and err[1] == "bsrnn: 1 of 4 songs failed, see above"
    names = [f"{song}/{stem}.flac" for song in ("a - song", "b - Song", "tune")
             for stem in ("vocals", "no_vocals")]  # fmt: skip
    assert lines == [str(out / name) for name in names]
    for name in names[::2]:
        assert audio.info(out / name).samples == 3000
    code, lines, err = call(capsys, *words)  # again: nothing is replaced
    assert code == 1 and lines == [] and sum("is there already" in line for line in err) == 3
    assert call(capsys, *words, "--overwrite")[1] == [str(out / name) for name in names]


def test_folder_names_never_collide():
    paths = ["x/song.wav", "y/song.mp3", "z/x/SONG.ogg", "x - song.wav", "clip.stem.mp4"]
    names = separation.batch.folder_names([Path(path) for path in paths])
    assert names == ["x - song", "y - song", "x - SONG (2)", "x - song (3)", "clip"]


NAMES = (
    "A\\B", "A_B", "a_b", "...", "..", ".hidden", "x" * 251, "x" * 250, "音" * 83, "CON",
    "nul.live", "dot.", "space ", "a:b", 'a"b', "a*b", "a?b", "new\nline", "-",
    "caf\u00e9", "cafe\u0301", "stra\u00dfe", "STRASSE", "\udcff",
)  # fmt: skip


def test_names_that_systems_cannot_hold_or_tell_apart_get_files_of_their_own(tmp_path):
    names = file_names(NAMES)
    seen = {unicodedata.normalize("NFC", name).casefold() for name in names}
    assert len(seen) == len(NAMES)
    for name, made in zip(NAMES, names, strict=True):
        assert len(made.encode(errors="replace")) <= 250 and not set(made) & set('/\\:*?"<>|\n')
        assert not made.startswith(".") and not made.endswith((".", " "))
        assert made.split(".")[0].upper() not in ("CON", "NUL")
        assert file_name(file_name(name)) == file_name(name)
        write_text(tmp_path / f"{made}.json", "{}")
    assert len(list(tmp_path.iterdir())) == len(NAMES)
    for name in ("A_B", "x" * 240, "AC-DC, live (2)", "Motörhead"):
        assert file_name(name) == name


@pytest.mark.parametrize("name", ["...wav", "..wav", ".wav.wav", "A\\B.wav", f"{'x' * 251}.wav"])
def test_songs_of_any_name_stay_in_the_folder(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open(name, "wb") as file:
        soundfile.write(file, np.zeros((99, 2)), 44100, format="WAV")
    paths = separate_file(Model(), f"./{name}", tmp_path / "out" / "stems")
    assert {path.parent.parent for path in paths.values()} == {tmp_path / "out" / "stems"}


def test_what_a_format_cannot_hold_is_said_before_the_model_is_loaded(
    tmp_path, monkeypatch, capsys
):
    path = audio.write(tmp_path / "a.wav", noise(1000, 7), 44100)
    monkeypatch.setattr("bsrnn.load", lambda *_, **__: pytest.fail("loaded"))
    code, _, err = call(capsys, path, "-o", tmp_path / "out", "--format", "mp3")
    assert code == 2 and err == ["bsrnn: no rule to turn 7 channels into 2: mix them down first"]
    code, _, err = call(capsys, "", "-o", tmp_path / "out")
    assert code == 2 and "a path is empty" in err[0]


def test_a_failure_names_the_song(tmp_path, checkpoint, capsys):
    loud = audio.write(tmp_path / "loud.wav", 3e29 * noise(30000), 44100)
    fine = audio.write(tmp_path / "fine.wav", noise(30000), 44100)
    code, out, err = call(capsys, loud, fine, "--model", checkpoint, "-o", tmp_path / "out")
    assert code == 1 and {Path(line).parent.name for line in out} == {"fine"}
    assert "loud.wav: the separator returned NaN" in err[0]


def test_stem_mp4_is_what_our_data_and_others_read(tmp_path):
    class Four(Model):
        stems, gains = ("vocals", "drums", "bass", "other"), (1.0, 0.5, 0.25, -0.5)

    mixture = tones(44100, 44100)
    path = audio.write(tmp_path / "A - B.wav", mixture, 44100)
    paths = separate_file(Four(), path, tmp_path / "out", suffix=".stem.mp4")
    assert set(paths.values()) == {tmp_path / "out" / "A - B" / "A - B.stem.mp4"}
    songs = data.open(tmp_path / "out" / "A - B")
    assert songs.stems == ("drums", "bass", "other", "vocals")
    for number, gain in enumerate((1, 0.5, 0.25, -0.5, 1.0)):
        found, _ = audio.read(paths["drums"], stream=number)
        assert found.shape == mixture.shape and np.abs(found - gain * mixture).max() < 0.05
    with pytest.raises(UsageError, match="holds drums, bass, other, vocals, not vocals, drums"):
        separate_file(Four(), path, tmp_path, suffix=".stem.mp4", stems=("vocals", "drums"))


def test_one_bar_over_all_files(songs, monkeypatch):
    shown = mock.MagicMock(n=0.0, total=0.0)
    shown.__enter__.return_value = shown
    monkeypatch.setattr(separation.batch, "bar", lambda *_: shown)
    list(separate_files(Model(), separation.find([songs]), songs / "out", progress=True))
    names = ["1/4 broken.wav", "2/4 song.wav", "3/4 Song.flac", "4/4 tune.wav"]
    assert shown.set_description.call_args_list == [mock.call(name) for name in names]
    seconds = sum(each.args[0] for each in shown.update.call_args_list)
    assert seconds == pytest.approx(3 * 3000 / 44100)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--two-stems", "vocals", "--stems", "drums"], "leave out --stems"),
        (["--sum", "karaoke"], "karaoke=drums\\+bass"),
        (["--sum", "x=vocals+flute"], "unknown stem 'flute'"),
        (["--stems", "vocls"], "did you mean vocals"),
        (["--format", "xyz"], "unknown format '.xyz'"),
        (["--shifts", "0"], "--shifts: '0': give a whole number"),
    ],
)
def test_misuse_is_one_line_before_anything_is_made(tmp_path, checkpoint, capsys, words, message):
    path = audio.write(tmp_path / "a.wav", noise(10), 44100)
    code, out, err = call(capsys, path, "--model", checkpoint, "-o", tmp_path / "out", *words)
    assert (code, out, len(err)) == (2, [], 1) and re.search(message, err[0])
    assert not (tmp_path / "out").exists()


# ---- embedded models ---------------------------------------------------------------------------


def test_embedded_models_by_name(tmp_path, monkeypatch, capsys, checkpoint):
    path = audio.write(tmp_path / "a.wav", noise(2000), 44100)
    monkeypatch.setattr(registry, "CHECKPOINTS", tmp_path / "none")
    code, _, err = call(capsys, path, "-o", tmp_path / "out")
    assert code == 1 and len(err) == 1 and "embedded model 'music' is not here" in err[0]
    monkeypatch.setattr(registry, "CHECKPOINTS", checkpoint.parent)
    checkpoint.rename(checkpoint.with_name("music.safetensors"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "music").mkdir()  # a user's folder of that name does not hide the model
    assert load("music").stems == presets()["tiny"].stems
    with pytest.raises(UsageError, match="holds no checkpoint"):
        load("./music")
    with pytest.raises(UsageError, match="did you mean music"):
        load("musci")
    code, out, err = call(capsys, path, "-o", tmp_path / "out")
    assert code == 0 and len(out) == len(presets()["tiny"].stems)
    assert len(err) == 1 and "to learn with" in err[0]
    monkeypatch.setattr("bsrnn.benchmark.PEAK_SIZE", 64)
    options = ["--measure", "--seconds", "0.2", "--repeats", "1", "--threads", "1"]
    assert cli.main(["cost", "music", "tiny", *options]) == 0  # the benchmark takes the name, too
    head, *rows = capsys.readouterr().out.splitlines()
    assert "real_time" in head.split() and {row.split()[0] for row in rows} == {"music", "tiny"}


def test_embedded_models_of_this_checkout():
    for name, stems in registry.EMBEDDED.items():
        try:
            separator = load(name)
        except DataError:
            pytest.skip(f"this checkout has no embedded model {name!r}")
        assert sorted(separator.stems) == sorted(stems)
        file = registry.embedded(name)
        assert file.stat().st_size < 5e6 and json.loads(file.with_suffix(".json").read_text())
