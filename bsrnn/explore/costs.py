"""What will it cost? Parameters, MACs and memory of a network before it is built.

`cost_view` is the static twin of the widget `cost_calculator`. Lesson 11.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from matplotlib.ticker import NullLocator

from bsrnn.common import UsageError
from bsrnn.explore.layers import TIME, by_part, swapped
from bsrnn.explore.panel import Panel, choice, slider, told
from bsrnn.models.cost import cost
from bsrnn.plots import style
from bsrnn.plots.models import draw_parts

SCHEMES = ("v1", "v4", "v7", "joint", "tet24", "equal32", "bark48", "mel48", "musical64")
FEATURES = (16, 32, 64, 128, 256)
CHUNK_S = (0.5, 60.0)  # shortest and longest chunk of the curve
TICKS_S = (0.5, 1, 2, 5, 10, 20, 60)
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
    words = _words(config, total, seconds)
    title = f"{scheme}, N = {features}, R = {repeats}, {rnn}, {stems} stem{'s' * (stems > 1)}"
    picture, (left, right) = style.figure(title, 1, 2, width=9.5, height=3.0, width_ratios=(6, 5))
    table = by_part(total)
    draw_parts(left, table)
    lengths_s = np.geomspace(*CHUNK_S, 25)
    memory_mb = [cost(config, length).activation_bytes / 1e6 for length in lengths_s]
    right.loglog(lengths_s, memory_mb, color=style.PALETTE[0])
    right.plot(seconds, total.activation_bytes / 1e6, "o", color=style.PALETTE[1], ms=7)
    right.set(title="outputs of the layers, one mixture", xlabel="chunk (s)", ylabel="MB")
    right.set_xticks(TICKS_S, [f"{tick:g}" for tick in TICKS_S])
    right.xaxis.set_minor_locator(NullLocator())
    return [*told(picture, words), table]


def cost_calculator(base) -> Panel:
    """The calculator as a widget: scheme, features, repeats, layer, stems, seconds of a chunk.

    base: ModelConfig that gives everything else (STFT, masks, channels).
    """
    return Panel(
        partial(cost_view, base),
        "Cost calculator",
        scheme=choice("scheme", SCHEMES, "v7"),
        features=choice("features N", FEATURES, 128),
        rnn=choice("layer", TIME),
        repeats=slider("repeats R", 12, 1, 16),
        stems=slider("stems", 1, 1, 6),
        seconds=slider("chunk (s)", 6, 1, 60),
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
