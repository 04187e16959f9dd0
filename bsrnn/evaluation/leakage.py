"""Leakage: how much of every true stem is in every estimate, band by band. Numpy only.

In one band (all its bins, frames and channels together) an estimate is e = g_1 s_1 + ... + g_S s_S
+ rest, with a real gain per true stem by least squares. Then |e|^2 = sum_i g_i <s_i, e> + |rest|^2:
the part g_i <s_i, e> is what stem i accounts for, |g_i s_i|^2 where stems are uncorrelated,
negative where they cancel. The rest is artefacts, and what comes delayed or changes its gain within
the band.

Reference: Vincent, Gribonval and Fevotte 2006, "Performance Measurement in Blind Audio Source
Separation", section III-B, for whole estimates; per stem and band is this course's. Lesson 04.
"""

from dataclasses import dataclass

import numpy as np

from bsrnn.audio.arrays import checked_pair
from bsrnn.bands import gram_per_band
from bsrnn.common import UsageError

SAME = 1e-10  # stems whose correlations leave less than this in a direction count as dependent


@dataclass(frozen=True)
class BandLeakage:
    """What each estimate is made of, as energies of the waveforms."""

    stems: tuple  # names of the S true stems
    estimates: tuple  # names of the E estimates
    gains: np.ndarray  # (E, S, K) how much of each stem is in the estimate: 1 is all of it
    parts: np.ndarray  # (E, S, K) energy of the estimate that each stem accounts for
    rest: np.ndarray  # (E, K) energy that no stem accounts for
    outside: np.ndarray  # (E,) energy in bins that no band covers

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
    0, equal stems share their part. Parts, rest and outside add up to the
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
    # for stems of any level: the levels are taken out before the small directions are cut
    level = np.sqrt(np.diagonal(among, axis1=1, axis2=2))  # (K, S)
    scale = np.divide(1, level, out=np.zeros_like(level), where=level > 0)[..., None]  # (K, S, 1)
    correlation = among * scale * scale.transpose(0, 2, 1)
    gains = scale * (np.linalg.pinv(correlation, rtol=SAME, hermitian=True) @ (scale * cross))
    energy = np.diagonal(within, axis1=1, axis2=2)[:, stems:]  # (K, E)
    parts = gains * cross  # (K, S, E)
    modelled = np.einsum("kse,kst,kte->ke", gains, among, gains)
    rest = np.maximum(energy - 2 * parts.sum(axis=1) + modelled, 0)  # |e - sum g s|^2, (K, E)
    axes = (2, 1, 0)  # (K, S, E) -> (E, S, K)
    return BandLeakage(
        names, estimates, gains.transpose(axes), parts.transpose(axes), rest.T,
        np.diagonal(outside)[stems:],
    )  # fmt: skip
