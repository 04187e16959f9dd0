"""What will it cost? Parameters, MACs and memory of a network before it is built.

`cost_view` is the static twin of the widget `cost_calculator`. Lesson 11.
"""

import textwrap
from dataclasses import replace

import ipywidgets as widgets
import numpy as np
import pandas as pd

from bsrnn import bands, plots
from bsrnn.common import UsageError
from bsrnn.explore.layers import TIME, swapped
from bsrnn.explore.panel import Panel
from bsrnn.models.cost import cost

SCHEMES = ("v1", "v4", "v7", "joint", "tet24", "equal32", "bark48", "mel48", "musical64")
FEATURES = (16, 32, 64, 128, 256)
CHUNK_S = (0.5, 60.0)  # shortest and longest chunk of the curve
ADAM = 4  # numbers per weight while training: weight, gradient, two moments


def cost_view(base, scheme="v7", features=128, repeats=12, rnn="lstm", stems=1, seconds=6.0):
    """What `cost_calculator` shows: [Picture, words, table of the parts].

    base: ModelConfig that gives everything else; scheme: a name of `bsrnn.bands`; features N and
    repeats R; rnn: a layer of `bsrnn.explore.layers.TIME`; stems: their number; seconds: length of
    one chunk. Counted for one mixture in float32. Raises UsageError.
    """
    if stems < 1 or not seconds > 0:
        raise UsageError("give at least one stem and more than 0 seconds")
    config = swapped(base, rnn, "same", features, repeats)
    names = tuple(f"stem {number}" for number in range(1, stems + 1))
    config = replace(config, scheme=scheme, stems=names)
    total = cost(config, seconds)
    parts = {k: (p.parameters, p.macs, p.activation_bytes) for k, p in total.parts.items()}
    lengths_s = np.geomspace(*CHUNK_S, 25)
    memory = [cost(config, length).activation_bytes for length in lengths_s]
    words = _words(config, total, seconds)
    title = f"{scheme}, N = {features}, R = {repeats}, {rnn}, {stems} stem{'s' * (stems > 1)}"
    picture = plots.cost_by_length(parts, lengths_s, memory, seconds, words, title)
    columns = ["parameters", "MACs", "bytes of activations"]
    frame = pd.DataFrame(parts, index=columns).T
    frame = pd.concat([frame, frame.sum().rename("all").to_frame().T])
    return [picture, textwrap.fill(words, 88), frame]


def cost_calculator(base) -> Panel:
    """The calculator as a widget: scheme, features, repeats, layer, stems, seconds of a chunk.

    base: ModelConfig that gives everything else (STFT, masks, channels).
    """

    def drop(options, value, words):
        return widgets.Dropdown(options=options, value=value, description=words)

    def slide(value, low, high, words):
        return widgets.IntSlider(value, low, high, description=words)

    known = [name for name in SCHEMES if name in bands.names()]
    return Panel(
        lambda **values: cost_view(base, **values),
        "Cost calculator",
        scheme=drop(known, "v7", "scheme"),
        features=drop(FEATURES, 128, "features N"),
        rnn=drop(TIME, "lstm", "layer"),
        repeats=slide(12, 1, 16, "repeats R"),
        stems=slide(1, 1, 6, "stems"),
        seconds=slide(6, 1, 60, "chunk (s)"),
    )


def _words(config, total, seconds) -> str:
    sequence = total.parts["sequence"]
    weights_mb, kept_mb = 4e-6 * total.parameters, 1e-6 * total.activation_bytes
    return (
        f"{len(config.bands)} bands, {total.parameters / 1e6:.2f} million parameters "
        f"({weights_mb:.0f} MB; {ADAM * weights_mb:.0f} MB while Adam trains them). "
        f"{total.macs / 1e9:.1f} GMAC for {seconds:g} s, {total.macs / seconds / 1e9:.2f} per "
        f"second of sound, {sequence.macs / total.macs:.0%} of them in the sequence. "
        f"The layers return {kept_mb:,.0f} MB of activations for each mixture; training keeps at "
        "least that, with recurrent layers several times as much."
    )
