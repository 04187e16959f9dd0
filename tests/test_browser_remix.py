"""The remix desk in a real JupyterLab page: every control changes picture, words or sound."""

import browser
import pytest

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
STEMS = """
import numpy as np
from bsrnn import explore

time_s = np.arange(9 * 44100) / 44100
tones = {"speech": (700, 0.1), "music": (220, 0.05), "sfx": (3000, 0.03)}
stems = {
    name: (level * (time_s % 4 < 3) * np.sin(2 * np.pi * hz * time_s))[None]
    for name, (hz, level) in tones.items()
}
"""


def test_every_control_of_the_remix_desk_works_on_the_page(tmp_path, write_notebook):
    folder = tmp_path / "lab"
    folder.mkdir()
    write_notebook(folder / "remix.ipynb", [("", STEMS), ("", "explore.remix_desk(stems, 44100)")])
    with (
        browser.lab(folder) as address,
        browser.page(address, "remix.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        assert tab.controls("checkbox").count() == 7  # solo and mute of three stems, matching
        assert tab.controls("slider").count() == 4  # three faders, where to listen
        assert tab.controls("dropdown").count() == 2 and tab.controls("toggle").count() == 1
        for number in range(tab.controls("slider").count()):
            tab.change("slider", number)
        tab.change("toggle")  # before
        tab.change("toggle")  # after
        tab.change("dropdown", 0, "-16 LUFS")
        tab.change("dropdown", 1, "waveforms")
        for number in range(tab.controls("checkbox").count()):
            tab.change("checkbox", number)
            tab.change("checkbox", number)
        assert tab.assert_sound(2) == pytest.approx([6, 6], abs=0.1)  # before and after
