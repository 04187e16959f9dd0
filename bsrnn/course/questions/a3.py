"""a3, bands: Hz to bins, coverage, cost of the split, energy, the band oracle (lesson 04)."""

import math
from fractions import Fraction

import numpy as np

from bsrnn.course.questions import entry, excerpts, numbers, same, several


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


def ranges_of(ask, rng):
    """Bins [(lo, hi), ...] of borders in Hz by exact fractions, some on a bin, some too narrow."""
    for rate, n_fft in ((44100, 2048), (48000, 700), (int(rng.integers(9, 50)) * 1000, 600)):
        fine = np.cumsum(rng.integers(5, 400, 12)).tolist()
        chosen = 1 + np.flatnonzero(rng.random(n_fft // 2 - 1) < 0.4)
        on_bins = [Fraction(i * rate, n_fft) for i in chosen.tolist()]
        for part, exact in {"borders": fine, "borders on bins": on_bins}.items():
            edges = [0, *(math.ceil(b * n_fft / rate) for b in exact), n_fft // 2 + 1]
            want = [e for e in zip(edges, edges[1:], strict=False) if e[0] < e[1]]
            where = f"at {rate} Hz, n_fft {n_fft}"
            with ask.part(part):
                got = ask([b if part == "borders" else float(b) for b in exact], rate, n_fft)
                assert got is not None, "nothing comes back, is there a `return`?"
                got = [tuple(int(i) for i in pair) for pair in got]
                assert got and all(lo < hi for lo, hi in got), "leave out bands without bins"
                assert got[-1][1] == edges[-1], "the last band ends at F = n_fft/2 + 1"
                assert len(got) == len(want), f"{where}: {len(want)} bands, yours {len(got)}"
                for mine, right in zip(got, want, strict=True):
                    assert mine == right, f"{where}: {right} expected, yours {mine}"


def faults(ask, rng):
    """Bins in no band and in several, of sound, broken, unsorted and doubled ranges."""
    for _ in range(4):
        bins = int(rng.integers(30, 60))
        sound = _cut(rng, bins)
        broken = [(lo + int(rng.integers(0, 2)), hi) for lo, hi in sound[1:]]
        broken += [(lo, lo + int(rng.integers(1, 9))) for lo in rng.integers(0, bins - 9, 2)]
        for ranges in (sound, broken, broken[::-1], [*sound, sound[1], sound[1]]):
            count = np.zeros(bins, int)
            for lo, hi in ranges:
                count[lo:hi] += 1
            wants = {"in no band": count == 0, "in several": count > 1}
            for number, (part, bad) in enumerate(wants.items()):
                with ask.part(part):
                    if number == 0:
                        got = several(ask(ranges, bins), *wants)
                    told, want = np.asarray(got[number]).tolist(), np.flatnonzero(bad).tolist()
                    assert told == want, f"{part} are {want}, yours says {told}"


def split_parameters(ask, rng):
    """A number: norm and linear layer of every band of a random partition."""
    for features in (1, int(rng.integers(8, 200))):
        ranges = _cut(rng, int(rng.integers(40, 1000)))
        size = 2 * ranges[-1][1]  # real numbers of all bands together
        biases = features * len(ranges)
        want = size * (features + 2) + biases
        hints = {
            "every linear layer has a bias": want - biases,
            "a norm has a gain and an offset": want - size,
            "the norm has parameters, too": want - 2 * size,
            "a bin is two real numbers": size // 2 * (features + 2) + biases,
        }
        ask.same("count", [ranges, features], want, hints, 1e-12)


def energy_shares(ask, rng):
    """(C, F, T) to (K,), shares of what all bands hold; 0 for silence."""
    for _ in range(3):
        bins = int(rng.integers(20, 50))
        ranges = _cut(rng, bins)[1:]  # the lowest bins belong to no band
        (x,) = _spectra(rng, bins, 1)
        parts = np.array([np.linalg.norm(x[:, lo:hi]) for lo, hi in ranges])
        want = parts**2 / np.sum(parts**2)
        hints = {
            "divide by the sum over all bands": parts**2 / np.linalg.norm(x) ** 2,
            "energies are squares": parts / sum(parts),
        }
        ask.same("shares", [x, ranges], want, hints)
        ask.same("silence", [0 * x, ranges], 0 * want, what="silence")


def band_gains(ask, rng):
    """Complex (C, K, T) equals least squares solved band by band; 0 in a silent one."""
    for _ in range(3):
        bins = int(rng.integers(20, 40))
        ranges = _cut(rng, bins)
        stem, rest = _spectra(rng, bins, 2)
        mixture = stem + rest
        lo, hi = ranges[1]
        stem[0, lo:hi, 0] = mixture[0, lo:hi, 0] = 0
        want = np.zeros((len(stem), len(ranges), stem.shape[2]), complex)
        for c, k, t in np.ndindex(want.shape):
            s, x = (z[c, slice(*ranges[k]), t] for z in (stem, mixture))
            want[c, k, t] = np.linalg.lstsq(x[:, None], s, rcond=None)[0][0] if x.any() else 0
        hints = {
            "the conjugate stands at X, not at S": want.conj(),
            "(C, K, T): channels first": want.swapaxes(0, 1),
            "the gains are complex": want.real + 0j,
        }
        with ask.part("gains"):
            got = numbers(ask(stem, mixture, ranges))
            same(np.where(np.isfinite(got), got, 0), want, hints, 1e-7)
        with ask.part("silence"):
            assert np.isfinite(got).all(), "not finite: 0 where the mixture is silent"
            same(got, want, hints, 1e-7)


def defend(ask, rng):
    """(name, {name: dB}): the scheme whose band oracle reaches most on a real excerpt."""
    for stem in ("vocals", "bass", "drums"):
        piece = excerpts.stems(rng, 16384)
        s, x = (excerpts.spectrum(y, 512, 256) for y in (piece[stem], sum(piece.values())))
        schemes = {name: _cut(rng, s.shape[1]) for name in ("first", "second", "third")}
        want = {name: _bound_db(s, x, ranges) for name, ranges in schemes.items()}
        with ask.part("bounds"):
            got = several(ask(schemes, s, x), "name", "bounds")
            for name, value in want.items():
                hints = {"10 log10 of energies": 2 * value, "upside down": -value}
                same(entry(got[1], name), value, hints, 1e-6, f"the bound of {name}")
        with ask.part("choice"):
            best = max(want, key=want.get)
            assert got[0] == best, f"{best} reaches most, yours says {got[0]}"


def _bound_db(s, x, ranges) -> float:
    """uSDR in dB of the best complex gain of each band, by the angle between stem and mixture."""
    left = 0.0
    for lo, hi in ranges:
        a, b = s[:, lo:hi], x[:, lo:hi]
        energy = np.sum(np.abs(b) ** 2, axis=1)
        shared = np.abs(np.sum(a * b.conj(), axis=1)) ** 2 / np.maximum(energy, 1e-300)
        left += np.sum(np.sum(np.abs(a) ** 2, axis=1) - shared)
    return 10 * math.log10(np.sum(np.abs(s) ** 2) / left)
