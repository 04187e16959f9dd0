"""The grader survives what students hand in: each accident costs one question, nothing more."""

import csv
import io
import json
import subprocess
import sys

import nbformat
import pytest

from bsrnn import cli
from bsrnn.common import DataError, UsageError
from bsrnn.course import grading, questions, release, submission
from bsrnn.course.room import Room

A1 = release.ASSIGNMENTS / "source" / "a1" / "a1.ipynb"
HOSTILE = {  # body of a function -> what the feedback says
    "while True:\n        pass": "loop without an end",
    "import time\n    time.sleep(3600)": "loop without an end",
    "hog = []\n    while True:\n        hog.append(bytearray(2**24))": "MB of memory",
    "return np.ones(2**40)": "MB of memory",
    "import sys\n    sys.exit(0)": "ended the program",
    "import os\n    os._exit(0)": "ended its own process",
    "import os, signal\n    os.kill(os.getpid(), signal.SIGSEGV)": "signal 11",
    "import no_such_module": "ModuleNotFoundError",
    "return input('hop?')": "EOFError",
    "return 'text'": "numbers expected, not str",
    "pass": "nothing comes back",
    "return [[1, 2], 3]": "numbers expected",
    "raise RuntimeError('line one\\nline two')": "RuntimeError: line one",
    "return frames_of(x, n_fft, hop)": "RecursionError",
    "import os, time\n    os.fork() or time.sleep(3600)\n    return np.ones(1)": "frames",
}


@pytest.fixture(scope="module")
def room():
    with Room([questions.module("a1")]) as room:
        yield room


@pytest.fixture
def submit(tmp_path):
    """submit(edit, name="mia.ipynb") -> path of the reference of a1 after edit(notebook)."""

    def write(edit=lambda notebook: None, name="mia.ipynb"):
        notebook = nbformat.read(A1, as_version=4)
        edit(notebook)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        return path

    return write


def cell_of(notebook, function):
    return next(c for c in notebook.cells if f"def {function}(" in c.source)


def code(source):
    return nbformat.v4.new_code_cell(source)


def lost(sheet):
    """Questions without points -> feedback."""
    return {mark.question: mark.feedback for mark in sheet.marks if mark.points < mark.of}


def test_reference_gets_everything(room, submit):
    sheet = grading.grade(submit(), room=room)
    assert (sheet.assignment, sheet.points, sheet.of, lost(sheet)) == ("a1", 11, 11, {})


@pytest.mark.parametrize("body, words", HOSTILE.items(), ids=lambda text: text.split("\n")[0])
def test_an_accident_costs_one_question(room, submit, body, words):
    def edit(notebook):
        head = "def frames_of(x, n_fft, hop):\n    "
        cell_of(notebook, "frames_of").source = head + body

    sheet = grading.grade(submit(edit), seconds=1, megabytes=256, room=room)
    assert list(lost(sheet)) == ["frames_of"]
    assert words in lost(sheet)["frames_of"]
    assert len(sheet.text().splitlines()) == 6, "one line of feedback each"


def test_a_function_that_kills_the_room_costs_one_question(room, submit):
    def edit(notebook):
        body = "import os, signal\n    os.kill(os.getppid(), signal.SIGKILL)"
        cell_of(notebook, "frames_of").source = f"def frames_of(x, n_fft, hop):\n    {body}"

    sheet = grading.grade(submit(edit), room=room)
    assert list(lost(sheet)) == ["frames_of"]


def test_nothing_is_left_running(room, submit, tmp_path):
    mark = f"orphan-{tmp_path.name}"

    def edit(notebook):
        body = f"subprocess.Popen(['sleep', '3600'], env={{'MARK': '{mark}'}})"
        source = f"import subprocess\ndef frames_of(x, n_fft, hop):\n    {body}"
        cell_of(notebook, "frames_of").source = source

    assert list(lost(grading.grade(submit(edit), room=room))) == ["frames_of"]
    found = subprocess.run(
        f"grep -lsa {mark} /proc/[0-9]*/environ", shell=True, capture_output=True, text=True
    )
    assert found.stdout == ""


