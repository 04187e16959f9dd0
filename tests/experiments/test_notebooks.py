"""Every lesson keeps the grammar, is fresh and runs; the runner is strict."""

import json
import os
import re
import resource
import shutil
import sys

import grammar
import nbformat
import pytest
from conftest import NOTEBOOKS

from bsrnn import common
from bsrnn.cli.course import Bars
from bsrnn.common import DataError, UsageError
from bsrnn.course import outputs
from bsrnn.experiments import kernel, notebooks, plan, runner, worker

LESSONS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
CPU_LIMIT_S = 120  # a minute on two cores
TRAINS = re.compile(r"training\.fit\(|experiments\.run\(")
OTHER_VALUES = [  # see test_other_values_follow_the_rule
    ("01", {"dataset": "musdb layout", "scheme": "mel48", "seed": "2", "stems": "drums,bass"}),
    ("04", {"dataset": "musdb layout", "scheme": "bass", "seed": "3", "stems": "bass"}),
    ("05", {"dataset": "clip", "seed": "1"}),
    ("07", {"dataset": "musdb layout", "scheme": "v7", "seed": "1", "stems": "drums"}),
    ("10", {"dataset": "musdb layout", "stems": "drums,vocals", "seed": "2"}),
    ("12", {"dataset": "dnr layout", "scheme": "mel48", "seed": "1"}),
    ("13", {"dataset": "musdb layout", "scheme": "v4", "seed": "3", "stems": "bass"}),
    ("15", {"dataset": "musdb layout", "scheme": "v4", "seed": "1", "stems": "drums"}),
]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_keeps_the_grammar(path):
    assert grammar.problems(path) == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_stored_outputs_are_light_and_fresh(path):
    assert outputs.check([path]) == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_runs_in_smoke(path, out):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    (result,) = runner.run([path], {"profile": "smoke"}, out=out)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.error == ""
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < CPU_LIMIT_S, f"{spent:.0f} CPU seconds"
    for cell in notebooks.read(result.notebook).cells:
        tags = set(cell.metadata.get("tags", []))
        shown = json.dumps(cell.get("outputs", []))
        if tags & {"figure", "static"}:
            drawn = "image/png" in shown or "image/svg+xml" in shown
            assert drawn and '"alt"' in shown, f"{cell.id}: no picture with words"
        if "sound" in tags:
            assert "<audio" in shown or "silent" in shown, f"{cell.id}: no player"
    page = result.page.read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=.https?:", page)
    assert 'alt=""' not in page and "No description has been provided" not in page


@pytest.fixture(scope="session")
def roots(tmp_path_factory):
    """Songs and scenes that no lesson has seen, in the layouts of MUSDB18-HQ and DnR v2."""
    from bsrnn.data import toyband

    folder = tmp_path_factory.mktemp("data")
    return {
        "musdb layout": toyband.make(folder / "musdb", seed=5),
        "dnr layout": toyband.scenes(folder / "dnr", seed=5),
    }


def test_other_values_follow_the_rule():
    """Every lesson runs once, with its defaults; again, with other values, run those that train
    through the package, since what they learn depends on every parameter, and beside them as many
    as it takes for each kind of parameter: a root of MUSDB, of DnR and the clip, a scheme that is
    not of the paper, one that overlaps, one stem and several, and another seed everywhere.
    """
    from bsrnn import bands

    sources = {p.stem[:2]: [c.source for c in notebooks.read(p).cells] for p in LESSONS}
    trains = {number for number, of in sources.items() if any(map(TRAINS.search, of))}
    assert trains <= {number for number, _ in OTHER_VALUES}, "add the lesson to OTHER_VALUES"
    used = {name: {v[name] for _, v in OTHER_VALUES if name in v} for name in grammar.SHARED}
    assert used["dataset"] == {"musdb layout", "dnr layout", "clip"}
    assert not {scheme[0] for scheme in used["scheme"]} <= {"v"}
    assert any(bands.scheme(name).overlapping for name in used["scheme"])
    assert {stems.count(",") for stems in used["stems"]} == {0, 1}
    assert all(values["seed"] != "0" for _, values in OTHER_VALUES)


