"""The two-scheme comparer in a real JupyterLab page: every control changes what is shown."""

import json

import browser
import pytest

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
WIDGET = """
from bsrnn import data, explore

clip = data.open("clip")[0]
songs = {
    "start": (clip.sources(0, 2 * 44100), 44100),
    "later": (clip.sources(3 * 44100, 2 * 44100), 44100),
}
explore.compare_schemes(songs)
"""


def test_every_control_of_the_comparer_works_on_the_page(tmp_path, write_notebook):
    folder = tmp_path / "lab"
    folder.mkdir()
    write_notebook(folder / "schemes.ipynb", [("", WIDGET)])
    with (
        browser.lab(folder) as address,
        browser.page(address, "schemes.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        drops = ("bs-roformer", "own", "later", "drums", "4096", "piano", "paper")
        for number, value in enumerate(drops):  # A, B, song, stem, n_fft, axis, preset
            tab.change("dropdown", number, value=value)
        assert tab.controls("dropdown").count() == len(drops)
        tab.change("slider", 0)  # own edge 2 of 8
        tab.change("slider", 1)  # drag it by a bin
        tab.change("button", 0)  # add an edge above
        tab.change("button", 1)  # remove it
        tab.change("slider", 2)  # band to hear
        tab.change("toggle")
        tab.change("text", 1)  # mute band 1 of the own edges
        seconds = tab.assert_sound(3)
        assert all(1.9 < s < 2.2 for s in seconds)
        tab.change("button", 2)
        saved = json.loads((folder / "my-bands.json").read_text())
        assert saved["name"] == "own" and saved["n_fft"] == 4096 and len(saved["ranges"]) == 9
        assert saved["edges_hz"][2] == 215.3, "the dragged edge"  # one bin above 200 Hz
        tab.change("text", 0)  # one digit more: the last edge leaves the spectrum
        wrong = tab.tab.get_by_text("edge 128001 Hz is not between 0 and Nyquist")
        assert wrong.count() == 2  # beside the edges, and in place of the picture
        for _ in range(6):
            tab.change("slider", 0)
        tab.change("button", 1)  # the wrong edge is removed without typing
        tab.idle()  # the words beside the edges came first
        assert wrong.count() == 0 and tab.assert_sound(3)
