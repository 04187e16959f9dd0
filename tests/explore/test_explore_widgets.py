"""Widgets in the kernel: every control over its range changes what is shown, errors are words."""

import ast
import time

import numpy as np
import pandas
import pytest

widgets = pytest.importorskip("ipywidgets")

from test_explore_results import made  # noqa: E402
from widget_table import WIDGETS  # noqa: E402

from bsrnn import distort, explore  # noqa: E402
from bsrnn.common import DataError, UsageError  # noqa: E402
from bsrnn.explore import Panel, layers, masks  # noqa: E402
from bsrnn.explore.songs import SongStems  # noqa: E402
from bsrnn.models import BandSplitSeparator, SeparatorBag, presets  # noqa: E402
from bsrnn.plots import style  # noqa: E402

SECONDS = 5  # a guard of five times what a change may take on two idle cores, in CPU seconds
TINY = presets()["tiny"]


def shown(name, folder, monkeypatch):
    """The widget of a row, its cell run in `folder`."""
    monkeypatch.chdir(folder)
    if name == "results":
        made(folder / "sweep")
    *body, last = ast.parse(WIDGETS[name].cell).body
    names = {}
    exec(compile(ast.Module(body, []), name, "exec"), names)
    return eval(compile(ast.Expression(last.value), name, "eval"), names)


def values_of(control) -> list:
    """The range of a control: its options, or both ends and the value that it has."""
    if hasattr(control, "_options_full"):
        return [*(value for _, value in control._options_full), control.value]
    if isinstance(control, widgets.Checkbox):
        return [True, False]
    if isinstance(control, widgets.FloatLogSlider):
        return [control.base**control.min, control.base**control.max, control.value]
    return [control.min, control.max, control.value]


@pytest.mark.parametrize("name", WIDGETS)
def test_every_control_over_its_range(name, tmp_path, monkeypatch):
    row, panel, spent = WIDGETS[name], shown(name, tmp_path, monkeypatch), {}
    assert len(panel.controls) == row.controls
    for key, control in panel.controls.items():
        if key in ("upload", "path"):
            continue  # files: see test_explore_songs
        start = panel.values
        panel.set(**row.first.get(key, row.first.get(key.split()[-1], {})))
        assert not control.disabled, f"{key} has no effect"
        for value in values_of(control):
            if value == control.value:
                continue
            before, began = [item["data"] for item in panel.output.outputs], time.process_time()
            control.value = value
            spent[key, value] = time.process_time() - began
            after = [item["data"] for item in panel.output.outputs]
            assert after != before, f"{key} = {value}: nothing changes"
            for place in row.outputs.get(key, row.outputs[""]):
                assert after[place] != before[place], f"{key} = {value}: output {place} is dead"
            words = panel.text
            assert "Not possible" not in words and "not separated" not in words, words
            assert all("nan" not in d["text/plain"].split() for d in after if "alt=" in str(d))
            assert all("alt=" in d["text/html"] for d in after if "<img" in d.get("text/html", ""))
        panel.set(**{other: v for other, v in start.items() if other not in ("upload", "path")})
    slow = {change: seconds for change, seconds in spent.items() if seconds > SECONDS}
    assert not slow, f"changes that take too long: {slow}"


def test_knobs_without_effect_rest(tmp_path, monkeypatch):
    lab, mask = (shown(name, tmp_path, monkeypatch) for name in ("distortion", "masks"))
    for kind in distort.KINDS:
        lab.controls["kind"].value = kind
        assert lab.controls["sdr_db"].disabled == (kind not in distort.SCALED)
        assert lab.controls["delay_ms"].disabled == (kind != "delay")
    for kind in masks.NAMES:
        mask.controls["kind"].value = kind
        assert mask.controls["threshold_db"].disabled == (kind != "binary")
        assert mask.controls["exponent"].disabled == (kind != "ratio")


