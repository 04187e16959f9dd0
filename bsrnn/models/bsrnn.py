"""The band-split network of Luo and Yu, section III of the paper from top to bottom.

    split     the bins of each band become N features                 (B, C, F, T) -> (B, K, T, N)
    sequence  R blocks: residual layers along time, then across bands (B, K, T, N) -> (B, K, T, N)
    masks     one head per stem turns features back into bins         (B, K, T, N) -> (B, C, F, T)
    merge     masks times mixture, inverse STFT                       -> (B, S, C, L)

Lesson 05 writes these classes under the same names; its weights load here. What others put in
their places stands in `layers.py`, what only makes the same sums faster in `cpu.py`.

Reference: Luo and Yu 2022, "Music Source Separation with Band-split RNN", arXiv 2209.15174.
Lesson 05.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bsrnn.audio.stft import istft, stft
from bsrnn.models.blocks import RNNBlock, units_of
from bsrnn.models.config import ModelConfig
from bsrnn.models.places import at, stands


class Estimate(NamedTuple):
    """What a separator returns: waveforms (B, S, C, L), complex spectra (B, S, C, F, T) or None."""

    waveforms: torch.Tensor
    spectra: torch.Tensor | None


# ---- Section III-A: the band split ---------------------------------------------------------------


@stands("norm", "paper")
class Norm(nn.Module):
    """Zero mean, unit variance over the places of a row and N together: (B K, T, N) -> the same."""

    def __init__(self, features, eps=1e-7):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(features))
        self.offset = nn.Parameter(torch.zeros(features))
        self.eps = eps

    @classmethod
    def of(cls, features: int, config: ModelConfig, groups: int):
        """The norm of a network with these settings."""
        return cls(features, config.norm_eps)

    def forward(self, x):
        return self.scaled(x, self.gain, self.offset)

    def scaled(self, x, gain, offset):
        return torch.addcmul(offset, F.layer_norm(x, x.shape[-2:], eps=self.eps), gain)


def norm(kind: str, features: int, config: ModelConfig, groups: int = 1):
    """The norm called `kind` in a ModelConfig."""
    return at("norm", kind if groups == 1 else "groups").of(features, config, groups)


@stands("split", "paper")
class BandSplit(nn.Module):
    """Spectrum (B, C, F, T) -> features (B, K, T, N); each band has its own weights.

    C is 1 where channels are items of the batch. Real numbers (B, C, T, F, 2) are taken, too.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.ranges = config.bands.ranges
        sizes = [2 * config.joint_channels * width for width in config.bands.widths]
        self.norms = nn.ModuleList(norm(config.split.norm, size, config) for size in sizes)
        self.linears = nn.ModuleList(nn.Linear(size, config.features) for size in sizes)

    def forward(self, spectrum):
        if spectrum.is_complex():
            spectrum = torch.view_as_real(spectrum.mT)  # (B, C, T, F, 2)
        features = []
        for k, (lo, hi) in enumerate(self.ranges):
            band = spectrum[..., lo:hi, :].permute(0, 2, 1, 4, 3)  # (B, T, C, 2, W)
            features.append(self.features(k, band.flatten(2)))  # (B, T, N)
        return torch.stack(features, dim=1)  # (B, K, T, N)

    def features(self, k, band):
        """Band k: (B, T, C 2 W) -> (B, T, N)."""
        return self.linears[k](self.norms[k](band))


# ---- Section III-B: the sequence -----------------------------------------------------------------


@stands("layer", "rnn")
class ResidualRNN(nn.Module):
    """x + linear(RNN(norm(x))) on rows: (B K, T, N) along time, (B T, K, N) across bands."""

    def __init__(self, config: ModelConfig, settings: RNNBlock):
        super().__init__()
        features = config.features // settings.heads
        hidden = settings.units(config.features)
        groups = units_of(settings.norm_groups, features)
        rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[settings.rnn]
        both = settings.bidirectional
        self.norm = norm(settings.norm, features, config, groups)
        self.rnn = rnn(features, hidden, batch_first=True, bidirectional=both)
        self.linear = nn.Linear(hidden * (1 + both), features)

    def forward(self, x):
        y, _ = self.rnn(self.norm(x))  # (B K, T, 2 hidden), or (B T, K, 2 hidden)
        return x + self.linear(y)  # (B K, T, N), or (B T, K, N)


def layer(config: ModelConfig, settings):
    """The layer along one axis that a kind of block names; None if there is none."""
    if settings is None:
        return None
    return at("layer", settings.kind if settings.heads == 1 else "heads")(config, settings)


