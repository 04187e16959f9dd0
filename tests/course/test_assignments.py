"""Every assignment: sound format, fresh release, full marks for the reference, none for the stub,
and wrong solutions that each lose exactly the marks of their question."""

import ast
import copy
import importlib.util
import os
import re
import runpy
import tomllib
from pathlib import Path

import nbformat
import pytest

from bsrnn import cli
from bsrnn.common import UsageError
from bsrnn.course import grading, questions, release, sandbox
from bsrnn.course.world import program

MUTANTS = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text(encoding="utf-8"))
BUGS = MUTANTS.pop("bugs")

SOURCES = release.sources()
IDS = list(questions.QUESTIONS)
SEED = int(os.environ.get("BSRNN_TEST_SEED", 0))  # of the wrong solutions
NBGRADER = pytest.mark.skipif(
    importlib.util.find_spec("nbgrader") is None,
    reason="nbgrader is not installed: pip install -e '.[course]'",
)
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


def read(assignment, kind="source"):
    path = release.ASSIGNMENTS / kind / assignment / f"{assignment}.ipynb"
    return nbformat.read(path, as_version=4)


def graded(assignment, notebook, path, seed=0):
    """(sheet, {question without points: feedback}) of a notebook written to `path`."""
    nbformat.write(notebook, path)
    sheet = grading.grade(path, seed=seed)
    assert sheet.assignment == assignment, "told by its functions"
    lost = {mark.question: mark.feedback for mark in sheet.marks if mark.points < mark.of}
    return sheet, lost


class Here:
    """The functions of a notebook in this process: what a `Sandbox` answers, without its walls."""

    def __init__(self, notebook):
        self.space = {}
        marked = [c for c in notebook.cells if c.cell_type == "code" and "nbgrader" in c.metadata]
        for cell in marked:
            if not cell.metadata.nbgrader.grade and "-test" not in cell.metadata.nbgrader.grade_id:
                exec(cell.source, self.space)

    def call(self, name, *arguments, run=None):
        try:
            return (run or self.space[name])(*copy.deepcopy(arguments))
        except Exception as error:
            raise sandbox.StudentError(f"{type(error).__name__}: {error}") from None

    def train(self, name, **case):
        witness = runpy.run_path(str(sandbox.WORLD))["_train_case"]
        return self.call(name, case, run=lambda case: witness(self.space[name], **case))

    def flags(self, name, **rules):
        return []


def marks_here(assignment, notebook, seed=0):
    """Question -> Mark of a notebook that does no harm, graded in this process."""
    asked = questions.QUESTIONS[assignment]
    return dict(zip(asked, grading._marks(Here(notebook), assignment, asked, seed), strict=True))


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
    assert 3 <= len(asked) <= 7
    assert len(solutions(assignment)) == len({questions.function(q) for q in asked})
    points, grades = {}, [c for c in of_kind(notebook, "grade") if c.cell_type == "code"]
    for cell in grades:
        own = cell.metadata.nbgrader
        called = re.search(rf'course\.examine\("{assignment}", "([\w.]+)"\)', cell.source)[1]
        points[called] = own.points
        assert own.locked and not own.solution and own.grade_id.endswith("-grade")
        assert f"Graded here: {called}, {own.points} point" in cell.source
    worth = {question: questions.points(assignment, question) for question in asked}
    assert points == worth and list(points) == list(asked), "same questions, points and order"
    for cell in notebook.cells:
        own = cell.metadata.get("nbgrader", {"schema_version": 3})
        assert own["schema_version"] == 3 and not cell.get("outputs")
    total = sum(c.metadata.nbgrader.points for c in of_kind(notebook, "grade"))
    assert total == questions.total(assignment)
    assert f"**Points:** {total}" in notebook.cells[0].source
    for name, cell in solutions(assignment).items():
        body = cell.source.split(BEGIN)[1].split(END)[0].strip("\n").splitlines()
        assert len(body) <= 15, f"{name}: {len(body)} lines"
        assert '"""' in cell.source.split(BEGIN)[0], f"{name}: no docstring for the student"


def test_a_third_of_the_points_is_on_sound_pictures_and_decisions():
    asked = {q: (a, q) for a, one in questions.QUESTIONS.items() for q in one}
    ears = [each["ears"] for each in questions.ASSIGNMENTS.values() if "ears" in each]
    heard = sum(questions.points(*asked[name]) for name in ears)
    by_hand = questions.ASSIGNMENTS["a8"]["by_hand"]
    heard += by_hand["B2"] + by_hand["B3"]  # boards, worst songs
    assert 3 * heard >= sum(map(questions.total, IDS))


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


