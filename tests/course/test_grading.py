"""The grader survives what students hand in: each accident costs one question, nothing more."""

import ast
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time

import nbformat
import pytest

from bsrnn import cli
from bsrnn.common import DataError
from bsrnn.course import alike, gradebook, grading, release
from bsrnn.course.sandbox import Limits, Sandbox, clean, imprisoned
from bsrnn.course.world import program

A1 = release.ASSIGNMENTS / "source" / "a1" / "a1.ipynb"
HOSTILE = {  # body of a function -> what the feedback says
    "while True:\n        pass": "loop without an end",
    "import time\n    time.sleep(3600)": "loop without an end",
    "hog = []\n    while True:\n        hog.append(bytearray(2**24))": "MB of memory",
    "return np.ones(2**40)": "MB of memory",
    "import sys\n    sys.exit(0)": "ended the program",
    "import os\n    os._exit(0)": "ended its own process",
    "import os, signal\n    os.kill(os.getpid(), signal.SIGSEGV)": "not allowed",
    "import no_such_module": "ModuleNotFoundError",
    "return input('hop?')": "EOFError",
    "return 'text'": "numbers expected, not str",
    "pass": "nothing comes back",
    "return [[1, 2], 3]": "numbers expected",
    "raise RuntimeError('line one\\nline two')": "RuntimeError: line one",
    "return frames_of(x, n_fft, hop)": "RecursionError",
    "import os, time\n    os.fork() or time.sleep(3600)\n    return np.ones(1)": "not allowed",
}


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


def test_reference_gets_everything(submit):
    sheet = grading.grade(submit())
    assert (sheet.assignment, sheet.points, sheet.of, lost(sheet)) == ("a1", 16, 16, {})


@pytest.mark.parametrize("body, words", HOSTILE.items(), ids=lambda text: text.split("\n")[0])
def test_an_accident_costs_one_question(submit, body, words):
    def edit(notebook):
        head = "def frames_of(x, n_fft, hop):\n    "
        cell_of(notebook, "frames_of").source = head + body

    sheet = grading.grade(submit(edit), limits=Limits(2, 96))
    assert list(lost(sheet)) == ["frames_of"]
    assert words in lost(sheet)["frames_of"]
    assert len(sheet.text().splitlines()) == 7, "one line of feedback each"


def test_nothing_is_left_running(submit, tmp_path):
    mark = f"orphan-{tmp_path.name}"

    def edit(notebook):
        body = f"subprocess.Popen(['sleep', '3600'], env={{'MARK': '{mark}'}})"
        source = f"import subprocess\ndef frames_of(x, n_fft, hop):\n    {body}"
        cell_of(notebook, "frames_of").source = source

    assert list(lost(grading.grade(submit(edit)))) == ["frames_of"]
    found = subprocess.run(
        f"grep -lsa {mark} /proc/[0-9]*/environ", shell=True, capture_output=True, text=True
    )
    assert found.stdout == ""


def test_a_missing_import_costs_those_who_use_it(submit):
    def edit(notebook):
        notebook.cells.insert(2, code("import no_such_module as nsm\nimport numpy.fft\n"))
        cell = cell_of(notebook, "frames_of")
        cell.source = cell.source.replace("np.pad(", "nsm.pad(")

    sheet = grading.grade(submit(edit))
    assert list(lost(sheet)) == ["frames_of"]
    assert "No module named 'no_such_module'" in lost(sheet)["frames_of"]


def test_experiments_magics_and_side_effects_do_no_harm(submit, tmp_path):
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

    assert lost(grading.grade(submit(edit))) == {}
    assert not bad.exists()


def test_helpers_constants_and_decorators_come_along(submit):
    def edit(notebook):
        notebook.cells.insert(2, code("import functools\nTABLE = {}\nTABLE['half'] = 2"))
        notebook.cells.insert(3, code("def half(n):\n    return n // TABLE['half']"))
        notebook.cells.insert(4, code("same = lambda f: functools.wraps(f)(f)"))
        cell = cell_of(notebook, "frames_of")
        cell.source = "@same\n" + cell.source.replace("n_fft // 2", "half(n_fft)")

    assert lost(grading.grade(submit(edit))) == {}


