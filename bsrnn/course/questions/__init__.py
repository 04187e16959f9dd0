"""The questions of the assignments: one module per assignment, one check per question.

A check is a function (answer, rng, part). `answer` calls the student's function in its own process,
on inputs drawn from `rng`, a numpy Generator made from the teacher's seed. `with part("value"):`
holds the asserts of one property, which has points of its own; each says in one line what is wrong.
Knowing a check does not answer the question.
"""

import contextlib
import importlib

import numpy as np

from bsrnn.common import choose
from bsrnn.course.sandbox import StudentError

# assignment -> question -> property -> points. A question is a function by name, or
# `function.property`.
QUESTIONS = {
    "a0": {
        "level_db": {"value": 1, "silence": 1},
        "mid_side": {"rotation": 2},
        "inconsistency_db": {"value": 1, "adds up": 1},
        "lazy_sdr_db": {"names": 1, "values": 1},
        "active_share": {"share": 2},
        "find_fault": {"what": 2, "where": 3},
    },
    "a1": {
        "grid": {"units": 1},
        "frames_of": {"frames": 2},
        "my_stft": {"transform": 1, "windows": 2},
        "my_istft": {"round trip": 2, "least squares": 1},
        "is_cola": {"cosine windows": 1, "other windows": 1},
        "sharpest": {"sharpness": 3, "choice": 2},
    },
    "a2": {
        "power_mask": {"mask": 1, "silence": 1},
        "binary_mask": {"at 0 dB": 1, "any threshold": 1},
        "sigmoid_mask": {"mask": 1, "silence": 1},
        "ladder_db": {"floors": 1, "estimate": 1, "best gain": 1},
        "add_up": {"sum": 1, "equal parts": 1},
        "match": {"order": 3, "polarity": 2},
    },
    "a3": {
        "ranges_of": {"borders": 2, "borders on bins": 1},
        "faults": {"in no band": 1, "in several": 1},
        "split_parameters": {"count": 2},
        "energy_shares": {"shares": 1, "silence": 1},
        "band_gains": {"gains": 2, "silence": 1},
        "defend": {"bounds": 3, "choice": 2},
    },
    "a4": {
        "norm": {"values": 2},
        "band_input": {"numbers": 2},
        "along": {"rows": 1, "time": 1, "bands": 1},
        "gated_mask": {"mask": 2},
        "apply_bands": {"apart": 1, "overlap": 2},
        "faulty_band": {"where": 3, "what": 2},
    },
    "a5": {
        "usdr": {"value": 1, "limits": 1},
        "si_sdr": {"value": 1, "limits": 1},
        "csdr": {"frames": 2, "no frame left": 1},
        "usdr_of_gain": {"gains": 1, "no change": 1},
        "add_error": {"score": 1, "orthogonal": 1, "made of both": 1},
        "two_boards": {"orders": 4, "moved": 1},
    },
    "a6": {
        "train.clears": {"clears": 2},
        "train.clips": {"clips": 2},
        "train.averages": {"averages": 2},
        "train.evaluates": {"evaluates": 2},
        "train.remembers": {"remembers": 2},
        "lr_at": {"warm-up": 2, "stairs": 2},
        "diagnose": {"word": 3, "epoch": 2},
    },
    "a7": {
        "starts_of": {"ends": 1, "steps": 1},
        "join": {"length": 1, "fade": 1},
        "separate_long": {"calls": 1, "level": 1, "overlap": 2},
        "any_channels": {"calls": 1, "values": 1},
        "karaoke": {"quiet": 1, "loud": 1},
        "choose_chunk": {"curve": 3, "choice": 2},
    },
    "a8": {
        "median_interval": {"median": 2, "interval": 2},
        "paired_wins": {"wins": 2, "p": 1, "no song, and a draw": 1},
        "mixed": {"keys": 1, "one row": 1},
    },
}
BY_HAND = {"a8": {"B1": 6, "B2": 10, "B3": 8, "B4": 6}}  # parts of the report, by the rubric
# about real excerpts, pictures and boards: with a8's results and listening a third of all points
EARS = ("find_fault", "sharpest", "match", "defend", "faulty_band", "two_boards", "diagnose",
        "choose_chunk")  # fmt: skip
