"""Sweeps: planned once, resumable, nothing half-finished looks finished. About 45 CPU s.

The notebook has three cells without torch: what is tested is the machinery around it.
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bsrnn import cli, experiments
from bsrnn.common import DataError, UsageError
from bsrnn.experiments import plan as plans
from bsrnn.experiments.plan import cell_folder

PARAMETERS = """
kind: str = "v7"  # bands
seed: int = 0  # of all
rate: float = 0.5  # of learning
out_dir: str = ""  # for the card
"""
WORK = """
import pathlib, time
folder, hold = pathlib.Path(out_dir), pathlib.Path("hold")
(folder / "began").touch()
while hold.exists() and seed == 1:
    time.sleep(0.05)
if kind == "bad":
    raise ValueError("no such bands")
"""
CARD = """
import json, os
value = {"v7": 1.0, "v1": 0.4}.get(kind, 0.0) + 0.1 * seed
rows = [{"song": name, "stem": "vocals", "system": system, "metric": "usdr", "value_db": v}
        for name in ("a", "b") for system, v in (("model", value), ("mixture", -5.0))]
card = {"parameters": {"kind": kind, "seed": seed, "rate": rate}, "metrics": rows,
        "protocol": {"rung": "toy", "stems": ["vocals"]}, "cost": {"parameters": 10}}
(folder / "part").write_text(json.dumps(card))
os.replace(folder / "part", folder / "results.json")
if kind == "late":
    raise ValueError("after the card")
