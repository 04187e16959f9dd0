"""D3Net: densely connected multi-dilated convolutions on magnitudes, before band-splitting.

Its bands are two, low and high, each with a `Stack` of its own beside one for the full band. Axes
inside the network are (B, C, T, F), time before frequency, as in the original's weights.

References: Takahashi and Mitsufuji 2021, "Densely connected multidilated convolutional networks
for dense prediction tasks", arXiv 2011.11844; code and weights: github sony/ai-research-code,
d3net/music-source-separation. Lesson 11.
"""

import math
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from bsrnn.audio.stft import istft, stft
from bsrnn.common import UsageError
from bsrnn.models.bsrnn import Estimate
from bsrnn.models.zoo.d3net_config import D3NetConfig, StackConfig, TargetConfig
from bsrnn.models.zoo.wiener import wiener

STATISTICS = 64  # training examples from which the input's mean and deviation are taken


class NormConv(nn.Module):
    """Batch norm, ReLU, 3x3 convolution that keeps the size."""

    def __init__(self, size_in, size_out, dilation):
        super().__init__()
        self.norm = nn.BatchNorm2d(size_in)
        self.conv = nn.Conv2d(size_in, size_out, 3, padding=dilation, dilation=dilation)

    def forward(self, x):
        return self.conv(F.relu(self.norm(x)))


class Dense(nn.Module):
    """n sources of `growth` channels; layer i adds to every later source; the last is returned."""

    def __init__(self, growth, layers):
        super().__init__()
        self.growth, self.layers = growth, nn.ModuleList(layers)

    def forward(self, x):
        sources = list(self.layers[0](x).split(self.growth, dim=1))  # (B, n g, T, F) -> n of them
        for number, layer in enumerate(self.layers[1:]):
            for place, part in enumerate(layer(sources[number]).split(self.growth, dim=1)):
                sources[number + 1 + place] = sources[number + 1 + place] + part
        return sources[-1]  # (B, g, T, F)


def d2(size_in, growth, layers) -> Dense:
    """D2 block (section 3.1 of the paper): convolutions, the dilation doubles with each source."""
    sizes = [size_in] + [growth] * (layers - 1)
    parts = [NormConv(size, growth * (layers - i), 2**i) for i, size in enumerate(sizes)]
    return Dense(growth, parts)


def d3(size_in, growth, layers, blocks) -> Dense:
    """D3 block: the same pattern of D2 blocks."""
    sizes = [size_in] + [growth] * (blocks - 1)
    parts = [d2(size, growth * (blocks - i), layers) for i, size in enumerate(sizes)]
    return Dense(growth, parts)


class NormUp(nn.Module):
    """Batch norm and a transposed 2x2 convolution that doubles both axes."""

    def __init__(self, size_in, size_out):
        super().__init__()
        self.norm = nn.BatchNorm2d(size_in)
        self.conv = nn.ConvTranspose2d(size_in, size_out, 2, stride=2)

    def forward(self, x):
        return self.conv(self.norm(x))


class Stack(nn.Module):
    """Multi-scale stack of D3 blocks: (B, n, T, F) -> (B, growth[-1], T, F)."""

    def __init__(self, config: StackConfig):
        super().__init__()
        depth, size, skips = config.depth, config.first, []
        self.down, self.upsample, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleDict()
        for i in range(depth):
            self.down.append(d3(size, config.growth[i], config.layers[i], config.blocks[i]))
            size = config.growth[i]
            skips.append(size)
        parts = config.growth[depth], config.layers[depth], config.blocks[depth]
        self.bottom, size = d3(size, *parts), parts[0]
        for i in range(depth + 1, 2 * depth + 1):
            kept = math.ceil(config.compression[i - 1] * size)
            self.upsample.append(NormUp(size, kept))
            parts = config.growth[i], config.layers[i], config.blocks[i - 1]
            self.up[str(i)] = d3(kept + skips.pop(), *parts)
            size = parts[0]
        self.size_out = size

    def forward(self, x):
        skips = []
        for block in self.down:
            skips.append(block(x))
            x = F.avg_pool2d(skips[-1], 2)  # (B, n, T / 2, F / 2)
        x = self.bottom(x)
        for upsample, block in zip(self.upsample, self.up.values(), strict=True):
            x = block(torch.cat([upsample(x), skips.pop()], dim=1))  # (B, n, 2 T, 2 F)
        return x


