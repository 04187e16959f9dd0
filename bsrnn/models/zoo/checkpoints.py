"""Checkpoint files: our own (safetensors with the configuration inside), and reading others'.

No code in a file is ever executed (`pickles`): classes of others become stand-ins that run nothing.
The weights are the largest dictionary of tensors, without the prefixes of wrappers, averaged copies
and tensors of losses. Writing is atomic: a reader sees the old file or the new one.
"""

import contextlib
import json
import re
import zipfile
from pathlib import Path

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bsrnn.common import DataError, UsageError, alike, another_kind, choose, whole
from bsrnn.models import cpu
from bsrnn.models.bsrnn import BandSplitSeparator
from bsrnn.models.config import ModelConfig
from bsrnn.models.cost import cost
from bsrnn.models.presets import presets
from bsrnn.models.zoo import pickles
from bsrnn.models.zoo.bag import SeparatorBag
from bsrnn.models.zoo.d3net import D3NetSeparator
from bsrnn.models.zoo.d3net_config import D3NetConfig
from bsrnn.models.zoo.older import current
from bsrnn.models.zoo.pickles import StandIn

FORMAT = "bsrnn-1"


def build(config, passport: dict | None = None):
    """The separator that a ModelConfig or a D3NetConfig describes, with new weights; or that of a
    name: of a preset, "d3net", or a system of `baselines`.

    >>> build("tiny").stems
    ('vocals',)
    """
    if isinstance(config, str):
        from bsrnn.models.zoo import baselines

        known = [*presets(), "d3net", *baselines.NAMES]
        name = choose(alike(config, known), known, "model preset")
        if name in baselines.NAMES:
            return baselines.untrained(name)
        config = D3NetConfig() if name == "d3net" else presets()[name]
    kind = D3NetSeparator if isinstance(config, D3NetConfig) else BandSplitSeparator
    return cpu.attach(kind(config, passport))


@contextlib.contextmanager
def guarded(what):
    """What goes wrong inside is one line that begins with `what`: our errors, and any that damaged
    settings cause."""
    try:
        yield
    except UsageError as error:
        raise type(error)(f"{what}: {error}") from None
    except Exception as error:  # made of another's words: it may fail in any way
        reason = " ".join(f"{type(error).__name__} {error}".split())[:100]
        raise DataError(f"{what}: its settings are damaged or incomplete ({reason})") from None