"""
OTHER = '{"parameters": {"seed": 4}, "metrics": [{"value_db": 1.0}]}'
BARE = """
from bsrnn import course
course.write_card(out_dir, "bare", {"seed": seed}, [{"value_db": float(seed)}])
"""
GRID = {"kind": ["v7", "v1"], "seed": [0, 1]}


@pytest.fixture
def notebook(tmp_path, write_notebook):
    """Path of a small notebook in a folder of its own, where its kernel works."""
    folder = tmp_path / "notebook"
    folder.mkdir()
    cells = [("parameters", PARAMETERS.strip()), ("", WORK.strip()), ("", CARD.strip())]
    return write_notebook(folder / "notebook.ipynb", cells)


def planned(notebook, grid=GRID, **options):
    return experiments.Sweep(grid, notebook=str(notebook), **options)


def states(outcomes):
    return [outcome.state for outcome in outcomes]


def cards(out):
    return {path.parent.name: path.read_text() for path in out.glob("cells/*/results.json")}


def test_the_grid_expands_and_a_plan_travels_as_json():
    plan = experiments.Sweep(GRID, {"rate": 0.1}, question="?", baseline={"kind": "v1"})
    cells = plan.cells()
    assert cells[1] == {"kind": "v7", "seed": 1, "rate": 0.1} and len(cells) == 4
    assert plan.arms() == ["v7", "v1"] and plan.comparisons == 1 and plan.level == 0.95
    assert experiments.Sweep.from_json(plan.to_json()) == plan
    many = experiments.Sweep({"kind": ["a", "b", "c"], "size": [1, 2], "seed": [0]})
    assert many.arms()[0] == "kind a, size 1" and many.level == pytest.approx(0.99)
    assert "better than kind a, size 1 if the 99 %" in many.rule


def test_every_field_is_in_the_hash():
    others = {
        "grid": GRID | {"seed": [0, 1, 2]}, "fixed": {"rate": 1.0}, "question": "why?",
        "hypothesis": "more", "metric": "csdr", "stem": "vocals", "baseline": {"kind": "v1"},
        "margin_db": 0.1, "alpha": 0.01, "repeat": "fold", "notebook": "other",
    }  # fmt: skip
    plan = experiments.Sweep(GRID)
    digests = {dataclasses.replace(plan, **{n: v}).digest for n, v in others.items()}
    assert others.keys() == vars(plan).keys() and len(digests | {plan.digest}) == 1 + len(others)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"grid": {"seed": 3}}, "the grid is empty: give lists"),
        ({"grid": {"seed": [0, 0]}}, "seed has a value twice"),
        ({"grid": {"out_dir": ["a"]}}, "out_dir cannot be planned"),
        ({"grid": GRID, "fixed": {"seed": 1}}, "seed stands in grid and fixed"),
        ({"grid": GRID, "metric": "sdr2"}, "unknown metric"),
        ({"grid": GRID, "baseline": {"kind": "v8"}}, "unknown value of kind"),
        ({"grid": GRID, "alpha": 5}, "alpha is 5"),
        ({"grid": GRID, "hypotesis": "x"}, "did you mean hypothesis"),
        ({"question": "x"}, "the grid is empty: give lists"),
        ([1], "give an object with fields by name"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(fields, words):
    with pytest.raises(UsageError, match=words):
        experiments.Sweep.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    "grid, fixed, words",
    [
        ({"knid": ["v7"]}, {}, "parameter of lesson notebook 'knid': did you mean kind"),
        ({"seed": [0, "one"]}, {}, "'seed' takes int"),
        ({"seed": [0]}, {"rate": "fast"}, "'rate' takes float"),
        ({"seed": ["1", 1]}, {}, "seed has a value twice"),
    ],
)
def test_refused_before_anything_runs(notebook, tmp_path, grid, fixed, words):
    with pytest.raises(UsageError, match=words):
        experiments.run(experiments.Sweep(grid, fixed, notebook=str(notebook)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_numbers_and_places_are_refused(notebook, tmp_path):
    with pytest.raises(UsageError, match="no notebook"):
        experiments.run(planned("gone.ipynb"), tmp_path / "out")
    with pytest.raises(UsageError, match="workers is -1"):
        experiments.run(planned(notebook), tmp_path / "out", workers=-1)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write .*: choose another folder"):
        experiments.run(planned(notebook), tmp_path / "file")


def test_a_registered_plan_stays_as_it_is(notebook, tmp_path):
    plan = planned(notebook, hypothesis="v1 is better")
    plans.register(plan, tmp_path)
    assert plans.register(plan, tmp_path) == plan.digest
    with pytest.raises(UsageError, match=r"another plan \(hypothesis differ\)"):
        experiments.run(planned(notebook, hypothesis="v7 is better"), tmp_path)
    notebook.write_text(notebook.read_text().replace("0.4", "0.5"))
    with pytest.raises(UsageError, match="has changed since"):
        experiments.run(plan, tmp_path)
    path = tmp_path / "plan.json"
    path.write_text(path.read_text().replace("v1 is better", "v7 is better"))
    with pytest.raises(DataError, match="edited after it was registered"):
        experiments.leaderboard(tmp_path)


def test_a_failing_notebook_is_named_and_stops_no_other(notebook, tmp_path):
    plan, seen = planned(notebook, {"kind": ["bad", "late", "v7"], "seed": [2]}), []
    outcomes = experiments.run(plan, tmp_path / "out", workers=2, watch=seen.append)
    assert states(outcomes) == ["failed", "failed", "ran"] and len(seen) == 3
    assert "after the card" in outcomes[1].error
    line = outcomes[0].line(plan.grid)
    assert line.startswith("FAIL  kind=bad seed=2") and "ValueError: no such bands" in line
    failed = cell_folder(plan, tmp_path / "out", outcomes[0].parameters)
    assert not (failed / "results.json").exists() and (failed / "executed.ipynb").exists()
    assert len(experiments.leaderboard(tmp_path / "out").missing) == 2
    again = experiments.run(plan, tmp_path / "out", workers=2)
    assert states(again) == ["failed", "failed", "kept"]


def test_only_a_matching_card_counts(notebook, tmp_path):
    plan = planned(notebook, {"seed": [0, 3]})
    one, two = (cell_folder(plan, tmp_path, cell) / "results.json" for cell in plan.cells())
    for path, text in ((one, '{"parameters": {"seed": 0'), (two, OTHER)):
        path.parent.mkdir(parents=True)
        path.write_text(text)  # damaged, and of another cell
    assert states(experiments.run(plan, tmp_path, workers=2)) == ["ran", "ran"]
    assert states(experiments.run(plan, tmp_path, workers=2)) == ["kept", "kept"]


def test_a_notebook_without_card_and_a_dead_process_fail(tmp_path, write_notebook):
    end = "import os, signal\nif seed: os.kill(os.getppid(), signal.SIGKILL)"
    path = write_notebook(tmp_path / "l.ipynb", [("parameters", PARAMETERS.strip()), ("", end)])
    outcomes = experiments.run(planned(path, {"seed": [0, 1]}), tmp_path / "out", workers=2)
    assert "left no results.json" in outcomes[0].error
    assert "ended early (signal 9)" in outcomes[1].error


def begin(notebook, out, *more):
    """A sweep in a process of its own, whose cells with seed 1 wait; returns when they do."""
    (notebook.parent / "hold").touch()
    words = "sweep run -p kind v7,v1 -p seed 0,1 --workers 2"
    command = [sys.executable, "-m", "bsrnn", *words.split()]
    command += ["--notebook", str(notebook), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 600
    while len(list(out.glob("cells/*seed=1*/began"))) < 1 or len(cards(out)) < 1:
        assert time.monotonic() < deadline and process.poll() is None, "the sweep did not begin"
        time.sleep(0.1)
    return process


def test_a_cell_that_is_still_worked_on_is_left_alone(notebook, tmp_path):
    plan = planned(notebook, {"seed": [0, 2]})
    busy = cell_folder(plan, tmp_path, plan.cells()[0])
    with plans.alone(busy):  # by a notebook that a killed sweep has begun on another machine
        outcomes = experiments.run(plan, tmp_path, workers=2)
    assert states(outcomes) == ["failed", "ran"] and "another sweep" in outcomes[0].error
    assert states(experiments.run(plan, tmp_path)) == ["ran", "kept"]


def left_over(notebook):
    """Processes that still work in the notebook's folder after a few seconds."""
    psutil = pytest.importorskip("psutil")
    for _ in range(100):
        there = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(notebook.parent):
                    there.append(process)
            except psutil.Error:
                continue
        if not there:
            return []
        time.sleep(0.1)
    return there


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_sweep_leaves_nothing_that_looks_finished(notebook, tmp_path, number):
    out = tmp_path / "out"
    process = begin(notebook, out)
    with pytest.raises(UsageError, match="another sweep is running in .*: wait until it ends"):
        experiments.run(planned(notebook), out)  # two at a time would write the same cards
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert left_over(notebook) == []
    if number == signal.SIGINT:
        assert said.strip() == "bsrnn: interrupted"
    done = cards(out)
    assert done and not any("seed=1" in name for name in done)
    os.remove(notebook.parent / "hold")
    outcomes = experiments.run(planned(notebook), out, workers=2)
    assert states(outcomes).count("kept") == len(done) and "failed" not in states(outcomes)
    assert len(cards(out)) == 4


