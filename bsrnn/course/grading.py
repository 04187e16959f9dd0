"""Grade submitted notebooks by function name: properties with points, in a process with limits.

`grade` marks one notebook, `grade_all` a class; `examine` is what the hidden test cells call inside
nbgrader: the same checks on the same code. The checker and its seed stay in this process, the
student's code in another (`sandbox.py`). Whatever one submission does costs its own row.
"""

import csv
import html
import io
import json
import os
import re
import subprocess
import sys
import zlib
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from bsrnn.common import DataError, UsageError, write_text
from bsrnn.course import alike, questions
from bsrnn.course.sandbox import Limits, Sandbox, StudentError, clean, read_submission

SEED_VARIABLE = "BSRNN_GRADING_SEED"  # how a teacher sets the seed inside nbgrader
CLOSEST = 10  # pairs of an assignment on the class page


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


class Answer:
    """The student's function `name`, called in its own process."""

    def __init__(self, sandbox: Sandbox, name: str):
        self.sandbox, self.name = sandbox, name
        self.train = partial(sandbox.train, name)

    def __call__(self, *arguments):
        return self.sandbox.call(self.name, *arguments)


def assignment_of(functions) -> str:
    """The assignment of which the notebook defines the most functions.

    Raises:
        UsageError: it defines functions of none, or as many of two.
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

    Raises:
        DataError: no notebook at `path`. UsageError: an unknown assignment, a bad seed.
    """
    checked_seed(seed)
    if assignment:
        questions.module(assignment)
    notebook, helpers = read_submission(path)
    name, label = clean(Path(path).name), clean(str(path))
    return grade_cells(notebook, helpers, assignment, seed, limits, name, label)


def grade_cells(cells, helpers, assignment, seed, limits=None, name="the notebook", label=""):
    """Sheet of a notebook given as bytes, or of a list of code cells."""
    try:
        if assignment is None:
            with Sandbox(cells, helpers, limits=limits) as sandbox:
                assignment = assignment_of(sandbox.functions())
        asked = questions.QUESTIONS[assignment]
        modules = questions.MODULES.get(assignment, ())
        with Sandbox(cells, helpers, modules, limits, calls=20 * len(asked)) as sandbox:
            sandbox.functions()
            marks = [_mark(sandbox, assignment, question, seed) for question in asked]
    except StudentError as error:
        raise DataError(f"{name}: {error}") from None
    runs = frozenset(alike.runs(cells)) if isinstance(cells, bytes) else frozenset()
    return Sheet(label or name, assignment, seed, tuple(marks), runs=runs)


def _mark(sandbox: Sandbox, assignment: str, question: str, seed: int) -> Mark:
    """Ask one question, property by property."""
    worth = questions.QUESTIONS[assignment][question]
    rng = np.random.default_rng([seed, zlib.crc32(question.encode())])
    function, parts = questions.function(question), questions.Parts(worth)
    try:
        with np.errstate(all="ignore"):
            questions.check(assignment, question)(Answer(sandbox, function), rng, parts)
    except StudentError as error:
        if not parts.failed:
            parts.failed[next(iter(worth))] = str(error)
    told = parts.told()
    earned = sum(worth[name] for name, words in told.items() if not words)
    wrong = list(dict.fromkeys(words for words in told.values() if words))
    feedback = clean("; ".join(wrong)) or "passed"
    review = ""
    if earned:
        forbidden = questions.FORBIDDEN.get(assignment, ())
        review = clean(", ".join(sandbox.flags(function, forbidden)))
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

    One that cannot be graded gets a Sheet with an error, the others go on. roster: `read_roster`.
    by_hand: `read_by_hand`.
    """
    checked_seed(seed)
    if assignment:
        questions.module(assignment)
    sheets = []
    for path in notebooks(paths):
        label = clean(str(path))
        try:
            sheet = grade(path, assignment, seed)
        except UsageError as error:
            sheet = Sheet(label, assignment or "", seed, error=clean(str(error)))
        except Exception as error:  # nobody's submission costs the others their marks
            words = f"could not be graded ({type(error).__name__}: {error})"
            sheet = Sheet(label, assignment or "", seed, error=clean(words))
        sheet = _named(sheet, path, paths, roster or {})
        sheet = _with_hand(sheet, (by_hand or {}).get(sheet.student, {}))
        sheets.append(sheet)
        watch(sheet)
    return sheets


# Whose it is


def read_roster(path) -> dict[str, tuple[str, str]]:
    """{id: (name, e-mail)} of a CSV with the columns id, name, email (any order, any case)."""
    return {row["id"]: (row["name"], row["email"]) for row in _table(path, "id", "name", "email")}


def read_by_hand(path) -> dict[str, dict[str, int]]:
    """{id: {question: points}} of a CSV with the columns id and `questions.BY_HAND`: the parts of
    a8 that a teacher has marked. Raises DataError: points that a part does not have."""
    worth, marked = questions.BY_HAND["a8"], {}
    for row in _table(path, "id", *worth):
        for name, most in worth.items():
            text = row[name].strip()
            if text and not (text.isdecimal() and int(text) <= most):
                raise DataError(f"{path}: {name} of {row['id']} is {text}: give 0 to {most}")
        marked[row["id"]] = {name: int(row[name]) for name in worth if row[name].strip()}
    return marked


def _table(path, *columns) -> list[dict[str, str]]:
    """The rows of a CSV with at least these columns, in any order and case."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{path}: no table ({error})") from None
    there = {str(name).strip().lower(): name for name in (rows[0] if rows else {})}
    missing = [name for name in columns if name.lower() not in there]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}: give {', '.join(columns)}")
    return [{name: (row[there[name.lower()]] or "").strip() for name in columns} for row in rows]


