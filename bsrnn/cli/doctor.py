"""What this machine lacks and the one command that fixes it (`python -m bsrnn doctor`).

Two lists are held against what is installed: the ranges of pyproject.toml, which decide, and the
tested set, `.ci/constraints.txt`, whose versions the repair installs.
"""

import importlib.metadata
import platform
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass

from bsrnn.common import ROOT, pins, repair

try:
    from packaging.requirements import Requirement
except ImportError:  # nothing is installed yet but pip
    from pip._vendor.packaging.requirements import Requirement

_PROGRAMS = {
    "ffmpeg": "musdb and museval need it; the lessons do not",
    "ffprobe": "musdb and museval need it; the lessons do not",
    "chromium": "only the browser tests need it",
}
_PAIR = ("torch", "torchaudio")


@dataclass(frozen=True)
class Package:
    """One required package: the version here, the tested version, the range."""

    name: str
    here: str
    tested: str
    allowed: str
    fault: str = ""

    def line(self) -> str:
        """Both versions side by side, and what is wrong."""
        mark = "wrong    " if self.fault else "ok       "
        wanted = f"tested {self.tested}, allowed {self.allowed}"
        return f"{mark} {self.name} {self.here} ({wanted})" + f": {self.fault}" * bool(self.fault)


def examine() -> tuple[list[str], bool]:
    """(lines to read, True if nothing required is missing). Optional things are told apart."""
    tested = pins()
    packages = [_package(need, tested) for need in _required()]
    wrong = [package.name for package in packages if package.fault]
    lines = [f"Python {platform.python_version()} in {sys.prefix}"]
    lines += [package.line() for package in packages]
    broken = set(wrong) & set(_PAIR)
    if not broken and (reason := _pair_fault()):
        lines.append(f"wrong     {reason}")
        broken = _PAIR
    if broken:  # both, since one alone may not fit the other
        wrong = [*_PAIR, *(name for name in wrong if name not in _PAIR)]
    absent = [name for name in _PROGRAMS if not shutil.which(name)]
    lines += [f"optional  {name} is not installed: {_PROGRAMS[name]}" for name in absent]
    fixes = []
    if absent:
        programs = " ".join(sorted({name.replace("ffprobe", "ffmpeg") for name in absent}))
        brew = platform.system() == "Darwin"
        fixes.append(f"{'brew install' if brew else 'sudo apt-get install -y'} {programs}")
    if wrong:
        fixes.append(repair(*wrong))
    lines.append(f"fix all:  {' && '.join(fixes)}" if fixes else "nothing is missing")
    return lines, not wrong


def _required() -> list[Requirement]:
    """The ranges, of a checkout that need not be installed itself, or of the installed package."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return [Requirement(line) for line in tomllib.loads(text)["project"]["dependencies"]]


def _package(need: Requirement, tested: dict) -> Package:
    name = need.name.replace("_", "-")  # as the constraints spell it
    about = {"tested": tested[name], "allowed": str(need.specifier)}
    try:
        here = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Package(name, "-", fault="not installed", **about)
    fits = need.specifier.contains(here, prereleases=True)
    return Package(name, here, fault="" if fits else "outside the range", **about)


def _pair_fault() -> str:
    """Why torch and torchaudio do not import together, with both versions; "" if they do.

    Their versions do not tell: a CUDA build of torchaudio is tied to the torch it was built with.
    """
    words = [sys.executable, "-c", f"import {', '.join(_PAIR)}"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode == 0:
        return ""
    versions = " and ".join(f"{name} {importlib.metadata.version(name)}" for name in _PAIR)
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"{versions} do not import together: {reason}"
