"""Several separators as one, and what a query is made of. Lesson 08."""

import itertools
from types import SimpleNamespace

import numpy as np

from bsrnn import audio
from bsrnn.common import UsageError, choose, optional
from bsrnn.separation.engine import estimate

QUERY_HZ, QUERY_S = 32000, 10.0  # what PaSST hears


class Blend:
    """A separator whose stems are weighted means of what several make of them.

    separators: of one sample rate; each stem is blended from those that have it. weights: a number
    for each separator, or a dict stem -> such numbers (other stems: equal ones); 0 leaves one out.
    The mean of complex spectra is the same sound, because the transform is linear.

    >>> class Gain:
    ...     stems, sample_rate = ("all",), 44100
    ...     def __init__(self, gain):
    ...         self.gain = gain
    ...     def __call__(self, mixture):
    ...         return self.gain * mixture[:, None]
    >>> import torch
    >>> Blend([Gain(1.0), Gain(0.2)], {"all": (3, 1)})(torch.ones(1, 1, 1)).item()
    0.800000011920929
    """

    def __init__(self, separators, weights=None):
        self.members = list(separators)
        rates = {separator.sample_rate for separator in self.members}
        if len(rates) != 1:
            raise UsageError(f"separators of {sorted(rates)} Hz do not blend: give one rate")
        (self.sample_rate,) = rates
        self.stems = tuple(dict.fromkeys(stem for s in self.members for stem in s.stems))
        by_stem = weights if isinstance(weights, dict) else dict.fromkeys(self.stems, weights)
        for stem in by_stem:
            choose(stem, self.stems, "stem to weigh")
        self.shares = {stem: self._shares(stem, by_stem.get(stem)) for stem in self.stems}
        configs = [getattr(separator, "config", None) for separator in self.members]
        configs = [config for config in configs if getattr(config, "stft", None)]
        lengths = {getattr(config, "chunk_samples", 0) for config in configs} - {0}
        if len(lengths) > 1:
            raise UsageError("separators of two fixed chunk lengths do not blend: leave one out")
        stft = max((config.stft for config in configs), key=lambda s: s.shortest, default=None)
        self.config = SimpleNamespace(stft=stft, chunk_samples=max(lengths, default=0))

    def _shares(self, stem: str, weights) -> np.ndarray:
        """Shares (members,) of one stem that add up to 1."""
        weights = np.ones(len(self.members)) if weights is None else np.asarray(weights, float)
        if weights.shape != (len(self.members),) or not np.isfinite(weights).all():
            raise UsageError(f"weights of {stem}: give {len(self.members)} numbers, one a model")
        has = np.array([stem in separator.stems for separator in self.members])
        shares = np.where(has, weights, 0.0)
        if (shares < 0).any() or not shares.any():
            raise UsageError(f"weights of {stem}: give 0 or more, and one of them above 0")
        return shares / shares.sum()

    def parameters(self):
        return itertools.chain(*(s.parameters() for s in self.members if hasattr(s, "parameters")))

    def __call__(self, mixture, stems=None, query=None):
        stems = self.stems if stems is None else stems
        total = mixture.new_zeros((len(mixture), len(stems), *mixture.shape[1:]))  # (B, S, C, L)
        for number, member in enumerate(self.members):
            rows = [row for row, stem in enumerate(stems) if self.shares[stem][number]]
            if not rows:
                continue
            found = estimate(member, mixture, [stems[row] for row in rows], query)
            for row, stem_found in zip(rows, found.unbind(1), strict=True):
                total[:, row] += float(self.shares[stems[row]][number]) * stem_found
        return total


def embedding(clip, sample_rate: int) -> np.ndarray:
    """What Banquet is asked with: PaSST's embedding (768,) of a clip (C, L) of the wanted sound.

    The first 10 s; weights tuned on OpenMIC, which the package hear21passt downloads (UsageError
    without it). Source: Watcharasupat and Lerch 2024, arXiv 2406.18747.
    """
    import torch

    network = optional("hear21passt.base").get_basic_model(mode="embed_only", arch="openmic")
    mono = audio.to_channels(audio.waveform(clip, "the clip"), 1)  # (1, L)
    mono = audio.resample(mono, sample_rate, QUERY_HZ)[:, : round(QUERY_HZ * QUERY_S)]
    with torch.inference_mode():
        return network.eval()(torch.from_numpy(mono))[0].float().numpy()
