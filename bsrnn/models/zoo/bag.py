"""SeparatorBag: several networks behind the interface of one."""

from dataclasses import replace

import torch
from torch import nn

from bsrnn.common import UsageError, choose
from bsrnn.models.bsrnn import Estimate
from bsrnn.models.config import ModelConfig


class SeparatorBag(nn.Module):
    """Separators that each know other stems, as one: a network per stem, a folder of files."""

    def __init__(self, separators, passport: dict | None = None):
        super().__init__()
        self.separators = nn.ModuleList(separators)
        self.passport = dict(passport or {})
        rates = {separator.sample_rate for separator in separators}
        if len(rates) != 1:
            raise UsageError(f"separators of {sorted(rates)} Hz cannot be joined: choose one rate")
        if len(set(self.stems)) != len(self.stems):
            raise UsageError(f"two separators for one stem: {', '.join(self.stems)}")

    @property
    def stems(self) -> tuple[str, ...]:
        return tuple(stem for separator in self.separators for stem in separator.stems)

    @property
    def sample_rate(self) -> int:
        return self.separators[0].sample_rate

    @property
    def config(self) -> ModelConfig:
        """The first network's configuration with all stems: its STFT, channels and chunk hold."""
        return replace(self.separators[0].config, stems=self.stems)

    def forward(self, mixture, stems=None, query=None):
        """Waveforms (B, S, C, L) of `stems`; only their networks run."""
        return self.estimate(mixture, stems, query).waveforms

    def estimate(self, mixture, stems=None, query=None) -> Estimate:
        """Waveforms (B, S, C, L) and, where all share one STFT, spectra (B, S, C, F, T)."""
        stems = self.stems if stems is None else tuple(stems)
        for stem in stems:
            choose(stem, self.stems, "stem of this separator")
        waveforms, spectra = {}, {}
        for one in self.separators:
            wanted = [stem for stem in one.stems if stem in stems]
            if wanted:
                found = one.estimate(mixture, wanted, query)
                waveforms.update(zip(wanted, found.waveforms.unbind(1), strict=True))
                spectra.update(zip(wanted, found.spectra.unbind(1), strict=True))
        same = len({spectra[stem].shape for stem in stems}) == 1
        return Estimate(
            torch.stack([waveforms[stem] for stem in stems], dim=1),
            torch.stack([spectra[stem] for stem in stems], dim=1) if same else None,
        )
