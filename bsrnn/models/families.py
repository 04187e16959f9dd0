"""How each publication names its weights and its settings: data for `published`.

A Family has two functions. `configure` turns the original's own settings into a ModelConfig.
`plan` lists, weight by weight, where the original keeps what ours holds: Entry(ours, index, theirs,
layout) says that `ours[index]` is the tensor `theirs`, read and written through `layout`. The
same list therefore serves both directions, and everything not on it is an error.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from bsrnn.errors import UsageError, choose
from bsrnn.models.bandsplit import equal_widths
from bsrnn.models.config import ModelConfig
from bsrnn.stft import StftConfig


class Layout(NamedTuple):
    """read: their tensor -> ours; write: the exact inverse."""

    read: Callable
    write: Callable


class Entry(NamedTuple):
    ours: str
    index: object  # int, slice or ... into our tensor
    theirs: str
    layout: Layout


@dataclass(frozen=True)
class Family:
    """One publication's checkpoints. `marks`: parts of names that only these weights have."""

    name: str
    marks: tuple[str, ...]
    configure: Callable
    plan: Callable
    computed: tuple[str, ...] = ("window",)  # parts of names that are no weights: not read
    aliases: tuple[str, ...] = ()


SAME = Layout(lambda x: x, lambda x: x)
CONV = Layout(lambda x: x.squeeze(-1), lambda x: x.unsqueeze(-1))  # 1x1 convolution = linear layer
CONV2 = Layout(lambda x: x.flatten(1), lambda x: x[..., None, None])
SWAP = Layout(lambda x: x.transpose(0, 1), lambda x: x.transpose(0, 1))


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


def each_band(config: ModelConfig):
    """(our group, place in it, band, width in bins) of every band."""
    for group, (width, bands) in enumerate(equal_widths(config.bands)):
        for place, band in enumerate(bands):
            yield group, place, band, width


def pair(ours, index, theirs, weight=SAME, bias=SAME):
    """Entries of a weight and its bias."""
    yield Entry(f"{ours}.weight", index, f"{theirs}.weight", weight)
    yield Entry(f"{ours}.bias", index, f"{theirs}.bias", bias)


def split_plan(config, norm, linear, order="cpb", conv=SAME, norm_layout=SAME):
    """Entries of the band split; `norm` and `linear` are their names with {k} for the band."""
    for group, place, band, width in each_band(config):
        ours = f"split.groups.{group}"
        columns = places(order, channels=config.joint_channels, bins=width)
        gains = reorder(columns, -1, norm_layout)
        yield from pair(f"{ours}.norm", place, norm.format(k=band), gains, gains)
        if config.channel_handling == "shared":
            columns = places(order, bins=width)
        weight = reorder(columns, 1, conv)
        yield from pair(f"{ours}.linear", place, linear.format(k=band), weight)


def mask_plan(config, stem, layers, order="gcpb", conv=SAME, norm=True):
    """Entries of one head; `layers` are their names of [norm,] hidden ..., [bottleneck,] output."""
    parts = 2 if config.mask_parts == "complex" else 1
    ours_layers = ["norm"] if norm else []
    ours_layers += [f"hidden.{i}" for i in range(config.mask_hidden_layers)]
    ours_layers += ["bottleneck"] if config.mask_bottleneck else []
    for group, place, band, width in each_band(config):
        ours = f"masks.{stem}.groups.{group}"
        for own, name in zip(ours_layers, layers[:-1], strict=True):
            weight = SAME if own == "norm" else conv
            yield from pair(f"{ours}.{own}", place, name.format(k=band), weight)
        rows = places(order, 2, config.joint_channels, parts, width)
        yield from pair(
            f"{ours}.out", place, layers[-1].format(k=band), reorder(rows, 0, conv), reorder(rows)
        )


def rnn_plan(ours, theirs, bidirectional):
    """Entries of a one-layer torch RNN."""
    for back in ("", "_reverse")[: 1 + bidirectional]:
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            yield Entry(f"{ours}.{part}_l0{back}", ..., f"{theirs}.{part}_l0{back}", SAME)


def rnn_block(config, ours, theirs, norm="norm", rnn="rnn", linear="fc"):
    """Entries of norm, RNN and projection of a Recurrent layer."""
    yield from pair(f"{ours}.norm", ..., f"{theirs}{norm}")
    yield from rnn_plan(f"{ours}.rnn", f"{theirs}{rnn}", config.bidirectional)
    yield from pair(f"{ours}.project", ..., f"{theirs}{linear}")


# ---- magronp: BSRNN, oBSRNN, SIMO, BSCNN, naive stereo; current and older layouts ---------------

MAGRONP_BANDS = {name: f"{name}-magronp" for name in ("bass", "drums", "other")}
MAGRONP_BANDS["vocals"] = "v7-magronp"


