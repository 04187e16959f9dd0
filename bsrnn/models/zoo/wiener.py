"""Multichannel Wiener filter: several estimates of one mixture made to agree with it.

Each source is modelled as Gaussian with a power v(f, t) and a spatial covariance R(f), both taken
from its estimate; the filter is the best linear guess of each source from the mixture.

References: Duong, Vincent and Gribonval 2010, "Under-determined reverberant audio source separation
using a full-rank spatial covariance model"; Nugraha, Liutkus and Vincent 2016. The defaults are
those of D3Net (sony/ai-research-code); Open-Unmix adds a ridge instead. Lesson 11.
"""

import torch

BLOCK_FRAMES = 256  # frames whose (F, C, C) matrices are in memory at a time
TINY = torch.finfo(torch.float64).eps


def wiener(
    estimates,
    mixture,
    power_floor: float = 1e-10,
    weight_floor: float = TINY,
    ridge: float = 0.0,
    singular: float = 1e-10,
):
    """Filter `mixture` (B, C, F, T) by `estimates` (B, S, C, F, T); complex, 1 or 2 channels.

    power_floor   share of a source's largest power that is added to its power everywhere
    weight_floor  added to the summed power by which R is divided
    ridge         added to the diagonal of the mixture's covariance
    singular      determinant below which the covariance is taken as of rank 1 and inverted as such

    Powers and R have the precision of `estimates`, as in D3Net's code: where the channels are equal
    the inverse magnifies the last bits of R ten thousand times, so that float64 there gives other
    numbers than the original. The inverse is in float64. Returns the type of `estimates`.
    """
    v = estimates.abs().square().mean(2)  # (B, S, C, F, T) -> (B, S, F, T)
    v = v + power_floor * v.amax((-1, -2), keepdim=True)
    spatial = 0
    for part in estimates.split(BLOCK_FRAMES, dim=-1):
        spatial = spatial + torch.einsum("bscft,bsdft->bsfcd", part, part.conj())  # (B, S, F, C, C)
    spatial = spatial / (v.sum(-1) + weight_floor)[..., None, None]
    v, spatial = v.double(), spatial.to(torch.complex128)
    diagonal = ridge * torch.eye(mixture.shape[1], dtype=spatial.dtype, device=spatial.device)
    found = []
    blocks = zip(v.split(BLOCK_FRAMES, dim=-1), mixture.split(BLOCK_FRAMES, dim=-1), strict=True)
    for power, part in blocks:
        total = torch.einsum("bsft,bsfcd->bftcd", power.to(spatial.dtype), spatial) + diagonal
        x = part.to(spatial.dtype).permute(0, 2, 3, 1)[..., None]  # (B, C, F, T) -> (B, F, T, C, 1)
        whitened = (inverse(total, singular) @ x)[..., 0]  # (B, F, T, C)
        y = torch.einsum("bsfcd,bftd->bscft", spatial, whitened) * power[:, :, None]
        found.append(y.to(estimates.dtype))
    return torch.cat(found, dim=-1)  # (B, S, C, F, T)


def inverse(matrices, singular: float):
    """Inverses of (..., C, C), C 1 or 2; where |det| < `singular` the pseudo-inverse at rank 1."""
    adjoint, size = matrices.mH, matrices.shape[-1]
    energy = matrices.abs().square().sum((-1, -2), keepdim=True)
    rank_one = adjoint / (energy + TINY)
    if size == 1:
        return torch.where(matrices.abs() >= singular, 1 / matrices, rank_one)
    (a, b), (c, d) = (row.unbind(-1) for row in matrices.unbind(-2))
    determinant = (a * d - b * c)[..., None, None]
    adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    return torch.where(determinant.abs() >= singular, adjugate / determinant, rank_one)
