"""Published checkpoints: their weights into our one model, and back, strictly.

    separator = load("obsrnn/vocals.ckpt")               # any checkpoint file, or a folder of them
    separator = from_state_dict(state, config={...})     # the original's names and settings
    state = to_published(separator)                      # bit for bit the original's again

The families are data in `families`, `bandit` and `roformer`.
"""

from pathlib import Path

import torch

from bsrnn.audio.stft import WINDOWS
from bsrnn.common import DataError, UsageError, choose
from bsrnn.models import cpu
from bsrnn.models.bsrnn import BandSplitSeparator
from bsrnn.models.zoo import (
    bandit,
    baselines,
    checkpoints,
    d3net_files,
    families,
    registry,
    roformer,
)
from bsrnn.models.zoo.bag import SeparatorBag
from bsrnn.models.zoo.layouts import Family

FAMILIES = {
    family.name: family
    for family in (
        families.MAGRONP, families.AMANTEUR, families.CRLANDSC, families.SAHANDEVS,
        bandit.BANDIT, bandit.DEDICATED, bandit.BANDIT2, bandit.BANQUET,
        roformer.BS_ROFORMER, roformer.MEL_ROFORMER,
    )
}  # fmt: skip
STEM_NAMES = ("vocals", "bass", "drums", "other", "speech", "music", "effects")


def load(path, device="cpu", config=None, stems=None, family=None, average=False):
    """A separator in evaluation mode from a checkpoint file, a folder with one file per stem, or
    the name of published weights (`registry.passports()`), which are downloaded once; or "music" or
    "scenes", the small models of this repository (a folder of that name is "./music"); or a system
    of `baselines`, such as "hpss".

    path: a file of `save`; or a published .ckpt, .pt, .pth, .chpt or .safetensors, whose family is
    recognised; or D3Net's .h5; or a folder of those; or a name. What the file does not tell comes
    from a YAML file beside it (hparams.yaml, config.yaml or the file's own name), from `config`
    (the original's settings: a dictionary or a YAML file), `family` and `stems` (names of the
    outputs, in the file's order). `average`: use the averaged copy of the weights that some
    training code keeps.
    Strict; runs no code of the file.
    """
    path, known = Path(registry.embedded(path) if path in registry.EMBEDDED else path), {}
    given = checkpoints.read_settings(config) if isinstance(config, str | Path) else config or {}
    named = path.suffix.lower() not in checkpoints.SUFFIXES and len(path.parts) == 1
    if not path.exists() and named:
        names = [*baselines.NAMES, *registry.EMBEDDED, *registry.passports()]
        choose(path.name, names, "checkpoint file or published weights")
        if path.name in baselines.NAMES:
            return _baseline(path.name, device)
        known = registry.passport(path.name)
        given = {**registry.settings(path.name), **given}
        path, family = registry.fetch(path.name), family or given.pop("family", None)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in checkpoints.SUFFIXES)
        if not files:
            raise UsageError(f"{path}: holds no checkpoint ({', '.join(checkpoints.SUFFIXES)})")
        if len(files) > 1:
            return _joined([load(file, device, given, None, family) for file in files], known)
        path = files[0]
    if not path.is_file():
        raise UsageError(f"{path}: no such checkpoint")
    if checkpoints.is_own(path):
        return checkpoints.load_own(path).to(device).eval()
    if path.suffix == ".h5":
        return d3net_files.load_h5(path, given, known).to(device)
    found = checkpoints.read(path)
    state = _averaged(found.state, found.average, path) if average else found.state
    separator = baselines.from_state(state, path.stem.split("-")[0], path.name)
    if separator is not None:
        separator.passport.update({**known, "file": path.name})
        return separator.to(device)
    given = {**found.settings, **given, "anonymous": False}
    if path.stem in STEM_NAMES:
        given["expected_stems"] = [path.stem]
    try:
        separator = from_state_dict(state, family, given, stems)
    except (UsageError, DataError) as error:
        raise type(error)(f"{path.name}: {error}") from None
    separator.passport.update({**known, "file": path.name})
    return separator.to(device).eval()


def _baseline(name: str, device):
    if name in baselines.FLOORS:
        return baselines.FLOORS[name]()
    parts = [load(weights, device) for weights in baselines.WEIGHTS[name]]
    return parts[0] if len(parts) == 1 else _joined(parts, parts[0].passport)


def _joined(separators, passport: dict):
    """Several separators as one; some kinds share a filter over all of their targets."""
    (kind, *others) = {type(one) for one in separators}
    join = SeparatorBag if others else getattr(kind, "joined", SeparatorBag)
    return join(separators, passport)


def _averaged(state: dict, average, path) -> dict:
    """The averaged copy, a list in the order of the parameters, under their names."""
    names = [name for name in state if "window" not in name]
    if average is None or len(average) != len(names):
        raise DataError(f"{path.name}: holds no averaged copy of its weights")
    return dict(zip(names, average, strict=True))


