"""Released assignments: the teacher's notebooks without solutions and hidden tests.

`notebooks/assignments/source/<id>/<id>.ipynb` -> `release/<id>/<id>.ipynb`, the way nbgrader's
`generate_assignment` does it (a test compares the two), so that a course without nbgrader can
release, too. Format: nbgrader cell metadata, schema version 3.
"""

import hashlib
import re
import shutil
from pathlib import Path

from bsrnn.common import NOTEBOOKS, DataError, UsageError, choose, whole, writable, write_text

ASSIGNMENTS = NOTEBOOKS / "assignments"
CODE_STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
TEXT_STUB = "YOUR ANSWER HERE"


def sources(folder: Path = ASSIGNMENTS) -> dict[str, Path]:
    """Assignment -> its source notebook, in order.

    Raises:
        UsageError: there are none in `folder`/source.
    """
    found = sorted(Path(folder).glob("source/*/*.ipynb"))
    found = {path.stem: path for path in found if path.stem == path.parent.name}
    if not found:
        raise UsageError(f"no assignments in {folder}/source: teachers have them in a checkout")
    return found


def release(names=(), check: bool = False, folder: Path = ASSIGNMENTS) -> list[Path]:
    """Write the released notebooks of `names` (all if none); those that were stale or missing.

    check: write nothing, only say which ones are stale.

    Raises:
        UsageError: an unknown assignment. DataError: a region that does not end.
    """
    from bsrnn.experiments.notebooks import nbformat

    known = sources(folder)
    stale = []
    for name in [choose(name, known, "assignment") for name in names] or known:
        notebook = released(nbformat.read(known[name], as_version=4))
        text = nbformat.writes(notebook) + "\n"
        path = Path(folder) / "release" / name / f"{name}.ipynb"
        if path.is_file() and path.read_text(encoding="utf-8").rstrip() == text.rstrip():
            continue
        stale.append(path)
        if not check:
            write_text(path, text)
    return stale


def copy_course(folder, lessons: Path = NOTEBOOKS) -> Path:
    """Copy the lessons, the sweep notebook and the released assignments into the new `folder`.

    Solutions stay behind. The copies run wherever bsrnn is installed.

    Raises:
        UsageError: `folder` is there already, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise UsageError(f"{folder} is there already: name a new folder")
    writable(folder.absolute().parent, "another FOLDER")
    leave = shutil.ignore_patterns("source", "nbgrader_config.py", ".*")
    with whole(folder) as part:
        shutil.copytree(lessons, part, ignore=leave)
    return folder


def released(notebook):
    """A copy of the source notebook as students get it."""
    import copy

    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        own = cell.metadata.get("nbgrader")
        if own is None:
            continue
        where = f"cell {own['grade_id']!r}"
        if own["solution"]:
            stub = CODE_STUB if cell.cell_type == "code" else TEXT_STUB
            cell.source = without(cell.source, "SOLUTION", where, stub)
        cell.source = without(cell.source, "HIDDEN TESTS", where)
        if own["solution"] or own["grade"] or own["locked"]:
            cell.metadata["deletable"] = False
            if not own["solution"]:
                cell.metadata["editable"] = False
            own["checksum"] = checksum(cell)
            own["cell_type"] = cell.cell_type
    return notebook


def without(source: str, region: str, where: str, stub: str | None = None) -> str:
    """`source` without its regions `BEGIN <region>` to `END <region>`, each replaced by `stub`.

    A solution cell without a region is all solution: with a stub, it becomes the stub.

    >>> without("a = 1" + chr(10) + "### BEGIN X" + chr(10) + "b" + chr(10) + "### END X", "X", "")
    'a = 1'
    """
    kept, inside, found = [], False, False
    for line in source.split("\n"):
        if f"BEGIN {region}" in line:
            if inside:
                raise DataError(f"{where}: a second BEGIN {region} before END {region}")
            inside = found = True
            indent = re.match(r"\s*", line)[0]
            kept += [indent + part for part in stub.split("\n")] if stub else []
        elif f"END {region}" in line:
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise DataError(f"{where}: BEGIN {region} has no END {region}")
    return "\n".join(kept) if found or stub is None else stub


def checksum(cell) -> str:
    """nbgrader's MD5 of a cell: by it a changed locked cell and an untouched answer are known."""
    own = cell.metadata["nbgrader"]
    locked = not own["solution"] and (own["grade"] or own["locked"])
    parts = [cell.source, cell.cell_type, own["grade"], own["solution"], locked, own["grade_id"]]
    parts += [float(own["points"])] if own["grade"] else []
    return hashlib.md5("".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()
