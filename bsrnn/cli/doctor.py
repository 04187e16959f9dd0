"""What this machine lacks and the one command that fixes it (`python -m bsrnn doctor`)."""

import importlib.metadata
import platform
import shutil
import subprocess
import sys

from bsrnn.common import ROOT

_PROGRAMS = {
    "ffmpeg": "musdb and museval need it; the lessons do not",
    "ffprobe": "musdb and museval need it; the lessons do not",
    "chromium": "only the browser tests need it",
}


def examine() -> tuple[list[str], bool]:
    """(lines to read, True if nothing required is missing). Optional things are told apart."""
    wrong = _packages()
    absent = [name for name in _PROGRAMS if not shutil.which(name)]
    lines = [f"Python {platform.python_version()} in {sys.prefix}"]
    lines += [f"missing   {words}" for words in wrong]
    lines += [f"optional  {name} is not installed: {_PROGRAMS[name]}" for name in absent]
    fixes = []
    if absent:
        programs = " ".join(sorted({name.replace("ffprobe", "ffmpeg") for name in absent}))
        brew = platform.system() == "Darwin"
        fixes.append(f"{'brew install' if brew else 'sudo apt-get install -y'} {programs}")
    if wrong:
        fixes.append(f'{sys.executable} -m pip install -e "{ROOT}"')
    lines.append(f"fix all:  {' && '.join(fixes)}" if fixes else "nothing is missing")
    return lines, not wrong


def _required() -> list[str]:
    """Requirements: of the checkout, which need not be installed itself, else of the package."""
    listed = ROOT / "requirements.txt"
    if not listed.is_file():
        return importlib.metadata.requires("bsrnn") or []
    lines = (line.partition("#")[0].strip() for line in listed.read_text().splitlines())
    return [line for line in lines if line]


def _packages() -> list[str]:
    """Requirements that are not met, one line each; a torch that torchaudio cannot load."""
    from packaging.requirements import Requirement

    found = []
    for text in _required():
        need = Requirement(text)
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            have = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{need.name} is not installed")
            continue
        if not need.specifier.contains(have, prereleases=True):
            found.append(f"{need.name} {have} does not fit {need.specifier}")
    if not found:
        pair = [sys.executable, "-c", "import torch, torchaudio"]
        if subprocess.run(pair, capture_output=True).returncode:
            found.append("torch and torchaudio do not fit each other (both must be 2.11)")
    return found
