"""The window laboratory in a real JupyterLab page: every control changes picture and table."""

import browser
import pytest

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
SOUND = """
import numpy as np
from bsrnn import explore

time_s = np.arange(3 * 44100) / 44100
sound = 0.2 * np.sin(2 * np.pi * 440 * time_s)[None] * (np.sin(2 * np.pi * 3 * time_s) > 0)
"""


def test_every_control_of_the_laboratory_works_on_the_page(tmp_path, write_notebook):
    folder = tmp_path / "lab"
    folder.mkdir()
    write_notebook(
        folder / "windows.ipynb", [("", SOUND), ("", "explore.window_lab(sound, 44100)")]
    )
    with (
        browser.lab(folder) as address,
        browser.page(address, "windows.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        assert tab.controls("dropdown").count() == 3
        for kind in ("rectangular", "hamming", "blackman", "sine"):
            tab.change("dropdown", 0, kind)
        for n_fft in ("256", "16384"):
            tab.change("dropdown", 1, n_fft)
        for share in ("1/8", "1/2", "1", "5/4"):
            tab.change("dropdown", 2, f"{share} of the window")
        assert tab.assert_sound(2) == pytest.approx([3, 3], abs=0.1)
