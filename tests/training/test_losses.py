"""Losses: equal to the published ones, zero for a perfect estimate, finite for silence."""

import json

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, draw
from hypothesis import given, settings
from hypothesis import strategies as st

from bsrnn import losses
from bsrnn.audio.stft import StftConfig, stft
from bsrnn.common import UsageError

BANDIT = json.loads((GOLDEN / "bandit_losses.json").read_text())
STEMS, VALUES = BANDIT["inputs"]["stems"], BANDIT["values"]
CLOSE = {"rel": BANDIT["tolerance"]["relative"], "abs": BANDIT["tolerance"]["absolute_db"]}


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


@pytest.fixture(scope="module")
def bandit():
    """stem -> ((estimate, target) waveforms, (estimate, target) spectra), each (2, 1, 1, ...)."""
    inputs, seed, found = BANDIT["inputs"], BANDIT["seed"], {}
    for stem in STEMS:
        amplitude, last = inputs["amplitude"][stem], stem == STEMS[-1]

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
        found[stem] = [
            tuple(torch.from_numpy(x[:, None]) for x in pair)  # (B, C, ...) -> (B, S, C, ...)
            for pair in ((a + error, a), (s + p.astype(np.complex64), s))
        ]
    return found


def value(name, *stems):
    """The loss `name` of these stems together."""
    estimate, target, spectra, target_spectra = (
        torch.cat([stem[domain][which] for stem in stems], 1)
        for domain in (0, 1)
        for which in (0, 1)
    )
    given = losses.Target(target, spectra=target_spectra)
    return losses._LOSSES[name](losses.Estimate(estimate, spectra), given).item()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("l1_hybrid", "TimeFreqL1Loss{}"),
        ("l2_hybrid", "TimeFreqL2Loss{}"),
        ("l1_snr", "TimeFreqSignalNoisePNormRatioLoss{p:1} (L1SNR)"),
        ("l1_snr_small_eps", "TimeFreqSignalNoisePNormRatioLoss{p:1,EPS:1e-6}"),
        ("l2_snr", "TimeFreqSignalNoisePNormRatioLoss{p:2}"),
        ("l2_snr_scaled", "TimeFreqSignalNoisePNormRatioLoss{p:2,scale_invariant:true}"),
    ],
)
def test_equal_to_bandit(bandit, name, key):
    assert value(name, *bandit.values()) == pytest.approx(VALUES[key], rel=CLOSE["rel"])


@pytest.mark.parametrize("stem", STEMS)
def test_equal_to_bandit_v2_banquet_and_torch_l1_snr(bandit, stem):
    v2, banquet = VALUES["bandit-v2 L1SNR (multiplier 20)"], "query-bandit losses (multiplier 20)"
    packaged, sdr = VALUES["torch-l1-snr 0.0.4"], VALUES["MultichannelSingleSrcNegSDR mean"]

    def both(kind):
        return sum(VALUES[banquet][kind][domain][stem] for domain in VALUES[banquet][kind])

    for name, expected in {
        "l1_snr_v2": v2["audio"][stem] + v2["spectrogram"][stem],
        "l1_snr_banquet": both("L1SNRLoss"),
        "l1_snr_level": both("L1SNRDecibelMatchLoss"),
        "l1_snr_time": packaged["L1SNRLoss(l1_weight=0)"][stem],
        "l1_snr_time_level": packaged["L1SNRDBLoss()"][stem],
        "l1_snr_multi": packaged["MultiL1SNRDBLoss()"][stem],
        "neg_snr": sdr["snr/zero_mean=False/p=2.0"][stem],
        "neg_si_sdr": sdr["sisdr/zero_mean=False/p=2.0"][stem],
    }.items():
        assert value(name, bandit[stem]) == pytest.approx(expected, **CLOSE), name


