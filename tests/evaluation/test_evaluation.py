"""Evaluation: the ladder, resuming, protocols, museval's readers, statistics."""

import json
import math
import shutil
import signal
import subprocess
import sys
import types
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from conftest import REAL, TESTS

from bsrnn import evaluation, masks, metrics
from bsrnn.audio.stft import StftConfig
from bsrnn.common import DataError, UsageError

RATE, STEMS = 1000, ("drums", "bass", "vocals")
PREVIEWS = REAL / "musdb18-7s-cc"
needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")),
    reason="museval does not import without ffmpeg and ffprobe",
)


@dataclass
class FakeSong:
    name: str
    seed: int
    subset: str = "test"
    stems: tuple = STEMS
    sample_rate: int = RATE
    samples: int = 5300
    silent: str = ""
    channels: int = 2

    @property
    def duration_s(self):
        return self.samples / self.sample_rate

    def sources(self):
        rng = np.random.default_rng(self.seed)
        out = {s: rng.standard_normal((2, self.samples)).astype(np.float32) for s in self.stems}
        out["drums"] *= np.float32(1.5 + self.seed % 3)
        if self.silent:
            out[self.silent][:] = 0
        return out


class FakeDataset(list):
    rung, split_hash = "folder", "abc"


def dataset(count=4, **fields):
    return FakeDataset(FakeSong(f"song {i}", i, **fields) for i in range(count))


def half(mixture, sample_rate):
    """A do-little separator."""
    return dict.fromkeys(STEMS, 0.5 * mixture)


class Model:
    """The interface of a network: (B, C, L) -> (B, S, C, L) torch."""

    stems, sample_rate = ("vocals", "drums"), RATE

    def __init__(self, gain=0.3):
        self.gain = gain

    def __call__(self, mixture):
        return (self.gain * mixture[:, None]).repeat(1, 2, 1, 1)  # (B, S, C, L)


def test_table_has_the_ladder_in_order_and_every_number_is_the_metric():
    songs = dataset()
    report = evaluation.evaluate(half, songs, ladder=("ideal ratio mask", "silence", "mixture"))
    table = report.table()
    assert list(table.index) == ["silence", "mixture", "model", "ideal ratio mask"]
    assert list(table.columns) == [*STEMS, "all"]
    assert (table.loc["silence"] == 0).all()
    for stem in STEMS:
        mixed, halved, ideal = [], [], []
        for song in songs:
            s = song.sources()
            x = sum(s.values())
            mixed.append(metrics.usdr(s[stem], x))
            halved.append(metrics.usdr(s[stem], 0.5 * x))
            estimates = masks.oracle_estimates(
                "ratio", np.stack(list(s.values())), StftConfig(4096, 1024)
            )
            ideal.append(metrics.usdr(s[stem], estimates[STEMS.index(stem)]))
        assert table.loc["mixture", stem] == pytest.approx(np.median(mixed))
        assert table.loc["model", stem] == pytest.approx(np.median(halved))
        assert table.loc["ideal ratio mask", stem] == pytest.approx(np.median(ideal), abs=1e-4)
        means = report.aggregate().set_index(["system", "stem"])["mean"]
        assert means["mixture", stem] == pytest.approx(np.mean(mixed))
    assert tuple(report.frame.columns) == (
        "song", "stem", "system", "metric", "value_db", "frames_used", "frames_total", "note",
    )  # fmt: skip
    assert len(report.frame) == 4 * 4 * 3 * 3  # songs, systems, stems, metrics
    assert report.note == "" and report.card["protocol"]["songs"] == 4


