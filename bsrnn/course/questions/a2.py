"""a2, masks: the ratio family, binary, bounded masks, the ladder, consistency (lesson 03)."""

import math

import numpy as np

from bsrnn.course.questions import entry, excerpts, numbers, same


def _spectra(rng):
    """Stem and rest (C, F, T): any phases, levels 60 dB apart, some silent bins and equal ones."""
    shape = tuple(rng.integers(2, 7, 3))
    levels = 10 ** rng.uniform(-1.5, 1.5, (2, *shape))
    stem, rest = levels * np.exp(2j * np.pi * rng.random((2, *shape)))
    silent = rng.random(shape) < 0.15
    silent[0, 0, 0] = True
    stem[silent] = 0
    rest[silent] = 0
    stem[0, 0, 1], rest[0, 0, 1] = 2 + 1j, -2 - 1j  # both loud, the mixture is silent
    return stem, rest


def power_mask(answer, rng, part):
    """Real (C, F, T) for random p equals 1 / (1 + (|N| / |S|)^p); 1 in a silent bin."""
    for p in (1, 2, float(rng.uniform(0.3, 5))):
        stem, rest = _spectra(rng)
        mixture = stem + rest
        heard = np.abs(mixture) >= 1e-8
        want, amplitude, whole = np.ones((3, *stem.shape))
        s, n, x = (np.abs(z[heard]) for z in (stem, rest, mixture))
        want[heard] = 1 / (1 + (n / s) ** p)
        amplitude[heard], whole[heard] = (s / x) ** p, s**p / (s**p + x**p)
        hints = [
            (amplitude, "that is |S| / |X|: divide by |S|^p + |N|^p"),
            (whole, "the rest is X - S, not X"),
        ]
        with part("mask"):
            got = numbers(answer(stem.copy(), mixture.copy(), p), "power_mask")
            same(np.where(heard, got, 1), want, f"power_mask, p = {p:.2f}", 1e-6, hints)
        with part("silence"):
            assert np.isfinite(got).all(), "power_mask: not finite: 0/0 in a silent bin is 1"
            same(got, want, f"power_mask, p = {p:.2f}", 1e-6, hints)


def binary_mask(answer, rng, part):
    """0 or 1 in (C, F, T) by the level difference in dB, silent and equal bins included."""
    for threshold_db in (0.0, float(rng.uniform(3, 12)), float(rng.uniform(-12, -3))):
        stem, rest = _spectra(rng)
        want = np.zeros(stem.shape)
        alone = (stem != 0) & (rest == 0)
        want[alone] = 1
        both = (stem != 0) & (rest != 0)
        level = 20 * np.log10(np.abs(stem[both]) / np.abs(rest[both]))
        want[both] = np.where(np.abs(level) < 1e-9, threshold_db < 0, level > threshold_db)
        power = np.zeros(stem.shape)
        power[both] = level > threshold_db / 2
        hints = [(1 - want, "upside down: 1 where the stem is louder")]
        hints.append((power, "magnitudes take 20 log10, powers 10 log10"))
        with part("any threshold" if threshold_db else "at 0 dB"):
            got = numbers(answer(stem.copy(), rest.copy(), threshold_db), "binary_mask")
            assert np.isfinite(got).all() and set(got.real.ravel()) <= {0, 1}, "binary_mask: 0 or 1"
            same(got.astype(float), want, f"binary_mask at {threshold_db:.1f} dB", 1e-9, hints)