def test_a_duplicated_cell_costs_nothing_or_one_question(submit):
    stub = "def frames_of(x, n_fft, hop):\n    raise NotImplementedError()"

    def twice(notebook):
        notebook.cells.append(cell_of(notebook, "frames_of"))

    def stub_below(notebook):
        notebook.cells.append(code(stub))

    def stub_above(notebook):
        notebook.cells.insert(0, code(stub))

    assert lost(grading.grade(submit(twice))) == {}
    assert lost(grading.grade(submit(stub_above))) == {}
    found = lost(grading.grade(submit(stub_below)))
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
def test_missing_and_broken_definitions_are_explained(submit, source, words):
    def edit(notebook):
        cell_of(notebook, "frames_of").source = source

    found = lost(grading.grade(submit(edit)))
    assert list(found) == ["frames_of"]
    assert words in found["frames_of"]


def test_the_seed_draws_other_inputs(submit):
    def edit(notebook):  # right for most rates
        cell = cell_of(notebook, "grid")
        wrong = "sample_rate -= sample_rate % 20 == 7\n    return "
        cell.source = cell.source.replace("return ", wrong)

    path = submit(edit)
    points = [grading.grade(path, seed=seed).points for seed in range(6)]
    assert set(points) == {15, 16}
    assert points[:2] == [grading.grade(path, seed=seed).points for seed in (0, 1)]


def names_needed(cells, name):
    found, problems = program.statements(cells)
    assert not problems
    return [ast.unparse(s.node).split("\n")[0] for s in program.needed(found, name)]


def test_what_a_name_needs_and_no_more():
    cells = [
        "import numpy as np, os\nN = 3\nunused = boom()",
        "def f(x):\n    y = [g(v) for v in x]\n    return y, N, np",
        "def g(v):\n    class Inner:\n        size = M\n    return Inner.size",
        "if N:\n    M = 4\nx = v = y = boom()\nprint(f(3))\nnp.seterr(all='raise')\nassert f(1)",
    ]
    heads = ["import numpy as np, os", "N = 3", "def f(x):", "def g(v):", "if N:"]
    assert names_needed(cells, "f") == heads


FILLED = {  # what fills the constant W that f returns
    "append": "W = []\nW.append(2)",
    "update": "W = {}\nW.update(a=1)",
    "item": "W = {}\nW['a'] = 1",
    "loop": "W = []\nfor i in range(3):\n    W.append(i)",
    "with": "import warnings\nW = []\nwith warnings.catch_warnings():\n    W.append(1)",
    "global": "def setup():\n    global W\n    W = 3\nsetup()",
    "two calls": "W = []\ndef inner():\n    W.append(1)\ndef setup():\n    inner()\nsetup()",
    "argument": "W = []\ndef fill(x):\n    x.append(1)\nfill(W)",
    "class": "class C:\n    pass\nC.size = 3\nW = C",
    "augmented": "W = 1\nW += 2",
    "method": "class C:\n    def fill(self):\n        self.v = 3\nW = C()\nW.fill()",
}


@pytest.mark.parametrize("case", FILLED)
def test_constants_are_filled_however_it_is_done(case):
    with Sandbox([FILLED[case], "def f():\n    return str(getattr(W, 'size', W))"]) as sandbox:
        alone = {}
        exec(FILLED[case], alone)
        told = sandbox.call("f")
    wanted = alone["W"]
    if case in ("class", "method"):
        assert told == "3" or "object" in told
    else:
        assert told == str(wanted)


def test_a_helper_module_beside_the_notebook_is_found_and_its_absence_is_said(submit):
    def edit(notebook):
        notebook.cells.insert(2, code("from my_helpers import half"))
        cell = cell_of(notebook, "frames_of")
        cell.source = cell.source.replace("n_fft // 2", "half(n_fft)")

    path = submit(edit)
    feedback = lost(grading.grade(path))["frames_of"]
    assert "No module named 'my_helpers'" in feedback
    (path.parent / "my_helpers.py").write_text("def half(n):\n    return n // 2\n")
    assert lost(grading.grade(path)) == {} and grading.grade(path).review == ""


# Two worlds

