"""Predict, commit, reveal: a question before the run, the answer drawn beside the truth after it.

    course.predict("03 wiener", "How many dB does the Wiener mask gain?", "dB")      # a number
    course.predict("03 best", "Which mask is best?", ["binary", "ratio", "complex"])  # a choice
    course.predict("03 fall", "SDR over log2 n_fft?", course.Sketch((8, 14), (0, 20)))  # a curve
    ...
    course.reveal("03 wiener", gain_db)

What is entered is kept in one file, so that it outlives the kernel; where nothing is entered, as
under papermill, nothing fails. A page without a kernel keeps answers in the browser: `site.js`.
"""

import html
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bsrnn.common import UsageError, choose, workplace, write_text

POINTS = 8  # of a sketch
CLOSE = 0.25  # a number is close within this share of the truth
NEAR = 0.15  # a sketch is close within this share of its height, on average

# name -> (question, kind), in this kernel; the kind as `site.js` reads it: unit, choices, or points
_asked: dict[str, tuple[str, dict]] = {}
_close: dict[str, bool] = {}  # name -> was the prediction close, in this kernel


@dataclass(frozen=True)
class Sketch:
    """A curve to be drawn by hand: the ranges of its axes, and what they are called, with units."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str = "x"
    y_label: str = "y"


def predict(name: str, question: str, kind) -> None:
    """Ask before the run; the learner's answer is kept under `name` for `reveal`.

    Args:
        name: the lesson's number and a word, such as "03 wiener"; it stands once in the course.
        question: what is asked, in a sentence of plain text.
        kind: the unit of a number ("dB"; "" for none), a list of two choices or more, or a Sketch.

    Raises UsageError: fewer than two choices.
    """
    if isinstance(kind, Sketch):
        wanted = f"a curve of {kind.y_label} over {kind.x_label}"
        kind = {**asdict(kind), "points": POINTS}
    elif isinstance(kind, str):
        wanted, kind = f"a number, {kind}" if kind else "a number", {"unit": kind}
    else:
        kind = {"choices": [str(option) for option in kind]}
        wanted = " / ".join(kind["choices"])
        if len(kind["choices"]) < 2:
            raise UsageError(f"prediction {name!r}: give a unit, two choices or more, or a Sketch")
    _asked[name] = question, kind
    fragment = _fragment("predict", name=name, question=question, kind=kind)
    _display(f"Predict: {question} [{wanted}]", fragment, name)


def entered(name: str):
    """What was predicted under `name`: a number, a choice, POINTS heights, or None."""
    return _kept().get(name)


def commit(name: str, answer) -> None:
    """Keep `answer` as the prediction of `name`; the widget of `predict` calls this."""
    write_text(_file(), json.dumps({**_kept(), name: answer}, indent=1) + "\n")


def _kept() -> dict:
    path = _file()
    return json.loads((path.read_text(encoding="utf-8") if path.exists() else "") or "{}")


def reveal(name: str, truth, within: float | None = None) -> None:
    """Show the truth beside what was predicted, and how many predictions were close so far.

    Args:
        name: as in `predict`, whose cell has run.
        truth: a number, a choice, or heights (n,) at n places spread evenly over the Sketch's x.
        within: a number so far from the truth is still close; default a quarter of the truth.

    Raises UsageError: no such prediction, or a truth that is no choice of it.
    """
    if name not in _asked:
        raise UsageError(f"no prediction {name!r} yet: run its cell first")
    question, kind = _asked[name]
    if "points" in kind:
        places = np.linspace(0, 1, POINTS)
        truth = np.interp(places, np.linspace(0, 1, len(truth)), truth).tolist()
    elif "unit" in kind:
        truth = float(truth)
        within = abs(truth) * CLOSE if within is None else within
    else:
        truth = choose(str(truth), kind["choices"], f"choice of prediction {name}")
    answer = entered(name)
    told = f"The run says: {_text(kind, truth)}. "
    if answer is None:
        told += "No prediction entered."
    else:
        _close[name] = _is_close(kind, answer, truth, within)
        word = "close" if _close[name] else "not close"
        told += f"You predicted {_text(kind, answer)}: {word}. "
        told += f"Close so far: {sum(_close.values())} of {len(_close)}."
    data = {"name": name, "kind": kind, "truth": truth, "within": within}
    _display(told, _fragment("reveal", **data, answer=answer, told=told))


def _file() -> Path:
    """Where predictions are kept; runs of the course read none (BSRNN_PREDICTIONS is the null
    device there), so that stored outputs hold nobody's answers."""
    return Path(os.environ.get("BSRNN_PREDICTIONS") or workplace() / "runs" / "predictions.json")


