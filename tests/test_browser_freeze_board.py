"""The freeze board in a real JupyterLab page: every control changes the picture."""

import browser
import pytest

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
BOARD = """
from bsrnn import explore
from bsrnn.models import presets

explore.freeze_board(presets()["tiny"])
"""


def test_every_control_of_the_freeze_board_works_on_the_page(tmp_path, write_notebook):
    folder = tmp_path / "lab"
    folder.mkdir()
    write_notebook(folder / "freeze.ipynb", [("", BOARD)])
    with (
        browser.lab(folder) as address,
        browser.page(address, "freeze.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        assert tab.controls("dropdown").count() == 4 and tab.controls("slider").count() == 1
        for number, value in ((0, "trained"), (1, "replaced"), (2, "frozen"), (3, "tet24")):
            tab.change("dropdown", number, value)
        tab.change("slider")
