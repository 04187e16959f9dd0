"""BandSplitSeparator: the one definition of a band-split network. It reads like the paper:

    split     the bins of each band become N features                  (B, C, F, T) -> (B, K, T, N)
    sequence  residual layers along time and across bands              (sequence.py)
    masks     one head per stem turns features back into bins          (B, K, T, N) -> (B, C, F, T)
    merge     masks times mixture, inverse STFT                        -> (B, S, C, L)

What differs between publications is an option of ModelConfig. Bands of equal width share one
batched matrix product: their weights are stored stacked, (G, out, in) for G bands.

Reference: Luo and Yu 2022, "Music Source Separation with Band-split RNN", arXiv 2209.15174,
section III. Lessons 05 and 06.
"""

import math
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from bsrnn.audio.stft import istft, stft
from bsrnn.common import UsageError, choose
from bsrnn.models.attention import Norm
from bsrnn.models.blocks import each
from bsrnn.models.config import ModelConfig
from bsrnn.models.sequence import SequenceModel
from bsrnn.training.losses import Estimate

ACTIVATIONS = {
    "tanh": torch.tanh,
    "relu": F.relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "leaky-relu": F.leaky_relu,
}


def equal_widths(scheme) -> list[tuple[int, list[int]]]:
    """Bands by width, in order of first appearance: [(width in bins W, [band numbers])]."""
    found: dict[int, list[int]] = {}
    for band, (lo, hi) in enumerate(scheme.ranges):
        found.setdefault(hi - lo, []).append(band)
    return list(found.items())


class BandLinear(nn.Module):
    """G linear layers side by side: x (G, ..., in) -> (G, ..., out)."""

    def __init__(self, bands, features_in, features_out):
        super().__init__()
        limit = 1 / math.sqrt(features_in)  # torch's default for nn.Linear
        self.weight = nn.Parameter(torch.empty(bands, features_out, features_in))
        self.bias = nn.Parameter(torch.empty(bands, features_out))
        nn.init.uniform_(self.weight, -limit, limit)
        nn.init.uniform_(self.bias, -limit, limit)

    def forward(self, x):
        rows = x.flatten(1, -2)  # (G, rows, in)
        y = torch.baddbmm(self.bias[:, None], rows, self.weight.transpose(1, 2))
        return y.unflatten(1, x.shape[1:-1])  # (G, ..., out)