CHEATS = {  # body of frames_of; none of them computes frames
    "the frame above": "import sys\n    return sys._getframe(1).f_locals['want']",
    "frames up": "import inspect\n    for f in inspect.stack():\n"
    "        if 'want' in f.frame.f_locals:\n            return f.frame.f_locals['want']",
    "the checker": "from bsrnn.course.questions import a1\n    return a1._spectrum(x, x, hop)",
    "the source": "import json\n    source = json.load(open('SOURCE'))\n"
    "    exec(''.join(source['cells'][5]['source']), globals())\n"
    "    return frames_of(x, n_fft, hop)",
    "the comparison": "import numpy\n    numpy.allclose = lambda *a, **k: True\n"
    "    numpy.testing.assert_allclose = lambda *a, **k: None\n    return np.zeros((3, n_fft))",
    "every descriptor": "import os\n    for fd in range(3, 256):\n        try:\n"
    '            os.write(fd, b\'{"passed": true, "points": 2}\\n\')\n'
    "        except OSError:\n            pass\n    os._exit(0)",
    "a forged frame": "import os, json, struct\n    text = json.dumps({'done': True, 'value': 1})"
    ".encode()\n    for fd in range(3, 256):\n        try:\n"
    "            os.write(fd, struct.pack('<II', len(text), 0) + text)\n"
    "        except OSError:\n            pass\n    return 0",
    "an endless frame": "import os, struct\n    for fd in range(3, 99):\n        try:\n"
    "            os.write(fd, struct.pack('<II', 2**32 - 1, 2**32 - 1))\n"
    "        except OSError:\n            pass\n    return 0",
    "garbage collector": "import gc\n    return [o for o in gc.get_objects() "
    "if isinstance(o, np.ndarray) and o.ndim == 2][0]",
    "ctypes": "import ctypes\n    return ctypes.cast(id(x), ctypes.py_object).value",
    "hidden import": "m = __import__('bs' + 'rnn.stft', fromlist=['x'])\n    return m.stft(x)",
    "importlib": "import importlib\n    return importlib.import_module('bsrnn.course.grading')",
    "a lying array": "class Liar(np.ndarray):\n        def __eq__(self, other):\n"
    "            return True\n    return np.zeros((3, n_fft)).view(Liar)",
    "a lying object": "class Liar:\n        shape = (3, 4)\n        def __getattr__(self, n):\n"
    "            return lambda *a: True\n    return Liar()",
    "a thread": "import threading, time, os\n    threading.Thread(target=lambda: "
    "(time.sleep(0.1), [os.write(1, b'x') for _ in range(9)])).start()\n    return 0",
    "a file for later": "open('/tmp/bsrnn-cheat', 'w').write('x')\n    return 0",
    "the environment": "import os\n    return np.ones(int(os.environ['BSRNN_GRADING_SEED']))",
    "another's work": "import pathlib\n    return pathlib.Path('SOURCE').read_bytes()",
}


@pytest.mark.parametrize("case", CHEATS)
def test_a_cheat_gains_no_mark(submit, case, monkeypatch):
    monkeypatch.setenv(grading.SEED_VARIABLE, "2024")
    body = CHEATS[case].replace("SOURCE", str(A1))

    def edit(notebook):
        cell_of(notebook, "frames_of").source = f"def frames_of(x, n_fft, hop):\n    {body}"

    sheet = grading.grade(submit(edit), "a1", 2024, Limits(2, 512))
    marks = {mark.question: mark for mark in sheet.marks}
    assert marks["frames_of"].points == 0, marks["frames_of"]
    others = [mark for mark in sheet.marks if mark.question != "frames_of"]
    assert all(mark.points == mark.of for mark in others), "the rest keeps its points"


