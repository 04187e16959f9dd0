"""nbgrader agrees: the same released notebooks, the same marks for the same submissions."""

import os
import shutil
import sys

import nbformat
import pytest

from bsrnn.common import ROOT
from bsrnn.course import grading, questions, release
from bsrnn.course.sandbox import Limits

pytest.importorskip("nbgrader", reason="nbgrader is not installed: pip install -e '.[course]'")
IDS = list(questions.QUESTIONS)
SEED = 5
HOSTILE = {  # function -> body instead of its own
    "frames_of": "import time\n    time.sleep(3600)",
    "my_stft": "import sys\n    sys.exit()",
    "is_cola": "return np.ones(2**40)",
}


def read(assignment, kind="source"):
    path = release.ASSIGNMENTS / kind / assignment / f"{assignment}.ipynb"
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """course(Converter, assignment) runs a step of nbgrader in a copy of the course folder."""
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import Config

    here = os.path.dirname(sys.executable)  # nbgrader calls alembic by its name
    patch = pytest.MonkeyPatch()
    patch.setenv("PATH", os.pathsep.join([here, os.environ["PATH"]]))
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.setenv(grading.SEED_VARIABLE, str(SEED))
    root = tmp_path_factory.mktemp("nbgrader")
    for kind in ("source", "release"):  # as in a clone, which has both
        shutil.copytree(release.ASSIGNMENTS / kind, root / kind)
    config = Config()
    text = (release.ASSIGNMENTS / "nbgrader_config.py").read_text()
    exec(text, {"get_config": lambda: config})
    assert config.Execute.timeout > 30, "a question may wait 30 s"
    config.Execute.timeout = 6
    config.CourseDirectory.root = str(root)

    def run(converter, assignment):
        config.CourseDirectory.assignment_id = assignment
        directory = CourseDirectory(config=config)
        converter(coursedir=directory, config=config).start()
        return root

    run.root = root
    run.database = f"sqlite:///{root}/gradebook.db"
    yield run
    patch.undo()


@pytest.fixture(scope="module")
def released(course):
    from nbgrader.converters import GenerateAssignment

    for assignment in IDS:
        course(GenerateAssignment, assignment)
    return course.root / "release"


@pytest.mark.parametrize("assignment", IDS)
def test_release_is_what_nbgrader_generates(assignment, released):
    theirs = nbformat.read(released / assignment / f"{assignment}.ipynb", as_version=4)
    ours = read(assignment, "release")
    assert len(ours.cells) == len(theirs.cells)
    for mine, other in zip(ours.cells, theirs.cells, strict=True):
        assert mine == other
    assert ours.metadata == theirs.metadata


def half_right(assignment):
    """The reference with the stub in place of every second function."""
    notebook, stub = read(assignment), read(assignment, "release")
    own = [
        n for n, c in enumerate(notebook.cells) if c.metadata.get("nbgrader", {}).get("solution")
    ]
    own = [n for n in own if notebook.cells[n].cell_type == "code"]
    for place in own[1::2]:
        notebook.cells[place].source = stub.cells[place].source
    return notebook


def hostile(assignment):
    """Every accident in one notebook: only the rest may get marks."""
    notebook = read(assignment)
    for cell in list(notebook.cells):
        for name, body in HOSTILE.items():
            if f"def {name}(" in cell.source:
                cell.source = f"{cell.source.split(chr(10))[0]}\n    {body}"
        if "def my_istft(" in cell.source:
            twin = nbformat.from_dict(cell)
            twin["id"] = "twin"
            notebook.cells.append(twin)
    for number, source in enumerate(
        ["import no_such_module", "this is not python", "%%bash\nfalse"]
    ):
        notebook.cells.insert(2, nbformat.v4.new_code_cell(source, id=f"mess-{number}"))
    return notebook


SUBMISSIONS = [
    ("a1", "reference", read),
    ("a1", "stub", lambda assignment: read(assignment, "release")),
    ("a1", "hostile", hostile),
    ("a8", "half", half_right),
]


def test_autograde_gives_the_same_marks(course, released):
    from nbgrader.api import Gradebook
    from nbgrader.converters import Autograde

    submitted = [row for row in SUBMISSIONS if row[0] in IDS]
    paths = {}
    for assignment, student, make in submitted:
        path = course.root / "submitted" / student / assignment / f"{assignment}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(make(assignment), path)
        paths[assignment, student] = path
    for assignment in dict.fromkeys(assignment for assignment, _ in paths):
        course(Autograde, assignment)
    with Gradebook(course.database) as book:
        for (assignment, student), path in paths.items():
            sheet = grading.grade(path, assignment, SEED, Limits(1))
            found = book.find_submission_notebook(assignment, assignment, student)
            theirs = {grade.name: grade.auto_score for grade in found.grades}
            ours = {m.question.replace(".", "-").replace("_", "-"): m.points for m in sheet.marks}
            ours = {f"{name}-grade": points for name, points in ours.items()}
            auto = {name: score for name, score in theirs.items() if name in ours}
            assert auto == ours, f"{student}: {sheet.text()}"
    sheets = {
        student: grading.grade(path, limits=Limits(1)).points
        for (_, student), path in paths.items()
    }
    assert sheets["reference"] == 16 and sheets["stub"] == 0
    assert sheets["hostile"] == 9, "grid, my_istft and sharpest survive"
