"""Leakage: how much of every true stem is in every estimate, band by band. Numpy only.

Conventions:
    In one band (all its bins, frames and channels together) an estimate e is written as
        e = g_1 s_1 + ... + g_S s_S + rest
    with one real gain per true stem, chosen by least squares: the rest is orthogonal to every stem.
    Then |e|^2 = sum_i g_i <s_i, e> + |rest|^2. The part g_i <s_i, e> is what stem i accounts for;
    it is |g_i s_i|^2 where the stems are uncorrelated, and an energy that two stems share is halved
    between them. So the parts add up exactly, and a part is negative where stems cancel.
    Leakage into the estimate of stem j are its parts of the other stems; the rest is artefacts, and
    whatever of a stem comes delayed or changes its gain within the band.

References: Vincent, Gribonval and Fevotte 2006, "Performance Measurement in Blind Audio Source
Separation", section III-B, splits a whole estimate like this (target, interference, artefacts); the
split per stem and per band is this course's. Lesson 04.
"""

from dataclasses import dataclass

import numpy as np

from bsrnn.bands import gram_per_band
from bsrnn.common import UsageError
from bsrnn.evaluation.metrics import checked_pair

SAME = 1e-10  # stems whose correlations leave less than this in a direction count as dependent


@dataclass(frozen=True)
class BandLeakage:
    """What each estimate is made of, as energies of the waveforms.

    stems      names of the S true stems
    estimates  names of the E estimates
    gains      (E, S, K) how much of each stem is in the estimate: 1 is all of it, 0 nothing
    parts      (E, S, K) energy of the estimate that each stem accounts for
    rest       (E, K) energy that no stem accounts for
    outside    (E,) energy in bins that no band covers
    """

    stems: tuple
    estimates: tuple
    gains: np.ndarray
    parts: np.ndarray
    rest: np.ndarray
    outside: np.ndarray

    @property
    def energy(self) -> np.ndarray:
        """Energy of each estimate in each band, (E, K); with `outside` that of the waveform."""
        return self.parts.sum(axis=1) + self.rest

    @property
    def shares(self) -> np.ndarray:
        """Shares (E, S + 1) of each estimate's energy in all bands: the stems, then the rest."""
        whole = np.concatenate((self.parts, self.rest[:, None]), axis=1).sum(axis=-1)  # (E, S + 1)
        total = whole.sum(axis=1, keepdims=True)
        return np.divide(whole, total, out=np.zeros_like(whole), where=total > 0)


def band_leakage(references: dict, estimates: dict, scheme) -> BandLeakage:
    """Leakage from every stem into every estimate, in each band of a `BandScheme`.

    references: all true stems, name -> (C, L); estimates: label -> (C, L). A silent stem has gain
    0; stems that are equal in a band share their part. Parts, rest and outside add up to the
    energy of the estimate (Parseval-exact, see `bands.gram_per_band`).
    Raises UsageError for nothing to compare, unequal shapes and samples that are not finite.

    >>> from bsrnn import bands
    >>> a, b = np.random.default_rng(0).standard_normal((2, 1, 4000))
    >>> leak = band_leakage({"a": a, "b": b}, {"a": a + 0.1 * b}, bands.equal(1, 8000, 64))
    >>> leak.gains.round(3).tolist()
    [[[1.0], [0.1]]]
    """
    if not references or not estimates:
        raise UsageError("leakage needs true stems and estimates: give two dicts name -> (C, L)")
    first = next(iter(references.values()))
    named = [*references.items(), *estimates.items()]
    signals = np.stack([checked_pair(first, x, name)[1] for name, x in named])  # (S + E, C, L)
    return from_gram(*gram_per_band(scheme, signals), tuple(references), tuple(estimates))


def from_gram(within, outside, stems: tuple, estimates: tuple) -> BandLeakage:
    """`band_leakage` of inner products (K, S + E, S + E) per band, and (S + E, S + E) outside."""
    names, stems = stems, len(stems)
    among, cross = within[:, :stems, :stems], within[:, :stems, stems:]  # (K, S, S), (K, S, E)
    gains = _least_squares(among, cross)  # (K, S, E)
    energy = np.diagonal(within, axis1=1, axis2=2)[:, stems:]  # (K, E)
    parts = gains * cross  # (K, S, E)
    modelled = np.einsum("kse,kst,kte->ke", gains, among, gains)
    rest = np.maximum(energy - 2 * parts.sum(axis=1) + modelled, 0)  # |e - sum g s|^2, (K, E)
    axes = (2, 1, 0)  # (K, S, E) -> (E, S, K)
    return BandLeakage(
        names, estimates, gains.transpose(axes), parts.transpose(axes), rest.T,
        np.diagonal(outside)[stems:],
    )  # fmt: skip


def _least_squares(among, cross):
    """Gains (K, S, E) with among @ gains = cross, for stems of any level: the levels are taken out
    before the small directions are cut."""
    level = np.sqrt(np.diagonal(among, axis1=1, axis2=2))  # (K, S)
    scale = np.divide(1, level, out=np.zeros_like(level), where=level > 0)[..., None]  # (K, S, 1)
    correlation = among * scale * scale.transpose(0, 2, 1)
    return scale * (np.linalg.pinv(correlation, rtol=SAME, hermitian=True) @ (scale * cross))
