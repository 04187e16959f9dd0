"""Rules for cutting: ours adds up to 1 and forgets the borders, the published ones equal golden."""

import json

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, draw
from hypothesis import given, settings
from hypothesis import strategies as st

from bsrnn.audio.stft import StftConfig
from bsrnn.common import UsageError
from bsrnn.separation import RULES, context_pieces, separate

KEPT = [name for name, rule in RULES.items() if rule.level_kept]


def golden(name):
    data = np.load(GOLDEN / f"{name}.npz")
    return data, json.loads(str(data["meta"]))


def agrees(found, data, name, row=...):
    """Every fourth sample (S, C, L) is golden, the level of all of them, too."""
    expected = data[f"out/{name}"][row]
    assert np.abs(found[..., ::4] - expected).max() < 1e-5 * np.abs(expected).max()
    rms = np.sqrt(np.square(found, dtype=np.float64).mean(-1))
    assert np.allclose(rms, data[f"rms/{name}"][row], rtol=1e-5)


class Model:
    """A stand-in network: `function` of the waveforms (B, C, L) of each chunk, one per stem."""

    def __init__(self, sample_rate, *functions, stft=None):
        self.sample_rate, self.functions = sample_rate, functions
        self.stems = tuple(f"stem{number}" for number in range(len(functions)))
        if stft:
            self.config = type("Config", (), {"stft": stft})

    def __call__(self, mixture):
        return torch.stack([function(mixture) for function in self.functions], dim=1)


def run(model, mixture, **options):
    return np.stack(list(separate(model, mixture, model.sample_rate, **options).values()))


def up(x):
    return x * torch.linspace(1, 2, x.shape[-1])


def down(x):
    return x * (3 - torch.linspace(1, 2, x.shape[-1]))


@pytest.mark.parametrize("case", range(7))
def test_magronp_fader_and_overlap_add(case):
    """github magronp/bsrnn, PLModule._apply_model_to_track."""
    data, meta = golden("bsrnn_chunking")
    case = meta["cases"][case]
    mixture = 0.1 * draw(meta["seed"], case["name"], (1, 2, case["samples"])).astype(np.float32)
    segment, hop = case["segment_len"], case["hop_size"]
    options = {"rule": "magronp", "overlap": case["overlap"]}
    if hop is not None:
        options = {"rule": "magronp-ola", "overlap": 1 - hop / segment}
    chunk_s = segment if segment > 0 else case["samples"]
    found = run(Model(meta["sample_rate"], up, down), mixture[0], chunk_s=chunk_s, **options)
    agrees(found, data, case["name"], 0)


@pytest.mark.parametrize("case", range(4))
def test_amanteur_separator(case):
    """github amanteur/BandSplitRNN-Pytorch, separator.Separator.forward."""
    data, meta = golden("amanteur_separator_ola")
    case = meta["cases"][case]
    mixture = 0.1 * draw(meta["seed"], case["name"], (2, case["samples"])).astype(np.float32)
    network = (lambda x: x) if case["network"] == "identity" else up
    stft = StftConfig(n_fft=case["featurizer_win_length"], hop=case["featurizer_hop_length"])
    rule = "amanteur-hann" if case["window"] else "amanteur"
    found = run(
        Model(meta["sample_rate"], network, stft=stft), mixture, rule=rule, batch=3,
        chunk_s=case["win_size"], overlap=1 - case["hop_size"] / case["win_size"],
    )[0]  # fmt: skip
    agrees(found, data, case["name"])


