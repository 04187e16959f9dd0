"""What commands share: how they register, arguments that several have, one line for a failure."""

import sys
from pathlib import Path

from bsrnn.common import UsageError, alike, choose, pick_device  # noqa: F401

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
    print(f"bsrnn: {' '.join(str(words).split())}", file=sys.stderr)
    return code


def say(text) -> None:
    """Print a line at once, also into a pipe."""
    print(text, flush=True)


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
        "--timeout", type=float,
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