@pytest.mark.parametrize("number, values", OTHER_VALUES, ids=lambda v: str(v).replace(" ", "-"))
def test_lesson_runs_with_other_values(number, values, roots, tmp_path, monkeypatch):
    """Alone in a folder of its own, started from another one, which paths are relative to."""
    (path,) = runner.select([number])
    alone, elsewhere = tmp_path / "alone", tmp_path / "elsewhere"
    alone.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    if values["dataset"] in roots:
        values = {**values, "dataset": os.path.relpath(roots[values["dataset"]])}
    (result,) = runner.run([shutil.copy(path, alone)], values, out="out")
    assert result.error == ""
    assert os.listdir(alone) == [path.name], "a lesson writes to its out_dir only"


HIDDEN = """
import importlib.util

find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "bsrnn" else find(name, *more)
"""
INSTALLED = """
importlib.util.find_spec = find
import bsrnn

assert os.environ["PIP_TARGET"] in bsrnn.__file__, bsrnn.__file__
"""


def test_lesson_runs_installed_from_an_empty_folder(tmp_path, monkeypatch):
    """The newest lesson as on Colab: alone, no checkout, the address pointing at this one.

    pip really installs the package, alone and into a folder of its own, so that the test's
    environment stays as it is. The lesson runs on it up to its first claim.
    """
    if not (common.ROOT / ".git").exists():
        pytest.skip("no git checkout to install")
    pytest.importorskip("pip")
    pytest.importorskip("hatchling")
    target = tmp_path / "packages"
    target.mkdir()
    monkeypatch.setenv("BSRNN_REPOSITORY", str(common.ROOT))
    monkeypatch.setenv("BSRNN_DATA", str(common.ROOT / "data" / "generated"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(target), *sys.path]))
    monkeypatch.setenv("PIP_TARGET", str(target))
    monkeypatch.setenv("PIP_NO_DEPS", "1")
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # "no" is negated once more: no isolation
    lesson = notebooks.read(LESSONS[-1])
    first = lesson.cells.index(grammar.claims(lesson.cells)[0])
    new = nbformat.v4.new_code_cell
    cells = lesson.cells[: first + 1]
    cells[4:4] = [new(INSTALLED, id="installed")]
    cells[3:3] = [new(HIDDEN, id="hidden")]
    lesson.cells = cells
    nbformat.write(lesson, tmp_path / "lesson.ipynb")
    _, error = runner.execute(tmp_path / "lesson.ipynb", {"out_dir": str(tmp_path / "out")})
    assert error == ""


# The runner is strict

PARAMETERS = "seed: int = 0  # of all\nrate: float = 0.5  # per step\ndataset: str = 'toy'  # songs"
BROKEN = {
    "01_sound": "assert seed == 3 and rate == 0.001",
    "02_false_claim": "assert seed == 4, 'seed should be 4'",
    "03_broken_import": "import bsrnn_no_such_room",
    "04_dead_kernel": "import os\nos._exit(1)",
    "05_hung_cell": "import time\ntime.sleep(600)",
    "06_swallowed_error": (
        "import ipywidgets\n"
        "def show(x):\n    if x > 1: raise ValueError('hidden')\n"
        "widget = ipywidgets.interactive(show, x=(0, 3))\n"
        "display(widget)\nwidget.children[0].value = 3"
    ),
    "07_early_exit": "import sys\nsys.exit(0)",
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory, write_notebook):
    """All broken lessons in one folder, run once: {lesson: Result}."""
    folder = tmp_path_factory.mktemp("broken")
    for name, code in BROKEN.items():
        cells = [("parameters", PARAMETERS), ("", "x = 1"), ("check", code), ("", "print('end')")]
        write_notebook(folder / f"{name}.ipynb", cells)
    given = {"seed": "3", "rate": "1e-3"}
    results = runner.run((), given, out=folder / "out", timeout_s=4, folder=folder)
    return {result.lesson: result for result in results}


