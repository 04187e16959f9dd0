"""The capstone's board in a real JupyterLab page: every control changes what is shown."""

import browser
import pytest

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
BOARD = """
import numpy as np
import pandas as pd

from bsrnn import evaluation, explore

song = np.arange(3.0, 11.0)
values = {"silence": 0 * song, "mixture": song - 9, "ideal ratio mask": song + 6,
          "deep": song, "wide": song + np.tile((-0.6, 0.5), 4), "small": song - 3}
rows = [{"song": f"song {n}", "stem": "vocals", "system": name, "metric": "usdr", "value_db": x}
        for name, of in values.items() for n, x in enumerate(of)]
protocol = {"stems": ["vocals"], "rung": "toy", "songs": 8}
report = evaluation.Report(pd.DataFrame(rows), {"protocol": protocol})
explore.contest_board(report, {"small": (1000, 4e6), "wide": (9000, 5e6), "deep": (3000, 10e6)})
"""


def test_every_control_of_the_board_works_on_the_page(tmp_path, write_notebook):
    folder = tmp_path / "lab"
    folder.mkdir()
    write_notebook(folder / "capstone.ipynb", [("", BOARD)])
    with (
        browser.lab(folder) as address,
        browser.page(address, "capstone.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        assert tab.controls("dropdown").count() == 2 and tab.controls("slider").count() == 1
        tab.change("slider")
        tab.change("dropdown", 0, "thousand parameters")
        tab.change("dropdown", 1, "lower end")