def read_config(text: str):
    """The ModelConfig or D3NetConfig that its to_json has written."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise UsageError(f"give settings by name, not {values!r}")
    return (D3NetConfig if values.get("model") == "d3net" else ModelConfig).from_json(text)


COMPUTED = ("frequencies", "running_mean", "running_var", "num_batches_tracked")  # no parameters


def bounded(configs, state: dict, exact=False) -> None:
    """DataError if networks of `configs` hold other weights than `state`: known from the closed
    form, before anything is built. Not `exact`: only if they would be far larger."""
    held = _numbers({name: x for name, x in state.items() if not name.endswith(COMPUTED)})
    wanted = 0
    for config in configs:
        if not isinstance(config, D3NetConfig):
            wanted += cost(config, seconds=1.0).parameters
            continue
        if config.convolutions > len(state):
            raise DataError(f"its settings want {config.convolutions} convolutions")
        with torch.device("meta"):
            wanted += sum(x.numel() for x in D3NetSeparator(config).parameters())
    if wanted != held if exact else wanted > 2 * held + 10**6:
        raise DataError(f"holds {held:,} numbers where its settings want {wanted:,}")


def save(separator, path, passport: dict | None = None) -> Path:
    """Write weights, configuration and passport to one .safetensors file; returns its path.

    `passport` (origin, licence, training data, scores: anything JSON can hold) is merged into the
    separator's own. Raises UsageError if a weight is not finite.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UsageError(f"{path.name}: own checkpoints end in .safetensors")
    state = {name: x.detach().cpu().clone() for name, x in separator.state_dict().items()}
    refuse_not_finite(state, "the separator")
    bag = isinstance(separator, SeparatorBag)
    parts = separator.separators if bag else [separator]
    metadata = {
        "format": FORMAT,
        "kind": "bag" if bag else "separator",
        "configs": json.dumps([part.config.to_json() for part in parts]),
        "passport": json.dumps({**separator.passport, **(passport or {})}),
    }
    with whole(path) as part:
        save_file(state, part, metadata=metadata)
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
    with guarded(path):
        configs = [read_config(text) for text in json.loads(metadata["configs"])]
        passport = json.loads(metadata["passport"])
        if not configs or not isinstance(passport, dict):
            raise DataError("give a list of settings as `configs`, an object as `passport`")
        bounded(configs, state, exact=True)
        separators = [build(config, passport) for config in configs]
        bag = metadata["kind"] == "bag"
        separator = SeparatorBag(separators, passport) if bag else separators[0]
        state = current(state, separator)
    load_strictly(separator, state, path)
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
    shapes = {name: tuple(x.shape) for name, x in separator.state_dict().items()}
    given = {name: tuple(x.shape) for name, x in state.items()}
    problems = [f"misses {name}" for name in shapes if name not in given]
    problems += [f"has an unknown {name}" for name in given if name not in shapes]
    problems += [
        f"has {name} of shape {given[name]} instead of {shape}"
        for name, shape in shapes.items()
        if given.get(name, shape) != shape
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

# What wrappers put before every name, in any order; a copy with averaged weights is another set.
WRAPPERS = ("model.", "module.", "_orig_mod.")
PARTS = ("net.", "network.", "separator.", "generator.")
AVERAGES = ("ema_model.", "ema.", "model_ema.", "module_ema.", "averaged.", "online_model.")
BYSTANDERS = re.compile(  # tensors of losses, metrics and counters
    r"(^|\.)(losses?|loss_fn|criterion|metrics?|\w+_loss|stft_loss|sdr)\.|"
    r"(^|\.)(n_averaged|num_updates|initted|step|global_step|ema_step)$"
)


def read(path) -> tuple[dict, dict, list | None]:
    """(weights by name, the original's settings, averaged weights or None) of a published
    checkpoint, without running any of its code.

    Takes Lightning, ignite and plain torch files and safetensors; strips the prefixes of wrappers
    and drops optimizers. Settings come from inside the file, else from a YAML file beside it.
    """
    path = Path(path)
    content = _read_safetensors(path)[0] if path.suffix == ".safetensors" else _read_torch(path)
    with guarded(path):
        if not isinstance(content, dict):
            raise DataError(f"holds a {type(content).__name__}, not weights by name")
        state = _largest(content)
        if not state:
            raise DataError(f"holds no weights, only {', '.join(map(str, list(content)[:5]))}")
        settings = _plain(content.get("hyper_parameters") or content.get("cfg") or {})
        average = None
        for optimizer in content.get("optimizer_states") or []:
            average = optimizer.get("ema", average) if isinstance(optimizer, dict) else average
        state = {str(n): x for n, x in state.items() if not BYSTANDERS.search(str(n))}
        while prefix := _wrapper(state):
            kept = {n: x for n, x in state.items() if not n.startswith(AVERAGES)} or state
            state = {n.removeprefix(prefix): x for n, x in kept.items()}
    settings = settings if isinstance(settings, dict) else {}
    return state, settings or settings_beside(path), average


def _largest(content, depth: int = 0) -> dict:
    """The weights: of all dictionaries inside, the one whose tensors hold the most numbers.

    A copy with averaged weights is as large: of equals the first that does not say so counts.
    """
    best = {n: x for n, x in content.items() if isinstance(x, torch.Tensor)}
    for name, inner in content.items():
        skipped = not isinstance(inner, dict) or "optim" in str(name)
        if not skipped and depth < 5:
            best = max(best, _largest(inner, depth + 1), key=_numbers)
    return best


def _numbers(state: dict) -> int:
    return sum(x.numel() for x in state.values())


def _wrapper(state: dict) -> str:
    """The prefix to take away next; "" if there is none."""
    for prefix in WRAPPERS:  # of some names: others stand beside the network
        if any(name.startswith(prefix) for name in state):
            return prefix
    for prefix in (*AVERAGES, *PARTS):  # of all: else it is a part of the network
        if state and all(name.startswith(prefix) for name in state):
            return prefix
    return ""


def _read_torch(path: Path):
    """The object in a torch file, read without running anything of it."""
    with open(path, "rb") as file:
        start = file.read(512)
    archive = zipfile.is_zipfile(path)
    if start.startswith(b"PK") and not archive:
        raise DataError(f"{path}: not a readable torch file (incomplete: get it again)")
    if not archive and (what := another_kind(start)):
        raise DataError(f"{path.name} {what}")
    return pickles.read(path) if archive else pickles.read_old(path)


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
    """The settings in <name>.yaml, hparams.yaml or config.yaml beside a file or one folder up; or
    in the only YAML file beside it, whatever its name (model.yaml.txt, config (1).yaml)."""
    names = [
        f"{name}.{end}" for name in (path.stem, "hparams", "config") for end in ("yaml", "yml")
    ]
    for folder in (path.parent, path.parent.parent):
        for name in names:
            if (folder / name).is_file():
                return read_settings(folder / name)
    others = [p for p in path.parent.iterdir() if re.search(r"\.ya?ml(\.txt)?$", p.name.lower())]
    return read_settings(others[0]) if len(others) == 1 else {}


MOST_SETTINGS_BYTES = 2**20


def read_settings(path) -> dict:
    """A YAML file of settings as a dictionary, by a loader that builds plain values only."""
    path = Path(path)
    try:
        if path.stat().st_size > MOST_SETTINGS_BYTES:
            raise DataError(f"{path}: too large for a file of settings")
        with open(path, encoding="utf-8") as file:
            values = yaml.load(file, Loader=_Yaml)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise UsageError(f"{path}: cannot read it ({error.strerror}): check the path") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        reason = str(error).splitlines()[0][:80]
        raise DataError(f"{path}: not a plain YAML file ({reason})") from None
    if not isinstance(values, dict):
        words = type(values).__name__
        raise DataError(f"{path}: holds {words}, not settings by name: name another file")
    return values
