"""The cost calculator in a real JupyterLab page: every control changes the picture."""

import browser
import pytest

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
CALCULATOR = """
from bsrnn import explore
from bsrnn.models import presets

explore.cost_calculator(presets()["paper"])
"""


def test_every_control_of_the_calculator_works_on_the_page(tmp_path, write_notebook):
    folder = tmp_path / "lab"
    folder.mkdir()
    write_notebook(folder / "costs.ipynb", [("", CALCULATOR)])
    with (
        browser.lab(folder) as address,
        browser.page(address, "costs.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        assert tab.controls("dropdown").count() == 3 and tab.controls("slider").count() == 3
        for number, value in ((0, "mel48"), (1, "32"), (2, "conv")):
            tab.change("dropdown", number, value)
        for number in range(3):
            tab.change("slider", number)
