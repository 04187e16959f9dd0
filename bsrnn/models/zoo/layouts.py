"""How a publication's checkpoint is described, and its weights carried over in both directions.

A Family says in three functions what is its own. `sizes(state)`: which of the original's settings
the shapes tell. `configure(given, state)`: those settings as a ModelConfig. `names(config)`: rules
that turn a name of our state dict into the original's, each replacing a pattern (re.sub) in what
the rules before it have left. What a rule does not name keeps its name; what is left over on
either side is an error.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch

from bsrnn import bands
from bsrnn.common import DataError, UsageError


@dataclass(frozen=True)
class Family:
    """One publication's checkpoints.

    marks     beginnings of names, all of which these weights have and no family before it
    split     order of the values of a band's bins, slowest first: channel, part, bin
    out       the same for the last layer of a mask head, with the gate
    conv      split and heads are convolutions of length 1, not linear layers
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
    names: Callable
    split: str = "cpb"
    out: str = "gcpb"
    conv: bool = False
    renames: tuple[tuple[str, str], ...] = ()
    computed: tuple[str, ...] = ("window",)
    aliases: tuple[str, ...] = ()
    dedicated: Callable | None = None
    unbuilt: tuple[tuple[str, str], ...] = ()


# ---- Names ---------------------------------------------------------------------------------------

# The parameters of a norm, as torch calls them, and as RMS norms are called.
TORCH_NORM = ((r"\.gain$", ".weight"), (r"\.offset$", ".bias"))
RMS_NORM = ((r"\.gain$", ".gamma"),)


def heads(config, theirs: str) -> list:
    """Rules for the beginning of a head's names; `theirs` may hold {stem} and {number}."""
    return [
        (rf"^masks\.{re.escape(stem)}", theirs.format(stem=stem, number=number))
        for number, stem in enumerate(config.heads)
    ]


def renamed(name: str, rules) -> tuple[list[str], str]:
    """(the original's names of what is called `name` here, how they share it).

    A rule is (pattern, replacement), or (pattern, replacements, how): "same" for tensors that are
    all equal, "parts" for one along the first axis each, "optional" for what may be missing.

    >>> renamed("split.linears.3.bias", [(r"^split\\.linears", "fcs")])
    (['fcs.3.bias'], 'same')
    """
    names, how = [name], "same"
    for pattern, new, *words in rules:
        if re.search(pattern, names[0]):
            several = [new] if isinstance(new, str) else new
            names = [re.sub(pattern, each, before) for before in names for each in several]
            how = words[0] if words else how
    return names, how


# ---- Tensors -------------------------------------------------------------------------------------


class Layout(NamedTuple):
    """read: their tensor -> ours; write: the exact inverse."""

    read: Callable
    write: Callable


SAME = Layout(lambda x: x, lambda x: x)
CONV = Layout(lambda x: x.squeeze(-1), lambda x: x.unsqueeze(-1))  # 1x1 convolution = linear layer
CONV2 = Layout(lambda x: x.flatten(1), lambda x: x[..., None, None])
SWAP = Layout(lambda x: x.mT, lambda x: x.mT)
# Norms over bands and features: theirs (1, N, 1, K), ours (1, 1, K, N)
PLANE = Layout(lambda x: x.permute(0, 2, 3, 1), lambda x: x.permute(0, 3, 1, 2))


def reorder(order: torch.Tensor, axis: int = 0, before: Layout = SAME) -> Layout:
    """`before`, then the places of one axis put in `order`."""
    back = order.argsort()
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


