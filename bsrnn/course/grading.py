"""Grade submitted notebooks by function name, each question in a process with limits.

`grade` marks one notebook, `grade_all` notebooks and folders of them, `examine` is what the hidden
test cells call inside nbgrader: the same checks on the same code, so the same marks.
"""

import csv
import io
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from bsrnn.common import UsageError
from bsrnn.course import questions, submission
from bsrnn.course.room import MEGABYTES, SECONDS, Room

SEED_VARIABLE = "BSRNN_GRADING_SEED"  # how a teacher sets the seed inside nbgrader


@dataclass(frozen=True)
class Mark:
    """One question of one submission: `points` out of `of`, and a line of feedback."""

    question: str
    points: int
    of: int
    feedback: str


@dataclass(frozen=True)
class Sheet:
    """The marks of one submission; `error` is not empty if it could not be graded at all."""

    submission: str
    assignment: str
    seed: int
    marks: tuple = ()
    error: str = ""

    @property
    def points(self) -> int:
        return sum(mark.points for mark in self.marks)

    @property
    def of(self) -> int:
        return sum(mark.of for mark in self.marks)

    def text(self) -> str:
        """A table for people."""
        if self.error:
            return f"{self.submission}: {self.error}"
        lines = [f"{self.submission}: {self.assignment}, {self.points} of {self.of} points"]
        wide = max(len(mark.question) for mark in self.marks)
        for mark in self.marks:
            lines.append(f"  {mark.question:{wide}} {mark.points:2}/{mark.of}  {mark.feedback}")
        return "\n".join(lines)


def assignment_of(cells: list[str]) -> str:
    """The assignment of which the notebook defines the most functions.

    Raises:
        UsageError: it defines functions of none, or as many of two.
    """
    names = submission.defined(cells)
    count = {
        assignment: len({questions.function(q) for q in asked} & names)
        for assignment, asked in questions.QUESTIONS.items()
    }
    found = [assignment for assignment in count if 0 < count[assignment] == max(count.values())]
    if len(found) != 1:
        raise UsageError("cannot tell which assignment this is: give --assignment")
    return found[0]


def grade(path, assignment=None, seed=0, seconds=SECONDS, megabytes=MEGABYTES, room=None) -> Sheet:
    """Marks of the notebook at `path`.

    Args:
        assignment: such as "a1"; by default recognised by the functions it defines.
        seed: draws the inputs of the checks, a whole number of 0 or more that the teacher sets.
        seconds, megabytes: limits of each question.
        room: an open Room to use; by default one is opened for this notebook.

    Raises:
        DataError: no notebook at `path`.
        UsageError: an unknown assignment, a bad seed or limit.
    """
    cells = submission.code_cells(path)
    assignment = assignment or assignment_of(cells)
    limits = _limits(seed, seconds, megabytes)
    own = room or Room([questions.module(assignment)])
    marks = []
    try:
        for name, of in questions.QUESTIONS[assignment].items():
            found = own.ask(assignment=assignment, question=name, cells=cells, **limits)
            marks.append(Mark(name, of if found["passed"] else 0, of, found["feedback"]))
    finally:
        if room is None:
            own.close()
    return Sheet(str(path), assignment, seed, tuple(marks))


def _limits(seed, seconds=SECONDS, megabytes=MEGABYTES) -> dict:
    """What every question of a run shares, checked."""
    limits = {"seed": seed, "seconds": seconds, "megabytes": megabytes}
    for name, value in limits.items():
        least = int(name != "seed")
        if type(value) is not int or value < least:
            raise UsageError(f"{name} is {value!r}: give a whole number of {least} or more")
    return limits


def notebooks(paths) -> list[Path]:
    """The notebooks named, and those in the folders named, at any depth, in order.

    Raises:
        UsageError: a path that is not there, or nothing to grade.
    """
    found = []
    for path in map(Path, paths):
        if not path.exists():
            raise UsageError(f"no file or folder {path}: check the path")
        inside = sorted(path.rglob("*.ipynb")) if path.is_dir() else [path]
        found += [p for p in inside if ".ipynb_checkpoints" not in p.parts]
    if not found:
        raise UsageError(f"no notebooks in {', '.join(map(str, paths))}: give .ipynb files")
    return found


def grade_all(paths, assignment=None, seed=0, watch=lambda sheet: None) -> list[Sheet]:
    """Sheets of all notebooks in `paths`, files or folders; each is also given to `watch`.

    One that cannot be graded gets a Sheet with an error, the others go on.
    """
    _limits(seed)
    if assignment:
        questions.module(assignment)
    sheets, rooms = [], {}
    try:
        for path in notebooks(paths):
            name = assignment
            try:
                name = name or assignment_of(submission.code_cells(path))
                room = rooms.setdefault(name, Room([questions.module(name)]))
                sheet = grade(path, name, seed, room=room)
            except UsageError as error:
                sheet = Sheet(str(path), name or "", seed, error=str(error))
            sheets.append(sheet)
            watch(sheet)
    finally:
        for room in rooms.values():
            room.close()
    return sheets


def table(sheets, form: str) -> str:
    """The sheets as "csv" (a row per question, and a row `total` per submission) or "json"."""
    if form == "json":
        rows = [{**asdict(s), "points": s.points, "of": s.of} for s in sheets]
        return json.dumps(rows, indent=1) + "\n"
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    write(["submission", "assignment", "seed", "question", "points", "of", "feedback"])
    for sheet in sheets:
        total = Mark("total", sheet.points, sheet.of, sheet.error)
        for mark in (*sheet.marks, total):
            write([sheet.submission, sheet.assignment, sheet.seed, *asdict(mark).values()])
    return text.getvalue()


_rooms = {}  # of this kernel, by assignment: they end with it


def examine(assignment: str, name: str) -> None:
    """For the hidden test cells of nbgrader: grade question `name` on the cells run so far.

    The seed comes from the environment variable BSRNN_GRADING_SEED (default 0).

    Raises:
        AssertionError: the question is not passed; the words are the feedback.
    """
    from IPython import get_ipython

    cells = [cell for cell in get_ipython().history_manager.input_hist_raw if cell]
    room = _rooms.setdefault(assignment, Room([questions.module(assignment)]))
    seed = os.environ.get(SEED_VARIABLE, "0")
    limits = _limits(int(seed) if seed.isdecimal() else seed)
    found = room.ask(assignment=assignment, question=name, cells=cells, **limits)
    if not found["passed"]:
        raise AssertionError(found["feedback"])