def _with_hand(sheet: Sheet, marked: dict) -> Sheet:
    """The sheet with the parts that a teacher marks; those without points wait."""
    worth = {} if sheet.error else questions.BY_HAND.get(sheet.assignment, {})
    marks = [
        Mark(name, marked.get(name, 0), most, "by hand" if name in marked else "to be marked")
        for name, most in worth.items()
    ]
    return replace(sheet, marks=(*sheet.marks, *marks))


def _named(sheet: Sheet, path: Path, paths, roster: dict) -> Sheet:
    """The sheet with the student's id and e-mail: from the roster, or the folder, or the file."""
    words = [path.stem, *(part for part in reversed(path.parent.parts))]
    for word in words:
        for known in sorted(roster, key=len, reverse=True):
            if known and re.search(rf"(?<![A-Za-z0-9]){re.escape(known)}(?![A-Za-z0-9])", word):
                return replace(sheet, student=known, email=roster[known][1])
    folders = {Path(given).resolve() for given in paths}
    own = path.parent.name if path.resolve().parent not in folders else path.stem
    name = re.sub(rf"(^|[_ -]){re.escape(sheet.assignment)}([_ -]|$)", r"\1\2", own).strip("_ -")
    return replace(sheet, student=clean(name or own))


# What leaves


def table(sheets, form: str) -> str:
    """The sheets as "csv" (a row per question and a row `total`), "json", "students" (a row per
    student, a column per assignment), "moodle" or "canvas" (what their gradebooks import)."""
    if form == "json":
        rows = [{**asdict(replace(s, runs=())), "points": s.points, "of": s.of} for s in sheets]
        return json.dumps(rows, indent=1) + "\n"
    if form == "csv":
        rows = [["submission", "student", "assignment", "seed", "question", "points", "of",
                 "feedback", "review", "held"]]  # fmt: skip
        for sheet in sheets:
            total = Mark("total", sheet.points, sheet.of, sheet.error, sheet.review)
            for mark in (*sheet.marks, total):
                rows.append([sheet.submission, sheet.student, sheet.assignment, sheet.seed,
                             *asdict(mark).values()])  # fmt: skip
        return _csv(rows)
    return _csv(_by_student(sheets, form))


def _by_student(sheets, form: str) -> list[list]:
    asked = sorted({sheet.assignment for sheet in sheets if sheet.assignment})
    best: dict[tuple, Sheet] = {}
    emails = {}
    for sheet in sheets:  # of two submissions the one with more points counts
        key = (sheet.student, sheet.assignment)
        emails.setdefault(sheet.student, sheet.email)
        if not sheet.error and (key not in best or sheet.points > best[key].points):
            best[key] = sheet

    def marks(student):
        return [best[student, a].points if (student, a) in best else "" for a in asked]

    students = sorted(emails)
    if form == "moodle":  # grades are mapped by "Email address" or "ID number" on import
        head = ["ID number", "Email address", *(f"Assignment: {a}" for a in asked)]
        return [head, *([s, emails[s], *marks(s)] for s in students)]
    if form == "canvas":  # the second row holds the points possible
        head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *asked]
        totals = [questions.total(a) for a in asked]
        possible = ["    Points Possible", "", "", "", "", *totals]
        rows = ([s, "", s, emails[s] or s, "", *marks(s)] for s in students)
        return [head, possible, *rows]
    return [["student", "email", *asked], *([s, emails[s], *marks(s)] for s in students)]