@pytest.mark.parametrize(
    ("name", "key"),
    [("l1", "L1Loss} (audio)"), ("l2_magnitude", "MSELoss, spectrogram} on magnitudes")],
)
def test_equal_to_bandit_s_sums_of_means(bandit, name, key):
    """BandIt adds up stems where Luo and Yu, Open-Unmix and D3Net take their mean."""
    expected = VALUES[f"MultiStemWrapperFromConfig{{{key}"]
    assert 3 * value(name, *bandit.values()) == pytest.approx(expected, rel=CLOSE["rel"])


def test_the_roformers_loss_is_the_mean_error_at_five_resolutions():
    """Against numpy: frames cut, windowed and transformed by hand."""
    rng = np.random.default_rng(0)
    target, guess = rng.standard_normal((2, 1, 2, 1, 5000))  # (B, S, C, L) each
    expected = np.abs(guess - target).mean()
    for length in (4096, 2048, 1024, 512, 256):
        n_fft = max(2048, length)
        padded = np.pad((guess - target)[0, :, 0], ((0, 0), (n_fft // 2,) * 2), mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=1)[:, ::147]
        window = np.zeros(n_fft)  # the window in the middle, zeros around it
        start = (n_fft - length) // 2
        window[start : start + length] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        expected += np.abs(np.fft.rfft(frames * window)).mean()
    found = losses.loss("l1_multi", torch.from_numpy(guess), None, torch.from_numpy(target))
    assert found.item() == pytest.approx(expected, rel=1e-9)
    short = torch.zeros(1, 1, 1, 2048)
    with pytest.raises(UsageError, match="at least 2049 samples"):
        losses.loss("l1_multi", short, None, short)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(losses.names()),
    silent=st.sampled_from(["targets", "estimates", "both", "one stem", "one item"]),
    level=st.floats(-120, 20),
    seed=st.integers(0, 99),
)
def test_silence_has_finite_values_and_gradients(name, silent, level, seed):
    """No loss of this room can make a training NaN: whatever is silent, whatever the level."""
    config = StftConfig(256, 64)
    target, guess = 10 ** (level / 20) * torch.randn(
        2, 2, 2, 1, 2100, generator=torch.Generator().manual_seed(seed)
    )  # (B, S, C, L) each
    for which, x in (("targets", target), ("estimates", guess)):
        if silent in (which, "both"):
            x.zero_()
    if silent == "one stem":
        target[:, 1] = 0
    if silent == "one item":
        target[0] = guess[0] = 0
    guess.requires_grad_()
    found = losses.loss(name, guess, stft(guess, config), target, config)
    found.backward()
    assert torch.isfinite(found) and torch.isfinite(guess.grad).all()


@pytest.mark.parametrize("name", losses.names())
def test_a_perfect_estimate_is_best(name):
    config = StftConfig(256, 64)
    target, error = torch.randn(2, 2, 3, 2, 2100, generator=torch.Generator().manual_seed(0))
    target[:, 1] = 0  # a silent stem
    found = [
        losses.loss(name, guess, stft(guess, config), target, config)
        for guess in (target, target + 0.01 * error, target + 0.1 * error, 0 * target)
    ]
    assert found[0] < found[1] < found[2] and found[0] < found[3]
    if "snr" not in name and "sdr" not in name:
        assert found[0] == 0


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (0.1, (0.1 + 0.9 * 20 / 40) * 20),  # -40 dBFS for -20: 20 of the 40 dB above -60 are gone
        (0.0, 1.0 * 60),  # silence: the whole weight; a level of 10 log10(1e-8)
        (10.0, 0.1 * 20),  # too loud: the smallest weight
    ],
)
def test_level_matching_presses_most_where_a_stem_fell_silent(gain, expected):
    """By hand, after arXiv 2501.16171: the published numbers know too loud estimates only."""
    target = torch.full((1, 1, 1, 400), 0.1, dtype=torch.float64)  # -20 dBFS
    with_level, without = (
        losses.loss(name, gain * target, None, target)
        for name in ("l1_snr_time_level", "l1_snr_time")
    )
    assert (with_level - without).item() == pytest.approx(expected, abs=1e-3)
