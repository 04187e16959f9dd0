"""The grammar refuses what it should, outputs are light and fresh, pages need no network."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys

import grammar
import nbformat
import numpy as np
import pytest

from bsrnn import course
from bsrnn.cli.course import Bars
from bsrnn.common import UsageError
from bsrnn.course import outputs, stamp
from bsrnn.experiments import notebooks, page, runner

SHARED = """profile: str = "smoke"  # smoke, small or full
seed: int = 0  # of everything
dataset: str = "toy"  # songs
scheme: str = "v7"  # bands
stems: str = "vocals"  # to estimate
out_dir: str = ""  # results
device: str = "auto"  # auto, cpu or cuda"""
FIGURE = """figure, axes = plt.subplots(figsize=(3, 2))
axes.plot(range(4))
figure.description = "A rising line."
course.show(figure)"""
PROSE = "md " + "word " * 61


def test_the_course_reads_notebooks_without_a_grammar_of_web_addresses():
    code = (
        "import sys, bsrnn.experiments.runner, papermill, nbconvert;"
        "assert 'jsonschema' in sys.modules and 'lark' not in sys.modules;"
        "assert 'rfc3987_syntax' not in sys.modules"  # whoever wants it can still have it
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def sound_cells():
    """(tags, source) of the smallest lesson that keeps the grammar."""
    title = f"# 42 - Test\n\n{stamp.badge('42_test')}\n\n**Level:** low **Minutes:** 1\n\n"
    cells = [
        ("title", f"md {title}![a rising line](attachment:hero.png)"),
        ("objectives", "md After this lesson you can test."),
        ("parameters", SHARED),
        ("setup", stamp.setup_cell()),
        ("", "import matplotlib.pyplot as plt"),
    ]
    for number in range(3):
        cells += [
            ("section", f"md ## {number}. Why?"),
            ("prediction", f"course.predict('42 {number}', 'Up or down?', ['up', 'down'])"),
            ("figure hero" if number == 0 else "figure drawing", FIGURE),
            ("see", f"course.see('It rises.')\ncourse.reveal('42 {number}', 'up')"),
            ("check", "course.claim('sums', 1 + 1 == 2)"),
        ]
    cells += [
        ("", "md ## Play"),
        ("static", FIGURE),
        ("", "md The same with a control."),
        ("interactive", "import ipywidgets\nipywidgets.IntSlider()"),
        ("task open", "md ## Exercise"),
        ("exercise", "def twice(x):\n    raise NotImplementedError('return 2 x')"),
        (
            "check",
            "def check(twice):\n    assert twice(2) == 4\n\nprint(course.attempt(check, twice))",
        ),
        ("reference", "check(lambda x: 2 * x)"),
    ]
    cells += [("", PROSE)] * 24
    quiz = "<details><summary>Answer</summary>\n\nYes.\n\n</details>\n" * 3
    cells += [("pitfalls", "md ## Pitfalls"), ("quiz", f"md ## Quiz\n{quiz}")]
    return [*cells, ("summary", "md ## Summary\n**Reading** a **Next** b")]


@pytest.fixture
def lesson(tmp_path, write_notebook):
    """lesson(edit=None): the sound lesson written to disk after edit(cells)."""

    def make(edit=None):
        cells = sound_cells()
        if edit:
            edit(cells)
        return write_notebook(tmp_path / "42_test.ipynb", cells)

    return make


def index(cells, tag):
    return next(i for i, (tags, _) in enumerate(cells) if tag in tags.split())


def replaced(tag, old, new):
    def edit(cells):
        place = index(cells, tag)
        tags, source = cells[place]
        assert old in source
        cells[place] = (tags, source.replace(old, new))

    return edit


def without(tag):
    return lambda cells: cells.pop(index(cells, tag))


def retag(cells, tag):
    cells[:] = [(tags.replace(tag, ""), source) for tags, source in cells]


def added(tags, source):
    return lambda cells: cells.insert(8, (tags, source))


def test_sound_lesson_has_no_problems(lesson):
    assert grammar.problems(lesson()) == []


@pytest.mark.parametrize(
    "edit, words",
    [
        (without("title"), "cell 1 must be the only one tagged 'title'"),
        (without("objectives"), "tagged 'objectives'"),
        (without("setup"), "tagged 'setup'"),
        (without("prediction"), "no cell tagged 'prediction'"),
        (without("see"), "no cell tagged 'see'"),
        (without("section"), "2 cells tagged 'section'"),
        (without("static"), "put a static cell right before"),
        (without("interactive"), "no cell tagged 'interactive'"),
        (without("reference"), "must follow each other"),
        (without("quiz"), "close with pitfalls, quiz, summary"),
        (without("summary"), "close with pitfalls, quiz, summary"),
        (without("check"), "2 check cells of claims"),
        (replaced("title", "# 42", "# 41"), "the title must begin with"),
        (replaced("title", "blob/main", "blob/old"), "Colab badge"),
        (replaced("title", "![a rising line]", "![]"), "alt text"),
        (replaced("setup", "pip", "pup"), "not the one setup cell"),
        (replaced("parameters", "seed: int = 0", "seed: int = 1 - 1"), "malformed node"),
        (replaced("parameters", "seed: int = 0", "seed = 0"), "name: type = literal"),
        (replaced("parameters", "seed: int = 0", "seed: str = '0'"), "must be of type int"),
        (replaced("parameters", '"smoke"', '"full"'), "must default to 'smoke'"),
        (replaced("parameters", "  # bands", ""), "trailing comment"),
        (replaced("parameters", "scheme", "schema"), "parameters must begin with"),
        (replaced("parameters", "cuda", "cuda\nlr: float = 0.1  # rate"), "'lr' is never used"),
        (replaced("section", "Why?", "Because."), "asks a question"),
        (replaced("check", "course.claim", "print"), "a check cell asserts something"),
        (replaced("check", "course.claim", "assert "), "1 asserts for claims"),
        (replaced("see", "'42 0'", "'42 9'"), "1 not revealed"),
        (replaced("prediction", "'42 0'", "'43 0'"), "begins with the lesson's number"),
        (replaced("drawing", "axes.plot", "assert 1\naxes.plot"), "1 asserts read"),
        (lambda cells: cells.insert(6, ("prediction", "md Predict.")), "1 not entered"),
        (added("", "x = 1"), "of code follows code"),
        (lambda cells: cells.extend([("", "md x")] * 40), "at most 80"),
        (lambda cells: retag(cells, "drawing"), "no drawings"),
        (lambda cells: retag(cells, "open"), "no open exercises"),
        (replaced("exercise", "raise NotImplementedError(", "print("), "the stub raises"),
        (replaced("quiz", "<details>", "<b>"), "three answers"),
        (replaced("summary", "**Next**", "Next"), "lacks **Next**"),
        (added("", "x = 1\n" * 31), "31 lines of code"),
        (added("", ""), "empty code cell"),
        (added("", "x = = 1"), "does not parse"),
        (added("", "!ls"), "no shell or magic"),
        (added("", "from tqdm.notebook import tqdm"), "use tqdm.auto"),
        (added("", "interact(show, x=1)"), "swallow errors"),
        (added("", "path = '/home/me/x.wav'"), "no path of one machine"),
        (added("figures", "x = 1"), "cannot be tagged 'figures'"),
        (added("figure hero", FIGURE), "exactly one figure cell must be tagged 'hero'"),
        (lambda cells: cells.__delitem__(slice(30, 46)), "a lesson has 40 to 120"),
        (lambda cells: cells.extend([("", PROSE)] * 100), "a lesson has 1500 to 5000"),
    ],
)  # fmt: skip
def test_grammar_refuses(lesson, edit, words):
    found = grammar.problems(lesson(edit))
    assert any(words in problem for problem in found), found


def test_grammar_never_stumbles_over_an_unfinished_lesson(tmp_path, write_notebook):
    cells = sound_cells()
    for count in range(0, len(cells), 5):
        path = write_notebook(tmp_path / "42_test.ipynb", cells[:count])
        assert grammar.problems(path)
        assert grammar.problems(write_notebook(path, cells[count + 1 :] + cells[:1]))


def test_stored_outputs_are_light_fresh_and_repeatable(lesson, tmp_path):
    noise = "import sys, warnings\nprint('kept')\nwarnings.warn('gone')\nprint(object())"

    def edit(cells):
        cells.insert(5, ("", noise))

    path = lesson(edit)
    assert "no outputs" in outputs.check([path])[0]
    assert outputs.check([path], update=True) == []
    first = path.read_bytes()
    cells = notebooks.read(path).cells
    shown = [o.get("text") or o.data["text/plain"] for c in cells for o in c.get("outputs", [])]
    assert "kept\n<object object>\n" in shown and not any("gone" in text for text in shown)
    assert "(widget: run the lesson to use it)" in shown and "A rising line." in shown
    assert "Not yet: return 2 x\n" in shown and b"papermill" not in first
    assert outputs.check([path], update=True) == []
    assert path.read_bytes() == first
    notebook = notebooks.read(path)
    assert notebook.cells[0].attachments["hero.png"]
    notebook.cells[1].source += " More prose leaves outputs fresh."
    nbformat.write(notebook, path)
    assert outputs.check([path]) == []
    notebook.cells[4].source += "\nx = 2"
    nbformat.write(notebook, path)
    assert "outputs are stale" in outputs.check([path])[0]


def test_a_failing_lesson_is_not_stored(lesson):
    path = lesson(replaced("check", "1 + 1", "1 + 2"))
    before = path.read_bytes()
    (problem,) = outputs.check([path], update=True)
    assert "AssertionError: Does not hold: sums" in problem
    assert path.read_bytes() == before


def picture(pixels):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_light_output():
    def one(data, **metadata):
        return outputs.light(nbformat.v4.new_output("display_data", data, metadata=metadata))

    sound = {"text/html": "<audio src='data:x'>", "text/plain": "vocals 3 s, -20 dB"}
    assert one(sound).data == {"text/plain": f"{outputs._SOUND}\nvocals 3 s, -20 dB"}
    sound["text/plain"] = "<IPython.lib.display.Audio object>"
    assert one(sound).data == {"text/plain": outputs._SOUND}
    assert one({"application/json": {}}) is None
    assert outputs.light(nbformat.v4.new_output("stream", name="stderr", text="bar")) is None
    bar = nbformat.v4.new_output("stream", text=" 10%\r 100%\rdone\n")
    assert outputs.light(bar).text == "done\n"
    rough = np.random.default_rng(0).integers(0, 255, (250, 300, 3), dtype=np.uint8)
    data = {"image/png": picture(rough), "image/svg+xml": "<svg/>"}
    kept = one(data, **{"image/png": {"alt": "noise", "width": 9, "height": 9}})
    assert kept.metadata == {"image/png": {"alt": "noise", "width": 9}}
    assert list(kept.data) == ["image/png"]
    assert len(base64.b64decode(kept.data["image/png"])) < outputs.PICTURE_KB * 1000 < 250 * 300 * 3


def test_page_is_self_contained(tmp_path):
    new = nbformat.v4
    prose = "Price $5 and `$x$`; $x_k^2 < 3$\n\n$$\\frac{a}{b}$$\n\n"
    prose += "![lost picture here](attachment:no.png)"
    shown = new.new_output("display_data", {"image/png": picture(np.zeros((4, 4), np.uint8))})
    shown.metadata = {"image/png": {"alt": "a <black> square"}}
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "box"}}
    states = {
        "box": {"state": {"children": ["IPY_MODEL_out"]}},
        "out": {"state": {"outputs": [new.new_output("stream", text="captured words")]}},
    }
    cells = [
        new.new_markdown_cell(f"{stamp.badge('42_test')}\n\n{prose}"),
        new.new_code_cell("1", outputs=[shown, new.new_output("display_data", view)]),
    ]
    notebook = new.new_notebook(cells=cells)
    kind = "application/vnd.jupyter.widget-state+json"
    notebook.metadata["widgets"] = {kind: {"state": states}}
    text = page.write_page(notebook, tmp_path / "p.html").read_text()
    assert "<script" not in text and "cdnjs" not in text and "unpkg" not in text
    assert text.count('class="math"') == 2 and 'alt="x_k^2 &lt; 3"' in text
    assert "Price $5" in text and "<code>$x$</code>" in text
    assert 'alt="a &lt;black&gt; square"' in text and "(lost picture here)" in text
    assert "captured words" in text and "open the lesson in Jupyter" in text
    assert notebook.cells[0].source.count("$") == 9  # the notebook itself is untouched


