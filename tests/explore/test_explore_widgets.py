"""Every widget: every control over its range changes what is shown, in time, without an error."""

import time
from dataclasses import replace

import numpy as np
import pandas
import pytest

widgets = pytest.importorskip("ipywidgets")

import torch  # noqa: E402
from test_explore_results import made  # noqa: E402

from bsrnn import data, distort, evaluation, explore  # noqa: E402
from bsrnn.data import toyband  # noqa: E402
from bsrnn.explore import masks  # noqa: E402
from bsrnn.models import BandSplitSeparator, presets  # noqa: E402

RATE = 44100
TINY = presets()["tiny"].replace(features=8, hidden=8, repeats=1, mask_hidden=8)
SECONDS = 5  # a guard of five times what a change may take on two idle cores, in CPU seconds


def stems(seconds=1.5, rate=RATE, channels=2):
    """Two pulsing tones and a noise, name -> (C, L)."""
    time_s = np.arange(round(seconds * rate)) / rate
    pulse = np.sin(2 * np.pi * 2 * time_s) > -0.5
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    parts = {
        "bass": 0.2 * np.sin(2 * np.pi * 110 * time_s),
        "drums": 0.05 * noise,
        "vocals": 0.1 * pulse * np.sin(2 * np.pi * 1000 * time_s),
    }
    gains = np.array([1.0, 0.7])[:channels, None]
    return {name: (gains * x).astype(np.float32) for name, x in parts.items()}


class Halves:
    """Every stem is an equal part of the mixture."""

    sample_rate = 8000

    def __init__(self, *names):
        self.stems = names

    def __call__(self, mixture):
        return torch.stack([mixture / len(self.stems)] * len(self.stems), dim=1)


def losses(_folder):
    target = stems()["vocals"]
    rest = stems()["drums"]
    estimates = {step: target + rest / (1 + step) for step in (0, 4, 8)}
    history = pandas.DataFrame({"step": range(1, 9), "loss": 8.0 / np.arange(1, 9)})
    return explore.loss_board(
        history, explore.Listening(target + rest, target, estimates, RATE, "vocals")
    )


def songs(_folder):
    long, short = (sum(stems(s, 8000).values()) for s in (9, 7))
    models = {"two": Halves("vocals", "bass"), "three": Halves("vocals", "bass", "drums")}
    return explore.song_desk(models, {"long": (long, 8000), "short": (short, 8000)}, 9.0)


def tracks(folder):
    def half(mixture, sample_rate):
        return dict.fromkeys(("drums", "bass", "other", "vocals"), 0.5 * mixture)

    test = data.open(toyband.make(folder / "set", train=0, test=2, seconds=2.0))
    report = evaluation.evaluate(
        half, test, ("drums", "vocals"), ladder=("mixture",), progress=False, name="half"
    )
    return explore.track_browser(report, test, half)


