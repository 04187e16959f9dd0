"""The mixing desk in a real JupyterLab page: every control changes the picture or the sound."""

import browser
import pytest

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
STEMS = """
import numpy as np
from bsrnn import explore

time_s = np.arange(3 * 44100) / 44100
tones = {"drums": 200, "bass": 60, "other": 900, "vocals": 2500}
stems = {name: np.tile(0.1 * np.sin(2 * np.pi * hz * time_s), (2, 1)) for name, hz in tones.items()}
"""


def test_every_control_of_the_mixer_works_on_the_page(tmp_path, write_notebook):
    folder = tmp_path / "lab"
    folder.mkdir()
    write_notebook(folder / "mixer.ipynb", [("", STEMS), ("", "explore.stem_mixer(stems, 44100)")])
    with (
        browser.lab(folder) as address,
        browser.page(address, "mixer.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        for number in range(tab.controls("checkbox").count()):  # solo and mute of each stem
            tab.change("checkbox", number)
            tab.change("checkbox", number)
        for number in range(tab.controls("slider").count()):
            tab.change("slider", number)
        for view in ("spectra", "bands"):
            tab.change("dropdown", value=view)
        assert tab.controls("checkbox").count() == 8 and tab.controls("slider").count() == 4
        seconds = tab.assert_sound(2)
        assert seconds == pytest.approx([3, 3], abs=0.1)