def test_a_missing_import_costs_those_who_use_it(room, submit):
    def edit(notebook):
        notebook.cells.insert(2, code("import no_such_module as nsm\nimport numpy.fft\n"))
        cell = cell_of(notebook, "frames_of")
        cell.source = cell.source.replace("np.pad(", "nsm.pad(")

    sheet = grading.grade(submit(edit), room=room)
    assert list(lost(sheet)) == ["frames_of"]
    assert "No module named 'no_such_module'" in lost(sheet)["frames_of"]


def test_experiments_magics_and_side_effects_do_no_harm(room, submit, tmp_path):
    bad = tmp_path / "written"

    def edit(notebook):
        notebook.cells[2:2] = [
            code("%matplotlib inline\n!pip install x\nx = !ls\nfrom numpy import linalg\n?print"),
            code("%%bash\ndef frames_of\nrm -rf everything"),
            code("while True:\n    pass"),
            code(f"open({str(bad)!r}, 'w').write('x')\nraise SystemExit"),
            code("got = frames_of(None, 1, 1)\nwindow = hop = x = length = 'global'"),
            code("this is not python"),
            code("def helper():\n    return 1 / 0\n\nhelper()"),
            code("get_ipython().system('x')\ndisplay(1)"),
        ]
        cell = cell_of(notebook, "frames_of")
        cell.source = "%%time\n" + cell.source
        cell = cell_of(notebook, "my_stft")
        cell.source = "%load_ext x\n" + cell.source
        for cell in notebook.cells:
            cell.metadata = {}  # as after a round through another editor

    assert lost(grading.grade(submit(edit), room=room)) == {}
    assert not bad.exists()


def test_helpers_constants_and_decorators_come_along(room, submit):
    def edit(notebook):
        notebook.cells.insert(2, code("import functools\nTABLE = {}\nTABLE['half'] = 2"))
        notebook.cells.insert(3, code("def half(n):\n    return n // TABLE['half']"))
        notebook.cells.insert(4, code("same = lambda f: functools.wraps(f)(f)"))
        cell = cell_of(notebook, "frames_of")
        cell.source = "@same\n" + cell.source.replace("n_fft // 2", "half(n_fft)")

    assert lost(grading.grade(submit(edit), room=room)) == {}


def test_a_duplicated_cell_costs_nothing_or_one_question(room, submit):
    stub = "def frames_of(x, n_fft, hop):\n    raise NotImplementedError()"

    def twice(notebook):
        notebook.cells.append(cell_of(notebook, "frames_of"))

    def stub_below(notebook):
        notebook.cells.append(code(stub))

    def stub_above(notebook):
        notebook.cells.insert(0, code(stub))

    assert lost(grading.grade(submit(twice), room=room)) == {}
    assert lost(grading.grade(submit(stub_above), room=room)) == {}
    found = lost(grading.grade(submit(stub_below), room=room))
    assert found == {"frames_of": "not answered yet"}, "the last definition counts"


@pytest.mark.parametrize(
    "source, words",
    [
        ("", "no function `frames_of` in the notebook"),
        ("frames_of = 3", "`frames_of` is not a function"),
        ("def frames_of(x:\n    return x", "is not valid Python (line 1"),
        ("def frames_of(x, n_fft, hop=1 / 0):\n    return x", "fails (ZeroDivisionError"),
        ("def frames_of(x):\n    return x", "TypeError"),
    ],
)
def test_missing_and_broken_definitions_are_explained(room, submit, source, words):
    def edit(notebook):
        cell_of(notebook, "frames_of").source = source

    found = lost(grading.grade(submit(edit), room=room))
    assert list(found) == ["frames_of"]
    assert words in found["frames_of"]


