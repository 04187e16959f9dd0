"""Files of this package from before its settings had groups and its bands weights of their own.

`nested` reads their flat settings, `current` gives their weights the names of today.
"""

import re
from dataclasses import fields

from bsrnn.common import choose
from bsrnn.models.blocks import BLOCKS, MaskConfig, MixedBlock, SplitConfig
from bsrnn.models.config import ModelConfig

# Where 0 or "" meant "as elsewhere", and what it meant; None: not there.
MEANT = {
    "hidden": "2N", "mask_hidden": "4N", "norm_groups": "N", "frames": None, "query": None,
    "tac": None, "attention_heads": None, "band_rnn": None, "band_hidden": None,
    "band_dilations": None,
}  # fmt: skip
# Names of today -> theirs, where they differ.
SPLIT = {"norm": "split_norm"}
MASK = {f.name: f"mask_{f.name}" for f in fields(MaskConfig)}
MASK |= {"output": "output", "overlap": "overlap", "zero_dc": "zero_dc"}
BLOCK = {"norm": "block_norm"}
OPTIONAL = {
    "tac": {"activation": "tac", "factor": "tac_factor"},
    "attention": {"heads": "attention_heads", "features": "attention_features"},
}


def nested(flat: dict) -> dict:
    """Flat settings as the fields of a ModelConfig.

    >>> nested({"rnn": "gru", "hidden": 0})["block"]
    RNNBlock(rnn='gru', hidden='2N', bidirectional=True, heads=1, norm='group', norm_groups=1)
    """
    kinds = [(SplitConfig, SPLIT), (MaskConfig, MASK), *((kind, BLOCK) for kind in BLOCKS.values())]
    optional = ModelConfig.optional
    kinds += [(optional[name], names) for name, names in OPTIONAL.items()]
    known = {names.get(f.name, f.name) for kind, names in kinds for f in fields(kind)}
    known |= {f.name for f in fields(ModelConfig)} | set(MEANT)
    for name in flat:
        choose(name, sorted(known), "field of ModelConfig")
    flat = {name: value or MEANT.get(name, value) for name, value in flat.items()}
    values = {f.name: flat[f.name] for f in fields(ModelConfig) if f.name in flat}
    values["split"] = _group(SplitConfig, SPLIT, flat)
    values["mask"] = _group(MaskConfig, MASK, flat)
    values["block"] = _block(flat)
    for name, names in OPTIONAL.items():
        given = flat.get(next(iter(names.values())))  # the setting that says that it is there
        values[name] = _group(optional[name], names, flat) if given else None
    return values


def _group(kind, names: dict, flat: dict):
    """The settings of a group out of the flat ones."""
    given = {f.name: names.get(f.name, f.name) for f in fields(kind)}
    return kind(**{name: flat[theirs] for name, theirs in given.items() if theirs in flat})


def _block(flat: dict):
    band = {
        "rnn": flat.get("band_rnn"),
        "hidden": flat.get("band_hidden"),
        "dilations": flat.get("band_dilations"),
    }
    time = _layer(flat)
    different = {name: value for name, value in band.items() if value}
    if not different or time.kind in ("plane-conv", "roformer"):
        return time
    if band["rnn"] == "none":
        return MixedBlock(time, None)
    return MixedBlock(time, _layer({**flat, **different}))


def _layer(flat: dict):
    name = flat.get("rnn", "lstm")
    kind = BLOCKS["rnn" if name in ("lstm", "gru") else name]
    if name == "conv":  # it had the units of both directions
        units, directions = flat.get("hidden", "2N"), 1 + flat.get("bidirectional", True)
        text = f"{2 * directions}N" if units == "2N" else directions * units
        flat = {**flat, "hidden": text}
    return _group(kind, BLOCK, flat)


def current(state: dict, separator) -> dict:
    """`state` with the names that the weights of `separator` have today."""
    for number, part in enumerate(getattr(separator, "separators", ())):
        before = f"separators.{number}."
        below = {n.removeprefix(before): x for n, x in state.items() if n.startswith(before)}
        state = {n: x for n, x in state.items() if not n.startswith(before)}
        state |= {f"{before}{name}": x for name, x in current(below, part).items()}
    if not any(".groups." in name or name.startswith("sequence.blocks.") for name in state):
        return state
    from bsrnn.models.cpu import equal_widths

    now: dict = {}
    names = set(separator.state_dict())
    groups = equal_widths(separator.config.bands.ranges)
    for name, tensor in state.items():
        match = re.fullmatch(r"(.+)\.groups\.(\d+)\.([a-z]+)(\.\d+)?(\.\w+)", name)
        if match is None:
            now[_renamed(name, names)] = tensor
            continue
        part, group, kind, layer, leaf = match.groups("")
        kind = {"norm": "norms", "linear": "linears"}.get(kind, kind)
        for place, band in enumerate(groups[int(group)]):
            now[_renamed(f"{part}.{kind}.{band}{layer}{leaf}", names)] = tensor[place]
    return now


# Parts of older names, each of which stands in some places only, and what they are today.
CHANGED = (
    (r"(?<=\.hidden\.)(\d+)\.0(?=\.)", r"\1"),
    (r"\.layer\.", "."),
    (r"\.project\.", ".linear."),
    (r"\.weight$", ".gain"),
    (r"\.bias$", ".offset"),
)


def _renamed(name: str, names: set) -> str:
    """The one of `names` that an older name means; itself where there is none."""
    several = [name.replace("sequence.blocks.", "sequence.")]
    for pattern, new in CHANGED:
        several += [re.sub(pattern, new, before) for before in several]
    return next((known for known in several if known in names), name)