def sigmoid_mask(answer, rng, part):
    """Real (C, F, T): the real part of S / X cut to [0, 1]; 1 in a silent bin."""
    for _ in range(3):
        stem, rest = _spectra(rng)
        mixture = stem + rest
        heard = np.abs(mixture) >= 1e-8
        want, free, amplitude = np.ones((3, *stem.shape))
        quotient = stem[heard] / mixture[heard]
        free[heard], amplitude[heard] = quotient.real, np.minimum(np.abs(quotient), 1)
        want[heard] = np.minimum(np.maximum(quotient.real, 0), 1)
        hints = [(free, "a sigmoid stays between 0 and 1"), (amplitude, "|S| / |X| has no phase")]
        with part("mask"):
            got = numbers(answer(stem.copy(), mixture.copy()), "sigmoid_mask")
            same(np.where(heard, got, 1), want, "sigmoid_mask", 1e-6, hints)
        with part("silence"):
            assert np.isfinite(got).all(), "sigmoid_mask: not finite: in a silent bin it is 1"
            same(got, want, "sigmoid_mask", 1e-6, hints)


def ladder_db(answer, rng, part):
    """Four rungs in dB for waveforms (C, L); the best gain by the cosine, not by a search."""
    for channels in (1, 2):
        stem, rest, error = rng.standard_normal((3, channels, int(rng.integers(30, 90))))
        mixture = stem + 10 ** rng.uniform(-1, 1) * rest
        estimate = stem + 10 ** rng.uniform(-2, 0) * error
        names = ["silence", "mixture", "estimate", "best gain"]
        with part("floors"):
            got = answer(stem.copy(), mixture.copy(), estimate.copy())
            assert isinstance(got, dict), "ladder_db: a dict is wanted, rung -> dB"
            assert list(got) == names, f"ladder_db: the rungs are {', '.join(names)}, in this order"
        cosine = np.sum(stem * mixture) / np.linalg.norm(stem) / np.linalg.norm(mixture)
        want = {
            "silence": 0.0,
            "mixture": _sdr(stem, mixture),
            "estimate": _sdr(stem, estimate),
            "best gain": -10 * math.log10(1 - cosine**2),
        }
        for name in names:
            hints = [(-want[name], "upside down"), (2 * want[name], "10 log10 of energies")]
            with part(name if name in ("estimate", "best gain") else "floors"):
                same(entry(got, name), want[name], f"ladder_db of {name}", 1e-7, hints)


def _sdr(s, e):
    """uSDR in dB of (C, L)."""
    return 20 * math.log10(np.linalg.norm(s) / np.linalg.norm(e - s))


def add_up(answer, rng, part):
    """Estimates (S, C, L) meet the mixture (C, L), and all were moved by the same amount."""
    for stems in (2, 3, 5):
        shape = (stems, int(rng.integers(1, 4)), int(rng.integers(5, 40)))
        estimates = rng.standard_normal(shape)
        mixture = rng.standard_normal(shape[1:])
        with part("sum"):
            got = numbers(answer(estimates.copy(), mixture.copy()), "add_up")
            assert got.shape == shape, f"add_up: shape {shape} expected, yours {got.shape}"
            off = np.abs(got.sum(axis=0) - mixture).max()
            assert off < 1e-9, f"add_up: the sum misses the mixture by {off:.2g}"
        with part("equal parts"):
            same(
                got - estimates,
                np.broadcast_to(got[0] - estimates[0], shape),
                "add_up: equal parts",
            )


def match(answer, rng, part):
    """[(stem, sign)] of real estimates in another order, some upside down, all with leaks."""
    for _ in range(3):
        stems = np.stack(list(excerpts.stems(rng).values()))  # (S, C, L)
        order, signs = rng.permutation(len(stems)), rng.choice([-1, 1], len(stems))
        signs[0] = -1
        clean = signs[:, None, None] * stems[order]
        estimates = rng.uniform(0.3, 2, (len(stems), 1, 1)) * clean + 0.02 * stems.sum(axis=0)
        with part("order"):
            got = numbers(answer(stems.copy(), estimates.copy()), "match")
            assert got.shape == (len(stems), 2), "match: a pair (stem, sign) for each estimate"
            back = np.array_equal(got[:, 0], np.argsort(order)) and (got[:, 0] != order).any()
            assert not back, "match: the stem of each estimate, not the estimate of each stem"
            same(got[:, 0], order, "match: the stems")
        with part("polarity"):
            same(got[:, 1], signs, "match: the signs")
