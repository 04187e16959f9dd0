"""The cost calculator: counts are those of the network named; every control works. Figures."""

import pytest

widgets = pytest.importorskip("ipywidgets")

from bsrnn import explore, ledger, plots  # noqa: E402
from bsrnn.common import UsageError  # noqa: E402
from bsrnn.models import BandSplitSeparator, presets  # noqa: E402

BASE = presets()["tiny"]


def test_counts_are_those_of_the_network_that_is_named():

    picture, words, table = explore.cost_view(BASE, "v4", 16, 2, "gru", 3, 2.0)
    config = BASE.replace(scheme="v4", repeats=2, rnn="gru", hidden=32, stems=("a", "b", "c"))
    built = sum(p.numel() for p in BandSplitSeparator(config).parameters())
    assert table.loc["all", "parameters"] == built == table["parameters"][:-1].sum()
    assert f"{built / 1e6:.2f} million parameters" in " ".join(words.split())
    assert picture.description == " ".join(words.split()) and picture.png()


def test_the_front_holds_what_nothing_beats():
    assert plots.pareto([1, 2, 3, 4], [5.0, 4.0, 6.0, 6.0]) == [0, 2]
    assert plots.pareto([2, 2, 1], [3.0, 4.0, 1.0]) == [2, 1]


def test_sdr_over_cost_draws_one_protocol_only():
    rows = ledger.results(metric="csdr", test_set="MUSDB18-HQ test", stem="average")
    rows = rows[rows["aggregation"] == "median over frames, median over songs"]
    picture = plots.sdr_over_cost(rows)
    sized = rows[rows["parameters_m"].notna()]
    best = sized.loc[sized["value_db"].idxmax()]
    assert f"{len(sized)} published values" in picture.description and picture.png()
    assert f"{best['system']} (" in picture.description.split("front:")[1]
    with pytest.raises(UsageError, match="rows mix metric"):
        plots.sdr_over_cost(ledger.results(stem="average"))
    with pytest.raises(UsageError, match="no row has parameters_m"):
        plots.sdr_over_cost(rows[rows["parameters_m"].isna()])
