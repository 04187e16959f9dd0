"""What every room uses: errors to read, places, files written whole, text for people, signals.

An error that a user is meant to read is one line that says what is wrong and the fix.
"""

import contextlib
import functools
import hashlib
import os
import platform
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
import threading
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


class UsageError(ValueError):
    """Bad input or a wrong argument, which the caller can fix: the command line exits with 2."""


class DataError(UsageError):
    """Bad data: a missing root, a broken file, unequal stems. The command line exits with 1."""


def short(value) -> str:
    """A value as a message shows it: what a stranger's file holds may be long."""
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def choose(name: str, options, what: str) -> str:
    """Return `name` if it is one of `options`, else raise a UsageError naming the nearest ones.

    >>> choose("v7", ["v6", "v7"], "scheme")
    'v7'
    """
    import difflib

    options = [str(option) for option in options]
    if name in options:
        return name
    name = short(name) if len(str(name)) > 80 else name
    near = difflib.get_close_matches(str(name), options, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(options)}"
    raise UsageError(f"unknown {what} {name!r}: {hint}")


def alike(name, options) -> str:
    """The one of `options` that `name` is without regard to case, or `name` itself."""
    return next((o for o in options if o.casefold() == str(name).casefold()), str(name))


def pick_device(name="auto") -> str:
    """A device in torch's words: "auto" is CUDA, else MPS, else the CPU. UsageError if it is not
    here."""
    import torch

    here = {"cpu": 1}
    if torch.backends.mps.is_available():
        here = {"mps": 1} | here
    if torch.cuda.is_available():
        here = {"cuda": torch.cuda.device_count()} | here
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
    wanted = [f"{name}=={versions[name]}" for name in packages]
    return shlex.join([sys.executable, "-m", "pip", "install", "-c", str(CONSTRAINTS), *wanted])


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
    """What a file that begins so is, and the fix, where it is not what a reader expects."""
    start = start.lstrip().lower()
    return next((what for begin, what in _STARTS.items() if start.startswith(begin)), None)


def workplace() -> Path:
    """Where results go that were given no folder: the checkout, else the working directory."""
    return ROOT if CHECKOUT else Path.cwd()


def writable(folder, name: str) -> Path:
    """`folder`, made if need be; UsageError, which says to choose another `name`, where nothing can
    be written. Several processes may ask at once."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(f"cannot write to {folder} ({error.strerror}): choose {name}") from None
    return Path(folder)


def vacant(folder) -> Path:
    """`folder`, for new files; UsageError if it is a file, or holds something already."""
    folder = Path(folder).expanduser()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty: give a new folder")
    return folder


def synced(path) -> None:
    """The content of the file is on the disk: a rename that follows cannot overtake it."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def unfinished(path) -> Path:
    """A path beside `path` to write to first; its folder is made. The name holds who writes, so
    that `sweep` can tell what a killed process left."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent.absolute())
    return path.with_name(f".{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.part")


@contextlib.contextmanager
def whole(path):
    """A path beside `path` to write to, a file or a folder of them; it takes the place of `path`
    when the block ends well. A reader or a kill meets the old one or the new one, never a half."""
    part = unfinished(path)
    try:
        yield part
        for file in part.rglob("*") if part.is_dir() else [part]:
            if file.is_file():
                synced(file)
        os.replace(part, path)
    finally:
        discard(part)


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@functools.lru_cache(maxsize=256)
def sweep(folder) -> None:
    """Remove what processes of this machine that are no more left half-written in `folder`; once
    for each folder, before the first file is written there."""
    for part in Path(folder).glob(f".{_machine()}-*-*.part"):
        number = part.name.split("-")[1]
        if number.isdecimal() and not _lives(int(number)):
            discard(part)


def discard(path) -> None:
    """Remove a file, or a folder with all that is in it, whichever it is, if it is there."""
    if Path(path).is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        Path(path).unlink(missing_ok=True)


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
    """A name for a file or folder that every system can hold, another one for every `name`: where
    characters, length or a reserved word must change, a digest of the whole name follows.

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
    in how Unicode composes a letter.

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


def printable(text) -> str:
    """`text` without what makes a terminal do things (ESC): songs and files name themselves.

    >>> printable("a" + chr(27) + "[2Jb")
    'a?[2Jb'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in str(text))


def csv_text(frame, **options) -> str:
    """A pandas frame as CSV in which no cell is a formula to a spreadsheet.

    >>> import pandas
    >>> csv_text(pandas.DataFrame({"song": ["=1+1"], "db": [-3.5]}), index=False)
    "song,db\\n'=1+1,-3.5\\n"
    """
    begins = ("=", "+", "-", "@", "\t", "\r")
    quoted = lambda x: f"'{x}" if isinstance(x, str) and x.startswith(begins) else x  # noqa: E731
    return frame.map(quoted).to_csv(**options)


@contextlib.contextmanager
def stopping_signals(stop=None):
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that it cleans up behind itself. With
    `stop`, the first of the three calls it instead. An ignored signal (nohup) stays ignored;
    outside the main thread nothing changes."""

    def handle(number, frame):
        signal.signal(number, before[number] if stop else signal.SIG_IGN)
        if stop is None:
            raise KeyboardInterrupt(f"interrupted by {signal.Signals(number).name}")
        stop()

    here = threading.current_thread() is threading.main_thread()
    names = ("SIGTERM", "SIGHUP", *(["SIGINT"] if stop else [])) if here else ()
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