def _csv(rows) -> str:
    """CSV in which no cell is a formula to a spreadsheet."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    for row in rows:
        write([_cell(value) for value in row])
    return text.getvalue()


def _cell(value):
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text[:1] in ("=", "+", "-", "@") else value


def write_feedback(sheets, folder) -> list[Path]:
    """A page for each student, and `class.html` for the teacher, in `folder`."""
    paths = []
    for number, sheet in enumerate(sheets):
        name = re.sub(r"[^\w.-]", "_", sheet.student or "submission")[:80]
        path = Path(folder) / f"{name}-{sheet.assignment or 'unknown'}-{number:03}.html"
        write_text(path, _page(f"{sheet.student}: {sheet.assignment}", _feedback(sheet)))
        paths.append(path)
    page = Path(folder) / "class.html"
    write_text(page, _page("Class", _class(sheets)))
    return [*paths, page]


def _feedback(sheet: Sheet) -> str:
    if sheet.error:
        return f"<p>{html.escape(sheet.error)}</p>"
    rows = [("question", "points", "feedback")]
    for mark in sheet.marks:
        held = f" ({mark.held} wait for review: {mark.review})" if mark.review else ""
        rows.append((mark.question, f"{mark.points} of {mark.of}", mark.feedback + held))
    return f"<p>{sheet.points} of {sheet.of} points</p>{_html(rows)}"


def _class(sheets) -> str:
    """Difficulty and the commonest fault of each question; who waits for review."""
    rows = [("assignment", "question", "mean share", "commonest fault", "how many")]
    groups: dict[tuple, list[Mark]] = {}
    for sheet in sheets:
        for mark in sheet.marks:
            groups.setdefault((sheet.assignment, mark.question), []).append(mark)
    for (assignment, question), marks in groups.items():
        share = sum(m.points + m.held for m in marks) / sum(m.of for m in marks)
        faults = Counter(m.feedback.split(";")[0] for m in marks if m.feedback != "passed")
        fault, count = faults.most_common(1)[0] if faults else ("", 0)
        rows.append((assignment, question, f"{share:.0%}", fault, count))
    close = []
    for name in sorted({sheet.assignment for sheet in sheets}):
        prints = {s.student or s.submission: s.runs for s in sheets if s.assignment == name}
        close += [(name, f"{share:.0%}", *two) for share, *two in alike.pairs(prints)[:CLOSEST]]
    waiting = [(s.student, s.review) for s in sheets if s.review]
    failed = [(s.submission, s.error) for s in sheets if s.error]
    text = _html(rows)
    if close:
        head = ("assignment", "of the rarer code shared", "one", "other")
        text += f"<h2>Most alike: read both before you say a word</h2>{_html([head, *close])}"
    if waiting:
        text += f"<h2>For review</h2>{_html([('student', 'why'), *waiting])}"
    if failed:
        text += f"<h2>Not graded</h2>{_html([('submission', 'why'), *failed])}"
    return text


def _html(rows) -> str:
    head, *body = [[html.escape(str(cell)) for cell in row] for row in rows]
    lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body]
    return f"<table>{''.join(lines)}</table>"


def _page(title: str, body: str) -> str:
    style = "body{font:16px sans-serif;max-width:60em;margin:2em auto}td,th{padding:.3em .8em;"
    style += "text-align:left;border-bottom:1px solid #ddd;vertical-align:top}"
    title = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style><h1>{title}</h1>{body}</html>\n"
    )


# Inside nbgrader


def examine(assignment: str, name: str) -> int:
    """For the hidden test cells of nbgrader: grade question `name` on the cells run so far.

    Returns the points, which nbgrader takes as partial credit. A clean process grades: this kernel
    is the student's, and whatever it has changed stays in it. The seed comes from the environment
    variable BSRNN_GRADING_SEED (default 0).

    Raises:
        AssertionError: no points at all; the words are the feedback.
    """
    from IPython import get_ipython

    cells = [cell for cell in get_ipython().history_manager.input_hist_raw if cell]
    seed = os.environ.get(SEED_VARIABLE, "0")
    request = {"cells": cells, "assignment": assignment, "question": name, "seed": seed}
    from bsrnn.common import PACKAGE

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
    assignment, question = request["assignment"], request["question"]
    seed = request["seed"]
    seed = checked_seed(int(seed) if str(seed).isdecimal() else seed)
    modules = questions.MODULES.get(assignment, ())
    helpers = {p.name: p.read_bytes() for p in sorted(Path.cwd().glob("*.py"))}
    with Sandbox(request["cells"], helpers, modules, calls=20) as sandbox:
        return json.dumps(asdict(_mark(sandbox, assignment, question, seed)))


if __name__ == "__main__":
    try:
        print(_examine_from(sys.stdin.read()))
    except (UsageError, StudentError) as error:
        sys.exit(clean(str(error)))