MAKE = {
    "costs": lambda _: explore.cost_calculator(presets()["tiny"]),
    "distortion": lambda _: explore.distortion_lab(stems(rate=8000), 8000),
    "forward": lambda _: explore.forward_steps(
        BandSplitSeparator(replace(TINY, stems=("vocals", "drums"))).eval(), stems()["vocals"]
    ),
    "freezing": lambda _: explore.freeze_board(TINY),
    "layers": lambda _: explore.layer_swapper(presets()["tiny"]),
    "losses": losses,
    "masks": lambda _: explore.mask_threshold(stems(), RATE, "vocals"),
    "mixer": lambda _: explore.stem_mixer(stems(), RATE),
    "remix": lambda _: explore.remix_desk(stems(9, 8000, 1), 8000),
    "results": lambda folder: explore.result_explorer(made(folder)),
    "songs": songs,
    "tracks": tracks,
    "windows": lambda _: explore.window_lab(stems()["vocals"], RATE),
}
CONTROLS = {
    "costs": {"scheme", "features", "rnn", "repeats", "stems", "seconds"},
    "distortion": {"kind", "stem", "sdr_db", "delay_ms"},
    "forward": {"step", "band", "feature", "stem"},
    "freezing": {"split", "sequence", "masks", "scheme", "stems"},
    "layers": {"time", "band", "norm", "features", "repeats"},
    "losses": {"step", "hear", "smoothing"},
    "masks": {"kind", "stem", "n_fft", "threshold_db", "exponent"},
    "results": {"metric", "stem", "cost", "group"},
    "tracks": {"metric", "system", "stem", "song"},
    "windows": {"kind", "n_fft", "share"},
}
# Outputs that change with every control of a widget; where nothing stands, the picture does.
CHANGES = {"costs": (0, 1), "masks": (0, 2), "results": (0, 2), "windows": (0, 1)}
# Of single controls; () is any of the outputs.
CHANGES |= {
    ("losses", "hear"): (1,),
    ("songs", "suffix"): (3,),
    ("remix", "matched"): (0, 3),
    ("remix", "target"): (),
}
CHANGES |= {(name, None): () for name in ("songs", "tracks", "distortion", "forward")}
FIRST = {  # what must be set before a control has an effect
    ("distortion", "delay_ms"): {"kind": "delay"},
    ("forward", "band"): {"step": 4},
    ("forward", "feature"): {"step": 4},
    ("masks", "exponent"): {"kind": "ratio"},
    ("remix", "state"): {"gain vocals": 3.0},
    ("remix", "matched"): {"gain vocals": 3.0},
    ("remix", "target"): {"gain vocals": 3.0},
    ("songs", "suffix"): {"download": "mix"},
    ("songs", "drums"): {"model": "three"},  # all faders of the drums
}


def values_of(control) -> list:
    """The range of a control: its options, or both ends and the value that it has."""
    if hasattr(control, "_options_full"):
        options = [value for _, value in control._options_full]
        return [*options, control.value]
    if isinstance(control, widgets.Checkbox):
        return [True, False]
    if isinstance(control, widgets.FloatLogSlider):
        return [control.base**control.min, control.base**control.max, control.value]
    return [control.min, control.max, control.value]


@pytest.mark.parametrize("name", MAKE)
def test_every_control_over_its_range(name, tmp_path):
    panel, spent = MAKE[name](tmp_path), {}
    assert CONTROLS.get(name, set(panel.controls)) == set(panel.controls)
    for key, control in panel.controls.items():
        if key in ("upload", "path"):
            continue  # files: see test_explore_songs
        start = panel.values
        panel.set(**FIRST.get((name, key), FIRST.get((name, key.split()[-1]), {})))
        assert not control.disabled, f"{key} has no effect"
        changed = CHANGES.get((name, key), CHANGES.get((name, None), CHANGES.get(name, (0,))))
        for value in values_of(control):
            if value == control.value:
                continue
            before, began = [item["data"] for item in panel.output.outputs], time.process_time()
            control.value = value
            spent[key, value] = time.process_time() - began
            after = [item["data"] for item in panel.output.outputs]
            assert after != before, f"{key} = {value}: nothing changes"
            for place in changed:
                assert after[place] != before[place], f"{key} = {value}: output {place} is dead"
            words = panel.text
            assert "Not possible" not in words and "not separated" not in words, words
            assert all("nan" not in d["text/plain"].split() for d in after if "alt=" in str(d))
            assert all("alt=" in d["text/html"] for d in after if "<img" in d.get("text/html", ""))
        panel.set(**{other: v for other, v in start.items() if other not in ("upload", "path")})
    slow = {change: seconds for change, seconds in spent.items() if seconds > SECONDS}
    assert not slow, f"changes that take too long: {slow}"


def test_knobs_without_effect_rest(tmp_path):
    lab, mask = MAKE["distortion"](tmp_path), MAKE["masks"](tmp_path)
    for kind in distort.KINDS:
        lab.controls["kind"].value = kind
        assert lab.controls["sdr_db"].disabled == (kind not in distort.SCALED)
        assert lab.controls["delay_ms"].disabled == (kind != "delay")
    for kind in masks.NAMES:
        mask.controls["kind"].value = kind
        assert mask.controls["threshold_db"].disabled == (kind != "binary")
        assert mask.controls["exponent"].disabled == (kind != "ratio")