def test_an_answer_stays_inside_its_fold(tmp_path):
    quiz = "<details><summary>Answer</summary>\n\nInside.\n\n</details>"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(quiz)])
    text = page.write_page(notebook, tmp_path / "p.html").read_text()
    assert text.index("<details>") < text.index("Inside.") < text.index("</details>")


def test_a_phone_scrolls_wide_tables_and_code_and_never_the_page(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("needs chromium on the PATH")
    new, names = nbformat.v4, [f"extraordinarily{n}" for n in range(9)]
    lines = ["| " + " | ".join(row) + " |" for row in (names, ["-"] * 9, names)]
    html = "".join(f"<td>{name}</td>" for name in names)
    shown = {"text/html": f'<table class="dataframe"><tbody><tr>{html}</tr></tbody></table>'}
    output = new.new_output("display_data", shown)
    code = new.new_code_cell("x = " + "1 + " * 99 + "1", outputs=[output])
    notebook = new.new_notebook(cells=[new.new_markdown_cell("\n".join(lines)), code])
    path = page.write_page(notebook, tmp_path / "p.html")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 400, "height": 800})
        tab.goto(path.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400
        boxes = tab.evaluate(
            "[...document.querySelectorAll('table')].map(b => [b.clientWidth, b.scrollWidth])"
        )
        assert len(boxes) == 2 and all(seen < 400 < whole for seen, whole in boxes)
        lines = "[...document.querySelectorAll('td')].map(c => c.getClientRects()[0].height)"
        assert max(tab.evaluate(lines)) < 40, "a word in a cell is broken"
        browser.close()


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_count_lessons_and_cells(terminal, capsys, monkeypatch, tmp_path):
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
    bars = Bars()
    bars.start([tmp_path, tmp_path])
    for name, error in (("01_a", ""), ("02_b", "cell 2: no")):
        bars.lesson(name, 3)
        bars.cell(2)
        bars.done(runner.Result(name, 1.2, error, tmp_path, tmp_path))
    bars.close()
    captured = capsys.readouterr()
    assert captured.out.split("\n")[:2] == ["ok    01_a  1 s", "FAIL  02_b  cell 2: no  1 s"]
    assert ("lessons: 100%" in captured.err and "02_b:" in captured.err) == terminal


def test_select(tmp_path, write_notebook):
    for name in ("04_b", "01_a"):
        write_notebook(tmp_path / f"{name}.ipynb", [("parameters", "seed: int = 0  # x")])
    assert [p.stem for p in runner.select(folder=tmp_path)] == ["01_a", "04_b"]
    assert [p.stem for p in runner.select(["04_b", "1"], tmp_path)] == ["01_a", "04_b"]
    with pytest.raises(UsageError, match="unknown lesson '07'"):
        runner.select(["7"], tmp_path)


def test_badge_restamps_everything(tmp_path, monkeypatch, lesson):
    path = lesson()
    (tmp_path / "pyproject.toml").write_text(
        f'[project.urls]\nrepository = "{stamp.repository()}"  # one place\n'
    )
    monkeypatch.setattr(stamp, "ROOT", tmp_path)
    monkeypatch.setattr(stamp, "NOTEBOOKS", tmp_path)
    assert stamp.restamp("me/fork") == [tmp_path / "pyproject.toml", path]
    assert stamp.repository() == "https://github.com/me/fork"
    assert grammar.problems(path) == []
    assert stamp.restamp("me/fork") == []
    with pytest.raises(UsageError, match="owner/name"):
        stamp.restamp("fork")


def test_setup_cell_says_in_a_line_that_no_course_is_there(tmp_path):
    """In an empty folder, where no bsrnn can be imported."""
    nowhere = (tmp_path / "no.git").as_uri()
    hide = "import importlib.util\nimportlib.util.find_spec = lambda name: None\nseed = 4\n"
    done = subprocess.run(
        [sys.executable, "-P", "-c", hide + stamp.setup_cell()],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "BSRNN_REPOSITORY": nowhere},
    )  # fmt: skip
    assert done.returncode == 1 and "version" not in done.stdout
    (line,) = done.stderr.splitlines()
    assert nowhere in line and "set BSRNN_REPOSITORY or put bsrnn/ beside" in line


def test_show_needs_words_and_closes_the_figure(capsys):
    import matplotlib.pyplot as plt

    figure, _ = plt.subplots()
    with pytest.raises(UsageError, match="needs words"):
        course.show(figure)
    figure.description = "Nothing."
    course.show(figure)
    assert not plt.fignum_exists(figure.number)


def test_attempt_and_card(tmp_path):
    def check(answer):
        assert answer == 4, "should be 4"

    assert course.attempt(check, 4) == "Correct."
    assert course.attempt(check, 5) == "Not yet: should be 4"
    assert "ZeroDivisionError" in course.attempt(lambda: 1 / 0)
    rows = [{"system": "mixture", "metric": "usdr", "value_db": np.float32(0.5)}]
    path = course.write_card(tmp_path / "new", "09_evaluation", {"seed": 0}, rows, rung="toy")
    card = json.loads(path.read_text())
    assert card["metrics"][0]["value_db"] == 0.5 and card["rung"] == "toy" and card["version"]
    assert course.folder(str(tmp_path / "a" / "b"), "x").is_dir()