def test_notebooks_run_on_a_cluster(notebook, tmp_path):
    distributed = pytest.importorskip("distributed", reason='pip install "dask[distributed]"')
    options = {"dashboard_address": None, "processes": False, "threads_per_worker": 2}
    with distributed.LocalCluster(n_workers=1, **options) as cluster:
        plan = planned(notebook, {"kind": ["v7", "bad"], "seed": [0]})
        outcomes = experiments.run(plan, tmp_path / "out", scheduler=cluster.scheduler_address)
        assert states(outcomes) == ["ran", "failed"] and "no such bands" in outcomes[1].error
    with pytest.raises(UsageError, match="no scheduler at tcp://127.0.0.1:9"):
        experiments.run(plan, tmp_path / "out", scheduler="tcp://127.0.0.1:9")


def test_without_dask_one_line_says_how_to_get_it(notebook, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r'pip install "dask\[distributed\]"'):
        experiments.run(planned(notebook), tmp_path / "out", scheduler="tcp://127.0.0.1:9")
    assert not (tmp_path / "out").exists()


VALUES = {"v7": (3.0, 3.4, 3.1, 3.5), "v1": (2.0, 2.5, 2.2, 2.4), "v4": (3.1, 3.3, 3.3, 3.4)}


def written(notebook, out, values, songs=(0.0, 1.0, 5.0), protocol=None, **options):
    """A sweep whose cards are written by hand: `values` per arm and seed, plus those of songs."""
    seeds = list(range(max(map(len, values.values()))))
    plan = options.pop("plan", None) or planned(
        notebook, {"kind": list(values), "seed": seeds}, **options
    )
    plans.register(plan, out)
    for cell in plan.cells():
        if cell["seed"] >= len(values[cell["kind"]]):
            continue
        value = values[cell["kind"]][cell["seed"]]
        rows = [
            {"song": f"song {n}", "stem": stem, "system": system, "metric": "usdr", "value_db": db}
            for n, more in enumerate(songs)
            for stem, own in (("vocals", 0.0), ("drums", 2.0))
            for system, db in (("model", value + more + own), ("mixture", -4.0 + more))
        ]
        folder = cell_folder(plan, out, cell)
        folder.mkdir(parents=True, exist_ok=True)
        card = {
            "parameters": cell, "metrics": rows, "cost": {"parameters": 7, "cpu_seconds": value},
            "protocol": (protocol or (lambda cell: {}))(cell)
            | {"rung": "folder", "stems": ["vocals", "drums"]},
        }  # fmt: skip
        (folder / "results.json").write_text(json.dumps(card))
    return out


