"""Grade submitted notebooks by function name: properties with points, in a process with limits.

`grade` marks one notebook, `grade_all` a class; `examine` is what the hidden test cells call inside
nbgrader: the same checks on the same code. The checker and its seed stay in this process, the
student's code in another (`sandbox.py`). Whatever one submission does costs its own row.
"""

import json
import os
import re
import subprocess
import sys
import zlib
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from bsrnn.common import PACKAGE, DataError, UsageError
from bsrnn.course import alike, questions
from bsrnn.course.sandbox import Limits, Sandbox, StudentError, clean, read_submission

SEED_VARIABLE = "BSRNN_GRADING_SEED"  # how a teacher sets the seed inside nbgrader


@dataclass(frozen=True)
class Mark:
    """One question of one submission: `points` out of `of`, and a line of feedback.

    review: what the answer uses that the assignment does not allow; its points wait in `held`.
    """

    question: str
    points: int
    of: int
    feedback: str
    review: str = ""
    held: int = 0


@dataclass(frozen=True)
class Sheet:
    """The marks of one submission; `error` is not empty if it could not be graded at all."""

    submission: str
    assignment: str
    seed: int
    marks: tuple = ()
    error: str = ""
    student: str = ""
    name: str = ""
    email: str = ""
    runs: frozenset = frozenset()  # of its code (`alike.runs`)

    @property
    def points(self) -> int:
        return sum(mark.points for mark in self.marks)

    @property
    def of(self) -> int:
        return sum(mark.of for mark in self.marks)

    @property
    def review(self) -> str:
        """What a teacher should look at; empty if nothing is."""
        return "; ".join(f"{m.question}: {m.review}" for m in self.marks if m.review)

    def text(self) -> str:
        """A table for people."""
        if self.error:
            return f"{self.submission}: {self.error}"
        lines = [f"{self.submission}: {self.assignment}, {self.points} of {self.of} points"]
        wide = max(len(mark.question) for mark in self.marks)
        for mark in self.marks:
            lines.append(f"  {mark.question:{wide}} {mark.points:2}/{mark.of}  {mark.feedback}")
            if mark.review:
                lines.append(f"  {'':{wide}}        review, {mark.held} held: {mark.review}")
        return "\n".join(lines)


def assignment_of(functions) -> str:
    """The assignment of which the notebook defines the most functions.

    Raises UsageError: it defines functions of none, or as many of two.
    """
    names = set(functions)
    count = {
        assignment: len({questions.function(q) for q in asked} & names)
        for assignment, asked in questions.QUESTIONS.items()
    }
    most = max(count.values())
    best = [assignment for assignment in count if 0 < count[assignment] == most]
    if len(best) != 1:
        raise UsageError("cannot tell which assignment this is: give --assignment")
    return best[0]


def checked_seed(seed) -> int:
    """`seed`. Raises UsageError unless it is a whole number of 0 or more."""
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise UsageError(f"seed is {seed!r}: give a whole number of 0 or more")
    return seed


def grade(path, assignment: str | None = None, seed: int = 0, limits: Limits | None = None):
    """Sheet of the notebook at `path`.

    Args:
        assignment: such as "a1"; by default recognised by the functions it defines.
        seed: draws the inputs of the checks, a whole number of 0 or more that the teacher sets.
        limits: of each call of a submitted function.

    Raises DataError: no notebook at `path`. UsageError: an unknown assignment, a bad seed.
    """
    checked_seed(seed)
    if assignment:
        questions.module(assignment)
    notebook, helpers = read_submission(path)
    try:
        if assignment is None:
            with Sandbox(notebook, helpers, limits=limits) as sandbox:
                assignment = assignment_of(sandbox.functions())
        asked = questions.QUESTIONS[assignment]
        with _sandbox(notebook, helpers, assignment, limits, 20 * len(asked)) as sandbox:
            sandbox.functions()
            marks = _marks(sandbox, assignment, asked, seed)
    except StudentError as error:
        raise DataError(f"{clean(Path(path).name)}: {error}") from None
    runs = frozenset(alike.runs(notebook))
    return Sheet(clean(str(path)), assignment, seed, tuple(marks), runs=runs)


def _sandbox(cells, helpers, assignment: str, limits=None, calls=20) -> Sandbox:
    modules = questions.ASSIGNMENTS[assignment].get("modules", ())
    return Sandbox(cells, helpers, modules, limits, calls)


def _marks(sandbox: Sandbox, assignment: str, asked, seed: int) -> list[Mark]:
    """Ask the questions, one by one. What each answer may not use is looked for before any of them
    has run, since code that runs there could change who looks; what they try is added after it."""
    forbidden = questions.ASSIGNMENTS[assignment].get("forbidden", ())
    audit = partial(sandbox.flags, forbidden=forbidden, **questions.RULES)
    flags = {question: audit(questions.function(question)) for question in asked}
    return [_mark(sandbox, assignment, q, seed, flags[q], audit) for q in asked]