class SplitGroup(nn.Module):
    """The bands of one width: (G, B, T, C, 2, W) real and imaginary bins -> (G, B, T, N)."""

    def __init__(self, config: ModelConfig, width, bands):
        super().__init__()
        channels, size = config.joint_channels, config.joint_channels * 2 * width
        self.each_channel = config.channel_handling == "shared"
        self.norm = Norm(config.split_norm, size, config.norm_eps, 1, config.frames, bands)
        if self.each_channel:
            self.linear = BandLinear(bands, size // channels, config.features // channels)
        else:
            self.linear = BandLinear(bands, size, config.features)

    def forward(self, x):
        channels = x.shape[-3]
        x = self.norm(x.flatten(-3))  # (G, B, T, C 2 W)
        if self.each_channel:
            return self.linear(x.unflatten(-1, (channels, -1))).flatten(-2)  # (G, B, T, N)
        return self.linear(x)  # (G, B, T, N)


class BandSplit(nn.Module):
    """Spectrum (B, C, F, T), or as reals (B, C, T, F, 2), -> features (B, K, T, N), per band."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        scheme = config.bands
        self.groups = nn.ModuleList()
        self.bins, order = [], []
        for width, bands in equal_widths(scheme):
            self.groups.append(SplitGroup(config, width, len(bands)))
            self.bins.append([list(range(*scheme.ranges[band])) for band in bands])
            order += bands
        for number, bins in enumerate(self.bins):
            self.register_buffer(f"bins{number}", torch.tensor(bins), persistent=False)
        back = torch.tensor(order).argsort()  # features stand by width; bands by frequency
        self.register_buffer("back", back, persistent=False)

    def forward(self, spectrum):
        x = spectrum  # (B, C, T, F, 2) already, or complex (B, C, F, T)
        x = torch.view_as_real(x.mT) if x.is_complex() else x

        def features(number, group):
            bins = getattr(self, f"bins{number}")  # (G, W)
            part = x[..., bins, :]  # (B, C, T, G, W, 2)
            return group(part.permute(3, 0, 2, 1, 5, 4))  # (G, B, T, C, 2, W) -> (G, B, T, N)

        z = torch.cat(each(features, enumerate(self.groups), x)).index_select(
            0, self.back
        )  # (K, B, T, N)
        return z.transpose(0, 1)  # (B, K, T, N)


class MaskGroup(nn.Module):
    """The bands of one width: features (G, B, T, N) -> mask values (G, B, T, C P W).

    Norm, hidden layers, then a gated linear unit: value * sigmoid(gate). Nothing bounds the mask.
    P = 2 parts (real, imaginary), or 1 for a real mask.
    """

    def __init__(self, config: ModelConfig, width, bands):
        super().__init__()
        parts = 2 if config.mask_parts == "complex" else 1
        size = config.joint_channels * parts * width
        hidden = config.mask_units
        if config.mask_width == "narrow-for-wide":
            widest = max(hi - lo for lo, hi in config.bands.ranges)
            hidden = 3 * (widest - width + 1)
        sizes = [config.features] + [hidden] * config.mask_hidden_layers
        self.activation = ACTIVATIONS[config.mask_activation]
        if config.mask_activation == "leaky-relu":
            self.activation = partial(F.leaky_relu, negative_slope=config.mask_slope)
        self.norm = None
        if config.mask_norm != "none":
            self.norm = Norm(
                config.mask_norm, config.features, config.norm_eps, 1, config.frames, bands
            )
        self.hidden = nn.ModuleList(
            BandLinear(bands, before, after)
            for before, after in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.bottleneck = BandLinear(bands, sizes[-1], size) if config.mask_bottleneck else None
        self.out = BandLinear(bands, size if config.mask_bottleneck else sizes[-1], 2 * size)
        self.scrambled = config.mask_order == "scrambled"

    def forward(self, z):
        if self.norm is not None:
            z = self.norm(z)
        for linear in self.hidden:
            z = self.activation(linear(z))
        if self.bottleneck is not None:
            z = self.bottleneck(z)
        mask = F.glu(self.out(z))  # (G, B, T, C P W)
        if self.scrambled:  # reads (T, C P W) as if it were (C P W, T)
            mask = mask.reshape(*mask.shape[:2], *mask.shape[:1:-1]).transpose(2, 3)
        return mask


class MaskEstimator(nn.Module):
    """The head of one stem: features (B, K, T, N) -> mask (B, C, F, T), complex or real.

    Overlapping bands add up, each bin weighted by `overlap`; a bin of no band stays zero. `apart`:
    (P, B, C, F, T), real and imaginary parts as they are (`bsrnn.deploy`).
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        scheme = config.bands
        self.channels = config.joint_channels
        self.complex = config.mask_parts == "complex"
        self.bins_total = scheme.bins
        self.groups = nn.ModuleList()
        bins, weights = [], []
        for number, (width, bands) in enumerate(equal_widths(scheme)):
            self.groups.append(MaskGroup(config, width, len(bands)))
            self.register_buffer(f"bands{number}", torch.tensor(bands), persistent=False)
            for band in bands:
                bins += range(*scheme.ranges[band])
                if config.overlap == "weights" and scheme.weights is not None:
                    weights += scheme.weights[band].tolist()
        bins = np.array(bins)
        counts = np.bincount(bins, minlength=self.bins_total)
        if config.overlap == "mean":
            weights = 1 / counts[bins]
        self.disjoint = bool((counts == 1).all())
        order = torch.tensor(bins.argsort() if self.disjoint else bins)
        weights = torch.tensor(weights, dtype=torch.float32) if len(weights) else None
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, z, apart=False):
        def masked(number, group):
            part = group(z.transpose(0, 1)[getattr(self, f"bands{number}")])  # (G, B, T, C P W)
            parts = part.unflatten(-1, (self.channels, 1 + self.complex, -1))  # (G, B, T, C, P, W)
            return parts.permute(1, 2, 3, 4, 0, 5).flatten(-2)  # (B, T, C, P, G W)

        mask = torch.cat(each(masked, enumerate(self.groups), z), dim=-1)  # (B, T, C, P, all W)
        if mask.dtype.itemsize < 4:  # mixed precision: complex numbers need whole floats
            mask = mask.float()
        if self.weights is not None:
            mask = mask * self.weights
        if self.disjoint:
            mask = mask.index_select(-1, self.order)  # (B, T, C, P, F)
        else:
            empty = mask.new_zeros(*mask.shape[:-1], self.bins_total)
            mask = empty.index_add(-1, self.order, mask)  # (B, T, C, P, F)
        mask = mask.permute(3, 0, 2, 4, 1)  # (P, B, C, F, T)
        return mask if apart else torch.complex(*mask) if self.complex else mask[0]