@NBGRADER
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
def test_reference_gets_everything_and_the_stub_nothing(assignment, tmp_path):
    full = sum(questions.points(assignment, q) for q in questions.QUESTIONS[assignment])
    for seed in range(2):
        sheet, lost = graded(assignment, read(assignment), tmp_path / "r.ipynb", seed)
        assert (sheet.points, sheet.of, lost) == (full, full, {})
    sheet, lost = graded(assignment, read(assignment, "release"), tmp_path / "s.ipynb")
    assert sheet.points == 0 and set(lost.values()) == {"not answered yet"}


@pytest.mark.parametrize("assignment", IDS)
def test_a_right_notebook_is_right_whatever_the_seed(assignment):
    for seed in range(2, 8):  # the moments of the clip differ: a stem may be nearly silent
        marks = marks_here(assignment, read(assignment), seed)
        assert not [mark for mark in marks.values() if mark.points < mark.of], seed


CASES = [(assignment, *case) for assignment, cases in MUTANTS.items() for case in cases]


@pytest.mark.parametrize("assignment, question, sound, wrong", CASES)
def test_a_wrong_solution_loses_exactly_its_marks(assignment, question, sound, wrong):
    notebook = read(assignment)
    (cell,) = (c for c in notebook.cells if f"def {questions.function(question)}(" in c.source)
    head, body = cell.source.split(BEGIN)
    assert body.count(sound) >= 1, "the mutant changes nothing"
    cell.source = head + BEGIN + body.replace(sound, wrong)
    marks = marks_here(assignment, notebook, SEED)
    assert [q for q, mark in marks.items() if mark.points < mark.of] == [question]


@pytest.mark.parametrize("repaired", [None, *BUGS])
def test_the_five_bugs_of_a6_are_graded_apart(repaired):
    notebook = read("a6")
    (broken,) = (c.source for c in notebook.cells if "def broken_train(" in c.source)
    (cell,) = (c for c in notebook.cells if "def train(" in c.source)
    line, better = BUGS.get(repaired, ("", ""))
    clip = "                torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)"
    better = better.format(clip=clip, zero="                optimizer.zero_grad()")
    assert line in broken
    cell.source = broken.replace("broken_train", "train").replace(line or "\0", better)
    marks = marks_here("a6", notebook)
    assert {q for q, mark in marks.items() if mark.points < mark.of} == set(BUGS) - {repaired}


@pytest.mark.parametrize("assignment", IDS)
def test_the_bank_has_five_wrong_solutions_and_one_for_every_question(assignment):
    held = [question for question, *_ in MUTANTS[assignment]]
    assert len(held) >= 5 and set(held) == set(questions.QUESTIONS[assignment])


@NBGRADER
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
    with pytest.raises(UsageError, match="no end solution statement"):
        release.release(folder=tmp_path)


def test_plain_python_in_submissions_is_untouched():
    cell = "x = (\n    3\n    % 2\n)\ntext = '''\n!ls\n'''\n"
    found, problems = program.statements([cell])
    assert len(found) == 2 and problems == []


# The teacher's guide


def guide() -> str:
    return (release.ASSIGNMENTS / "README.md").read_text(encoding="utf-8")


def test_the_guide_has_the_right_points_and_all_weeks():
    for assignment in IDS:
        total = sum(c.metadata.nbgrader.points for c in of_kind(read(assignment), "grade"))
        needs = "torch" if "import torch" in read(assignment).cells[1].source else "numpy"
        row = next(line for line in guide().splitlines() if line.startswith(f"| {assignment} |"))
        assert row.endswith(f"| {total} | {needs} |")
    weeks = re.findall(r"(?m)^\| (\d+) \|", guide())
    assert weeks == [str(week) for week in range(1, 15)]
    for assignment in IDS:  # handed out, then due
        cells = [line.split("|") for line in guide().splitlines() if re.match(r"\| \d+ \|", line)]
        out, due = ([n for n, c in enumerate(cells) if assignment in c[k]] for k in (3, 4))
        assert len(out) == len(due) == 1 and out < due
        needed = re.search(rf"(?m)^\| {assignment} \|[^|]*\| ([\d, ]+) \|", guide())[1].split(", ")
        weeks = [next(n for n, c in enumerate(cells) if f"{nb} " in c[2]) for nb in needed]
        assert max(weeks) <= out[0], f"{assignment} is handed out before its lessons are read"


@NBGRADER
def test_the_commands_of_the_guide_work(tmp_path, monkeypatch, capsys):
    commands = re.findall(r"<!-- run -->\n```bash\npython -m bsrnn (.*)\n```", guide())
    assert len(commands) == 2
    folder = tmp_path / "SUBMISSIONS"
    folder.mkdir()
    nbformat.write(read("a1"), folder / "a1_maria.ipynb")
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert cli.main(command.split()) == 0, capsys.readouterr().err
    assert "released and fresh" in (text := capsys.readouterr().out)
    assert "a1, 16 of 16 points" in text
    last = (tmp_path / "marks.csv").read_text().splitlines()[-1]
    assert ",total,16,16," in last
