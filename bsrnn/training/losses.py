"""Training losses on waveforms and complex spectrograms.

Conventions
    Every loss compares an `Estimate` (waveforms (B, S, C, L), spectra (B, S, C, F, T)) with target
    waveforms (B, S, C, L) and returns one number, lower is better. The spectra are the estimated
    ones themselves, not the STFT of the estimated waveforms: what the masks did is judged before
    the inverse transform makes it consistent. (Losses at several resolutions must transform the
    waveforms.) All are finite, with finite gradients, for silent targets and silent estimates.
    A loss is a distance, taken in one or more domains and added up: `_LOSSES` is the whole list.
    "Mean" losses average over stems, losses in decibels add up stems, as their authors do.

References
    Luo and Yu 2022, arXiv 2209.15174, eq. 4 (l1_both); Watcharasupat et al. 2024, arXiv 2309.02539,
    section III-E (l1_snr); Watcharasupat and Lerch 2025, arXiv 2501.16171 (level matching); Lu et
    al. 2023, arXiv 2309.02612 (l1_multi); Le Roux et al. 2019, arXiv 1811.02508 (neg_si_sdr).
    Values equal kwatcharasupat/bandit, bandit-v2, query-bandit and crlandsc/torch-l1-snr 0.0.4.
    Lesson 06; used in lesson 07.
"""

from collections.abc import Callable
from functools import partial

import torch

from bsrnn.audio.stft import PAPER, StftConfig, stft
from bsrnn.common import UsageError, choose
from bsrnn.models.bsrnn import Estimate

SNR_EPS = 1e-3  # BandIt's: keeps silent targets finite, and matters only below about -60 dBFS
POWER_EPS = 1e-8  # added to energies by asteroid's SDR losses, to mean squares by torch-l1-snr
SILENT_DB = -60.0  # level below which torch-l1-snr does not press for the right level
SNR_N_FFTS = (512, 1024, 2048)  # torch-l1-snr, hop n_fft / 4
MULTI_WINDOWS, MULTI_N_FFT, MULTI_HOP = (4096, 2048, 1024, 512, 256), 2048, 147  # RoFormers


# Domains: (Estimate, target, target's spectra) -> pairs (estimate, target) of real tensors
# (B, S, ...). The distance is taken of each pair, and added up.


def _time(estimate, target, spectra):
    return [(estimate.waveforms, target)]


def _pooled(estimate, target, spectra):
    """Real and imaginary parts as one heap of numbers."""
    return [(torch.view_as_real(estimate.spectra), torch.view_as_real(spectra))]


def _parts(estimate, target, spectra):
    """Real and imaginary parts each for itself."""
    ((e, s),) = _pooled(estimate, target, spectra)  # (B, S, C, F, T, 2)
    return [(e[..., part], s[..., part]) for part in (0, 1)]


def _magnitude(estimate, target, spectra):
    """Magnitudes on the frames that were estimated (D3Net leaves out the last ones)."""
    found = estimate.spectra.abs()  # (B, S, C, F, T)
    return [(found, spectra[..., : found.shape[-1]].abs())]


_ON_SPECTRA = (_pooled, _parts, _magnitude)  # domains that need the target's spectra


# Distances: (estimate, target) -> scalar


def _mean_abs(estimate, target):
    return (estimate - target).abs().mean()


def _mean_square(estimate, target):
    return (estimate - target).square().mean()


def _sum_of_stems(distance, estimate, target):
    """`distance` of each stem, added up: S times that of all, if it is a mean."""
    return distance(estimate, target) * target.shape[1]


def _norm(x, power):
    return x.abs().pow(power).flatten(2).mean(-1)  # (B, S, ...) -> (B, S)


def _snr_db(estimate, target, power=1, eps=SNR_EPS, factor=10.0):
    """factor x log10 of mean |error|^p over mean |target|^p of each item, mean over items, sum of
    stems."""
    error = torch.log10(_norm(estimate - target, power) + eps)  # (B, S)
    ratio = factor * (error - torch.log10(_norm(target, power) + eps))
    return ratio.mean(0).sum()