def test_a_control_changes_text_and_picture_and_errors_reach_whoever_moved_it():
    def view(k):
        picture, axes = style.figure("k")
        axes.bar([0], [6 // (3 - k)])
        return [style.describe(picture, f"A bar of {k}."), f"k is {k}"]

    panel = Panel(view, "Bars", k=widgets.IntSlider(0, 0, 9, description="number"))
    before = panel.output.outputs
    panel.controls["k"].value = 5
    after = panel.output.outputs
    assert panel.text == "A bar of 5.\nk is 5"
    assert before[0]["data"]["text/html"] != after[0]["data"]["text/html"]
    assert 'alt="A bar of 5."' in after[0]["data"]["text/html"]
    with pytest.raises(ZeroDivisionError):
        panel.controls["k"].value = 3
    with pytest.raises(UsageError, match="no description"):
        Panel(str, "Silent", k=widgets.IntSlider())


# What is refused, in one line

RATE = 8000
SOUNDS = {"bass": np.ones((1, RATE), np.float32), "vocals": np.ones((1, RATE), np.float32)}
UNEVEN = {**SOUNDS, "drums": np.ones((1, 5), np.float32)}
HEARD = explore.Listening(SOUNDS["bass"], SOUNDS["bass"], {0: SOUNDS["bass"]}, RATE)
LOG = pandas.DataFrame({"step": [1, 2], "loss": [2.0, 1.0]})
SONG = SongStems(SOUNDS, RATE, "made")
MODEL = BandSplitSeparator(TINY)
MIXTURE = np.zeros((2, 4410), np.float32)
REFUSED = [
    ("no stems", explore.stem_mixer, {}, RATE),
    ("no stems", explore.mask_threshold, {}, RATE),
    ("no stems", explore.distortion_view, {}, RATE),
    ("no stems", explore.remix_view, {}, RATE),
    ("one shape", explore.stem_mix, UNEVEN, RATE),
    ("one shape", explore.remix_desk, UNEVEN, RATE),
    ("at least one stem", explore.cost_view, TINY, "v7", 16, 1, "lstm", 0),
    ("more than 0 seconds", explore.cost_view, TINY, "v7", 16, 1, "lstm", 1, 0),
    ("v77", explore.cost_view, TINY, "v77"),
    ("did you mean lstm", explore.cost_view, TINY, "v7", 16, 1, "lsmt"),
    ("layer across bands", layers.swapped, TINY, "lstm", "roformer"),
    ("multiple of 8", layers.swapped, TINY, "lstm", "same", 12),
    ("vocals", explore.distortion_view, SOUNDS, RATE, "vocls"),
    ("unknown distortion", explore.distortion_lab, SOUNDS, RATE, None, "echo"),
    (r"shape \(4410,\): give \(C, L\)", explore.forward_trace, MODEL, MIXTURE[0]),
    ("did you mean vocals", explore.forward_trace, MODEL, MIXTURE, "vocal"),
    ("give a single one", explore.forward_trace, SeparatorBag([MODEL]), MIXTURE),
    ("frozn", explore.freeze_view, TINY, "frozn"),
    ("v77", explore.freeze_view, TINY, "frozen", "frozen", "frozen", "v77"),
    ("choose 1 to 4", explore.freeze_view, TINY, "frozen", "frozen", "frozen", "v7", 5),
    ("no history.csv", explore.loss_board, "nowhere", HEARD),
    ("step and loss", explore.loss_view, LOG.drop(columns="loss"), HEARD),
    ("step and loss", explore.loss_view, LOG[:0], HEARD),
    (r"nothing was kept at step 7: choose one of \[0\]", explore.loss_view, LOG, HEARD, 7),
    ("estmate", explore.loss_view, LOG, HEARD, 0, "estmate"),
    ("smoothing is 0", explore.loss_view, LOG, HEARD, 0, "error", 0),
    ("cut all to one excerpt", explore.Listening, MIXTURE, MIXTURE, {1: MIXTURE[:, 1:]}, RATE),
    ("no estimates", explore.Listening, MIXTURE, MIXTURE, {}, RATE),
    ("vocals", explore.mask_view, SOUNDS, RATE, "vocls"),
    ("vocals", explore.mask_threshold, SOUNDS, RATE, "vocls"),
    ("binary", explore.mask_view, SOUNDS, RATE, "bass", "binry"),
    ("above 0", explore.mask_view, SOUNDS, RATE, "bass", "ratio", 0.0, 0),
    ("vocls", explore.stem_mix, SOUNDS, RATE, None, ["vocls"]),
    ("view", explore.stem_mix, SOUNDS, RATE, None, (), (), "score"),
    ("did you mean vocals", explore.remix_view, SOUNDS, RATE, {"vocls": 1}),
    ("number of LUFS", explore.remix_view, SOUNDS, RATE, None, (), (), "loud"),
    ("number of LUFS", explore.remix_view, SOUNDS, RATE, None, (), (), float("nan")),
    ("state", explore.remix_view, SOUNDS, RATE, None, (), (), "as is", False, "between"),
    ("too short", explore.remix_view, {"speech": np.zeros((1, 100))}, RATE),
    ("download", explore.song_view, SONG, None, (), (), 0.0, "spectrogram", "all"),
    ("format", explore.song_view, SONG, None, (), (), 0.0, "spectrogram", "mix", "mp4"),
    ("above 0", explore.song_stems, (MIXTURE, RATE), MODEL, 0),
    ("no such file", explore.song_stems, "none.wav", MODEL),
    ("at least one", explore.song_desk, {}, {}),
    ("hann", explore.window_view, MIXTURE, RATE, "han"),
    ("at least 1", explore.window_view, MIXTURE, RATE, "hann", 2048, 0),
    ("mono", explore.window_view, MIXTURE[0], RATE),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[1].__name__}: {case[0]}")
def test_what_cannot_be_is_one_line(case):
    words, function, *arguments = case
    with pytest.raises((UsageError, DataError), match=words) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
