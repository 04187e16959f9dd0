"""Residual sequence blocks: what happens between the band split and the masks.

Every block maps z (B, K, T, N) to the same shape: B items, K bands, T frames, N features. A layer
works along one axis, seen by it as rows (M, S, N) of M independent sequences of S positions: time
has M = B K, S = T; bands have M = B T, S = K. Lessons 05, 06 and 14.

References: Luo and Yu 2022, arXiv 2209.15174, section III-B (time, then band); Luo et al. 2020,
arXiv 1910.14104 (TAC); Wang et al. 2023, arXiv 2209.03952 (full-band attention over frames).
"""

import torch
from torch import nn
from torch.nn import functional as F

from bsrnn.models.config import ModelConfig


class Norm(nn.Module):
    """Normalise x (..., S, N), with a gain and an offset.

    kind "layer": each position over N. "group": over S and the N / groups features of a group.
    "frames": over S and N, with a gain for each of the S x N places. "rms": each position divided
    by its L2 norm, times sqrt(N); no offset. groups 0 means one group per feature. `bands`: the
    first axis of x holds that many bands, each with a gain of its own.
    """

    def __init__(self, kind, features, eps, groups=1, frames=0, bands=None):
        super().__init__()
        self.kind, self.eps, self.groups = kind, eps, groups or features
        shape = (frames, features) if kind == "frames" else (features,)
        self.weight = nn.Parameter(torch.ones(shape if bands is None else (bands, *shape)))
        self.bias = None if kind == "rms" else nn.Parameter(torch.zeros_like(self.weight))

    def forward(self, x):  # (..., S, N)
        if self.kind == "rms":
            return F.normalize(x, dim=-1) * (x.shape[-1] ** 0.5 * self._shaped(self.weight, x))
        if self.kind == "layer":
            y = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        elif self.groups == 1 or self.kind == "frames":
            y = F.layer_norm(x, x.shape[-2:], eps=self.eps)
        else:
            parts = x.unflatten(-1, (self.groups, -1))  # (..., S, groups, N / groups)
            var, mean = torch.var_mean(parts, dim=(-3, -1), correction=0, keepdim=True)
            y = ((parts - mean) * torch.rsqrt(var + self.eps)).flatten(-2)  # (..., S, N)
        return torch.addcmul(self._shaped(self.bias, x), y, self._shaped(self.weight, x))

    def _shaped(self, gain, x):
        """A gain per band (G, [S,] N) beside x (G, ..., S, N)."""
        own = 2 if self.kind == "frames" else 1
        if gain.dim() == own:
            return gain
        return gain.view(gain.shape[0], *[1] * (x.dim() - 1 - own), *gain.shape[1:])


class Recurrent(nn.Module):
    """x + projection(RNN(norm(x))) on rows (M, S, N): the block of the paper, LSTM or GRU."""

    def __init__(self, kind, config: ModelConfig, features):
        super().__init__()
        units, two = config.units, config.bidirectional
        self.norm = Norm(config.block_norm, features, config.norm_eps, config.norm_groups)
        self.rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](features, units, bidirectional=two)
        self.project = nn.Linear(units * (1 + two), features)

    def forward(self, x):
        # torch's RNN wants (S, M, N) in memory: one copy here instead of one on each side.
        y, _ = self.rnn(self.norm(x).transpose(0, 1).contiguous())  # (S, M, 2 units)
        return x + self.project(y).transpose(0, 1)  # (M, S, N)


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


def layer(kind, config: ModelConfig):
    """One layer for rows (M, S, N) by its name in ModelConfig."""
    return Recurrent(kind, config, config.features // config.heads)


class Block(nn.Module):
    """Time, then band, then what couples channels or frames; each is optional and residual."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.time = Along("time", layer(config.rnn, config), config.heads)
        self.band = Along("band", layer(config.band_rnn or config.rnn, config), config.heads)

    def forward(self, z):  # (B, K, T, N)
        for step in self.children():
            z = step(z)
        return z


class SequenceModel(nn.Module):
    """R blocks: (B, K, T, N) -> (B, K, T, N)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.repeats))

    def forward(self, z):
        for block in self.blocks:
            z = block(z)
        return z
