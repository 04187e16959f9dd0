"""The walk through `forward` in a real JupyterLab page: every control changes the picture."""

import browser
import pytest

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
WALK = """
import dataclasses
import numpy as np
import torch
from bsrnn import explore
from bsrnn.models import BandSplitSeparator, presets

torch.manual_seed(0)
config = dataclasses.replace(presets()["tiny"], stems=("vocals", "drums"))
mixture = np.random.default_rng(0).standard_normal((2, 44100))
explore.forward_steps(BandSplitSeparator(config), mixture)
"""


def test_every_control_of_the_walk_works_on_the_page(tmp_path, write_notebook):
    folder = tmp_path / "lab"
    folder.mkdir()
    write_notebook(folder / "forward.ipynb", [("", WALK)])
    with (
        browser.lab(folder) as address,
        browser.page(address, "forward.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        assert tab.controls("slider").count() == 3 and tab.controls("dropdown").count() == 1
        for number in (1, 2, 0):  # band and feature on the features, then the step
            tab.change("slider", number)
        for _ in range(2):  # on to the mask, which belongs to a stem
            tab.change("slider", 0)
        tab.change("dropdown", 0, "drums")