def from_state_dict(state, family=None, config=None, stems=None):
    """A separator in evaluation mode from a published network's weights in memory.

    state: name -> tensor, as the original names them; family: who published it (None: recognised
    from the names); config: the original's own settings, a dictionary, or a record that holds them
    as `config` beside `stems`, `stft` and `family`; stems: what the outputs are called, in order.
    Strict: a missing, unknown, misshapen or not finite tensor raises a DataError. Networks with an
    encoder for each stem become a SeparatorBag.
    """
    given = dict(config or {})
    if isinstance(given.get("config"), dict):
        given = {**given, **given["config"]}
        family = family or given.get("family")
    if stems:
        given["stems"] = list(stems)
    given.setdefault("anonymous", True)  # without a name, a stem is called "target"
    state = {name: torch.as_tensor(tensor) for name, tensor in state.items()}
    kind = _kind(state, family)
    if kind.dedicated is None:
        return _one(kind, given, state)
    parts = {stem: part for stem, part in kind.dedicated(state).items() if stem}
    order = [stem for stem in given.get("stems") or parts if stem in parts]
    if len(order) != len(parts):
        raise DataError(f"the checkpoint separates {', '.join(parts)}: name all of them")
    return SeparatorBag([_one(kind, {**given, "stems": [stem]}, parts[stem]) for stem in order])


def to_published(separator, family=None) -> dict:
    """The weights under the names and in the layout of the original: name -> tensor."""
    if isinstance(separator, SeparatorBag):
        return {
            name.replace("bsrnn.", f"bsrnn.{one.stems[0]}.", 1): tensor
            for one in separator.separators
            for name, tensor in to_published(one, family).items()
        }
    kind = family_named(family or separator.passport.get("family", ""))
    own = separator.state_dict()
    found = {e.theirs: e.layout.write(own[e.ours][e.index]) for e in kind.plan(separator.config)}
    old, new = separator.passport.get("renamed") or ("", "")
    return {_renamed(name, new, old): tensor.contiguous() for name, tensor in found.items()}


def family_named(name: str) -> Family:
    """The family of that name or alias."""
    for family in FAMILIES.values():
        if name in family.aliases:
            return family
    return FAMILIES[choose(name, FAMILIES, "family of checkpoints")]


def recognise(state) -> Family:
    """The family whose marks are found in the names of `state`."""
    for family in FAMILIES.values():
        if all(any(name.startswith(mark) for name in state) for mark in family.marks):
            return family
    first = ", ".join(list(state)[:3])
    raise DataError(f"no known network has weights named {first}: known are {', '.join(FAMILIES)}")


def _kind(state, family) -> Family:
    found = recognise(state)
    if family is None:
        return found
    wanted = family_named(family)
    if wanted is bandit.BANDIT and found is bandit.DEDICATED:  # one publication, two layouts
        return found
    return wanted


def _one(kind: Family, given: dict, state: dict) -> BandSplitSeparator:
    """One network of `kind` with the settings `given` and the weights `state`."""
    what = f"the {kind.name} checkpoint"
    try:
        sizes = kind.sizes(state)
    except (KeyError, IndexError, ValueError, StopIteration):
        sizes = {}  # broken or of a kind that shapes do not tell: the settings must say it all
    try:
        model = kind.configure({**sizes, **given}, state)
    except KeyError as error:
        name = error.args[0]
        if "." in str(name):
            raise DataError(f"{what} misses {name}") from None
        raise UsageError(f"{what} does not tell {name}: give config={{{name!r}: ...}}") from None
    passport = {"family": kind.name}
    for old, new in kind.renames:
        if any(name.startswith(old) for name in state):
            passport["renamed"] = [old, new]
            state = {_renamed(name, old, new): tensor for name, tensor in state.items()}
    separator = cpu.attach(BandSplitSeparator(model, passport))
    computed = {name for name in state if any(part in name for part in kind.computed)}
    for name in computed:
        _check_computed(model, name, state[name], what)
    state = {name: tensor for name, tensor in state.items() if name not in computed}
    checkpoints.load_strictly(separator, _to_ours(kind, separator, state, what), what)
    return separator.eval()


def _check_computed(config, name: str, tensor, what: str) -> None:
    """What the original computes and stores must be what ours computes: window, band weights."""
    expected = None
    if "freq_weights/" in name and config.bands.weights is not None:
        expected = torch.tensor(config.bands.weights[int(name.rsplit("/", 1)[1])])
    elif name.endswith("window") and "fader" not in name:
        expected = WINDOWS[config.stft.window](config.stft.n_fft)
    if expected is not None and not (
        tensor.shape == expected.shape and torch.allclose(tensor.float(), expected, atol=1e-3)
    ):
        raise DataError(f"{what}: {name} is not what its settings give; check the settings")


def _renamed(name: str, old: str, new: str) -> str:
    return new + name.removeprefix(old) if old and name.startswith(old) else name


def _to_ours(family: Family, separator, state: dict, what: str) -> dict:
    """Our state dict from theirs, in strict correspondence."""
    own = separator.state_dict()
    made = {name: torch.full_like(x, float("nan")) for name, x in own.items()}
    read: dict[tuple, str] = {}
    known = set()
    for ours, theirs, layout, index, optional in family.plan(separator.config):
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
        tensor, place = layout.read(tensor), (ours, str(index))
        if place in read and not torch.equal(made[ours][index], tensor):
            raise DataError(f"{what}: {theirs} and {read[place]} are one parameter but differ")
        made[ours][index] = tensor
        read[place] = theirs
    unknown = sorted(set(state) - known)
    if unknown:
        raise DataError(f"{what} has {len(unknown)} unknown tensors, such as {unknown[0]}")
    return made
