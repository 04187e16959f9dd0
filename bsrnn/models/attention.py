"""Attention in the places of the paper's parts: the RoFormers, and attention over frames.

Rows are (rows, places, N): independent sequences, as in `bsrnn.py`; E is the size of a head.

References: Wang et al. 2023, arXiv 2209.03952 (full-band attention over frames, TF-GridNet);
Lu et al. 2023, arXiv 2309.02612 (RoFormer); Su et al. 2021, arXiv 2104.09864 (rotary positions);
El-Nouby et al. 2021, arXiv 2106.09681 (attention between features). Lesson 14.
"""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from bsrnn.models.blocks import RoformerBlock as RoformerSettings
from bsrnn.models.bsrnn import Block, Norm, Sequence
from bsrnn.models.config import ModelConfig
from bsrnn.models.places import stands


class FrameAttention(nn.Module):
    """Every frame attends to every frame with all its bands at once (TF-GridNet; oBSRNN).

    A head's query of a frame is made of E features of each of the K bands, its value of N / heads.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        heads, wanted = config.attention.heads, config.attention.features
        make = partial(BandNorm, config.features, len(config.bands), config.norm_eps)
        self.query = make(heads, wanted)
        self.key = make(heads, wanted)
        self.value = make(heads, config.features // heads)
        self.project = make(1, config.features)

    def forward(self, z):
        # (B, heads, T, K, E) each; K and E together are the vector of a frame.
        query, key, value = (part(z).flatten(-2) for part in (self.query, self.key, self.value))
        y = F.scaled_dot_product_attention(query, key, value)  # (B, heads, T, K N / heads)
        y = y.unflatten(-1, (z.shape[1], -1)).permute(0, 3, 2, 1, 4)  # (B, K, T, heads, N / heads)
        return z + self.project(y.flatten(-2)).squeeze(1).transpose(1, 2)  # (B, K, T, N)


class BandNorm(nn.Module):
    """Linear, PReLU with one slope per head, then a norm over a head's features and the bands.

    z (B, K, T, N) -> (B, heads, T, K, E)."""

    def __init__(self, features, bands, eps, heads, size):
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


@stands("norm", "rms")
class RmsNorm(Norm):
    """Each position divided by its L2 norm, times sqrt(N); no offset (RoFormers)."""

    def __init__(self, features, eps=1e-12):
        super().__init__(features, eps)
        self.offset = None

    def scaled(self, x, gain, offset):
        return F.normalize(x, dim=-1) * (x.shape[-1] ** 0.5 * gain)


class Position(nn.Module):
    """Where a position stands in its sequence, told to queries and keys (..., places, E).

    "rotary": neighbouring features are pairs, turned by position times frequency. "pope": softplus
    of each feature is a length, position times frequency its angle; keys add a learned angle.
    The frequencies are kept with the weights: half-precision files carry rounded ones.
    """

    def __init__(self, settings: RoformerSettings):
        super().__init__()
        size = settings.head_features
        step = 2 if settings.position == "rotary" else 1
        self.register_buffer("frequencies", 10000.0 ** -(torch.arange(0, size, step) / size))
        self.angle = None
        if settings.position == "pope":
            self.angle = nn.Parameter(torch.zeros(settings.transformer_heads, size))

    def forward(self, query, key):
        place = torch.arange(query.shape[-2], device=query.device, dtype=self.frequencies.dtype)
        turn = place[:, None] * self.frequencies  # (places, E / 2), or (places, E) for "pope"
        if self.angle is None:
            return self._rotate(query, turn), self._rotate(key, turn)
        ahead = turn + self.angle.clamp(-2 * torch.pi, 0)[:, None]  # (heads, places, E)
        return self._polar(query, turn), self._polar(key, ahead)

    @staticmethod
    def _rotate(x, turn):
        even, odd = x[..., 0::2], x[..., 1::2]
        cos, sin = turn.cos(), turn.sin()
        turned = even * cos - odd * sin, odd * cos + even * sin
        return torch.stack(turned, dim=-1).flatten(-2)

    @staticmethod
    def _polar(x, turn):
        length = F.softplus(x)
        return torch.cat([length * turn.cos(), length * turn.sin()], dim=-1)  # (..., places, 2 E)


class Attention(nn.Module):
    """What both kinds of self-attention on rows (rows, places, N) share; returns what to add."""

    def __init__(self, features: int, settings: RoformerSettings):
        super().__init__()
        self.heads = settings.transformer_heads
        size = self.heads * settings.head_features
        self.norm = RmsNorm(features)
        self.qkv = nn.Linear(features, 3 * size, bias=False)
        self.make(features)
        self.out = nn.Linear(size, features, bias=False)

    def parts(self, x):
        """Query, key and value: (3, rows, heads, places, E)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (rows, places, 3, heads, E)
        return qkv.permute(2, 0, 3, 1, 4)