def test_networks_go_through_separate_and_are_asked_for_shared_stems_only():
    report = evaluation.evaluate(Model(), dataset(2), separation={"chunk_s": 2.0})
    assert report.stems == ["drums", "vocals"]  # the songs' order
    x = sum(dataset(1)[0].sources().values())
    want = metrics.usdr(dataset(1)[0].sources()["drums"], 0.3 * x)
    row = report.frame.query("song == 'song 0' and stem == 'drums' and system == 'model'")
    assert row.query("metric == 'usdr'")["value_db"].item() == pytest.approx(want, abs=1e-4)
    only = evaluation.evaluate(Model(), dataset(2), stems=["vocals"])
    assert list(only.table().columns) == ["vocals"]


def test_a_silent_stem_is_undefined_with_its_reason_and_left_out():
    songs = FakeDataset([FakeSong("a", 1), FakeSong("b", 2), FakeSong("c", 3, silent="vocals")])
    report = evaluation.evaluate(half, songs)
    rows = report.frame.query("song == 'c' and stem == 'vocals'")
    assert rows["value_db"].isna().all() and rows["note"].str.startswith("undefined").all()
    counts = report.aggregate().query("stem == 'vocals' and system == 'model'")
    assert (counts["songs"].item(), counts["undefined"].item()) == (2, 1)
    assert np.isfinite(report.table().to_numpy()).all()
    assert report.table("csdr").loc["silence"].isna().all()  # museval has no value there


def test_toy_results_say_so_wherever_they_are_shown(tmp_path):
    songs = dataset(2)
    songs.rung = "toy"
    report = evaluation.evaluate(half, songs)
    note = "toy data: direction only, not quality"
    assert report.note == note and report.card["note"] == note
    assert note in report.table().to_string() and note in report._repr_html_()
    assert note in evaluation.compare([report]).to_string()
    assert note in (report.save(tmp_path) / "report.json").read_text()


# ---------------------------------------------------------------- interruption


def test_songs_in_parallel_give_the_same_report(tmp_path):
    songs = dataset(5)
    one = evaluation.evaluate(half, songs, progress=False)
    three = evaluation.evaluate(half, songs, progress=False, workers=3, out_dir=tmp_path)
    same(one, three)
    assert len(list((tmp_path / "songs").rglob("*.json"))) == 5
    with pytest.raises(UsageError, match="0 workers: give at least 1"):
        evaluation.evaluate(half, songs, progress=False, workers=0)


def same(a, b):
    pd.testing.assert_frame_equal(a.frame, b.frame, check_exact=True)
    assert a.card["protocol"] == b.card["protocol"]


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path):
    whole = evaluation.evaluate(half, dataset(), out_dir=tmp_path / "whole")
    calls = []

    def half_(mixture, sample_rate):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return half(mixture, sample_rate)

    half_.__qualname__ = half.__qualname__
    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(half_, dataset(), out_dir=tmp_path / "cut")
    assert not list(tmp_path.rglob("*.tmp"))
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut" / "songs").rglob("*.json")}
    assert len(kept) == 2
    resumed = evaluation.evaluate(half, dataset(), out_dir=tmp_path / "cut")
    same(whole, resumed)
    assert all(path.stat().st_mtime_ns == was for path, was in kept.items())  # not done again
    assert (tmp_path / "cut/report.csv").read_text() == (tmp_path / "whole/report.csv").read_text()
    loaded = evaluation.Report.load(tmp_path / "cut")
    same(whole, loaded)
    pd.testing.assert_frame_equal(loaded.table("csdr"), whole.table("csdr"))


