"""Oracle masks: published numbers, safety, and the laws of least squares in bands."""

import json

import numpy as np
import pytest
import torch
from conftest import GOLDEN
from golden_fill import draw
from hypothesis import given, settings
from hypothesis import strategies as st

from bsrnn import bands, masks, metrics
from bsrnn.audio.stft import StftConfig
from bsrnn.common import UsageError

N_FFT = 64


def spectra(seed, stems=2, channels=2, bins=33, frames=4):
    rng = np.random.default_rng(seed)
    shape = (stems, channels, bins, frames)
    s = torch.from_numpy(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    return s, s.sum(0)


def error(s, m, x):
    return (s - m * x).abs().square().sum((1, 2, 3))  # (S, C, F, T) -> (S,)


def test_oracles_equal_the_golden_numbers():
    z = np.load(GOLDEN / "bandit_oracles.npz")
    meta = json.loads(str(z["meta"]))
    n = meta["config"]["samples"]
    t = np.arange(n) / 44100
    noise = {stem: draw(meta["seed"], stem, n) for stem in ("speech", "music", "effects")}
    tone = lambda hz: np.sin(2 * np.pi * hz * t)  # noqa: E731
    references = {
        "speech": 0.3 * tone(220) * (tone(3) > 0) + 0.01 * noise["speech"],
        "music": 0.2 * tone(440) + 0.15 * tone(1330) + 0.001 * noise["music"],
        "effects": 0.1 * noise["effects"] * (t > 0.15),
    }
    references = np.stack(list(references.values())).astype(np.float32)[:, None]  # (S, 1, L)
    config = StftConfig(padding="constant", scale="window")
    published = {
        "IdealAmplitudeMask": "amplitude",
        "PhaseSensitiveFilter": "phase_sensitive",
        "IdealWienerMask": "wiener",
        "IdealRatioMask": "ratio",
        "IdealBinaryMask": "binary",
    }
    for name, kind in published.items():
        ours = masks.oracle_estimates(kind, references, config)[:, 0]
        for estimate, stem in zip(ours, ("speech", "music", "effects"), strict=True):
            want = z[f"{name}/{stem}"]
            rms = float(np.sqrt(np.mean(estimate.astype(np.float64) ** 2)))
            assert rms == pytest.approx(float(z[f"rms/{name}/{stem}"]), rel=1e-3)
            if kind != "binary":  # a bin where two sources are nearly equal may flip
                worst = np.abs(estimate[::16] - want).max() / np.abs(want).max()
                assert worst < 1e-4, (name, stem)


def test_masks_worked_by_hand_and_their_order():
    s = torch.tensor([3.0 + 0j, 4j, 0, 0]).reshape(2, 1, 2, 1)  # bins: stem 1 alone in both
    x = s.sum(0)
    for kind in masks.KINDS:
        m = masks.oracle(kind, s, x)
        assert torch.allclose(m[0] * x, s[0]) and torch.allclose(m[1] * x, s[1]), kind
    s = torch.tensor([[[[1.0 + 0j]]], [[[1j]]]])
    x = s.sum(0)
    got = {kind: masks.oracle(kind, s, x)[0].item() for kind in masks.KINDS}
    root = 2**-0.5
    assert got["ratio"] == got["wiener"] == pytest.approx(0.5)
    assert got["phase_sensitive"] == pytest.approx(0.5) and got["binary"] == 0
    assert got["amplitude"] == pytest.approx(root) and got["complex"] == pytest.approx(0.5 - 0.5j)
    s, x = spectra(1, stems=3)
    by = {kind: error(s, masks.oracle(kind, s, x), x) for kind in masks.KINDS}
    for kind in ("binary", "ratio", "wiener", "amplitude"):  # the best real mask is the best
        assert (by["phase_sensitive"] <= by[kind] + 1e-9).all(), kind
    assert (by["complex"] < 1e-20).all()


@pytest.mark.parametrize("kind", masks.KINDS)
def test_silence_is_safe(kind):
    silent = np.zeros((2, 1, 4000), np.float32)
    assert not masks.oracle_estimates(kind, silent).any()
    half = silent.copy()
    half[0] = np.random.default_rng(0).standard_normal(4000)
    estimates = masks.oracle_estimates(kind, half)
    np.testing.assert_allclose(estimates, half, atol=1e-5)
    short = masks.oracle_estimates(kind, half[..., :7])  # shorter than one window
    assert short.shape == (2, 1, 7) and np.isfinite(short).all()


def test_one_stem_needs_its_mixture_only():
    rng = np.random.default_rng(0)
    s = rng.standard_normal((3, 2, 5000)).astype(np.float32)
    both = masks.oracle_estimates("ratio", s)
    alone = masks.oracle_estimates("ratio", s[:1], mixture=s.sum(0))
    np.testing.assert_allclose(alone[0], both[0], atol=1e-6)
    assert metrics.usdr(s[0], both[0]) > metrics.usdr(s[0], s.sum(0)) + 6


def test_threshold_and_exponent():
    s, x = spectra(5)
    n = x - s
    lost = [error(s, masks.binary_mask(s, n, db), x) for db in (-20, -6, -1, 0, 1, 6, 20)]
    assert all((lost[3] <= other + 1e-12).all() for other in lost)  # 0 dB is the best threshold
    assert masks.binary_mask(s, n, -300).all() and not masks.binary_mask(s, n, 300).any()
    want = s.abs() ** 3 / (s.abs() ** 3 + n.abs() ** 3)
    np.testing.assert_allclose(masks.ratio_mask(s, n, 3.0), want, rtol=1e-12)
    sharp = masks.ratio_mask(s.to(torch.complex64), n.to(torch.complex64), 200.0)  # no overflow
    assert torch.isfinite(sharp).all()
    assert (sharp.round() == masks.binary_mask(s, n)).all()


schemes = st.sampled_from(["equal1", "equal4", "equal7", "own", "mel8"])
seeds = st.integers(0, 2**32 - 1)


def scheme(name):
    if name == "own":
        return bands.from_edges_hz([0, 500, 875, 1000, 3000, 4000], 8000, N_FFT)
    return bands.scheme(name, 8000, N_FFT)


def brute_force(band_scheme, s, x, mode, real):
    """The same masks, from numpy's lstsq on the full design matrix of every frame."""
    rows = []
    for k, (lo, hi) in enumerate(band_scheme.ranges):
        for order in range(min(1 if isinstance(mode, str) else mode, hi - lo)):
            row = band_scheme.matrix[k].astype(float)
            row[lo:hi] *= np.cos(np.pi * order * (np.arange(hi - lo) + 0.5) / (hi - lo))
            rows.append(row)
    basis = np.stack(rows)  # (P, F)
    s, x = s.numpy(), x.numpy()
    out = np.zeros(s.shape, complex)
    frames = [[t] for t in range(s.shape[-1])] if mode != "static" else [range(s.shape[-1])]
    for i, c in np.ndindex(s.shape[:2]):
        for ts in frames:
            a = np.concatenate([x[c, :, t, None] * basis.T for t in ts])  # (F, P)
            b = np.concatenate([s[i, c, :, t] for t in ts])
            if real:
                a, b = (np.concatenate((y.real, y.imag)) for y in (a, b))
            m = basis.T @ np.linalg.lstsq(a, b, rcond=None)[0]
            out[i, c][:, list(ts)] = m[:, None]
    return out


@settings(max_examples=40, deadline=None)
@given(seeds, schemes, st.sampled_from(["frame", "static", 1, 2, 3]), st.booleans())
def test_band_masks_equal_brute_force_least_squares(seed, name, mode, real):
    s, x = spectra(seed)
    ours = masks.band_masks(scheme(name), s, x, mode, real)
    want = brute_force(scheme(name), s, x, mode, real)
    np.testing.assert_allclose(ours.numpy() * x.numpy(), want * x.numpy(), atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(seeds, st.booleans())
def test_refinement_never_hurts_and_full_resolution_is_the_ceiling(seed, real):
    s, x = spectra(seed)
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice(np.arange(1, 32), 12, replace=False))
    hz = lambda bins: [0, *(bins * 8000 / N_FFT), 4000]  # noqa: E731
    coarse = bands.from_edges_hz(hz(edges[::3]), 8000, N_FFT)
    fine = bands.from_edges_hz(hz(edges), 8000, N_FFT)
    assert set(np.ravel(coarse.ranges)) <= set(np.ravel(fine.ranges)) and len(fine) > len(coarse)

    def lost(band_scheme, mode):
        return error(s, masks.band_masks(band_scheme, s, x, mode, real), x)

    full = error(s, masks.oracle("phase_sensitive" if real else "complex", s, x), x)
    for mode in ("static", "frame"):
        assert (lost(fine, mode) <= lost(coarse, mode) * (1 + 1e-12)).all()
        assert (full <= lost(fine, mode) + 1e-9).all()
    ladder = [lost(coarse, mode) for mode in ("static", "frame", 1, 2, 4, max(coarse.widths))]
    for worse, better in zip(ladder, ladder[1:], strict=False):
        assert (better <= worse * (1 + 1e-9) + 1e-12).all()
    assert torch.allclose(ladder[-1], full, atol=1e-8)  # as many shapes as bins
    if real:
        free = error(s, masks.band_masks(fine, s, x, "frame", False), x)
        assert (free <= lost(fine, "frame") + 1e-9).all()


def test_band_oracle_waveforms_reach_the_bound():
    rng = np.random.default_rng(0)
    s = rng.standard_normal((2, 1, 6000)).astype(np.float32)
    s[1, :, 1:] += 0.9 * s[1, :, :-1]  # lower frequencies
    values = []
    for name in ("equal2", "equal16", "equal64"):
        band_scheme = bands.scheme(name, 44100, 256)
        estimates = masks.band_oracle(band_scheme, s)
        bound = masks.band_sdr_db(band_scheme, s)
        reached = np.array([metrics.usdr(a, b) for a, b in zip(s, estimates, strict=True)])
        assert (reached > bound).all()
        values.append(bound)
    assert (np.diff(values, axis=0) > 0).all()
    silent = np.concatenate((s, 0 * s[:1]))
    assert np.isnan(masks.band_sdr_db(band_scheme, silent)[2])
    assert not masks.band_oracle(band_scheme, silent)[2].any()


def test_band_oracles_of_a_silent_mixture_are_silent():
    s = np.zeros((2, 1, 3000), np.float32)
    s[0, :, 2000:] = 1.0
    for mode in ("frame", "static", 2):
        for name in ("equal4", "mel16"):
            estimates = masks.band_oracle(bands.scheme(name, 44100, 256), s, mode)
            assert np.isfinite(estimates).all() and not estimates[:, :, :1500].any(), (mode, name)


def test_bad_arguments_say_the_fix():
    s, x = spectra(0)
    for call, words in (
        (lambda: masks.oracle("ration", s, x), "ratio"),
        (lambda: masks.oracle("ratio", s, x[0]), "differ"),
        (lambda: masks.band_masks(scheme("own"), s, x, 0), "number of shapes"),
        (lambda: masks.band_masks(scheme("own"), s, x, "frames"), "'frame'"),
        (lambda: masks.band_masks(bands.scheme("v7"), s, x), "project"),
        (lambda: masks.oracle_estimates("ratio", np.zeros((2, 100))), "(S, C, L)"),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert words in str(caught.value) and "\n" not in str(caught.value)
