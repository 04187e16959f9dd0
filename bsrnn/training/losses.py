"""Training losses on waveforms and complex spectrograms (lessons 06 and 07).

A loss compares an `Estimate` (waveforms (B, S, C, L), spectra (B, S, C, F, T)) with target
waveforms and is one number, lower is better, finite with finite gradients for silence.
The spectra are the estimated ones, before the inverse transform makes them consistent. A loss is a
distance, taken in one or more domains and added up (`_LOSSES` is the whole list): "mean" losses
average over stems, losses in decibels add up stems, as their authors do.

Luo and Yu 2022, arXiv 2209.15174, eq. 4 (l1_both); Watcharasupat et al. 2309.02539, III-E (l1_snr)
and 2501.16171 (level matching); Lu et al. 2309.02612 (l1_multi); Le Roux et al. 1811.02508
(neg_si_sdr). Values equal kwatcharasupat/bandit, bandit-v2, query-bandit and torch-l1-snr 0.0.4.
"""

import functools
from functools import partial

import torch
from torch.nn.functional import l1_loss, mse_loss

from bsrnn.audio.stft import PAPER, StftConfig, stft
from bsrnn.common import UsageError, choose
from bsrnn.models.bsrnn import Estimate

SNR_EPS = 1e-3  # BandIt's: keeps silent targets finite, and matters only below about -60 dBFS
POWER_EPS = 1e-8  # added to energies by asteroid's SDR losses, to mean squares by torch-l1-snr
SILENT_DB = -60.0  # level below which torch-l1-snr does not press for the right level
SNR_N_FFTS = (512, 1024, 2048)  # torch-l1-snr, hop n_fft / 4
MULTI_WINDOWS, MULTI_N_FFT, MULTI_HOP = (4096, 2048, 1024, 512, 256), 2048, 147  # RoFormers


class Target:
    """Target waveforms (B, S, C, L); their spectra (B, S, C, F, T) are computed where needed."""

    def __init__(self, waveforms, config: StftConfig = PAPER, spectra=None):
        self.waveforms, self.config = waveforms, config
        if spectra is not None:
            self.spectra = spectra

    @functools.cached_property
    def spectra(self):
        return stft(self.waveforms, self.config)


# Domains: (Estimate, Target) -> pairs (estimate, target) of real tensors (B, S, ...).
# The distance is taken of each pair, and added up.


def _time(estimate, target):
    return [(estimate.waveforms, target.waveforms)]


def _pooled(estimate, target):
    """Real and imaginary parts as one heap of numbers."""
    return [tuple(torch.view_as_real(x.spectra) for x in (estimate, target))]


def _parts(estimate, target):
    """Real and imaginary parts each for itself."""
    ((e, s),) = _pooled(estimate, target)  # (B, S, C, F, T, 2)
    return list(zip(e.unbind(-1), s.unbind(-1), strict=True))


def _magnitude(estimate, target):
    """Magnitudes on the frames that were estimated (D3Net leaves out the last ones)."""
    frames = estimate.spectra.shape[-1]
    return [(estimate.spectra.abs(), target.spectra[..., :frames].abs())]


# Distances: (estimate, target) -> scalar; l1_loss and mse_loss are means


def _per_stem(distance, estimate, target):
    """`distance` of each stem, added up: S times that of all, if it is a mean."""
    return distance(estimate, target) * target.shape[1]


def _power(x, exponent=2):
    """Mean of |x|^exponent: (B, S, ...) -> (B, S)."""
    return x.abs().pow(exponent).flatten(2).mean(-1)


def _db(x, eps, factor=10.0):
    return factor * torch.log10(x + eps)


def _add_stems(x):
    """(B, S) -> mean over items, sum of stems."""
    return x.mean(0).sum()


def _snr_db(estimate, target, exponent=1, eps=SNR_EPS, factor=10.0):
    """factor x log10 of mean |error|^p over mean |target|^p of each item."""
    error = _power(estimate - target, exponent)  # (B, S)
    sound = _power(target, exponent)
    return _add_stems(_db(error, eps, factor) - _db(sound, eps, factor))