KILLED = """
import os, signal, sys
from pathlib import Path

sys.path[:0] = [{here!r}, {tests!r}]
from test_evaluation import dataset, evaluation, half

def slow(mixture, sample_rate):
    if len(list(Path(out).glob("songs/test/*.json"))) == 2:
        os.kill(os.getpid(), signal.SIGKILL)  # no handler, no finally: as a power cut
    return half(mixture, sample_rate)

slow.__qualname__ = half.__qualname__
out = sys.argv[1]
evaluation.evaluate(slow, dataset(), out_dir=out, progress=False)
"""


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    """SIGKILL in the middle of the third song: nothing half-written, nothing lost, same report."""
    out = tmp_path / "killed"
    code = KILLED.format(here=str(TESTS / "evaluation"), tests=str(TESTS))
    found = subprocess.run([sys.executable, "-c", code, str(out)], capture_output=True, text=True)
    assert found.returncode == -signal.SIGKILL, found.stderr
    kept = {path: path.stat().st_mtime_ns for path in (out / "songs").rglob("*.json")}
    assert len(kept) == 2 and not (out / "report.csv").exists()
    resumed = evaluation.evaluate(half, dataset(), out_dir=out, progress=False)
    same(evaluation.evaluate(half, dataset(), progress=False), resumed)
    assert all(path.stat().st_mtime_ns == was for path, was in kept.items())
    same(resumed, evaluation.Report.load(out))


def test_finished_songs_of_another_model_or_protocol_are_not_reused(tmp_path):
    evaluation.evaluate(half, dataset(2), out_dir=tmp_path)
    with pytest.raises(UsageError, match="another model .code."):
        evaluation.evaluate(lambda x, rate: half(x, rate), dataset(2), out_dir=tmp_path)
    with pytest.raises(UsageError, match="another protocol .songs."):
        evaluation.evaluate(half, dataset(3), out_dir=tmp_path)
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        stems, sample_rate = ("vocals",), RATE

        def __init__(self, gain):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(gain))

        def forward(self, mixture):
            return self.gain * mixture[:, None]

    evaluation.evaluate(Net(0.1), dataset(1), out_dir=tmp_path / "net")
    with pytest.raises(UsageError, match="weights"):
        evaluation.evaluate(Net(0.2), dataset(1), out_dir=tmp_path / "net")


# ---------------------------------------------------------------- museval


@needs_ffmpeg
@pytest.mark.parametrize("subset", ["test", "valid"])
def test_museval_reads_our_files_and_agrees(tmp_path, subset):
    import museval

    songs = dataset(subset=subset)
    report = evaluation.evaluate(half, songs, out_dir=tmp_path, metrics=("csdr",))
    store = museval.EvalStore()
    store.add_eval_dir(tmp_path / "museval" / "model")
    theirs = store.agg_frames_tracks_scores()
    ours = report.table("csdr").loc["model"]
    for stem in STEMS:
        assert theirs[stem, "SDR"] == pytest.approx(ours[stem], abs=2e-5)
    methods = museval.MethodStore()
    methods.add_eval_dir(tmp_path / "museval" / "mixture")
    assert set(methods.df["method"]) == {"mixture"} and set(methods.df["track"]) == {
        song.name for song in dataset()
    }
    track = museval.TrackStore("x")
    track.scores = json.loads(next((tmp_path / "museval/model").rglob("*.json")).read_text())
    track.validate()


# ---------------------------------------------------------------- statistics and comparison


def test_bootstrap_interval_and_paired_test():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 1, 400)
    low, high = evaluation.bootstrap_interval(values, np.mean)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert evaluation.bootstrap_interval(values, np.mean) == (low, high)  # seeded
    assert evaluation.bootstrap_interval([*values, math.nan], np.mean) == (low, high)
    assert all(map(math.isnan, evaluation.bootstrap_interval([math.nan])))

    report = evaluation.evaluate(half, dataset(8))
    gains = evaluation.paired(report, "mixture", "model").set_index("stem")
    assert (gains.loc[["bass", "vocals"], "median_gain_db"] > 3).all()
    assert gains.loc["bass", "won"] == 1
    assert gains.loc["bass", "p"] == pytest.approx(2 / 2**8)  # all 8 signs equal, two-sided
    assert (gains["low"] <= gains["median_gain_db"]).all()
    none = evaluation.paired(report, "model", "model")
    assert (none["p"] == 1).all() and (none["won"] == 0).all()
    with pytest.raises(UsageError, match="mixture"):
        evaluation.paired(report, "mixtur", "model")


