"""What a lesson calls: claims against chance, predictions that are kept."""

import ast
import base64
import dataclasses
import io
import json

import numpy as np
import papermill
import pytest
import torch
from conftest import NOTEBOOKS
from PIL import Image

from bsrnn import course, data, models, training
from bsrnn.common import UsageError
from bsrnn.course import predictions
from bsrnn.experiments import notebooks
from bsrnn.plots import style

DRAWS = np.random.default_rng(0).normal(size=999)


@pytest.mark.parametrize(
    "value, null, options, holds",
    [
        (True, None, {}, True),
        ([True, False], None, {}, False),
        (0.5, 1.0, {"better": "lower"}, True),
        (1.5, 1.0, {"better": "lower"}, False),
        (2.0, DRAWS, {}, True),
        (1.0, DRAWS, {}, False),
        (-2.0, DRAWS, {}, False),
        (-2.0, DRAWS, {"better": "lower"}, True),
        (1.8, DRAWS, {"better": "either"}, False),
        (2.5, DRAWS, {"better": "either"}, True),
        (2.0, DRAWS, {"level": 0.99}, False),
        (float("nan"), DRAWS, {}, False),
        ([1.0, 1.2, np.nan, 0.9], 0.5, {}, True),
        ([1.0, 1.2, 0.2], [0.9, 1.0, 0.3], {}, False),
        ([1.0, 1.2, 0.9], [2.0, 2.3, 1.8], {"better": "lower"}, True),
    ],
)
def test_a_claim_is_judged_against_its_null(value, null, options, holds, capsys):
    if holds:
        course.claim("it holds", value, null, **options)
        assert capsys.readouterr().out.startswith("Holds: it holds")
    else:
        with pytest.raises(AssertionError, match="Does not hold: it holds"):
            course.claim("it holds", value, null, **options)


