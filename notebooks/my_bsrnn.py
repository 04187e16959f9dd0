"""What you wrote in earlier lessons, for the lessons that need it: `mine = course.earlier()`.

Lesson 05 wrote the network, lesson 07 mixer and training loop. Each definition is equal to that of
its lesson (a test compares them). A copy beside your notebook goes before this one: change it.
"""

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import bsrnn
from bsrnn import losses, models, training
from bsrnn.audio.stft import StftConfig
from bsrnn.data import mixing


class Norm(nn.Module):
    """Zero mean, unit variance over places and features together: rows of (places, N)."""

    def __init__(self, features, eps=1e-7):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(features))
        self.offset = nn.Parameter(torch.zeros(features))
        self.eps = eps

    def forward(self, x):
        mean = x.mean(dim=(-2, -1), keepdim=True)  # one for each row
        var = x.var(dim=(-2, -1), correction=0, keepdim=True)
        return (x - mean) / torch.sqrt(var + self.eps) * self.gain + self.offset


class BandSplit(nn.Module):
    """Spectrogram (B, F, T) complex -> features (B, K, T, N); each band has its own weights."""

    def __init__(self, ranges, features):
        super().__init__()
        self.ranges = ranges
        self.norms = nn.ModuleList(Norm(2 * (hi - lo)) for lo, hi in ranges)
        self.linears = nn.ModuleList(nn.Linear(2 * (hi - lo), features) for lo, hi in ranges)

    def forward(self, spectrum):
        found = []
        for (lo, hi), norm, linear in zip(self.ranges, self.norms, self.linears, strict=True):
            band = spectrum[:, lo:hi].transpose(1, 2)  # (B, W, T) -> (B, T, W)
            band = torch.cat([band.real, band.imag], dim=-1)  # (B, T, 2 W)
            found.append(linear(norm(band)))  # (B, T, N)
        return torch.stack(found, dim=1)  # (B, K, T, N)


class ResidualRNN(nn.Module):
    """x + linear(LSTM(norm(x))) on rows of (places, N)."""

    def __init__(self, features, hidden):
        super().__init__()
        self.norm = Norm(features)
        self.rnn = nn.LSTM(features, hidden, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * hidden, features)

    def forward(self, x):
        y, _ = self.rnn(self.norm(x))  # (rows, places, 2 hidden)
        return x + self.linear(y)  # (rows, places, N)


class Block(nn.Module):
    """Along time, then across bands: (B, K, T, N) -> (B, K, T, N)."""

    def __init__(self, features, hidden):
        super().__init__()
        self.time, self.band = ResidualRNN(features, hidden), ResidualRNN(features, hidden)

    def forward(self, z):
        B, K, T, N = z.shape
        z = self.time(z.reshape(B * K, T, N)).reshape(B, K, T, N)
        z = z.transpose(1, 2)  # (B, T, K, N)
        z = self.band(z.reshape(B * T, K, N)).reshape(B, T, K, N)
        return z.transpose(1, 2)  # (B, K, T, N)


def float_column(weights):
    """Weights (W,) of the bins of an overlapping band as a column (W, 1)."""
    return torch.tensor(weights, dtype=torch.float32)[:, None]


class MaskHead(nn.Module):
    """Features (B, K, T, N) -> complex mask (B, F, T) of one stem."""

    def __init__(self, scheme, features, hidden):
        super().__init__()
        self.scheme = scheme
        out = [4 * width for width in scheme.widths]
        self.norms = nn.ModuleList(Norm(features) for _ in out)
        self.hidden = nn.ModuleList(nn.Linear(features, hidden) for _ in out)
        self.out = nn.ModuleList(nn.Linear(hidden, size) for size in out)

    def forward(self, z):
        mask = z.new_zeros(len(z), self.scheme.bins, z.shape[2], dtype=torch.complex64)
        for k, (lo, hi) in enumerate(self.scheme.ranges):
            y = torch.tanh(self.hidden[k](self.norms[k](z[:, k])))  # (B, T, N) -> (B, T, hidden)
            y = F.glu(self.out[k](y))  # (B, T, 4 W) -> (B, T, 2 W)
            real, imaginary = y.transpose(1, 2).chunk(2, dim=1)  # (B, W, T) each
            weight = 1 if self.scheme.weights is None else float_column(self.scheme.weights[k])
            mask[:, lo:hi] += weight * torch.complex(real, imaginary)
        return mask


class BandSplitSeparator(nn.Module):
    """Mixture (B, C, L) -> stems (B, S, C, L)."""

    def __init__(self, scheme, stems, features, repeats, hidden, mask_hidden, n_fft, hop):
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.split = BandSplit(scheme.ranges, features)
        self.sequence = nn.Sequential(*(Block(features, hidden) for _ in range(repeats)))
        self.masks = nn.ModuleDict({s: MaskHead(scheme, features, mask_hidden) for s in stems})

    def forward(self, mixture):
        return self.estimate(mixture)[0]

    def estimate(self, mixture):
        """Stems (B, S, C, L), and the spectra (B, S, C, F, T) that they were made of."""
        B, C, L = mixture.shape
        window = torch.hann_window(self.n_fft, device=mixture.device)
        frame = {"n_fft": self.n_fft, "hop_length": self.hop, "window": window}
        spectrum = torch.stft(mixture.reshape(B * C, L), **frame, return_complex=True)
        z = self.sequence(self.split(spectrum))  # (B C, K, T, N)
        spectra = torch.stack([head(z) * spectrum for head in self.masks.values()], dim=1)
        spectra = spectra.unflatten(0, (B, C)).transpose(1, 2)  # (B C, S, F, T) -> (B, S, C, F, T)
        waveforms = torch.istft(spectra.flatten(0, 2), **frame, length=L)  # (B S C, L)
        return waveforms.unflatten(0, spectra.shape[:3]), spectra