@pytest.mark.parametrize("case", range(3))
def test_bandit_overlap_add(case):
    """github kwatcharasupat/bandit, core.utils.audio.OverlapAddFader."""
    data, meta = golden("bandit_overlap_add")
    case = meta["cases"][case]
    number = case["case"]
    waveforms = draw(meta["seed"], str(number), case["shape"]).astype(np.float32)

    def network(x):
        ramp = 0.1 * torch.linspace(0, 1, x.shape[-1])
        rms = x.square().mean(-1, keepdim=True).sqrt()
        return x * x.abs() - x.mean(-1, keepdim=True) + ramp * rms

    for mixture, expected, rms in zip(
        waveforms, data[f"out/{number}"], data[f"rms/{number}"], strict=True
    ):
        found = run(
            Model(case["fs"], network), mixture, rule="bandit", batch=case["batch_size"],
            chunk_s=case["chunk_s"], overlap=1 - case["hop_s"] / case["chunk_s"],
        )[0]  # fmt: skip
        assert np.abs(found[..., ::8] - expected).max() < meta["tolerance"]["absolute"]
        assert np.allclose(np.sqrt(np.square(found).mean(-1)), rms, rtol=1e-4)
    (window,) = {id(p.weight): p.weight for p in RULES["bandit"].pieces(
        9000, case["chunk"], 1 - case["hop"] / case["chunk"])}.values()  # fmt: skip
    assert np.abs(window[::16] - data[f"window/{number}"]).max() < 1e-6


def test_published_defaults():
    """What the publishers cut by default, at 44.1 kHz."""
    stft = StftConfig()
    lengths = {}
    for name, rule in RULES.items():
        chunk = round(rule.chunk_s * 44100)
        first, second, *_ = rule.pieces(100 * 44100, chunk, rule.overlap, stft)
        lengths[name] = (first.stop - first.start, second.start - first.start)
    assert lengths["magronp"] == (485100, 485100 - 44100)
    assert lengths["amanteur"] == lengths["crlandsc"] == (134144, 23894)
    assert lengths["bandit"] == (264600, 22050)


def test_levels_of_the_published_rules_that_do_not_keep_it():
    ones = np.ones((1, 20 * 1000), np.float32)
    model = Model(1000, lambda x: x, stft=StftConfig(n_fft=64, hop=16))
    levels = {name: run(model, ones, rule=name)[0, 0, 4000:-4000] for name in RULES}
    for name in KEPT:
        assert np.abs(levels[name] - 1).max() < 1e-6, name
    # Chunks of 3000 + 56 samples every 500 + 56: 5 or 6 at a time, divided by their ratio.
    expected = np.array([5, 6]) * 556 / 3056
    assert np.allclose(np.unique(levels["amanteur"].round(4)), expected, atol=1e-4)
    assert np.abs(levels["crlandsc"] - 1).max() < 0.02 < np.ptp(levels["amanteur-hann"])


@given(st.integers(1, 4000), st.integers(1, 900), st.floats(0, 0.97))
@settings(deadline=None, max_examples=150)
def test_context_pieces_are_of_one_length_and_at_most_two_at_a_time(samples, chunk, overlap):
    pieces = list(context_pieces(samples, chunk, overlap))
    assert {piece.stop - piece.start for piece in pieces} == {min(chunk, samples)}
    count = np.zeros(samples, int)
    for piece in pieces:
        count[piece.start : piece.stop] += piece.weight > 0
    assert set(count) <= {1, 2}


@pytest.mark.parametrize("rule", ["magronp", "bandit", "context", "amanteur"])
def test_networks_of_one_chunk_length_get_that_length(rule):
    """656 samples are 600 and amanteur's fill, so its hop stays the published one (156)."""

    class Fixed(Model):
        lengths = set()

        def __call__(self, mixture):
            self.lengths.add(mixture.shape[-1])
            return super().__call__(mixture)

    model = Fixed(1000, lambda x: x, stft=StftConfig(n_fft=64, hop=16))
    model.config.chunk_samples = 656
    mixture = np.random.default_rng(0).standard_normal((1, 3000)).astype(np.float32)
    if rule == "magronp":
        with pytest.raises(UsageError, match="chunks of 656 samples only"):
            run(model, mixture, rule=rule)
        return
    options = {"chunk_s": 0.6, "overlap": 5 / 6} if rule == "amanteur" else {}
    found = run(model, mixture, rule=rule, **options)[0]
    assert model.lengths == {656}
    gains = np.unique((found / mixture).round(3))
    expected = np.array([4, 5]) * 156 / 656 if rule == "amanteur" else [1]
    assert np.allclose(gains, expected, atol=1e-3)
    shifted = run(model, mixture, rule="context", shifts=2)[0]
    assert np.abs(shifted - mixture).max() < 1e-6 and model.lengths == {656}
