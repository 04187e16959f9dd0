"""What band-split models are compared with, behind the same interface. Lesson 11.

Networks: Open-Unmix (one BiLSTM on magnitudes per target, joint Wiener filter) and Hybrid Demucs
(from torchaudio). A floor without learning: HPSS, from librosa.

References: Stöter, Uhlich, Liutkus and Mitsufuji 2019, "Open-Unmix", JOSS; Défossez 2021, "Hybrid
spectrogram and waveform source separation", arXiv 2111.03600; Fitzgerald 2010, "Harmonic/percussive
separation using median filtering", DAFx.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from bsrnn.audio.stft import PAPER, StftConfig, istft, stft
from bsrnn.common import DataError, UsageError, choose, optional
from bsrnn.models.zoo.checkpoints import load_strictly
from bsrnn.models.zoo.wiener import wiener

SAMPLE_RATE = 44100
WIENER_FRAMES = 300  # Open-Unmix filters so many frames at a time


class OpenUnmix(nn.Module):
    """Magnitude of the mixture (B, C, F, T) -> magnitude of one target: a mask from a BiLSTM.

    Names of layers are the original's, so that its weights load as they are.
    """

    def __init__(self, channels=2, hidden=512, bins=2049, bins_in=1487, layers=3):
        super().__init__()
        self.input_mean = nn.Parameter(torch.zeros(bins_in))
        self.input_scale = nn.Parameter(torch.ones(bins_in))
        self.output_scale = nn.Parameter(torch.ones(bins))
        self.output_mean = nn.Parameter(torch.ones(bins))
        self.fc1 = nn.Linear(channels * bins_in, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        dropout = 0.4 if layers > 1 else 0.0
        self.lstm = nn.LSTM(hidden, hidden // 2, layers, bidirectional=True, dropout=dropout)
        self.fc2 = nn.Linear(2 * hidden, hidden, bias=False)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.fc3 = nn.Linear(hidden, channels * bins, bias=False)
        self.bn3 = nn.BatchNorm1d(channels * bins)

    def forward(self, magnitude):
        x = magnitude.permute(3, 0, 1, 2)  # (T, B, C, F)
        heard = (x[..., : len(self.input_mean)] + self.input_mean) * self.input_scale
        rows = x.shape[:2]
        z = torch.tanh(self.bn1(self.fc1(heard.flatten(2).flatten(0, 1)))).unflatten(0, rows)
        z = torch.cat([z, self.lstm(z)[0]], dim=-1)  # (T, B, 2 N)
        z = F.relu(self.bn2(self.fc2(z.flatten(0, 1))))  # (T B, N)
        y = self.bn3(self.fc3(z)).view(x.shape) * self.output_scale + self.output_mean
        return (F.relu(y) * x).permute(1, 2, 3, 0)  # (B, C, F, T)

    @classmethod
    def from_state(cls, state: dict) -> "OpenUnmix":
        """The network whose sizes the weights `state` have, with these weights; strict."""
        # Stored by some versions; the transform is outside the network here.
        state = {n: x for n, x in state.items() if "window" not in n and n != "sample_rate"}
        hidden, size_in = state["fc1.weight"].shape
        bins_in, bins = len(state["input_mean"]), len(state["output_mean"])
        layers = sum(name.startswith("lstm.weight_ih") for name in state) // 2
        network = cls(size_in // bins_in, hidden, bins, bins_in, layers)
        for name, own in network.state_dict().items():
            if name.endswith("num_batches_tracked"):  # a counter that older files lack
                state.setdefault(name, own)
        load_strictly(network, state, "the Open-Unmix checkpoint")
        return network


class OpenUnmixSeparator(nn.Module):
    """A network per stem, phase of the mixture, one step of a joint Wiener filter.

    networks: stem -> OpenUnmix; default: four untrained ones of the size of umxhq.
    """

    sample_rate, channels = SAMPLE_RATE, 2

    def __init__(self, networks=None, stft_config=None, passport=None, filtered=True):
        super().__init__()
        stems = ("vocals", "drums", "bass", "other")
        self.networks = nn.ModuleDict(networks or {stem: OpenUnmix() for stem in stems})
        bins = len(next(iter(self.networks.values())).output_mean)
        self.stft = stft_config or StftConfig(2 * (bins - 1), (bins - 1) // 2)
        self.passport, self.filtered = dict(passport or {}), filtered

    stems = property(lambda self: tuple(self.networks))

    @classmethod
    def joined(cls, separators, passport=None) -> "OpenUnmixSeparator":
        """One separator of the networks of several, so that they share the filter."""
        networks = {stem: net for one in separators for stem, net in one.networks.items()}
        if len(networks) < len(separators):
            raise UsageError(f"two networks for one stem among {', '.join(networks)}: keep one")
        passport = passport or separators[0].passport
        return cls(networks, separators[0].stft, passport).train(separators[0].training)

    def forward(self, mixture):
        samples = mixture.shape[-1]
        padded = F.pad(mixture, (0, max(0, self.stft.shortest - samples)))
        spectrum = stft(padded, self.stft)  # (B, C, F, T)
        found = [network(spectrum.abs()) for network in self.networks.values()]
        sizes = torch.stack(found, dim=1)  # (B, S, C, F, T)
        spectra = torch.polar(sizes, spectrum.angle()[:, None].expand_as(sizes))
        if self.filtered and len(self.networks) > 1:
            parts = (x.split(WIENER_FRAMES, dim=-1) for x in (spectra, spectrum))
            spectra = torch.cat([_scaled_wiener(*part) for part in zip(*parts, strict=True)], -1)
        return istft(spectra, self.stft, padded.shape[-1])[..., :samples]


def _scaled_wiener(spectra, spectrum):
    """Open-Unmix's filter: with a ridge, on spectra whose peak is at most 10."""
    peak = spectrum.abs().amax((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    scale = (peak / 10).clamp(min=1)
    floors = {"power_floor": 0, "weight_floor": 1e-10, "ridge": 1e-5, "singular": 0}
    return wiener(spectra / scale[:, None], spectrum / scale, **floors) * scale[:, None]


class HybridDemucs(nn.Module):
    """torchaudio's HDemucs with its input standardised, as its authors run it.

    network: a torchaudio.models.HDemucs; default: an untrained one of the published size.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, network=None, passport=None):
        super().__init__()
        if network is None:
            build = optional("torchaudio.models").hdemucs_high
            network = build(["drums", "bass", "other", "vocals"])
        self.network, self.passport = network, dict(passport or {})

    stems = property(lambda self: tuple(self.network.sources))
    channels = property(lambda self: self.network.audio_channels)

    def forward(self, mixture):
        samples = mixture.shape[-1]
        middle = mixture.mean(1, keepdim=True)  # (B, 1, L): of the channels
        mean = middle.mean(-1, keepdim=True)
        deviation = (middle - mean).square().mean(-1, keepdim=True).sqrt() + 1e-8
        x = F.pad((mixture - mean) / deviation, (0, max(0, self.network.nfft - samples)))
        found = self.network(x)[..., :samples]  # (B, S, C, L)
        return found * deviation[:, None] + mean[:, None]


class Hpss:
    """Percussive part as drums, the rest, harmonic, as other; by median filters (librosa)."""

    stems, sample_rate = ("drums", "other"), SAMPLE_RATE

    def __init__(self):
        source = "Fitzgerald 2010, DAFx; librosa.effects.hpss with its defaults"
        self.passport = {"licence": "no weights", "source": source}

    def __call__(self, mixture):
        import librosa

        x = mixture.detach().cpu().float()  # (B, C, L)
        padded = F.pad(x, (0, max(0, PAPER.n_fft - x.shape[-1]))).numpy()
        harmonic, percussive = librosa.effects.hpss(padded)
        both = np.stack([percussive, harmonic], axis=1)  # (B, S, C, L)
        return torch.from_numpy(both)[..., : x.shape[-1]].float().to(mixture.device)


FLOORS = {"hpss": Hpss}
# Names of networks -> published weights in the registry
WEIGHTS = {
    "open-unmix": ("umxhq-vocals", "umxhq-drums", "umxhq-bass", "umxhq-other"),
    "hdemucs": ("hdemucs-musdb",),
    "hdemucs-plus": ("hdemucs-musdb-plus",),
}
NAMES = (*FLOORS, *WEIGHTS)


def untrained(name: str):
    """The system `name` at its published size, with new weights where it has any."""
    kinds = {**FLOORS, "open-unmix": OpenUnmixSeparator}
    return kinds.get(choose(name, NAMES, "baseline"), HybridDemucs)()


def from_state(state: dict, stem: str, what):
    """A separator in evaluation mode from the weights of one file, None if they are no baseline's.

    stem: of an Open-Unmix file, which does not name it. Raises DataError if weights do not fit.
    """
    if "fc1.weight" in state and "lstm.weight_ih_l0" in state:
        try:
            network = OpenUnmix.from_state(state)
        except KeyError as error:
            raise DataError(f"{what} misses {error.args[0]}") from None
        return OpenUnmixSeparator({stem: network}, passport={"family": "open-unmix"}).eval()
    if any(name.startswith("freq_encoder.0.") for name in state):
        separator = HybridDemucs(passport={"family": "hdemucs"})
        load_strictly(separator.network, state, what)
        return separator.eval()
    return None
