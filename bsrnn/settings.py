"""Settings: frozen dataclasses that check themselves, and text or JSON into their typed values."""

import contextlib
import dataclasses
import functools
import json
import numbers
import types
import typing
from pathlib import Path
from typing import Annotated

from bsrnn.common import DataError, UsageError, choose, short


def from_json(text: str, what: str) -> dict:
    """The JSON object in `text`; DataError that names `what` for anything else."""
    try:
        values = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{what} is no JSON ({error}): repair or remove it") from None
    if isinstance(values, dict):
        return values
    raise DataError(f"{what} is no JSON: give an object with fields by name, not {short(values)}")


def read_json(path) -> dict:
    """The JSON object in a file; DataError that names it for anything else."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): repair or remove it") from None
    return from_json(text, str(path))


class Json:
    """What makes a frozen dataclass of settings travel as JSON, there and back."""

    def to_json(self, indent=None) -> str:
        return json.dumps(dataclasses.asdict(self), indent=indent)

    @classmethod
    def from_json(cls, text: str):
        """Inverse of to_json; UsageError for what is no JSON object, and unknown fields."""
        values = from_json(text, cls.__name__)
        for name in values:
            choose(name, [f.name for f in dataclasses.fields(cls)], f"field of {cls.__name__}")
        return cls(**values)


_NUMBERS = {int: numbers.Integral, float: numbers.Real}
_WORDS = {
    int: "a whole number", float: "a number", str: "a text", bool: "true or false",
    types.NoneType: "None",
}  # fmt: skip
_MOST = 10**6  # of any number among settings: what is larger comes from a damaged file


def checked(settings) -> None:
    """UsageError naming the first field of a dataclass whose value its annotation does not allow:
    another type, a word that is no `Literal`, a number that is not finite, below 0 or above
    `_MOST`, or out of the range that `Annotated[int, (low, high)]` or `Annotated[int, high]` gives.
    """
    for name, kind in _annotations(type(settings)).items():
        value = getattr(settings, name)
        if typing.get_origin(kind) is typing.Literal:
            choose(value, typing.get_args(kind), name)
        elif not _allows(kind, value):
            raise UsageError(f"{name} is {short(value)}: give {_words(kind)}")


def _words(kind) -> str:
    """What an annotation asks for.

    >>> _words(int), _words(tuple[str, ...] | None)
    ('a whole number up to 1000000', 'tuple of a text or None')
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_words, parts))
    if origin is tuple:
        return f"tuple of {_words(parts[0])}"
    kind, bounds = parts if origin is Annotated else (kind, None)
    words = _WORDS.get(kind, getattr(kind, "__name__", str(kind)))
    if bounds and kind in _NUMBERS:
        low, high = _bounds(bounds)
        return f"{words} from {low:g} to {high:g}"
    return f"{words} up to {_MOST}" if kind is int else words


def _bounds(given) -> tuple:
    return given if isinstance(given, tuple) else (0, given)


@functools.lru_cache(maxsize=64)
def _annotations(kind) -> dict:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _allows(kind, value) -> bool:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_allows(part, value) for part in parts)
    if origin is typing.Literal:
        return value in parts
    if origin is tuple:
        return isinstance(value, tuple) and all(_allows(parts[0], x) for x in value)
    kind, bounds = parts if origin is Annotated else (kind, _MOST)
    if kind in _NUMBERS:
        low, high = _bounds(bounds)
        number = isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool)
        return number and low <= value <= high  # NaN is not
    return isinstance(value, kind)


def in_range(name: str, value, low, high):
    """`value` if it is a number from `low` to `high` of the kind of `low`: whole, or any; else a
    UsageError.

    >>> in_range("steps", 3, 1, 10), in_range("lr", 1, 0.0, 10.0)
    (3, 1)
    """
    kind = Annotated[type(low), (low, high)]
    if not _allows(kind, value):
        raise UsageError(f"{name} is {short(value)}: give {_words(kind)}")
    return value