def _best_scale_db(estimate, target):
    """`_snr_db` with squares, of the target scaled to fit the estimate best (BandIt's "scale
    invariant" one). Of spectra (a last axis re, im) the scale is complex."""
    spectral = target.shape[-1] == 2 and target.ndim == 6
    e, s = map(torch.view_as_complex, (estimate, target)) if spectral else (estimate, target)
    e, s = e.flatten(2), s.flatten(2)  # (B, S, ...) -> (B, S, n)
    scale = (e * s.conj()).sum(-1, keepdim=True) + POWER_EPS  # (B, S, 1)
    scaled = s * (scale / (s.abs().square().sum(-1, keepdim=True) + POWER_EPS))
    if spectral:
        e, scaled = torch.view_as_real(e), torch.view_as_real(scaled)  # (B, S, n) -> (B, S, n, 2)
    return _snr_db(e, scaled, power=2)


def _level_db(x, eps):
    return 10 * torch.log10(_norm(x, 2) + eps)  # (B, S)


def _level_gap(estimate, target):
    """|level of the estimate - level of the target| in dB (query-bandit)."""
    return (_level_db(estimate, SNR_EPS) - _level_db(target, SNR_EPS)).abs().mean(0).sum()


def _adaptive_level_gap(estimate, target):
    """The same, weighted from 0.1 to 1: most where a stem that sounds is estimated as silence
    (arXiv 2501.16171). The weight gets no gradient."""
    e, s = _level_db(estimate, POWER_EPS), _level_db(target, POWER_EPS)  # (B, S)
    gap, too_soft = (e - s).abs(), s > e.clamp(min=SILENT_DB)
    share = (gap / (s - SILENT_DB).clamp(min=1e-6)).clamp(0, 1)
    return ((0.1 + 0.9 * too_soft * share).detach() * gap).mean(0).sum()


def _negative_sdr(scaled, estimate, target):
    """Minus SNR, or minus SI-SDR: the target `scaled` to fit. Mean over items, sum of stems."""
    e, s = estimate.flatten(2), target.flatten(2)  # (B, S, C, L) -> (B, S, n)
    if scaled:
        s = s * ((e * s).sum(-1) / (s.square().sum(-1) + POWER_EPS))[..., None]
    ratio = s.square().sum(-1) / ((e - s).square().sum(-1) + POWER_EPS)  # (B, S)
    return -10 * torch.log10(ratio + POWER_EPS).mean(0).sum()


def _over(*domains: Callable, distance: Callable) -> Callable:
    """The loss that adds up `distance` over `domains`."""

    def compute(estimate, target, spectra):
        terms = (
            sum(distance(e, s) for e, s in domain(estimate, target, spectra)) for domain in domains
        )
        return sum(terms)

    compute.needs_spectra = any(domain in _ON_SPECTRA for domain in domains)
    return compute


def _sum(*losses: Callable, weight: float = 1.0) -> Callable:
    def compute(*args):
        return weight * sum(one(*args) for one in losses)

    compute.needs_spectra = any(one.needs_spectra for one in losses)
    return compute


