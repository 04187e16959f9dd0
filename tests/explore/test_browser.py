"""Widgets work in a real JupyterLab page, and the test can tell when one does not.

One server for all; the rows are those of `widget_table`: each control is moved by keys or by its
options, and each move must change what its cell shows.
"""

import io

import browser
import numpy as np
import pytest
from hands import ACTIONS, Hands
from test_explore_results import made
from widget_table import WIDGETS

from bsrnn.experiments import runner

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(address, folder) of a server."""
    folder = tmp_path_factory.mktemp("lab")
    with browser.lab(folder) as address:
        yield address, folder


# What the test can tell

HOME_MADE = """
import ipywidgets
from IPython.display import Audio, clear_output, display
import numpy as np
from PIL import Image

slider = ipywidgets.IntSlider(2, 1, 9, description="k", continuous_update=False)
wave = ipywidgets.Dropdown(options=["sine", "square"], description="wave")
button = ipywidgets.Button(description="break")
output = ipywidgets.Output()

def draw(_=None):
    line = np.sin(np.linspace(0, 2 * np.pi * slider.value, 400))
    line = line if {wave} == "sine" else np.sign(line)
    with output:
        clear_output(wait=True)
        display(Image.fromarray(np.tile(127 + 127 * line, (50, 1)).astype("uint8")))

@output.capture()
def fail(_):
    raise ValueError("seen on the page")

slider.observe(draw, "value")
wave.observe(draw, "value")
button.on_click(fail)
draw()
display(ipywidgets.VBox([slider, wave, button, output]))
"""
SOUND = "Audio(np.sin(np.arange(22050) / 10), rate=44100)"


def home_made(path, write_notebook, wave):
    cells = [HOME_MADE.replace("{wave}", wave), SOUND, "assert slider.value == 2"]
    return write_notebook(path, [("", source) for source in cells])


def test_controls_change_the_page_and_sound_has_length(lab, write_notebook, tmp_path):
    address, folder = lab
    home_made(folder / "alive.ipynb", write_notebook, "wave.value")
    with browser.page(address, "alive.ipynb", tmp_path) as tab:
        tab.run_all()
        tab.change("slider")
        tab.change("dropdown")
        assert tab.sounds() == [pytest.approx(0.5, abs=0.01)]
        with pytest.raises(AssertionError, match="an error is shown"):
            tab.change("button")


def test_negative_control_a_dead_dropdown_passes_papermill_and_fails_here(
    lab, write_notebook, tmp_path
):
    address, folder = lab
    path = home_made(folder / "dead.ipynb", write_notebook, "'sine'")
    assert runner.execute(path, {})[1] == ""
    with browser.page(address, "dead.ipynb", tmp_path) as tab:
        tab.run_all()
        tab.change("slider")
        with pytest.raises(AssertionError, match="dropdown 0 is dead"):
            tab.change("dropdown")


# The widgets of the lessons


def song_goes_up_and_its_mix_comes_down(tab):
    import soundfile

    def upload(name, data):
        with tab.tab.expect_file_chooser() as chooser:
            tab.controls("button").first.click()
        chooser.value.set_files({"name": name, "mimeType": "audio/wav", "buffer": data})
        tab.tab.wait_for_timeout(1500)
        tab.idle()
        tab.shoot(name)
        return tab.tab.locator(".jp-Notebook").inner_text()

    whole, song = io.BytesIO(), 0.1 * np.sin(np.arange(7 * 8000) / 3)
    soundfile.write(whole, song, 8000, format="WAV", subtype="FLOAT")
    assert "7.0 of 7.0 s" in upload("mine.wav", whole.getvalue()), "it should be the song now"
    tab.change("dropdown", 3, "mix and stems")
    links = tab.tab.locator("a[download]")
    assert links.all_inner_texts() == ["mix.wav", "vocals.wav", "bass.wav", "drums.wav"]
    with tab.tab.expect_download() as started:
        links.nth(1).click()
    stem, rate = soundfile.read(started.value.path())
    assert rate == 8000 and np.allclose(stem, song / 3, atol=1e-6)
    assert "notes.wav: not audio" in upload("notes.wav", b"these are words")


def checkpoints_are_heard_in_turn(tab):
    tab.change("dropdown", 0, "estimate")
    tab.tab.locator(".noUi-handle").first.focus()
    for step in (40, 0):  # from the last checkpoint to the first
        tab.tab.keyboard.press("ArrowLeft")
        player = tab.tab.locator(f'audio[aria-label="estimate at step {step}"]')
        player.wait_for(state="attached", timeout=30_000)


def exactly_the_chosen_sound_is_heard(tab):
    muted = "() => Array.from(document.querySelectorAll('audio')).map(a => a.muted)"
    assert tab.tab.evaluate(muted) == [False, True]
    tab.tab.get_by_role("radio", name="target").check()
    assert tab.tab.evaluate(muted) == [True, False]
    tab.tab.get_by_role("button", name="Play").click()
    tab.tab.wait_for_function("() => document.querySelector('audio').currentTime > 0.2")


def songs_are_sorted_and_play_together(tab):
    labels = tab.controls("dropdown").nth(3).locator("option").all_inner_texts()
    decibels = [float(label.split("dB")[0]) for label in labels]
    assert len(labels) == 3 and decibels == sorted(decibels)
    tab.tab.locator(".jp-OutputArea [id^=ab] button").first.click()
    tab.tab.wait_for_function(
        "() => { const a = [...document.querySelectorAll('audio')];"
        "return a.every(x => x.currentTime > 0) && a.filter(x => !x.muted).length === 1; }"
    )


MORE = {
    "losses": checkpoints_are_heard_in_turn,
    "masks": exactly_the_chosen_sound_is_heard,
    "songs": song_goes_up_and_its_mix_comes_down,
    "tracks": songs_are_sorted_and_play_together,
}


@pytest.mark.parametrize("name", WIDGETS)
def test_every_control_of_the_widget_works_on_the_page(name, lab, write_notebook, tmp_path):
    (address, root), widget = lab, WIDGETS[name]
    folder = root / name
    folder.mkdir()
    if name == "results":
        made(folder / "sweep")
    write_notebook(folder / f"{name}.ipynb", [("", widget.cell)])
    with browser.page(address, f"{name}/{name}.ipynb", tmp_path) as tab:
        tab.run_all()
        counts = {kind: tab.controls(kind).count() for kind in browser.CONTROLS}
        assert sum(counts.values()) == widget.controls, counts
        for kind, count in counts.items():
            for number in range(count):
                control = tab.controls(kind).nth(number)
                if (kind, number) in widget.still or not tab.works(control):
                    continue
                for _ in range(2 if kind in ("checkbox", "toggle") else 1):
                    tab.change(kind, number)
        for move in widget.then:
            tab.change(*move)
        assert tab.sounds() == pytest.approx(widget.players, abs=0.2)
        MORE.get(name, lambda _: None)(tab)


def test_the_instrument_does_everything_and_is_in_step_with_python(lab, write_notebook, tmp_path):
    address, folder = lab
    cell = """
