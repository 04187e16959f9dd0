"""Swap the sequence layers of a separator: what it costs then, and who hears whom.

`influence` measures which bands and frames reach one output, `layers_view` is the static twin of
the widget `layer_swapper`. Lesson 14.

Conventions
    Influence is the size of the gradient of one output position (all its features, randomly
    weighted) by each input position of the sequence part, in float64, with random weights. Exactly
    zero means: cannot be heard, whatever the weights. It is a statement about the layers at the
    start of training, not about what a trained network listens to.

References: Luo et al. 2016, arXiv 1701.04128 (effective receptive fields by gradients);
Su et al. 2021, arXiv 2104.09864 (rotary positions).
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch

from bsrnn.common import UsageError, choose
from bsrnn.explore.panel import Panel, choice, slider, told
from bsrnn.models import blocks, places
from bsrnn.models.cost import cost
from bsrnn.plots import style
from bsrnn.plots.models import draw_influence, draw_parts

TIME = ("lstm", "gru", "conv", "dilated", "transformer", "roformer")
BAND = ("same", "lstm", "gru", "conv", "dilated", "none")
NORMS = ("group", "layer")  # of blocks; transformer and roformer have their own norms
FEATURES = (16, 32, 64, 128)
BANDS, FRAMES = 13, 41  # of an influence map: odd, so that there is a middle
MEASURED_FEATURES = 16  # who hears whom does not depend on their number
STRONG_DB = -60.0


def swapped(base, time="lstm", band="same", features=None, repeats=None, norm=None):
    """The ModelConfig `base` with other sequence layers; None keeps what the base has.

    time: one of `TIME`; band: one of `BAND`, "same" as along time or "none"; norm: of the blocks.
    Recurrent and convolution layers get 2N units, attention 4 heads that share the N features.
    Raises UsageError.

    >>> from bsrnn.models import presets
    >>> swapped(presets()["tiny"], "conv", "lstm").block.band.rnn
    'lstm'
    """
    choose(time, TIME, "layer along time")
    choose(band, BAND, "layer across bands")
    features = base.features if features is None else features
    if features % 8:
        raise UsageError(f"{features} features: choose a multiple of 8, for 4 heads of even size")
    norm = choose(norm or getattr(base.block.time, "norm", "group"), NORMS, "norm of the blocks")
    kinds = {
        "lstm": blocks.RNNBlock("lstm", norm=norm),
        "gru": blocks.RNNBlock("gru", norm=norm),
        "conv": blocks.ConvBlock(norm=norm),
        "dilated": blocks.DilatedBlock(),
        "transformer": blocks.TransformerBlock(),
        "roformer": blocks.RoformerBlock(4, features // 4),
    }
    block = kinds[time]
    if band not in ("same", time):
        block = blocks.MixedBlock(block, kinds.get(band))  # "none" is no layer
    repeats = base.repeats if repeats is None else repeats
    return replace(base, block=block, features=features, repeats=repeats)


def influence(config, bands=BANDS, frames=FRAMES, seed=0) -> np.ndarray:
    """How strongly each position of the features reaches the output in the middle: (K, T), the
    largest is 1.

    config: ModelConfig, of which the sequence part is built with random weights from `seed`.
    See the conventions above.

    >>> from bsrnn.models import presets
    >>> config = swapped(presets()["tiny"], "conv", "none", norm="layer")
    >>> int((influence(config) > 0).sum())  # kernel 3: a frame hears itself and two neighbours
    3
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = places.at("sequence", config.block.kind)(config).double().eval()
        z = torch.randn(1, bands, frames, config.features, dtype=torch.float64)
        weight = torch.randn(config.features, dtype=torch.float64)
    z.requires_grad_(True)
    (gradient,) = torch.autograd.grad((model(z)[0, bands // 2, frames // 2] * weight).sum(), z)
    size = gradient[0].norm(dim=-1)  # (K, T, N) -> (K, T)
    return (size / size.max()).numpy()


def reach(values) -> dict:
    """What an influence map (K, T) says in numbers: how many bands and frames have any influence
    ("bands", "frames"), and how many frames of the output's own band lie above -60 dB ("strong").
    """
    heard = np.asarray(values) > 0
    strong = np.asarray(values)[len(heard) // 2] > 10 ** (STRONG_DB / 20)
    return {
        "bands": int(heard.any(axis=1).sum()),
        "frames": int(heard.any(axis=0).sum()),
        "strong": int(strong.sum()),
    }


def layers_view(
    base, time="lstm", band="same", features=16, repeats=1, norm="group", seconds=6.0
) -> list:
    """What `layer_swapper` shows: [Picture, words, table of the parts]. Arguments as in `swapped`;
    seconds: length of the mixture that is counted. Raises UsageError."""
    config = swapped(base, time, band, features, repeats, norm)
    total = cost(config, seconds)
    values = influence(swapped(base, time, band, MEASURED_FEATURES, repeats, norm))
    words = _words(config, total, values, seconds)
    title = f"{time} along time, {band} across bands, {norm} norm"
    picture, axes = style.figure(title, 1, 2, width=9.5, height=3.0, width_ratios=(1, 1.2))
    table = by_part(total)
    draw_parts(axes[0], table)
    mesh = draw_influence(axes[1], values, (BANDS // 2, FRAMES // 2))
    axes[1].set_title("what one output hears (cross)")
    picture.colorbar(mesh, ax=axes[1], label="influence (dB)", pad=0.01)
    return [*told(picture, words), table]


def by_part(total) -> pd.DataFrame:
    """Parameters, MACs and bytes of activations of a `cost`: a row per part, the last for all."""
    columns = ("parameters", "MACs", "bytes of activations")
    rows = {
        name: (part.parameters, part.macs, part.activation_bytes)
        for name, part in {**total.parts, "all": total}.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def layer_swapper(base) -> Panel:
    """The swapper as a widget: layer along time, layer across bands, norm, features, repeats.

    base: ModelConfig that gives everything else (bands, STFT, masks).
    """
    return Panel(
        partial(layers_view, base),
        "Layer swapper",
        time=choice("along time", TIME),
        band=choice("across bands", BAND),
        norm=choice("norm", NORMS),
        features=choice("features N", FEATURES),
        repeats=slider("repeats R", 1, 1, 6),
    )


def _words(config, total, values, seconds) -> str:
    time, band = config.block.time, config.block.band
    items = config.channels if config.joint_channels == 1 else 1
    bands, frames = len(config.bands), config.stft.frames(round(seconds * config.sample_rate))
    sequence, heard = total.parts["sequence"], reach(values)
    share = sequence.parameters / total.parameters
    across, rest = "", "; no layer joins bands"
    if band is not None:
        across = f" {band.name} across bands {items * frames} sequences (B T) of {bands} bands,"
        rest = ""
    return (
        f"{time.name} along time sees {items * bands} sequences (B K) of {frames} frames,{across} "
        f"{config.features} features each{rest}. "
        f"{total.parameters / 1e6:.3f} million parameters, {share:.0%} of them in the sequence; "
        f"{total.macs / 1e9:.2f} GMAC and {total.activation_bytes / 1e6:.0f} MB of activations "
        f"for {seconds:g} s. Of {FRAMES} frames and {BANDS} bands an output hears "
        f"{heard['frames']} and {heard['bands']}; in its own band {heard['strong']} frames above "
        f"{STRONG_DB:.0f} dB."
    )
