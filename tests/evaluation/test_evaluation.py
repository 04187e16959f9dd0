"""Evaluation: the ladder, resuming, protocols, museval's readers, statistics."""

import json
import math
import signal
import subprocess
import sys
import types
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from conftest import TESTS, needs_ffmpeg

from bsrnn import evaluation, masks, metrics
from bsrnn.audio.stft import StftConfig
from bsrnn.common import DataError, UsageError

RATE, STEMS = 1000, ("drums", "bass", "vocals")


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
    stacked = [np.stack(list(song.sources().values())) for song in songs]  # (S, C, L)
    ladder = {
        "mixture": [metrics.usdr(s, np.broadcast_to(s.sum(0), s.shape)) for s in stacked],
        "model": [metrics.usdr(s, np.broadcast_to(0.5 * s.sum(0), s.shape)) for s in stacked],
        "ideal ratio mask": [
            metrics.usdr(s, masks.oracle_estimates("ratio", s, StftConfig(4096, 1024)))
            for s in stacked
        ],
    }
    means = report.table(statistic="mean")
    for system, values in ladder.items():
        assert table.loc[system, [*STEMS]].tolist() == pytest.approx(
            np.median(values, axis=0), abs=1e-4
        )
        assert means.loc[system, [*STEMS]].tolist() == pytest.approx(
            np.mean(values, axis=0), abs=1e-4
        )
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
    whole = evaluation.evaluate(half, dataset(), out_dir=tmp_path / "whole", progress=False)
    same(whole, resumed)
    assert all(path.stat().st_mtime_ns == was for path, was in kept.items())  # not done again
    assert (out / "report.csv").read_text() == (tmp_path / "whole/report.csv").read_text()
    loaded = evaluation.Report.load(out)
    same(resumed, loaded)
    pd.testing.assert_frame_equal(loaded.table("csdr"), whole.table("csdr"))


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
    each = report.pivot()["model", "bass"] - report.pivot()["mixture", "bass"]
    assert gains.loc["bass", "mean_gain_db"] == pytest.approx(each.mean())
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
    for separator, options, words in (
        (nan, {}, "song 'song 0': estimate of drums"),
        (short, {}, "pad or cut"),
        (alien, {}, "no stem in common"),
        (lambda x, rate: {}, {}, "returned no drums"),
        (half, {"stems": ["vocal"]}, "vocals"),
        (half, {"ladder": ["hpss"]}, "HPSS"),
        (half, {"metrics": ["sdr"]}, "usdr"),
        (half, {"name": "mixture"}, "ladder"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            evaluation.evaluate(separator, dataset(1), **options)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no songs"):
        evaluation.evaluate(half, [])
    with pytest.raises(DataError, match="run evaluate first"):
        evaluation.Report.load("/nowhere")


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


def test_the_rung_gain_is_learnt_on_training_songs_and_scored_on_others(tmp_path, monkeypatch):
    from bsrnn import data

    monkeypatch.setenv("BSRNN_DATA", str(tmp_path))
    songs = data.open("toy", train=3, test=2, seconds=2.0, seed=1)
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
    test = songs.subset("test")
    report = evaluation.evaluate(None, test, metrics=("usdr",), progress=False)
    assert report.systems[:3] == ["silence", "mixture", "gain"]
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