class Film(nn.Module):
    """Condition features (B, K, T, N) on an embedding (B, Q): norm, then gain and offset per
    feature (Banquet; Perez et al. 2018, arXiv 1709.07871)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        size = config.features
        self.norm = Norm("group", size, config.norm_eps, max(size // 16, 1))
        self.gain, self.offset = (
            nn.Sequential(nn.Linear(config.query, size), nn.ELU(), nn.Linear(size, size))
            for _ in range(2)
        )

    def forward(self, z, query):
        y = self.norm(z.flatten(1, 2)).unflatten(1, z.shape[1:3])  # over K T positions
        return self.gain(query)[:, None, None] * y + self.offset(query)[:, None, None]


def standardise(spectrum):
    """(X - mean) / deviation over C, F and T of each item, with the mean and the deviation."""
    mean = spectrum.mean(dim=(1, 2, 3), keepdim=True)
    deviation = spectrum.std(dim=(1, 2, 3), keepdim=True)  # of complex numbers: real
    return (spectrum - mean) / (deviation + 1e-5), mean, deviation


def sum_neighbours(spectrum, reach, ranges):
    """Each bin of (..., F, T) becomes the sum of the bins within `reach` of it in its band."""
    return torch.cat(
        [
            sum(
                F.pad(band, (0, 0, reach, reach)).narrow(-2, shift, band.shape[-2])
                for shift in range(2 * reach + 1)
            )
            for band in (spectrum[..., lo:hi, :] for lo, hi in ranges)
        ],
        dim=-2,
    )


class BandSplitSeparator(nn.Module):
    """Mixture (B, C, L) -> stems (B, S, C, L), as `config` says.

    The parts `split`, `sequence` and `masks` (one head per stem) can be frozen, transferred and
    detached by name. `passport` says where the weights come from.

    >>> from bsrnn.models import presets
    >>> separator = BandSplitSeparator(presets()["tiny"])
    >>> separator(torch.zeros(1, 2, 44100)).shape
    torch.Size([1, 1, 2, 44100])
    """

    def __init__(self, config: ModelConfig, passport: dict | None = None):
        super().__init__()
        self.config = config
        self.passport = dict(passport or {})
        heads = config.stems[:-1] if config.residual_last else config.stems
        self.split = BandSplit(config)
        self.sequence = SequenceModel(config)
        self.film = Film(config) if config.query else None
        self.masks = nn.ModuleDict({stem: MaskEstimator(config) for stem in heads})

    @property
    def stems(self) -> tuple[str, ...]:
        return self.config.stems

    @property
    def sample_rate(self) -> int:
        return self.config.sample_rate

    def forward(self, mixture, stems=None, query=None):
        """Waveforms (B, S, C, L) of `stems` (all of them if None, else only their heads run).
        `query` (B, Q) is the embedding of a conditioned network."""
        return self.estimate(mixture, stems, query).waveforms

    def estimate(self, mixture, stems=None, query=None) -> Estimate:
        """Waveforms (B, S, C, L) and complex spectra (B, S, C, F, T) of `stems`."""
        config = self.config
        stems = config.stems if stems is None else tuple(stems)
        self._check(mixture, stems, query)
        channels = mixture.shape[1]
        spectrum = stft(mixture, config.stft)  # (B, C, F, T)
        folded = config.channel_handling == "independent"
        if folded:
            spectrum = spectrum.flatten(0, 1).unsqueeze(1)  # (B C, 1, F, T)
        if config.standardise:
            spectrum, mean, deviation = standardise(spectrum)
        z = self.sequence(self.split(spectrum))  # (B, K, T, N)
        if self.film is not None:
            z = self.film(z, query.repeat_interleave(channels, 0) if folded else query)
        subtract = config.residual_last and config.stems[-1] in stems  # needs every head
        heads = tuple(self.masks) if subtract else stems
        spectra = self.merge(spectrum, {stem: self.masks[stem](z) for stem in heads}, stems)
        if config.standardise:
            spectra = spectra * deviation[:, None] + mean[:, None]  # (B, 1, 1, 1, 1)
        if folded:
            spectra = spectra.unflatten(0, (-1, channels)).squeeze(3).transpose(1, 2)
        return Estimate(istft(spectra, config.stft, mixture.shape[-1]), spectra)

    def merge(self, spectrum, masks, stems):
        """Mixture (B, C, F, T) and masks (B, C, F, T) by stem -> spectra (B, S, C, F, T)."""
        config, found = self.config, dict(masks)
        if config.output == "mask":
            found = {stem: spectrum * mask for stem, mask in masks.items()}
        if config.mask_context:
            ranges, reach = config.bands.ranges, config.mask_context
            found = {stem: sum_neighbours(y, reach, ranges) for stem, y in found.items()}
        if config.residual_last and config.stems[-1] in stems:
            found[config.stems[-1]] = spectrum - sum(found.values())
        spectra = torch.stack([found[stem] for stem in stems], dim=1)  # (B, S, C, F, T)
        if config.zero_dc:
            keep = torch.arange(spectra.shape[-2], device=spectra.device) > 0
            spectra = spectra * keep[:, None]
        return spectra

    def _check(self, mixture, stems, query):
        config = self.config
        for stem in stems:
            choose(stem, config.stems, "stem of this separator")
        if not stems:
            raise UsageError(f"no stems asked for: name some of {', '.join(config.stems)}")
        if mixture.dim() != 3:
            raise UsageError(f"mixture has shape {tuple(mixture.shape)}: give (B, C, L)")
        channels, samples = mixture.shape[1:]
        if channels != config.channels and (config.joint_channels > 1 or config.tac):
            raise UsageError(
                f"mixture has {channels} channels: this separator needs {config.channels}"
            )
        if config.frames and config.stft.frames(samples) != config.frames:
            raise UsageError(
                f"{samples} samples: this separator takes chunks of {config.chunk_samples} only"
            )
        if bool(config.query) != (query is not None):
            raise UsageError(
                f"this separator needs a query (B, {config.query})"
                if config.query
                else "this separator takes no query"
            )
