"""Widgets work in a real JupyterLab page, and the test can tell when one does not.

One server for all. `WIDGETS` is the table: the cell, how many controls of each kind it must show,
how they are moved (each move must change what its cell shows), how long its players sound.
"""

import io
from typing import NamedTuple

import browser
import numpy as np
import pytest
from test_explore_results import made

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


def home_made(path, write_notebook, wave):
    cells = [HOME_MADE.replace("{wave}", wave), SOUND, "assert slider.value == 2"]
    return write_notebook(path, [("", source) for source in cells])


def test_controls_change_the_page_and_sound_has_length(lab, write_notebook, tmp_path):
    address, folder = lab
    home_made(folder / "alive.ipynb", write_notebook, "wave.value")
    with browser.page(address, "alive.ipynb", tmp_path) as tab:
        tab.run_all()
        tab.change("slider")
        tab.change("dropdown", value="square")
        (seconds,) = tab.assert_sound()
        assert seconds == pytest.approx(0.5, abs=0.01)
        with pytest.raises(AssertionError, match="an error is shown"):
            tab.change("button")


def test_negative_control_a_dead_dropdown_passes_papermill_and_fails_here(
    lab, write_notebook, tmp_path
):
    address, folder = lab
    path = home_made(folder / "dead.ipynb", write_notebook, "'sine'")
    _, error = runner.execute(path, {})
    assert error == ""
    with browser.page(address, "dead.ipynb", tmp_path) as tab:
        tab.run_all()
        tab.change("slider")
        with pytest.raises(AssertionError, match="dropdown 0 is dead"):
            tab.change("dropdown", value="square")


# The widgets of the lessons


class Widget(NamedTuple):
    """moves: (kind, number of the control, option of a dropdown). players: their lengths in s.
    more: what else is asserted, told (tab, folder of the notebook)."""

    cell: str
    controls: dict
    moves: tuple
    players: tuple = ()
    more: object = None


def each(kind, count, times=1, first=0):
    """Moves of controls number `first` to `count`, each so many times."""
    return tuple((kind, number) for number in range(first, count) for _ in range(times))


def options(*values, number=None):
    """Moves of the dropdowns in turn, or of the one `number`, to `values`."""
    return tuple(
        ("dropdown", place if number is None else number, value)
        for place, value in enumerate(values)
    )


TONE = """
import numpy as np
from bsrnn import explore

time_s = np.arange(3 * 44100) / 44100
noise = 0.05 * np.random.default_rng(0).standard_normal((2, len(time_s)))
tone = 0.2 * np.sin(2 * np.pi * 440 * time_s) * (np.sin(2 * np.pi * 3 * time_s) > 0)
sources = {"noise": noise, "tone": np.tile(tone, (2, 1))}
"""
PRESETS = "from bsrnn import explore\nfrom bsrnn.models import presets\n\n"
RATE = 8000
SONGS = f"""
import numpy as np
from bsrnn import explore

class Split:  # a stand-in: two stems that are a fixed part of the mixture each
    stems, sample_rate = ("vocals", "bass"), {RATE}

    def __call__(self, mixture):
        return mixture[:, None] * mixture.new_tensor([0.3, 0.6])[:, None, None]

class Halves(Split):
    def __call__(self, mixture):
        return mixture[:, None] * mixture.new_tensor([0.5, 0.5])[:, None, None]

time_s = np.arange(9 * {RATE}) / {RATE}
songs = {{
    "chirp": (0.4 * np.sin(2 * np.pi * (200 + 20 * time_s) * time_s)[None], {RATE}),
    "tone": (0.4 * np.sin(2 * np.pi * 300 * time_s)[None], {RATE}),
}}
explore.song_desk({{"split": Split(), "halves": Halves()}}, songs, max_s=9.0)
"""


