"""Widgets work in a real JupyterLab page, and the test can tell when one does not."""

import browser
import pytest

from bsrnn.experiments import runner

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
WIDGET = """
import io
import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Audio, clear_output, display

slider = ipywidgets.IntSlider(2, 1, 9, description="k", continuous_update=False)
wave = ipywidgets.Dropdown(options=["sine", "square"], description="wave")
output = ipywidgets.Output()

def draw(_=None):
    phase = np.linspace(0, 2 * np.pi * slider.value, 400)
    figure, axes = plt.subplots(figsize=(4, 2))
    axes.plot(np.sin(phase) if {wave} == "sine" else np.sign(np.sin(phase)))
    plt.close(figure)
    with output:
        clear_output(wait=True)
        display(figure)

slider.observe(draw, "value")
wave.observe(draw, "value")
draw()
button = ipywidgets.Button(description="break")

@output.capture()
def fail(_):
    raise ValueError("seen on the page")

button.on_click(fail)
display(ipywidgets.VBox([slider, wave, button, output]))
"""
SOUND = "Audio(np.sin(np.arange(22050) / 10), rate=44100)"


@pytest.fixture(scope="module")
def server(tmp_path_factory, write_notebook):
    folder = tmp_path_factory.mktemp("lab")
    for name, wave in (("alive", "wave.value"), ("dead", "'sine'")):
        cells = [
            ("", WIDGET.replace("{wave}", wave)),
            ("", SOUND),
            ("", "assert slider.value == 2"),
        ]
        write_notebook(folder / f"{name}.ipynb", cells)
    with browser.lab(folder) as address:
        yield address, folder


def test_controls_change_the_page_and_sound_has_length(server, tmp_path):
    address, _ = server
    with browser.page(address, "alive.ipynb", tmp_path) as tab:
        tab.run_all()
        tab.change("slider")
        tab.change("dropdown", value="square")
        (seconds,) = tab.assert_sound()
        assert seconds == pytest.approx(0.5, abs=0.01)
        with pytest.raises(AssertionError, match="an error is shown"):
            tab.change("button")


def test_negative_control_a_dead_dropdown_passes_papermill_and_fails_here(server, tmp_path):
    address, folder = server
    _, error = runner.execute(folder / "dead.ipynb", {})
    assert error == ""
    with browser.page(address, "dead.ipynb", tmp_path) as tab:
        tab.run_all()
        tab.change("slider")
        with pytest.raises(AssertionError, match="dropdown 0 is dead"):
            tab.change("dropdown", value="square")
