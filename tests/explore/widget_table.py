"""The widgets of the lessons, one row each: driven in the kernel and on the page of JupyterLab."""

from typing import NamedTuple


class Widget(NamedTuple):
    """cell: its last expression is the widget, which has so many `controls`.

    outputs: control -> numbers of the outputs that it must change, "" for all others; () is any.
    first: control -> values that others must have before it has an effect.
    still: on the page, (kind, number) of controls that cannot move as they stand.
    then: on the page, (kind, number, option) of more moves; players: their lengths in s.
    """

    cell: str
    controls: int
    outputs: dict = {"": (0,)}  # noqa: RUF012
    first: dict = {}  # noqa: RUF012
    still: tuple = ()
    then: tuple = ()
    players: tuple = ()


SOUND_S = 1.5
TONE = f"""
import numpy as np
from bsrnn import explore

time_s = np.arange(round({SOUND_S} * 44100)) / 44100
noise = 0.05 * np.random.default_rng(0).standard_normal((2, len(time_s)))
tone = 0.2 * np.sin(2 * np.pi * 440 * time_s) * (np.sin(2 * np.pi * 3 * time_s) > -0.5)
sources = {{"noise": noise, "tone": np.tile(tone, (2, 1))}}
"""
PRESETS = "from bsrnn import explore\nfrom bsrnn.models import presets\n\n"
EDITED = {"gain speech": 3.0}

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
        2,
    ),
    "costs": Widget(PRESETS + 'explore.cost_calculator(presets()["tiny"])', 6, {"": (0, 1)}),
    "distortion": Widget(
        TONE + "explore.distortion_lab(sources, 44100)",
        4,
        {"": ()},
        {"delay_ms": {"kind": "delay"}},
        then=(("dropdown", 0, "delay"), ("slider", 1)),
        players=3 * (SOUND_S,),
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
        4,
        {"": ()},
        {"band": {"step": 4}, "feature": {"step": 4}},
        still=(("dropdown", 0),),  # the features of every stem; the mask belongs to one
        then=(("slider", 0), ("slider", 0), ("dropdown", 0, "drums")),
    ),
    "freezing": Widget(PRESETS + 'explore.freeze_board(presets()["tiny"])', 5),
    "layers": Widget(PRESETS + 'explore.layer_swapper(presets()["tiny"])', 5),
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
        3,
        {"": (0,), "hear": (1,)},
        still=(("slider", 0),),  # at the last checkpoint
        players=2 * (SOUND_S,),
    ),
    "masks": Widget(
        TONE + "explore.mask_threshold(sources, 44100)",
        5,
        {"": (0, 2)},
        {"exponent": {"kind": "ratio"}},
        then=(("slider", 1),),
        players=2 * (SOUND_S,),
    ),
    "mixer": Widget(
        TONE
        + """
tones = {"drums": 200, "bass": 60, "other": 900, "vocals": 2500}
stems = {name: np.tile(0.1 * np.sin(2 * np.pi * hz * time_s), (2, 1)) for name, hz in tones.items()}
explore.stem_mixer(stems, 44100)
""",
        13,
        players=2 * (SOUND_S,),
    ),
    "remix": Widget(
        """
import numpy as np
from bsrnn import explore

time_s = np.arange(9 * 8000) / 8000
tones = {"speech": (700, 0.1), "music": (220, 0.05), "sfx": (3000, 0.03)}
stems = {
    name: (level * (time_s % 4 < 3) * np.sin(2 * np.pi * hz * time_s))[None]
    for name, (hz, level) in tones.items()
}
explore.remix_desk(stems, 8000)
""",
        14,
        {"": (0,), "matched": (0, 3), "target": ()},
        {"state": EDITED, "matched": EDITED, "target": EDITED},
        players=(6, 6),
    ),
    "results": Widget(
        """
from bsrnn import experiments, explore

explore.result_explorer(experiments.leaderboard("sweep"))
""",
        4,
        {"": (0, 2)},
    ),
    "songs": Widget(
        """
import numpy as np
import torch
from bsrnn import explore

class Equal:  # a stand-in: every stem is an equal part of the mixture
    sample_rate = 8000

    def __init__(self, *stems):
        self.stems = stems

    def __call__(self, mixture):
        return torch.stack([mixture / len(self.stems)] * len(self.stems), dim=1)

time_s = np.arange(9 * 8000) / 8000
songs = {
    "chirp": (0.4 * np.sin(2 * np.pi * (200 + 20 * time_s) * time_s)[None], 8000),
    "tone": (0.4 * np.sin(2 * np.pi * 300 * time_s)[None, :56000], 8000),
}
models = {"two": Equal("vocals", "bass"), "three": Equal("vocals", "bass", "drums")}
explore.song_desk(models, songs, max_s=9.0)
""",
        18,
        {"": (), "suffix": (3,)},
        {"suffix": {"download": "mix"}, "drums": {"model": "three"}},
        still=(("slider", 0), ("button", 0), ("text", 0)),  # all of it, upload, path
        players=(6, 6),
    ),
    "tracks": Widget(
        """
from bsrnn import data, evaluation, explore
from bsrnn.data import toyband

songs = data.open(toyband.make("toy", train=0, test=3, seconds=2.0))

def half(mixture, sample_rate):
    return dict.fromkeys(songs.stems, 0.5 * mixture)

ladder = ("mixture", "ideal ratio mask")
report = evaluation.evaluate(half, songs, ladder=ladder, progress=False, name="half")
explore.track_browser(report, songs, half)
""",
        4,
        {"": ()},
        players=(2, 2, 2),
    ),
    "windows": Widget(
        TONE + "explore.window_lab(tone[None], 44100)",
        3,
        {"": (0, 1)},
        players=2 * (SOUND_S,),
    ),
}