def test_the_board_says_mean_interval_and_cost_beside_the_ladder(notebook, tmp_path):
    from scipy.stats import ttest_1samp

    board = experiments.leaderboard(written(notebook, tmp_path, VALUES))
    table = board.table()
    assert list(table.index) == ["v4", "v7", "v1", "mixture"]
    scores = np.array(VALUES["v7"]) + 1 + 1  # median over songs, mean over stems
    assert table.loc["v7", "score_db"] == pytest.approx(scores.mean())
    known = ttest_1samp(scores, 0).confidence_interval(0.95)
    assert list(table.loc["v7", ["low_db", "high_db"]]) == pytest.approx([known.low, known.high])
    assert table.loc["mixture", "score_db"] == -3 and np.isnan(table.loc["mixture", "low_db"])
    assert table.loc["v7", "parameters"] == 7 and "seconds" not in table
    assert table.loc["v1", "cpu_seconds"] == pytest.approx(np.mean(VALUES["v1"]))
    drums = board.table(stem="drums")
    assert drums.loc["v7", "score_db"] == pytest.approx(scores.mean() + 1)


def test_the_printed_board_has_units_and_no_float_where_a_count_stands(notebook, tmp_path):
    out = written(notebook, tmp_path, {"v7": (3.0, 3.4), "v1": (2.0, 2.5)})
    for path in out.glob("cells/*/results.json"):
        card = json.loads(path.read_text())
        cost = {"parameters": 100762, "macs_per_second": 43637877, "training_macs": 1.067631e12}
        card["cost"] = cost | {"cpu_seconds": 1234.56, "energy_kwh": 0.0123456}  # no cost
        path.write_text(json.dumps(card))
    board = experiments.leaderboard(out)
    shown = board.readable()
    assert list(shown.index) == list(board.table().index), "another order than the board's"
    assert dict(shown.loc["v7"].drop(["score_db", "low_db", "high_db", "front"])) == {
        "seeds": "2", "parameters": "100,762", "GMAC per second of sound": "0.044",
        "training GMAC": "1,067.63", "training CPU s": "1,234.6",
    }  # fmt: skip
    assert shown.loc["v7", "score_db"] == "5.20", "median of songs, mean of stems, mean of seeds"
    assert dict(shown.loc["mixture"]) == dict.fromkeys(shown, "") | {"score_db": "-3.00"}
    assert shown.columns.name == board.note or not board.note
    assert "training CPU s" not in board.readable(leave=["cpu_seconds"]), "left out"