@pytest.mark.parametrize(
    "value, null, options, words",
    [
        (1.0, DRAWS[:18], {}, "18 draws cannot decide"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], {}, "do not pair"),
        ([1.0, np.nan], 0.0, {}, "two values"),
        (1.0, 0.0, {"better": "more"}, "side of a claim"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_refused(value, null, options, words):
    with pytest.raises(UsageError, match=words):
        course.claim("it holds", value, null, **options)


def test_the_least_number_of_draws_decides():
    course.claim("it holds", 9.0, DRAWS[:19])


CURVE = course.Sketch((0, 7), (0, 10), "step", "dB")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The file of predictions, and nothing asked or scored before."""
    path = tmp_path / "predictions.json"
    monkeypatch.setenv("BSRNN_PREDICTIONS", str(path))
    monkeypatch.setattr(predictions, "_asked", {})
    monkeypatch.setattr(predictions, "_close", {})
    return path


@pytest.fixture
def shown(monkeypatch):
    """The bundles that were displayed."""
    bundles = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: bundles.append(data))
    return bundles


@pytest.mark.parametrize(
    "kind, answer, truth, close",
    [
        ("dB", 9.0, 10.0, True),
        ("dB", 5.0, 10.0, False),
        ("", 3.0, 3, True),
        (["a", "b"], "b", "b", True),
        (["a", "b"], "a", "b", False),
        (CURVE, [0.0, 1, 2, 3, 4, 5, 6, 7], [1, 8], True),
        (CURVE, [7.0, 6, 5, 4, 3, 2, 1, 0], [1, 8], False),
    ],
    ids=str,
)
def test_a_prediction_is_entered_kept_and_drawn_beside_the_truth(
    kind, answer, truth, close, kept, shown
):
    course.predict("03 x", "How much?", kind)
    _, controls, button, _ = predictions._widget("03 x").children
    values = answer if isinstance(answer, list) else [answer]
    for control, value in zip(controls.children, values, strict=True):
        control.value = value
    button.click()
    assert json.loads(kept.read_text()) == {"03 x": answer} and course.entered("03 x") == answer
    assert predictions._widget("03 x").children[1].children[0].value == values[0]
    course.reveal("03 x", truth)
    asked, told = shown
    assert (
        "application/vnd.jupyter.widget-view+json" in asked and "data-predict" in asked["text/html"]
    )
    assert (": close." in told["text/plain"]) == close
    assert told["text/plain"].endswith(f"Close so far: {int(close)} of 1.")
    assert told["text/html"].count("<polyline") == (0 if isinstance(kind, list) else 2)


@pytest.mark.parametrize("path", ["", "/dev/null"])
def test_nothing_entered_fails_nothing(path, kept, shown, monkeypatch):
    monkeypatch.setenv("BSRNN_PREDICTIONS", path or str(kept))
    course.predict("03 x", "How much?", "dB")
    course.reveal("03 x", 2.5)
    assert shown[1]["text/plain"] == "The run says: 2.5 dB. No prediction entered."
    assert not kept.exists()


def test_what_cannot_be_asked_or_revealed_is_refused(kept, shown):
    with pytest.raises(UsageError, match="two choices or more"):
        course.predict("03 x", "Which?", ["only"])
    with pytest.raises(UsageError, match="run its cell first"):
        course.reveal("03 x", 1)
    course.predict("03 x", "Which?", ["a", "b"])
    with pytest.raises(UsageError, match="unknown choice of prediction 03 x 'c'"):
        course.reveal("03 x", "c")


SHELL = """profile: str = "smoke"  # smoke, small or full
seed: int = 0  # of all
rate: float = 0.5  # per step
scheme: str = "v7"  # bands"""


@pytest.mark.parametrize(
    "injected, words",
    [
        ("", ""),
        ("seed = 3\nrate = 1", ""),
        ("rate = '1e-3'", ""),
        ("sed = 3", "unknown parameter 'sed': did you mean seed"),
        ("seed = '3.5'", "'seed' takes int"),
        ("rate = 'fast'", "'rate' takes float"),
        ("profile = 'smal'", "unknown profile 'smal'"),
        ("scheme = 'v77'", "unknown band scheme 'v77'"),
    ],
)
def test_begin_checks_what_the_lesson_was_given(injected, words, monkeypatch):
    """The cells as papermill leaves them, in the namespace of a shell."""
    names = {"In": ["", SHELL, f"# Parameters\n{injected}\n", "print(course.begin(seed))"]}
    exec("\n".join(names["In"][:3]), names)
    shell = type("Shell", (), {"user_ns": names})
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    if words:
        with pytest.raises(UsageError, match=words):
            course.begin(0)
    else:
        assert course.begin(0).startswith("bsrnn") and isinstance(names["rate"], float)


def test_plain_papermill_stops_at_a_misspelt_parameter(tmp_path, write_notebook):
    cells = [("parameters", SHELL), ("setup", "from bsrnn import course\ncourse.begin(seed)")]
    path = write_notebook(tmp_path / "42_test.ipynb", cells)
    with pytest.raises(papermill.PapermillExecutionError, match="did you mean seed"):
        papermill.execute_notebook(path, tmp_path / "out.ipynb", {"sed": 3}, progress_bar=False)


def test_a_shown_picture_has_twice_the_pixels_and_words(monkeypatch):
    told = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **b: told.append((a, b)))
    figure, _ = style.figure("x", width=5, height=2)
    figure.description = "Nothing."
    course.show(figure)
    (data,), options = told[0]
    assert options["metadata"]["image/png"] == {"alt": "Nothing.", "width": 480}
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size == (960, 384)


def test_the_file_beside_the_notebooks_is_what_the_lessons_define():
    """Every class and function of my_bsrnn.py stands, word for word, in a cell of a lesson; but for
    three that only later lessons call."""
    text = (NOTEBOOKS / "my_bsrnn.py").read_text(encoding="utf-8")
    told = [
        cell.source
        for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
        for cell in notebooks.read(path).cells
        if cell.cell_type == "code"
    ]
    parts = [
        (node.name, ast.get_source_segment(text, node))
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    ]
    missing = {name for name, source in parts if not any(source in cell for cell in told)}
    assert missing == {"pack", "learnt", "fingerprint"}
    assert len(parts) >= 14


def test_ten_steps_of_the_lessons_loop_are_those_of_fit(tmp_path):
    """Lesson 07's loop, on the network of lesson 05, beside training.fit with the same examples."""
    mine, songs = course.earlier(), data.open("toy", seed=0)
    config, settings = mine.plan("smoke", songs)
    ten = dataclasses.replace(settings, steps=10, checkpoint_every=10, log_every=1)
    quiet = {"valid": [], "device": "cpu", "progress": False}
    fitted = training.fit(config, ten, songs, tmp_path, **quiet)
    torch.manual_seed(ten.seed)
    network = mine.network(config)
    draw = training.examples.mixer_for(config, ten, songs.subset("train"))
    losses = mine.train(network, draw.__getitem__, ten)
    np.testing.assert_allclose(losses, fitted.history["loss"], rtol=1e-5)
    for ours, theirs in zip(
        network.state_dict().values(), fitted.separator.state_dict().values(), strict=True
    ):
        assert (ours - theirs).abs().max() < 1e-3 * ten.lr


def test_later_lessons_use_the_weights_that_lesson_07_has_left(tmp_path):
    mine, songs = course.earlier(), data.open("toy", seed=0)
    config, settings = mine.plan("smoke", songs)
    short = dataclasses.replace(settings, steps=2)
    trained = mine.learnt(tmp_path, config, short, songs)
    again = mine.learnt(tmp_path, config, short, songs)  # nothing there: trained once more
    assert mine.fingerprint(trained) == mine.fingerprint(again)
    with torch.no_grad():
        next(trained.parameters()).add_(1.0)
    models.save(trained, tmp_path / "mine.safetensors")
    kept = mine.learnt(tmp_path, config, short, songs)
    assert mine.fingerprint(kept) == mine.fingerprint(trained) != mine.fingerprint(again)
    other = mine.learnt(tmp_path, config, dataclasses.replace(short, seed=1), songs)
    assert mine.fingerprint(other) != mine.fingerprint(kept), "other settings, other weights"