class RotaryAttention(Attention):
    """Gated, between places."""

    def __init__(self, features: int, settings: RoformerSettings, position: Position):
        super().__init__(features, settings)
        self.position = [position]  # in a list: the model registers the shared module once

    def make(self, features):
        self.gate = nn.Linear(features, self.heads)

    def forward(self, x):
        x = self.norm(x)
        query, key, value = self.parts(x)
        scale = query.shape[-1] ** -0.5
        query, key = self.position[0](query, key)
        y = F.scaled_dot_product_attention(query, key, value, scale=scale)
        gate = self.gate(x).sigmoid()[..., None]  # (rows, places, heads, 1)
        return self.out((y.transpose(1, 2) * gate).flatten(-2))  # (rows, places, N)


class LinearAttention(Attention):
    """Between features instead of places, so that its cost is linear in the places."""

    SCALE = 8.0  # fixed, not one over the root of the head's size

    def make(self, features):
        self.temperature = nn.Parameter(torch.ones(self.heads, 1, 1))

    def forward(self, x):
        query, key, value = self.parts(self.norm(x)).mT  # (rows, heads, E, places) each
        query = F.normalize(query, dim=-1) * self.temperature.exp()
        key = F.normalize(key, dim=-1)
        y = F.scaled_dot_product_attention(query, key, value, scale=self.SCALE)
        return self.out(y.permute(0, 3, 1, 2).flatten(-2))  # (rows, places, N)


class FeedForward(nn.Sequential):
    """RMS norm, 4N units with GELU, back to N: rows (rows, places, N) -> what is to be added."""

    def __init__(self, features: int):
        into, back = nn.Linear(features, 4 * features), nn.Linear(4 * features, features)
        super().__init__(RmsNorm(features), into, nn.GELU(), back)


class RoFormer(nn.Module):
    """Each attention, then a feed-forward part, added to the rows; Mel: a norm after all."""

    def __init__(self, features: int, settings: RoformerSettings, attentions):
        super().__init__()
        self.steps = nn.ModuleList()
        for attention in attentions:
            self.steps += [attention, FeedForward(features)]
        self.norm = RmsNorm(features) if settings.axis_norm else None

    def forward(self, x):
        for step in self.steps:
            x = x + step(x)
        return x if self.norm is None else self.norm(x)


@stands("layer", "roformer")
class RotaryLayer(RoFormer):
    """A RoFormer along one axis, beside another kind of layer along the other."""

    def __init__(self, config: ModelConfig, settings: RoformerSettings):
        position, of = Position(settings), (config.features, settings)
        super().__init__(*of, [RotaryAttention(*of, position) for _ in range(settings.time_depth)])
        self.position = position


class RoformerBlock(Block):
    """Linear attention over all places, if any; what earlier blocks said; time; bands."""

    def __init__(self, config: ModelConfig, positions):
        nn.Module.__init__(self)
        of = config.features, config.block
        depths = {"time": config.block.time_depth, "band": config.block.band_depth}
        for axis, depth in depths.items():
            attentions = [RotaryAttention(*of, positions[axis]) for _ in range(depth)]
            setattr(self, axis, RoFormer(*of, attentions))
        linear = [LinearAttention(*of) for _ in range(config.block.linear_depth)]
        self.linear = RoFormer(*of, linear) if linear else None

    def forward(self, z, earlier=None):
        if self.linear is not None:
            z = self.linear(z.flatten(1, 2)).unflatten(1, z.shape[1:3])  # (B, K T, N) and back
        return super().forward(z if earlier is None else z + earlier)


@stands("sequence", "roformer")
class RoformerSequence(Sequence):
    """Blocks that share one Position for each axis."""

    def __init__(self, config: ModelConfig):
        nn.Module.__init__(self)
        settings = config.block
        self.positions = nn.ModuleDict({axis: Position(settings) for axis in ("time", "band")})
        for r in range(config.repeats):
            self.add_module(str(r), RoformerBlock(config, self.positions))
        self.last_norm = RmsNorm(config.features) if settings.last_norm else None
        self.skip = settings.skip

    def forward(self, z):
        earlier = None
        for block in self.blocks:
            z = self.run(block, z, earlier)
            if self.skip:
                earlier = z if earlier is None else earlier + z
        return z if self.last_norm is None else self.last_norm(z)