@stands("block", "paper")
class Block(nn.Module):
    """Along time, then across bands: (B, K, T, N) -> (B, K, T, N)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.time = layer(config, config.block.time)
        self.band = layer(config, config.block.band)

    def forward(self, z):
        z = self.rows(self.time, z)  # every band is a sequence of frames
        z = self.rows(self.band, z.transpose(1, 2))  # (B, T, K, N): every frame one of bands
        return z.transpose(1, 2)  # (B, K, T, N)

    def rows(self, layer, z):
        """`layer` on z (B, K, T, N), K rows of T frames, or (B, T, K, N), T rows of K bands."""
        return layer(z.flatten(0, 1)).unflatten(0, z.shape[:2])  # (B K, T, N) and back


@stands("sequence", "paper")
class Sequence(nn.Sequential):
    """R blocks, one after the other: (B, K, T, N) -> (B, K, T, N)."""

    recompute = False  # in training, forget what is inside a block: gradient checkpointing

    def __init__(self, config: ModelConfig):
        super().__init__(*(at("block", config.block_kind)(config) for _ in range(config.repeats)))

    @property
    def blocks(self) -> list[Block]:
        return [step for step in self.children() if isinstance(step, Block)]

    def run(self, step, *inputs):
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(step, *inputs, use_reentrant=False)
        return step(*inputs)

    def forward(self, z):
        for step in self:
            z = self.run(step, z)
        return z


# ---- Section III-C: the masks --------------------------------------------------------------------


@stands("head", "paper")
class MaskHead(nn.Module):
    """Features (B, K, T, N) -> complex mask (B, C, F, T) of one stem; bands that overlap add up."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        bands = config.bands
        self.ranges, self.bins, self.shares = bands.ranges, bands.bins, config.shares
        self.channels = config.joint_channels
        self.numbers = config.mask.numbers  # for a bin: real and imaginary part
        sizes = [self.channels * self.numbers * width for width in bands.widths]
        self.make(config, sizes)

    def make(self, config: ModelConfig, sizes):
        size, hidden = config.features, units_of(config.mask.hidden, config.features)
        self.norms = nn.ModuleList(norm(config.mask.norm, size, config) for _ in sizes)
        self.hidden = nn.ModuleList(nn.Linear(size, hidden) for _ in sizes)
        self.out = nn.ModuleList(nn.Linear(hidden, 2 * count) for count in sizes)

    def values(self, k, x):
        """Band k: (B, T, N) -> (B, T, C 2 W), each value behind a gate; nothing bounds it."""
        y = torch.tanh(self.hidden[k](self.norms[k](x)))  # (B, T, hidden)
        return F.glu(self.out[k](y))  # (B, T, C 4 W) -> (B, T, C 2 W)

    def parts(self, z):
        """Real and imaginary part: (2, B, C, F, T)."""
        exact = torch.promote_types(z.dtype, torch.float32)  # half precision: no complex numbers
        shape = self.numbers, len(z), self.channels, self.bins, z.shape[2]  # (2, B, C, F, T)
        mask = torch.zeros(shape, dtype=exact, device=z.device)
        for k, (lo, hi) in enumerate(self.ranges):
            y = self.values(k, z[:, k]).unflatten(-1, (self.channels, self.numbers, hi - lo))
            share = 1 if self.shares is None else z.new_tensor(self.shares[k])[:, None]  # (W, 1)
            mask[..., lo:hi, :] += share * y.permute(3, 0, 2, 4, 1)  # (B, T, C, 2, W) -> mask's
        return mask

    def forward(self, z):
        return torch.complex(*self.parts(z))


# ---- The whole -----------------------------------------------------------------------------------


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
        self.split = at("split", config.channel_handling)(config)
        self.sequence = at("sequence", config.block.kind)(config)
        self.film = at("film", "film")(config) if config.query else None
        self.masks = nn.ModuleDict({s: at("head", config.mask.form)(config) for s in config.heads})

    stems = property(lambda self: self.config.stems)
    sample_rate = property(lambda self: self.config.sample_rate)

    def forward(self, mixture, stems=None, query=None):
        """Waveforms (B, S, C, L) of `stems` (all of them if None, else only their heads run).
        `query` (B, size) is the embedding of a conditioned network."""
        return self.estimate(mixture, stems, query).waveforms

    def estimate(self, mixture, stems=None, query=None) -> Estimate:
        """Waveforms (B, S, C, L) and complex spectra (B, S, C, F, T) of `stems`."""
        config = self.config
        stems = config.stems if stems is None else tuple(stems)
        config.check_input(mixture, stems, query)
        channels = mixture.shape[1]
        spectrum = stft(mixture, config.stft)  # (B, C, F, T)
        folded = config.channel_handling == "independent"
        if folded:
            spectrum = spectrum.flatten(0, 1).unsqueeze(1)  # (B C, 1, F, T)
        if config.split.standardise:
            mean = spectrum.mean(dim=(1, 2, 3), keepdim=True)
            deviation = spectrum.std(dim=(1, 2, 3), keepdim=True)  # of complex numbers: real
            spectrum = (spectrum - mean) / (deviation + 1e-5)
        z = self.sequence(self.split(spectrum))  # (B, K, T, N)
        if self.film is not None:
            z = self.film(z, query.repeat_interleave(channels, 0) if folded else query)
        spectra = self.merge(spectrum, z, stems)  # (B, S, C, F, T)
        if config.split.standardise:
            spectra = spectra * deviation[:, None] + mean[:, None]  # (B, 1, 1, 1, 1)
        if folded:
            spectra = spectra.squeeze(2).unflatten(0, (-1, channels))  # (B, C, S, F, T)
            spectra = spectra.transpose(1, 2)  # (B, S, C, F, T)
        return Estimate(istft(spectra, config.stft, mixture.shape[-1]), spectra)

    def merge(self, spectrum, z, stems):
        """Mixture (B, C, F, T) and features (B, K, T, N) -> spectra (B, S, C, F, T)."""
        config = self.config
        rest = config.stems[-1] if config.residual_last else None
        spectra = {}
        for stem in config.heads if rest in stems else stems:  # what is left needs every head
            mask = self.masks[stem](z)  # (B, C, F, T)
            spectra[stem] = mask if config.mask.output == "spectrum" else mask * spectrum
            if config.mask.context:
                spectra[stem] = at("merge", "context")(spectra[stem], config)
        if rest in stems:
            spectra[rest] = spectrum - sum(spectra.values())
        whole = torch.stack([spectra[stem] for stem in stems], dim=1)  # (B, S, C, F, T)
        if config.mask.zero_dc:
            whole = whole * (torch.arange(whole.shape[-2], device=whole.device) > 0)[:, None]
        return whole
