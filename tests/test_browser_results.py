"""The result explorer in a real JupyterLab page: every control changes the picture."""

import browser
import pytest
from test_explore_results import made

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
EXPLORER = """
from bsrnn import experiments, explore

explore.result_explorer(experiments.board("sweep"))
"""


def test_every_control_of_the_explorer_works_on_the_page(tmp_path, write_notebook):
    folder = tmp_path / "lab"
    folder.mkdir()
    made(folder / "sweep")
    write_notebook(folder / "results.ipynb", [("", EXPLORER)])
    with (
        browser.lab(folder) as address,
        browser.page(address, "results.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        assert tab.controls("dropdown").count() == 4
        changes = ("cSDR", "vocals", "CPU seconds of training", "model")
        for number, value in enumerate(changes):
            tab.change("dropdown", number, value)
