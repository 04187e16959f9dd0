"""Closed-form cost: published BandIt rows to the integer, and equality with instantiated models."""

import subprocess
import sys
import time

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bsrnn.audio.stft import StftConfig
from bsrnn.models import BandSplitSeparator, ModelConfig, presets
from bsrnn.models.attention import BandNorm
from bsrnn.models.blocks import (
    AttentionLSTMBlock,
    ConvBlock,
    DilatedBlock,
    MixedBlock,
    PlaneConvBlock,
    RNNBlock,
    RoformerBlock,
    TransformerBlock,
)
from bsrnn.models.bsrnn import Norm
from bsrnn.models.cost import cost

BANDIT = presets()["bandit"].replace(scheme="v7", hidden=256, mask_hidden=512)
# scheme, RNN, R, stems, parameters, multiply-accumulates for 6 s (published GFlops: these / 1e9)
ROWS = [
    ("v7-bandit", "gru", 8, 1, 15_767_432, 238_154_354_820),
    ("v7-bandit", "lstm", 12, 1, 25_781_128, 462_157_468_804),
    ("v7-bandit", "gru", 8, 3, 25_676_176, 243_238_841_484),
    ("bark48", "gru", 8, 3, 64_480_864, 290_626_892_360),
    ("erb48", "gru", 8, 3, 32_631_840, 274_201_949_592),
    ("mel48", "gru", 8, 3, 32_753_744, 274_264_817_020),
    ("musical48", "gru", 8, 3, 33_549_328, 274_675_109_708),
    ("tribark48", "gru", 8, 3, 32_670_336, 274_221_802_464),
    ("bark64", "gru", 8, 3, 82_621_200, 387_585_242_764),
    ("erb64", "gru", 8, 3, 35_964_048, 363_523_561_900),
    ("mel64", "gru", 8, 3, 36_053_872, 363_569_885_268),
    ("musical64", "gru", 8, 3, 37_022_688, 364_069_515_880),
    ("tribark64", "gru", 8, 3, 35_996_128, 363_540_105_960),
]


@pytest.mark.parametrize(("scheme", "rnn", "repeats", "stems", "parameters", "macs"), ROWS)
def test_published_bandit_rows(scheme, rnn, repeats, stems, parameters, macs):
    stems = BANDIT.stems[:stems]
    config = BANDIT.replace(scheme=scheme, rnn=rnn, repeats=repeats, stems=stems)
    found = cost(config, seconds=6.0)
    assert (found.parameters, found.macs) == (parameters, macs)


BASE = ModelConfig(scheme="equal6", stft=StftConfig(64, 16), features=8, repeats=2)
BASE = BASE.replace(hidden=6, mask_hidden=10, sample_rate=8000)
JOINT = BASE.replace(channel_handling="joint")
FORMER = JOINT.replace(block=RoformerBlock(2, 4), split_norm="rms", mask_norm="none")
CHANGES = [
    (BASE, {}),
    (BASE, {"hidden": "2N", "mask_hidden": "4N"}),
    (BASE, {"channels": 1}),
    (BASE, {"rnn": "gru"}),
    (BASE, {"rnn": "gru", "bidirectional": False}),
    (BASE, {"block": MixedBlock(RNNBlock(hidden=6), RNNBlock("gru", 5))}),
    (BASE, {"block": MixedBlock(RNNBlock(hidden=6), None)}),
    (BASE, {"norm_groups": "N"}),
    (BASE, {"heads": 2}),
    (BASE, {"stems": ("a", "b", "c")}),
    (BASE, {"stems": ("a", "b", "c"), "residual_last": True}),
    (BASE, {"scheme": "mel5", "overlap": "weights"}),
    (BASE, {"scheme": "musical7", "overlap": "sum"}),
    (BASE, {"scheme": "mel-roformer6", "overlap": "mean"}),
    (BASE, {"scheme": "v7"}),
    (BASE, {"split_norm": "layer", "block_norm": "layer", "mask_norm": "layer"}),
    (BASE, {"tac": "tanh"}),
    (BASE, {"tac": "prelu", "tac_factor": 2}),
    (BASE, {"attention_heads": 2, "attention_features": 3}),
    (BASE, {"block": ConvBlock(12)}),
    (BASE, {"block": DilatedBlock(6)}),
    (BASE, {"block": MixedBlock(DilatedBlock(6, 1, 5), DilatedBlock(6, 4, 5))}),
    (BASE, {"block": MixedBlock(DilatedBlock(6, 2), None)}),
    (BASE, {"block": AttentionLSTMBlock(6)}),
    (BASE, {"block": TransformerBlock(6, 2)}),
    (BASE, {"block": PlaneConvBlock(6)}),
    (BASE, {"mask_hidden_layers": 0}),
    (BASE, {"mask_hidden_layers": 2, "mask_context": 1}),
    (BASE, {"mask_width": "narrow-for-wide"}),
    (BASE, {"mask_bottleneck": True, "mask_order": "scrambled"}),
    (BASE, {"mask_parts": "real"}),
    (BASE, {"output": "spectrum", "standardise": True}),
    (BASE, {"query": 7}),
    (BASE, {"split_norm": "frames", "mask_norm": "frames", "frames": 11}),
    (JOINT, {}),
    (JOINT, {"channels": 3, "rnn": "gru"}),
    (BASE, {"channel_handling": "shared"}),
    (FORMER, {}),
    (FORMER, {"time_depth": 2, "band_depth": 3, "axis_norm": True}),
    (FORMER, {"linear_depth": 2, "axis_norm": True, "last_norm": True, "skip": True}),
    (FORMER, {"position": "pope", "mask_hidden_layers": 3}),
]
SECONDS = 0.02  # 160 samples: 11 frames
COUNTED = (
    Norm, nn.Linear, nn.LSTM, nn.GRU, nn.Conv1d, nn.Conv2d, nn.InstanceNorm2d,
    nn.LayerNorm, nn.MultiheadAttention, BandNorm,
)  # fmt: skip


