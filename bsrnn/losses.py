"""Training losses on waveforms and complex spectrograms.

Every loss compares an `Estimate` (waveforms (B, S, C, L), spectra (B, S, C, F, T)) with target
waveforms (B, S, C, L) and returns one number. The spectra are the estimated ones themselves, not
the STFT of the estimated waveforms: what the masks did is judged before the inverse transform
makes it consistent. All are finite, with finite gradients, for silent targets.

References
    Luo and Yu 2022, arXiv 2209.15174, eq. 4 (time + real + imaginary L1);
    Watcharasupat et al. 2024, arXiv 2309.02539, section III-E (L1-SNR). Lesson 07.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from bsrnn.errors import choose
from bsrnn.stft import PAPER, StftConfig, stft

SNR_EPS = 1e-3  # BandIt's: keeps silent targets finite, and matters only below about -60 dBFS


class Estimate(NamedTuple):
    """What a separator says: waveforms (B, S, C, L) and complex spectra (B, S, C, F, T)."""

    waveforms: torch.Tensor
    spectra: torch.Tensor


def _mean_abs(error: torch.Tensor) -> torch.Tensor:
    return error.abs().mean()


def _mean_square(error: torch.Tensor) -> torch.Tensor:
    return error.square().mean()


def _in_time(distance: Callable) -> Callable:
    return lambda estimate, target, spectra: distance(estimate.waveforms - target)


def _in_spectrum(distance: Callable) -> Callable:
    def both_parts(estimate, target, spectra):
        error = torch.view_as_real(estimate.spectra - spectra)  # (B, S, C, F, T, 2)
        return distance(error[..., 0]) + distance(error[..., 1])

    return both_parts


def _magnitude_square(estimate, target, spectra):
    """D3Net's: (|estimated| - |target|)^2, on the frames that were estimated."""
    found = estimate.spectra.abs()  # (B, S, C, F, T)
    return _mean_square(found - spectra[..., : found.shape[-1]].abs())


def _ratio_db(error: torch.Tensor, target: torch.Tensor, power: int) -> torch.Tensor:
    """10 log10 of mean |error|^p over mean |target|^p per item and stem: (B, S, ...) -> scalar.
    Mean over items, sum over stems. Complex numbers count as two reals."""
    if error.is_complex():
        error, target = torch.view_as_real(error), torch.view_as_real(target)
    error = error.abs().pow(power).flatten(2).mean(-1)  # (B, S)
    target = target.abs().pow(power).flatten(2).mean(-1)  # (B, S)
    ratio = 10 * (torch.log10(error + SNR_EPS) - torch.log10(target + SNR_EPS))
    return ratio.mean(0).sum()


def _snr(power: int) -> Callable:
    def both_domains(estimate, target, spectra):
        in_time = _ratio_db(estimate.waveforms - target, target, power)
        return in_time + _ratio_db(estimate.spectra - spectra, spectra, power)

    return both_domains


def _sum(first: Callable, second: Callable) -> Callable:
    return lambda *args: first(*args) + second(*args)


_LOSSES = {
    "l1": _in_time(_mean_abs),
    "l1_spectrum": _in_spectrum(_mean_abs),
    "l1_both": _sum(_in_time(_mean_abs), _in_spectrum(_mean_abs)),
    "l2": _in_time(_mean_square),
    "l2_spectrum": _in_spectrum(_mean_square),
    "l2_both": _sum(_in_time(_mean_square), _in_spectrum(_mean_square)),
    "l2_magnitude": _magnitude_square,
    "l1_snr": _snr(1),
    "l2_snr": _snr(2),
}


def names() -> list[str]:
    """Every loss: "l1_both" is the paper's, "l1_snr" BandIt's; "l1" and "l1_spectrum" its terms."""
    return list(_LOSSES)


def get(name: str, stft_config: StftConfig = PAPER) -> Callable:
    """The loss `name` as callable(estimate: Estimate, target (B, S, C, L)) -> scalar tensor."""
    choose(name, _LOSSES, "loss")

    def compute(estimate: Estimate, target: torch.Tensor) -> torch.Tensor:
        spectra = None if name in ("l1", "l2") else stft(target, stft_config)  # (B, S, C, F, T)
        return between(name, Estimate(*estimate), target, spectra)

    return compute


def between(name: str, estimate: Estimate, target, target_spectra) -> torch.Tensor:
    """The loss `name` where the target's spectra (B, S, C, F, T) are known already."""
    return _LOSSES[choose(name, _LOSSES, "loss")](estimate, target, target_spectra)


def loss(name, waveforms, spectra, target, stft_config: StftConfig = PAPER) -> torch.Tensor:
    """The loss `name` of waveforms (B, S, C, L) with spectra (B, S, C, F, T) against target
    waveforms (B, S, C, L): a scalar. `spectra` is not looked at by "l1" and "l2".

    >>> target = torch.zeros(1, 1, 2, 4096)
    >>> loss("l1", target + 0.5, None, target).item()
    0.5
    """
    return get(name, stft_config)(Estimate(waveforms, spectra), target)