@pytest.mark.parametrize(
    "lesson, words",
    [
        ("02_false_claim", "AssertionError: seed should be 4"),
        ("03_broken_import", "ModuleNotFoundError"),
        ("04_dead_kernel", "the kernel died"),
        ("05_hung_cell", "still running after 4 s"),
        ("07_early_exit", "SystemExit"),
    ],
)
def test_failure_names_the_cell(broken, lesson, words):
    assert words in broken[lesson].error
    assert "(cell-2)" in broken[lesson].error  # its id in the source


def test_values_keep_their_types_and_an_error_swallowed_by_a_widget_is_seen(broken):
    assert broken["01_sound"].error == ""
    assert "swallowed by a widget: ValueError: hidden" in broken["06_swallowed_error"].error


def test_a_failed_lesson_still_leaves_its_notebook_and_page(broken):
    for result in broken.values():
        assert result.page.read_text().rstrip().endswith("</html>")
        assert notebooks.read(result.notebook).cells
    assert "seed should be 4" in broken["02_false_claim"].page.read_text()


LOST = [("parameters", PARAMETERS), ("", "import time; time.sleep(2.5); x = 1"), ("check", "x")]


@pytest.fixture
def lose(monkeypatch):
    """lose(kind, count): the next `count` messages of that kind for the third code cell vanish
    between kernel and client."""
    from jupyter_client.asynchronous.client import AsyncKernelClient
    from jupyter_client.channels import AsyncZMQSocketChannel

    execute, receive = AsyncKernelClient.execute, AsyncZMQSocketChannel.get_msg
    asked, left = [], {}

    def remember(self, code, *args, **options):
        asked.append((execute(self, code, *args, **options), code))
        return asked[-1][0]

    async def lossy(self, *args, **options):
        while True:
            message = await receive(self, *args, **options)
            kind, parent = message["msg_type"], message["parent_header"].get("msg_id")
            ours = (parent, "x") in asked and message["content"].get("execution_state") != "busy"
            if not ours or not left.get(kind):
                return message
            left[kind] -= 1

    monkeypatch.setattr(AsyncKernelClient, "execute", remember)
    monkeypatch.setattr(AsyncZMQSocketChannel, "get_msg", lossy)
    monkeypatch.setattr(kernel, "PATIENCE_S", 1)
    monkeypatch.setattr(kernel, "GRACE_S", 1)
    return lambda kind, count: left.update({kind: count})


@pytest.mark.parametrize("kind, times", [("execute_reply", 1), ("status", 1), ("execute_reply", 2)])
def test_a_lost_message_costs_one_more_run(kind, times, lose, tmp_path, write_notebook, capsys):
    """The cell before takes longer than the patience, and is waited for."""
    path = write_notebook(tmp_path / "01_a.ipynb", LOST)
    lose(kind, times)
    (result,) = runner.run([path], out=tmp_path / "out", timeout_s=60, watch=Bars())
    words = "cell 3 (cell-2): the kernel lost a message"
    assert result.note.startswith(words) and result.note in capsys.readouterr().out
    assert result.error == ("" if times == 1 else f"{words} twice: run it again")


def test_a_worker_of_a_sweep_runs_its_notebook_again(lose, tmp_path, write_notebook):
    card = {"parameters": {"seed": 1}, "metrics": [{"value_db": 0.0}]}
    write = f"import json; json.dump({card}, open(out_dir + '/results.json', 'w'))"
    cells = [("parameters", PARAMETERS + "\nout_dir: str = ''  # card"), *LOST[1:], ("", write)]
    path = write_notebook(tmp_path / "01_a.ipynb", cells)
    job = {"notebook": str(path), "code_hash": plan.code_hash(path), "folder": str(tmp_path / "c")}
    lose("execute_reply", 1)
    error, note = worker.perform(job | {"parameters": {"seed": 1}, "timeout_s": None})
    assert error == ""
    assert note.startswith("cell 3 (cell-2): the kernel lost a message")


