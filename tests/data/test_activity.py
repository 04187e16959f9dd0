"""Activity rules: the published decisions, what separates the rules, lists in both forms."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from golden_fill import GOLDEN, draw

from bsrnn import cli
from bsrnn.common import DataError
from bsrnn.data import activity, toyband

RATE = 1000


def golden():
    with np.load(GOLDEN / "sad_decisions.npz") as arrays:
        arrays = dict(arrays)
    meta = json.loads(str(arrays.pop("meta")))
    config = meta["config"]
    x = (0.2 * draw(meta["seed"], "x", (2, config["samples"]))).astype(np.float32)
    for edit in config["edits"]:
        where = slice(edit["start_s"] * config["sr"], edit["end_s"] * config["sr"])
        channel = slice(None) if edit["channel"] == "both" else edit["channel"]
        x[channel, where] *= np.float32(edit["gain"])
    return x, config["sr"], arrays


def test_the_decisions_of_the_repositories_are_equal():
    x, rate, expected = golden()
    found = activity.segments(x, rate, activity.rule("repositories"))
    stored = np.where(expected["rms"] == 0, 1e-5, expected["rms"])  # stored before the floor
    np.testing.assert_allclose(found.levels, stored, rtol=1e-5)
    assert found.kept.tolist() == expected["mask"].astype(bool).tolist()
    assert found.starts[found.kept].tolist() == expected["start_indices"].tolist()
    assert 0 < found.kept.sum() < len(found.kept)  # the fixture decides something


def test_the_quantile_of_the_segment_never_decides():
    x, rate, _ = golden()
    rule = activity.rule("repositories")
    without = activity.Rule(quantile=0.0)
    assert (activity.segments(x, rate, rule).kept == activity.segments(x, rate, without).kept).all()


def test_the_quantile_of_the_track_does():
    """Noise at -20 dBFS for 48 s, then at -28: always above the bound of -30 dBFS, but what is
    quieter than 89 % of the track lies below its 15 % quantile."""
    levels = np.repeat([0.1, 0.04], [48 * RATE, 6 * RATE])
    song = levels * np.random.default_rng(0).standard_normal((2, 54 * RATE))
    paper = activity.rule("paper")
    of_track = activity.segments(song, RATE, paper).kept
    of_segment = activity.segments(song, RATE, dataclasses.replace(paper, quantile_over="segment"))
    assert of_segment.kept.all() and of_track[:-2].all() and not of_track[-1]


def kept_by(waveform):
    found = activity.rules().items()
    return {name: activity.segments(waveform, RATE, rule).kept.all() for name, rule in found}


def test_rules_differ_in_the_measure():
    """Noise of RMS 0.01 is loud as RMS (-40 dBFS), not as energy (1e-4 is below 1e-3)."""
    noise = 0.01 * np.random.default_rng(0).standard_normal((2, 6 * RATE))
    loud = {"paper": False, "repositories": True, "root-abs": True, "mixer": True}
    assert kept_by(noise) == loud


def test_a_constant_level_is_never_above_its_own_quantile():
    tone = 0.5 * np.ones((2, 6 * RATE))
    assert kept_by(tone) == {
        "paper": False, "repositories": False, "root-abs": False, "mixer": True
    }  # fmt: skip


def test_one_silent_channel():
    rng = np.random.default_rng(0)
    song = 0.2 * rng.standard_normal((2, 12 * RATE))
    assert activity.segments(song, RATE, activity.rule("repositories")).kept.all()
    song[1] = 0
    assert not activity.segments(song, RATE, activity.rule("repositories")).kept.any()
    for pooled in ("paper", "mixer"):
        assert activity.segments(song, RATE, activity.rule(pooled)).kept.all(), pooled


def test_segments_cover_and_overlap():
    found = activity.segments(np.ones((1, 20 * RATE)), RATE, activity.rule("paper"))
    assert found.starts.tolist() == [0, 3000, 6000, 9000, 12000]
    assert (found.ends - found.starts == 6 * RATE).all()
    short = activity.segments(np.ones((1, 700)), RATE, activity.rule("mixer"))
    assert short.starts.tolist() == [0] and short.ends.tolist() == [700] and short.kept.all()
    with pytest.raises(DataError, match="without samples"):
        activity.segments(np.ones((1, 0)), RATE, activity.rule("paper"))


def test_silence_has_the_floor_and_nan_is_loud():
    rule = activity.rule("mixer")
    assert (activity.chunk_levels(np.zeros((2, 100)), rule) == activity.FLOOR).all()
    assert activity.heard(np.zeros((2, 1000))) == 0
    assert activity.heard(np.full((2, 1000), np.nan)) == 1  # a broken stem is met, not avoided
    assert activity.heard(np.full((2, 1000), 1e-4)) == 0
    assert activity.heard(np.ones((2, 3))) == 1  # fewer samples than chunks


class Noise:
    """A song of noise whose vocals rest in the middle."""

    def __init__(self, name):
        self.name, self.subset, self.sample_rate, self.samples = name, "train", RATE, 30 * RATE

    def read(self, stem):
        waveform = 0.2 * np.random.default_rng(0).standard_normal((2, self.samples))
        if stem == "vocals":
            waveform[:, 8 * RATE : 22 * RATE] = 0
        return waveform


class Songs:
    stems, songs = ("drums", "vocals"), [Noise("one"), Noise("two")]


def test_a_table_lists_what_is_kept_and_survives_both_forms(tmp_path):
    frame = activity.table(Songs, "repositories")
    counts = frame.groupby("stem").size()
    assert counts["drums"] == 18 and counts["vocals"] == 8
    vocals = frame[frame.stem == "vocals"]
    assert vocals.start.tolist()[:4] == [0, 3000, 21000, 24000]
    for form in ("text", "csv"):
        paths = activity.write(frame, tmp_path, form)
        assert [path.stem for path in paths] == ["drums_train", "vocals_train"]
        assert len(paths[1].read_text().splitlines()) == len(vocals) + (form == "csv")
    line = (tmp_path / "vocals_train.txt").read_text().splitlines()[1]
    assert line == "one\t3000\t9000"
    head = (tmp_path / "vocals_train.csv").read_text().splitlines()[:2]
    assert head == ["index,track,ind_beg,ind_end", "0,one,0,6000"]


def test_the_command_line_writes_lists(tmp_path, capsys):
    toyband.make(tmp_path / "songs", seconds=7, train=2, test=1, seed=0)
    words = ["activity", "--dataset", str(tmp_path / "songs"), "--stems", "bass,drums"]
    words += ["--rule", "repositories", "--form", "csv", "--out", str(tmp_path / "lists")]
    assert cli.main(words) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert all(path.exists() and path.suffix == ".csv" for path in paths)
    assert {"bass_train.csv", "drums_train.csv"} <= {path.name for path in paths}
    rows = np.concatenate(
        [np.loadtxt(path, str, delimiter=",", skiprows=1, ndmin=2) for path in paths]
    )
    assert set(rows[:, 3].astype(int) - rows[:, 2].astype(int)) == {264600}
    assert cli.main([*words[:-6], "--rule", "papr"]) == 2