def _best_scale_db(estimate, target):
    """`_snr_db` with squares, of the target scaled to fit the estimate best (BandIt's "scale
    invariant" one). Of spectra (a last axis re, im) the scale is complex."""
    if target.ndim == 6:  # (B, S, C, F, T, 2)
        estimate, target = torch.view_as_complex(estimate), torch.view_as_complex(target)
    e, s = estimate.flatten(2), target.flatten(2)  # (B, S, ...) -> (B, S, n)
    product = (e * s.conj()).sum(-1, keepdim=True) + POWER_EPS  # (B, S, 1)
    energy = s.abs().square().sum(-1, keepdim=True) + POWER_EPS
    scaled = s * (product / energy)
    if e.is_complex():
        e, scaled = torch.view_as_real(e), torch.view_as_real(scaled)  # (B, S, n) -> (B, S, n, 2)
    return _snr_db(e, scaled, exponent=2)


def _level_gap(estimate, target, eps=SNR_EPS, adaptive=False):
    """|level of the estimate - level of the target| in dB (query-bandit).

    adaptive: weighted from 0.1 to 1, without a gradient, most where a stem that sounds is estimated
    as silence (arXiv 2501.16171)."""
    e, s = _db(_power(estimate), eps), _db(_power(target), eps)  # (B, S)
    gap = (e - s).abs()
    if not adaptive:
        return _add_stems(gap)
    too_soft = s > e.clamp(min=SILENT_DB)
    share = (gap / (s - SILENT_DB).clamp(min=1e-6)).clamp(0, 1)
    weight = 0.1 + 0.9 * too_soft * share
    return _add_stems(weight.detach() * gap)


def _negative_sdr(scaled, estimate, target):
    """Minus SNR, or minus SI-SDR: the target `scaled` to fit."""
    e, s = estimate.flatten(2), target.flatten(2)  # (B, S, C, L) -> (B, S, n)
    if scaled:
        scale = (e * s).sum(-1) / (s.square().sum(-1) + POWER_EPS)  # (B, S)
        s = s * scale[..., None]
    ratio = s.square().sum(-1) / ((e - s).square().sum(-1) + POWER_EPS)
    return -_add_stems(_db(ratio, POWER_EPS))


# Losses: (Estimate, Target) -> scalar


def _over(*domains, distance):
    """The loss that adds up `distance` over `domains`."""

    def compute(estimate, target):
        pairs = [pair for domain in domains for pair in domain(estimate, target)]
        return sum(distance(*pair) for pair in pairs)

    return compute


def _sum(*losses, weight=1.0):
    return lambda *pair: weight * sum(loss(*pair) for loss in losses)