def layout_of(family: Family, config, name: str) -> Layout:
    """How the original stores the tensor that is called `name` here."""
    place, kind, *rest = re.sub(r"^masks\.[^.]+", "masks", name).split(".")
    if place == "sequence":
        norm = re.search(r"\.attention\.\w+\.(gain|offset)$", name)
        conv = re.search(r"\.attention\.\w+\.linear\.weight$", name)
        return PLANE if norm else CONV2 if conv else SAME
    weight = rest[-1:] == ["weight"]
    layer = CONV if family.conv and weight else SAME
    if (place, kind) not in (("split", "norms"), ("split", "linears"), ("masks", "out")):
        return layer
    width, channels = config.bands.widths[int(rest[0])], config.joint_channels
    if kind == "out":
        rows = places(family.out, 2, channels, config.mask.numbers, width)
        return reorder(rows, 0, layer)
    if kind == "norms":
        columns = places(family.split, channels=channels, bins=width)
        return reorder(columns, -1, SWAP if config.split.norm == "frames" else SAME)
    if not weight:
        return SAME
    channels = 1 if config.channel_handling == "shared" else channels
    return reorder(places(family.split, channels=channels, bins=width), 1, layer)


class Entry(NamedTuple):
    """`ours[index]` is the tensor `theirs`, read and written through `layout`."""

    ours: str
    theirs: str
    layout: Layout
    index: slice
    optional: bool


def plan(family: Family, separator) -> Iterator[Entry]:
    """Where the original keeps what `separator` holds, weight by weight."""
    config = separator.config
    rules = family.names(config)
    for ours, tensor in separator.state_dict().items():
        names, how = renamed(ours, rules)
        layout = layout_of(family, config, ours)
        for number, theirs in enumerate(names):
            index = slice(None)
            if how == "parts":
                size = len(tensor) // len(names)
                index = slice(number * size, (number + 1) * size)
            yield Entry(ours, theirs, layout, index, how == "optional")


def to_theirs(family: Family, separator) -> dict:
    """The weights under the names and in the layout of the original."""
    state = separator.state_dict()
    return {
        entry.theirs: entry.layout.write(state[entry.ours][entry.index]).contiguous()
        for entry in plan(family, separator)
    }


def to_ours(family: Family, separator, state: dict, what: str) -> dict:
    """Our state dict from theirs, in strict correspondence; a DataError that begins with `what`."""
    own = separator.state_dict()
    made = {name: torch.full_like(x, float("nan")) for name, x in own.items()}
    read: dict[tuple, str] = {}
    known = set()
    for ours, theirs, layout, index, optional in plan(family, separator):
        known.add(theirs)
        if theirs not in state:
            if not optional:
                raise DataError(f"{what} misses {theirs}")
            made[ours] = own[ours]
            continue
        tensor = state[theirs].detach().to(torch.float32)
        expected = layout.write(own[ours][index]).shape
        if tensor.shape != expected:
            shapes = f"{tuple(tensor.shape)} instead of {tuple(expected)}"
            raise DataError(f"{what} has {theirs} of shape {shapes}")
        tensor, place = layout.read(tensor), (ours, index.start)
        if place in read and not torch.equal(made[ours][index], tensor):
            raise DataError(f"{what}: {theirs} and {read[place]} are one parameter but differ")
        made[ours][index] = tensor
        read[place] = theirs
    unknown = sorted(set(state) - known)
    if unknown:
        raise DataError(f"{what} has {len(unknown)} unknown tensors, such as {unknown[0]}")
    return made


# ---- What shapes and settings tell ---------------------------------------------------------------


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


def scheme_of(widths, names, n_fft: int, rates, partition=True) -> tuple[str, int]:
    """(scheme, sample rate in Hz) of the first named scheme with these widths; else a partition
    of one's own, as JSON, at the first rate, or ("", 0) without a `partition`."""
    for rate in rates:
        for name in names:
            with contextlib.suppress(UsageError):  # no such scheme on this grid
                if bands.scheme(name, rate, n_fft).widths == tuple(widths):
                    return name, rate
    if not partition:
        return "", 0
    ranges = tuple(pairwise([0, *accumulate(widths)]))
    return bands.BandScheme("checkpoint", ranges, rates[0], n_fft).validate().to_json(), rates[0]


def rnn_of(state, prefix: str) -> dict:
    """kind ("lstm", "gru"), units and direction of the RNN whose names begin with `prefix`."""
    rows, units = state[f"{prefix}weight_hh_l0"].shape
    kind = {4: "lstm", 3: "gru"}[rows // units]
    return {"kind": kind, "units": units, "two": f"{prefix}weight_hh_l0_reverse" in state}
