"""The questions of the assignments: one module per assignment, one check per question.

A check is a function (ask, rng): `ask` is the `Exam` that puts the question to one submission, on
inputs drawn from `rng`, a numpy Generator made from the teacher's seed. What each property of an
answer is worth stands in `assignments.toml`. Knowing a check does not answer the question.
"""

import contextlib
import importlib
import tomllib
from functools import partial
from pathlib import Path

import numpy as np

from bsrnn.common import choose
from bsrnn.course.sandbox import StudentError

ASSIGNMENTS = tomllib.loads((Path(__file__).parent / "assignments.toml").read_text("utf-8"))
RULES = ASSIGNMENTS.pop("rules")
# assignment -> question -> property -> points
QUESTIONS = {name: each["points"] for name, each in ASSIGNMENTS.items()}


def total(assignment: str) -> int:
    """All points of an assignment, those given by hand among them."""
    by_hand = ASSIGNMENTS[assignment].get("by_hand", {})
    return sum(points(assignment, q) for q in QUESTIONS[assignment]) + sum(by_hand.values())


def points(assignment: str, question: str) -> int:
    """Points of a question, the sum over its properties."""
    return sum(QUESTIONS[assignment][question].values())


def module(assignment: str) -> str:
    """Name of the module that holds the checks; UsageError if there is no such assignment."""
    return f"{__name__}.{choose(assignment, QUESTIONS, 'assignment')}"


def check(assignment: str, question: str):
    """The check (ask, rng) of a question; `train.clips` is `train_clips` there."""
    choose(question, QUESTIONS[assignment], f"question of {assignment}")
    return getattr(importlib.import_module(module(assignment)), question.replace(".", "_"))


def function(question: str) -> str:
    """The name of the student's function that a question is about.

    >>> function("train.clips")
    'train'
    """
    return question.split(".")[0]


class Exam:
    """One question put to one submission: `ask(...)` calls the student's function, in its process.

    `with ask.part(name):` keeps what the asserts of a property say; the other properties go on. A
    call that had to be stopped ends the check: each further one would cost its time again.
    """

    def __init__(self, sandbox, question: str, parts):
        self.call = partial(sandbox.call, function(question))
        self.train = partial(sandbox.train, function(question))
        self.entered, self.failed = dict.fromkeys(parts, False), {}

    def __call__(self, *arguments):
        return self.call(*arguments)

    @contextlib.contextmanager
    def part(self, name: str):
        """The asserts of the property `name`."""
        self.entered[name] = True
        try:
            yield
        except AssertionError as error:
            self.failed.setdefault(name, str(error) or "a check failed")
        except StudentError as error:
            self.failed.setdefault(name, str(error))
            if "stopped after" in str(error):
                raise
        except UnboundLocalError:  # the call failed in a property before
            self.failed.setdefault(name, next(iter(self.failed.values()), "nothing to check"))
        except Exception as error:  # what came back has a form that no assert foresaw
            words = f"what comes back has the wrong form ({type(error).__name__}: {error})"
            self.failed.setdefault(name, words)

    def same(self, part: str, arguments, want, hints=(), tolerance=1e-9, what="") -> None:
        """The property `part`: what the function returns is `want`; see `same`."""
        with self.part(part):
            same(self(*arguments), want, hints, tolerance, what)

    def told(self) -> dict[str, str]:
        """Property -> what is wrong, "" if nothing is."""
        last = next(iter(self.failed.values()), "it was not reached")
        return {
            name: self.failed.get(name, "" if entered else last)
            for name, entered in self.entered.items()
        }


def entry(got, name: str):
    """got[name], where a dictionary is wanted."""
    assert isinstance(got, dict) and name in got, f"no entry {name!r}"
    return got[name]


def several(got, *names: str):
    """`got`, a tuple or list with a value for each of `names`."""
    right = isinstance(got, (tuple, list)) and len(got) == len(names)
    assert right, f"({', '.join(names)}) is wanted"
    return got


def same(got, want, hints=(), tolerance: float = 1e-9, what: str = "") -> None:
    """Assert that `got` has the shape of `want` and its values within `tolerance` of its peak.

    hints: words -> a wrong value; the words are said if `got` is that value (and if it is wrong in
    this case). what: the case, in words.
    """
    got, want = numbers(got), np.asarray(want)
    case = f"{what}: " if what else ""
    for words, wrong in dict(hints).items():
        wrong = np.asarray(wrong)
        told = wrong.shape == got.shape and _close(got, wrong, tolerance)
        right = wrong.shape == want.shape and _close(wrong, want, tolerance)
        assert right or not told, case + words
    assert got.shape == want.shape, f"{case}shape {want.shape} expected, yours {got.shape}"
    assert np.iscomplexobj(want) or not np.iscomplexobj(got), f"{case}it must be real"
    assert _close(got, want, tolerance), case + _apart(got, want)


def numbers(got) -> np.ndarray:
    """`got` as an array of numbers; None and other things fail with a hint."""
    assert got is not None, "nothing comes back, is there a `return`?"
    if hasattr(got, "detach"):
        got = got.detach().numpy()
    try:
        array = np.asarray(got)
    except ValueError:
        array = np.asarray(None)
    kind = getattr(got, "kind", type(got).__name__)  # wire.Opaque
    assert array.dtype.kind in "biufc", f"numbers expected, not {kind}"
    return array


def _close(got, want, tolerance) -> bool:
    """Equal to `tolerance` of the largest finite value; NaN and infinities in the same places."""
    known = ~np.isnan(want)
    if (np.isnan(got) == known).any():
        return False
    got, want = got[known], want[known]
    finite = np.isfinite(want)
    scale = np.abs(want[finite]).max(initial=1e-3)
    near = np.abs(got[finite] - want[finite]) <= tolerance * scale
    return bool(near.all() and (got[~finite] == want[~finite]).all())


def _apart(got, want) -> str:
    """How two unequal things of one shape differ, in words."""
    if want.ndim == 0:
        return f"{want:.6g} expected, yours {got:.6g}"
    if (np.isnan(got) != np.isnan(want)).any():
        return "NaN in the wrong place"
    return f"off by up to {np.nanmax(np.abs(got - want)):.3g}"
