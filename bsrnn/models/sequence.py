"""Residual sequence blocks: what happens between the band split and the masks.

Every block maps z (B, K, T, N) to the same shape: B items, K bands, T frames, N features. A layer
works along one axis, seen by it as rows (M, S, N) of M independent sequences of S positions: time
has M = B K, S = T; bands have M = B T, S = K. Lessons 05, 06 and 14.

References: Luo and Yu 2022, arXiv 2209.15174, section III-B (time, then band);
Watcharasupat et al. 2024, arXiv 2309.02539, section III-C (layer norm, GRU).
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bsrnn.models.attention import (
    FrameAttention,
    LinearAttention,
    Norm,
    Position,
    RoFormer,
    RotaryAttention,
    Tac,
)
from bsrnn.models.config import ModelConfig

ROWS = (
    64  # measured: whole rows of the band pass take 1.3 times as long on a CPU (N 128, 6 s stereo)
)


class Recurrent(nn.Module):
    """x + projection(RNN(norm(x))) on rows (M, S, N): the block of the paper, LSTM or GRU."""

    def __init__(self, config: ModelConfig, features, units, kind):
        super().__init__()
        two = config.bidirectional
        self.norm = Norm(config.block_norm, features, config.norm_eps, config.norm_groups)
        self.rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](features, units, bidirectional=two)
        self.project = nn.Linear(units * (1 + two), features)

    def forward(self, x):
        y = self.norm(x).transpose(0, 1)  # (S, M, N): what torch's RNN wants in memory
        if torch.is_grad_enabled() or x.is_cuda:
            y = self.project(self.rnn(y.contiguous())[0])
        else:  # rows in blocks that fit the cache
            blocks = y.split(ROWS, dim=1)
            y = torch.cat([self.project(self.rnn(block)[0]) for block in blocks], dim=1)
        return x + y.transpose(0, 1)  # (M, S, N)


class Convolution(nn.Module):
    """x + projection(relu(conv(norm(x)))) on rows (M, S, N): magronp's `conv` layers."""

    def __init__(self, config: ModelConfig, features, units):
        super().__init__()
        units = units * (1 + config.bidirectional)
        self.norm = Norm(config.block_norm, features, config.norm_eps, config.norm_groups)
        self.conv = nn.Conv1d(features, units, kernel_size=3, padding=1)
        self.project = nn.Linear(units, features)

    def forward(self, x):
        y = self.conv(self.norm(x).transpose(1, 2)).relu()  # (M, units, S)
        return x + self.project(y.transpose(1, 2))  # (M, S, N)


class Dilated(nn.Module):
    """Dilated convolutions in series, each joined with its neighbours: the BSCNN of magronp.

    in -> D convolutions of dilation 1, 2, 4 ... -> D convolutions, each over the outputs l - 1, l
    and l + 1 that exist -> out, on all of those. Every convolution is normalised before and
    rectified after. Rows (M, S, N) -> the same.
    """

    def __init__(self, config: ModelConfig, features, units, depth):
        super().__init__()
        eps, self.depth = config.norm_eps, depth

        def step(size_in, size_out, eps=1e-5, dilation=1):
            return NormConv(size_in, size_out, config.kernel, dilation, eps)

        self.first = step(features, units, eps)
        self.series = nn.ModuleList(step(units, units, dilation=2**l) for l in range(depth))
        self.joined = nn.ModuleList(step(units * len(self._around(l)), units) for l in range(depth))
        self.last = step(units * max(depth, 1), features, eps)

    def _around(self, l):
        return range(max(l - 1, 0), min(l + 2, self.depth))

    def forward(self, x):
        y = self.first(x)
        outputs = []
        for conv in self.series:
            outputs.append(conv(outputs[-1] if outputs else y))
        joined = [
            conv(torch.cat([outputs[i] for i in self._around(l)], dim=-1))
            for l, conv in enumerate(self.joined)
        ]
        return x + self.last(torch.cat(joined, dim=-1) if joined else y)  # (M, S, N)


class NormConv(nn.Module):
    """relu(conv(norm(x))) on rows (M, S, in) -> (M, S, out)."""

    def __init__(self, size_in, size_out, kernel, dilation, eps):
        super().__init__()
        self.norm = Norm("group", size_in, eps)
        self.conv = nn.Conv1d(size_in, size_out, kernel, padding="same", dilation=dilation)

    def forward(self, x):
        return self.conv(self.norm(x).transpose(1, 2)).relu().transpose(1, 2)


class AttentionLstm(nn.Module):
    """x + attention(x), then x + projection(LSTM(x)): amanteur's `att` bottleneck, 4 heads."""

    def __init__(self, config: ModelConfig, features, units):
        super().__init__()
        two = config.bidirectional
        # The original computes this norm and drops it; kept so that its files round-trip.
        self.norm = Norm(config.block_norm, features, config.norm_eps, config.norm_groups)
        self.attention = nn.MultiheadAttention(features, 4, batch_first=True)
        self.rnn = nn.LSTM(features, units, batch_first=True, bidirectional=two)
        self.project = nn.Linear(units * (1 + two), features)

    def forward(self, x):
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return x + self.project(self.rnn(x)[0])


