"""The community's metrics equal their public implementations, and know their weak points."""

import json

import numpy as np
import pytest
from conftest import GOLDEN

from bsrnn import metrics
from bsrnn.common import UsageError
from bsrnn.evaluation import spectral

RATE = 44100
CASES = json.loads((GOLDEN / "spectral_metrics.json").read_text())
# bleedless and fullness were computed in float32 there
CLOSE = {"l1_freq": 1e-9, "mr_stft": 5e-6, "log_wmse": 1e-6, "bleedless": 1e-3, "fullness": 1e-3}


def case(seed):
    """Modulated noise at some level, an estimate with some of the rest in it: s, e, x (C, L)."""
    rng = np.random.default_rng(seed)
    channels, samples = int(rng.integers(1, 3)), int(rng.integers(4500, 12000))
    shape = (channels, samples)
    s = rng.standard_normal(shape) * 10.0 ** rng.uniform(-3, 0)
    s *= np.abs(np.sin(2 * np.pi * rng.uniform(1, 30) * np.arange(samples) / RATE))
    x = s + rng.standard_normal(shape) * np.abs(s).mean() * rng.uniform(0.1, 3)
    e = rng.uniform(0.3, 1.5) * s + rng.uniform(0, 0.5) * (x - s)
    e = e + 1e-3 * rng.standard_normal(shape) * np.abs(s).mean()
    if seed % 10 == 7:
        s = np.zeros(shape)
    if seed % 10 == 8:
        e = np.zeros(shape)
    if seed % 10 == 9:
        e = s.copy()
    return s.astype(np.float32), e.astype(np.float32), x.astype(np.float32)


def all_five(s, e, x):
    rows = metrics.score({"a": s}, {"a": e}, RATE, tuple(metrics.SPECTRAL), mixture=x)
    return {row["metric"]: row["value_db"] for row in rows}


def test_sixty_random_songs_score_as_in_the_public_implementations():
    for seed in range(60):
        ours = all_five(*case(seed))
        for name, close in CLOSE.items():
            want = CASES["values"][name][seed]
            assert ours[name] == pytest.approx(want, abs=close), f"{name} of case {seed}"


def test_each_has_its_counter_example():
    """What lesson 06 shows: a worse estimate that scores better."""
    s, e, x = case(0)
    silence = np.zeros_like(s)
    assert spectral.bleedless(s, silence, RATE) == 100, "nothing bleeds where nothing is"
    hole = s * (np.abs(np.arange(s.shape[1]) - 4000) > 1500)
    quieter, whole = (spectral.fullness(s, gain * hole, RATE) for gain in (0.99, 1.0))
    assert quieter > whole + 1, "small lacks everywhere dilute a deep one"
    assert spectral.l1_freq(0.01 * s, 0.01 * silence) > spectral.l1_freq(s, e), "depends on level"
    turned = -s
    assert spectral.l1_freq(s, turned) == spectral.mr_stft(s, turned, RATE) == 100, "no phase"
    too_loud, too_quiet = (spectral.mr_stft(s, gain * s, RATE) for gain in (4, 1 / 4))
    assert too_loud > too_quiet
    rumble = np.sin(2 * np.pi * 15 * np.arange(s.shape[1]) / RATE) * np.abs(s).max()
    assert spectral.log_wmse(s, s + rumble, x, RATE) > spectral.log_wmse(s, e, x, RATE)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda s, e, x: spectral.log_wmse(s, e, x, 48000), "44100 Hz, not 48000: resample"),
        (lambda s, e, x: spectral.log_wmse(s, e, x[:, 1:], RATE), "the mixture"),
        (lambda s, e, x: spectral.bleedless(s[:, :99], e[:, :99], RATE), "99 samples are too few"),
        (lambda s, e, x: spectral.l1_freq(s, e[:, 1:]), "differ: pad or cut"),
    ],
)
def test_bad_input_says_the_fix(call, words):
    with pytest.raises(UsageError, match=words):
        call(*case(0))
