"""Checkpoint files: our own (safetensors with the configuration inside), and reading others'.

No code in a file is ever executed: torch's weights-only reader, with inert stand-ins for the
harmless settings classes that training frameworks leave in their files; everything else is refused
by name. Writing is atomic: a reader sees the old file or the new one.
"""

import collections
import json
import pickle
import re
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bsrnn.common import DataError, UsageError, whole
from bsrnn.models import cpu
from bsrnn.models.bsrnn import BandSplitSeparator
from bsrnn.models.config import ModelConfig
from bsrnn.models.zoo.bag import SeparatorBag
from bsrnn.models.zoo.d3net import D3NetSeparator
from bsrnn.models.zoo.d3net_config import D3NetConfig
from bsrnn.models.zoo.older import current

FORMAT = "bsrnn-1"


def build(config, passport: dict | None = None):
    """The separator that a ModelConfig or a D3NetConfig describes, with new weights."""
    kind = D3NetSeparator if isinstance(config, D3NetConfig) else BandSplitSeparator
    return cpu.attach(kind(config, passport))


def read_config(text: str):
    """The ModelConfig or D3NetConfig that its to_json has written."""
    kind = D3NetConfig if json.loads(text).get("model") == "d3net" else ModelConfig
    return kind.from_json(text)


def save(separator, path, passport: dict | None = None) -> Path:
    """Write weights, configuration and passport to one .safetensors file; returns its path.

    `passport` (origin, licence, training data, scores: anything JSON can hold) is merged into the
    separator's own. Raises UsageError if a weight is not finite.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UsageError(f"{path.name}: own checkpoints end in .safetensors")
    state = {name: tensor.detach().cpu() for name, tensor in separator.state_dict().items()}
    refuse_not_finite(state, "the separator")
    bag = isinstance(separator, SeparatorBag)
    parts = separator.separators if bag else [separator]
    metadata = {
        "format": FORMAT,
        "kind": "bag" if bag else "separator",
        "configs": json.dumps([one.config.to_json() for one in parts]),
        "passport": json.dumps({**separator.passport, **(passport or {})}),
    }
    tensors = {name: tensor.clone() for name, tensor in state.items()}  # none a part of another
    with whole(path) as part:
        save_file(tensors, part, metadata=metadata)
    return path


def is_own(path) -> bool:
    """True for a file that `save` has written."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def load_own(path):
    """A separator, in training mode, from a safetensors file of `save`; strict."""
    state, metadata = _read_safetensors(path)
    configs = [read_config(one) for one in json.loads(metadata["configs"])]
    passport = json.loads(metadata["passport"])
    if metadata["kind"] == "bag":
        separator = SeparatorBag([build(config) for config in configs], passport)
    else:
        separator = build(configs[0], passport)
    load_strictly(separator, current(state, separator), path)
    return separator


def _read_safetensors(path) -> tuple[dict, dict]:
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return state, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a complete safetensors file ({error})") from None


def load_strictly(separator, state: dict, what) -> None:
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


# ---- files of others ---------------------------------------------------------------------------

SUFFIXES = (".ckpt", ".pt", ".pth", ".chpt", ".safetensors", ".h5")
STATES = ("state_dict", "model_state_dict", "state", "model")  # where the weights may be
PREFIXES = ("model.", "module.", "_orig_mod.")  # what wrappers put before every name
# Packages whose classes only describe settings and progress; their stand-in does nothing.
HARMLESS = ("omegaconf.", "typing.", "lightning.", "pytorch_lightning.", "train.Config")
PLAIN = {"builtins.dict": dict, "builtins.list": list, "builtins.int": int, "builtins.str": str,
         "builtins.float": float, "builtins.bool": bool,
         "collections.defaultdict": collections.defaultdict}  # fmt: skip


class StandIn:
    """Takes the place of a class in a pickle and keeps what it is given. It runs nothing."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        self.state = state


class Found(NamedTuple):
    """What a file holds: weights by name, the original's settings, averaged weights or None."""

    state: dict
    settings: dict
    average: list | None


def read(path) -> Found:
    """Weights and settings of a published checkpoint file, without running any of its code.

    Takes Lightning, ignite and plain torch files and safetensors; strips the prefixes of wrappers
    and drops optimizers. Settings come from inside the file, else from a YAML file beside it.
    """
    path = Path(path)
    content = _read_safetensors(path)[0] if path.suffix == ".safetensors" else _read_torch(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, not weights by name")
    state = next((content[key] for key in STATES if isinstance(content.get(key), dict)), content)
    state = {name: x for name, x in state.items() if isinstance(x, torch.Tensor)}
    if not state:
        raise DataError(f"{path}: holds no weights, only {', '.join(map(str, list(content)[:5]))}")
    for prefix in PREFIXES:
        if any(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    settings = _plain(content.get("hyper_parameters") or content.get("cfg") or {})
    average = None
    for optimizer in content.get("optimizer_states") or []:
        average = optimizer.get("ema", average)
    return Found(state, settings or settings_beside(path), average)


def _read_torch(path: Path):
    """The object in a torch file, through the weights-only reader."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, OSError, EOFError):
        names = []  # an old format, or no torch file at all: the reader below will tell
    for name in names:
        if name not in PLAIN and not name.startswith(HARMLESS):
            raise DataError(f"{path}: refused, because it wants to run {name}; get another file")
    allowed = [(PLAIN.get(name, StandIn), name) for name in names]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).replace("\n", " ")
        named = re.search(r"(?:GLOBAL|global|Unsupported)[^.]*? ([\w.]+) was not", reason)
        what = f"it wants to run {named[1]}" if named else "it is no plain torch file"
        raise DataError(f"{path}: refused, because {what}; get another file") from None
    except Exception as error:  # a broken file makes the reader fail in any way
        raise DataError(f"{path}: not a readable torch file ({str(error)[:80]})") from None


def _plain(value):
    """OmegaConf's tree of nodes, read into stand-ins, as dictionaries, lists and plain values."""
    if isinstance(value, StandIn):
        inner = getattr(value, "state", None)
        if isinstance(inner, tuple):  # (state, slots)
            inner = next((part for part in inner if isinstance(part, dict)), {})
        inner = inner if isinstance(inner, dict) else {}
        for key in ("_content", "_val"):
            if key in inner:
                return _plain(inner[key])
        return {name: _plain(x) for name, x in inner.items() if not name.startswith("_")}
    if isinstance(value, dict):
        return {name: _plain(x) for name, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    return value


class _Yaml(yaml.SafeLoader):
    """YAML's safe loader, which also reads the tuples that some settings hold."""


_Yaml.add_constructor(
    "tag:yaml.org,2002:python/tuple", lambda loader, node: tuple(loader.construct_sequence(node))
)


def settings_beside(path: Path) -> dict:
    """The settings in <name>.yaml, hparams.yaml or config.yaml beside a file or one folder up."""
    for folder in (path.parent, path.parent.parent):
        for name in (path.stem, "hparams", "config"):
            for suffix in (".yaml", ".yml"):
                beside = folder / f"{name}{suffix}"
                if beside.is_file():
                    return read_settings(beside)
    return {}


def read_settings(path) -> dict:
    """A YAML file of settings as a dictionary, by a loader that builds plain values only."""
    try:
        with open(path, encoding="utf-8") as file:
            found = yaml.load(file, Loader=_Yaml)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a plain YAML file ({reason})") from None
    return found if isinstance(found, dict) else {}