class PlaneConvolution(nn.Module):
    """z + conv1x1(tanhshrink(conv3x3(norm(z)))) over the band-time plane: BandIt's conv core."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.norm = nn.InstanceNorm2d(config.features, affine=True)
        self.conv = nn.Conv2d(config.features, config.units(), kernel_size=3, padding="same")
        self.project = nn.Conv2d(config.units(), config.features, kernel_size=1)

    def forward(self, z):
        y = self.norm(z.permute(0, 3, 1, 2))  # (B, N, K, T)
        y = self.project(F.tanhshrink(self.conv(y)))
        return z + y.permute(0, 2, 3, 1)  # (B, K, T, N)


class Along(nn.Module):
    """Run `layer`, made for rows (M, S, N), along time or across bands of z (B, K, T, N).

    heads > 1: the features are cut into that many groups, which are rows of their own.
    """

    def __init__(self, axis, layer, heads=1):
        super().__init__()
        self.axis, self.layer, self.heads = axis, layer, heads

    def forward(self, z):
        if self.axis == "band":
            z = z.transpose(1, 2)  # (B, T, K, N)
        parts = z.unflatten(-1, (self.heads, -1)).transpose(2, 3)  # (B, K, heads, T, N / heads)
        rows = parts.flatten(0, 2)  # (M, S, N / heads)
        parts = self.layer(rows).unflatten(0, parts.shape[:3])  # (B, K, heads, T, N / heads)
        z = parts.transpose(2, 3).flatten(-2)  # (B, K, T, N)
        return z.transpose(1, 2) if self.axis == "band" else z


def layer(axis, config: ModelConfig, position=None):
    """The layer for rows (M, S, N) along "time" or "band", as ModelConfig names it."""
    kind = config.rnn if axis == "time" else config.band_rnn or config.rnn
    features, units = config.features // config.heads, config.units(axis)
    if kind in ("lstm", "gru"):
        return Recurrent(config, features, units, kind)
    if kind == "conv":
        return Convolution(config, features, units)
    if kind == "dilated":
        depth = config.band_dilations if axis == "band" else 0
        return Dilated(config, features, units, depth or config.dilations)
    if kind == "attention-lstm":
        return AttentionLstm(config, features, units)
    if kind == "transformer":  # its dropout is the original's: active in training only
        heads = config.transformer_heads
        return nn.TransformerEncoderLayer(features, heads, units, dropout=0.1, batch_first=True)
    depth = config.time_depth if axis == "time" else config.band_depth
    return RoFormer(config, depth, lambda: RotaryAttention(config, position))


class Block(nn.Module):
    """Time, then band, then what couples channels or frames; all but the first are optional."""

    def __init__(self, config: ModelConfig, positions):
        super().__init__()
        self.linear = self.band = None
        if config.rnn == "plane-conv":
            self.time, self.band = PlaneConvolution(config), PlaneConvolution(config)
        else:
            self.time = Along("time", layer("time", config, positions["time"]), config.heads)
            if config.band_rnn != "none":
                self.band = Along("band", layer("band", config, positions["band"]), config.heads)
        if config.rnn == "roformer" and config.linear_depth:
            self.linear = RoFormer(config, config.linear_depth, lambda: LinearAttention(config))
        self.tac = Tac(config) if config.tac else None
        self.attention = FrameAttention(config) if config.attention_heads else None

    def forward(self, z, earlier=None):  # (B, K, T, N)
        if self.linear is not None:
            z = self.linear(z.flatten(1, 2)).unflatten(1, z.shape[1:3])  # over K T positions
        if earlier is not None:
            z = z + earlier
        for step in (self.time, self.band, self.tac, self.attention):
            z = z if step is None else step(z)
        return z


class SequenceModel(nn.Module):
    """R blocks: (B, K, T, N) -> (B, K, T, N)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.skip = config.skip
        rotary = config.rnn == "roformer"
        self.positions = nn.ModuleDict(
            {axis: Position(config) if rotary else None for axis in ("time", "band")}
        )
        self.first_norm = self.last_norm = None
        if config.rnn == "transformer":
            self.first_norm = Norm("layer", config.features, config.norm_eps)
        if config.last_norm:
            self.last_norm = Norm("rms", config.features, config.norm_eps)
        self.blocks = nn.ModuleList(Block(config, self.positions) for _ in range(config.repeats))
        self.recompute = False  # in training, forget what is inside a block: gradient checkpointing

    def forward(self, z):
        if self.first_norm is not None:
            z = self.first_norm(z)
        earlier = None
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                z = checkpoint(block, z, earlier, use_reentrant=False)
            else:
                z = block(z, earlier)
            if self.skip:
                earlier = z if earlier is None else earlier + z
        return z if self.last_norm is None else self.last_norm(z)
