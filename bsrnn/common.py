"""What every room uses: errors to read, places, files written whole, settings as text and JSON.

An error that a user is meant to read is one line that says what is wrong and the fix.
"""

import contextlib
import dataclasses
import json
import os
import secrets
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = (PACKAGE.parent / "pyproject.toml").is_file()  # else installed, from a wheel
ROOT = PACKAGE.parent if CHECKOUT else PACKAGE / "share"  # data, notebooks, the tested versions
NOTEBOOKS = ROOT / "notebooks"


# Errors


class UsageError(ValueError):
    """Bad input or a wrong argument. The command line prints it as one line and exits with 2.

    Raise it wherever the caller can fix the cause: unknown names, empty folders, unequal lengths.
    """


class DataError(UsageError):
    """Bad data: a missing root, a broken file, unequal stems. Exit code 1, like any other failure
    that was not a misuse of the command line."""


def choose(name: str, options, what: str) -> str:
    """Return `name` if it is one of `options`, else raise a UsageError naming the nearest ones.

    >>> choose("v7", ["v6", "v7"], "scheme")
    'v7'
    """
    import difflib

    options = [str(option) for option in options]
    if name in options:
        return name
    near = difflib.get_close_matches(str(name), options, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(options)}"
    raise UsageError(f"unknown {what} {name!r}: {hint}")


def optional(module: str):
    """Import a package that only some uses need; a UsageError says how to install it.

    >>> optional("json").dumps([1])
    '[1]'
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.split(".")[0]
        raise UsageError(f"{package} is not installed: pip install {package}") from None


# Places and files


def workplace() -> Path:
    """Where results go that were given no folder: the checkout, else the working directory."""
    return ROOT if CHECKOUT else Path.cwd()


def writable(folder, name: str) -> Path:
    """`folder`, made if need be; UsageError, which says to choose another `name`, where nothing can
    be written. Processes may look at one folder at the same time: the file of each has no name."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(f"cannot write to {folder} ({error.strerror}): choose {name}") from None
    return Path(folder)


@contextlib.contextmanager
def whole(path):
    """A path beside `path` to write to; it takes the place of `path` when the block ends well.

    A reader or a kill meets the old file or the new one, never a half. Folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole(path) as part:
        part.write_bytes(text.encode())


# Settings: text of the command line, or JSON, into typed values of known names


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


def settings(config, before: str = "") -> dict:
    """Every setting of a dataclass and of the groups in it, by dotted name.

    A group that is not there is listed with the defaults of `config.optional`.
    """
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
    """The dotted name of the setting that `name` means; None if there is none.

    It is that name, also with "_" for the dots, or its last part: of the group `config.first`,
    else of the only group that has it. UsageError if several have it.
    """
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
    """`config` with other settings, each named as `locate` understands it; whole groups first.

    Raises:
        UsageError: a name that it does not have.
    """
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
    """The dataclasses `configs` with the settings named in `given` changed, typed like their
    values. A setting that several of them have is changed in each.

    Raises:
        UsageError: a name that none of them has, or a value of the wrong type.
    """
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
    if free or name in _groups(config, {name: value}):
        return value
    return typed(name, value, default)
