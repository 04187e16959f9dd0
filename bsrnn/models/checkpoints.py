"""Checkpoint files: our own (safetensors with the configuration inside).

No code in a file is ever executed. Writing is atomic: a reader sees the old file or the new one.
"""

import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bsrnn.errors import DataError, UsageError
from bsrnn.models.bandsplit import BandSplitSeparator
from bsrnn.models.config import ModelConfig

FORMAT = "bsrnn-1"


def save(separator: BandSplitSeparator, path, passport: dict | None = None) -> Path:
    """Write weights, configuration and passport to one .safetensors file; returns its path.

    `passport` (origin, licence, training data, scores: anything JSON can hold) is merged into the
    separator's own. Raises UsageError if a weight is not finite.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UsageError(f"{path.name}: own checkpoints end in .safetensors")
    state = {name: tensor.detach().cpu() for name, tensor in separator.state_dict().items()}
    refuse_not_finite(state, "the separator")
    metadata = {
        "format": FORMAT,
        "config": separator.config.to_json(),
        "passport": json.dumps({**separator.passport, **(passport or {})}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(suffix=".tmp", prefix=path.name, dir=path.parent)
    os.close(handle)
    try:
        tensors = {name: tensor.contiguous() for name, tensor in state.items()}
        save_file(tensors, temporary, metadata=metadata)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes it private
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def load(path, device="cpu") -> BandSplitSeparator:
    """A separator in evaluation mode from a checkpoint of `save`; strict."""
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path}: no such checkpoint")
    separator = load_own(path)
    return separator.to(device).eval()


def load_own(path) -> BandSplitSeparator:
    """A separator from a safetensors file of `save`."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a complete safetensors file ({error})") from None
    if metadata.get("format") != FORMAT:
        raise DataError(f"{path}: a safetensors file without a bsrnn configuration inside")
    config = ModelConfig.from_json(metadata["config"])
    separator = BandSplitSeparator(config, json.loads(metadata["passport"]))
    load_strictly(separator, state, path)
    return separator


def load_strictly(separator: BandSplitSeparator, state: dict, what) -> None:
    """Copy `state` into `separator`: same names, same shapes, finite values, or a DataError."""
    own = separator.state_dict()
    problems = [f"misses {name}" for name in own if name not in state]
    problems += [f"has an unknown {name}" for name in state if name not in own]
    problems += [
        f"has {name} of shape {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 1} more such differences" if len(problems) > 1 else ""
        raise DataError(f"{what} does not fit its configuration: it {problems[0]}{more}")
    refuse_not_finite(state, what)
    separator.load_state_dict(state)


def refuse_not_finite(state: dict, what) -> None:
    """Raise a DataError naming the first tensor with a NaN or an infinity."""
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise DataError(f"{what}: {name} holds values that are not finite; use another file")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