def plan(profile, songs, stems=("vocals",), scheme="v4", seed=0):
    """What is trained (ModelConfig) and how (TrainConfig), from the presets of the package."""
    size, preset = {"smoke": ("tiny", "smoke"), "small": ("tiny", "small"), "full": ("paper",) * 2}[
        profile
    ]
    model = models.presets()[size].replace(
        stems=stems, scheme=scheme, sample_rate=songs.sample_rate
    )
    return model, replace(training.presets()[preset], seed=seed)


def network(config):
    """The network of lesson 05 in the size of a ModelConfig; weights have the package's names."""
    sizes = config.features, config.repeats, config.block.hidden, config.mask.hidden
    n_fft, hop = config.stft.n_fft, config.stft.hop
    mine = BandSplitSeparator(config.bands, config.stems, *sizes, n_fft, hop)
    mine.stems, mine.sample_rate = config.stems, config.sample_rate
    return mine


class Mixer:
    """Example n is a function of seed and n: for each stem a song, a moment and a gain."""

    def __init__(self, songs, targets, seconds, seed):
        self.songs, self.stems, self.targets, self.seed = list(songs), songs.stems, targets, seed
        shortest = min(song.samples for song in self.songs)
        self.samples = min(round(seconds * songs.sample_rate), shortest)

    def picks(self, n):
        """Of example n: for each stem its song, first sample and gain."""
        random, found = np.random.default_rng([self.seed, n]), {}
        together = random.random() < 0.5  # half of the examples: one moment of one song
        for stem in self.stems:
            for _ in range(10):  # a target should be heard: section 2
                if not (together and found):
                    song = self.songs[random.integers(len(self.songs))]
                    first = int(random.integers(song.samples - self.samples + 1))
                sound = song.read(stem, first, self.samples) if stem in self.targets else None
                if sound is None or mixing.activity(sound) > 0.5:
                    break
            gain = 10 ** (random.uniform(-6, 6) / 20) * (random.random() >= 0.1)
            found[stem] = song, first, gain
        return found


def example(mixer, n):
    """Example n of a mixer, of one channel: a mixture (C, L) and its targets (S, C, L)."""
    sounds = {
        stem: np.float32(gain) * song.read(stem, first, mixer.samples).mean(axis=0, keepdims=True)
        for stem, (song, first, gain) in mixer.picks(n).items()
    }  # stem -> (C, L)
    targets = np.stack([sounds[stem] for stem in mixer.targets])  # (S, C, L)
    return {"mixture": sum(sounds.values()), "targets": targets}


def train(model, draw, config, watch=None):
    """Adam on the examples draw(0), draw(1) ...: the loss of every step; `watch(step)` looks on."""
    frame = StftConfig(model.n_fft, model.hop)
    optimizer = torch.optim.Adam(model.parameters())
    curve = []
    for step in range(config.steps):
        model.train()
        drawn = [draw(step * config.batch + number) for number in range(config.batch)]
        mixture = torch.tensor(np.stack([e["mixture"] for e in drawn]))  # (B, C, L)
        targets = torch.tensor(np.stack([e["targets"] for e in drawn]))  # (B, S, C, L)

        for group in optimizer.param_groups:
            group["lr"] = config.lr_at(step)
        optimizer.zero_grad()
        waveforms, spectra = model.estimate(mixture)
        loss = losses.loss(config.loss, waveforms, spectra, targets, frame)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()

        curve.append(loss.item())
        if watch:
            model.eval()
            watch(step + 1)
    return curve


def pack(mine, config, settings, songs):
    """The package's network with the weights of ours, which have the same names (lesson 05)."""
    package = models.build(config).eval()
    package.load_state_dict(mine.state_dict())
    package.passport["trained"] = [config.to_json(), settings.to_json(), songs.split_hash]
    return package


def learnt(folder, config, settings, songs):
    """The network that lesson 07 has trained into `folder`; if it has not, trained now as there."""
    kept = Path(folder) / "mine.safetensors"
    wanted = [config.to_json(), settings.to_json(), songs.split_hash]
    if kept.is_file():
        package = bsrnn.load(kept)
        if package.passport.get("trained") == wanted:
            return package
    torch.manual_seed(settings.seed)
    mine = network(config)
    mixer = Mixer(songs.subset("train"), config.stems, settings.seconds_per_segment, settings.seed)
    train(mine, partial(example, mixer), settings)
    return pack(mine, config, settings, songs)


def fingerprint(separator):
    """Eight letters that say which weights these are."""
    state = separator.state_dict()
    told = b"".join(name.encode() + state[name].numpy().tobytes() for name in sorted(state))
    return hashlib.sha256(told).hexdigest()[:8]
