"""Every assignment: sound format, fresh release, full marks for the reference, none for the stub,
and wrong solutions that each lose exactly the marks of their question."""

import ast
import re

import nbformat
import pytest

from bsrnn.course import grading, questions, release, runner, submission
from bsrnn.course.room import Room
from bsrnn.errors import UsageError

SOURCES = release.sources()
IDS = list(questions.QUESTIONS)
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
# assignment -> [(question, text of the reference, wrong text)], each a mistake of its own
MUTANTS = {
    "a1": [
        ("grid", "1000 * hop", "hop"),
        ("grid", "sample_rate / n_fft, ", "sample_rate / 2 / n_fft, "),
        ("frames_of", "n_fft // 2)", "n_fft)"),
        ("frames_of", "1 + len(x) // hop", "len(x) // hop"),
        ("frames_of", "np.pad(x, n_fft // 2)", 'np.pad(x, n_fft // 2, mode="reflect")'),
        ("my_stft", 'mode="reflect"', 'mode="symmetric"'),
        ("my_stft", "frames * window", "frames"),
        ("my_stft", "rfft(frames * window).T", "rfft(frames * window)"),
        ("my_stft", "rfft(", "fft("),
        ("my_istft", "window * frame", "frame"),
        ("my_istft", "y / np.where(s > 1e-10, s, 1)", "y / s.max()"),
        ("my_istft", "+= window**2", "+= window"),
        ("my_istft", "y[n_fft // 2 : n_fft // 2 + length]", "y[:length]"),
        ("is_cola", "window**2", "window"),
        ("is_cola", "1e-6 * s.max()", "0.5 * s.max()"),
    ],
}


@pytest.fixture(scope="module")
def room():
    """One room for everything: torch is imported once, if an assignment needs it."""
    with Room([questions.module(assignment) for assignment in IDS]) as room:
        yield room


def read(assignment, kind="source"):
    path = release.ASSIGNMENTS / kind / assignment / f"{assignment}.ipynb"
    return nbformat.read(path, as_version=4)


def graded(notebook, path, room, assignment=None, **limits):
    """(points, {question without points: feedback}) of a notebook written to `path`."""
    nbformat.write(notebook, path)
    sheet = grading.grade(path, assignment, room=room, **limits)
    lost = {mark.question: mark.feedback for mark in sheet.marks if mark.points < mark.of}
    return sheet, lost


def of_kind(notebook, kind):
    """nbgrader metadata -> cell for the cells of one kind."""
    marked = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    return [cell for cell in marked if cell.metadata.nbgrader[kind]]


def solutions(assignment):
    """Function -> its solution cell."""
    cells = [c for c in of_kind(read(assignment), "solution") if c.cell_type == "code"]
    return {re.search(r"(?m)^def (\w+)\(", cell.source)[1]: cell for cell in cells}


def test_every_assignment_is_here():
    assert list(SOURCES) == IDS == sorted(MUTANTS)
    asked = [questions.function(q) for one in questions.QUESTIONS.values() for q in one]
    for name in set(asked):
        homes = [
            a for a, one in questions.QUESTIONS.items() if name in map(questions.function, one)
        ]
        assert len(homes) == 1, f"{name} is graded in {homes}: a submission is known by its names"


@pytest.mark.parametrize("assignment", IDS)
def test_format(assignment):
    notebook = read(assignment)
    asked = questions.QUESTIONS[assignment]
    assert 3 <= len(asked) <= 6
    assert len(solutions(assignment)) == len({questions.function(q) for q in asked})
    points, grades = {}, [c for c in of_kind(notebook, "grade") if c.cell_type == "code"]
    for cell in grades:
        own = cell.metadata.nbgrader
        called = re.search(rf'course\.examine\("{assignment}", "([\w.]+)"\)', cell.source)[1]
        points[called] = own.points
        assert own.locked and not own.solution and own.grade_id.endswith("-grade")
        assert f"Graded here: {called}, {own.points} point" in cell.source
    assert points == asked and list(points) == list(asked), "same questions, points and order"
    for cell in notebook.cells:
        own = cell.metadata.get("nbgrader", {"schema_version": 3})
        assert own["schema_version"] == 3 and not cell.get("outputs")
    total = sum(c.metadata.nbgrader.points for c in of_kind(notebook, "grade"))
    assert f"**Points:** {total}" in notebook.cells[0].source
    for name, cell in solutions(assignment).items():
        body = cell.source.split(BEGIN)[1].split(END)[0].strip("\n").splitlines()
        assert len(body) <= 15, f"{name}: {len(body)} lines"
        assert '"""' in cell.source.split(BEGIN)[0], f"{name}: no docstring for the student"