def test_the_seed_draws_other_inputs(room, submit):
    def edit(notebook):  # right for most rates
        cell = cell_of(notebook, "grid")
        wrong = "sample_rate -= sample_rate % 20 == 7\n    return "
        cell.source = cell.source.replace("return ", wrong)

    path = submit(edit)
    points = [grading.grade(path, seed=seed, room=room).points for seed in range(6)]
    assert set(points) == {10, 11}
    assert points[:2] == [grading.grade(path, seed=seed, room=room).points for seed in (0, 1)]


def test_what_a_name_needs_and_no_more():
    cells = [
        "import numpy as np, os\nN = 3\nunused = boom()",
        "def f(x):\n    y = [g(v) for v in x]\n    return y, N, np",
        "def g(v):\n    class Inner:\n        size = M\n    return Inner.size",
        "if N:\n    M = 4\nx = v = y = boom()",
    ]
    found, failures = submission.function(cells, "f")
    assert found([1, 2])[:2] == ([4, 4], 3) and failures == {}
    assert set(found.__globals__) >= {"np", "N", "M", "g"}
    assert not {"unused", "x", "v", "y"} & set(found.__globals__)


# The command


def call(capsys, *words):
    code = cli.main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_folder_of_submissions(capsys, submit, tmp_path):
    def wrong(notebook):
        cell = cell_of(notebook, "is_cola")
        cell.source = cell.source.replace("window**2", "window")

    submit(name="in/mia/a1.ipynb")
    submit(wrong, name="in/noor/a1.ipynb")
    submit(name="in/noor/.ipynb_checkpoints/a1.ipynb")
    (tmp_path / "in" / "broken.ipynb").write_text("{")
    empty = nbformat.v4.new_notebook()
    nbformat.write(empty, tmp_path / "in" / "empty.ipynb")
    out = tmp_path / "marks.csv"
    code, text, error = call(capsys, "course", "grade", tmp_path / "in", "--out", out, "--seed", 3)
    assert code == 1 and error.count("\n") == 1 and "broken.ipynb" in error
    assert "a1, 11 of 11 points" in text and "a1, 9 of 11 points" in text
    assert "cannot tell which assignment" in text and "is no notebook" in text
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    totals = {r["submission"].split("/")[-2]: r["points"] for r in rows if r["question"] == "total"}
    assert totals == {"in": "0", "mia": "11", "noor": "9"}
    assert {r["seed"] for r in rows} == {"3"} and len(rows) == 2 + 2 * 6


def test_one_submission_as_json(capsys, submit, tmp_path):
    out = tmp_path / "marks.json"
    path = submit(name="mias work.ipynb")
    assert call(capsys, "course", "grade", path, "--assignment", "a1", "--out", out)[0] == 0
    (sheet,) = json.loads(out.read_text())
    assert (sheet["assignment"], sheet["points"], sheet["of"]) == ("a1", 11, 11)
    assert sheet["marks"][0]["question"] == "grid"


@pytest.mark.parametrize(
    "words, message",
    [
        (["no.ipynb"], "no file or folder no.ipynb"),
        (["HERE", "--assignment", "b1"], "unknown assignment 'b1'"),
        (["HERE", "--seed", "-1"], "seed is -1"),
        (["HERE", "--out", "marks.xls"], "ending of --out"),
        (["HERE", "--out", "/no/such/marks.csv"], "no folder /no/such"),
        (["EMPTY"], "no notebooks in"),
    ],
)
def test_misuse_is_one_line(capsys, submit, tmp_path, words, message):
    places = {"HERE": submit(), "EMPTY": tmp_path / "empty"}
    places["EMPTY"].mkdir()
    code, out, error = call(capsys, "course", "grade", *(places.get(w, w) for w in words))
    assert code == 2 and out == "" and message in error and error.count("\n") == 1


def test_limits_and_types_are_checked(submit, tmp_path):
    with pytest.raises(UsageError, match="seconds is 0"):
        grading.grade(submit(), seconds=0)
    with pytest.raises(DataError, match="is no notebook"):
        grading.grade(tmp_path)


def test_grading_loads_no_torch_where_no_question_needs_it(submit):
    run = (
        "import sys; from bsrnn.course import grading; grading.grade(sys.argv[1]); "
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", run, submit()], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
