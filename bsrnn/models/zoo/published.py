"""Published checkpoints: their weights into our one model, and back, strictly.

    separator = load("obsrnn/vocals.ckpt")               # any checkpoint file, or a folder of them
    separator = from_state_dict(state, config={...})     # the original's names and settings
    state = to_published(separator)                      # bit for bit the original's again

`load` goes one way, each step in one place: name or address -> file (`registry`, `downloads`) ->
weights and settings (`checkpoints.read`, `pickles`) -> family (`recognise`) -> config (its own
`configure`) -> network -> our weights (`layouts`) -> passport.
"""

from pathlib import Path

import torch

from bsrnn.audio.stft import window_of
from bsrnn.common import DataError, UsageError, alike, choose, pick_device
from bsrnn.models import cpu
from bsrnn.models.bsrnn import BandSplitSeparator
from bsrnn.models.presets import presets
from bsrnn.models.zoo import (
    bandit,
    baselines,
    checkpoints,
    d3net_files,
    downloads,
    families,
    layouts,
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


# ---- From a name to a file, from a file to a separator -------------------------------------------


def load(path, device="cpu", config=None, stems=None, family=None, average=False):
    """A separator in evaluation mode from a file, a folder with a file per stem, an address, or a
    name.

    path: a file of `save`; a published .ckpt, .pt, .pth, .chpt or .safetensors, whose family is
    recognised; D3Net's .h5; a folder of those. Or the address of a file, https://... or
    hf://owner/repository/file. Or, without regard to case, a name: of published weights
    (`registry.listing()`), "music" or "scenes", the small models of this repository (a folder of
    that name is "./music"), or a system of `baselines`. What is downloaded is kept.
    What the file does not tell comes from a YAML file beside it (hparams.yaml, config.yaml or the
    file's own name), from `config` (the original's settings: a dictionary, a YAML file or its
    address), `family` and `stems` (names of the outputs, in the file's order). `average`: use the
    averaged copy of the weights that some training code keeps. device: "auto", "cpu", "cuda:1" ...
    Strict; runs no code of the file.
    """
    device, given, known = pick_device(device), _given(config), {}
    name = _name(path)
    if name in baselines.FLOORS:
        return baselines.FLOORS[name]()
    if name in baselines.WEIGHTS:
        parts = [load(weights, device) for weights in baselines.WEIGHTS[name]]
        return _joined(parts, parts[0].passport)
    if name in registry.EMBEDDED:
        path = registry.embedded(name)
    elif name:
        known = registry.require(name)
        given = {**registry.settings(known), **given}
        family = family or (known["family"] if known["family"] in FAMILIES else None)
        _refuse_unbuilt(name, given)
        path = registry.fetch(known)
    elif downloads.is_address(path):
        _refuse_unbuilt(path, given)
        path, known = downloads.at_address(str(path), not given, _refuse_unbuilt)
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in downloads.SUFFIXES)
        if not files:
            raise UsageError(f"{path}: holds no checkpoint ({', '.join(downloads.SUFFIXES)})")
        if len(files) > 1:
            return _joined([load(file, device, given, None, family) for file in files], known)
        path = files[0]
    if not path.is_file():
        raise UsageError(f"{path}: no such checkpoint")
    separator = _read(path, given, stems, family, average)
    separator.passport.update(known)
    return separator.to(device).eval()


def _given(config) -> dict:
    """Settings from a dictionary, a YAML file, or the address of one."""
    if downloads.is_address(config):
        config = downloads.settings_at(str(config))
    if isinstance(config, str | Path):
        return checkpoints.read_settings(config)
    return dict(config or {})


def _name(path) -> str:
    """The name that `path` is; "" for a file, a folder or an address."""
    if str(path) in registry.EMBEDDED:
        return str(path)
    file, published, networks = Path(path), registry.passports(), presets()
    whole = file.suffix.lower() in downloads.SUFFIXES or len(file.parts) != 1
    if whole or file.exists() or downloads.is_address(path):
        return ""
    known = [*baselines.NAMES, *registry.EMBEDDED, *published, *networks]
    name = choose(alike(path, known), known, "checkpoint file or published weights")
    if name in networks and name not in published:
        raise UsageError(
            f"{name} is a preset, a network without weights: bsrnn.models.build({name!r}) makes it,"
            f" python -m bsrnn train {name} trains it"
        )
    return name


