"""a3, bands: Hz to bins, coverage, cost of the split, energy, the band oracle (lesson 04)."""

import math
from fractions import Fraction

import numpy as np

from bsrnn.course.questions import entry, excerpts, numbers, same


def _cut(rng, bins: int) -> list:
    """A partition of the bins into four or more bands of random widths."""
    inner = np.sort(rng.choice(np.arange(1, bins), int(rng.integers(3, 6)), replace=False))
    edges = [0, *inner.tolist(), bins]
    return list(zip(edges, edges[1:], strict=False))


def _spectra(rng, bins: int, count: int):
    """Complex (count, C, F, T) that fall towards high bins."""
    shape = (count, int(rng.integers(1, 4)), bins, int(rng.integers(2, 5)))
    x = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return x * np.exp(-rng.uniform(0, 0.3) * np.arange(bins))[:, None]


def ranges_of(answer, rng, part):
    """Bins [(lo, hi), ...] of borders in Hz by exact fractions, some on a bin, some too narrow."""
    for rate, n_fft in ((44100, 2048), (48000, 700), (int(rng.integers(9, 50)) * 1000, 600)):
        fine = np.cumsum(rng.integers(5, 400, 12)).tolist()
        chosen = 1 + np.flatnonzero(rng.random(n_fft // 2 - 1) < 0.4)
        on_bins = [Fraction(i * rate, n_fft) for i in chosen.tolist()]
        for borders in (fine, [float(b) for b in on_bins]):
            exact = on_bins if borders is not fine else [Fraction(b) for b in fine]
            edges = [0, *(math.ceil(b * n_fft / rate) for b in exact), n_fft // 2 + 1]
            want = [e for e in zip(edges, edges[1:], strict=False) if e[0] < e[1]]
            where = f"ranges_of at {rate} Hz, n_fft {n_fft}"
            with part("borders" if borders is fine else "borders on bins"):
                got = answer(list(borders), rate, n_fft)
                assert got is not None, f"{where}: nothing comes back, is there a `return`?"
                got = [tuple(int(i) for i in pair) for pair in got]
                _same_ranges(got, want, n_fft // 2 + 1, where)


def _same_ranges(got, want, bins, where):
    assert got and all(lo < hi for lo, hi in got), f"{where}: leave out bands without bins"
    assert got[-1][1] == bins, f"{where}: the last band ends at F = n_fft/2 + 1"
    assert len(got) == len(want), f"{where}: {len(want)} bands expected, yours {len(got)}"
    wrong = next((pair for pair in zip(got, want, strict=True) if pair[0] != pair[1]), None)
    assert wrong is None, f"{where}: {wrong[1]} expected, yours {wrong[0]}"


def faults(answer, rng, part):
    """Bins in no band and in several, of sound, broken, unsorted and doubled ranges."""
    for _ in range(4):
        bins = int(rng.integers(30, 60))
        sound = _cut(rng, bins)
        broken = [(lo + int(rng.integers(0, 2)), hi) for lo, hi in sound[1:]]
        broken += [(lo, lo + int(rng.integers(1, 9))) for lo in rng.integers(0, bins - 9, 2)]
        for ranges in (sound, broken, broken[::-1], [*sound, sound[1], sound[1]]):
            members = [i for lo, hi in ranges for i in range(lo, hi)]
            want = [i for i in range(bins) if i not in members]
            twice = sorted({i for i in members if members.count(i) > 1})
            with part("in no band"):
                got = answer(list(ranges), bins)
                assert got is not None and len(got) == 2, "faults: two lists are wanted"
                none, several = (np.asarray(indices).tolist() for indices in got)
                assert none == want, f"faults: in no band are {want}, yours says {none}"
            with part("in several"):
                assert len(got) == 2, "faults: two lists are wanted"
                several = np.asarray(got[1]).tolist()
                assert several == twice, f"faults: in several are {twice}, yours says {several}"


def split_parameters(answer, rng, part):
    """A number: norm and linear layer of every band of a random partition."""
    for features in (1, int(rng.integers(8, 200))):
        ranges = _cut(rng, int(rng.integers(40, 1000)))
        size = 2 * ranges[-1][1]  # real numbers of all bands together
        want = size * (features + 2) + features * len(ranges)
        hints = [
            (want - features * len(ranges), "every linear layer has a bias"),
            (want - size, "a norm has a gain and an offset"),
            (want - 2 * size, "the norm has parameters, too"),
            (size // 2 * (features + 2) + features * len(ranges), "a bin is two real numbers"),
        ]
        with part("count"):
            same(answer(ranges, features), want, "split_parameters", 1e-12, hints)


def energy_shares(answer, rng, part):
    """(C, F, T) to (K,), shares of what all bands hold; 0 for silence."""
    for _ in range(3):
        bins = int(rng.integers(20, 50))
        ranges = _cut(rng, bins)[1:]  # the lowest bins belong to no band
        (x,) = _spectra(rng, bins, 1)
        parts = [np.linalg.norm(x[:, lo:hi]) for lo, hi in ranges]
        want = np.square(parts) / sum(p * p for p in parts)
        hints = [
            (np.square(parts) / np.linalg.norm(x) ** 2, "divide by the sum over all bands"),
            (np.array(parts) / sum(parts), "energies are squares"),
        ]
        with part("shares"):
            same(answer(x.copy(), list(ranges)), want, "energy_shares", 1e-9, hints)
        with part("silence"):
            same(answer(0 * x, list(ranges)), 0 * want, "energy_shares of silence")


def band_gains(answer, rng, part):
    """Complex (C, K, T) equals least squares solved band by band; 0 in a silent one."""
    for _ in range(3):
        bins = int(rng.integers(20, 40))
        ranges = _cut(rng, bins)
        stem, rest = _spectra(rng, bins, 2)
        mixture = stem + rest
        lo, hi = ranges[1]
        stem[0, lo:hi, 0] = mixture[0, lo:hi, 0] = 0
        want = np.zeros((len(stem), len(ranges), stem.shape[2]), complex)
        for place in np.ndindex(want.shape):
            c, k, t = place
            s, x = (z[c, slice(*ranges[k]), t] for z in (stem, mixture))
            want[place] = np.linalg.lstsq(x[:, None], s, rcond=None)[0][0] if x.any() else 0
        hints = [(want.conj(), "the conjugate stands at X, not at S")]
        hints.append((want.swapaxes(0, 1), "(C, K, T): channels first"))
        hints.append((want.real + 0j, "the gains are complex"))
        with part("gains"):
            got = numbers(answer(stem.copy(), mixture.copy(), list(ranges)), "band_gains")
            heard = np.where(np.isfinite(got), got, 0)
            same(heard, want, "band_gains", 1e-7, hints)
        with part("silence"):
            assert np.isfinite(got).all(), "band_gains: not finite: 0 where the mixture is silent"
            same(got, want, "band_gains", 1e-7, hints)


def defend(answer, rng, part):
    """(name, {name: dB}): the scheme whose band oracle reaches most on a real excerpt."""
    for stem in ("vocals", "bass", "drums"):
        piece = excerpts.stems(rng, 16384)
        s, x = (excerpts.spectrum(y, 512, 256) for y in (piece[stem], sum(piece.values())))
        schemes = {name: _cut(rng, s.shape[1]) for name in ("first", "second", "third")}
        want = {name: _bound_db(s, x, ranges) for name, ranges in schemes.items()}
        with part("bounds"):
            got = answer({n: list(r) for n, r in schemes.items()}, s.copy(), x.copy())
            assert isinstance(got, (tuple, list)) and len(got) == 2, "defend: (name, bounds)"
            for name, value in want.items():
                hints = [(2 * value, "10 log10 of energies"), (-value, "upside down")]
                same(entry(got[1], name), value, f"defend: the bound of {name}", 1e-6, hints)
        with part("choice"):
            best = max(want, key=want.get)
            assert got[0] == best, f"defend: {best} reaches most, yours says {got[0]}"


def _bound_db(s, x, ranges) -> float:
    """uSDR in dB of the best complex gain of each band, by the angle between stem and mixture."""
    left = 0.0
    for lo, hi in ranges:
        a, b = s[:, lo:hi], x[:, lo:hi]
        energy = np.sum(np.abs(b) ** 2, axis=1)
        shared = np.abs(np.sum(a * b.conj(), axis=1)) ** 2 / np.maximum(energy, 1e-300)
        left += np.sum(np.sum(np.abs(a) ** 2, axis=1) - shared)
    return 10 * math.log10(np.sum(np.abs(s) ** 2) / left)
