"""What every room uses: errors to read, places, files written whole, settings as text and JSON.

An error that a user is meant to read is one line that says what is wrong and the fix.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import numbers
import os
import platform
import reprlib
import secrets
import shlex
import signal
import sys
import tempfile
import threading
import types
import typing
import unicodedata
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = (PACKAGE.parent / "pyproject.toml").is_file()  # else installed, from a wheel
ROOT = PACKAGE.parent if CHECKOUT else PACKAGE / "share"  # data, notebooks, the tested versions
NOTEBOOKS = ROOT / "notebooks"
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"
# Names that Windows keeps for devices, whatever ending follows.
_RESERVED = {"CON", "PRN", "AUX", "NUL"} | {f"{x}{i}" for x in ("COM", "LPT") for i in range(1, 10)}
_LONGEST_BYTES = 240  # of the 255 that file systems hold; room for an ending and a number


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


def alike(name, options) -> str:
    """The one of `options` that `name` is without regard to case; `name` itself if there is none.

    >>> alike("Vocals", ("drums", "vocals"))
    'vocals'
    """
    return next((o for o in options if o.casefold() == str(name).casefold()), str(name))


def pick_device(name="auto") -> str:
    """A device in torch's words: "auto" is CUDA, else MPS, else the CPU. UsageError if it is not
    here.

    >>> pick_device("cpu")
    'cpu'
    """
    import torch

    here = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    here = {kind: count for kind, count in here.items() if count}
    kind, _, number = str(name).partition(":")
    if name == "auto":
        return next(iter(here))
    if not (number or "0").isdecimal() or int(number or 0) >= here.get(kind, 0):
        raise UsageError(f"no device {str(name)!r} here: use {' or '.join(here)}")
    return str(name)


def optional(module: str):
    """Import a package that only some uses need; a UsageError says how to install or repair it.

    >>> optional("json").dumps([1])
    '[1]'
    """
    import importlib
    from importlib.metadata import version

    package = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise UsageError(f"{package} is not installed: pip install {package}") from None
    except (ImportError, OSError, RuntimeError) as error:  # built for another torch
        pair = f"{package} {version(package)} does not import with torch {version('torch')}"
        raise UsageError(f"{pair} ({error}): {repair('torch', package)}") from error


def pins() -> dict[str, str]:
    """The tested set on this system and Python: name -> version."""
    try:
        from packaging.requirements import Requirement
    except ImportError:  # nothing is installed yet but pip
        from pip._vendor.packaging.requirements import Requirement

    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    needs = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        need.name: next(iter(need.specifier)).version
        for need in needs
        if need.marker is None or need.marker.evaluate()
    }


def repair(*packages: str) -> str:
    """The command that installs the tested versions of `packages` and of what they need.

    >>> " -m pip install -c " in repair("torch") and " torch==2." in repair("torch")
    True
    """
    versions = pins()
    wanted = " ".join(f"{name}=={versions[name]}" for name in packages)
    return (
        f"{shlex.quote(sys.executable)} -m pip install -c {shlex.quote(str(CONSTRAINTS))} {wanted}"
    )


# Places and files

# How files begin that are neither sound nor weights -> what they are, and what to do.
_STARTS = {
    b"version https://git-lfs": "is a Git LFS pointer, not the file: run git lfs pull",
    b"<!doctype html": "is a web page, not the file: download it again, from the link itself",
    b"<html": "is a web page, not the file: download it again, from the link itself",
    b"pk\x03\x04": "is a zip archive: unpack it first",
    b"rar!": "is a rar archive: unpack it first",
    b"7z\xbc\xaf": "is a 7z archive: unpack it first",
    b"\x1f\x8b": "is a gzip archive: unpack it first",
}


def another_kind(start: bytes) -> str | None:
    """What a file that begins so is, and the fix, where it is not what a reader expects.

    >>> another_kind(b"Rar!")
    'is a rar archive: unpack it first'
    """
    start = start.lstrip().lower()
    return next((what for begin, what in _STARTS.items() if start.startswith(begin)), None)


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


def synced(path) -> None:
    """The content of the file is on the disk: a rename that follows cannot overtake it."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def unfinished(path) -> Path:
    """A path beside `path` to write to first; its folder is made.

    The name does not hold the file's, which may be as long as names can be; it holds who writes,
    so that `sweep` can tell what a killed process left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.part")


@contextlib.contextmanager
def whole(path):
    """A path beside `path` to write to; it takes the place of `path` when the block ends well.

    A reader or a kill meets the old file or the new one, never a half. Folders are made.
    """
    part = unfinished(path)
    try:
        yield part
        synced(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def sweep(folder) -> None:
    """Remove what processes of this machine that are no more left half-written in `folder`."""
    for part in Path(folder).glob(f".{_machine()}-*-*.part"):
        number = part.name.split("-")[1]
        if number.isdecimal() and not _lives(int(number)):
            part.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    if os.name == "nt":  # where os.kill ends the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def file_name(name: str) -> str:
    """A name for a file or folder that every system can hold, another one for every `name`.

    Most names stay as they are. Where characters, length or a reserved word must change, a digest
    of the whole name follows, so that no two names meet.

    >>> file_name("AC/DC"), file_name("AC_DC")
    ('AC_DC-5a5abe39', 'AC_DC')
    """
    kept = (char.isprintable() and char not in '/\\:*?"<>|' for char in name)
    plain = "".join(char if keep else "_" for char, keep in zip(name, kept, strict=True))
    plain = plain.rstrip(". ") or "_"
    if plain.startswith((".", " ")):
        plain = f"_{plain[1:]}"
    if plain.split(".")[0].strip().upper() in _RESERVED:
        plain = f"_{plain}"
    if len(plain.encode(errors="replace")) > _LONGEST_BYTES:
        plain = plain.encode(errors="replace")[: _LONGEST_BYTES - 9].decode(errors="ignore")
    if plain == name:
        return plain
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{plain}-{digest}"


def file_names(names) -> list[str]:
    """`file_name` of each; later ones get a number where two are equal, or differ only in case or
    in how Unicode composes a letter, which some systems do not tell apart.

    >>> file_names(["Song", "song", "tune"])
    ['Song', 'song (2)', 'tune']
    """
    taken, result = set(), []
    for name in names:
        made = plain = file_name(name)
        number = 1
        while (key := unicodedata.normalize("NFC", made).casefold()) in taken:
            number += 1
            made = f"{plain} ({number})"
        taken.add(key)
        result.append(made)
    return result


def write_text(path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole(path) as part:
        part.write_bytes(text.encode())


class Progress:
    """Steps of a long task: a bar where a person watches a terminal, lines elsewhere.

    line: what takes a line where there is no bar, such as `print` or a logger's `info`.

    >>> steps = Progress(2, "songs", line=print)
    >>> steps.step("the first")
    the first
    """

    def __init__(self, total, name="", unit="it", line=lambda text: None, **how):
        from tqdm import tqdm

        watched = sys.stderr.isatty() and sys.stdout.isatty()
        self.bar = tqdm(total=total, desc=name, unit=unit, disable=not watched, **how)
        self.line = line if self.bar.disable else self.bar.write

    def step(self, text: str = "") -> None:
        """One more is done; `text` says what became of it."""
        if text:
            self.line(text)
        self.bar.update()

    def restart(self, name: str, total: int) -> None:
        """The same bar for another task."""
        self.bar.reset(total)
        self.bar.set_description(name)

    def close(self) -> None:
        self.bar.close()


# Settings: text of the command line, or JSON, into typed values of known names


class Json:
    """What makes a frozen dataclass of settings travel as JSON, there and back."""

    def to_json(self, indent=None) -> str:
        return json.dumps(dataclasses.asdict(self), indent=indent)

    @classmethod
    def from_json(cls, text: str):
        """Inverse of to_json; UsageError for what is no JSON object, or an unknown field."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise UsageError(f"{cls.__name__}: this is no JSON ({error})") from None
        if not isinstance(values, dict):
            raise UsageError(f"{cls.__name__}: give an object with fields by name, not {values!r}")
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