def _mark(sandbox: Sandbox, assignment: str, question: str, seed: int, flags, audit) -> Mark:
    """Ask one question, property by property."""
    worth = questions.QUESTIONS[assignment][question]
    rng = np.random.default_rng([seed, zlib.crc32(question.encode())])
    exam = questions.Exam(sandbox, question, worth)
    try:
        with np.errstate(all="ignore"):
            questions.check(assignment, question)(exam, rng)
    except StudentError as error:
        if not exam.failed:
            exam.failed[next(iter(worth))] = str(error)
    told = exam.told()
    earned = sum(worth[name] for name, words in told.items() if not words)
    wrong = list(dict.fromkeys(words for words in told.values() if words))
    feedback = clean("; ".join(wrong)) or "passed"
    flags = dict.fromkeys([*flags, *audit(questions.function(question))]) if earned else ()
    review = clean(", ".join(flags))
    held = earned if review else 0
    return Mark(question, earned - held, sum(worth.values()), feedback, review, held)


def notebooks(paths) -> list[Path]:
    """The notebooks named, and those in the folders named, at any depth, in order.

    What an operating system or an editor leaves beside them (`._a1.ipynb`, checkpoints) is no
    submission. Raises UsageError: a path that is not there, or nothing to grade.
    """
    result = []
    for path in map(Path, paths):
        if not path.exists():
            raise UsageError(f"no file or folder {clean(str(path))}: check the path")
        inside = sorted(path.rglob("*.ipynb")) if path.is_dir() else [path]
        result += [p for p in inside if not _foreign(p)]
    if not result:
        raise UsageError(f"no notebooks in {', '.join(map(str, paths))}: give .ipynb files")
    return result


def _foreign(path: Path) -> bool:
    parts = path.parts
    return path.name.startswith("._") or bool({".ipynb_checkpoints", "__MACOSX"} & set(parts))


def grade_all(
    paths, assignment=None, seed=0, watch=lambda sheet: None, roster=None, by_hand=None
) -> list[Sheet]:
    """Sheets of all notebooks in `paths`, files or folders; each is also given to `watch`.

    One that cannot be graded gets a Sheet with an error, the others go on. roster, by_hand: as
    `gradebook` reads them.
    """
    checked_seed(seed)
    if assignment:
        questions.module(assignment)
    sheets = []
    for path in notebooks(paths):
        try:
            sheet = grade(path, assignment, seed)
        except Exception as error:  # nobody's submission costs the others their marks
            words = f"could not be graded ({type(error).__name__}: {error})"
            words = str(error) if isinstance(error, UsageError) else words
            sheet = Sheet(clean(str(path)), assignment or "", seed, error=clean(words))
        sheet = _named(sheet, path, paths, roster or {})
        marked = (by_hand or {}).get(sheet.student, {})
        worth = {} if sheet.error else questions.ASSIGNMENTS[sheet.assignment].get("by_hand", {})
        more = [
            Mark(part, marked.get(part, 0), most, "by hand" if part in marked else "to be marked")
            for part, most in worth.items()
        ]
        sheets.append(replace(sheet, marks=(*sheet.marks, *more)))
        watch(sheets[-1])
    return sheets


def _named(sheet: Sheet, path: Path, paths, roster: dict) -> Sheet:
    """The sheet with the student's id, name and e-mail: from the roster, or the folder, or the
    file."""
    for word in [path.stem, *reversed(path.parent.parts)]:
        for known in sorted(roster, key=len, reverse=True):
            if known and re.search(rf"(?<![A-Za-z0-9]){re.escape(known)}(?![A-Za-z0-9])", word):
                name, email = roster[known]
                return replace(sheet, student=known, name=name, email=email)
    folders = {Path(given).resolve() for given in paths}
    own = path.parent.name if path.resolve().parent not in folders else path.stem
    name = re.sub(rf"(^|[_ -]){re.escape(sheet.assignment)}([_ -]|$)", r"\1\2", own).strip("_ -")
    return replace(sheet, student=clean(name or own))


# Inside nbgrader


def examine(assignment: str, name: str) -> int:
    """For the hidden test cells of nbgrader: grade question `name` on the cells run so far.

    Returns the points, which nbgrader takes as partial credit. A clean process grades: this kernel
    is the student's, and whatever it has changed stays in it. The seed comes from the environment
    variable BSRNN_GRADING_SEED (default 0).

    Raises AssertionError: no points at all; the words are the feedback.
    """
    from IPython import get_ipython

    cells = [cell for cell in get_ipython().history_manager.input_hist_raw if cell]
    seed = os.environ.get(SEED_VARIABLE, "0")
    request = {"cells": cells, "assignment": assignment, "question": name, "seed": seed}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bsrnn.course.grading"], input=json.dumps(request),
        capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(clean(done.stderr) or "the question could not be graded")
    mark = json.loads(done.stdout)
    if mark["points"] == 0:
        raise AssertionError(mark["review"] or mark["feedback"])
    if mark["points"] < mark["of"]:
        print(mark["feedback"])
    return mark["points"]


def _examine_from(text: str) -> str:
    """One question of the request `text` (JSON); the mark as JSON."""
    request = json.loads(text)
    assignment, seed = request["assignment"], request["seed"]
    seed = checked_seed(int(seed) if str(seed).isdecimal() else seed)
    helpers = {p.name: p.read_bytes() for p in sorted(Path.cwd().glob("*.py"))}
    with _sandbox(request["cells"], helpers, assignment) as sandbox:
        sandbox.functions()
        (mark,) = _marks(sandbox, assignment, [request["question"]], seed)
        return json.dumps(asdict(mark))


if __name__ == "__main__":
    try:
        print(_examine_from(sys.stdin.read()))
    except (UsageError, StudentError) as error:
        sys.exit(clean(str(error)))
