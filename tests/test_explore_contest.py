"""The capstone's board as a widget: ranks are those within the limit; every control works."""

import numpy as np
import pandas as pd
import pytest

widgets = pytest.importorskip("ipywidgets")

from bsrnn import evaluation, explore  # noqa: E402
from bsrnn.common import UsageError  # noqa: E402
from bsrnn.evaluation.standings import COSTS, standings  # noqa: E402

PRICES = {"small": (1000, 4e6), "wide": (9000, 5e6), "deep": (3000, 10e6)}


@pytest.fixture(scope="module")
def report():
    """Eight songs: deep is ahead of wide by a little, not on every song; small is behind."""
    song = np.arange(3.0, 11.0)
    values = {
        "silence": 0 * song, "mixture": song - 9, "ideal ratio mask": song + 6,
        "deep": song, "wide": song + np.tile((-0.6, 0.5), 4), "small": song - 3,
    }  # fmt: skip
    rows = [
        {"song": f"song {n}", "stem": "vocals", "system": name, "metric": "usdr", "value_db": x}
        for name, of in values.items()
        for n, x in enumerate(of)
    ]
    protocol = {"stems": ["vocals"], "rung": "toy", "songs": 8}
    return evaluation.Report(pd.DataFrame(rows), {"protocol": protocol})


def test_a_limit_leaves_out_and_ranks_anew(report):
    picture, words, table = explore.contest_view(report, PRICES)
    whole = standings(report, PRICES)
    assert list(table.index) == list(whole.index) and table["rank"].equals(whole["rank"])
    assert "3 of 3 submissions stay. First by the median uSDR is deep" in " ".join(words.split())
    assert "not told apart from it by these songs: wide." in " ".join(words.split())
    picture, words, table = explore.contest_view(report, PRICES, limit=60)
    assert "deep" not in table.index and table.loc["wide", "rank"] == 1
    assert "2 of 3 submissions stay. First by the median uSDR is wide" in " ".join(words.split())
    assert "ahead of all others" in " ".join(words.split())
    assert "beyond the limit deep" in picture.description
    assert table.loc["silence", "score_db"] == 0, "the ladder stays"
    picture, words, table = explore.contest_view(report, PRICES, "parameters", 60)
    assert "wide" not in table.index and "First by the median uSDR is deep" in " ".join(
        words.split()
    )
    assert "toy data" in picture.get_suptitle()


def test_nobody_within_the_limit_is_said(report):
    for cost in COSTS:
        picture, words, table = explore.contest_view(report, PRICES, cost, limit=5)
        assert "none of 3 submissions stays" in words and picture.png()
        assert "nobody within the limit" in picture.description and len(table) == 3


def test_wrong_settings_are_refused(report):
    for wrong in ({"cost": "money"}, {"by": "luck"}, {"limit": 0}):
        with pytest.raises(UsageError):
            explore.contest_view(report, PRICES, **wrong)
    with pytest.raises(UsageError, match="at least one submission"):
        explore.contest_view(report, {})


def test_every_control_over_its_range_changes_what_is_shown(report):
    panel = explore.contest_board(report, PRICES)
    assert set(panel.controls) == {"cost", "limit", "by"}
    for name, control in panel.controls.items():
        if isinstance(control, widgets.Dropdown):
            values = [value for _, value in control.options]
        else:
            values = [control.min, control.max]
        for value in [v for v in [*values, control.value] if v != control.value]:
            before = panel.output.outputs
            control.value = value
            after = panel.output.outputs
            assert after[0]["data"] != before[0]["data"], f"{name} = {value}: picture is dead"
            assert after[1]["data"] != before[1]["data"], f"{name} = {value}: words are dead"
        control.value = values[-1]