def _refuse_unbuilt(where, settings=None) -> None:
    """UsageError for settings, given or in a file, of a network that is not built here: before its
    weights are downloaded."""
    settings = checkpoints.read_settings(where) if settings is None else settings
    model = settings.get("model")
    if isinstance(model, dict) and {"freqs_per_bands", "num_bands"} & set(model):
        with checkpoints.guarded(where):
            roformer.flat(settings)


def _joined(separators, passport: dict):
    """Several separators as one; some kinds share a filter over all of their targets."""
    if len(separators) == 1:
        return separators[0]
    (kind, *others) = {type(one) for one in separators}
    join = SeparatorBag if others else getattr(kind, "joined", SeparatorBag)
    return join(separators, passport)


def _read(path: Path, given: dict, stems, family, average: bool):
    """The separator of one file."""
    if checkpoints.is_own(path):
        return checkpoints.load_own(path)
    if path.suffix == ".h5":
        return d3net_files.load_h5(path, given)
    state, settings, copy = checkpoints.read(path)
    if average:
        names = [name for name in state if "window" not in name]
        if copy is None or len(copy) != len(names):
            raise DataError(f"{path.name}: holds no averaged copy of its weights")
        state = dict(zip(names, copy, strict=True))
    separator = baselines.from_state(state, path.stem.split("-")[0], path.name)
    if separator is None:
        given = {**settings, **given, "anonymous": False}
        if path.stem in STEM_NAMES:
            given["expected_stems"] = [path.stem]
        with checkpoints.guarded(path.name):
            separator = from_state_dict(state, family, given, stems)
    separator.passport["file"] = path.name
    return separator


# ---- From weights in memory to a separator, and back ---------------------------------------------


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
    kind = recognise(state)
    if family and (kind, family_named(family)) != (bandit.DEDICATED, bandit.BANDIT):
        kind = family_named(family)  # else one publication, two layouts
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
    old, new = separator.passport.get("renamed") or ("", "")
    state = layouts.to_theirs(kind, separator)
    return {_renamed(name, new, old): tensor for name, tensor in state.items()}


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


def _one(kind: Family, given: dict, state: dict) -> BandSplitSeparator:
    """One network of `kind` with the settings `given` and the weights `state`."""
    what = f"the {kind.name} checkpoint"
    for part, words in kind.unbuilt:
        if any(part in name for name in state):
            raise UsageError(f"{what} has {words}, which are not built here")
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
    with checkpoints.guarded(what):
        checkpoints.bounded([model], state)
    passport = {"family": kind.name}
    for old, new in kind.renames:
        if any(name.startswith(old) for name in state):
            passport["renamed"] = [old, new]
            state = {_renamed(name, old, new): tensor for name, tensor in state.items()}
    separator = cpu.attach(BandSplitSeparator(model, passport))
    for name in [name for name in state if any(part in name for part in kind.computed)]:
        _check_computed(model, name, state.pop(name), what)
    checkpoints.load_strictly(separator, layouts.to_ours(kind, separator, state, what), what)
    return separator.eval()


def _check_computed(config, name: str, tensor, what: str) -> None:
    """What the original computes and stores must be what ours computes: window, band weights."""
    expected = None
    if "freq_weights/" in name and config.bands.weights is not None:
        expected = torch.tensor(config.bands.weights[int(name.rsplit("/", 1)[1])])
    elif name.endswith("window") and "fader" not in name:
        expected = window_of(config.stft, torch.device("cpu"), torch.float32)
    if expected is not None and not (
        tensor.shape == expected.shape and torch.allclose(tensor.float(), expected, atol=1e-3)
    ):
        raise DataError(f"{what}: {name} is not what its settings give; check the settings")


def _renamed(name: str, old: str, new: str) -> str:
    return new + name.removeprefix(old) if old and name.startswith(old) else name
