"""What a lesson calls: begin, show, table, attempt, folder, write_card. Imports lightly."""

import ast
import importlib.util
import json
import numbers
import platform
import random
import re
import time
from pathlib import Path

import bsrnn
from bsrnn.common import NOTEBOOKS, UsageError, choose, workplace
from bsrnn.settings import typed

_began_s = [time.monotonic()]


def begin(seed: int = 0) -> str:
    """Check the lesson's parameters, seed Python, numpy and torch; the version line of the setup.

    Papermill only warns about a misspelt parameter and takes any value: here both stop the lesson.

    Raises UsageError: a parameter that the lesson does not have, of another type, or no profile
    or band scheme; or a required package is missing.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if shell:
        _check_parameters(shell.user_ns)
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


def _check_parameters(names: dict) -> None:
    """Compare the cells that ran before the setup, the last one injected by papermill, with the
    parameters cell, and the values with the types that it declares."""
    from bsrnn import bands
    from bsrnn.experiments.notebooks import PROFILES

    declared, injected = {}, []
    for source in names.get("In", []):
        if not re.match(r"# Parameters\n|\w+: \w+ = ", source):
            continue
        for node in ast.parse(source).body:
            if isinstance(node, ast.AnnAssign):
                declared[node.target.id] = ast.literal_eval(node.value)
            elif isinstance(node, ast.Assign) and source.startswith("# Parameters"):
                injected.append(node.targets[0].id)
    for name in injected:
        choose(name, declared, "parameter")
    for name, default in declared.items():
        names[name] = typed(name, names[name], default)  # YAML reads 1e-3 as text
    if "profile" in declared:
        choose(names["profile"], PROFILES, "profile")
    if names.get("scheme") and "scheme" in declared:
        bands.scheme(names["scheme"])


def folder(out_dir: str, lesson: str) -> Path:
    """Where a lesson writes: `out_dir`, or `runs/<lesson>` of the checkout if that is empty."""
    path = Path(out_dir) if out_dir else workplace() / "runs" / lesson
    path.mkdir(parents=True, exist_ok=True)
    return path


def earlier():
    """What earlier lessons wrote: the module `my_bsrnn.py` beside the notebook, else the course's.

    >>> earlier().Norm(8).gain.shape
    torch.Size([8])
    """
    places = (Path.cwd() / "my_bsrnn.py", NOTEBOOKS / "my_bsrnn.py")
    spec = importlib.util.spec_from_file_location(
        "my_bsrnn", next(p for p in places if p.is_file())
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def show(figure) -> None:
    """Display a matplotlib Figure as a PNG or SVG with alt text, and its description below it.

    The description is the `figure.description` that every function of `bsrnn.plots` sets;
    a figure drawn in a lesson sets it itself. The figure is closed.

    Raises UsageError: the figure has no description in words.
    """
    import matplotlib.pyplot as plt
    from IPython.core.pylabtools import print_figure
    from IPython.display import Markdown, display

    from bsrnn.plots.style import DPI, PAGE_DPI

    words = getattr(figure, "description", "")
    if not words:
        raise UsageError('a figure needs words: set figure.description = "what it shows"')
    if hasattr(figure, "_repr_mimebundle_"):  # those of `bsrnn.plots` draw themselves
        data = figure._repr_mimebundle_()[0]
    else:
        data = {"image/png": print_figure(figure, dpi=DPI, base64=True)}
    shown = {"alt": words, "width": round(figure.get_figwidth() * PAGE_DPI)}
    metadata = {kind: shown for kind in data if kind.startswith("image/")}
    plt.close(figure)
    display({**data, "text/plain": words}, raw=True, metadata=metadata)
    display(Markdown(f"*In words: {words}*"))


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


def table(frame, digits: int = 1):
    """A pandas frame as text for people: rounded, yes and no, a dash for what is undefined.

    >>> import pandas as pd
    >>> table(pd.DataFrame({"SDR (dB)": [7.96, None], "kept": [True, False]}, index=["a", "b"]))
      SDR (dB) kept
    a      8.0  yes
    b        –   no
    """

    def text(value):
        if isinstance(value, bool) or type(value).__name__ == "bool":
            return "yes" if value else "no"
        if not isinstance(value, numbers.Number):
            return str(value)
        if value != value:
            return "–"
        if abs(value) == float("inf"):
            return "∞" if value > 0 else "-∞"
        whole = isinstance(value, numbers.Integral)
        return f"{value:,}" if whole else f"{round(value, digits) + 0.0:,.{digits}f}"

    return frame.map(text)


def write_card(path, lesson: str, parameters: dict, metrics: list[dict], **notes) -> Path:
    """Write the results card `results.json` of a lesson that measures into folder `path`.

    Args:
        parameters: the values of the parameters cell (profile, seed, dataset, ...).
        metrics: tidy rows with the ladder of references, such as
            {"system": "mixture", "stem": "vocals", "metric": "usdr", "value_db": 0.1}.
        notes: anything else worth keeping (rung, split_hash, parameter count ...).
    """
    from bsrnn.common import write_text
    from bsrnn.experiments.schema import made

    card = {
        "lesson": lesson,
        "version": bsrnn.__version__,
        "parameters": parameters,
        "metrics": metrics,
        "seconds": round(time.monotonic() - _began_s[0], 1),
        "made": made(),
        **notes,
    }
    target = Path(path) / "results.json"
    write_text(target, json.dumps(card, indent=1, default=_plain) + "\n")
    return target


def _plain(value):
    """numpy and torch scalars and arrays as plain Python, paths as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