MODULES = {"a4": ("torch",), "a6": ("torch",)}  # beside numpy and the standard library
_SIGNAL = {"scipy", "librosa", "torch", "bsrnn", "stft", "istft"}
FORBIDDEN = {  # names that an assignment's text does not allow, wherever they come from
    "a1": _SIGNAL,
    "a3": {"bsrnn"},
    "a4": {"bsrnn", "GroupNorm", "LayerNorm", "RMSNorm", "InstanceNorm1d", "BatchNorm1d",
           "group_norm", "layer_norm", "native_layer_norm", "native_group_norm", "instance_norm",
           "glu", "GLU"},
    "a5": {"bsrnn", "museval"},
    "a7": {"bsrnn"},
    "a8": {"bsrnn", "scipy"},
}  # fmt: skip


def total(assignment: str) -> int:
    """All points of an assignment, those given by hand among them."""
    asked, by_hand = QUESTIONS[assignment].values(), BY_HAND.get(assignment, {})
    return sum(sum(parts.values()) for parts in asked) + sum(by_hand.values())


def points(assignment: str, question: str) -> int:
    """Points of a question, the sum over its properties."""
    return sum(QUESTIONS[assignment][question].values())


class Parts:
    """`with part(name):` keeps what a property's asserts say; the others go on.

    A call that had to be stopped ends the check: each further one would cost its time again.
    """

    def __init__(self, names):
        self.entered, self.failed = dict.fromkeys(names, False), {}

    @contextlib.contextmanager
    def __call__(self, name: str):
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

    def told(self) -> dict[str, str]:
        """Property -> what is wrong, "" if nothing is."""
        last = next(iter(self.failed.values()), "it was not reached")
        return {
            name: self.failed.get(name, "" if entered else last)
            for name, entered in self.entered.items()
        }


def module(assignment: str) -> str:
    """Name of the module that holds the checks of an assignment.

    Raises:
        UsageError: no such assignment.
    """
    return f"{__name__}.{choose(assignment, QUESTIONS, 'assignment')}"


def check(assignment: str, question: str):
    """The check (answer, rng, part) of a question; `train.clips` is `train_clips` there."""
    choose(question, QUESTIONS[assignment], f"question of {assignment}")
    return getattr(importlib.import_module(module(assignment)), question.replace(".", "_"))


def function(question: str) -> str:
    """The name of the student's function that a question is about.

    >>> function("train.clips")
    'train'
    """
    return question.split(".")[0]


def entry(got, name: str):
    """got[name], where a dictionary is wanted."""
    assert isinstance(got, dict) and name in got, f"no entry {name!r}"
    return got[name]


def truth(got, what: str) -> bool:
    """`got` as True or False."""
    assert got is not None, f"{what}: nothing comes back, is there a `return`?"
    value = numbers(got, what)
    assert value.ndim == 0, f"{what}: one True or False is wanted"
    return bool(value)


def same(got, want, what: str, tolerance: float = 1e-9, hints=()) -> None:
    """Assert that `got` has the shape of `want` and its values within `tolerance` of its peak.

    hints: (wrong value, words) pairs; the words are said if `got` is that wrong value (and if it
    is wrong in this case).
    """
    got, want = numbers(got, what), np.asarray(want)
    for wrong, words in hints:
        wrong = np.asarray(wrong)
        told = wrong.shape == got.shape and _close(got, wrong, tolerance)
        right = wrong.shape == want.shape and _close(wrong, want, tolerance)
        assert right or not told, f"{what}: {words}"
    assert got.shape == want.shape, f"{what}: shape {want.shape} expected, yours {got.shape}"
    assert np.iscomplexobj(want) or not np.iscomplexobj(got), f"{what} must be real"
    assert _close(got, want, tolerance), f"{what}: {_apart(got, want)}"


def numbers(got, what: str) -> np.ndarray:
    """`got` as an array of numbers; None and other things fail with a hint."""
    assert got is not None, f"{what}: nothing comes back, is there a `return`?"
    if hasattr(got, "detach"):
        got = got.detach().numpy()
    try:
        array = np.asarray(got)
    except ValueError:
        array = np.asarray(None)
    kind = getattr(got, "kind", type(got).__name__)  # wire.Opaque
    assert array.dtype.kind in "biufc", f"{what}: numbers expected, not {kind}"
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
