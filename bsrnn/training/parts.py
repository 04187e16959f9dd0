"""The parts of a separator that are copied from another model and frozen (lesson 10)."""

import torch

from bsrnn.common import UsageError, choose

PARTS = ("split", "sequence", "masks")


def transfer(separator, base, freeze: tuple[str, ...] = ()) -> dict:
    """Copy into `separator` every part of `base` with equal shapes and freeze the parts named.

    Parts are "split", "sequence" and "masks.<stem>". A head of a stem that the base lacks stays
    new: so a drums head is trained on the encoder of a vocals model, as Refined BSRNN does.
    Returns {"loaded": [...], "new": [...]}. UsageError if nothing fits, or if a part to be frozen
    was not loaded (its random weights would stay). Lesson 10.
    """
    theirs, loaded, new = _parts(base), [], []
    for name, part in _parts(separator).items():
        fits = name in theirs and _shapes(theirs[name]) == _shapes(part)
        (loaded if fits else new).append(name)
        if fits:
            part.load_state_dict(theirs[name].state_dict())
    if not loaded:
        raise UsageError("nothing of the initial model fits: use its scheme, features and repeats")
    for part in freeze:
        choose(part, PARTS, "part to freeze")
        lost = [name for name in new if name.split(".")[0] == part]
        if lost:
            raise UsageError(f"cannot freeze {part}: {lost[0]} was not in the initial model")
        getattr(separator, part).requires_grad_(False)
    if not any(weight.requires_grad for weight in separator.parameters()):
        raise UsageError("every part is frozen: leave one of split, sequence, masks to train")
    return {"loaded": loaded, "new": new}


def _parts(separator) -> dict[str, torch.nn.Module]:
    heads = separator.masks
    if not isinstance(heads, torch.nn.ModuleDict):
        heads = dict(zip(separator.stems, heads, strict=True))
    named = {"split": separator.split, "sequence": separator.sequence}
    return named | {f"masks.{stem}": heads[stem] for stem in separator.stems}


def _shapes(part: torch.nn.Module) -> dict:
    return {name: tuple(value.shape) for name, value in part.state_dict().items()}


def recompute_blocks(separator) -> None:
    """Gradient checkpointing: in training, what is inside a sequence block is forgotten and
    computed again for the gradient. UsageError for a network without such blocks."""
    if not hasattr(getattr(separator, "sequence", None), "recompute"):
        raise UsageError("this network has no sequence blocks: set gradient_checkpointing=False")
    separator.sequence.recompute = True
