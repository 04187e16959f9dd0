"""Distortions: each reaches the SDR that it is asked for, and is wrong in one way only."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bsrnn import metrics
from bsrnn.audio.distort import KINDS, SCALED, distort, some_bins
from bsrnn.common import UsageError

RATE = 8000


def song(seed=0, length=6001, channels=2):
    rng = np.random.default_rng(seed)
    return {
        name: level * rng.standard_normal((channels, length)).astype(np.float32)
        for name, level in (("vocals", 0.1), ("drums", 0.3), ("bass", 0.2))
    }


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(SCALED),
    sdr_db=st.floats(0.01, 50),
    seed=st.integers(0, 99),
    length=st.sampled_from([3000, 3001, 6000, 8191]),
    channels=st.sampled_from([1, 2]),
)
def test_the_sdr_asked_for_is_reached(kind, sdr_db, seed, length, channels):
    sources = song(seed, length, channels)
    found = distort(kind, sources, "vocals", RATE, sdr_db, seed=seed).waveform
    assert found.dtype == np.float32 and found.shape == (channels, length)
    # float32 rounds each sample to 6e-8 of itself: at 50 dB that is 2e-5 of the error's size
    assert metrics.usdr(sources["vocals"], found) == pytest.approx(sdr_db, abs=1e-3)


def test_each_is_wrong_in_its_own_way():
    sources = song()
    target, rest = sources["vocals"], sources["drums"] + sources["bass"]

    def made(kind, **how):
        return distort(kind, sources, "vocals", RATE, **how)

    soft = made("gain", sdr_db=20)
    np.testing.assert_allclose(soft.waveform, 0.9 * target, rtol=1e-6)
    assert soft.setting == "-0.9 dB"
    leak = made("leakage", sdr_db=6).waveform - target
    np.testing.assert_allclose(leak / rest, (leak / rest).mean(), rtol=1e-3)
    low = made("low-pass", sdr_db=10)
    above = np.abs(np.fft.rfft(low.waveform.astype(float)))
    edge = float(low.setting.split()[-2]) / (RATE / target.shape[1])
    assert above[:, round(edge) + 2 :].max() < 1e-4 < above[:, : round(edge) - 2].min()
    clipped = made("clipping", sdr_db=10).waveform
    limit = np.abs(clipped).max()
    inside = np.abs(target) < limit
    np.testing.assert_array_equal(clipped[inside], target[inside])
    assert np.allclose(np.abs(clipped[~inside]), limit) and 0.05 < inside.mean() < 0.95
    late = made("delay", delay_ms=1.0)
    np.testing.assert_array_equal(late.waveform[:, 8:], target[:, :-8])
    assert not late.waveform[:, :8].any() and late.setting == "8 samples (1.00 ms) late"
    np.testing.assert_array_equal(made("polarity").waveform, -target)
    assert not made("silence").waveform.any()
    np.testing.assert_array_equal(made("swap").waveform, sources["drums"])
    assert made("swap").setting == "drums in the place of vocals"


def test_musical_noise_is_sparse_and_leakage_is_not():
    """Same parts, same SDR: but a few loud bins here, every bin there."""
    sources = song(length=20000)
    errors = {
        kind: distort(kind, sources, "vocals", RATE, 5).waveform - sources["vocals"]
        for kind in ("leakage", "musical noise")
    }
    top = {}
    for kind, error in errors.items():
        frames = np.lib.stride_tricks.sliding_window_view(error[0], 2048)[::1024]
        power = np.sort(np.abs(np.fft.rfft(frames * np.hanning(2048))) ** 2, axis=None)
        top[kind] = power[-power.size // 10 :].sum() / power.sum()
    assert top["musical noise"] > 0.9 > 0.5 > top["leakage"]


def test_all_bins_together_are_the_sound():
    x = np.random.default_rng(0).standard_normal((2, 5001))
    np.testing.assert_allclose(some_bins(x, 1.0, np.random.default_rng(0)), x, atol=1e-12)
    assert not some_bins(x, 0.0, np.random.default_rng(0)).any()


def test_chance_follows_the_seed():
    sources = song()
    for kind in ("noise", "musical noise"):
        one, same, other = (
            distort(kind, sources, "bass", RATE, seed=seed).waveform for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()


def test_bad_input_says_the_fix():
    sources = song()
    silent = {**sources, "vocals": 0 * sources["vocals"]}
    alone = {"vocals": sources["vocals"]}
    for call, words in (
        (lambda: distort("echo", sources, "vocals", RATE), "unknown distortion"),
        (lambda: distort("gain", sources, "vocal", RATE), "did you mean vocals"),
        (lambda: distort("gain", silent, "vocals", RATE), "choose another stem"),
        (lambda: distort("gain", sources, "vocals", RATE, 0.0), "more than 0 dB"),
        (lambda: distort("leakage", alone, "vocals", RATE), "choose noise"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)
    for kind in set(KINDS) - set(SCALED):  # these need no level
        assert distort(kind, silent, "vocals", RATE).waveform.shape == (2, 6001)
    one = {name: x[:, :1] for name, x in sources.items()}
    for kind in set(KINDS) - {"musical noise"}:
        assert distort(kind, one, "vocals", RATE).waveform.shape == (2, 1)