def test_compare_shows_seeds_and_refuses_to_mix_protocols():
    songs = dataset(3)
    seeds = [
        evaluation.evaluate(lambda x, rate, g=g: dict.fromkeys(STEMS, g * x), songs, name="tuned")
        for g in (0.4, 0.5)
    ]
    other = evaluation.evaluate(half, songs, name="half")
    board = evaluation.compare([*seeds, other])
    assert list(board.index) == ["silence", "mixture", "tuned", "half", "ideal ratio mask"]
    each = [seed.table().loc["tuned", "all"] for seed in seeds]
    assert board.loc["tuned", "all"] == pytest.approx(np.mean(each))
    assert board.loc["tuned", "spread"] == pytest.approx(np.std(each, ddof=1))
    assert list(board["seeds"]) == [1, 1, 2, 1, 1]
    assert board.loc["tuned", "seconds_per_minute"] > 0
    for different, words in (
        (evaluation.evaluate(half, dataset(2)), "songs: 3 in 'tuned', 2 in 'model'"),
        (evaluation.evaluate(half, songs, frames="own"), "frames: 'joint'"),
        (evaluation.evaluate(half, songs, stems=["bass"]), "stems"),
    ):
        with pytest.raises(UsageError, match=words):
            evaluation.compare([seeds[0], different])
        with pytest.raises(UsageError):
            evaluation.paired(seeds[0], "tuned", "model", different)
    with pytest.raises(UsageError, match="without protocol"):
        evaluation.Report(other.frame, {"name": "x"})


def test_another_ladder_is_comparable_an_excerpt_is_not():
    songs = dataset(3)
    full = evaluation.evaluate(half, songs, name="half", ladder=("silence", "mixture"))
    bare = evaluation.evaluate(half, songs, name="bare", ladder=())
    assert list(evaluation.compare([bare, full]).index) == ["silence", "mixture", "bare", "half"]
    assert (evaluation.paired(full, "half", "bare", bare)["p"] == 1).all()
    short = evaluation.evaluate(half, dataset(3, samples=5200), name="short")
    with pytest.raises(UsageError, match="songs_hash"):
        evaluation.compare([full, short])


def test_estimates_are_what_is_scored():
    song = dataset(1)[0]
    references = {"vocals": song.sources()["vocals"]}
    mixture = sum(song.sources().values())
    found = evaluation.estimates(Model(), "model", references, mixture, RATE)
    assert list(found) == ["vocals"]
    np.testing.assert_allclose(found["vocals"], 0.3 * mixture, atol=1e-5)
    assert evaluation.estimates(None, "silence", references, mixture, RATE)["vocals"].any() == 0
    with pytest.raises(UsageError, match="returned no vocals"):
        evaluation.estimates(lambda x, rate: {}, "mine", references, mixture, RATE)


def test_hpss_speaks_about_drums_only():
    report = evaluation.evaluate(None, dataset(1), ladder=("HPSS", "mixture"))
    table = report.table()
    assert list(table.index) == ["mixture", "HPSS"]
    assert np.isfinite(table.loc["HPSS", "drums"]) and math.isnan(table.loc["HPSS", "bass"])
    quiet = evaluation.evaluate(None, dataset(1), stems=["bass"], ladder=("HPSS", "mixture"))
    assert quiet.systems == ["mixture"]


