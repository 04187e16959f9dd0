"""What a lesson calls: claims against chance, predictions that are kept."""

import json

import numpy as np
import pytest

from bsrnn import course, data
from bsrnn.common import UsageError
from bsrnn.course import predictions
from bsrnn.plots import signals

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


def test_the_old_claim_about_loudness_is_chance():
    """Lesson 01 said "when the drums rest, the bass is louder (-0.37)": the strongest of six pairs,
    and the strongest of six pairs of shifted copies is 0.42 in the median."""
    clip = data.open("clip")[0]
    levels = [
        np.maximum(signals.rms_over_time(x, clip.sample_rate), -60) for x in clip.sources().values()
    ]
    pairs = ~np.eye(len(levels), dtype=bool)
    random = np.random.default_rng(0)

    def strongest(shift):
        moved = [np.roll(x, random.integers(5, len(x) - 5)) if shift else x for x in levels]
        return np.abs(np.corrcoef(moved)[pairs]).max()

    null = [strongest(True) for _ in range(300)]
    assert strongest(False) == pytest.approx(0.37, abs=0.01)
    assert np.median(null) > 0.37
    with pytest.raises(AssertionError, match="Does not hold"):
        course.claim("the strongest of six pairs is no chance", strongest(False), null)


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