FORBIDDEN = {  # assignment, function, what is put in front of its body: right, but not allowed
    "scipy": ("a1", "frames_of", "import scipy.signal"),
    "metrics": ("a5", "usdr", "from bsrnn import metrics"),
    "glu": ("a4", "gated_mask", "gate = torch.nn.functional.glu"),
    "hidden glu": ("a4", "gated_mask", "gate = getattr(torch.nn.functional, 'g' + 'lu')"),
    "eval": ("a1", "frames_of", "eval('1 + 1')"),
    "the audit itself": (
        "a1", "frames_of",
        "import warnings\n    world = warnings.sys.modules['__main__']\n"
        "    world.flags_of = lambda *a, **k: []",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FORBIDDEN)
def test_what_the_task_forbids_goes_to_review_and_its_points_wait(tmp_path, case):
    assignment, function, line = FORBIDDEN[case]
    source = release.ASSIGNMENTS / "source" / assignment / f"{assignment}.ipynb"
    notebook = nbformat.read(source, as_version=4)
    cell = cell_of(notebook, function)
    head, _, body = cell.source.partition("### BEGIN SOLUTION\n")
    if "bsrnn" in line or "scipy" in line:
        line = f"try:\n        {line}\n    except ImportError:\n        pass"
        line = line.replace("ImportError", "(ImportError, PermissionError)")
    cell.source = f"{head}{line}\n    {body.lstrip()}"
    nbformat.write(notebook, tmp_path / "x.ipynb")
    sheet = grading.grade(tmp_path / "x.ipynb", assignment)
    (mark,) = (m for m in sheet.marks if m.question == function)
    assert (mark.points, mark.held) == (0, mark.of) and mark.review
    assert sheet.review and "held" in sheet.text()
    assert sheet.points == sheet.of - mark.of


@pytest.mark.skipif(not imprisoned(), reason="bubblewrap is not installed, or may not work here")
def test_the_prison_has_no_network_no_repository_and_no_other_submission(tmp_path):
    (tmp_path / "secret").write_text("x")
    look = "import os, socket\ndef look(path):\n    return os.path.exists(path)\n"
    look += "def names():\n    return [name for _, name in socket.if_nameindex()]\n"
    look += "def processes():\n    return [p for p in os.listdir('/proc') if p.isdigit()]"
    with Sandbox([look]) as sandbox:
        for hidden in (tmp_path / "secret", release.ASSIGNMENTS, grading.__file__):
            assert sandbox.call("look", str(hidden)) is False
        assert sandbox.call("look", os.__file__) is True
        assert sandbox.call("names") == ["lo"] and len(sandbox.call("processes")) <= 2


def test_partial_credit_goes_by_properties(submit):
    def edit(notebook):  # the least-squares signal is divided by the sum of w, not of w^2
        cell = cell_of(notebook, "my_stft")
        cell.source = cell.source.replace("window * ", "").replace(" * window", "")

    sheet = grading.grade(submit(edit))
    (mark,) = (m for m in sheet.marks if m.question == "my_stft")
    assert 0 < mark.points < mark.of and "the window is not applied" in mark.feedback


# A class

HOSTILE_FILES = {  # what may stand in a submission folder -> bytes
    "surrogate": json.dumps(
        {
            "cells": [
                {"cell_type": "code", "source": "def grid(*a):\n    raise ValueError('\\ud800')"}
            ]
        }
    ).encode(),
    "elif chain": b"if x == 0:\n    pass\n" + b"elif x == 1:\n    pass\n" * 20_000,
    "brackets": b"[" * 200_000,
    "long": b"y = 1\n" * 200_000,
    "spaces": b" " * 60_000 + b"= !",
    "no end": b"def grid(*a):\n    import os\n    while True:\n        os.write(1, b'x' * 9999)",
    "stops": b"def grid(*a):\n    import os, signal\n    os.kill(os.getppid(), signal.SIGSTOP)",
    "binary": bytes(range(256)),
    "null": b"null",
    "deep json": b'{"a":' * 50_000,
}


def as_notebook(data: bytes) -> bytes:
    if data[:1] in (b"{", b"\x00") or data == b"null":
        return data
    cell = {"cell_type": "code", "source": data.decode(), "metadata": {}, "outputs": []}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4}).encode()


@pytest.mark.parametrize("case", HOSTILE_FILES)
def test_a_hostile_file_costs_its_own_row(tmp_path, submit, case):
    (tmp_path / "class" / "evil").mkdir(parents=True)
    (tmp_path / "class" / "evil" / "a1.ipynb").write_bytes(as_notebook(HOSTILE_FILES[case]))
    submit(name="class/mia/a1.ipynb")
    started = time.monotonic()
    sheets = {s.student: s for s in grading.grade_all([tmp_path / "class"], "a1")}
    assert sheets["mia"].points == 16
    assert sheets["evil"].points == 0
    assert time.monotonic() - started < 2400
    for form in ("csv", "json", "students", "moodle", "canvas"):
        gradebook.table(sheets.values(), form).encode()