def build(base, change):
    config = base.replace(**change)
    return config, BandSplitSeparator(config)


def run(separator, config):
    query = torch.zeros(1, config.query) if config.query else None
    torch.manual_seed(0)
    return separator(torch.randn(1, config.channels, 160), query=query)


@pytest.mark.parametrize(("base", "change"), CHANGES, ids=lambda x: str(x)[:60])
def test_parameters_equal_the_module(base, change):
    config, separator = build(base, change)
    found = cost(config, SECONDS)
    assert found.parameters == sum(p.numel() for p in separator.parameters())
    for name, part in found.parts.items():
        own = getattr(separator, name).parameters()
        assert part.parameters == sum(p.numel() for p in own), name
    split_and_masks = found.parts["split"].parameters + found.parts["masks"].parameters
    assert sum(found.band_parameters) == split_and_masks
    assert len(found.band_macs) == len(config.bands)


@pytest.mark.parametrize(("base", "change"), CHANGES, ids=lambda x: str(x)[:60])
def test_activations_equal_what_the_layers_return(base, change):
    config, separator = build(base, change)
    values = 0

    def count(module, _, output):
        nonlocal values
        values += (output[0] if isinstance(output, tuple) else output).numel()

    for module in separator.modules():
        if isinstance(module, COUNTED):
            module.register_forward_hook(count)
    run(separator, config)  # in training mode, where torch's transformer calls its layers
    assert cost(config, SECONDS).activation_bytes == 4 * values


@pytest.mark.parametrize(("base", "change"), CHANGES, ids=lambda x: str(x)[:60])
def test_matrix_products_equal_torchs_counter(base, change):
    config, separator = build(base, change)
    counter = FlopCounterMode(display=False)
    math = nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH)
    with math, counter:
        run(separator, config)
    found = cost(config, SECONDS)
    expected = counter.get_total_flops() // 2
    rnn = any(isinstance(module, nn.RNNBase) for module in separator.modules())
    if rnn:  # the counter does not look into every recurrent layer: take it out of both
        counted = sum(
            flops
            for module, by_op in counter.get_flop_counts().items()
            for flops in by_op.values()
            if module.rpartition(".")[2] == "rnn"
        )
        expected -= counted // 2
        found_rnn = 0
        for module in separator.modules():
            if isinstance(module, nn.LSTM | nn.GRU):
                gates = {nn.LSTM: 4, nn.GRU: 3}[type(module)]
                size, units = module.input_size, module.hidden_size
                per_step = gates * units * (size + units) * (1 + module.bidirectional)
                rows = config.channels if config.joint_channels == 1 else 1
                found_rnn += rows * config.block.time.heads * len(config.bands) * 11 * per_step
        assert found.matmul_macs - found_rnn == expected
    else:
        assert found.matmul_macs == expected
    assert found.macs >= found.matmul_macs


def test_the_closed_form_needs_no_torch():
    code = "import sys, bsrnn.cost; print({'torch', 'pandas', 'numpy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_presets_and_speed():
    for name, config in presets().items():
        assert cost(config).parameters > 0, name
    tiny = BandSplitSeparator(presets()["tiny"])
    assert cost(presets()["tiny"]).parameters == sum(p.numel() for p in tiny.parameters()) < 1e5
    for config in (ModelConfig(), BANDIT.replace(scheme="bark64"), FORMER):
        cost(config)  # the scheme is built and cached once
        seconds = []
        for _ in range(20):
            start = time.perf_counter()
            cost(config)
            seconds.append(time.perf_counter() - start)
        assert min(seconds) < 1e-3


def test_published_roformer_parameters():
    bs, mel = presets()["bs-roformer"], presets()["mel-roformer"]
    assert cost(bs).parameters == 159_758_028  # 512 x 12, one stem
    assert cost(bs.replace(features=384)).parameters == 98_194_764
    assert cost(bs.replace(features=192, repeats=6)).parameters == 24_591_276
    assert cost(mel).parameters == 228_202_788  # 384 x 6, one stem
    assert cost(mel.replace(stems=("a", "b", "c", "d"))).parameters == 832_598_700