import bsrnn
from bsrnn import data, explore

clip = data.open("clip")[0]
song = clip.sources(0, 88200), 44100
instrument = explore.BandInstrument(song, ("v7", "equal32"), n_ffts=(2048, 1024))
instrument
"""
    write_notebook(folder / "instrument.ipynb", [("", cell)])
    with browser.page(address, "instrument.ipynb", tmp_path) as tab:
        tab.run_all()
        hands = Hands(tab.tab, "mouse")
        for action, told in ACTIONS.items():
            if len(told) == 3:  # the pointer; the rest is the same in the file
                hands.does(action)
        hands = Hands(tab.tab, "keys")  # Jupyter has commands on these keys, too
        for action in ACTIONS:
            hands.does(action)
        hands.does("split a band")
        hands.press("Enter")
        hands.wait("i.player.playing && i.player.position() > 0.1")
        tab.tab.wait_for_timeout(1000)
        tab.kernel("assert len(instrument.scheme) == 42 and instrument.scheme.name == 'v7-own'")
        tab.kernel("instrument.state = {**instrument.state, 'stem': 'bass', 'lanes': ['mel48']}")
        hands.wait("i.lanes.length === 1 && i.state.stem === 'bass'")
        hands.wait("i.numbers(i.active.scheme).bounds")
        tab.kernel(
            "bound = bsrnn.design.Bound.of(clip.sources(0, 88200), 44100, stems=['bass'])\n"
            f"shown = {hands.of('i.numbers(i.active.scheme).bounds[1]')}\n"
            "assert abs(bound.sdr_db(bsrnn.bands.scheme('mel48'))[0] - shown) < 1e-3, shown"
        )
        assert len(tab.cells()) == 1, "no key reached the notebook"
