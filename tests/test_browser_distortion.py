"""The distortion lab in a real JupyterLab page: every control changes picture and table."""

import browser
import pytest

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
SOUND = """
import numpy as np
from bsrnn import explore

time_s = np.arange(3 * 44100) / 44100
tone = 0.2 * np.sin(2 * np.pi * 440 * time_s)[None] * (1 + np.sin(2 * np.pi * 3 * time_s))
noise = 0.05 * np.random.default_rng(0).standard_normal((1, len(time_s)))
sources = {"drums": noise, "vocals": tone}
"""


def test_every_control_of_the_lab_works_on_the_page(tmp_path, write_notebook):
    folder = tmp_path / "lab"
    folder.mkdir()
    cells = [("", SOUND), ("", "explore.distortion_lab(sources, 44100)")]
    write_notebook(folder / "distortion.ipynb", cells)
    with (
        browser.lab(folder) as address,
        browser.page(address, "distortion.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        assert tab.controls("dropdown").count() == 2 and tab.controls("slider").count() == 2
        for kind in ("musical noise", "low-pass", "clipping"):
            tab.change("dropdown", 0, kind)
        tab.change("slider", 0)
        tab.change("dropdown", 1, "drums")
        tab.change("dropdown", 0, "delay")
        tab.change("slider", 1)
        assert tab.assert_sound(3) == pytest.approx([3, 3, 3], abs=0.1)
        tab.shoot("delay")