def test_names_that_are_not_text_and_files_of_systems(tmp_path, submit):
    submit(name="class/mia/a1.ipynb")
    folder = tmp_path / "class" / "mia"
    (folder / "._a1.ipynb").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "class" / "__MACOSX").mkdir()
    (tmp_path / "class" / "__MACOSX" / "a1.ipynb").write_bytes(b"x")
    odd = os.fsencode(tmp_path / "class") + b"/\xff\xfe.ipynb"
    shutil.copy(folder / "a1.ipynb", odd)
    sheets = grading.grade_all([tmp_path / "class"], "a1")
    assert [sheet.points for sheet in sheets] == [16, 16]
    gradebook.table(sheets, "csv").encode()


def sheet(student, points, assignment="a1", error="", **about):
    marks = () if error else (grading.Mark("grid", points, 16, "passed"),)
    return grading.Sheet(student, assignment, 0, marks, error, student, **about)


def test_a_roster_says_who_it_is(tmp_path, submit):
    submit(name="class/mia/a1.ipynb")
    submit(name="class/noor_late/a1.ipynb")
    roster = tmp_path / "roster.csv"
    roster.write_text("ID,Name,Email\nmia,Mia Muster,mia@x.org\nnoor,Noor N.,noor@x.org\n")
    sheets = grading.grade_all([tmp_path / "class"], "a1", roster=gradebook.read_roster(roster))
    told = [(sheet.student, sheet.name, sheet.email) for sheet in sheets]
    assert told == [("mia", "Mia Muster", "mia@x.org"), ("noor", "Noor N.", "noor@x.org")]
    with pytest.raises(DataError, match="no column email"):
        roster.write_text("id,name\n1,x\n")
        gradebook.read_roster(roster)


MIA, NOOR = {"name": "Mia", "email": "mia@x.org"}, {"name": "Noor, N.", "email": "noor@x.org"}


@pytest.mark.parametrize(
    "form, noor, wanted",
    [
        ("students", NOOR, ["student,email,a1,a8", "mia,mia@x.org,16,", "noor,noor@x.org,,9"]),
        (  # "-" is no grade; an empty cell would be 0 points in a new column
            "moodle", NOOR,
            ["ID number,Email address,Assignment: a1,Assignment: a8", "mia,mia@x.org,16,-",
             "noor,noor@x.org,-,9"],
        ),
        (  # with an empty e-mail, Moodle would give Noor's marks to Mia
            "moodle", {}, ["ID number,Assignment: a1,Assignment: a8", "mia,16,-", "noor,-,9"],
        ),
        (  # known by SIS User ID, then login, then name; points possible below the names
            "canvas", NOOR,
            ["Student,ID,SIS User ID,SIS Login ID,Section,a1,a8", "    Points Possible,,,,,16,40",
             "Mia,,mia,mia@x.org,,16,", '"Noor, N.",,noor,noor@x.org,,,9'],
        ),
    ],
)  # fmt: skip
def test_rows_of_students_are_what_moodle_and_canvas_import(form, noor, wanted):
    """Of two submissions the better one counts; what could not be graded is no grade."""
    sheets = [sheet("mia", 12, **MIA), sheet("mia", 16, **MIA), sheet("noor", 9, "a8", **noor)]
    sheets.append(sheet("noor", 0, error="no notebook", **noor))
    assert gradebook.table(sheets, form).splitlines() == wanted


def test_copied_code_is_most_alike_on_the_class_page(tmp_path, submit):
    def renamed(notebook):
        for cell in notebook.cells:
            cell.source = cell.source.replace("padded", "p").replace("frame", "piece")

    def another(notebook):
        for name in ("my_stft", "my_istft", "is_cola", "sharpest"):
            cell = cell_of(notebook, name)
            body = "".join(f"    v{n} = {name!r}.count({n}) ** {n % 7}\n" for n in range(40))
            cell.source = f"{cell.source.split('    ###')[0]}{body}    return v0"

    paths = [submit(name="class/mia/a1.ipynb"), submit(renamed, name="class/noor/a1.ipynb")]
    paths += [submit(another, name=f"class/s{n}/a1.ipynb") for n in range(4)]
    prints = {path.parent.name: alike.runs(path.read_bytes()) for path in paths}
    (first, *_), second = alike.pairs(prints)[:2], alike.runs(b"null")
    assert set(first[1:]) == {"mia", "noor"} and first[0] > 0.9 and second == set()
    sheets = [grading.Sheet(n, "a1", 0, student=n, runs=frozenset(p)) for n, p in prints.items()]
    page = gradebook.write_feedback(sheets, tmp_path / "out")[-1].read_text()
    assert page.index("Most alike") < page.index("<td>mia</td>")