_MOST = 10**6  # of any number among settings: what is larger comes from a damaged file


def checked(settings) -> None:
    """UsageError naming the first field of a dataclass whose value its annotation does not allow:
    another type, a word that is no `Literal`, a number below 0 or above the bound that
    `Annotated[int, bound]` gives."""
    for name, kind in _annotations(type(settings)).items():
        value = getattr(settings, name)
        if typing.get_origin(kind) is typing.Literal:
            choose(value, typing.get_args(kind), name)
        elif not _allows(kind, value):
            raise UsageError(f"{name} is {reprlib.repr(value)}: give {_words(kind)}")


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
    if origin is typing.Annotated:
        return f"a whole number up to {parts[1]}"
    known = {int: f"a whole number up to {_MOST}", float: "a number", str: "a text"}
    known |= {bool: "true or false", types.NoneType: "None"}
    return known.get(kind, getattr(kind, "__name__", str(kind)))


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
    kind, most = parts if origin is typing.Annotated else (kind, _MOST)
    if kind in (int, float):
        number = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool) and 0 <= value <= most
    return isinstance(value, kind)


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


def in_range(name: str, value, low, high):
    """`value` if it is a number from `low` to `high` of the kind of `low`: bool, whole, or any.

    >>> in_range("steps", 3, 1, 10), in_range("lr", 1, 0.0, 10.0)
    (3, 1)

    Raises:
        UsageError: it lies outside, is not a number (NaN), or not of that kind.
    """
    kinds = {bool: bool, int: numbers.Integral, float: numbers.Real}
    kind = kinds[type(low)]
    fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
    if fits and low <= value <= high:
        return value
    words = {bool: "true or false", int: "a whole number", float: "a number"}[type(low)]
    bounds = "" if kind is bool else f" from {low:g} to {high:g}"
    raise UsageError(f"{name} is {value!r}: give {words}{bounds}")


# Signals


@contextlib.contextmanager
def stopping_signals(stop=None):
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that it cleans up behind itself.

    With `stop`, the first of the three calls it instead; the second is as if it were not given.
    A signal that is ignored (nohup) stays so; outside the main thread nothing changes.
    """

    def handle(number, frame):
        signal.signal(number, before[number] if stop else signal.SIG_IGN)
        if stop is None:
            raise KeyboardInterrupt(f"interrupted by {signal.Signals(number).name}")
        stop()

    names = ["SIGTERM", "SIGHUP", "SIGINT"] if stop else ["SIGTERM", "SIGHUP"]
    before = {}
    if threading.current_thread() is threading.main_thread():
        known = [getattr(signal, name) for name in names if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in known}
    before = {n: each for n, each in before.items() if each not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