def song_goes_up_and_its_mix_comes_down(tab, folder):
    import soundfile

    def upload(name, data):
        with tab.tab.expect_file_chooser() as chooser:
            tab.controls("button").first.click()
        chooser.value.set_files({"name": name, "mimeType": "audio/wav", "buffer": data})
        tab.tab.wait_for_timeout(1500)
        tab.idle()
        tab.shoot(name)
        return tab.tab.locator(".jp-Notebook").inner_text()

    whole, song = io.BytesIO(), 0.1 * np.sin(np.arange(7 * RATE) / 3)
    soundfile.write(whole, song, RATE, format="WAV", subtype="FLOAT")
    assert "7.0 of 7.0 s" in upload("mine.wav", whole.getvalue()), "it should be the song now"
    tab.change("dropdown", 3, "mix and stems")
    tab.change("dropdown", 4, "wav")
    links = tab.tab.locator("a[download]")
    assert links.all_inner_texts() == ["mix.wav", "vocals.wav", "bass.wav"]
    with tab.tab.expect_download() as started:
        links.nth(1).click()
    stem, rate = soundfile.read(started.value.path())
    assert rate == RATE and np.allclose(stem, song / 2, atol=1e-6)
    assert "notes.wav: not audio" in upload("notes.wav", b"these are words")


def checkpoints_are_heard_in_turn(tab, folder):
    tab.tab.locator(".noUi-handle").first.focus()
    for step in (40, 0):  # from the last checkpoint to the first
        tab.tab.keyboard.press("ArrowLeft")
        player = tab.tab.locator(f'audio[aria-label="estimate at step {step}"]')
        player.wait_for(state="attached", timeout=30_000)
    tab.change("slider", 0)  # to the right


def exactly_the_chosen_sound_is_heard(tab, folder):
    muted = "() => Array.from(document.querySelectorAll('audio')).map(a => a.muted)"
    assert tab.tab.evaluate(muted) == [False, True]
    tab.tab.get_by_role("radio", name="target").check()
    assert tab.tab.evaluate(muted) == [True, False]
    tab.tab.get_by_role("button", name="Play").click()
    tab.tab.wait_for_function("() => document.querySelector('audio').currentTime > 0.2")


def settings_are_in_step_with_python(tab, folder):
    lane = tab.tab.locator(".bsrnn-bands .lane").first
    lane.focus()
    for key in ("s", "Enter"):  # split, and hear it: Jupyter has commands on these keys, too
        tab.tab.keyboard.press(key)
    own = "document.querySelector('.bsrnn-bands').instrument"
    tab.tab.wait_for_function(f"() => {own}.active.scheme.ranges.length === 42")
    tab.tab.wait_for_function(f"() => {own}.player.playing && {own}.player.position() > 0.1")
    tab.tab.wait_for_timeout(1000)
    tab.kernel("assert len(instrument.scheme) == 42 and instrument.scheme.name == 'v7-own'")
    tab.kernel("instrument.state = {**instrument.state, 'stem': 'bass', 'lanes': ['mel48']}")
    tab.tab.wait_for_function(f"() => {own}.lanes.length === 1 && {own}.state.stem === 'bass'")
    tab.tab.wait_for_function(f"() => {own}.numbers({own}.active.scheme).bounds")
    tab.kernel(
        "bound = bsrnn.design.Bound.of(clip.sources(0, 88200), 44100, stems=['bass'])\n"
        f"shown = {tab.tab.evaluate(f'() => {own}.numbers({own}.active.scheme).bounds[1]')}\n"
        "assert abs(bound.sdr_db(bsrnn.bands.scheme('mel48'))[0] - shown) < 1e-3, shown"
    )
    assert len(tab.cells()) == 1, "no key reached the notebook"


def songs_are_sorted_and_play_together(tab, folder):
    song = tab.controls("dropdown").nth(3)
    labels = song.locator("option").all_inner_texts()
    decibels = [float(label.split("dB")[0]) for label in labels]
    assert len(labels) == 3 and decibels == sorted(decibels)
    chosen = song.locator("option:checked").inner_text()
    tab.change("dropdown", 3, value=next(label for label in labels if label != chosen))
    tab.tab.locator(".jp-OutputArea [id^=ab] button").first.click()
    tab.tab.wait_for_function(
        "() => { const a = [...document.querySelectorAll('audio')];"
        "return a.every(x => x.currentTime > 0) && a.filter(x => !x.muted).length === 1; }"
    )


