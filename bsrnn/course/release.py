"""Released assignments: the teacher's notebooks without solutions and hidden tests.

`notebooks/assignments/source/<id>/<id>.ipynb` -> `release/<id>/<id>.ipynb`, by the steps of
nbgrader's `generate_assignment` (extra `course`), without its database.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from bsrnn.common import NOTEBOOKS, DataError, UsageError, choose, optional, writable, write_text
from bsrnn.course.stamp import repository

ASSIGNMENTS = NOTEBOOKS / "assignments"
STEPS = (
    "LockCells", "ClearSolutions", "ClearOutput", "ComputeChecksums", "ClearHiddenTests",
    "ComputeChecksums", "CheckCellMetadata",
)  # fmt: skip


def sources(folder: Path = ASSIGNMENTS) -> dict[str, Path]:
    """Assignment -> its source notebook, in order.

    Raises UsageError: there are none in `folder`/source.
    """
    paths = sorted(Path(folder).glob("source/*/*.ipynb"))
    known = {path.stem: path for path in paths if path.stem == path.parent.name}
    if not known:
        raise UsageError(f"no assignments in {folder}/source: teachers have them in a checkout")
    return known


def release(names=(), check: bool = False, folder: Path = ASSIGNMENTS) -> list[Path]:
    """Write the released notebooks of `names` (all if none); those that were stale or missing.

    check: write nothing, only say which ones are stale.

    Raises UsageError: an unknown assignment, no nbgrader. DataError: a region that does not end.
    """
    from bsrnn.experiments.notebooks import nbformat

    known = sources(folder)
    stale = []
    for name in [choose(name, known, "assignment") for name in names] or known:
        text = nbformat.writes(_released(known[name])) + "\n"
        path = Path(folder) / "release" / name / f"{name}.ipynb"
        if path.is_file() and path.read_text(encoding="utf-8").rstrip() == text.rstrip():
            continue
        stale.append(path)
        if not check:
            write_text(path, text)
    return stale


@contextlib.contextmanager
def _new(folder: Path):
    """A folder to fill, which becomes `folder` when the block ends well: all arrives, or nothing.

    Raises UsageError: `folder` is there already, or cannot be written.
    """
    if folder.exists():
        raise UsageError(f"{folder} is there already: name a new folder")
    beside = writable(folder.absolute().parent, "another FOLDER")
    with tempfile.TemporaryDirectory(dir=beside) as part:
        yield Path(part) / "made"
        os.replace(Path(part) / "made", folder)


def copy_course(folder, lessons: Path = NOTEBOOKS) -> Path:
    """Copy the lessons, the sweep notebook and the released assignments into the new `folder`.

    Solutions stay behind. The copies run wherever bsrnn is installed.

    Raises UsageError: `folder` is there already, or cannot be written.
    """
    folder = Path(folder)
    leave = shutil.ignore_patterns("source", "nbgrader_config.py", ".*")
    with _new(folder) as part:
        shutil.copytree(lessons, part, ignore=leave)
    return folder


def class_repository(folder) -> Path:
    """Make the repository that students get: lessons, released assignments, how to install.

    No solution, no hidden test and no teacher's guide is in it; what grades comes with the package.

    Raises UsageError: `folder` is there already, or cannot be written.
    """
    folder = Path(folder)
    with _new(folder) as home:
        home.mkdir()
        copy_course(home / "notebooks")
        (home / "notebooks/assignments/README.md").unlink(missing_ok=True)
        told = (Path(__file__).parent / "reading/students.md").read_text(encoding="utf-8")
        write_text(home / "README.md", told.format(name=folder.name))
        write_text(home / ".gitignore", ".venv/\nruns/\n.ipynb_checkpoints/\n")
        write_text(home / "requirements.txt", f"bsrnn @ git+{repository()}\n")
    return folder


def _released(path: Path):
    """The source notebook at `path` as students get it."""
    from bsrnn.experiments import notebooks

    preprocessors = optional("nbgrader.preprocessors")
    notebook, resources = notebooks.read(path), {}
    try:
        for step in STEPS:
            notebook, resources = getattr(preprocessors, step)().preprocess(notebook, resources)
    except RuntimeError as error:
        raise DataError(f"{path.name}: {error}: end every region that begins") from None
    return notebook
