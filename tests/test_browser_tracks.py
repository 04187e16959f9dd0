"""The track browser in a real JupyterLab page: every control changes the picture or the sound."""

import browser
import pytest

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
REPORT = """
from bsrnn import data, evaluation, explore
from bsrnn.data import toyband

songs = data.open(toyband.make("toy", train=0, test=3, seconds=4.0))

def half(mixture, sample_rate):
    return dict.fromkeys(songs.stems, 0.5 * mixture)

ladder = ("mixture", "ideal ratio mask")
report = evaluation.evaluate(half, songs, ladder=ladder, progress=False, name="half")
"""


def test_every_control_of_the_track_browser_works_on_the_page(tmp_path, write_notebook):
    folder = tmp_path / "lab"
    folder.mkdir()
    cells = [("", REPORT), ("", "explore.track_browser(report, songs, half)")]
    write_notebook(folder / "tracks.ipynb", cells)
    with (
        browser.lab(folder) as address,
        browser.page(address, "tracks.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        tab.change("dropdown", 0, value="cSDR")
        tab.change("dropdown", 1, value="ideal ratio mask")
        tab.change("dropdown", 2, value="vocals")
        song = tab.controls("dropdown").nth(3)
        labels = song.locator("option").all_inner_texts()
        decibels = [float(label.split("dB")[0]) for label in labels]
        assert len(labels) == 3 and decibels == sorted(decibels)
        chosen = song.locator("option:checked").inner_text()
        tab.change("dropdown", 3, value=next(label for label in labels if label != chosen))
        assert tab.assert_sound(3) == pytest.approx([4, 4, 4], abs=0.1)
        tab.tab.locator(".jp-OutputArea [id^=ab] button").first.click()
        tab.tab.wait_for_function(
            "() => { const a = [...document.querySelectorAll('audio')];"
            "return a.every(x => x.currentTime > 0) && a.filter(x => !x.muted).length === 1; }"
        )
        tab.shoot("playing")
