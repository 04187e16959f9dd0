"""What surrounds the marks: rosters and points by hand come in, tables and pages leave.

Of two submissions of one student for one assignment the one with more points counts.
"""

import csv
import json
import re
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from bsrnn.common import DataError, csv_text, write_text
from bsrnn.course import alike, questions

READING = Path(__file__).parent / "reading"
FORMS = ("csv", "students", "moodle", "canvas")
CLOSEST = 10  # pairs of an assignment on the class page


def read_roster(path) -> dict[str, tuple[str, str]]:
    """{id: (name, e-mail)} of a CSV with the columns id, name, email (any order, any case)."""
    return {row["id"]: (row["name"], row["email"]) for row in _rows(path, "id", "name", "email")}


def read_by_hand(path) -> dict[str, dict[str, int]]:
    """{id: {part: points}} of a CSV with the columns id and B1 to B4: the parts of a8 that a
    teacher has marked. Raises DataError: points that a part does not have."""
    worth, marked = questions.ASSIGNMENTS["a8"]["by_hand"], {}
    for row in _rows(path, "id", *worth):
        for name, most in worth.items():
            if row[name] and not (row[name].isdecimal() and int(row[name]) <= most):
                raise DataError(f"{path}: {name} of {row['id']} is {row[name]}: give 0 to {most}")
        marked[row["id"]] = {name: int(row[name]) for name in worth if row[name]}
    return marked


def _rows(path, *columns) -> list[dict[str, str]]:
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


def table(sheets, form: str) -> str:
    """The sheets as "csv" (a row per question and a row `total`), "json", "students" (a row per
    student, a column per assignment), "moodle" or "canvas" (what their gradebooks import)."""
    if form == "json":
        rows = [{**asdict(replace(s, runs=())), "points": s.points, "of": s.of} for s in sheets]
        return json.dumps(rows, indent=1) + "\n"
    if form != "csv":  # Moodle reads an empty cell of a new column as 0 points
        na_rep = "-" if form == "moodle" else ""
        return csv_text(_by_student(list(sheets), form), index=False, na_rep=na_rep)
    rows = []
    for sheet in sheets:
        about = {name: getattr(sheet, name) for name in _ABOUT}
        total = {"question": "total", "points": sheet.points, "of": sheet.of}
        total |= {"feedback": sheet.error, "review": sheet.review, "held": 0}
        rows += [about | mark for mark in (*map(asdict, sheet.marks), total)]
    return csv_text(pd.DataFrame(rows), index=False)


_ABOUT = ("submission", "student", "assignment", "seed")


def _by_student(sheets, form: str) -> pd.DataFrame:
    """A row per student; what was not handed in, or could not be graded, stays empty."""
    people = {sheet.student: sheet for sheet in reversed(sheets)}
    students = sorted(people)
    asked = sorted({sheet.assignment for sheet in sheets if sheet.assignment})
    marks = pd.DataFrame(index=students, columns=asked, dtype="Int64")
    for sheet in sheets:
        if not sheet.error:
            before = marks.at[sheet.student, sheet.assignment]
            most = sheet.points if pd.isna(before) else max(before, sheet.points)
            marks.at[sheet.student, sheet.assignment] = most
    emails = [people[student].email for student in students]
    if form == "moodle":
        marks.columns = [f"Assignment: {name}" for name in asked]
        who = {"ID number": students}
        if all(emails):  # who is mapped by an empty cell gets the marks of the row above
            who |= {"Email address": emails}
    elif form == "canvas":  # the row below the names holds the points possible
        logins = [email or student for email, student in zip(emails, students, strict=True)]
        names = [people[student].name or student for student in students]
        marks.loc[""] = [questions.total(name) for name in asked]
        marks = marks.loc[["", *students]]
        who = {
            "Student": ["    Points Possible", *names], "ID": "", "SIS User ID": ["", *students],
            "SIS Login ID": ["", *logins], "Section": "",
        }  # fmt: skip
    else:
        who = {"student": students, "email": emails}
    return pd.concat([pd.DataFrame(who, index=marks.index), marks], axis=1)


def write_feedback(sheets, folder) -> list[Path]:
    """A page for each student, and `class.html` for the teacher, in `folder`."""
    from jinja2 import Environment, FileSystemLoader

    page = Environment(loader=FileSystemLoader(READING), autoescape=True)
    page, paths = page.get_template("feedback.html.j2"), []
    for number, sheet in enumerate(sheets):
        name = re.sub(r"[^\w.-]", "_", sheet.student or "submission")[:80]
        paths.append(Path(folder) / f"{name}-{sheet.assignment or 'unknown'}-{number:03}.html")
        write_text(paths[-1], page.render(sheet=sheet))
    paths.append(Path(folder) / "class.html")
    write_text(paths[-1], page.render(sheets=sheets, questions=_difficulty(sheets),
                                      pairs=_alike(sheets)))  # fmt: skip
    return paths


def _difficulty(sheets) -> list[tuple]:
    """(assignment, question, mean share, commonest fault, how many) of each question."""
    rows, groups = [], {}
    for sheet in sheets:
        for mark in sheet.marks:
            groups.setdefault((sheet.assignment, mark.question), []).append(mark)
    for about, marks in groups.items():
        share = sum(m.points + m.held for m in marks) / sum(m.of for m in marks)
        faults = Counter(m.feedback.split(";")[0] for m in marks if m.feedback != "passed")
        rows.append((*about, f"{share:.0%}", *(faults.most_common(1) or [("", 0)])[0]))
    return rows


def _alike(sheets) -> list[tuple]:
    """(assignment, share, one, other) of the submissions that share most."""
    rows = []
    for name in sorted({sheet.assignment for sheet in sheets}):
        prints = {s.student or s.submission: s.runs for s in sheets if s.assignment == name}
        rows += [(name, f"{share:.0%}", *two) for share, *two in alike.pairs(prints)[:CLOSEST]]
    return rows
