"""What can so many seeds, or songs, decide? Power of the paired comparison, before it is run.

Differences (dB) of two systems, one for each seed or song, are judged by the two-sided t test at
`LEVEL`; their spread is their standard deviation. "As good" needs a margin, set before the run and
much smaller than the baseline's lead over the rung gain: else who has learnt nothing is as good.

References: Student 1908, Biometrika 6(1); Cohen 1988, Statistical Power Analysis, chapter 2;
ICH E10 2000, section 1.5 (assay sensitivity). Lessons 09, 13 and 15.
"""

import math

import numpy as np

from bsrnn.common import UsageError
from bsrnn.evaluation.report import student_interval

LEVEL = 0.05
WANTED = 0.8  # the power that one plans for
MOST = 10_000
SENSITIVE = 2.0  # a lead of so many margins is needed before "as good" means anything


def power(effect_db: float, spread_db: float, count: int, level: float = LEVEL) -> float:
    """Chance that `count` differences with mean `effect_db` and `spread_db` are told from 0: exact
    for normal differences (noncentral t).

    >>> round(power(0.0, 1.0, 8), 3), round(power(1.0, 1.0, 10), 2)
    (0.05, 0.8)
    """
    if not spread_db > 0 or not math.isfinite(effect_db):
        raise UsageError(f"spread {spread_db:g} dB: give the deviation of the differences, above 0")
    if count < 2:
        return 0.0
    from scipy.stats import nct, t

    edge = t.ppf(1 - level / 2, count - 1)
    shift = effect_db / spread_db * math.sqrt(count)
    return float(nct.sf(edge, count - 1, shift) + nct.cdf(-edge, count - 1, shift))


def seeds_needed(effect_db: float, spread_db: float, wanted: float = WANTED) -> int:
    """The fewest differences that show a true `effect_db` with the power `wanted`.

    >>> seeds_needed(1.0, 1.0)
    10
    """
    if not effect_db:
        raise UsageError("no number of seeds shows an effect of 0 dB: plan for a margin instead")
    low, high = 1, 2
    while power(effect_db, spread_db, high) < wanted:
        low, high = high, 2 * high
        if high > MOST:
            raise UsageError(f"{effect_db:g} dB at a spread of {spread_db:g} dB: over {MOST} seeds")
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(effect_db, spread_db, middle) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high


def verdict(differences_db, margin_db: float = 0.0, lead_db: float | None = None) -> str:
    """What differences of a contender to its baseline say, by their 95 % interval: "better" (all
    above margin_db), "worse" (all below -margin_db), "as good" (all above -margin_db), else
    "undecided". "cannot tell" in place of "as good" if `lead_db`, the baseline's lead over the rung
    gain, is not twice the margin. NaN values are left out.

    >>> verdict([0.1, -0.1, 0.0, 0.05], margin_db=0.5, lead_db=3.0)
    'as good'
    >>> verdict([0.1, -0.1, 0.0, 0.05], margin_db=0.5, lead_db=0.46)
    'cannot tell'
    """
    if not margin_db >= 0:
        raise UsageError(f"margin {margin_db:g} dB: give 0 or more")
    low, high = student_interval(np.asarray(differences_db, dtype=float))
    if low > margin_db:
        return "better"
    if high < -margin_db:
        return "worse"
    if margin_db and low > -margin_db:
        blind = lead_db is not None and not lead_db >= SENSITIVE * margin_db
        return "cannot tell" if blind else "as good"
    return "undecided"
