"""What other publications put in the places of the paper's parts (`bsrnn.py`).

Rows are (rows, places, N): independent sequences. Each class says in its decorator at which place
it stands, and for which name in a ModelConfig. Attention stands in `attention.py`.

References: Watcharasupat et al. 2024, arXiv 2309.02539 (BandIt: norms, transformer, convolution);
Luo et al. 2020, arXiv 1910.14104 (TAC); Perez et al. 2018, arXiv 1709.07871 (FiLM). Lessons 06, 14.
"""

from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from bsrnn.models.attention import FrameAttention
from bsrnn.models.blocks import units_of
from bsrnn.models.bsrnn import BandSplit, Block, MaskHead, Norm, Sequence, norm
from bsrnn.models.config import ModelConfig
from bsrnn.models.places import at, stands

ACTIVATIONS = {
    "tanh": torch.tanh,
    "relu": F.relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "leaky-relu": F.leaky_relu,
}

# ---- Norms ---------------------------------------------------------------------------------------


@stands("norm", "layer")
class LayerNorm(Norm):
    """Each position alone, over its features (BandIt)."""

    def scaled(self, x, gain, offset):
        return torch.addcmul(offset, F.layer_norm(x, x.shape[-1:], eps=self.eps), gain)


@stands("norm", "groups")
class GroupNorm(Norm):
    """Over the sequence and the features of a group (magronp, amanteur, Refined)."""

    @classmethod
    def of(cls, features, config, groups):
        made = cls(features, config.norm_eps)
        made.groups = groups
        return made

    def scaled(self, x, gain, offset):
        parts = x.unflatten(-1, (self.groups, -1))  # (..., places, groups, N / groups)
        var, mean = torch.var_mean(parts, dim=(-3, -1), correction=0, keepdim=True)
        parts = (parts - mean) * torch.rsqrt(var + self.eps)
        return torch.addcmul(offset, parts.flatten(-2), gain)  # (..., places, N)


@stands("norm", "frames")
class FrameNorm(Norm):
    """As the paper's, with a gain for each of the T x N places (amanteur, Refined)."""

    @classmethod
    def of(cls, features, config, groups):
        return cls((config.frames, features), config.norm_eps)


@stands("norm", "none")
class NoNorm(nn.Identity):
    """A head without a norm (RoFormers)."""

    @classmethod
    def of(cls, features, config, groups):
        return cls()


# ---- Split and heads -----------------------------------------------------------------------------