def test_gains_are_paired_and_the_rule_decides(notebook, tmp_path):
    from scipy.stats import ttest_rel

    options = {"hypothesis": "v1 loses", "margin_db": 0.5}
    board = experiments.leaderboard(written(notebook, tmp_path, VALUES, **options))
    gains = board.gains()
    known = ttest_rel(VALUES["v1"], VALUES["v7"]).confidence_interval(1 - 0.05 / 2)
    assert list(gains.loc["v1", ["low", "high"]]) == pytest.approx([known.low, known.high])
    assert gains.loc["v1", "mean"] == pytest.approx(-0.975) and gains.loc["v1", "songs"] == 3
    assert dict(gains["verdict"]) == {"v1": "worse", "v4": "undecided"}
    assert set(board.gains(stem="drums")["verdict"]) == {"exploratory"}
    options["margin_db"] = 0.95
    strict = experiments.leaderboard(written(notebook, tmp_path / "2", VALUES, **options))
    assert strict.gains().loc["v1", "verdict"] == "undecided"
    turned = {"v1": VALUES["v1"], "v7": VALUES["v7"]}
    up = experiments.leaderboard(written(notebook, tmp_path / "3", turned, hypothesis="v7 wins"))
    assert dict(up.gains()["verdict"]) == {"v7": "better"}


def test_no_verdict_without_hypothesis_or_before_the_end(notebook, tmp_path):
    plain = experiments.leaderboard(written(notebook, tmp_path / "1", VALUES))
    assert set(plain.gains()["verdict"]) == {"exploratory"}
    part = {"v7": VALUES["v7"], "v1": VALUES["v1"][:3]}
    early = experiments.leaderboard(written(notebook, tmp_path / "2", part, hypothesis="v1 loses"))
    assert early.gains().loc["v1", "verdict"] == "wait: 1 cells are not finished"
    assert early.remarks == ["1 of 8 cells are not finished"]
    assert early.gains().loc["v1", "seeds"] == 3  # only pairs


def test_arms_without_a_seed_in_common_have_no_gain(notebook, tmp_path):
    out = written(notebook, tmp_path, {"v7": (1.0, 2.0), "v1": (2.0, 3.0)}, hypothesis="x")
    for name in ("kind=v7,seed=0", "kind=v1,seed=1"):
        (card,) = out.glob(f"cells/{name}-*/results.json")
        card.unlink()
    gains = experiments.leaderboard(out).gains()
    assert gains.loc["v1", "songs"] == 0 and gains.loc["v1", "seeds"] == 0
    assert np.isnan(gains.loc["v1", "mean"]) and gains.loc["v1", "verdict"].startswith("wait")


def test_one_seed_has_no_interval(notebook, tmp_path):
    out = written(notebook, tmp_path, {"v7": (1.0,), "v1": (2.0,)}, hypothesis="x")
    board = experiments.leaderboard(out)
    assert np.isnan(board.table().loc["v7", "low_db"])
    assert board.gains().loc["v1", "verdict"] == "undecided"


def test_cards_of_two_protocols_do_not_mix(notebook, tmp_path):
    other = written(notebook, tmp_path, VALUES, protocol=lambda cell: {"songs_hash": cell["kind"]})
    with pytest.raises(UsageError, match="protocols differ in songs_hash: 'v7'"):
        experiments.leaderboard(other)


def test_boards_without_plan_or_cards(notebook, tmp_path):
    with pytest.raises(DataError, match="no plan in"):
        experiments.leaderboard(tmp_path)
    plans.register(planned(notebook), tmp_path)
    with pytest.raises(DataError, match="no finished cell"):
        experiments.leaderboard(tmp_path)


def test_the_command_runs_a_plan_file_and_shows_the_board(notebook, tmp_path, capsys):
    plan = planned(notebook, {"kind": ["v7", "v1"], "seed": [2]}, hypothesis="v1 is worse")
    (tmp_path / "plan.json").write_text(plan.to_json())
    out = str(tmp_path / "out")
    assert cli.main(["sweep", "run", str(tmp_path / "plan.json"), "--out", out]) == 0
    said = capsys.readouterr().out
    assert "ran   kind=v7 seed=2" in said and "2 of 2 cells are finished" in said
    assert cli.main(["sweep", "board", out, "--out", str(tmp_path / "all.csv")]) == 0
    said = capsys.readouterr().out
    assert "mixture" in said and "undecided" in said and plan.rule in said
    assert "toy data: direction only" in said
    assert experiments.leaderboard(out).readable().to_string() in said, "raw floats"
    assert (tmp_path / "all.csv").read_text().count("\n") == 1 + 2 * 2 * 2