def magronp_config(given: dict, keys) -> ModelConfig:
    targets = given.get("targets") or given.get("stems") or [given["target"]]
    time, band = given.get("time_layer", "lstm"), given.get("band_layer", "lstm")
    cnn = any(".in_layer." in key for key in keys)
    legacy = any(key.startswith("mask.") for key in keys)
    features, heads = given["feature_dim"], given.get("n_heads") or 1
    joint = given.get("joint_bandsplit") or len(targets) > 1 or (cnn and not legacy)
    naive = given.get("stereo") == "naive" or (legacy and "nb_channels" in given)
    groups = given.get("group_num", 1) or max(features // heads // 16, 1)
    layers = dict(rnn=time, band_rnn=band, hidden=given.get("fac_sep", 2) * features // heads)
    if cnn:
        layers = dict(
            rnn="dilated", band_rnn="" if band else "none", hidden=time["hs_fac"] * features,
            dilations=time["n_dil_conv"], kernel=time["ks"],
        )  # fmt: skip
        if band:
            layers |= dict(
                band_hidden=band["hs_fac"] * features, band_dilations=band["n_dil_conv"]
            )
            if band["ks"] != time["ks"]:
                raise UsageError("BSCNN with two kernel sizes is not supported")
    return ModelConfig(
        stems=tuple(targets),
        scheme="joint-magronp" if joint else MAGRONP_BANDS.get(targets[0], "joint-magronp"),
        sample_rate=given.get("sample_rate", 44100),
        channels=given.get("nb_channels", 2),
        stft=StftConfig(given.get("n_fft", 2048), given.get("n_hop", 512)),
        channel_handling="joint" if naive else "independent",
        norm_groups=groups,
        norm_eps=given.get("eps", 1e-7),
        features=features,
        repeats=given["num_repeat"],
        bidirectional=given.get("bidirectional", True),
        heads=heads,
        tac=given.get("act_tac", "tanh") if given.get("stereo") == "tac" else "",
        tac_factor=given.get("fac_tac", 3),
        attention_heads=given.get("n_att_head", 0),
        attention_features=given.get("attn_enc_dim", 16) or 16,
        mask_hidden=given.get("fac_mask", 4) * features,
        mask_hidden_layers=2,
        mask_context=given.get("mask_ctxt", 0),
        residual_last=bool(given.get("subtract_last_trgt")) and len(targets) > 1,
        **layers,
    )


def magronp_plan(config: ModelConfig, keys=()):
    naive = config.joint_channels > 1
    yield from split_plan(config, "BN.{k}.0", "BN.{k}.1", conv=CONV)
    for r in range(config.repeats):
        for axis in ("time", "band"):
            if axis == "time" or config.band_rnn != "none":
                ours, theirs = f"sequence.blocks.{r}.{axis}.layer", f"separator.{r}.{axis}_net"
                yield from _magronp_layer(config, axis, ours, theirs)
        ours, theirs = f"sequence.blocks.{r}", f"separator.{r}"
        if config.tac:
            for part in ("transform", "average", "concat"):
                yield from pair(f"{ours}.tac.{part}", ..., f"{theirs}.tac_module.{part}.0")
                if config.tac == "prelu":
                    name = f"{theirs}.tac_module.{part}.1.weight"
                    yield Entry(f"{ours}.tac.slope", ..., name, SAME)
        if config.attention_heads:
            yield from _magronp_attention(config, f"{ours}.attention", f"{theirs}.attn_block")
    for m, stem in enumerate(config.stems[: len(config.stems) - config.residual_last]):
        head = f"maskers.{m}.mask" if config.rnn != "dilated" else "masker.mask"
        head = "mask" if any(key.startswith("mask.") for key in keys) else head
        names = [f"{head}.{{k}}.{place}" for place in (0, 1, 3, 5)]
        yield from mask_plan(config, stem, names, "cgpb" if naive else "gcpb", conv=CONV)


def _magronp_layer(config, axis, ours, theirs):
    kind = config.rnn if axis == "time" else config.band_rnn or config.rnn
    if kind != "dilated":
        if kind == "conv":
            yield from pair(f"{ours}.norm", ..., f"{theirs}.norm")
            yield from pair(f"{ours}.conv", ..., f"{theirs}.main_layer.0")
            yield from pair(f"{ours}.project", ..., f"{theirs}.proj")
        else:
            yield from rnn_block(config, ours, f"{theirs}.", rnn="main_layer", linear="proj")
        return
    depth = config.band_dilations if axis == "band" else 0
    names = [("first", "in_layer"), ("last", "out_layer")]
    for l in range(depth or config.dilations):
        names += [(f"series.{l}", f"dil_layers.{l}"), (f"joined.{l}", f"concat_layers.{l}")]
    for own, name in names:
        yield from pair(f"{ours}.{own}.norm", ..., f"{theirs}.{name}.0")
        yield from pair(f"{ours}.{own}.conv", ..., f"{theirs}.{name}.1")


def _magronp_attention(config, ours, theirs):
    # their gain (1, E, 1, K) is our (1, K, E)
    gain = Layout(lambda x: x[:, :, 0].transpose(1, 2), lambda x: x.transpose(1, 2)[:, :, None])
    sizes = {"query": config.attention_features, "key": config.attention_features}
    sizes["value"] = config.features // config.attention_heads
    names = [
        (f"{ours}.{part}", h, size, f"{theirs}.attn_conv_{part[0].upper().replace('V', 'V')}_{h}")
        for part, size in sizes.items()
        for h in range(config.attention_heads)
    ]
    names.append((f"{ours}.project", 0, config.features, f"{theirs}.attn_concat_proj"))
    for own, h, size, name in names:
        rows = slice(h * size, (h + 1) * size)
        yield from pair(f"{own}.linear", rows, f"{name}.0", CONV2)
        yield Entry(f"{own}.slope", slice(h, h + 1), f"{name}.1.weight", SAME)
        yield Entry(f"{own}.gain", h, f"{name}.2.gamma", gain)
        yield Entry(f"{own}.offset", h, f"{name}.2.beta", gain)


MAGRONP = Family(
    "magronp", ("BN.",), magronp_config, magronp_plan,
    aliases=("magronp BSRNN", "magronp BSCNN", "magronp older state-dict layout"),
)  # fmt: skip

FAMILIES = {family.name: family for family in (MAGRONP,)}


def family_named(name: str) -> Family:
    """The family of that name or alias."""
    for family in FAMILIES.values():
        if name == family.name or name in family.aliases:
            return family
    return FAMILIES[choose(name, FAMILIES, "family of checkpoints")]
