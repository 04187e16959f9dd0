"""What commands share: how they register, arguments that several have, one line for a failure."""

import argparse
import sys
from pathlib import Path

from bsrnn.common import UsageError, alike, choose, pick_device, printable  # noqa: F401

COMMANDS = []  # (name, help, example, add_arguments, run), filled by @command
GROUPS = {
    "course": "run, check and stamp the lessons, grade assignments",
    "data": "check and repair data sets",
}


def command(name: str, summary: str, example: str, add=lambda parser: None):
    """Register a function (args) -> exit code as the command `name`."""

    def register(function):
        COMMANDS.append((name, summary, example, add, function))
        return function

    return register


def fail(words, code: int) -> int:
    """Say in one line on stderr what is wrong; returns the exit code."""
    print(printable(f"bsrnn: {' '.join(str(words).split())}"), file=sys.stderr)
    return code


def say(*texts, sep=" ") -> None:
    """Print at once, also into a pipe, without what songs and files would do to a terminal."""
    print(printable(sep.join(map(str, texts))), flush=True)


def number(low, high):
    """What argparse reads a number by: whole where `low` is, finite, from `low` to `high`."""
    kind = type(low)

    def read(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:  # NaN compares as False
            word = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r}: give {word} from {low:g} to {high:g}")
        return value

    return read


SEED = number(0, 2**63 - 1)
THREADS = number(0, 256)  # 0: as many as there are cores
COUNT = number(1, 256)  # of workers, rounds, passes
SECONDS = number(1e-3, 1e6)


def dataset_argument(own):
    """--dataset."""
    own.add_argument("--dataset", default="toy", help="toy, clip, musdb7, or a folder of songs")


def stems_argument(own):
    """--stems."""
    own.add_argument("--stems", help="comma-separated; default: all of the model or dataset")


def device_argument(own):
    """--device."""
    own.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")


def parameter_arguments(own):
    """-p NAME VALUE."""
    own.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters",
        help="set one parameter; may be repeated",
    )  # fmt: skip


def timeout_argument(own):
    """--timeout SECONDS of one cell."""
    own.add_argument(
        "--timeout", type=SECONDS,
        help="seconds for one cell [by profile: smoke 600, small 3600, full 43200]",
    )  # fmt: skip


def file(path: str) -> Path:
    """The path of a file that is there; UsageError otherwise."""
    if not Path(path).is_file():
        raise UsageError(f"no file {path}: check the path")
    return Path(path)


def new_file(path: str | None, endings) -> Path | None:
    """The path that --out names, None without; a wrong ending and a missing folder are refused."""
    if not path:
        return None
    choose(Path(path).suffix, endings, "ending of --out")
    if not Path(path).parent.is_dir():
        raise UsageError(f"no folder {Path(path).parent}: make it first")
    return Path(path)


def model_config(name: str):
    """A preset, or the ModelConfig in a JSON file."""
    from bsrnn import models

    if name.endswith(".json"):
        return models.ModelConfig.from_json(file(name).read_text(encoding="utf-8"))
    known = models.presets()
    return known[choose(alike(name, known), known, "model preset")]


def listed(text: str | None) -> tuple[str, ...] | None:
    """Comma-separated names as a tuple; None if there are none.

    >>> listed("vocals, drums")
    ('vocals', 'drums')
    """
    names = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    if text is not None and not names:
        raise UsageError(f"no name in {text!r}: give some, separated by commas")
    return names or None


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
