"""Power and verdicts of paired comparisons: against simulation, not against the formula."""

import math

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp

from bsrnn.common import UsageError
from bsrnn.evaluation import planning

TRIALS = 20_000


def simulated(effect_db, spread_db, count):
    """Share of simulated experiments whose t test finds a difference."""
    rng = np.random.default_rng(count)
    draws = rng.normal(effect_db, spread_db, (TRIALS, count))
    return float(np.mean(ttest_1samp(draws, 0, axis=1).pvalue < planning.LEVEL))


CASES = [(0.0, 0.34, 3), (0.25, 0.34, 3), (0.25, 0.34, 10), (0.5, 1.0, 20), (1.0, 0.5, 5)]


@pytest.mark.parametrize("effect_db, spread_db, count", CASES)
def test_stated_power_is_what_simulation_gives(effect_db, spread_db, count):
    stated = planning.power(effect_db, spread_db, count)
    error = 4 * math.sqrt(max(stated * (1 - stated), 0.01) / TRIALS)
    assert abs(simulated(effect_db, spread_db, count) - stated) < error


@pytest.mark.parametrize("effect_db, spread_db", [(0.25, 0.34), (0.1, 0.2), (1.0, 0.6)])
def test_seeds_needed_reach_the_wanted_power_and_one_less_does_not(effect_db, spread_db):
    count = planning.seeds_needed(effect_db, spread_db)
    assert simulated(effect_db, spread_db, count) > planning.WANTED - 0.012
    assert planning.power(effect_db, spread_db, count - 1) < planning.WANTED


def test_the_normal_formula_promises_too_much():
    """(z / d)^2 seeds, without the spread being unknown and without power: a coin flip."""
    d = 0.5
    naive = math.ceil((norm.ppf(0.975) / d) ** 2)
    assert simulated(d, 1.0, naive) < 0.6 < planning.WANTED
    assert planning.seeds_needed(d, 1.0) > 1.9 * naive


def test_verdicts():
    values = np.array([0.9, 1.0, 1.1, 1.0])
    assert planning.verdict(values) == "better" == planning.verdict(values, 0.5)
    assert planning.verdict(-values, 0.5) == "worse"
    assert planning.verdict(values - 1, 0.5) == "as good" == planning.verdict(values - 0.8, 0.5)
    assert planning.verdict(values - 1) == "undecided", "without a margin nothing is as good"
    assert planning.verdict([1.0, -1.0, 0.3], 0.5) == "undecided"
    assert planning.verdict([1.0, np.nan], 0.1) == "undecided", "one value has no interval"
    assert planning.verdict(values - 1, 0.5, lead_db=0.9) == "cannot tell"
    assert planning.verdict(values, 0.5, lead_db=0.9) == "better", "a clear gain needs no lead"


def test_a_system_that_has_learnt_nothing_is_never_as_good_as_a_weak_baseline():
    """A knob against a baseline that leads it by less than twice the margin."""
    rng = np.random.default_rng(0)
    for lead_db in (0.0, 0.2, 0.46, 0.99):
        knob = rng.normal(-lead_db, 0.05, 50)
        assert planning.verdict(knob, margin_db=0.5, lead_db=lead_db) != "as good"


@pytest.mark.parametrize(
    "call",
    [
        lambda: planning.power(1.0, 0.0, 5),
        lambda: planning.power(float("nan"), 1.0, 5),
        lambda: planning.seeds_needed(0.0, 1.0),
        lambda: planning.seeds_needed(1e-4, 1.0),
        lambda: planning.verdict([1.0, 2.0], margin_db=-1),
    ],
)
def test_what_cannot_be_planned_is_one_line(call):
    with pytest.raises(UsageError) as caught:
        call()
    assert "\n" not in str(caught.value)