@pytest.mark.parametrize("assignment", IDS)
def test_every_function_has_a_visible_test_before_its_grading_cell(assignment):
    cells = [c for c in read(assignment).cells if c.cell_type == "code"]
    for place, cell in enumerate(cells):
        if cell.metadata.nbgrader.grade and not cells[place - 1].metadata.nbgrader.grade:
            test = cells[place - 1]
            own = test.metadata.nbgrader
            assert own.locked and not own.solution and own.grade_id.endswith("-test")
            name = re.search(r'", "(\w+)', cell.source)[1]
            calls = (n for n in ast.walk(ast.parse(test.source)) if isinstance(n, ast.Assert))
            assert re.search(rf"\b{name}\b", test.source) and list(calls), name


@pytest.mark.parametrize("assignment", IDS)
def test_visible_tests_pass_on_the_reference_and_fail_on_the_stub(assignment):
    for kind in ("source", "release"):
        space = {}
        for cell in read(assignment, kind).cells:
            if cell.cell_type == "code" and not cell.metadata.nbgrader.grade:
                seen = kind == "source" or not cell.metadata.nbgrader.grade_id.endswith("-test")
                if seen:
                    exec(cell.source, space)
                else:
                    with pytest.raises(NotImplementedError):
                        exec(cell.source, space)


@pytest.mark.parametrize("assignment", IDS)
def test_release_is_fresh_and_gives_nothing_away(assignment):
    assert release.release([assignment], check=True) == [], "run `python -m bsrnn course release`"
    text = (release.ASSIGNMENTS / "release" / assignment / f"{assignment}.ipynb").read_text()
    for word in ("BEGIN SOLUTION", "HIDDEN TESTS", "course.examine", "MARK SCHEME"):
        assert word not in text
    for name, cell in solutions(assignment).items():
        own = [c.source for c in read(assignment, "release").cells if f"def {name}(" in c.source]
        assert own and own[0].rstrip().endswith("raise NotImplementedError()")
        assert own[0].startswith(cell.source.split(BEGIN)[0].rstrip())


@pytest.mark.parametrize("assignment", IDS)
def test_reference_gets_everything_and_the_stub_nothing(assignment, room, tmp_path):
    full = sum(questions.QUESTIONS[assignment].values())
    for seed in range(3):
        sheet, lost = graded(read(assignment), tmp_path / "r.ipynb", room, seed=seed)
        assert (sheet.assignment, sheet.points, sheet.of, lost) == (assignment, full, full, {})
    sheet, lost = graded(read(assignment, "release"), tmp_path / "s.ipynb", room)
    assert sheet.points == 0 and set(lost.values()) == {"not answered yet"}


CASES = [(assignment, *case) for assignment, cases in MUTANTS.items() for case in cases]


@pytest.mark.parametrize("assignment, question, sound, wrong", CASES)
def test_a_wrong_solution_loses_exactly_its_marks(
    assignment, question, sound, wrong, room, tmp_path
):
    notebook = read(assignment)
    (cell,) = (c for c in notebook.cells if f"def {questions.function(question)}(" in c.source)
    head, body = cell.source.split(BEGIN)
    assert body.count(sound) >= 1, "the mutant changes nothing"
    cell.source = head + BEGIN + body.replace(sound, wrong)
    for seed in (0, 1):
        sheet, lost = graded(notebook, tmp_path / "m.ipynb", room, seed=seed)
        assert list(lost) == [question]
        assert sheet.of - sheet.points == questions.QUESTIONS[assignment][question]


@pytest.mark.parametrize("assignment", IDS)
def test_the_bank_has_five_wrong_solutions_and_one_for_every_question(assignment):
    held = [question for question, *_ in MUTANTS[assignment]]
    assert len(held) >= 5 and set(held) == set(questions.QUESTIONS[assignment])


def test_lessons_and_assignments_are_not_confused():
    assert not {path.stem for path in runner.select()} & set(IDS)
    with pytest.raises(UsageError, match="unknown lesson 'a1'"):
        runner.select(["a1"])


def test_release_says_which_are_stale_and_refuses_open_regions(tmp_path):
    for name in ("a1", "a2"):
        place = tmp_path / "source" / name
        place.mkdir(parents=True)
        nbformat.write(read("a1"), place / f"{name}.ipynb")
    written = release.release(folder=tmp_path)
    assert [path.name for path in written] == ["a1.ipynb", "a2.ipynb"]
    assert release.release(folder=tmp_path, check=True) == []
    changed = read("a1")
    changed.cells[0].source += "!"
    nbformat.write(changed, tmp_path / "source" / "a2" / "a2.ipynb")
    assert [path.name for path in release.release(folder=tmp_path, check=True)] == ["a2.ipynb"]
    with pytest.raises(UsageError, match="unknown assignment 'a3'"):
        release.release(["a3"], folder=tmp_path)
    cell = of_kind(changed, "solution")[0]
    cell.source = cell.source.replace(END, "")
    nbformat.write(changed, tmp_path / "source" / "a2" / "a2.ipynb")
    with pytest.raises(UsageError, match="BEGIN SOLUTION has no END"):
        release.release(folder=tmp_path)


def test_plain_python_in_submissions_is_untouched():
    cell = "x = (\n    3\n    % 2\n)\ntext = '''\n!ls\n'''\n"
    found, problems = submission.statements([cell])
    assert len(found) == 2 and problems == []