def _is_close(kind, answer, truth, within) -> bool:
    if "points" in kind:
        low, high = kind["y"]
        return bool(np.mean(np.abs(np.subtract(answer, truth))) <= NEAR * (high - low))
    return abs(answer - truth) <= within if "unit" in kind else answer == truth


def _text(kind, value) -> str:
    if "points" in kind:
        return ", ".join(f"{height:.3g}" for height in value)
    return f"{value:.4g} {kind['unit']}".rstrip() if "unit" in kind else value


def _fragment(what: str, **data) -> str:
    """HTML of a prediction or its reveal: words, and the data that `site.js` draws from."""
    words = html.escape(data.pop("told", None) or data["question"])
    kept = html.escape(json.dumps(data), quote=True)
    picture = _picture(data) if what == "reveal" else ""
    return f'<div class="{what}" data-{what}="{kept}"><p>{words}</p>{picture}</div>'


def _picture(data) -> str:
    """The prediction beside the truth as an SVG: marks on a line, or two curves."""
    truth, answer, kind = data["truth"], data["answer"], data["kind"]
    if "choices" in kind:
        return ""
    if "unit" in kind:
        marks = [value for value in (truth, answer) if value is not None]
        low, high = min([0, *marks]), max([0, *marks])
        curves = {"truth": [truth, truth], "you": answer and [answer, answer]}
    else:
        (low, high), curves = kind["y"], {"truth": truth, "you": answer}
    drawn = []
    for (who, heights), colour in zip(curves.items(), ("#1b7837", "#b2182b"), strict=True):
        if heights is not None:
            x = np.linspace(10, 290, len(heights))
            y = 110 - 100 * (np.array(heights) - low) / ((high - low) or 1)
            points = " ".join(f"{a:.0f},{b:.0f}" for a, b in zip(x, y, strict=True))
            dash = ' stroke-dasharray="6 4"' if who == "you" else ""
            drawn.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}>'
                f"<title>{who}</title></polyline>"
            )
    return (
        '<svg viewBox="0 0 300 120" width="300" role="img" aria-label="truth, green; your '
        f'prediction, red and dashed">{"".join(drawn)}</svg>'
    )


def _display(words: str, markup: str, name: str = "") -> None:
    """Show HTML and words; the entry widget of prediction `name` where a kernel runs."""
    from IPython.display import display

    data = {"text/html": markup, "text/plain": words}
    if name:
        data = {**_widget(name)._repr_mimebundle_(), **data}
    display(data, raw=True)


def _widget(name: str):
    """Controls that keep what is entered: a number, radio buttons, or a slider per point."""
    import ipywidgets as widgets

    question, kind = _asked[name]
    before = entered(name)
    if "points" in kind:
        low, high = kind["y"]
        look = {"min": low, "max": high, "orientation": "vertical", "continuous_update": False}
        controls = [
            widgets.FloatSlider(height, description=f"{kind['x_label']} {x:.3g}", **look)
            for x, height in zip(
                np.linspace(*kind["x"], POINTS), before or [(low + high) / 2] * POINTS, strict=True
            )
        ]
    elif "unit" in kind:
        controls = [widgets.FloatText(before or 0.0, description=kind["unit"] or "number")]
    else:
        options = kind["choices"]
        controls = [widgets.RadioButtons(options=options, value=before, description="choose")]
    button = widgets.Button(description="Commit")
    note = widgets.HTML("" if before is None else f"kept: {_text(kind, before)}")

    def keep(_):
        values = [control.value for control in controls]
        answer = values if "points" in kind else values[0]
        if answer is None:
            note.value = "choose first"
            return
        commit(name, answer)
        note.value = f"kept: {_text(kind, answer)}"

    button.on_click(keep)
    rows = widgets.HBox(controls, layout=widgets.Layout(flex_flow="row wrap"))
    return widgets.VBox([widgets.HTML(f"<b>{html.escape(question)}</b>"), rows, button, note])
