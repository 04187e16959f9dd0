"""What a lesson calls: begin, show, attempt, folder, write_card. Imports lightly."""

import json
import platform
import random
import time
from pathlib import Path

import bsrnn
from bsrnn.common import UsageError, workplace

_began_s = [time.monotonic()]


def begin(seed: int = 0) -> str:
    """Seed Python, numpy and torch; return the version line of the setup cell.

    Raises:
        UsageError: a required package is missing.
    """
    try:
        import numpy
        import torch
    except ImportError as error:
        raise UsageError(f"{error.name} is missing: pip install -r requirements.txt") from None
    _began_s[0] = time.monotonic()
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    return (
        f"bsrnn {bsrnn.__version__}, torch {torch.__version__.split('+')[0]}, "
        f"numpy {numpy.__version__}, Python {platform.python_version()}, seed {seed}"
    )


def folder(out_dir: str, lesson: str) -> Path:
    """Where a lesson writes: `out_dir`, or `runs/<lesson>` of the checkout if that is empty."""
    path = Path(out_dir) if out_dir else workplace() / "runs" / lesson
    path.mkdir(parents=True, exist_ok=True)
    return path


def show(figure) -> None:
    """Display a matplotlib Figure as a PNG or SVG with alt text, and its description below it.

    The description is the `figure.description` that every function of `bsrnn.plots` sets;
    a figure drawn in a lesson sets it itself. The figure is closed.

    Raises:
        UsageError: the figure has no description in words.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Markdown, display

    words = getattr(figure, "description", "")
    if not words:
        raise UsageError('a figure needs words: set figure.description = "what it shows"')
    data, metadata = {"image/png": _png(figure)}, {"image/png": {"alt": words}}
    if hasattr(figure, "_repr_mimebundle_"):
        data, metadata = figure._repr_mimebundle_()
    plt.close(figure)
    display({**data, "text/plain": words}, raw=True, metadata=metadata)
    display(Markdown(f"*In words: {words}*"))


def _png(figure) -> str:
    """A plain matplotlib figure as base64 PNG; figures of `bsrnn.plots` make their own."""
    import base64
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, bbox_inches="tight", metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode()


def attempt(check, *answers) -> str:
    """Run the `check` of an exercise on the learner's answers; one friendly line, never an error.

    >>> def double(x): raise NotImplementedError("return twice x")
    >>> def check(double): assert double(2) == 4, "double(2) should be 4"
    >>> attempt(check, double)
    'Not yet: return twice x'
    >>> attempt(check, lambda x: x * x + 1)
    'Not yet: double(2) should be 4'
    >>> attempt(check, lambda x: 2 * x)
    'Correct.'
    """
    try:
        check(*answers)
    except AssertionError as error:
        hint = str(error).split("\n")[0]
        return f"Not yet: {hint or 'a check failed; run it on the reference to compare'}"
    except NotImplementedError as error:
        return f"Not yet: {error or 'the exercise is still empty'}"
    except Exception as error:  # a learner's code may raise anything; the lesson goes on
        return f"Not yet: your code raised {type(error).__name__}: {error}"
    return "Correct."


def write_card(path, lesson: str, parameters: dict, metrics: list[dict], **notes) -> Path:
    """Write the results card `results.json` of a lesson that measures into folder `path`.

    Args:
        parameters: the values of the parameters cell (profile, seed, dataset, ...).
        metrics: tidy rows with the ladder of references, such as
            {"system": "mixture", "stem": "vocals", "metric": "usdr", "value_db": 0.1}.
        notes: anything else worth keeping (rung, split_hash, parameter count ...).
    """
    from bsrnn.common import write_text

    card = {
        "lesson": lesson,
        "version": bsrnn.__version__,
        "parameters": parameters,
        "metrics": metrics,
        "seconds": round(time.monotonic() - _began_s[0], 1),
        **notes,
    }
    target = Path(path) / "results.json"
    write_text(target, json.dumps(card, indent=1, default=_plain) + "\n")
    return target


def _plain(value):
    """numpy and torch scalars and arrays as plain Python, paths as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
