"""The questions of the assignments: one module per assignment, one check per question.

A check is a function (answer, rng) that asserts properties of the student's function `answer` on
inputs drawn from `rng`, a numpy Generator made from the teacher's seed. Each assert says in one
line what is wrong. Knowing a check does not answer the question.
"""

import importlib

import numpy as np

from bsrnn.common import choose

# assignment -> question -> points. A question is a function by name, or `function.property`.
QUESTIONS = {
    "a0": {
        "level_db": 2,
        "mid_side": 2,
        "inconsistency_db": 2,
        "lazy_sdr_db": 2,
        "active_share": 2,
    },
    "a1": {"grid": 1, "frames_of": 2, "my_stft": 3, "my_istft": 3, "is_cola": 2},
    "a2": {"power_mask": 2, "binary_mask": 2, "sigmoid_mask": 2, "ladder_db": 3, "add_up": 2},
    "a3": {"ranges_of": 3, "faults": 2, "split_parameters": 2, "energy_shares": 2, "band_gains": 3},
    "a4": {"norm": 2, "band_input": 2, "along": 3, "gated_mask": 2, "apply_bands": 3},
    "a5": {"usdr": 2, "si_sdr": 2, "csdr": 3, "usdr_of_gain": 2, "add_error": 3},
    "a6": {
        "train.clears": 2,
        "train.clips": 2,
        "train.averages": 2,
        "train.evaluates": 2,
        "train.remembers": 2,
        "lr_at": 4,
    },
    "a7": {"starts_of": 2, "join": 2, "separate_long": 4, "any_channels": 2, "karaoke": 2},
    "a8": {"median_interval": 4, "paired_wins": 4, "mixed": 2},
}


def module(assignment: str) -> str:
    """Name of the module that holds the checks of an assignment.

    Raises:
        UsageError: no such assignment.
    """
    return f"{__name__}.{choose(assignment, QUESTIONS, 'assignment')}"


def check(assignment: str, question: str):
    """The check (answer, rng) of a question; `train.clips` is `train_clips` in its module."""
    choose(question, QUESTIONS[assignment], f"question of {assignment}")
    return getattr(importlib.import_module(module(assignment)), question.replace(".", "_"))


def function(question: str) -> str:
    """The name of the student's function that a question is about.

    >>> function("train.clips")
    'train'
    """
    return question.split(".")[0]


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
    assert array.dtype.kind in "biufc", f"{what}: numbers expected, not {type(got).__name__}"
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