def _snr_resolutions(estimate, target):
    """L1-SNR of real and imaginary parts at three resolutions, mean over resolutions."""
    total = 0
    for n_fft in SNR_N_FFTS:
        config = StftConfig(n_fft, n_fft // 4, scale="window")
        transformed = Estimate(estimate.waveforms, stft(estimate.waveforms, config))
        total = total + _SNR_OF_PARTS(transformed, Target(target.waveforms, config))
    return total / len(SNR_N_FFTS)


def _l1_resolutions(estimate, target):
    """Mean |error| of complex spectra at five resolutions, added up. (The windows shorter than
    2048 are padded with zeros.)"""
    error = estimate.waveforms - target.waveforms  # the STFT is linear: one transform for both
    fewest = max(MULTI_WINDOWS) // 2 + 1
    if error.shape[-1] < fewest:
        raise UsageError(
            f"{error.shape[-1]} samples are too few for l1_multi: use longer segments, at least "
            f"{fewest} samples"
        )
    total = 0
    for length in MULTI_WINDOWS:
        window = torch.hann_window(length, dtype=error.dtype, device=error.device)
        n_fft = max(length, MULTI_N_FFT)
        spectrum = torch.stft(
            error.flatten(0, 2), n_fft, MULTI_HOP, length, window, return_complex=True
        )  # (B, S, C, L) -> (B S C, F, T)
        total = total + spectrum.abs().mean()
    return total


_SNR_OF_PARTS = _over(_parts, distance=_snr_db)
_SNR_TWICE = partial(_snr_db, factor=20.0)
_TIME_AND_LEVEL = _sum(
    _over(_time, distance=_snr_db),
    _over(_time, distance=partial(_level_gap, eps=POWER_EPS, adaptive=True)),
)
_BANQUET = _over(_time, _pooled, distance=_SNR_TWICE)

_LOSSES = {
    # means
    "l1": _over(_time, distance=l1_loss),
    "l1_spectrum": _over(_parts, distance=l1_loss),
    "l1_both": _over(_time, _parts, distance=l1_loss),
    "l1_multi": _sum(_over(_time, distance=l1_loss), _l1_resolutions),
    "l2": _over(_time, distance=mse_loss),
    "l2_spectrum": _over(_parts, distance=mse_loss),
    "l2_both": _over(_time, _parts, distance=mse_loss),
    "l2_magnitude": _over(_magnitude, distance=mse_loss),
    # BandIt, sums of stems
    "l1_hybrid": _over(_time, _pooled, distance=partial(_per_stem, l1_loss)),
    "l2_hybrid": _over(_time, _pooled, distance=partial(_per_stem, mse_loss)),
    "l1_snr": _over(_time, _pooled, distance=_snr_db),
    "l1_snr_small_eps": _over(_time, _pooled, distance=partial(_snr_db, eps=1e-6)),
    "l2_snr": _over(_time, _pooled, distance=partial(_snr_db, exponent=2)),
    "l2_snr_scaled": _over(_time, _pooled, distance=_best_scale_db),
    "l1_snr_v2": _over(_time, _parts, distance=_SNR_TWICE),
    "l1_snr_banquet": _BANQUET,
    "l1_snr_level": _sum(_BANQUET, _over(_time, _pooled, distance=_level_gap)),
    # torch-l1-snr, sums of stems
    "l1_snr_time": _over(_time, distance=_snr_db),
    "l1_snr_time_level": _TIME_AND_LEVEL,
    "l1_snr_multi": _sum(_TIME_AND_LEVEL, _snr_resolutions, weight=0.5),
    # asteroid
    "neg_snr": _over(_time, distance=partial(_negative_sdr, False)),
    "neg_si_sdr": _over(_time, distance=partial(_negative_sdr, True)),
}


def names() -> list[str]:
    """Every loss. Luo and Yu: l1_both, with its terms l1 and l1_spectrum. RoFormers: l1_multi.
    BandIt: l1_snr, l1_hybrid and relatives; BandIt v2: l1_snr_v2; Banquet: l1_snr_banquet and
    l1_snr_level; torch-l1-snr: l1_snr_multi and its parts; Open-Unmix and D3Net: l2_magnitude."""
    return list(_LOSSES)


def get(name: str, stft_config: StftConfig = PAPER):
    """The loss `name` as callable(estimate: Estimate, target (B, S, C, L)) -> scalar tensor."""
    compute = _LOSSES[choose(name, _LOSSES, "loss")]
    return lambda estimate, target: compute(Estimate(*estimate), Target(target, stft_config))


def loss(name, waveforms, spectra, target, stft_config: StftConfig = PAPER) -> torch.Tensor:
    """The loss `name` of waveforms (B, S, C, L) with spectra (B, S, C, F, T), which losses on
    waveforms alone do not look at, against target waveforms (B, S, C, L): a scalar.

    >>> target = torch.zeros(1, 1, 2, 4096)
    >>> loss("l1", target + 0.5, None, target).item()
    0.5
    """
    return get(name, stft_config)((waveforms, spectra), target)
