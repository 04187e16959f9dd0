"""Residual sequence blocks: what happens between the band split and the masks.

Every block maps z (B, K, T, N) to the same shape: B items, K bands, T frames, N features. A layer
works along one axis, seen by it as rows (M, S, N) of M independent sequences of S positions: time
has M = B K, S = T; bands have M = B T, S = K. Lessons 05, 06 and 14.

References: Luo and Yu 2022, arXiv 2209.15174, section III-B (time, then band);
Watcharasupat et al. 2024, arXiv 2309.02539, section III-C (layer norm, GRU).
"""

import math

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
from bsrnn.models.blocks import each, in_pieces
from bsrnn.models.config import ModelConfig

POSITIONS, LEAST_ROWS = 6144, 64  # that a layer works on at a time (Along): the cache, a product


def lstm_steps(x, state, weights, backward):
    """One direction of an LSTM: x (S, M, N), (h, c) or None -> hidden (S, M, units), (h, c)."""
    if state is None:
        state = x.new_zeros(2, 1, x.shape[1], weights[1].shape[1]).unbind()  # (1, M, units) each
    x = x.flip(0) if backward else x
    hidden, *state = torch.lstm(x, state, weights, True, 1, 0.0, False, False, False)
    return hidden.flip(0) if backward else hidden, state


def gru_steps(x, h, weights, backward):
    """One direction of a GRU: x (S, M, N), h (M, units) or None -> hidden (S, M, units), h.

    Fewer passes over memory than torch's, which has no kernel for a whole GRU on a CPU.
    """
    w_in, w_hidden, b_in, b_hidden = weights
    units = w_hidden.shape[1]
    inside = F.linear(x, w_in, b_in)  # (S, M, 3 units): reset, update, new
    hidden = x.new_empty(*x.shape[:2], units)
    h = x.new_zeros(x.shape[1], units) if h is None else h
    turned, again = w_hidden.t(), x.new_empty(x.shape[1], 3 * units)
    order = range(len(x) - 1, -1, -1) if backward else range(len(x))
    for step in order:
        torch.addmm(b_hidden, h, turned, out=again)
        gates = again[:, : 2 * units].add_(inside[step, :, : 2 * units]).sigmoid_()
        reset, update = gates.chunk(2, dim=1)
        new = again[:, 2 * units :].mul_(reset).add_(inside[step, :, 2 * units :]).tanh_()
        h = torch.lerp(new, h, update, out=hidden[step])
    return hidden, h


STEPS = {nn.LSTM: lstm_steps, nn.GRU: gru_steps}


class Recurrent(nn.Module):
    """x + projection(RNN(norm(x))) on rows (M, S, N): the block of the paper, LSTM or GRU."""

    def __init__(self, config: ModelConfig, features, units, kind):
        super().__init__()
        two = config.bidirectional
        self.norm = Norm(config.block_norm, features, config.norm_eps, config.norm_groups)
        self.rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](features, units, bidirectional=two)
        self.project = nn.Linear(units * (1 + two), features)

    def forward(self, x):
        y = self.norm(x).transpose(0, 1).contiguous()  # (S, M, N): torch's RNN wants it so
        whole = type(self.rnn) not in STEPS or not in_pieces(x)
        y = self.project(self.rnn(y)[0]) if whole else self._by_steps(y)
        return x + y.transpose(0, 1)  # (M, S, N)

    def _by_steps(self, y):
        """The same for (S, M, N), some steps at a time in each direction: what the gates and the
        hidden units (S, M, 10N in an LSTM) need then stays in the cache."""
        count = -(-y.shape[0] * y.shape[1] // POSITIONS)
        out = self.project.bias.to(y.dtype).expand_as(y).clone()  # (S, M, N)
        y = y.to(self.project.weight.dtype)
        pieces = list(zip(y.tensor_split(count), out.tensor_split(count), strict=True))
        weights = self.rnn._flat_weights
        parts = self.project.weight.chunk(1 + self.rnn.bidirectional, dim=1)  # (N, units) each
        for backward, part in enumerate(parts):
            state = None
            for piece, sum_piece in reversed(pieces) if backward else pieces:
                own = weights[4 * backward : 4 * backward + 4]
                hidden, state = STEPS[type(self.rnn)](piece, state, own, bool(backward))
                sum_piece += F.linear(hidden, part)
        return out


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

    Inference on a CPU takes some rows at a time (blocks.py). Measured, BSRNN of the paper, stereo:
    all rows at once take 1.5 times as long, because the gates of an LSTM alone need 340 MB.
    """

    def __init__(self, axis, layer, heads=1):
        super().__init__()
        self.axis, self.layer, self.heads = axis, layer, heads

    def forward(self, z):
        if self.axis == "band":
            z = z.transpose(1, 2)  # (B, T, K, N)
        if self.heads == 1:
            z = self._rows(z)
        else:
            parts = z.unflatten(-1, (self.heads, -1)).transpose(2, 3)  # (B, K, heads, T, N / heads)
            rows = self._rows(parts.flatten(1, 2))  # (B, K heads, T, N / heads)
            z = rows.unflatten(1, parts.shape[1:3]).transpose(2, 3).flatten(-2)  # (B, K, T, N)
        return z.transpose(1, 2) if self.axis == "band" else z

    def _rows(self, z):  # (B, rows, S, N)
        if not in_pieces(z):
            return self.layer(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        items, rows, positions = z.shape[:3]
        size = max(POSITIONS // positions, LEAST_ROWS)
        threads = torch.get_num_threads() // math.gcd(items, torch.get_num_threads())
        count = min(-(-rows // (size * threads)) * threads, rows)  # as many for each thread
        out = torch.empty_like(z)
        pieces = [
            pair
            for item in zip(z, out, strict=True)
            for pair in zip(*(x.tensor_split(count) for x in item), strict=True)
        ]
        each(lambda x, y: y.copy_(self.layer(x)), pieces, z)
        return out


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