class D3Net(nn.Module):
    """Magnitude of the mixture (B, C, T, F) -> magnitude of the target, the same shape.

    The target is estimated directly, not by a mask; bins above the last edge are the mixture's. T
    must be a multiple of `config.step`.
    """

    def __init__(self, config: TargetConfig, channels: int, bins: int):
        super().__init__()
        self.config, edges = config, (0, *config.edges)
        self.offset = nn.Parameter(torch.zeros(1, 1, 1, bins))
        self.scale = nn.Parameter(torch.ones(1, 1, 1, bins))
        self.first = nn.ModuleList(nn.Conv2d(channels, s.first, 3, padding=1) for s in config.bands)
        self.first_full = nn.Conv2d(channels, config.full.first, 3, padding=1)
        self.stacks = nn.ModuleList(Stack(stack) for stack in config.bands)
        self.full = Stack(config.full)
        widest = max(stack.size_out for stack in self.stacks)
        self.match = nn.ModuleDict()  # brings the other bands to as many channels
        for band, stack in enumerate(self.stacks):
            if stack.size_out < widest:
                norm, conv = nn.BatchNorm2d(stack.size_out), nn.Conv2d(stack.size_out, widest, 1)
                self.match[str(band)] = nn.Sequential(norm, conv)
        size = widest + self.full.size_out
        self.last = d2(size, config.last_growth, config.last_layers)
        self.gate_norm = nn.BatchNorm2d(config.last_growth)
        self.gate = nn.Conv2d(config.last_growth, channels, 1)
        self.filter = nn.Conv2d(config.last_growth, channels, 1)
        self.out_scale = nn.Parameter(torch.ones(1, 1, 1, edges[-1]))
        self.out_bias = nn.Parameter(torch.ones(1, 1, 1, edges[-1]))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, magnitude):
        edges = (0, *self.config.edges)
        z = (magnitude - self.offset) / self.scale
        found = []
        for band, (lo, hi) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
            y = self.stacks[band](self.first[band](z[..., lo:hi]))  # (B, n, T, W)
            found.append(self.match[str(band)](y) if str(band) in self.match else y)
        full = self.full(self.first_full(z[..., : edges[-1]]))  # (B, n, T, all W)
        h = self.last(torch.cat([torch.cat(found, dim=-1), full], dim=1))
        h = self.gate_norm(h)
        y = torch.sigmoid(self.gate(h)) * self.filter(h)  # (B, C, T, all W)
        y = F.relu(y * self.out_scale + self.out_bias)
        return torch.cat([y, magnitude[..., edges[-1] :]], dim=-1)  # (B, C, T, F)


def in_patches(network, magnitude, patch, shift, flip=True, overlap="covered"):
    """Mean of `network` over overlapping patches of frames: (B, C, T, F) -> the same shape.

    flip: also over exchanged channels. overlap: as in D3NetConfig.
    """
    frames, times = magnitude.shape[-2], patch // shift
    before, after = patch - shift, patch - frames % patch
    padded = F.pad(magnitude, (0, 0, before, after + patch))  # (B, C, T', F)
    total, counts = torch.zeros_like(padded), magnitude.new_zeros(padded.shape[-2], 1)
    for start in range(0, frames + after, shift):
        part = padded[..., start : start + patch, :]
        if flip:
            both = network(torch.cat([part, part.flip(1)]))  # (2 B, C, patch, F)
            one, other = both.chunk(2)
            found = (one + other.flip(1)) / 2
        else:
            found = network(part)
        total[..., start : start + patch, :] += found
        counts[start : start + patch] += 1
    kept = slice(before, before + frames)
    return total[..., kept, :] / (times if overlap == "published" else counts[kept])