def test_the_command_fails_in_one_line(notebook, tmp_path, capsys):
    out = ["--notebook", str(notebook), "--out", str(tmp_path / "out")]
    leaf = ["sweep", "run", "--out", str(tmp_path / "never"), "-p", "seed", "0,1"]
    heads = "-p model.features 30 -p model.attention.heads 4"
    cases = [
        ([*leaf, "-p", "scheme", "v7,v9"], 2, "unknown band scheme 'v9'"),
        ([*leaf, "-p", "model.feature", "64,128"], 2, "did you mean features"),
        ([*leaf, "-p", "train.lr", "1e-3,fast"], 2, "'lr' takes float"),
        ([*leaf, "-p", "train.loss", "l1_both,mse"], 2, "unknown loss 'mse'"),
        ([*leaf, "-p", "data.recipe", "paper,ours"], 2, "unknown mixing recipe 'ours'"),
        ([*leaf, "-p", "data.silence", "0,2"], 2, "silence is 2"),
        ([*leaf, *heads.split()], 2, "do not divide"),
        ([*leaf, "-p", "stems", "vocals,flute"], 2, "unknown stem 'flute'"),
        ([*leaf, "-p", "device", "tpu"], 2, "unknown device 'tpu'"),
        ([*leaf, "-p", "train.lr", "1e-4..1e-2 log"], 2, "write 0..4"),
        (["sweep", "run", "-p", "model.features", "8,9", *out], 2, "unknown parameter of lesson"),
        (["sweep", "run", "-p", "seed", "0..1", "--adopt", "/none", *out], 2, "no folder /none"),
        (["sweep", "run", "-p", "seed", "2", "--extend", *out[2:]], 1, "no plan in"),
        (["sweep", "run", *out], 2, "nothing to sweep"),
        (["sweep", "run", "-p", "seed", "0", *out], 2, "nothing to sweep"),
        (["sweep", "run", "-p", "sed", "0,1", *out], 2, "did you mean seed"),
        (["sweep", "run", "-p", "seed", "0,1", "-p", "seed", "2", *out], 2, "given 2 times"),
        (["sweep", "run", str(notebook), "-p", "seed", "0,1"], 2, "the plan file says it all"),
        (["sweep", "run", str(tmp_path / "none.json")], 2, "no file"),
        (["sweep", "board", str(tmp_path)], 1, "no plan in"),
        (["sweep", "run", "-p", "kind", "bad,v7", *out], 1, "1 cells failed"),
    ]
    for command, code, words in cases:
        assert cli.main(command) == code, command
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1
    for name in ("run", "board"):
        assert cli.main(["sweep", name, "--help"]) == 0
        assert "example: python -m bsrnn sweep" in capsys.readouterr().out


# More of a plan, and cards from elsewhere


def test_a_plan_grows_keeps_its_history_and_says_so(notebook, tmp_path):
    values = {"v7": (3.0, 3.1, 3.2), "v1": (1.0, 1.2, 1.1)}
    out = written(notebook, tmp_path, values, hypothesis="v1 loses")
    before = experiments.read_plan(out)[0]
    assert experiments.extend(out, {"seed": ["1", "2"]}) == before, "nothing new"
    grown = experiments.extend(out, {"seed": ["3"], "kind": ["v4"]})
    assert grown.grid == {"kind": ("v7", "v1", "v4"), "seed": (0, 1, 2, 3)}
    assert experiments.read_plan(out)[1]["history"][0]["digest"] == before.digest != grown.digest
    board = experiments.leaderboard(out)
    assert len(board.missing) == 6 and board.remarks[0].startswith("amended: plan")
    values = {"v7": (*values["v7"], 3.3), "v1": (*values["v1"], 1.3), "v4": VALUES["v4"]}
    written(notebook, out, values, plan=grown)
    assert experiments.leaderboard(out).gains().loc["v1", "verdict"] == "worse (amended)"
    experiments.leaderboard(out, test=True)
    with pytest.raises(UsageError, match="test songs of .* were seen on"):
        experiments.extend(out, {"seed": [9]})
    with pytest.raises(UsageError, match="unknown axis of the plan 'rate'"):
        experiments.extend(out, {"rate": [0.1]})