def typed(name: str, value, default):
    """`value` (text of the command line, or a Python value) as the type of `default`; UsageError
    if it is not of that type.

    >>> typed("lr", "1e-3", 0.1), typed("seed", "3", 0), typed("stems", "3", "vocals")
    (0.001, 3, '3')
    """
    import yaml

    kind = type(default)
    if isinstance(value, str) and kind is not str:
        with contextlib.suppress(ValueError, yaml.YAMLError):
            read = kind if kind in (int, float) else yaml.safe_load  # YAML's 010 is 8
            value = read(value)
    if kind is float and type(value) is int:
        return float(value)
    if kind is tuple and type(value) is list:
        return tuple(value)
    if default is not None and type(value) is not kind:
        raise UsageError(
            f"parameter {name!r} takes {kind.__name__} (default {default!r}), not {short(value)}"
        )
    return value


def once(pairs) -> dict:
    """(name, value) pairs as a dictionary; UsageError for a name given twice."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"-p {name} is given {names.count(name)} times: give it once")
    return dict(pairs)


def settings(config, before: str = "") -> dict:
    """Every setting of a dataclass and of the groups in it, by dotted name; a group that is not
    there with the defaults of `config.optional`."""
    named = {}
    for field in dataclasses.fields(config):
        name, value = f"{before}{field.name}", getattr(config, field.name)
        named[name] = value
        if value is None and field.name in getattr(config, "optional", {}):
            value = config.optional[field.name]()
        if dataclasses.is_dataclass(value):
            named |= settings(value, f"{name}.")
    return named


def locate(config, name: str) -> str | None:
    """The dotted name of the setting that `name` means, or None: that name, also with "_" for the
    dots, or its last part, of the group `config.first`, else of the only group that has it.
    UsageError if several have it."""
    known = settings(config)
    for whole in known:
        if name in (whole, whole.replace(".", "_")):
            return whole
    alike = [whole for whole in known if whole.rpartition(".")[2] == name]
    first = [whole for whole in alike if whole.split(".")[0] == getattr(config, "first", None)]
    alike = first or alike
    if len(alike) > 1:
        raise UsageError(f"parameter {name!r} may be {' or '.join(alike)}: write one of them")
    return alike[0] if alike else None


def changed(config, changes: dict):
    """`config` with other settings, each named as `locate` understands it; UsageError for a name
    that it does not have."""
    config = dataclasses.replace(config, **_groups(config, changes))
    new: dict = {}
    for name in changes.keys() - _groups(config, changes).keys():
        place = locate(config, name) or choose(name, sorted(settings(config)), "setting")
        head, _, rest = place.partition(".")
        if rest:
            group = new.get(head) or getattr(config, head) or config.optional[head]()
            new[head] = changed(group, {rest: changes[name]})
        else:
            new[head] = changes[name]
    return dataclasses.replace(config, **new)


def _groups(config, changes: dict) -> dict:
    """Those of `changes` that are of groups of settings."""
    optional = getattr(config, "optional", ())
    return {
        name: value
        for name, value in changes.items()
        if name in optional or dataclasses.is_dataclass(getattr(config, name, None))
    }


def configured(configs, given: dict) -> list:
    """The dataclasses `configs` with the settings named in `given` changed, in each that has them,
    typed like their values; UsageError for a name that none has, or another type."""
    configs = [changed(config, _groups(config, given)) for config in configs]
    for name in given:
        if not any(locate(config, name) for config in configs):
            known = {known for config in configs for known in settings(config)}
            choose(name, sorted(known), "model or training parameter")
    return [
        changed(config, {n: _like(config, n, v) for n, v in given.items() if locate(config, n)})
        for config in configs
    ]


def _like(config, name: str, value):
    """`value` typed as that setting; groups and sizes read their own words."""
    place = locate(config, name)
    default = settings(config)[place]
    free = place.rpartition(".")[2] in getattr(config, "sizes", ())
    if free or dataclasses.is_dataclass(default) or name in _groups(config, {name: value}):
        return value
    return typed(name, value, default)