class D3NetSeparator(nn.Module):
    """Mixture (B, C, L) -> stems (B, S, C, L): a network per stem, then one Wiener filter.

    In training mode the networks alone run, on the whole input, without patches, flip or filter;
    frames beyond a multiple of 16 are left out, as in the original (256 of the 259 of 6 s).

    >>> separator = D3NetSeparator(D3NetConfig(("vocals", "drums")))
    >>> separator.sample_rate, sum(p.numel() for p in separator.parameters())
    (44100, 5840691)
    """

    def __init__(self, config: D3NetConfig, passport: dict | None = None):
        super().__init__()
        self.config, self.passport = config, dict(passport or {})
        self.networks = nn.ModuleDict(
            {
                stem: D3Net(target, config.channels, config.stft.bins)
                for stem, target in zip(config.stems, config.targets, strict=True)
            }
        )

    stems = property(lambda self: self.config.stems)
    sample_rate = property(lambda self: self.config.sample_rate)
    channels = property(lambda self: self.config.channels)

    def forward(self, mixture):
        """Waveforms (B, S, C, L)."""
        return self.estimate(mixture).waveforms

    def estimate(self, mixture) -> Estimate:
        """Waveforms (B, S, C, L) and complex spectra (B, S, C, F, T)."""
        config, samples = self.config, mixture.shape[-1]
        if mixture.dim() != 3 or mixture.shape[1] != config.channels:
            shape = tuple(mixture.shape)
            raise UsageError(f"mixture has shape {shape}: give (B, {config.channels}, L)")
        if self.training:
            spectrum = stft(mixture, config.stft)  # (B, C, F, T)
            step = max(target.step for target in config.targets)
            spectrum = spectrum[..., : spectrum.shape[-1] // step * step]
            if not spectrum.shape[-1]:
                raise UsageError(f"training needs {step} frames: {step * config.stft.hop} samples")
        else:
            spectrum = stft(mixture, replace(config.stft, padding="constant"))
        spectra = torch.polar(self.magnitudes(spectrum.abs()), spectrum.angle()[:, None])
        if config.wiener and len(config.stems) > 1 and not self.training:
            spectra = wiener(spectra, spectrum)
        missing = config.stft.frames(samples) - spectra.shape[-1]
        waveforms = istft(F.pad(spectra, (0, missing)), config.stft, samples)
        return Estimate(waveforms, spectra)

    def magnitudes(self, magnitude):
        """Magnitudes of the targets (B, S, C, F, T) from that of the mixture (B, C, F, T)."""
        config, x = self.config, magnitude.mT  # (B, C, T, F)
        flip = config.flip and config.channels == 2
        estimates = []
        for stem, target in zip(config.stems, config.targets, strict=True):
            network, sizes = self.networks[stem], (target.patch, target.shift)
            y = (
                network(x)
                if self.training
                else in_patches(network, x, *sizes, flip, config.overlap)
            )
            estimates.append(y)
        return torch.stack(estimates, dim=1).mT  # (B, S, C, F, T)

    def alone(self, stem: str) -> "D3NetSeparator":
        """A separator of one of the networks, which both then share."""
        place = self.stems.index(stem)
        config = replace(self.config, stems=(stem,), targets=self.config.targets[place : place + 1])
        with torch.device("meta"):
            made = D3NetSeparator(config, self.passport)
        made.networks[stem] = self.networks[stem]
        return made.train(self.training)

    @classmethod
    def joined(cls, separators, passport: dict | None = None) -> "D3NetSeparator":
        """One separator of the networks of several, so that they share the Wiener filter."""
        networks = {stem: net for each in separators for stem, net in each.networks.items()}
        targets = tuple(target for each in separators for target in each.config.targets)
        config = replace(separators[0].config, stems=tuple(networks), targets=targets)
        with torch.device("meta"):  # the weights are those of the networks
            made = cls(config, {"family": "d3net", **(passport or {})})
        made.networks.update(networks)
        return made.train(separators[0].training)

    @torch.no_grad()
    def prepare(self, mixer) -> None:
        """Before training: offset and scale of the input from the first mixtures of `mixer`.

        The mean and the deviation of each bin's magnitude, the deviation at least 1e-4 of the
        largest. The original takes all training songs; here it is STATISTICS examples.
        """
        sums = torch.zeros(2, self.config.stft.bins, dtype=torch.float64)
        count = 0
        for index in range(STATISTICS):
            mixture = torch.as_tensor(mixer[index]["mixture"])
            magnitude = stft(mixture, self.config.stft).abs().double().mean(0)  # (F, T)
            sums += torch.stack([magnitude.sum(-1), magnitude.square().sum(-1)])
            count += magnitude.shape[-1]
        mean, square = sums / count
        deviation = (square - mean.square()).clamp(min=0).sqrt()
        for network in self.networks.values():
            network.offset.copy_(mean)
            network.scale.copy_(torch.maximum(deviation, 1e-4 * deviation.max()))