def test_the_report_is_marked_by_hand_and_counts(tmp_path, capsys):
    source = release.ASSIGNMENTS / "source/a8/a8.ipynb"
    for name in ("mia", "noor"):
        (tmp_path / "in" / name).mkdir(parents=True)
        shutil.copy(source, tmp_path / "in" / name / "a8.ipynb")
    marks = tmp_path / "hand.csv"
    marks.write_text("ID,b1,B2,B3,B4\nmia,6,9,8,\n")
    out, roster = tmp_path / "canvas.csv", tmp_path / "roster.csv"
    roster.write_text("id,name,email\nmia,Mia,mia@x.org\n")
    words = ["--by-hand", marks, "--roster", roster, "--form", "canvas", "--out", out]
    code, text, err = call(capsys, "course", "grade", tmp_path / "in", *words)
    assert code == 0 and "a8, 33 of 40 points" in text and "to be marked" in text
    assert err.endswith("not in the roster, so no gradebook will know them: noor\n")
    rows = list(csv.reader(io.StringIO(out.read_text())))
    assert [row[5] for row in rows[1:]] == ["40", "33", "10"]
    marks.write_text("id,B1,B2,B3,B4\nmia,7,0,0,0\n")
    told = call(capsys, "course", "grade", tmp_path / "in", *words)[2]
    assert "B1 of mia is 7: give 0 to 6" in told


def test_the_repository_for_students_holds_no_answer(tmp_path, capsys):
    folder = tmp_path / "class"
    assert call(capsys, "course", "release", "--class-repo", folder)[0] == 0
    assert len(list(folder.glob("notebooks/[01]*.ipynb"))) == 16
    assert len(list(folder.glob("notebooks/assignments/release/*/*.ipynb"))) == 9
    assert {p.name for p in folder.iterdir()} == {
        ".gitignore", "README.md", "notebooks", "requirements.txt",
    }  # fmt: skip
    for path in folder.rglob("*"):
        text = path.read_text() if path.is_file() else ""
        assert not any(w in text for w in ("BEGIN SOLUTION", "HIDDEN TESTS", "course.examine("))
    assert call(capsys, "course", "release", "--class-repo", folder)[0] == 2


def test_text_of_students_is_text_wherever_it_lands(tmp_path):
    mark = grading.Mark("grid", 0, 1, clean("=1+1\x1b[2J<script>"))
    sheet = grading.Sheet("=cmd", "a1", 0, (mark,), student="<b>mia</b>")
    assert "\x1b" not in sheet.text()
    rows = list(csv.reader(io.StringIO(gradebook.table([sheet], "csv"))))
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    for path in gradebook.write_feedback([sheet], tmp_path):
        text = path.read_text()
        assert "<script>" not in text and "<b>mia" not in text and path.parent == tmp_path


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
    assert "a1, 16 of 16 points" in text and "a1, 15 of 16 points" in text
    assert "cannot tell which assignment" in text and "no notebook" in text
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    totals = {r["submission"].split("/")[-2]: r["points"] for r in rows if r["question"] == "total"}
    assert totals == {"in": "0", "mia": "16", "noor": "15"}
    assert {r["seed"] for r in rows} == {"3"} and len(rows) == 2 + 2 * 7


def test_one_submission_as_json(capsys, submit, tmp_path):
    out = tmp_path / "marks.json"
    path = submit(name="mias work.ipynb")
    assert call(capsys, "course", "grade", path, "--assignment", "a1", "--out", out)[0] == 0
    (sheet,) = json.loads(out.read_text())
    assert (sheet["assignment"], sheet["points"], sheet["of"]) == ("a1", 16, 16)
    assert sheet["marks"][0]["question"] == "grid"


@pytest.mark.parametrize(
    "words, message",
    [
        (["no.ipynb"], "no file or folder no.ipynb"),
        (["HERE", "--assignment", "b1"], "unknown assignment 'b1'"),
        (["HERE", "--seed", "-1"], "--seed: '-1': give a whole number"),
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


def test_grading_loads_no_torch_where_no_question_needs_it(submit):
    run = (
        "import sys; from bsrnn.course import grading; grading.grade(sys.argv[1]); "
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", run, submit()], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