def test_boards_rank_on_validation_songs(notebook, tmp_path):
    out = written(notebook, tmp_path, VALUES)
    for path in out.glob("cells/*/results.json"):
        card = json.loads(path.read_text())
        valid = [row | {"subset": "valid", "value_db": -row["value_db"]} for row in card["metrics"]]
        path.write_text(json.dumps(card | {"metrics": card["metrics"] + valid}))
    assert experiments.leaderboard(out).scores()["v7"].max() < 0, "the test songs were looked at"
    assert "test_seen" not in experiments.read_plan(out)[1]
    assert experiments.leaderboard(out, test=True).scores()["v7"].min() > 0
    assert "first looked at" in experiments.leaderboard(out).remarks[0]


def test_cards_made_elsewhere_are_pooled(notebook, tmp_path):
    plan = planned(notebook)
    experiments.run(plan, tmp_path / "whole", workers=2)
    away = tmp_path / "away"
    for number, cell in enumerate(plan.cells()[1:]):
        (away / f"machine {number}").mkdir(parents=True)
        card = cell_folder(plan, tmp_path / "whole", cell) / "results.json"
        shutil.copy(card, away / f"machine {number}")
    (away / "results.json").write_text("{}")
    outcomes = experiments.run(plan, tmp_path / "pooled", workers=2, adopt=away)
    assert states(outcomes) == ["ran", "took", "took", "took"]
    assert states(experiments.run(plan, tmp_path / "pooled")) == ["kept"] * 4
    pooled, whole = (experiments.leaderboard(tmp_path / name) for name in ("pooled", "whole"))
    assert pooled.frame.equals(whole.frame) and pooled.remarks == ["3 cards are adopted"]


@pytest.mark.parametrize(
    "card, words",
    [
        ("{", "is no JSON"),
        ({}, "parameters is no object"),
        ({"parameters": {}}, "metrics is no list"),
        ({"parameters": {}, "metrics": [{"value_db": "1"}]}, "has no number value_db"),
        ({"parameters": {}, "metrics": [{"value_db": 1, "metric": "sdr9"}]}, "unknown metric"),
        ({"parameters": {}, "metrics": [{"value_db": 1, "subset": "x"}]}, "unknown subset"),
        ({"parameters": {}, "metrics": [{"value_db": 1}], "cost": 3}, "cost is no object"),
    ],
)
def test_what_is_no_card_is_told(tmp_path, card, words):
    path = tmp_path / "results.json"
    path.write_text(card if isinstance(card, str) else json.dumps(card))
    with pytest.raises(DataError, match=words):
        experiments.read_card(path)


def test_any_notebook_with_parameters_and_a_card_can_be_swept(tmp_path, write_notebook):
    cells = [("parameters", 'seed: int = 0  # of all\nout_dir: str = ""  # for the card')]
    path = write_notebook(tmp_path / "bare.ipynb", [*cells, ("", BARE)])
    plan = planned(path, {"seed": [0, 3]})
    plans.register(plan, tmp_path / "out")
    outcomes = [experiments.run_cell(tmp_path / "out", number) for number in (0, 1, 1)]
    assert states(outcomes) == ["ran", "ran", "kept"], outcomes
    board = experiments.leaderboard(tmp_path / "out")
    assert board.scores()["one arm"].tolist() == [0.0, 3.0] and board.note == ""
    assert board.made["host"].notna().all()