def test_bad_input_says_the_fix():
    nan = lambda x, rate: dict.fromkeys(STEMS, x * np.nan)  # noqa: E731
    short = lambda x, rate: dict.fromkeys(STEMS, x[:, 1:])  # noqa: E731
    alien = types.SimpleNamespace(stems=("piano",), sample_rate=RATE)
    for call, error, words in (
        (lambda: evaluation.evaluate(half, []), DataError, "no songs"),
        (
            lambda: evaluation.evaluate(nan, dataset(1)),
            UsageError,
            "song 'song 0': estimate of drums",
        ),
        (lambda: evaluation.evaluate(short, dataset(1)), UsageError, "pad or cut"),
        (lambda: evaluation.evaluate(alien, dataset(1)), UsageError, "no stem in common"),
        (lambda: evaluation.evaluate(half, dataset(1), stems=["vocal"]), UsageError, "vocals"),
        (lambda: evaluation.evaluate(half, dataset(1), ladder=["hpss"]), UsageError, "HPSS"),
        (lambda: evaluation.evaluate(half, dataset(1), metrics=["sdr"]), UsageError, "usdr"),
        (lambda: evaluation.evaluate(half, dataset(1), name="mixture"), UsageError, "ladder"),
        (lambda: evaluation.evaluate(lambda x, r: {}, dataset(1)), UsageError, "returned no drums"),
        (lambda: evaluation.Report.load("/nowhere"), DataError, "run evaluate first"),
    ):
        with pytest.raises(error) as caught:
            call()
        assert words in str(caught.value) and "\n" not in str(caught.value)


# ---------------------------------------------------------------- figures


def test_figures_show_the_numbers_of_the_report():
    from bsrnn.plots import results

    songs = FakeDataset([*dataset(4), FakeSong("quiet", 9, silent="vocals")])
    songs.rung = "toy"
    report = evaluation.evaluate(half, songs, ladder=("silence", "mixture", "HPSS"))
    table = report.table()
    picture = results.ladder(report)
    labels = [text.get_text() for text in picture.axes[0].get_yticklabels()]
    assert labels == list(table.index)
    drawn = [text.get_text() for text in picture.axes[2].texts]
    assert drawn == [f"{value:.1f}" for value in table["vocals"].dropna()]
    assert "toy data" in picture.get_suptitle() and "vocals model" in picture.description
    points = [line for line in results.per_song(report).axes[2].lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in points] == [4, 4, 4]  # vocals of one song are silent
    gains = results.paired(report, "mixture", "model")
    dots = next(line for line in gains.axes[1].lines if line.get_marker() == "o")
    want = report.pivot()["model", "bass"] - report.pivot()["mixture", "bass"]
    np.testing.assert_allclose(dots.get_ydata(), np.sort(want))
    for one in (picture, gains):
        assert one.png()[:4] == b"\x89PNG" and one.description


def test_curves_and_band_figures():
    from bsrnn import bands
    from bsrnn.plots import results

    steps = np.arange(0, 50, 10)
    runs = [
        pd.DataFrame({"step": steps, "loss": 1 / (1 + steps), "valid_usdr": steps * gain})
        for gain in (0.1, 0.2, 0.3)
    ]
    assert len(results.training_curves(runs[0].drop(columns="valid_usdr")).axes) == 1
    assert "validation SDR ends at 4.0 dB" in results.training_curves(runs[0]).description
    picture = results.transfer_curves({"frozen": runs, "scratch": runs[:1]})
    np.testing.assert_allclose(picture.axes[0].lines[0].get_ydata(), steps * 0.2)
    assert "frozen ends at 8.0 dB (4.0 to 12.0, 3 seeds)" in picture.description
    with pytest.raises(UsageError, match="validation songs"):
        results.transfer_curves({"a": [runs[0].assign(valid_usdr=np.nan)]})

    rng = np.random.default_rng(0)
    s = rng.standard_normal((1, 4000))
    low = s + np.sin(2 * np.pi * 60 * np.arange(4000) / 8000)
    scheme = bands.from_edges_hz([0, 200, 1000, 4000], 8000, 256)
    picture = results.error_per_band(scheme, {"hum": metrics.band_error(s, low, scheme)})
    assert "between 16 and 219 Hz" in picture.description  # the hum is below the first border


# ---------------------------------------------------------------- real music


