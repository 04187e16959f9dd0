"""What every lesson carries unchanged: the setup cell, the Colab badge, the hash of its sources.

The repository's address comes from one place, `[project.urls]` of pyproject.toml.
"""

import re
import tomllib
from pathlib import Path

from bsrnn.common import CHECKOUT, NOTEBOOKS, ROOT, UsageError, write_text
from bsrnn.experiments.notebooks import nbformat, tags

_BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)")

_SETUP = """\
# The same cell in every lesson: find the course, or install it (Colab); then seed and version.
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

here = Path.cwd()
sys.path[:0] = [str(f) for f in (here, *here.parents) if (f / "bsrnn/course").is_dir()][:1]
if importlib.util.find_spec("bsrnn") is None:  # pip leaves what is there and fits, such as torch
    print("installing the course: this takes some minutes")
    place = os.environ.get("BSRNN_REPOSITORY", "{repository}")
    source = place if Path(place).exists() else f"git+{{place}}"
    quiet = {{"capture_output": True, "env": {{**os.environ, "GIT_TERMINAL_PROMPT": "0"}}}}
    if subprocess.run([sys.executable, "-m", "pip", "install", source], **quiet).returncode:
        sys.exit(f"cannot install {{place}}: set BSRNN_REPOSITORY or put bsrnn/ beside this file")
from bsrnn import course

print(course.begin(seed))"""


def repository() -> str:
    """The address in `[project.urls]` of pyproject.toml, such as https://github.com/owner/name."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]["urls"]["repository"].rstrip("/")


def setup_cell(address: str | None = None) -> str:
    """Source of the one setup cell, for the repository at `address`."""
    return _SETUP.format(repository=address or repository())


def badge(lesson: str, address: str | None = None) -> str:
    """The Colab badge line (markdown) of `notebooks/<lesson>.ipynb`.

    >>> badge("04_band_schemes", "https://github.com/a/b").endswith("04_band_schemes.ipynb)")
    True
    """
    name = (address or repository()).removeprefix("https://github.com/")
    colab = "https://colab.research.google.com"
    link = f"{colab}/github/{name}/blob/main/notebooks/{lesson}.ipynb"
    return f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({link})"


def restamp(name: str) -> list[Path]:
    """Write the address of `owner/name` into pyproject.toml and every notebook; changed files.

    Raises UsageError: `name` is not of the form owner/name.
    """
    name = name.removeprefix("https://github.com/").removesuffix(".git").strip("/")
    if not re.fullmatch(r"[A-Za-z0-9-]+/(?!\.+$)[A-Za-z0-9._-]+", name):
        raise UsageError(f"{name!r} is no repository: write --repository owner/name")
    if not CHECKOUT:
        raise UsageError("badges stand in a checkout: clone the repository and run it there")
    old, new, changed = repository(), f"https://github.com/{name}", []
    for path in [ROOT / "pyproject.toml", ROOT / "README.md", *sorted(NOTEBOOKS.rglob("*.ipynb"))]:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        stamped = text.replace(old, new)
        if path.suffix == ".ipynb":
            notebook = nbformat.reads(text, as_version=4)
            for cell in notebook.cells:
                if "setup" in tags(cell):
                    cell.source = setup_cell(new)
                elif cell.cell_type == "markdown":
                    cell.source = _BADGE.sub(badge(path.stem, new), cell.source).replace(old, new)
            stamped = nbformat.writes(notebook) + "\n"
        if stamped.rstrip() != text.rstrip():
            write_text(path, stamped)
            changed.append(path)
    return changed
