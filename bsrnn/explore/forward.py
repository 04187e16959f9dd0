"""Step through `forward`: every tensor on the way of a mixture through a separator, as it is.

`forward_trace` runs the network once and catches what its modules return, `forward_view` is the
static twin of the widget `forward_steps`. Lesson 05.

Reference: Luo and Yu 2022, arXiv 2209.15174, section III.
"""

import textwrap
from dataclasses import dataclass
from functools import lru_cache, partial

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch

from bsrnn.audio.stft import stft
from bsrnn.common import UsageError, choose
from bsrnn.explore.panel import Panel, choice, slider
from bsrnn.models import cpu
from bsrnn.plots import signals, style
from bsrnn.plots.models import draw_mask

MAX_S = 3.0  # of the mixture: keeps a change below a second, and a trace below 150 MB
FLOOR_DB = -75.0  # of spectra, below the loudest bin
LAYERS = {  # module of a block: what it is called, the axis it runs along, what it did
    "time": (
        "along time", "T",
        "The layer saw {rows_kept} sequences (B K) of {frames} frames; no band heard another.",
    ),
    "band": (
        "across bands", "K",
        "The layer saw {frames_kept} sequences (B T) of {bands} bands; no frame heard another.",
    ),
    "tac": ("across channels", "", "The channels of an item heard each other."),
    "attention": (
        "attention over frames", "T", "Every frame attended to every other with all its bands.",
    ),
}  # fmt: skip
PLANE = "over bands and time", "", "A convolution over the plane of bands and frames."


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
    steps = [*_before(config, mixture, spectrum, z)]
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
    letters, sizes = ", ".join(here.axes.split()), ", ".join(map(str, here.shape))
    title = f"{step}. {here.name}: ({letters}) = ({sizes})"
    columns = 1 if here.kind == "waveform" else 2
    picture, axes = style.figure(title, 1, columns, width=9.5, height=3.1, squeeze=False)
    draw = {"waveform": _draw_samples, "features": _draw_features}.get(here.kind, _draw_bins)
    words = f"{here.words} {draw(picture, axes[0], trace, here, band, feature)}"
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


def _before(config, mixture, seen, z):
    """Mixture, its spectrogram, what the split sees (B, C, F, T) and returns (B, K, T, N)."""
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
    yield _step(
        "band split", "B K T N", z, z[0], "features",
        f"{config.stft.bins} bins became {z.shape[1]} bands: the real and imaginary parts of a "
        f"band's bins are normalised and mapped to {z.shape[3]} features, by weights that only "
        "this band has.",
    )  # fmt: skip


def _layer_step(config, name, before, after):
    block, part = name
    plane = config.block.kind == "plane-conv"
    called, along, words = PLANE if plane else LAYERS[part]
    items, bands, frames, _ = after.shape
    sizes = {"rows_kept": items * bands, "frames_kept": items * frames}
    words = words.format(bands=bands, frames=frames, **sizes)
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


def _draw_samples(_picture, axes, trace, step, _band, _feature) -> str:
    """Each channel of (C, L); like the two below it returns a sentence on what is seen."""
    for number, channel in enumerate(step.value):
        look = {"color": style.PALETTE[number % len(style.PALETTE)], "alpha": 0.6}
        label = f"channel {number}"
        signals.draw_waveform(axes[0], channel[None], trace.sample_rate, label=label, **look)
    axes[0].set(xlabel="time (s)", ylabel="amplitude", title="samples")
    style.legend(axes[0], loc="upper right")
    return "Samples have neither bands nor features."


def _draw_bins(picture, axes, trace, step, band, _feature) -> str:
    """All of (F, T), complex, left; the bins of one band right."""
    (left, right), seconds = axes, trace.seconds
    size = np.abs(step.value)  # (F, T)
    close = size[slice(*trace.scheme.ranges[band])]  # (W, T)
    if step.kind == "mask":
        mesh = draw_mask(left, size, trace.sample_rate, seconds)
        shown, label = close, "size of the mask"
        words = f"In band {band} its size is {close.mean():.2f} on average, "
        words += f"{close.max():.2f} at most."
    else:
        top = size.max() + 1e-12
        pixels = signals.pooled(np.square(size / top), trace.sample_rate)
        mesh = signals.draw_levels(left, *pixels, seconds, top_db=0, range_db=-FLOOR_DB)
        shown, label = 20 * np.log10(close / top + 1e-12), "level (dB below the loudest bin)"
        share = np.square(close).sum() / max(np.square(size).sum(), 1e-30)
        words = f"Band {band} holds {len(close)} bins and {share:.1%} of the energy."
    _draw_grid(right, shown, seconds, cmap=mesh.cmap, norm=mesh.norm)
    low_hz, high_hz = trace.scheme.spans_hz[band]
    for hz in (low_hz, high_hz):
        left.axhline(max(hz, left.get_ylim()[0]), color="#00d0ff", lw=1.4)
    left.set(title="all bins", xlabel="time (s)")
    right.set(title=f"band {band}: {low_hz:.0f} to {high_hz:.0f} Hz", xlabel="time (s)")
    right.set_ylabel("bin in the band")
    picture.colorbar(mesh, ax=axes, label=label, pad=0.01)
    return words


def _draw_features(picture, axes, trace, step, band, feature) -> str:
    """(K, T, N): one feature of every band left, every feature of one band right."""
    whole, close = step.value[:, :, feature], step.value[band].T  # (K, T), (N, T)
    limit = float(max(np.abs(whole).max(), np.abs(close).max(), 1e-9))
    look = {"cmap": mpl.colormaps[style.DIVERGING].resampled(25), "vmin": -limit, "vmax": limit}
    for ax, values, row in zip(axes, (whole, close), (band, feature), strict=True):
        mesh = _draw_grid(ax, values, trace.seconds, **look)
        for edge in (row - 0.5, row + 0.5):
            ax.axhline(edge, color="black", lw=1.2)
    axes[0].set(title=f"feature {feature} of every band", xlabel="time (s)", ylabel="band")
    axes[1].set(title=f"every feature of band {band}", xlabel="time (s)", ylabel="feature")
    picture.colorbar(mesh, ax=axes, label="value", pad=0.01)
    chosen = close[feature]
    return (
        f"Feature {feature} of band {band} lies between {chosen.min():.2f} and {chosen.max():.2f}; "
        f"all features of that band between {close.min():.2f} and {close.max():.2f}."
    )


def _draw_grid(axes, values, seconds, **look):
    """(rows, T) as a picture with row 0 at the bottom."""
    axes.grid(False)
    axes.yaxis.get_major_locator().set_params(integer=True)
    look |= {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
    return axes.imshow(values, extent=(0, seconds, -0.5, len(values) - 0.5), **look)
