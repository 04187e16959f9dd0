"""A folder of anybody's stems is scored as museval scores it, or refused in one line."""

import json
import logging
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import needs_ffmpeg
from test_evaluation import RATE, STEMS, dataset

from bsrnn import audio, cli, data, evaluation, metrics, plots
from bsrnn.common import DataError

LAYOUTS = {
    "demucs": "htdemucs/{song}/{stem}.wav",
    "museval": "test/{song}/{stem}.wav",
    "ours, of <song>/mixture.wav": "{song} - mixture/{stem}.wav",
    "MSST": "{song}_{stem}.wav",
    "UVR": "1_{song}_({Stem}).wav",
    "audio-separator": "{song}_({Stem})_model_bs_roformer.wav",
    "a folder a stem": "{Stem}/{song}.wav",
}


def made(gain):
    """What a system made of a song: every stem with a third of the mixture in it."""
    return lambda sources: {s: gain * x + sum(sources.values()) / 3 for s, x in sources.items()}


def written(folder, songs, layout="{song}/{stem}.wav", system=None, stems=None):
    for song in songs:
        for stem, sound in (system or made(0.5))(song.sources()).items():
            if stem in (stems or song.stems):
                names = {"song": song.name, "stem": stem, "Stem": stem.title()}
                path = folder / layout.format(**names)
                path.parent.mkdir(parents=True, exist_ok=True)
                audio.write(path, sound, song.sample_rate)
    return folder


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_gives_the_numbers_of_its_sounds(tmp_path, layout):
    songs = dataset(12)  # "song 1" begins "song 10" and "song 11"
    folder = written(tmp_path / "x", songs, layout)
    report = evaluation.evaluate(folder, songs, ladder=(), metrics=("usdr",), progress=False)
    for song in songs:
        sources, x = song.sources(), sum(song.sources().values())
        for stem, value in report.pivot().loc[song.name]["model"].items():
            expected = metrics.usdr(sources[stem], 0.5 * sources[stem] + x / 3)
            assert value == pytest.approx(expected, abs=1e-3), (song.name, stem)


def without(path):
    path.unlink()


def at_another_rate(path):
    audio.write(path, audio.read(path)[0], 2 * RATE)


def cut(samples):
    def change(path):
        audio.write(path, audio.read(path)[0][:, :-samples], RATE)

    return change


def twice(path):
    shutil.copytree(path.parent, path.parents[1] / "other" / path.parent.name)


