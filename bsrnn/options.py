"""Text of the command line, or JSON, into typed values of known names; all else is refused.

Used by `bsrnn.commands` and by `bsrnn.course.runner` for the parameters of lessons.
"""

import contextlib
import dataclasses
import json

from bsrnn.errors import UsageError, choose


class Json:
    """What makes a frozen dataclass of settings travel as JSON, there and back."""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str):
        """Inverse of to_json; UsageError for an unknown field."""
        values = json.loads(text)
        for name in values:
            choose(name, [f.name for f in dataclasses.fields(cls)], f"field of {cls.__name__}")
        return cls(**values)


def typed(name: str, value, default):
    """`value` (text of the command line, or a Python value) as the type of `default`.

    >>> typed("lr", "1e-3", 0.1), typed("seed", "3", 0), typed("stems", "3", "vocals")
    (0.001, 3, '3')

    Raises:
        UsageError: it is not of that type.
    """
    import yaml

    kind = type(default)
    if isinstance(value, str) and kind is not str:
        with contextlib.suppress(ValueError, yaml.YAMLError):
            value = float(value) if kind is float else yaml.safe_load(value)
    if kind is float and type(value) is int:
        return float(value)
    if kind is tuple and type(value) is list:
        return tuple(value)
    if default is not None and type(value) is not kind:
        raise UsageError(
            f"parameter {name!r} takes {kind.__name__} (default {default!r}), not {value!r}"
        )
    return value


def once(pairs) -> dict:
    """(name, value) pairs as a dictionary; a name given twice is a mistake.

    >>> once([("seed", "1"), ("lr", "0.1")])
    {'seed': '1', 'lr': '0.1'}
    """
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"-p {name} is given {names.count(name)} times: give it once")
    return dict(pairs)


def listed(text: str | None) -> tuple[str, ...] | None:
    """Comma-separated names as a tuple; None if there are none.

    >>> listed("vocals, drums")
    ('vocals', 'drums')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else None


def added(texts) -> dict[str, tuple[str, ...]]:
    """Sums of stems by name.

    >>> added(["karaoke=drums+bass"])
    {'karaoke': ('drums', 'bass')}
    """
    found = {}
    for text in texts:
        name, _, parts = text.partition("=")
        if not name or not parts or name in found:
            raise UsageError(f"sum {text!r}: write it once, as karaoke=drums+bass+other")
        found[name] = tuple(part.strip() for part in parts.split("+"))
    return found


def configured(configs, given: dict) -> list:
    """The dataclasses `configs` with the fields named in `given` replaced, typed like their values.

    A field that several of them have is replaced in each.

    Raises:
        UsageError: a name that none of them has, or a value of the wrong type.
    """
    known = {f.name: getattr(c, f.name) for c in configs for f in dataclasses.fields(c)}
    for name in given:
        choose(name, sorted(known), "model or training parameter")
    values = {name: typed(name, value, known[name]) for name, value in given.items()}
    made = []
    for config in configs:
        own = {f.name for f in dataclasses.fields(config)} & set(values)
        made.append(dataclasses.replace(config, **{name: values[name] for name in own}))
    return made
