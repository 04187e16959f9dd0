"""The result explorer: means and intervals are those of the cells; every control works."""

import json

import pytest

widgets = pytest.importorskip("ipywidgets")

from bsrnn import experiments, explore  # noqa: E402
from bsrnn.common import UsageError  # noqa: E402
from bsrnn.experiments import plan as plans  # noqa: E402
from bsrnn.experiments.running import cell_folder  # noqa: E402


def made(out):
    """A sweep of 2 schemes, 2 sizes and 3 seeds whose cards are written by hand."""
    grid = {"scheme": ["v7", "v1"], "model": ["tiny", "small"], "seed": [0, 1, 2]}
    plan = experiments.Sweep(grid, fixed={"songs": 2})
    plans.register(plan, out)
    for cell in plan.cells():
        size = 2 if cell["model"] == "small" else 1
        base = size + 0.5 * (cell["scheme"] == "v7") + 0.2 * cell["seed"]
        rows = [
            {"song": song, "stem": stem, "system": system, "metric": metric, "value_db": db + more}
            for song in ("a", "b")
            for stem, own in (("vocals", 0.0), ("drums", 1.0))
            for metric, more in (("usdr", 0.0), ("csdr", 0.7))
            for system, db in (("model", base + own), ("mixture", -4.0))
        ]
        folder = cell_folder(plan, out, cell)
        folder.mkdir(parents=True)
        cost = {"parameters": 1000 * size, "cpu_seconds": 9 + size + (cell["scheme"] == "v7")}
        cost |= {"macs_per_second": 2e7 * size}
        protocol = {"rung": "toy", "stems": ["vocals", "drums"]}
        card = {"parameters": cell, "metrics": rows, "protocol": protocol, "cost": cost}
        (folder / "results.json").write_text(json.dumps(card))
    return experiments.leaderboard(out)


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return made(tmp_path_factory.mktemp("sweep"))


def test_numbers_are_those_of_the_cells(board):
    from scipy.stats import ttest_1samp

    picture, words, table = explore.results_view(board, "usdr", "drums", "cpu_seconds", "scheme")
    cells = [size + 0.5 + 1 + 0.2 * seed for size in (1, 2) for seed in range(3)]
    known = ttest_1samp(cells, 0).confidence_interval(0.95)
    expected = [sum(cells) / 6, known.low, known.high, 6, 11.5]
    assert list(table.loc["v7"]) == pytest.approx(expected, abs=1e-3)
    drawn = [
        tuple(line.get_xydata()[0]) for line in picture.axes[1].lines if line.get_marker() == "D"
    ]
    means = [(11.5, sum(cells) / 6), (10.5, sum(cells) / 6 - 0.5)]
    assert drawn == [pytest.approx(point) for point in means]
    dots = sum(len(line.get_xdata()) for line in picture.axes[0].lines if line.get_marker() == "o")
    assert dots == 12
    said = " ".join(words.split())
    assert f"v7 {sum(cells) / 6:.2f} dB ({known.low:.1f} to {known.high:.1f})" in said
    assert "mixture -4.00 dB" in said and said == picture.description and picture.png()
    assert "Toy data: direction only" in said
    assert list(explore.results_view(board)[2].index) == board.plan.arms()
    for wrong in ({"metric": "sdr"}, {"stem": "bass"}, {"cost": "energy_kwh"}, {"group": "steps"}):
        with pytest.raises(UsageError):
            explore.results_view(board, **wrong)


def test_costs_are_shown_in_units_that_can_be_read(board):
    picture, _, table = explore.results_view(board, cost="macs_per_second", group="model")
    assert list(table["GMAC per second of sound"]) == pytest.approx([0.02, 0.04])
    assert picture.axes[0].get_xlabel() == "GMAC per second of sound"
    assert picture.axes[1].lines[1].get_xdata()[0] == pytest.approx(0.02), "drawn in that unit"
    table = explore.results_view(board, group="model")[2]
    assert list(table["parameters"]) == ["1,000", "2,000"]