@pytest.mark.parametrize("times", [1, 2])
def test_a_stillborn_kernel_is_replaced_once(times, monkeypatch, tmp_path, write_notebook):
    """As when another process takes one of its ports first."""
    from jupyter_client.provisioning import LocalProvisioner

    launch, left = LocalProvisioner.launch_kernel, [times]

    async def stillborn(self, command, **options):
        if left[0]:
            left[0] -= 1
            command = [command[0], "-c", "raise SystemExit(1)"]
        return await launch(self, command, **options)

    monkeypatch.setattr(LocalProvisioner, "launch_kernel", stillborn)
    path = write_notebook(tmp_path / "01_a.ipynb", LOST)
    (result,) = runner.run([path], out=tmp_path / "out", timeout_s=60)
    words = "kernel start: the kernel did not start"
    assert result.note.startswith(words) if times == 1 else result.error.startswith(words)
    assert bool(result.error) == (times == 2)


def test_a_cell_may_take_what_its_profile_allows(tmp_path, write_notebook, monkeypatch):
    monkeypatch.setitem(runner.LIMITS_S, "small", 2)
    source = "profile: str = 'smoke'  # smoke, small or full"
    cells = [("parameters", source), ("", "import time; time.sleep(5)")]
    path = write_notebook(tmp_path / "01_a.ipynb", cells)
    assert runner.execute(path, {})[1] == ""
    error = runner.execute(path, {"profile": "small"})[1]
    assert error == "cell 2 (cell-1): still running after 2 s"


@pytest.mark.parametrize(
    "given, words",
    [
        ({"sed": "1"}, "unknown parameter of lesson 01_a 'sed': did you mean seed"),
        ({"seed": "1.5"}, "'seed' takes int"),
        ({"seed": "true"}, "'seed' takes int"),
        ({"rate": "fast"}, "'rate' takes float"),
        ({"out_dir": "x"}, "unknown parameter"),
        ({"dataset": "toy"}, "parameter of lesson 02_b 'dataset'"),
    ],
)
def test_refused_before_anything_runs(given, words, tmp_path, write_notebook):
    write_notebook(tmp_path / "01_a.ipynb", [("parameters", PARAMETERS)])
    if "dataset" in given:  # which the second does not know
        write_notebook(tmp_path / "02_b.ipynb", [("parameters", "seed: int = 0  # of all")])
    with pytest.raises(UsageError, match=words):
        runner.run((), given, out=tmp_path / "out", folder=tmp_path)
    assert not (tmp_path / "out").exists()


def test_refuses_a_damaged_notebook_and_a_place_it_cannot_write(tmp_path, write_notebook):
    path = write_notebook(tmp_path / "01_a.ipynb", [("parameters", PARAMETERS)])
    with pytest.raises(UsageError, match="cannot write to .*: choose --out"):
        runner.run([path], out=path / "below_a_file")
    path.write_text('{"cells": [')
    with pytest.raises(DataError, match="01_a.ipynb cannot be read"):
        runner.run([path], out=tmp_path / "out")


def test_a_dataset_path_means_the_same_from_the_kernel(tmp_path, write_notebook, monkeypatch):
    path = write_notebook(tmp_path / "01_a.ipynb", [("parameters", PARAMETERS)])
    (tmp_path / "songs").mkdir()
    (tmp_path / "toy").mkdir()  # a name goes before a folder
    monkeypatch.chdir(tmp_path)
    assert runner.resolve([path], {"dataset": "songs"}) == {
        path: {"dataset": str(tmp_path / "songs")}
    }
    assert runner.resolve([path], {"dataset": "toy"}) == {path: {"dataset": "toy"}}
