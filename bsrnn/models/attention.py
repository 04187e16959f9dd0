"""Normalisation, attention and channel mixing: the layers that sequence.py builds its blocks of.

Rows are (M, S, N): M independent sequences of S positions with N features; z is (B, K, T, N).

References: Luo et al. 2020, arXiv 1910.14104 (TAC); Wang et al. 2023, arXiv 2209.03952 (full-band
attention over frames, TF-GridNet); Lu et al. 2023, arXiv 2309.02612 (RoFormer); Su et al. 2021,
arXiv 2104.09864 (rotary positions); El-Nouby et al. 2021, arXiv 2106.09681 (attention between
features). Lesson 14.
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


class Tac(nn.Module):
    """Transform, average, concatenate: the channels of an item hear each other (oBSRNN).

    For channel vectors x_c: v_c = a(W1 x_c); r = a(W2 mean_c v_c); x_c + a(W3 [v_c; r]), with
    a = tanh, or a PReLU whose one slope the three layers share.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        features, units = config.features, config.features * config.tac_factor
        self.channels = config.channels
        self.transform = nn.Linear(features, units)
        self.average = nn.Linear(units, units)
        self.concat = nn.Linear(2 * units, features)
        self.slope = nn.Parameter(torch.tensor([0.25])) if config.tac == "prelu" else None

    def _activate(self, x):
        return torch.tanh(x) if self.slope is None else F.prelu(x, self.slope.to(x.dtype))

    def forward(self, z):
        each = self._activate(self.transform(z)).unflatten(0, (-1, self.channels))
        mean = self._activate(self.average(each.mean(dim=1, keepdim=True)))  # (B, 1, K, T, units)
        both = torch.cat([each, mean.expand_as(each)], dim=-1)  # (B, C, K, T, 2 units)
        return z + self._activate(self.concat(both)).flatten(0, 1)  # (B C, K, T, N)


class FrameAttention(nn.Module):
    """Every frame attends to every frame with all its bands at once (TF-GridNet; oBSRNN).

    A head's query of a frame is made of E features of each of the K bands, its value of N / heads.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        heads, bands, features = config.attention_heads, len(config.bands), config.features
        self.query = BandNorm(features, heads, config.attention_features, bands, config.norm_eps)
        self.key = BandNorm(features, heads, config.attention_features, bands, config.norm_eps)
        self.value = BandNorm(features, heads, features // heads, bands, config.norm_eps)
        self.project = BandNorm(features, 1, features, bands, config.norm_eps)

    def forward(self, z):
        # (B, heads, T, K, E) each; K and E together are the vector of a frame.
        query, key, value = (part(z).flatten(-2) for part in (self.query, self.key, self.value))
        y = F.scaled_dot_product_attention(query, key, value)  # (B, heads, T, K N / heads)
        y = y.unflatten(-1, (z.shape[1], -1)).permute(0, 3, 2, 1, 4)  # (B, K, T, heads, N / heads)
        return z + self.project(y.flatten(-2)).squeeze(1).transpose(1, 2)  # (B, K, T, N)


class BandNorm(nn.Module):
    """Linear, PReLU with one slope per head, then a norm over a head's features and the bands.

    z (B, K, T, N) -> (B, heads, T, K, E)."""

    def __init__(self, features, heads, size, bands, eps):
        super().__init__()
        self.linear = nn.Linear(features, heads * size)
        self.slope = nn.Parameter(torch.full((heads,), 0.25))
        self.gain = nn.Parameter(torch.ones(heads, 1, bands, size))
        self.offset = nn.Parameter(torch.zeros(heads, 1, bands, size))
        self.heads, self.eps = heads, eps

    def forward(self, z):
        y = self.linear(z).unflatten(-1, (self.heads, -1))  # (B, K, T, heads, E)
        y = y.permute(0, 3, 2, 1, 4)  # (B, heads, T, K, E)
        y = F.prelu(y, self.slope.to(y.dtype))
        return F.layer_norm(y, y.shape[-2:], eps=self.eps) * self.gain + self.offset


class Position(nn.Module):
    """Where a position stands in its sequence, told to queries and keys (..., S, E) by rotation.

    "rotary": neighbouring features are pairs, turned by position times frequency. "pope": softplus
    of each feature is a length, position times frequency its angle; keys add a learned angle.
    The frequencies are kept with the weights: half-precision files carry rounded ones.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        size = config.head_features
        step = 2 if config.position == "rotary" else 1
        self.register_buffer("frequencies", 10000.0 ** -(torch.arange(0, size, step) / size))
        self.angle = None
        if config.position == "pope":
            self.angle = nn.Parameter(torch.zeros(config.transformer_heads, size))

    def forward(self, query, key):
        place = torch.arange(query.shape[-2], device=query.device, dtype=self.frequencies.dtype)
        turn = place[:, None] * self.frequencies  # (S, E / 2), or (S, E) for "pope"
        if self.angle is None:
            return self._rotate(query, turn), self._rotate(key, turn)
        ahead = turn + self.angle.clamp(-2 * torch.pi, 0)[:, None]  # (heads, S, E)
        return self._polar(query, turn), self._polar(key, ahead)

    @staticmethod
    def _rotate(x, turn):
        even, odd = x[..., 0::2], x[..., 1::2]
        cos, sin = turn.cos(), turn.sin()
        return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)

    @staticmethod
    def _polar(x, turn):
        length = F.softplus(x)
        return torch.cat([length * turn.cos(), length * turn.sin()], dim=-1)  # (..., S, 2 E)