def test_the_script_of_a_job_array(notebook, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["-p", "seed", "0..3", "--notebook", str(notebook), "--out", str(out), "--slurm"]
    assert cli.main(["sweep", "run", *words]) == 0
    script = capsys.readouterr().out
    assert "--array=0-3" in script and f"sweep cell {out}" in script
    assert experiments.read_plan(out)[0].grid == {"seed": (0, 1, 2, 3)}


def test_a_worker_has_a_gpu_of_its_own(monkeypatch):
    from bsrnn.experiments import running

    busy, most = [], []

    def work(job, children):
        busy.append(job["gpu"])
        most.append(len(set(busy)) == len(busy))
        time.sleep(0.05)
        busy.remove(job["gpu"])
        return 0.0, "", ""

    monkeypatch.setattr(running, "_timed", work)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert running._gpus() == ["2", "5"]
    assert len(list(running._here({n: {} for n in range(8)}, 2, ["2", "5"]))) == 8 and all(most)


def test_what_the_planned_seeds_can_show():
    few, more = (experiments.Sweep({"kind": ["a", "b"], "seed": list(range(n))}) for n in (3, 20))
    shown = [float(plan.shows.split("gain of ")[1].split()[0]) for plan in (few, more)]
    assert shown[0] == pytest.approx(3.3, abs=0.1) and shown[1] == pytest.approx(0.66, abs=0.02)
    assert "decides nothing" in experiments.Sweep({"kind": ["a", "b"]}).shows


SWEEPS = {  # the variants of magronp/bsrnn's README and tuning tables, in our words -> cells
    "-p model magronp -p train.loss l1,l1_spectrum,l1_both -p model.repeats 10": 3,
    "-p model magronp,magronp-large,obsrnn -p train.patience 10,30 -p seed 0..2": 18,
    "-p train.lr 1e-3,5e-4 -p train.monitor loss,valid_usdr -p train.accumulate 1,4": 8,
    "-p model.stft.n_fft 2048,4096 -p model.stft.hop 1024 -p model.mask.hidden 1N,2N,4N": 6,
    "-p model.block mixed -p model.block.time rnn,conv -p model.block.band rnn,conv": 4,
    "-p model.block.rnn lstm,gru -p model.block.heads 1,2 -p model.repeats 4,8": 8,
    "-p model.tac tanh,prelu -p model.attention.heads 1,2,4 -p model.attention.features 4,8": 12,
    "-p model.channel_handling independent,joint -p model.mask.hidden 4N,8N": 4,
    "-p model.residual_last false,true -p stems 'vocals,bass,drums,other;'": 2,
    "-p scheme v7-magronp,joint-magronp -p data.recipe paper,magronp -p seed 0": 4,
    "-p data.gain_low ' -10,-3' -p train.optimizer adam,adamw -p train.clip_norm 1,5": 8,
    '-p train.lr "1e-4..1e-2 log 5" -p model.scheme v5,v7 -p seed 0..2': 30,
}


@pytest.mark.parametrize("line", SWEEPS)
def test_any_setting_is_an_axis(line):
    import shlex

    from bsrnn.cli import sweep

    args = cli.parser().parse_args(["sweep", "run", *shlex.split(line)])
    plan = experiments.checked(sweep._plan(args))
    assert len(plan.cells()) == SWEEPS[line] and "seed" not in plan.fixed, "no seed can be added"
    kinds = {type(value) for name in plan.grid for value in plan.grid[name]}
    assert kinds <= {int, float, str, bool} and experiments.checked(plan) == plan


def test_a_setting_means_the_same_everywhere():
    from bsrnn.experiments import runner, words

    leaf = plans.find("sweep")
    by_name = runner.resolve([leaf], {"train.lr": "1e-2", "model.features": "64"})[leaf]
    by_text = runner.resolve([leaf], {"settings": "model.features=64 train.lr=0.01"})[leaf]
    assert by_name == by_text == {"settings": "model.features=64 train.lr=0.01"}
    model, train = words.configs("tiny", "smoke", by_name["settings"])
    assert (model.features, train.lr) == (64, 0.01)
    mixed = words.configs("tiny", "smoke", "data.recipe=few-songs data.silence=0.3")[1]
    assert json.loads(mixed.recipe)["silence"] == 0.3 and json.loads(mixed.recipe)["remix"] == 0.5
