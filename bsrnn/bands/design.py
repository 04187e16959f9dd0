"""Designing bands from data: the band oracle of many schemes at once, and the split it likes best.

The bound is `masks.band_sdr_db(mode="frame")`: one complex mask value per band and frame, the best
one. It is no prediction: a trained network shapes its mask inside each band and has no oracle.
Lesson 04.
"""

from dataclasses import dataclass

import numpy as np

from bsrnn import bands
from bsrnn.bands import frames, oracle
from bsrnn.bands.core import check_count
from bsrnn.common import DataError, UsageError, choose

EXCERPT_S = 6.0
FAMILIES = (
    "equal", "octave", "bark", "erb", "mel", "musical", "tribark", "mel-roformer", "equal-energy",
    "greedy",
)  # fmt: skip
LEARNED = ("equal-energy", "greedy")


@dataclass(frozen=True, eq=False)
class Bound:
    """The band oracle of one excerpt, prepared for any scheme of its n_fft.

    power         (C, F, T) energy of the mixture X
    cross         (S, C, F, T) product X* S of mixture and stem
    energy        (S,) of each stem, counted in the spectrogram
    energy_share  (F,) of the stems in each bin, summed over stems; each stem counts 1

    >>> noise = np.random.default_rng(0).standard_normal((2, 1, 4096))
    >>> bound = Bound.of(dict(zip("ab", noise)), 44100, n_fft=512)
    >>> coarse, fine = (bands.scheme(name, 44100, 512) for name in ("equal1", "equal64"))
    >>> bool((bound.sdr_db(fine) > bound.sdr_db(coarse)).all())
    True
    """

    stems: tuple
    sample_rate: int
    n_fft: int
    energy: np.ndarray
    power: np.ndarray
    cross: np.ndarray
    energy_share: np.ndarray

    @classmethod
    def of(cls, sources: dict, sample_rate: int, n_fft: int = 2048, stems=None) -> "Bound":
        """From sources name -> (C, L); the mixture is their sum. `stems`: bound these only."""
        stems = tuple(stems or sources)
        for stem in stems:
            choose(stem, sources, "stem")
        mixture = frames.centred(sum(sources.values()), n_fft)  # (C, F, T)
        spectra = np.stack([frames.centred(sources[stem], n_fft) for stem in stems])
        energies = np.square(np.abs(spectra)).sum(axis=(1, 3))  # (S, C, F, T) -> (S, F)
        energy = energies.sum(axis=1)  # (S,)
        share = energies / np.where(energy > 0, energy, 1)[:, None]  # (S, F)
        products = oracle.products(spectra, mixture)
        return cls(stems, sample_rate, n_fft, energy, *products, share.sum(axis=0))

    def sdr_db(self, scheme) -> np.ndarray:
        """Bound in dB of each stem, (S,); NaN for a silent one."""
        if (scheme.sample_rate, scheme.n_fft) != (self.sample_rate, self.n_fft):
            raise UsageError(
                f"{scheme.name} is made for {scheme.sample_rate} Hz and n_fft {scheme.n_fft}: use "
                f"scheme.project({self.sample_rate}, {self.n_fft})"
            )
        explained = sum(
            oracle.solve(shapes, self.power[:, lo:hi], self.cross[:, :, lo:hi])[1]
            for lo, hi, shapes in oracle.systems(scheme)
        )
        left = np.maximum(self.energy - explained, 1e-12 * self.energy)  # rounding: 120 dB at most
        with np.errstate(invalid="ignore"):
            return 10 * np.log10(self.energy / left)  # 0 / 0 is NaN


def explained_energy(cross, power):
    """|cross|^2 / power, 0 where the mixture is silent: cross (S, ...), power (...)."""
    return np.divide(
        cross.real**2 + cross.imag**2, power, out=np.zeros(cross.shape), where=power > 0
    )


