"""Losses: equal to the published ones, zero for a perfect estimate, finite for silence."""

import json

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, draw

from bsrnn import losses
from bsrnn.errors import UsageError
from bsrnn.stft import StftConfig, stft


def test_equal_to_magronp():
    with np.load(GOLDEN / "bsrnn_losses.npz") as arrays:
        meta = json.loads(str(arrays["meta"]))
    seed, shape = meta["seed"], meta["config"]["shape"]
    target = torch.from_numpy((0.1 * draw(seed, "ref", shape)).astype(np.float32))
    error = torch.from_numpy((0.05 * draw(seed, "err", shape)).astype(np.float32))
    estimate = target + error
    kinds, domains = {"L1": "l1", "MSE": "l2"}, {"t": "", "tf": "_spectrum", "t+tf": "_both"}
    for key, expected in meta["values"].items():
        kind, domain = key.split(":")
        found = losses.loss(kinds[kind] + domains[domain], estimate, stft(estimate), target)
        assert found.item() == pytest.approx(expected, rel=1e-5), key


def test_snr_losses_equal_to_bandit():
    golden = json.loads((GOLDEN / "bandit_losses.json").read_text())
    inputs, seed = golden["inputs"], golden["seed"]
    waveforms, spectra = [], []
    for stem in inputs["stems"]:
        amplitude, last = inputs["amplitude"][stem], stem == inputs["stems"][-1]

        def z(name, shape, stem=stem):
            return draw(seed, f"{stem}/{name}", inputs[shape])

        a = (amplitude * z("a", "audio_shape")).astype(np.float32)
        s = 0.4 * amplitude * (z("Sr", "spectrogram_shape") + 1j * z("Si", "spectrogram_shape"))
        s = s.astype(np.complex64)
        if last:
            a[1], s[1] = 0, 0
        error = (0.25 * amplitude * z("e", "audio_shape")).astype(np.float32)
        error = error + (0.0005 * z("n", "audio_shape")).astype(np.float32)
        p = 0.1 * amplitude * (z("Pr", "spectrogram_shape") + 1j * z("Pi", "spectrogram_shape"))
        waveforms.append((a, a + error))
        spectra.append((s, s + p.astype(np.complex64)))
    target, estimate = (
        torch.from_numpy(np.stack([pair[i] for pair in waveforms], 1)) for i in (0, 1)
    )
    target_spectra, estimate_spectra = (
        torch.from_numpy(np.stack([pair[i] for pair in spectra], 1)) for i in (0, 1)
    )
    for name, key in (("l1_snr", "{p:1} (L1SNR)"), ("l2_snr", "{p:2}")):
        expected = golden["values"][f"TimeFreqSignalNoisePNormRatioLoss{key}"]
        found = losses.between(
            name, losses.Estimate(estimate, estimate_spectra), target, target_spectra
        )
        assert found.item() == pytest.approx(expected, rel=2e-5), name


@pytest.mark.parametrize("name", losses.names())
def test_silence_is_finite_and_a_perfect_estimate_is_best(name):
    config = StftConfig(256, 64)
    target = torch.randn(2, 3, 2, 2000, generator=torch.Generator().manual_seed(0))
    target[:, 1] = 0  # a silent stem
    compute = losses.get(name, config)
    guess = torch.zeros_like(target).requires_grad_()
    silent = compute(losses.Estimate(guess, stft(guess, config)), target)
    silent.backward()
    assert torch.isfinite(silent) and torch.isfinite(guess.grad).all()
    perfect = compute(losses.Estimate(target, stft(target, config)), target)
    assert perfect < silent
    if not name.endswith("snr"):
        assert perfect == 0


def test_the_two_terms_add_up_to_the_papers():
    target, guess = torch.randn(2, 1, 2, 2, 3000, generator=torch.Generator().manual_seed(1))
    target, guess = target[None], guess[None]
    spectra = stft(guess)
    both, time, spectrum = (
        losses.loss(name, guess, spectra, target) for name in ("l1_both", "l1", "l1_spectrum")
    )
    assert both == time + spectrum


def test_a_misspelt_loss_is_named():
    with pytest.raises(UsageError, match="did you mean l1_snr"):
        losses.get("l1_snrr")