@pytest.mark.skipif(not PREVIEWS.is_dir(), reason=f"real previews are not at {PREVIEWS}")
def test_ladder_on_real_music_equals_an_independent_computation():
    """Mixture and ratio mask of four MUSDB18 previews, against scipy's STFT and plain sums."""
    scipy_signal = pytest.importorskip("scipy.signal")
    from bsrnn import data

    songs = data.open(PREVIEWS)[:4]
    report = evaluation.evaluate(
        None, songs, metrics=("usdr",), ladder=("mixture", "ideal ratio mask")
    )
    values = report.pivot()
    for song in songs:
        s = song.sources()
        x = sum(s.values()).astype(float)
        for stem, wave in s.items():
            rest = x - wave
            spectra = [
                scipy_signal.stft(y, nperseg=4096, noverlap=3072, boundary="even")[2]
                for y in (wave, rest, x)
            ]
            ratio = abs(spectra[0]) / (abs(spectra[0]) + abs(spectra[1]) + 1e-20)
            ideal = scipy_signal.istft(ratio * spectra[2], nperseg=4096, noverlap=3072)[1]
            ideal = ideal[:, : x.shape[1]]
            for system, estimate in (("mixture", x), ("ideal ratio mask", ideal)):
                want = 10 * np.log10(
                    (wave.astype(float) ** 2).sum() / ((wave - estimate) ** 2).sum()
                )
                # scipy pads the ends differently: 0.05 dB on 7 s
                assert values.loc[song.name, (system, stem)] == pytest.approx(want, abs=0.05)


# The rung of a volume knob


def toy_songs(tmp_path, monkeypatch):
    from bsrnn import data

    monkeypatch.setenv("BSRNN_DATA", str(tmp_path))
    return data.open("toy", train=3, test=2, seconds=2.0, seed=1)


def test_gains_are_the_least_squares_over_training_songs_and_kept(tmp_path, monkeypatch):
    songs = toy_songs(tmp_path, monkeypatch)
    gains = evaluation.learnt_gains(songs.training)
    waves = [song.sources() for song in songs.training]
    x = np.concatenate([sum(w.values()).ravel() for w in waves])
    for stem, gain in gains.items():
        s = np.concatenate([w[stem].ravel() for w in waves])
        (best,) = np.linalg.lstsq(x[:, None], s, rcond=None)[0]
        assert gain == pytest.approx(best, abs=1e-6)
    kept = list((tmp_path / "gains").iterdir())
    assert evaluation.learnt_gains(songs.training) == gains
    assert list((tmp_path / "gains").iterdir()) == kept, "read again, not made again"
    assert evaluation.learnt_gains(songs) != gains, "other songs, other gains"


def test_the_rung_gain_is_learnt_on_training_songs_and_scored_on_others(tmp_path, monkeypatch):
    songs = toy_songs(tmp_path, monkeypatch)
    test = songs.subset("test")
    report = evaluation.evaluate(None, test, metrics=("usdr",), progress=False)
    assert report.systems[:3] == ["silence", "mixture", "gain"]
    gains = evaluation.learnt_gains(test.training)
    values = report.pivot()["gain"]
    for song in test:
        sources = song.sources()
        for stem, gain in gains.items():
            expected = metrics.usdr(sources[stem], gain * sum(sources.values()))
            assert values.loc[song.name, stem] == pytest.approx(expected, abs=1e-4)


def test_without_training_songs_the_passports_gains_serve_or_the_rung_is_left_out():
    songs = dataset(2)
    assert "gain" not in evaluation.evaluate(half, songs, progress=False).systems

    def knob(mixture, rate):
        return dict.fromkeys(STEMS, 0.25 * mixture)

    knob.passport = {"gain_per_stem": dict.fromkeys(STEMS, 0.25)}
    table = evaluation.evaluate(knob, songs, progress=False, name="knob").table()
    assert np.allclose(table.loc["gain"], table.loc["knob"])
    with pytest.raises(UsageError, match="needs gains"):
        evaluation.reference_estimates("gain", {"a": np.zeros((1, 4))}, np.zeros((1, 4)))
