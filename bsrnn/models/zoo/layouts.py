"""What is needed to describe a publication's checkpoints: Family, Entry, Layout and common plans.

A Family has three functions. `sizes(state)` says which of the original's settings the shapes tell.
`configure(given, state)` turns those settings into a ModelConfig. `plan(config)` lists, weight by
weight, where the original keeps what ours holds: Entry(ours, theirs, layout, index) says that
`ours[index]` is the tensor `theirs`, read and written through `layout`. The same list serves both
directions, and what is not on it is an error.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch

from bsrnn import bands
from bsrnn.common import DataError, UsageError


class Layout(NamedTuple):
    """read: their tensor -> ours; write: the exact inverse."""

    read: Callable
    write: Callable


SAME = Layout(lambda x: x, lambda x: x)


class Entry(NamedTuple):
    ours: str
    theirs: str
    layout: Layout = SAME
    index: object = ...  # int, slice or ... into our tensor
    optional: bool = False  # may be missing: the original can compute it


@dataclass(frozen=True)
class Family:
    """One publication's checkpoints.

    marks     beginnings of names, all of which these weights have and no family before it
    renames   (old, new) beginnings of names in older files
    computed  parts of names that are no weights: windows, band weights, metrics
    aliases   other words for the family
    dedicated (state) -> {stem: state of its own network}, or None
    unbuilt   (part of a name, what it belongs to) of layers that are not built
    """

    name: str
    marks: tuple[str, ...]
    sizes: Callable
    configure: Callable
    plan: Callable
    renames: tuple[tuple[str, str], ...] = ()
    computed: tuple[str, ...] = ("window",)
    aliases: tuple[str, ...] = ()
    dedicated: Callable | None = None
    unbuilt: tuple[tuple[str, str], ...] = ()


CONV = Layout(lambda x: x.squeeze(-1), lambda x: x.unsqueeze(-1))  # 1x1 convolution = linear layer
CONV2 = Layout(lambda x: x.flatten(1), lambda x: x[..., None, None])
SWAP = Layout(lambda x: x.transpose(0, 1), lambda x: x.transpose(0, 1))


def reorder(order: torch.Tensor, axis: int = 0, before: Layout = SAME) -> Layout:
    """`before`, then the places of one axis put in `order`."""
    back = order.argsort()
    if torch.equal(order, back) and torch.equal(order, order.sort().values):
        return before
    return Layout(
        lambda x: before.read(x).index_select(axis, order),
        lambda x: before.write(x.index_select(axis, back)),
    )


def places(theirs: str, gate: int = 1, channels: int = 1, parts: int = 2, bins: int = 1):
    """Order of their axis that gives ours: gate g, channel c, part p (real, imaginary), bin b.

    `theirs` spells their order, slowest first.

    >>> places("cbp", bins=3).tolist()
    [0, 2, 4, 1, 3, 5]
    """
    sizes = {"g": gate, "c": channels, "p": parts, "b": bins}
    theirs = theirs if "g" in theirs else "g" + theirs
    number = torch.arange(gate * channels * parts * bins).reshape([sizes[axis] for axis in theirs])
    return number.permute([theirs.index(axis) for axis in "gcpb"]).flatten()


def pair(ours, theirs, weight=SAME, bias=SAME, index=...):
    """Entries of a weight and its bias."""
    yield Entry(f"{ours}.weight", f"{theirs}.weight", weight, index)
    yield Entry(f"{ours}.bias", f"{theirs}.bias", bias, index)


def norm(ours, theirs, layout=SAME):
    """Entries of the gain and the offset of a norm, which torch calls weight and bias."""
    yield Entry(f"{ours}.gain", f"{theirs}.weight", layout)
    yield Entry(f"{ours}.offset", f"{theirs}.bias", layout)


def rms(ours, theirs, layout=SAME):
    """The entry of an RMS norm, which has a gain called gamma and no offset."""
    yield Entry(f"{ours}.gain", f"{theirs}.gamma", layout)


def split_plan(config, norms, linears, order="cpb", conv=SAME, norm_layout=SAME):
    """Entries of the band split; `norms` and `linears` are their names with {k} for the band."""
    norm_plan = rms if config.split.norm == "rms" else norm
    for band, width in enumerate(config.bands.widths):
        columns = places(order, channels=config.joint_channels, bins=width)
        gains = reorder(columns, -1, norm_layout)
        yield from norm_plan(f"split.norms.{band}", norms.format(k=band), gains)
        if config.channel_handling == "shared":
            columns = places(order, bins=width)
        weight = reorder(columns, 1, conv)
        yield from pair(f"split.linears.{band}", linears.format(k=band), weight)


def mask_plan(config, stem, layers, order="gcpb", conv=SAME):
    """Entries of one head; `layers` are their names of [norm,] hidden ..., [bottleneck,] output."""
    mask, head = config.mask, f"masks.{stem}"
    for band, width in enumerate(config.bands.widths):
        theirs = [name.format(k=band) for name in layers]
        if mask.norm != "none":
            yield from norm(f"{head}.norms.{band}", theirs.pop(0))
        for i in range(mask.hidden_layers):
            ours = f"{head}.hidden.{band}" + (f".{i}" if mask.form == "options" else "")
            yield from pair(ours, theirs.pop(0), conv)
        if mask.bottleneck:
            yield from pair(f"{head}.bottleneck.{band}", theirs.pop(0), conv)
        (out,) = theirs
        rows = places(order, 2, config.joint_channels, mask.numbers, width)
        yield from pair(f"{head}.out.{band}", out, reorder(rows, 0, conv), reorder(rows))


def layer_name(config, r: int, axis: str) -> str:
    """Where our layer along "time" or "band" of block r stands."""
    heads = getattr(config.block, axis).heads
    return f"sequence.{r}.{axis}" + (".layer" if heads > 1 else "")


def rnn_plan(ours, theirs, bidirectional):
    """Entries of a one-layer torch RNN."""
    for back in ("", "_reverse")[: 1 + bidirectional]:
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            yield Entry(f"{ours}.{part}_l0{back}", f"{theirs}.{part}_l0{back}")


def rnn_block(settings, ours, theirs, norms="norm", rnn="rnn", linear="fc"):
    """Entries of norm, RNN and linear layer of a ResidualRNN."""
    yield from norm(f"{ours}.norm", f"{theirs}{norms}")
    yield from rnn_plan(f"{ours}.rnn", f"{theirs}{rnn}", settings.bidirectional)
    yield from pair(f"{ours}.linear", f"{theirs}{linear}")


def stems_of(given: dict, named=None, count: int = 1) -> tuple[str, ...]:
    """The stems in the original's order: `stems` in the settings, or what the family calls them,
    or what is expected of a file of that name; in memory, `count` placeholders will do."""
    stems = given.get("stems") or named or given.get("expected_stems")
    if not stems and given.get("anonymous"):
        stems = ["target"] if count == 1 else [f"target{n}" for n in range(1, count + 1)]
    if not stems:
        raise UsageError("the checkpoint does not say what it separates: give stems=[...]")
    return (stems,) if isinstance(stems, str) else tuple(stems)


def numbered(state, pattern: str, step: int = 1) -> int:
    """How many names `pattern` with {} = 0, 1, 2 ... (times `step`) begin a name of `state`.

    >>> numbered({"a.0.w": 1, "a.1.w": 1}, "a.{}.")
    2
    """
    count = 0
    while any(name.startswith(pattern.format(count * step)) for name in state):
        count += 1
    return count


def widths_of(state, pattern: str, per_bin: int) -> tuple[int, ...]:
    """Bins in each band, from the sizes of the tensors `pattern` with {} = band."""
    count = numbered(state, pattern)
    return tuple(state[pattern.format(band)].shape[0] // per_bin for band in range(count))


def grid_of(state, pattern: str) -> tuple[int, int]:
    """(channels in the features, n_fft) of disjoint bands: n_fft is a power of two."""
    values = sum(widths_of(state, pattern, 2))
    for channels in (1, 2):
        n_fft = 2 * (values // channels - 1)
        if values % channels == 0 and n_fft & (n_fft - 1) == 0:
            return channels, n_fft
    raise DataError(f"the bands hold {values} values: no channels and n_fft fit")


def scheme_of(widths, names, n_fft: int, rates=(44100, 48000)) -> tuple[str, int]:
    """(scheme, sample rate in Hz) of the first named scheme with these widths; else a partition
    of one's own, as JSON, at the first rate."""
    for rate in rates:
        for name in names:
            try:
                if bands.scheme(name, rate, n_fft).widths == tuple(widths):
                    return name, rate
            except UsageError:
                continue  # no such scheme on this grid
    edges = [0, *accumulate(widths)]
    own = bands.BandScheme("checkpoint", tuple(pairwise(edges)), rates[0], n_fft)
    return own.validate().to_json(), rates[0]


def rnn_of(state, prefix: str) -> dict:
    """kind ("lstm", "gru"), units and direction of the RNN whose names begin with `prefix`."""
    rows, units = state[f"{prefix}weight_hh_l0"].shape
    kind = {4: "lstm", 3: "gru"}[rows // units]
    return {"kind": kind, "units": units, "two": f"{prefix}weight_hh_l0_reverse" in state}
