"""Published checkpoints: their weights into our one model, and back, strictly.

    separator = from_state_dict(state, config={...})     # the original's names and settings
    state = to_published(separator)                      # bit for bit the original's again
"""

import torch

from bsrnn.errors import DataError, UsageError
from bsrnn.models.bandsplit import BandSplitSeparator
from bsrnn.models.checkpoints import load_strictly
from bsrnn.models.families import FAMILIES, Family, family_named


def from_state_dict(state, family=None, config=None, stems=None) -> BandSplitSeparator:
    """A separator in evaluation mode from a published network's weights in memory.

    state: name -> tensor, as the original names them; family: who published it (None: recognised
    from the names); config: the original's own settings, a dictionary; stems: what the outputs
    are called, if the settings do not say. Strict: a missing, unknown, misshapen or not finite
    tensor raises a DataError.
    """
    kind = family_named(family) if family else recognise(state)
    given = dict(config or {})
    if stems:
        given["stems"] = list(stems)
    model = kind.configure(given, state.keys())
    separator = BandSplitSeparator(model, {"family": kind.name})
    weights = {name: x for name, x in state.items() if not _computed(kind, name)}
    load_strictly(separator, _to_ours(kind, separator, weights), f"the {kind.name} checkpoint")
    return separator.eval()


def to_published(separator: BandSplitSeparator, family=None) -> dict:
    """The weights under the names and in the layout of the original: name -> tensor."""
    kind = family_named(family or separator.passport.get("family", ""))
    own = separator.state_dict()
    plan = kind.plan(separator.config)
    return {e.theirs: e.layout.write(own[e.ours][e.index]).contiguous() for e in plan}


def recognise(state) -> Family:
    """The family whose marks are found in the names of `state`."""
    for family in FAMILIES.values():
        if all(any(mark in name for name in state) for mark in family.marks):
            return family
    first = ", ".join(list(state)[:3])
    raise DataError(f"no known network has weights named {first}: known are {', '.join(FAMILIES)}")


def _computed(family: Family, name: str) -> bool:
    return any(part in name for part in family.computed)


def _to_ours(family: Family, separator, state: dict) -> dict:
    """Our state dict from theirs, in strict correspondence."""
    own = separator.state_dict()
    made = {name: torch.full_like(x, float("nan")) for name, x in own.items()}
    seen = {}
    for ours, index, theirs, layout in family.plan(separator.config, state.keys()):
        if theirs not in state:
            raise DataError(f"the {family.name} checkpoint misses {theirs}")
        tensor = state[theirs].detach().to(torch.float32)
        expected = layout.write(own[ours][index]).shape
        if tensor.shape != expected:
            shapes = f"{tuple(tensor.shape)} instead of {tuple(expected)}"
            raise DataError(f"the {family.name} checkpoint has {theirs} of shape {shapes}")
        tensor = layout.read(tensor)
        if (ours, str(index)) in seen and not torch.equal(made[ours][index], tensor):
            other = seen[ours, str(index)]
            raise DataError(f"{theirs} and {other} are one parameter but hold different values")
        made[ours][index] = tensor
        seen[ours, str(index)] = theirs
    unknown = sorted(set(state) - set(seen.values()) - {e.theirs for e in family.plan(separator.config, state.keys())})
    if unknown:
        raise DataError(
            f"the {family.name} checkpoint has {len(unknown)} unknown tensors, such as {unknown[0]}"
        )
    return made
