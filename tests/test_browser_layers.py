"""The layer swapper in a real JupyterLab page: every control changes the picture."""

import browser
import pytest

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
SWAPPER = """
from bsrnn import explore
from bsrnn.models import presets

explore.layer_swapper(presets()["tiny"])
"""


def test_every_control_of_the_swapper_works_on_the_page(tmp_path, write_notebook):
    folder = tmp_path / "lab"
    folder.mkdir()
    write_notebook(folder / "layers.ipynb", [("", SWAPPER)])
    with (
        browser.lab(folder) as address,
        browser.page(address, "layers.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        assert tab.controls("dropdown").count() == 4 and tab.controls("slider").count() == 1
        for number, value in ((0, "conv"), (1, "none"), (2, "layer"), (3, "32")):
            tab.change("dropdown", number, value)
        tab.change("slider")
