"""The loss board in a real JupyterLab page: every control changes the picture or the sound."""

import browser
import pytest

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
RUN = """
import numpy as np
import pandas as pd
from bsrnn import explore

rng, time_s = np.random.default_rng(0), np.arange(3 * 44100) / 44100
target = np.tile(0.1 * np.sin(2 * np.pi * 440 * time_s), (2, 1))
noise = 0.1 * rng.standard_normal(target.shape)
estimates = {step: target + noise / (1 + step / 20) for step in (0, 40, 80)}
listening = explore.Listening(target + noise, target, estimates, 44100, "vocals")
steps = np.arange(10, 90, 10)
history = pd.DataFrame({"step": steps, "loss": 1 / steps + 0.02 * rng.random(8)})
"""


def test_every_control_of_the_board_works_on_the_page(tmp_path, write_notebook):
    folder = tmp_path / "lab"
    folder.mkdir()
    cells = [("", RUN), ("", "explore.loss_board(history, listening)")]
    write_notebook(folder / "board.ipynb", cells)
    with (
        browser.lab(folder) as address,
        browser.page(address, "board.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        assert tab.controls("slider").count() == 2  # checkpoint, smoothing
        tab.tab.locator(".noUi-handle").first.focus()
        for step in (40, 0):  # from the last checkpoint to the first
            tab.tab.keyboard.press("ArrowLeft")
            player = tab.tab.locator(f'audio[aria-label="estimate at step {step}"]')
            player.wait_for(state="attached", timeout=30_000)
        tab.change("slider", 0)  # to the right
        tab.change("slider", 1)
        for hear in ("target", "error", "everything"):
            tab.change("dropdown", value=hear)
        assert tab.assert_sound(3) == pytest.approx([3, 3, 3], abs=0.1)