class RotaryAttention(nn.Module):
    """Gated self-attention on rows (M, S, N): the RoFormers'. Returns what is to be added."""

    def __init__(self, config: ModelConfig, position: Position):
        super().__init__()
        features, self.heads = config.features, config.transformer_heads
        size = self.heads * config.head_features
        self.norm = Norm("rms", features, config.norm_eps)
        self.qkv = nn.Linear(features, 3 * size, bias=False)
        self.gate = nn.Linear(features, self.heads)
        self.out = nn.Linear(size, features, bias=False)
        self.position = [position]  # in a list: the model registers the shared module once

    def forward(self, x):
        x = self.norm(x)
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (M, S, 3, heads, E)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (M, heads, S, E) each
        scale = query.shape[-1] ** -0.5
        query, key = self.position[0](query, key)
        y = F.scaled_dot_product_attention(query, key, value, scale=scale)  # (M, heads, S, E)
        y = y.transpose(1, 2) * self.gate(x).sigmoid()[..., None]  # (M, S, heads, E)
        return self.out(y.flatten(-2))  # (M, S, N)


class LinearAttention(nn.Module):
    """Attention between features instead of positions, linear in S: rows (M, S, N) -> to add."""

    SCALE = 8.0  # fixed, not one over the root of the head's size

    def __init__(self, config: ModelConfig):
        super().__init__()
        features, self.heads = config.features, config.transformer_heads
        size = self.heads * config.head_features
        self.norm = Norm("rms", features, config.norm_eps)
        self.qkv = nn.Linear(features, 3 * size, bias=False)
        self.temperature = nn.Parameter(torch.ones(self.heads, 1, 1))
        self.out = nn.Linear(size, features, bias=False)

    def forward(self, x):
        qkv = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1))  # (M, S, 3, heads, E)
        query, key, value = qkv.permute(2, 0, 3, 4, 1)  # (M, heads, E, S) each
        query = F.normalize(query, dim=-1) * self.temperature.exp()
        key = F.normalize(key, dim=-1)
        y = F.scaled_dot_product_attention(query, key, value, scale=self.SCALE)
        return self.out(y.permute(0, 3, 1, 2).flatten(-2))  # (M, S, N)


class FeedForward(nn.Sequential):
    """RMS norm, 4N units with GELU, back to N: rows (M, S, N) -> what is to be added."""

    def __init__(self, config: ModelConfig):
        features = config.features
        super().__init__(
            Norm("rms", features, config.norm_eps),
            nn.Linear(features, 4 * features),
            nn.GELU(),
            nn.Linear(4 * features, features),
        )


class RoFormer(nn.Module):
    """`depth` times x + attention(x), x + feed-forward(x) on rows (M, S, N); Mel: a norm after."""

    def __init__(self, config: ModelConfig, depth, make_attention):
        super().__init__()
        self.steps = nn.ModuleList()
        for _ in range(depth):
            self.steps += [make_attention(), FeedForward(config)]
        self.norm = Norm("rms", config.features, config.norm_eps) if config.axis_norm else None

    def forward(self, x):
        for step in self.steps:
            x = x + step(x)
        return x if self.norm is None else self.norm(x)