@pytest.mark.parametrize(
    "change, words",
    [
        (without, "has no drums of 'song 1'"),
        (at_another_rate, "drums.wav has 2000 Hz, the song 1000: resample it"),
        (cut(900), "has 4400 samples, the song 5300"),
        (twice, "two files hold bass of 'song 1'"),
        (lambda path: shutil.rmtree(path.parents[1]), "no such folder"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, change, words):
    songs = dataset(3)
    folder = written(tmp_path / "system", songs)
    change(folder / "song 1" / "drums.wav")
    with pytest.raises(DataError, match=words) as error:
        evaluation.evaluate(folder, songs, progress=False)
    assert "\n" not in str(error.value)


def test_padding_extra_stems_and_missing_ones_are_said(tmp_path, caplog):
    songs = dataset(2)
    folder = written(tmp_path / "system", songs, stems=("drums", "bass"))
    cut(40)(folder / "song 1" / "drums.wav")
    shutil.copy(folder / "song 1" / "bass.wav", folder / "song 1" / "instrumental.wav")
    with caplog.at_level(logging.WARNING):
        report = evaluation.evaluate(folder, songs, progress=False)
    assert report.stems == ["drums", "bass"]
    assert "1 files are not scored, such as" in caplog.text and "instrumental.wav" in caplog.text
    assert "drums.wav is 40 samples shorter than the song: filled" in caplog.text
    sources = songs[1].sources()
    estimate = made(0.5)(sources)["drums"]
    estimate[:, -40:] = 0
    value = report.pivot().loc["song 1", ("model", "drums")]
    assert value == pytest.approx(metrics.usdr(sources["drums"], estimate), abs=1e-4)


@needs_ffmpeg
def test_two_systems_equal_museval_s_own_run_and_are_compared(tmp_path, monkeypatch, capsys):
    import musdb
    import museval

    monkeypatch.setenv("BSRNN_DATA", str(tmp_path / "data"))
    songs = data.open("toy", train=1, test=1, seconds=2.2, seed=3)
    test = songs.subset("test")
    layouts = {"first": "test/{song}/{stem}.wav", "second": "{song}_({Stem})_net.wav"}
    reports, stems = {}, ("bass", "vocals")
    for name, gain in {"first": 0.5, "second": 0.6}.items():
        folder = written(tmp_path / name, test, layouts[name], made(gain), stems)
        theirs = written(tmp_path / "theirs" / name, test, layouts["first"], made(gain), stems)
        reports[name] = evaluation.evaluate(
            folder, test, ladder=(), metrics=("usdr",), name=name, out_dir=tmp_path / "ours" / name,
            progress=False,
        )  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(np.linalg, "linalg", np.linalg, raising=False)
            tracks = musdb.DB(root=str(songs.root), is_wav=True, subsets="test")
            museval.eval_mus_dir(tracks, str(theirs), str(tmp_path / "museval" / name))
        place = f"test/{test[0].name}.json"
        ours, own = (
            json.loads(path.read_text())["targets"]
            for path in (
                tmp_path / "ours" / name / "museval" / name / place,
                tmp_path / "museval" / name / place,
            )
        )
        own = {target["name"]: target["frames"] for target in own}
        for target in ours:
            for frame, same in zip(target["frames"], own[target["name"]], strict=True):
                assert frame["metrics"]["SDR"] == pytest.approx(same["metrics"]["SDR"], abs=2e-5)
    gain = evaluation.paired(reports["first"], "first", "second", reports["second"])
    assert list(gain["stem"]) == list(stems) and (gain["median_gain_db"] > 0).all()
    words = ["--estimates", tmp_path / "first", "--estimates", tmp_path / "second"]
    words += ["--dataset", songs.root, "--metrics", "csdr,l1_freq,usdr"]
    assert cli.main(["evaluate", *map(str, words)]) == 0
    told = capsys.readouterr().out
    assert "second against first" in told and "median (mean) csdr (dB)" in told
    assert "median (mean) l1_freq (of 100)" in told
    assert cli.main(["evaluate", "--dataset", str(songs.root)]) == 2


def test_bands_add_up_to_the_error_and_leakage_to_one(tmp_path):
    from bsrnn import bands

    songs = dataset(2)
    folder = written(tmp_path / "system", songs, stems=("drums", "bass"))
    scheme = bands.equal(4, RATE, 128)
    report = evaluation.evaluate(
        folder, songs, progress=False, scheme=scheme, ladder=(), metrics=("usdr",)
    )
    sources = songs[0].sources()
    error = np.square(made(0.5)(sources)["drums"] - sources["drums"]).sum()
    rows = report.bands.query("song == 'song 0' and stem == 'drums'")
    assert rows["error"].sum() == pytest.approx(error, rel=1e-5) and len(rows) == 4
    made_of = report.leakage.query("song == 'song 0' and estimate == 'drums'")
    assert set(made_of["source"]) == {*STEMS, "rest"}
    assert made_of["share"].sum() == pytest.approx(1)
    assert made_of.set_index("source")["share"].idxmax() == "drums"
    report.save(tmp_path)
    loaded = evaluation.Report.load(tmp_path)
    pd.testing.assert_frame_equal(loaded.bands, report.bands)
    page = plots.report_page(loaded, tmp_path / "page.html")
    assert "Error and leakage" in page.read_text()
