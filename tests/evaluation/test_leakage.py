"""Leakage per band: equal to brute-force least squares, adds up, found where it was put."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bsrnn import bands
from bsrnn.common import UsageError
from bsrnn.evaluation.leakage import band_leakage

RATE = 8000
NAMES = ("equal1", "equal5", "musical12", "mel8")  # mel8 leaves out the Nyquist bin


def noise(seed, count, length, channels=2):
    """Coloured noise (count, C, L): stems that overlap in frequency and correlate a little."""
    x = np.random.default_rng(seed).standard_normal((count, channels, length))
    x[:, :, 1:] += np.linspace(-0.9, 0.9, count)[:, None, None] * x[:, :, :-1]
    return x + 0.2 * x[:1]


def named(signals, letters="abcdef"):
    return dict(zip(letters, signals, strict=False))


def brute_force(scheme, stems, estimate):
    """Gains (S, K) and rest (K,) by numpy's lstsq on windowed frames, cut one by one."""
    size = scheme.n_fft
    window = np.hanning(size + 1)[:-1]

    def spectra(x):  # (C, L) -> (C T, F), scaled so that energies are those of the waveform
        padded = np.pad(x, ((0, 0), (size, 2 * size)))
        starts = range(0, padded.shape[1] - size + 1, size // 4)
        cut = np.concatenate([padded[:, i : i + size] * window for i in starts])
        twice = np.full(size // 2 + 1, 2.0)
        twice[[0, -1]] = 1
        return np.fft.rfft(cut) * np.sqrt(twice / 1.5 / size)

    columns = [spectra(x) for x in (*stems, estimate)]
    gains, rest = [], []
    shares = scheme.matrix.astype(float)  # its float32 weights sum to one up to 1e-7
    for share in shares / np.maximum(shares.sum(0), 1e-9):
        heavy = [(x * np.sqrt(share)).ravel() for x in columns]
        *design, target = [np.concatenate((x.real, x.imag)) for x in heavy]
        solved = np.linalg.lstsq(np.stack(design, axis=1), target, rcond=None)[0]
        gains.append(solved)
        rest.append(np.square(target - np.stack(design, axis=1) @ solved).sum())
    return np.transpose(gains), np.array(rest)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.integers(1, 4), st.sampled_from(NAMES))
def test_gains_and_rest_equal_brute_force(seed, count, name):
    scheme = bands.scheme(name, RATE, 64)
    *stems, estimate = noise(seed, count + 1, 700)
    estimate = estimate + 0.5 * stems[0]
    leak = band_leakage(named(stems), {"e": estimate}, scheme)
    gains, rest = brute_force(scheme, stems, estimate)
    np.testing.assert_allclose(leak.gains[0], gains, atol=1e-8)
    np.testing.assert_allclose(leak.rest[0], rest, rtol=1e-8)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 700), st.sampled_from(NAMES))
def test_parts_rest_and_outside_add_up_to_the_estimate(seed, count, length, name):
    scheme = bands.scheme(name, RATE, 64)
    stems, estimates = noise(seed, count, length), noise(seed + 1, 2, length)
    estimates[0] += stems.sum(0)
    leak = band_leakage(named(stems), named(estimates, "xy"), scheme)
    assert leak.parts.shape == leak.gains.shape == (2, count, len(scheme))
    total = leak.parts.sum((1, 2)) + leak.rest.sum(1) + leak.outside
    np.testing.assert_allclose(total, np.square(estimates).sum((1, 2)), rtol=1e-9)
    assert (leak.outside > 0).all() == bool(scheme.uncovered)
    within, _ = bands.gram_per_band(scheme, estimates)
    np.testing.assert_allclose(leak.energy, np.diagonal(within, axis1=1, axis2=2).T, rtol=1e-9)
    np.testing.assert_allclose(leak.shares.sum(1), 1, rtol=1e-9)
    alone = bands.gram_per_band(scheme, stems[:1])[0][:, 0, 0]
    if count == 1:  # one stem: its part is the energy of its share
        np.testing.assert_allclose(leak.parts[:, 0], leak.gains[:, 0] ** 2 * alone, rtol=1e-9)


def test_leakage_is_found_in_its_band_and_from_its_stem():
    t = np.arange(RATE) / RATE
    voice, bass = (np.sin(2 * np.pi * hz * t)[None] for hz in (1500, 300))
    voice = voice + 0.5 * np.sin(2 * np.pi * 320 * t)
    hiss = 0.05 * np.random.default_rng(0).standard_normal((1, RATE))
    scheme = bands.from_edges_hz([1000], RATE, 512)
    leak = band_leakage({"voice": voice, "bass": bass}, {"voice": voice + 0.25 * bass}, scheme)
    assert leak.gains[0, :, 0] == pytest.approx([1, 0.25], abs=1e-6)
    expected = 0.25**2 * np.square(bass).sum()
    assert leak.parts[0, 1, 0] == pytest.approx(expected, rel=0.02)
    assert leak.parts[0, 1, 1] < 1e-3 * expected
    noisy = band_leakage({"voice": voice, "bass": bass}, {"voice": voice + hiss}, scheme)
    assert noisy.rest.sum() == pytest.approx(np.square(hiss).sum(), rel=0.02)
    assert np.abs(noisy.parts[0, 1]).max() < 1e-3 * noisy.rest.sum()


def test_silent_equal_and_cancelling_stems():
    a, b = noise(0, 2, 2000)
    scheme = bands.scheme("equal4", RATE, 64)
    leak = band_leakage({"a": a, "none": 0 * a, "again": 1e-6 * a, "b": b}, {"e": a + b}, scheme)
    assert not leak.gains[0, 1].any() and np.isfinite(leak.parts).all()
    np.testing.assert_allclose(leak.parts[0, 0], leak.parts[0, 2], rtol=1e-6)  # halves of a
    np.testing.assert_allclose(leak.parts[0].sum(0), leak.energy[0], rtol=1e-9)
    against = band_leakage({"a": a, "c": 0.5 * b - a}, {"e": 0.5 * b}, scheme)  # e = a + c
    np.testing.assert_allclose(against.gains[0], 1, atol=1e-6)
    silent = band_leakage({"a": a}, {"e": 0 * a}, scheme)
    assert not silent.parts.any() and not silent.shares.any()


@pytest.mark.parametrize(
    ("references", "estimates", "words"),
    [
        ({}, {"e": np.ones((1, 9))}, "give two dicts"),
        ({"a": np.ones((1, 9))}, {}, "give two dicts"),
        ({"a": np.ones((1, 9))}, {"e": np.ones((1, 8))}, "differ"),
        ({"a": np.ones((1, 9))}, {"e": np.full((1, 9), np.nan)}, "not finite"),
    ],
)
def test_bad_input_is_one_line(references, estimates, words):
    with pytest.raises(UsageError, match=words) as caught:
        band_leakage(references, estimates, bands.scheme("equal4", RATE, 64))
    assert "\n" not in str(caught.value)
