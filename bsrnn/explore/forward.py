"""Step through `forward`: every tensor on the way of a mixture through a separator, as it is.

`forward_trace` runs the network once and catches what its modules return (hooks: nothing is
computed a second time), `forward_view` is the static twin of the widget `forward_steps`. Lesson 05.

Reference: Luo and Yu 2022, arXiv 2209.15174, section III.
"""

import textwrap
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import torch

from bsrnn import plots
from bsrnn.audio.stft import stft
from bsrnn.common import UsageError, choose
from bsrnn.explore.panel import Panel, choice, slider
from bsrnn.models import cpu
from bsrnn.plots import style

MAX_S = 3.0  # of the mixture: keeps a change below a second, and a trace below 150 MB
LAYERS = {  # module of a block: what it is called, the axis it runs along
    "time": ("along time", "T"),
    "band": ("across bands", "K"),
    "tac": ("across channels", ""),
    "attention": ("attention over frames", "T"),
}


@dataclass(frozen=True)
class Step:
    """One tensor: `axes` and `shape` of all of it, `value` of its first item and channel.

    kind "waveform": value (C, L); "spectrum" and "mask": (F, T); "features": (K, T, N).
    along: the axis on which the layer before it runs, or nothing.
    """

    name: str
    axes: str
    shape: tuple
    value: np.ndarray
    kind: str
    words: str
    along: str = ""


@dataclass(frozen=True)
class Trace:
    """The steps of one forward pass, and what is needed to draw them."""

    steps: tuple
    scheme: object  # BandScheme
    sample_rate: int
    seconds: float

    def table(self, at: int = -1) -> pd.DataFrame:
        """Name, axes and shape of every step; step `at` is marked."""
        rows = [
            {"": ">" if n == at else "", "step": s.name, "axes": s.axes, "shape": str(s.shape)}
            for n, s in enumerate(self.steps)
        ]
        return pd.DataFrame(rows)


def forward_trace(separator, mixture, stem: str | None = None) -> Trace:
    """The tensors of a BandSplitSeparator on a mixture (C, L), of which 3 s are used.

    stem: whose mask and estimate are followed; default the first that has a head.

    >>> from bsrnn.models import BandSplitSeparator, presets
    >>> trace = forward_trace(BandSplitSeparator(presets()["tiny"]), np.zeros((2, 44100)))
    >>> [step.axes for step in trace.steps]  # doctest: +NORMALIZE_WHITESPACE
    ['B C L', 'B C F T', 'B C F T', 'B K T N', 'B K T N', 'B K T N', 'B C F T', 'B S C F T',
     'B S C L']
    """
    if not hasattr(separator, "split"):
        raise UsageError("several networks in one: give a single one, such as bag.separators[0]")
    config, mixture = separator.config, torch.as_tensor(np.asarray(mixture, np.float32))
    if mixture.dim() != 2:
        raise UsageError(f"mixture of shape {tuple(mixture.shape)}: give (C, L)")
    stem = choose(stem or next(iter(separator.masks)), list(separator.masks), "stem with a mask")
    mixture = mixture[:, : round(MAX_S * config.sample_rate)]
    caught, estimate = _caught(cpu.plain(separator), mixture, stem)
    (spectrum, z), (_, mask) = caught.pop("split"), caught.pop("mask")
    steps = [*_before(config, mixture, spectrum), _split_step(config, z)]
    for name, pair in caught.items():
        steps.append(_layer_step(config, name, *(_block(name[1], x, z.shape) for x in pair)))
    steps += _after(config, stem, mask, estimate)
    seconds = mixture.shape[-1] / config.sample_rate
    return Trace(tuple(steps), config.bands, config.sample_rate, seconds)


def forward_view(trace: Trace, step: int = 0, band: int = 0, feature: int = 0) -> list:
    """What `forward_steps` shows: [Picture, words, table of all steps with this one marked].

    step, band, feature: numbers from 0. Raises UsageError for one that is not there.
    """
    features = trace.steps[3].shape[-1]
    limits = {"step": len(trace.steps), "band": len(trace.scheme), "feature": features}
    for (name, count), number in zip(limits.items(), (step, band, feature), strict=True):
        if not 0 <= number < count:
            raise UsageError(f"no {name} {number}: choose 0 to {count - 1}")
    here = trace.steps[step]
    lo, hi = trace.scheme.ranges[band]
    whole, close = here.value, None
    if here.kind == "features":
        whole, close = here.value[:, :, feature], here.value[band].T  # (K, T), (N, T)
    elif here.kind != "waveform":
        close = here.value[lo:hi]  # (W, T)
    letters, sizes = ", ".join(here.axes.split()), ", ".join(map(str, here.shape))
    title = f"{step}. {here.name}: ({letters}) = ({sizes})"
    hz = trace.scheme.spans_hz[band]
    picture = plots.tensor_step(
        title, whole, close, here.kind, trace.seconds, trace.sample_rate, (band, *hz), feature
    )
    words = f"{here.words} {_look(here, close, band, feature)}"
    style.describe(picture, f"{title}. {words}")
    return [picture, textwrap.fill(words, 88), trace.table(step)]