@stands("split", "shared")
class SharedSplit(BandSplit):
    """Channels are normalised together, then one projection serves each of them (BandIt)."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        size = config.features // config.channels
        widths = config.bands.widths
        self.channels = config.channels
        self.linears = nn.ModuleList(nn.Linear(2 * width, size) for width in widths)

    def features(self, k, band):
        each = self.norms[k](band).unflatten(-1, (self.channels, -1))  # (..., T, C, 2 W)
        return self.linears[k](each).flatten(-2)  # (..., T, N)


@stands("head", "options")
class OptionHead(MaskHead):
    """A head with other hidden layers, activation, width, order or real gains; see MaskConfig."""

    def make(self, config: ModelConfig, sizes):
        mask, widths = config.mask, config.bands.widths
        self.scrambled = mask.order == "scrambled"
        self.activation = ACTIVATIONS[mask.activation]
        if mask.activation == "leaky-relu":
            self.activation = partial(F.leaky_relu, negative_slope=mask.slope)
        if mask.activation == "elu":
            self.activation = partial(F.elu, alpha=mask.alpha)
        self.norms = nn.ModuleList(norm(mask.norm, config.features, config) for _ in sizes)
        self.hidden, self.out = nn.ModuleList(), nn.ModuleList()
        self.bottleneck = nn.ModuleList() if mask.bottleneck else None
        for width, size in zip(widths, sizes, strict=True):
            units = mask.units(config.features, max(widths) - width)
            before = [config.features] + [units] * mask.hidden_layers
            self.hidden.append(nn.ModuleList(nn.Linear(*step) for step in pairwise(before)))
            last = before[-1]
            if self.bottleneck is not None:
                self.bottleneck.append(nn.Linear(last, size))
                last = size
            self.out.append(nn.Linear(last, 2 * size))

    def values(self, k, x):
        x = self.norms[k](x)
        for linear in self.hidden[k]:
            x = self.activation(linear(x))
        if self.bottleneck is not None:
            x = self.bottleneck[k](x)
        x = F.glu(self.out[k](x))  # (..., T, C 2 W), or (..., T, C W) for real gains
        if self.scrambled:  # crlandsc reads the memory of (T, C 2 W) as if it were (C 2 W, T)
            x = x.reshape(*x.shape[:-2], x.shape[-1], x.shape[-2]).mT
        return x

    def forward(self, z):
        return super().forward(z) if self.numbers == 2 else self.parts(z)[0]


@stands("film", "paper")
class Film(nn.Module):
    """Condition features (B, K, T, N) on an embedding (B, size): norm, then gain and offset per
    feature, or one of them (Banquet)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        size = config.features
        self.norm = GroupNorm.of(size, config, max(size // 16, 1))
        for part in (config.film,) if config.film else ("gain", "offset"):
            layers = nn.Linear(config.query, size), nn.ELU(), nn.Linear(size, size)
            setattr(self, part, nn.Sequential(*layers))

    def forward(self, z, query):
        y = self.norm(z.flatten(1, 2)).unflatten(1, z.shape[1:3])  # over K T places
        if hasattr(self, "gain"):
            y = self.gain(query)[:, None, None] * y
        if hasattr(self, "offset"):
            y = y + self.offset(query)[:, None, None]
        return y


@stands("merge", "paper")
def sum_neighbours(spectrum, config: ModelConfig):
    """Each bin of (..., F, T) becomes the sum of the bins around it in its band (magronp)."""
    reach, sums = config.mask.context, []
    for lo, hi in config.bands.ranges:
        band = F.pad(spectrum[..., lo:hi, :], (0, 0, reach, reach))  # (..., W + 2 reach, T)
        sums.append(sum(band.narrow(-2, shift, hi - lo) for shift in range(2 * reach + 1)))
    return torch.cat(sums, dim=-2)


# ---- Layers on rows ------------------------------------------------------------------------------


@stands("layer", "heads")
class FeatureHeads(nn.Module):
    """Groups of features as rows of their own through one layer (magronp's multi-head)."""

    def __init__(self, config: ModelConfig, settings):
        super().__init__()
        self.heads = settings.heads
        self.layer = at("layer", settings.kind)(config, settings)

    def forward(self, x):
        parts = x.unflatten(-1, (self.heads, -1)).movedim(-2, 1)  # (rows, heads, places, N / heads)
        rows = self.layer(parts.flatten(0, 1))  # (rows heads, places, N / heads)
        return rows.unflatten(0, parts.shape[:2]).movedim(1, -2).flatten(-2)  # (rows, places, N)


@stands("layer", "conv")
class Convolution(nn.Module):
    """x + linear(relu(conv(norm(x)))): magronp's `conv` layers."""

    def __init__(self, config: ModelConfig, settings):
        super().__init__()
        features = config.features // settings.heads
        units = settings.units(config.features)
        groups = units_of(settings.norm_groups, features)
        self.norm = norm(settings.norm, features, config, groups)
        self.conv = nn.Conv1d(features, units, kernel_size=3, padding=1)
        self.linear = nn.Linear(units, features)

    def forward(self, x):
        y = self.conv(self.norm(x).mT).relu()  # (rows, units, places)
        return x + self.linear(y.mT)  # (rows, places, N)


@stands("layer", "dilated")
class Dilated(nn.Module):
    """Dilated convolutions in series, each joined with its neighbours: the BSCNN of magronp.

    in -> D convolutions of dilation 1, 2, 4 ... -> D convolutions, each over the outputs l - 1, l
    and l + 1 that exist -> out, on all of those.
    """

    def __init__(self, config: ModelConfig, settings):
        super().__init__()
        features, units = config.features, settings.units(config.features)
        self.depth, kernel = settings.dilations, settings.kernel
        self.first = NormConv(features, units, kernel, config.norm_eps)
        self.series, self.joined = nn.ModuleList(), nn.ModuleList()
        for l in range(self.depth):
            self.series.append(NormConv(units, units, kernel, dilation=2**l))
            self.joined.append(NormConv(units * len(self._around(l)), units, kernel))
        self.last = NormConv(units * max(self.depth, 1), features, kernel, config.norm_eps)

    def _around(self, l):
        return range(max(l - 1, 0), min(l + 2, self.depth))

    def forward(self, x):
        y = self.first(x)
        outputs, joined = [], []
        for conv in self.series:
            outputs.append(conv(outputs[-1] if outputs else y))
        for l, conv in enumerate(self.joined):
            joined.append(conv(torch.cat([outputs[i] for i in self._around(l)], dim=-1)))
        return x + self.last(torch.cat(joined, dim=-1) if joined else y)  # (rows, places, N)


class NormConv(nn.Module):
    """relu(conv(norm(x))) on rows (rows, places, in) -> (rows, places, out)."""

    def __init__(self, size_in, size_out, kernel, eps=1e-5, dilation=1):
        super().__init__()
        self.norm = Norm(size_in, eps)
        self.conv = nn.Conv1d(size_in, size_out, kernel, padding="same", dilation=dilation)

    def forward(self, x):
        return self.conv(self.norm(x).mT).relu().mT


@stands("layer", "attention-lstm")
class AttentionLSTM(nn.Module):
    """x + attention(x), then x + linear(LSTM(x)): amanteur's `att` bottleneck, 4 heads."""

    def __init__(self, config: ModelConfig, settings):
        super().__init__()
        features, units = config.features, settings.units(config.features)
        both = settings.bidirectional
        groups = units_of(settings.norm_groups, features)
        # The original computes this norm and drops it; kept so that its files round-trip.
        self.norm = norm(settings.norm, features, config, groups)
        self.attention = nn.MultiheadAttention(features, 4, batch_first=True)
        self.rnn = nn.LSTM(features, units, batch_first=True, bidirectional=both)
        self.linear = nn.Linear(units * (1 + both), features)

    def forward(self, x):
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return x + self.linear(self.rnn(x)[0])


@stands("layer", "transformer")
class Transformer(nn.TransformerEncoderLayer):
    """torch's layer; its dropout is the original's, active in training only (BandIt)."""

    def __init__(self, config: ModelConfig, settings):
        units = settings.units(config.features)
        heads = settings.transformer_heads
        super().__init__(config.features, heads, units, dropout=0.1, batch_first=True)


@stands("sequence", "transformer")
class TransformerSequence(Sequence):
    """A norm before the first block (BandIt)."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.first_norm = LayerNorm(config.features, config.norm_eps)

    def forward(self, z):
        z = self.first_norm(z)
        for block in self.blocks:
            z = self.run(block, z)
        return z


# ---- Blocks --------------------------------------------------------------------------------------


@stands("layer", "plane-conv")
class PlaneConvolution(nn.Module):
    """z + conv1x1(tanhshrink(conv3x3(norm(z)))) over the plane of bands and time (BandIt)."""

    def __init__(self, config: ModelConfig, settings):
        super().__init__()
        features, units = config.features, settings.units(config.features)
        self.norm = nn.InstanceNorm2d(features, affine=True)
        self.conv = nn.Conv2d(features, units, kernel_size=3, padding="same")
        self.linear = nn.Conv2d(units, features, kernel_size=1)

    def forward(self, z):
        y = self.norm(z.permute(0, 3, 1, 2))  # (B, N, K, T)
        y = self.linear(F.tanhshrink(self.conv(y)))
        return z + y.permute(0, 2, 3, 1)  # (B, K, T, N)


@stands("block", "plane-conv")
class PlaneBlock(Block):
    """Two layers over the whole plane."""

    def forward(self, z):
        return self.band(self.time(z))


@stands("block", "coupled")
class CoupledBlock(Block):
    """Time, then band unless there is none (BSCNN), then what couples channels or frames."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.tac = Tac(config) if config.tac else None
        self.attention = FrameAttention(config) if config.attention else None

    def forward(self, z):
        z = self.rows(self.time, z) if self.band is None else super().forward(z)
        for couple in (self.tac, self.attention):
            z = z if couple is None else couple(z)
        return z


class Tac(nn.Module):
    """Transform, average, concatenate: the channels of an item hear each other (oBSRNN).

    For channel vectors x_c: v_c = a(W1 x_c); r = a(W2 mean_c v_c); x_c + a(W3 [v_c; r]), with
    a = tanh, or a PReLU whose one slope the three layers share.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        features, units = config.features, config.features * config.tac.factor
        self.channels = config.channels
        self.transform = nn.Linear(features, units)
        self.average = nn.Linear(units, units)
        self.concat = nn.Linear(2 * units, features)
        learned = config.tac.activation == "prelu"
        self.slope = nn.Parameter(torch.tensor([0.25])) if learned else None

    def _activate(self, x):
        return torch.tanh(x) if self.slope is None else F.prelu(x, self.slope.to(x.dtype))

    def forward(self, z):
        each = self._activate(self.transform(z)).unflatten(0, (-1, self.channels))
        mean = self._activate(self.average(each.mean(dim=1, keepdim=True)))  # (B, 1, K, T, units)
        both = torch.cat([each, mean.expand_as(each)], dim=-1)  # (B, C, K, T, 2 units)
        return z + self._activate(self.concat(both)).flatten(0, 1)  # (B C, K, T, N)
