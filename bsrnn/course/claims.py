"""What a lesson says about its own numbers: claims against chance, and sentences that are computed.

    course.claim("the stems add up", np.allclose(mixture, total))  # exact
    course.claim("the window adds up to 1", error, 1e-6, better="lower")  # a bound set before
    course.claim("loudness curves move together", r, shifted, better="either")  # against chance
    course.claim("the model beats the volume knob (dB)", sdr_db, gain_db)  # songs, seeds: paired

A claim prints one line that a reader understands, and stops the lesson where it does not hold.
A value that was picked as the largest of several needs draws that are each the largest of as many:
the clip's drums and bass have levels correlated by -0.37, the strongest of six pairs, and the
strongest of six pairs of shifted copies reaches 0.42 in the median.
Claims about what was measured stand after the results card, so that other data still leave one.
"""

import numpy as np

from bsrnn.common import UsageError, choose


def claim(words: str, value, null=None, *, better: str = "higher", level: float = 0.95) -> None:
    """Print and assert that `value` is better than `null`. Lessons 00 to 15.

    Args:
        words: the claim, as a reader would say it; units in brackets.
        value: True or False (no null); a number; or values over songs or seeds (n,).
        null: what chance or a trivial system gives. For a number: an array of draws (shuffles,
            shifts, seeds), or one number, a bound that was set before the run. For values (n,): the
            gain rung, one number or one for each (n,); the interval of the mean difference decides.
        better: "higher", "lower" or "either" (as far from chance on one side as on the other).
        level: share of the draws that must be worse; level of the interval.

    Raises:
        AssertionError: the claim does not hold; the line is the message.
        UsageError: fewer draws than can decide at that level, or arrays that do not pair.

    >>> claim("heads come up more often (of 100)", 70, np.arange(35, 65))
    Holds: heads come up more often (of 100): 70. By chance below 62.5 (95 % of 30 draws).
    >>> claim("the model beats the gain rung (dB)", [3.0, 2.5, 3.5], [1.0, 1.0, 1.2])
    Holds: the model beats the gain rung (dB): by 1.93, interval 0.929 to 2.94 (95 %, 3 pairs).
    """
    choose(better, ("higher", "lower", "either"), "side of a claim")
    value = np.asarray(value)
    if null is None:
        holds, told = bool(value.all()), ""
    elif value.ndim:
        holds, told = _paired(value, null, better, level)
    elif np.ndim(null):
        holds, told = _drawn(float(value), null, better, level)
    else:
        holds = bool(value < null if better == "lower" else value > null)
        told = f": {value:.3g}, bound {null:.3g}"
    line = f"{words}{told}."
    assert holds, f"Does not hold: {line}"
    print(f"Holds: {line}")


def _drawn(value: float, null, better: str, level: float) -> tuple[bool, str]:
    """One number against draws of chance: a permutation test with its critical value in words."""
    null = np.asarray(null, dtype=float).ravel()
    null = null[~np.isnan(null)]
    sides = 2 if better == "either" else 1
    tail = (1 - level) / sides
    if len(null) * tail < 1 - 1e-9 - tail:  # (1 + 0) / (n + 1) would still exceed the tail
        raise UsageError(f"{len(null)} draws cannot decide at {level:.0%}: give more shuffles")
    low, high = np.quantile(null, [tail, 1 - tail])
    above = (1 + np.sum(~(null < value))) / (len(null) + 1)  # Phipson and Smyth 2010: never 0
    below = (1 + np.sum(~(null > value))) / (len(null) + 1)
    reached = {"higher": above, "lower": below, "either": min(above, below)}[better]
    chance = {
        "higher": f"below {high:.3g}",
        "lower": f"above {low:.3g}",
        "either": f"{low:.3g} to {high:.3g}",
    }[better]
    told = f": {value:.3g}. By chance {chance} ({level:.0%} of {len(null)} draws)"
    return bool(reached <= tail + 1e-9), told.replace("%", " %")


def _paired(values, null, better: str, level: float) -> tuple[bool, str]:
    """Values over songs or seeds against a rung: Student's interval of the mean difference."""
    from bsrnn.evaluation.report import student_interval

    null = np.asarray(null, dtype=float)
    if null.ndim and null.shape != values.shape:
        raise UsageError(f"{values.shape} values and a null of {null.shape}: they do not pair")
    differences = values.astype(float).ravel() - null.ravel()
    differences = differences[~np.isnan(differences)]
    if len(differences) < 2:
        raise UsageError("a claim over songs or seeds needs two values or more that are no NaN")
    low, high = student_interval(differences, level)
    holds = {"higher": low > 0, "lower": high < 0, "either": low > 0 or high < 0}[better]
    told = f": by {differences.mean():.3g}, interval {low:.3g} to {high:.3g}"
    return holds, f"{told} ({level * 100:.0f} %, {len(differences)} pairs)"


def see(words: str) -> None:
    """Show a sentence of Markdown whose numbers were computed in this run (cells tagged 'see')."""
    from IPython.display import Markdown, display

    display(Markdown(words))
