"""Oracle masks: how well a mask could do if it knew the answer, at full resolution and per band.

S are the stems' spectra (S, C, F, T), X the mixture's (C, F, T), N = X - S the rest; the estimate
is the mask times X (`KINDS`). Where |X| < 1e-8 every mask but the binary one is 1. Constrained to
bands a mask is a combination of few shapes in each (`bsrnn.bands.oracle`): it bounds what a scheme
can reach before anything is trained; a finer nested scheme can only do better.

References: Wang and Chen 2018, "Supervised Speech Separation Based on Deep Learning", section III;
Erdogan et al. 2015, ICASSP (phase-sensitive); BandIt (Watcharasupat et al. 2024): the silence rule.
Lessons 03 and 04.
"""

import numpy as np
import torch

from bsrnn.audio.arrays import sound
from bsrnn.audio.stft import PAPER, StftConfig, istft, stft
from bsrnn.bands import oracle as constrained
from bsrnn.common import UsageError, choose

SILENT = 1e-8  # |X| below this is silence (BandIt)


def binary_mask(stem, rest, threshold_db: float = 0.0) -> torch.Tensor:
    """1 where the stem is more than `threshold_db` louder than the rest, else 0; any one shape.

    At 0 dB it is the best mask of zeros and ones: a kept bin costs |N|^2, a dropped one |S|^2.
    """
    return (stem.abs() > 10 ** (threshold_db / 20) * rest.abs()).to(stem.real.dtype)


def ratio_mask(stem, rest, exponent: float = 1.0) -> torch.Tensor:
    """|S|^p / (|S|^p + |N|^p): p = 1 ratio, 2 Wiener, infinity binary. 0/0 is NaN; any one shape.

    Computed from the quotient |N| / |S|, so that no power leaves the range of float32.

    >>> ratio_mask(torch.tensor([3.0 + 0j]), torch.tensor([1.0 + 0j])).item()
    0.75
    """
    return 1 / (1 + (rest.abs() / stem.abs()) ** exponent)


KINDS = {
    "binary": lambda s, n, x: binary_mask(s, n),
    "ratio": lambda s, n, x: ratio_mask(s, n),
    "wiener": lambda s, n, x: ratio_mask(s, n, 2.0),
    "phase_sensitive": lambda s, n, x: (s * x.conj()).real / x.abs().square(),  # best real mask
    "amplitude": lambda s, n, x: s.abs() / x.abs(),
    "complex": lambda s, n, x: s / x,  # gives the stem back
}


def oracle(kind: str, stems: torch.Tensor, mixture: torch.Tensor) -> torch.Tensor:
    """Ideal masks (S, C, F, T) from spectra `stems` (S, C, F, T) and `mixture` (C, F, T): each stem
    is judged against the rest of the mixture, whichever others are passed. Raises UsageError.

    >>> s = torch.tensor([[[[3.0 + 0j]]], [[[1.0 + 0j]]]])
    >>> oracle("ratio", s, s.sum(0)).flatten().tolist()
    [0.75, 0.25]
    """
    choose(kind, KINDS, "mask")
    if stems.shape[1:] != mixture.shape:
        raise UsageError(
            f"stems {tuple(stems.shape)} and mixture {tuple(mixture.shape)} differ: "
            "give (S, C, F, T) and (C, F, T)"
        )
    masks = KINDS[kind](stems, mixture - stems, mixture)
    if kind == "binary":
        return masks
    return torch.where(mixture.abs() < SILENT, torch.ones((), dtype=masks.dtype), masks)


def oracle_estimates(kind: str, references, stft_config: StftConfig = PAPER, mixture=None):
    """Waveforms (S, C, L) numpy that the ideal mask gives for `references` (S, C, L). `mixture`
    (C, L): by default their sum."""
    return _estimates(references, mixture, stft_config, lambda s, x: oracle(kind, s, x))


def band_masks(scheme, stems, mixture, mode="frame", real: bool = False) -> torch.Tensor:
    """Best masks (S, C, F, T) that a band scheme allows, as `bsrnn.bands.oracle.masks`, of torch.
    mode: "frame", "static" or the number of shapes per band. Raises UsageError."""
    return torch.from_numpy(constrained.masks(scheme, stems.numpy(), mixture.numpy(), mode, real))


def band_oracle(scheme, references, mode="frame", real: bool = False, mixture=None):
    """Waveforms (S, C, L) numpy of `band_masks`, with hop a quarter of the scheme's n_fft. Their
    SDR is mostly a little above `band_sdr_db`: the inverse STFT averages errors away."""
    config = StftConfig(scheme.n_fft, scheme.n_fft // 4)
    best = lambda stems, total: band_masks(scheme, stems, total, mode, real)  # noqa: E731
    return _estimates(references, mixture, config, best)


def band_sdr_db(scheme, references, mode="frame", real: bool = False, mixture=None) -> np.ndarray:
    """Bound (S,): SDR in dB of the best band-constrained mask, counted in the spectrogram, every
    bin and frame once, so refining bands never lowers it. NaN: silent stem."""
    config = StftConfig(scheme.n_fft, scheme.n_fft // 4)
    energy, error = 0.0, 0.0
    for stems, total in _channels(references, mixture, config):
        masks = band_masks(scheme, stems, total, mode, real)
        energy = energy + stems.abs().square().double().sum((1, 2, 3))  # (S, 1, F, T) -> (S,)
        error = error + (stems - masks * total).abs().square().double().sum((1, 2, 3))
    ratio = 10 * torch.log10(energy / error)
    return torch.where(energy > 0, ratio, torch.nan).numpy()


def _channels(references, mixture, config):
    """Spectra of one channel after the other: (S, 1, F, T) and (1, F, T). Bounds the memory."""
    references = torch.as_tensor(sound(references))
    if references.ndim != 3:
        raise UsageError(f"references are {tuple(references.shape)}: give (S, C, L)")
    total = references.sum(0) if mixture is None else torch.as_tensor(sound(mixture))
    missing = max(0, config.shortest - references.shape[-1])  # too short to mirror: add zeros
    for c in range(references.shape[1]):
        both = torch.cat((references[:, c : c + 1], total[None, c : c + 1]))  # (S + 1, 1, L)
        spectra = stft(torch.nn.functional.pad(both, (0, missing)), config)  # (S + 1, 1, F, T)
        yield spectra[:-1], spectra[-1]


def _estimates(references, mixture, config, masks):
    length = sound(references).shape[-1]
    parts = [
        istft(masks(stems, total) * total, config, max(length, config.shortest))
        for stems, total in _channels(references, mixture, config)
    ]
    return torch.cat(parts, dim=1)[..., :length].numpy()  # C x (S, 1, L) -> (S, C, L)