def _snr_resolutions(estimate, target, spectra):
    """L1-SNR of real and imaginary parts at three resolutions, mean over resolutions."""
    total = 0
    for n_fft in SNR_N_FFTS:
        config = StftConfig(n_fft, n_fft // 4, scale="window")
        transformed = Estimate(estimate.waveforms, stft(estimate.waveforms, config))
        total = total + _L1_SNR_PARTS(transformed, target, stft(target, config))
    return total / len(SNR_N_FFTS)


def _l1_resolutions(estimate, target, spectra):
    """Mean |error| of complex spectra at five resolutions, added up. (The windows shorter than
    2048 are padded with zeros.)"""
    error = estimate.waveforms - target  # the STFT is linear: one transform for both
    if error.shape[-1] <= max(MULTI_WINDOWS) // 2:
        raise UsageError(
            f"{error.shape[-1]} samples are too few for l1_multi: use longer segments, at least "
            f"{max(MULTI_WINDOWS) // 2 + 1} samples"
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


_snr_resolutions.needs_spectra = _l1_resolutions.needs_spectra = False
_L1_SNR_PARTS = _over(_parts, distance=_snr_db)
_doubled = partial(_snr_db, factor=20.0)
_time_and_level = _sum(_over(_time, distance=_snr_db), _over(_time, distance=_adaptive_level_gap))

_LOSSES = {
    # means
    "l1": _over(_time, distance=_mean_abs),
    "l1_spectrum": _over(_parts, distance=_mean_abs),
    "l1_both": _over(_time, _parts, distance=_mean_abs),
    "l1_multi": _sum(_over(_time, distance=_mean_abs), _l1_resolutions),
    "l2": _over(_time, distance=_mean_square),
    "l2_spectrum": _over(_parts, distance=_mean_square),
    "l2_both": _over(_time, _parts, distance=_mean_square),
    "l2_magnitude": _over(_magnitude, distance=_mean_square),
    # BandIt, sums of stems
    "l1_hybrid": _over(_time, _pooled, distance=partial(_sum_of_stems, _mean_abs)),
    "l2_hybrid": _over(_time, _pooled, distance=partial(_sum_of_stems, _mean_square)),
    "l1_snr": _over(_time, _pooled, distance=_snr_db),
    "l1_snr_small_eps": _over(_time, _pooled, distance=partial(_snr_db, eps=1e-6)),
    "l2_snr": _over(_time, _pooled, distance=partial(_snr_db, power=2)),
    "l2_snr_scaled": _over(_time, _pooled, distance=_best_scale_db),
    "l1_snr_v2": _over(_time, _parts, distance=_doubled),
    "l1_snr_banquet": _over(_time, _pooled, distance=_doubled),
    "l1_snr_level": _sum(
        _over(_time, _pooled, distance=_doubled), _over(_time, _pooled, distance=_level_gap)
    ),
    # torch-l1-snr, sums of stems
    "l1_snr_time": _over(_time, distance=_snr_db),
    "l1_snr_time_level": _time_and_level,
    "l1_snr_multi": _sum(_time_and_level, _snr_resolutions, weight=0.5),
    # asteroid
    "neg_snr": _over(_time, distance=partial(_negative_sdr, False)),
    "neg_si_sdr": _over(_time, distance=partial(_negative_sdr, True)),
}


def names() -> list[str]:
    """Every loss. Luo and Yu: l1_both, with its terms l1 and l1_spectrum. RoFormers: l1_multi.
    BandIt: l1_snr, l1_hybrid and relatives; BandIt v2: l1_snr_v2; Banquet: l1_snr_banquet and
    l1_snr_level; torch-l1-snr: l1_snr_multi and its parts; Open-Unmix and
    D3Net: l2_magnitude."""
    return list(_LOSSES)


def get(name: str, stft_config: StftConfig = PAPER) -> Callable:
    """The loss `name` as callable(estimate: Estimate, target (B, S, C, L)) -> scalar tensor."""
    needed = _LOSSES[choose(name, _LOSSES, "loss")].needs_spectra

    def compute(estimate: Estimate, target: torch.Tensor) -> torch.Tensor:
        spectra = stft(target, stft_config) if needed else None  # (B, S, C, F, T)
        return between(name, Estimate(*estimate), target, spectra)

    return compute


def between(name: str, estimate: Estimate, target, target_spectra) -> torch.Tensor:
    """The loss `name` where the target's spectra (B, S, C, F, T) are known already."""
    return _LOSSES[choose(name, _LOSSES, "loss")](estimate, target, target_spectra)


def loss(name, waveforms, spectra, target, stft_config: StftConfig = PAPER) -> torch.Tensor:
    """The loss `name` of waveforms (B, S, C, L) with spectra (B, S, C, F, T) against target
    waveforms (B, S, C, L): a scalar. Losses on waveforms alone do not look at `spectra`.

    >>> target = torch.zeros(1, 1, 2, 4096)
    >>> loss("l1", target + 0.5, None, target).item()
    0.5
    """
    return get(name, stft_config)(Estimate(waveforms, spectra), target)