WIDGETS = {
    "panel": Widget(
        """
import ipywidgets
import pandas as pd
from bsrnn import evaluation, explore, plots

songs = pd.DataFrame({"silence": [0.0, 0.0], "deep": [5.0, 6.0], "wide": [3.0, 4.0]})
costs = {"deep": {"parameters": 9e3, "macs_per_second": 4e6},
         "wide": {"parameters": 3e3, "macs_per_second": 9e6}}

def view(cost, limit):
    inside = {name: bill for name, bill in costs.items() if bill[cost] <= limit * 1e3}
    return plots.score_over_cost(evaluation.leaderboard(songs, inside, cost=cost), cost)

explore.Panel(
    view, "board",
    cost=ipywidgets.Dropdown(options=["parameters", "macs_per_second"], description="cost"),
    limit=ipywidgets.IntSlider(8, 8, 10_000, 1000, description="limit"),
)
""",
        {"dropdown": 1, "slider": 1},
        (("slider", 0), ("dropdown", 0, "macs_per_second")),
    ),
    "costs": Widget(
        PRESETS + 'explore.cost_calculator(presets()["paper"])',
        {"dropdown": 3, "slider": 3},
        options("mel48", "32", "conv") + each("slider", 3),
    ),
    "desk": Widget(
        SONGS,
        {},
        each("checkbox", 4, times=2)  # solo and mute of each stem
        + each("slider", 3, first=1)  # where to listen, gains
        + options("tone", "halves", "spectra"),
        (6, 6),
        song_goes_up_and_its_mix_comes_down,
    ),
    "distortion": Widget(
        TONE + "explore.distortion_lab(sources, 44100)",
        {"dropdown": 2, "slider": 2},
        (
            *options("musical noise", "low-pass", "clipping", number=0),
            ("slider", 0),
            ("dropdown", 1, "noise"),
            ("dropdown", 0, "delay"),
            ("slider", 1),
        ),
        (3, 3, 3),
    ),
    "forward": Widget(
        """
import dataclasses
import numpy as np
import torch
from bsrnn import explore
from bsrnn.models import BandSplitSeparator, presets

torch.manual_seed(0)
config = dataclasses.replace(presets()["tiny"], stems=("vocals", "drums"))
mixture = np.random.default_rng(0).standard_normal((2, 44100))
explore.forward_steps(BandSplitSeparator(config), mixture)
""",
        {"dropdown": 1, "slider": 3},
        # band and feature on the features, the step, and on to the mask, which belongs to a stem
        (("slider", 1), ("slider", 2), *each("slider", 1, times=3), ("dropdown", 0, "drums")),
    ),
    "freezing": Widget(
        PRESETS + 'explore.freeze_board(presets()["tiny"])',
        {"dropdown": 4, "slider": 1},
        (*options("trained", "replaced", "frozen", "tet24"), ("slider", 0)),
    ),
    "instrument": Widget(
        """
import bsrnn
from bsrnn import data, explore

clip = data.open("clip")[0]
song = clip.sources(0, 88200), 44100
instrument = explore.BandInstrument(song, ("v7", "equal32"), n_ffts=(2048,))
instrument
""",
        {},
        (),
        more=settings_are_in_step_with_python,
    ),
    "layers": Widget(
        PRESETS + 'explore.layer_swapper(presets()["tiny"])',
        {"dropdown": 4, "slider": 1},
        (*options("conv", "none", "layer", "32"), ("slider", 0)),
    ),
    "losses": Widget(
        TONE
        + """
import pandas as pd

target, rng = sources["tone"], np.random.default_rng(0)
estimates = {step: target + noise / (1 + step / 20) for step in (0, 40, 80)}
listening = explore.Listening(target + noise, target, estimates, 44100, "vocals")
steps = np.arange(10, 90, 10)
history = pd.DataFrame({"step": steps, "loss": 1 / steps + 0.02 * rng.random(8)})
explore.loss_board(history, listening)
""",
        {"slider": 2},  # checkpoint, smoothing
        (("slider", 1), *options("target", "error", "everything", number=0)),
        (3, 3, 3),
        checkpoints_are_heard_in_turn,
    ),
    "masks": Widget(
        TONE + "explore.mask_threshold(sources, 44100)",
        {"dropdown": 3, "slider": 2},
        (
            ("slider", 0),  # threshold of the binary mask
            ("dropdown", 0, "ratio family (exponent: 1 ratio, 2 Wiener)"),
            ("slider", 1),
            *options("phase-sensitive", "amplitude", "complex", number=0),
            ("dropdown", 1, "noise"),
            ("dropdown", 2, "512"),
        ),
        (3, 3),
        exactly_the_chosen_sound_is_heard,
    ),
    "mixer": Widget(
        TONE
        + """
tones = {"drums": 200, "bass": 60, "other": 900, "vocals": 2500}
stems = {name: np.tile(0.1 * np.sin(2 * np.pi * hz * time_s), (2, 1)) for name, hz in tones.items()}
explore.stem_mixer(stems, 44100)
""",
        {"checkbox": 8, "slider": 4},
        each("checkbox", 8, times=2)
        + each("slider", 4)
        + options("spectra", "bands", number=0),
        (3, 3),
    ),
    "remix": Widget(
        """
import numpy as np
from bsrnn import explore

time_s = np.arange(9 * 44100) / 44100
tones = {"speech": (700, 0.1), "music": (220, 0.05), "sfx": (3000, 0.03)}
stems = {
    name: (level * (time_s % 4 < 3) * np.sin(2 * np.pi * hz * time_s))[None]
    for name, (hz, level) in tones.items()
}
explore.remix_desk(stems, 44100)
""",
        {"checkbox": 7, "slider": 4, "dropdown": 2, "toggle": 1},
        each("slider", 4)  # three faders, where to listen
        + each("toggle", 1, times=2)  # before, after
        + options("-16 LUFS", "waveforms")
        + each("checkbox", 7, times=2),  # solo and mute of three stems, matching
        (6, 6),
    ),
    "results": Widget(
        """
from bsrnn import experiments, explore

explore.result_explorer(experiments.leaderboard("sweep"))
""",
        {"dropdown": 4},
        options("cSDR", "vocals", "training CPU s", "model"),
    ),
    "tracks": Widget(
        """
from bsrnn import data, evaluation, explore
from bsrnn.data import toyband

songs = data.open(toyband.make("toy", train=0, test=3, seconds=4.0))

def half(mixture, sample_rate):
    return dict.fromkeys(songs.stems, 0.5 * mixture)

ladder = ("mixture", "ideal ratio mask")
report = evaluation.evaluate(half, songs, ladder=ladder, progress=False, name="half")
explore.track_browser(report, songs, half)
""",
        {"dropdown": 4},
        options("cSDR", "ideal ratio mask", "vocals"),
        (4, 4, 4),
        songs_are_sorted_and_play_together,
    ),
    "windows": Widget(
        TONE + "explore.window_lab(tone[None], 44100)",
        {"dropdown": 3},
        options("rectangular", "hamming", "blackman", "sine", number=0)
        + options("256", "16384", number=1)
        + options(*(f"{share} of the window" for share in ("1/8", "1/2", "1", "5/4")), number=2),
        (3, 3),
    ),
}  # fmt: skip


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
        for kind, count in widget.controls.items():
            assert tab.controls(kind).count() == count, f"controls: {kind}"
        for kind, number, *value in widget.moves:
            tab.change(kind, number, *value)
        if widget.players:
            assert tab.assert_sound(len(widget.players)) == pytest.approx(widget.players, abs=0.2)
        if widget.more:
            widget.more(tab, folder)
