"""The mask microscope in a real JupyterLab page: every control changes picture, table and sound."""

import browser
import pytest

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
SOURCES = """
import numpy as np
from bsrnn import explore

time_s = np.arange(3 * 44100) / 44100
noise = 0.05 * np.random.default_rng(0).standard_normal((2, len(time_s)))
tone = 0.2 * np.sin(2 * np.pi * 440 * time_s) * (np.sin(2 * np.pi * 3 * time_s) > 0)
sources = {"noise": noise, "tone": np.tile(tone, (2, 1))}
"""
RATIO = "ratio family (exponent: 1 ratio, 2 Wiener)"


def test_every_control_of_the_mask_works_on_the_page(tmp_path, write_notebook):
    folder = tmp_path / "lab"
    folder.mkdir()
    widget = "explore.mask_threshold(sources, 44100)"
    write_notebook(folder / "masks.ipynb", [("", SOURCES), ("", widget)])
    with (
        browser.lab(folder) as address,
        browser.page(address, "masks.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        assert tab.controls("dropdown").count() == 3 and tab.controls("slider").count() == 2
        tab.change("slider", 0)  # threshold of the binary mask
        tab.change("dropdown", 0, RATIO)
        tab.change("slider", 1)  # exponent of the ratio family
        for kind in ("phase-sensitive", "amplitude", "complex"):
            tab.change("dropdown", 0, kind)
        tab.change("dropdown", 1, "noise")
        tab.change("dropdown", 2, "512")
        assert tab.assert_sound(2) == pytest.approx([3, 3], abs=0.1)
        _ab_switches(tab.tab)


def _ab_switches(page):
    """Of the two sounds exactly the chosen one is unmuted."""
    muted = "() => Array.from(document.querySelectorAll('audio')).map(a => a.muted)"
    assert page.evaluate(muted) == [False, True]
    page.get_by_role("radio", name="target").check()
    assert page.evaluate(muted) == [True, False]
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('audio').currentTime > 0.2")
