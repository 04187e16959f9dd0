"""The words of an experiment, the same in `train`, `sweep`, lessons and papermill (lesson 13).

    -p model.features 64,128          any setting of ModelConfig, also model.block.hidden, model.tac
    -p train.lr 1e-3,3e-4             of TrainConfig
    -p data.recipe paper,few-songs    how examples are mixed; data.gain_low and so on of a Recipe
    -p seed 0..4                      whole numbers, both ends belong to it
    -p train.lr "1e-4..1e-2 log 5"    five values of equal ratios; without `log`: equal steps
    -p stems "vocals,bass;drums"      two values, one of which holds a comma; "vocals,bass;" is one

A notebook takes them in one parameter, `settings: str = ""`, in the form that papermill also
passes: `-p settings "model.features=64 train.lr=1e-3"`.
"""

import json
import re
import shlex
from dataclasses import is_dataclass, replace

import numpy as np

from bsrnn.common import UsageError, choose
from bsrnn.data import recipes
from bsrnn.settings import configured, locate, once
from bsrnn.settings import settings as settings_of

WORDS = ("model", "train", "data")
DATASETS = ("toy", "film", "clip", "musdb7")
_RANGE = re.compile(r"([-+.\deE]+)\.\.([-+.\deE]+)(?: +(log))?(?: +(\d+))?")


def values(text: str) -> list:
    """The values that a text of the command line names: one, several, or a range.

    >>> values("v7,tet24"), values("0..3"), values("1e-4..1e-2 log 3"), values("bass,drums;")
    (['v7', 'tet24'], [0, 1, 2, 3], [0.0001, 0.001, 0.01], ['bass,drums'])
    """
    match = _RANGE.fullmatch(text.strip())
    if not match:
        parts = text.strip().removesuffix(";").split(";" if ";" in text else ",")
        return [part.strip() for part in parts]
    low, high, log, count = match.groups()
    try:
        if not count and not log:
            return list(range(int(low), int(high) + 1))
        space = np.geomspace if log else np.linspace
        return [float(f"{x:.4g}") for x in space(float(low), float(high), int(count))]
    except (ValueError, TypeError):
        raise UsageError(f"range {text!r}: write 0..4, 0.1..0.5 5 or 1e-4..1e-2 log 5") from None


def is_setting(name: str) -> bool:
    """Whether `name` is a setting of a configuration, such as "model.features"."""
    return name.partition(".")[0] in WORDS and "." in name


def folded(given: dict) -> dict:
    """`given` with all settings in the one parameter `settings`, in order.

    >>> folded({"seed": 1, "train.lr": 0.001, "model.features": 64})
    {'seed': 1, 'settings': 'model.features=64 train.lr=0.001'}
    """
    found = unfolded(given.get("settings", "")) | {n: v for n, v in given.items() if is_setting(n)}
    rest = {name: value for name, value in given.items() if not is_setting(name)}
    if not found:
        return rest
    texts = {n: v if isinstance(v, str) else json.dumps(v) for n, v in sorted(found.items())}
    return rest | {"settings": shlex.join(f"{name}={text}" for name, text in texts.items())}


def unfolded(text: str) -> dict:
    """Name -> text of the parameter `settings`. Raises UsageError where one has no value."""
    try:
        pairs = [word.partition("=")[::2] for word in shlex.split(text)]
    except ValueError as error:
        raise UsageError(f"settings {text!r}: {error}") from None
    for name, value in pairs:
        if not value or not is_setting(name):
            raise UsageError(f"settings {text!r}: write them as model.features=64 train.lr=1e-3")
    return once(pairs)


def settle(model, train, given: dict):
    """(ModelConfig, TrainConfig) with other settings, named as above; a name without a word in
    front is looked for in both. UsageError for an unknown name, a wrong type or value."""
    mine = {word: {} for word in WORDS}
    for name, value in given.items():
        word, _, rest = name.partition(".")
        if is_setting(name):
            mine[word][rest] = value
            continue
        homes = [word for word, at in (("model", model), ("train", train)) if locate(at, name)]
        for word in homes or configured([model, train], {name: value}):
            mine[word][name] = value
    if "recipe" in mine["data"]:
        mine["train"]["recipe"] = mine["data"].pop("recipe")
    (model,), (train,) = configured([model], mine["model"]), configured([train], mine["train"])
    if mine["data"]:
        (recipe,) = configured([recipes.recipe(train.recipe)], mine["data"])
        train = replace(train, recipe=recipe.to_json())
    return model, train


def configs(model="tiny", train="smoke", settings="", **named):
    """(ModelConfig, TrainConfig) of a notebook's parameters. model, train: names of presets.
    settings: the text of that parameter, which comes last. named: such as scheme, stems, seed.

    >>> configs("tiny", settings="train.lr=1e-2 model.features=8")[1].lr
    0.01
    """
    from bsrnn import models, training

    start = models.presets()[choose(model, models.presets(), "model preset")]
    how = training.presets()[choose(train, training.presets(), "training preset")]
    try:
        return settle(start, how, named | unfolded(settings))
    except TypeError as error:  # a group that was given a number
        raise UsageError(f"settings {settings!r}: {error}") from None


def checked(parameters: dict) -> dict:
    """Setting -> typed value, of all parameters of a notebook: a name that means the same in every
    notebook has a value that exists, or this is a UsageError."""
    dataset, device = parameters.get("dataset", "toy"), parameters.get("device", "auto")
    choose(device, ("auto", "cpu", "cuda"), "device")
    if "scheme" in parameters:
        from bsrnn import bands

        if not str(parameters["scheme"]).startswith("{"):  # bands of one's own, as JSON
            choose(parameters["scheme"], bands.names(), "band scheme")
    if not {"model", "train", "settings"} & set(parameters):
        return {}
    named = {name: parameters[name] for name in ("scheme", "seed") if name in parameters}
    if parameters.get("stems") and {"model", "dataset"} <= set(parameters):
        named["stems"] = stems_of(parameters["stems"], dataset)
    presets = ("model", "train", "settings")
    named |= {name: parameters[name] for name in presets if name in parameters}
    model, train = configs(**named)
    model.bands  # noqa: B018  whose scheme may not fit
    homes = {"model": model, "train": train, "data": recipes.recipe(train.recipe)}
    typed = {}
    for name, text in unfolded(parameters.get("settings", "")).items():
        word, _, rest = name.partition(".")
        home = train if rest == "recipe" else homes[word]
        value = settings_of(home)[locate(home, rest)]
        typed[name] = text if is_dataclass(value) else value  # a block, by its name
    return typed


def stems_of(text: str, dataset: str) -> tuple[str, ...]:
    """The stems that a comma-separated text names, all of which the dataset has."""
    from bsrnn import data

    known = data.open(dataset).stems
    return tuple(choose(name.strip(), known, "stem") for name in text.split(","))
