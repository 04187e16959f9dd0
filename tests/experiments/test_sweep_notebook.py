"""The notebook of sweeps itself, `notebooks/sweep.ipynb`: its card, its numbers. About 45 CPU s."""

import json

import grammar
import pytest
from conftest import NOTEBOOKS

from bsrnn import data, experiments, metrics, models
from bsrnn.course import stamp
from bsrnn.experiments import notebooks, runner
from bsrnn.experiments.plan import cell_folder, code_hash

SWEEP = NOTEBOOKS / "sweep.ipynb"
FIXED = {"steps": 4, "songs": 2}


def card(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two seeds side by side: (plan, folder, outcomes)."""
    out = tmp_path_factory.mktemp("sweep")
    plan = experiments.Sweep({"scheme": ["v3"], "seed": [0, 1]}, FIXED)
    return plan, out, experiments.run(plan, out, workers=2)


def test_the_notebook_is_tidy_and_its_outputs_are_fresh_and_light():
    notebook = notebooks.read(SWEEP)
    setup = next(cell for cell in notebook.cells if "setup" in notebooks.tags(cell))
    assert setup.source == stamp.setup_cell() and stamp.badge("sweep") in notebook.cells[0].source
    names = list(notebooks.parameters(notebook))
    assert names[: len(grammar.SHARED)] == list(grammar.SHARED)
    assert notebook.metadata["bsrnn"]["source_hash"] == code_hash(SWEEP)
    assert SWEEP.stat().st_size < 20_000


def test_its_card_says_everything(swept):
    plan, out, outcomes = swept
    assert [outcome.error for outcome in outcomes] == ["", ""]
    folder = cell_folder(plan, out, plan.cells()[1])
    found = card(folder)
    assert found["parameters"]["seed"] == 1 and found["parameters"]["scheme"] == "v3"
    systems = {row["system"] for row in found["metrics"]}
    assert systems == {"silence", "mixture", "gain", "model", "ideal ratio mask"}
    for subset in ("valid", "test"):
        rows = [row for row in found["metrics"] if row["subset"] == subset]
        assert len({row["song"] for row in rows}) == 2
    measured = {row["metric"] for row in found["metrics"]}
    assert measured == set(metrics.DEFINITIONS), "a plan may have registered any metric"
    assert found["protocols"]["valid"]["rung"] == "toy" and found["trained"]["threads"] == 1
    own = models.load(folder / "best.safetensors")
    assert found["cost"]["parameters"] == sum(p.numel() for p in own.parameters())
    assert found["cost"]["training_macs"] > found["cost"]["macs_per_second"] > 0
    assert len(found["made"]["commit"]) == 40 and found["made"]["versions"]["torch"]
    board = experiments.leaderboard(out)
    assert board.note.startswith("toy data") and board.scores().shape == (2, 1)
    assert board.scores()["v3"].nunique() == 2, "two seeds should not agree to the last bit"


def test_alone_or_side_by_side_the_numbers_are_the_same(swept, tmp_path):
    plan, out, _ = swept
    own = {"seed": 1, "scheme": "v3", "out_dir": str(tmp_path), **FIXED}
    assert runner.execute(SWEEP, own)[1] == ""
    one, two = card(tmp_path), card(cell_folder(plan, out, plan.cells()[1]))
    for name in ("metrics", "protocols", "parameters"):
        assert one[name] == two[name]


def test_a_wrong_value_ends_before_training(tmp_path):
    stems = data.open("toy").stems
    error = runner.execute(SWEEP, {"stems": "vocal", "out_dir": str(tmp_path)})[1]
    assert "unknown stem 'vocal': did you mean vocals" in error and "vocals" in stems
    assert "(model)" in error and not list(tmp_path.iterdir())