def bounds(dataset, stems=None, n_fft: int = 2048, seconds: float = EXCERPT_S) -> list:
    """A `Bound` of the middle `seconds` of each song of a dataset; songs where one of `stems` is
    silent there are left out. Takes about 25 MB per song of 6 s stereo and one stem.

    Raises DataError if no song is left.
    """
    made = []
    for song in dataset:
        samples = min(song.samples, round(seconds * song.sample_rate))
        sources = song.sources((song.samples - samples) // 2, samples)
        bound = Bound.of(sources, song.sample_rate, n_fft, stems)
        if (bound.energy > 0).all():
            made.append(bound)
    if not made:
        raise DataError("every song has a silent stem in its middle: choose other stems or songs")
    return made


def greedy(bounds, k: int):
    """K bands by repeated best splits: the border that raises the bound most, K - 1 times.

    The mean over songs and stems of the explained share of energy decides. Each split is the best
    single one; K of them together need not be the best K bands. Compare it on songs that it has not
    seen. bounds: one `Bound` or several of one n_fft.
    """
    bounds = [bounds] if isinstance(bounds, Bound) else list(bounds)
    if len(grids := {(b.sample_rate, b.n_fft) for b in bounds}) != 1:
        raise UsageError("greedy needs bounds of one n_fft and sample rate: make them alike")
    ((rate, n_fft),) = grids
    bins, name = n_fft // 2 + 1, f"greedy{k}"
    check_count(name, k, n_fft)
    best = {(0, bins): _best_split(bounds, 0, bins)}  # band -> (gain, border)
    while len(best) < k:
        low, high = max(best, key=lambda band: best[band][0])
        _, border = best.pop((low, high))
        for part in ((low, border), (border, high)):
            best[part] = _best_split(bounds, *part)
    source = f"greedy splits by the band oracle of {len(bounds)} excerpts"
    return bands.BandScheme(
        name, sorted(best), rate, n_fft, rounding="round", source=source
    ).validate()


def _best_split(bounds, low: int, high: int) -> tuple:
    """(gain, border) of the best cut of the band [low, high); gain -1 if it is one bin wide."""
    if high - low < 2:
        return -1.0, high
    total = np.zeros(high - low - 1)  # one value per inner border
    for bound in bounds:
        power = np.cumsum(bound.power[:, low:high], axis=1)  # (C, W, T)
        cross = np.cumsum(bound.cross[:, :, low:high], axis=2)  # (S, C, W, T)
        below = explained_energy(cross, power).sum(axis=(1, 3))  # (S, W)
        above = explained_energy(cross[:, :, -1:] - cross[:, :, :-1], power[:, -1:] - power[:, :-1])
        gain = below[:, :-1] + above.sum(axis=(1, 3)) - below[:, -1:]  # (S, W - 1)
        scale = np.divide(1, bound.energy, out=np.zeros(len(gain)), where=bound.energy > 0)
        total += scale @ gain / (len(bounds) * len(bound.stems))
    cut = int(total.argmax())
    return float(total[cut]), low + 1 + cut


def family(name: str, k: int, sample_rate: int, n_fft: int, learned=()):
    """The scheme of a family of `FAMILIES` with K bands; `learned`: bounds of the songs from which
    the data-driven ones ("equal-energy", "greedy") are made. Raises UsageError where there is none.
    """
    choose(name, FAMILIES, "family of schemes")
    if name not in LEARNED:
        return bands.scheme(f"{name}{k}", sample_rate, n_fft)
    if not learned:
        raise UsageError(f"{name} is made from data: give bounds of some songs as `learned`")
    if name == "greedy":
        return greedy(learned, k)
    share = sum(bound.energy_share for bound in learned)  # (F,)
    return bands.equal_energy(np.sqrt(share)[:, None], k, sample_rate)


def bound_rows(bounds, scheme, family: str = "") -> list:
    """The median bound of a scheme over songs, one row (a dict) for each stem."""
    values = np.array([bound.sdr_db(scheme) for bound in bounds])  # (songs, S)
    known = {"family": family or scheme.name, "scheme": scheme.name, "bands": len(scheme)}
    return [
        {**known, "stem": stem, "sdr_db": float(middle), "songs": len(bounds)}
        for stem, middle in zip(bounds[0].stems, np.median(values, axis=0), strict=True)
    ]


def curve(bounds, counts, families=FAMILIES, learned=()) -> list:
    """Bound against number of bands: rows of `bound_rows` for every family and count that has a
    scheme at this n_fft."""
    rows = []
    for name in families:
        for k in counts:
            try:
                scheme = family(name, k, bounds[0].sample_rate, bounds[0].n_fft, learned)
            except UsageError:
                if name in LEARNED:
                    raise
                continue
            rows += bound_rows(bounds, scheme, name)
    return rows