def forward_steps(separator, mixture) -> Panel:
    """The walk as a widget: step, band, feature and, of several, the stem.

    separator: a BandSplitSeparator; mixture (C, L), of which 3 s are used.
    """
    trace = lru_cache(maxsize=1)(partial(forward_trace, separator, mixture))  # one in memory
    stems = list(getattr(separator, "masks", [])) or [None]
    first = trace(stems[0])
    controls = {
        "step": slider("step of forward", 3, 0, len(first.steps) - 1),
        "band": slider("band", 0, 0, len(first.scheme) - 1),
        "feature": slider("feature", 0, 0, first.steps[3].shape[-1] - 1),
    }
    if len(stems) > 1:
        controls["stem"] = choice("stem", stems)
    return Panel(
        lambda stem=stems[0], **places: forward_view(trace(stem), **places),
        "Step through forward",
        **controls,
    )


def _caught(separator, mixture, stem) -> tuple:
    """What the modules got and returned, by name in the order in which they ran, and the Estimate.

    "split", "mask", and (block, part) for the layers of the blocks.
    """
    watched = {"split": separator.split, "mask": separator.masks[stem]}
    for number, block in enumerate(separator.sequence.blocks):
        parts = {part: getattr(block, part, None) for part in LAYERS}
        watched |= {(number, part): module for part, module in parts.items() if module is not None}
    caught = {}

    def catch(name):
        return lambda _, given, out: caught.update({name: (given[0], out)})

    hooks = [module.register_forward_hook(catch(name)) for name, module in watched.items()]
    try:
        with torch.no_grad():
            estimate = separator.estimate(mixture[None], [stem])
    finally:
        for hook in hooks:
            hook.remove()
    return caught, estimate


def _block(part, x, shape):
    """Rows (M, S, N) that a layer along one axis sees, as the block (B, K, T, N)."""
    items, bands, frames, _ = shape
    if x.dim() == 4:
        return x
    if part == "time":
        return x.unflatten(0, (items, bands))
    return x.unflatten(0, (items, frames)).transpose(1, 2)


def _before(config, mixture, seen):
    """Mixture, its spectrogram, and what the split sees of it (B, C, F, T)."""
    spectrum = stft(mixture, config.stft)  # (C, F, T)
    yield _step("mixture", "B C L", mixture[None], mixture, "waveform", "Samples of every channel.")
    yield _step(
        "spectrogram", "B C F T", spectrum[None], spectrum[0], "spectrum",
        "A complex number for every bin and frame, as in lesson 02.",
    )  # fmt: skip
    words = "The channels stay together: a band holds the bins of all of them."
    if config.channel_handling == "independent":
        words = "Each channel has become an item of the batch of its own: the network is mono."
    if config.split.standardise:
        words += " Mean and deviation of the whole excerpt are taken out."
    yield _step("what the split sees", "B C F T", seen, seen[0, 0], "spectrum", words)


def _split_step(config, z):
    bins, bands, size = config.stft.bins, z.shape[1], z.shape[3]
    return _step(
        "band split", "B K T N", z, z[0], "features",
        f"{bins} bins became {bands} bands: the real and imaginary parts of a band's bins are "
        f"normalised and mapped to {size} features, by weights that only this band has.",
    )  # fmt: skip


def _layer_step(config, name, before, after):
    block, part = name
    called, along = LAYERS[part]
    items, bands, frames, _ = after.shape
    words = {
        "time": f"The layer saw {items * bands} sequences (B K) of {frames} frames; no band heard "
        "another.",
        "band": f"The layer saw {items * frames} sequences (B T) of {bands} bands; no frame heard "
        "another.",
        "tac": "The channels of an item heard each other.",
        "attention": "Every frame attended to every other with all its bands.",
    }[part]
    if config.block.kind == "plane-conv":
        called, along = "over bands and time", ""
        words = "A convolution over the plane of bands and frames."
    added = float((after - before).norm() / before.norm().clamp(min=1e-12))
    words += f" What it added is {added:.0%} of the size of what came in."
    return _step(f"block {block}, {called}", "B K T N", after, after[0], "features", words, along)


def _after(config, stem, mask, estimate):
    """Mask, masked spectrogram and waveform of one stem."""
    spectra, waveforms = estimate.spectra, estimate.waveforms
    kind = "complex" if mask.is_complex() else "real"
    words = f"One {kind} gain for every bin and frame; nothing bounds it."
    if config.mask.output == "spectrum":
        words = "This head returns the spectrogram of the stem itself, no mask."
    yield _step(f"mask of {stem}", "B C F T", mask, mask[0, 0], "mask", words)
    yield _step(
        f"{stem}: mask times mixture", "B S C F T", spectra, spectra[0, 0, 0], "spectrum",
        "The bands are back at their bins, the channels in their item.",
    )  # fmt: skip
    yield _step(
        f"{stem}: samples", "B S C L", waveforms, waveforms[0, 0], "waveform",
        "The inverse STFT, as long as the mixture.",
    )  # fmt: skip


def _step(name, axes, whole, value, kind, words, along=""):
    value = value.detach().cpu().numpy()
    return Step(name, axes, tuple(whole.shape), value, kind, words, along)


def _look(step, close, band, feature) -> str:
    """One sentence on what is seen of a band."""
    if step.kind == "waveform":
        return "Samples have neither bands nor features."
    if step.kind == "features":
        chosen = close[feature]
        low, high = chosen.min(), chosen.max()
        return (
            f"Feature {feature} of band {band} lies between {low:.2f} and {high:.2f}; "
            f"all features of that band between {close.min():.2f} and {close.max():.2f}."
        )
    size = np.abs(close)
    if step.kind == "mask":
        return f"In band {band} its size is {size.mean():.2f} on average, {size.max():.2f} at most."
    energy = np.square(np.abs(step.value)).sum()
    share = np.square(size).sum() / energy if energy else 0.0
    return f"Band {band} holds {len(close)} bins and {share:.1%} of the energy."
