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


def _mask(ask, arguments, heard, want, hints, what=""):
    """The mask where the mixture is `heard`, then what it is where nothing is."""
    with ask.part("mask"):
        got = numbers(ask(*arguments))
        same(np.where(heard, got, 1), want, hints, 1e-6, what)
    with ask.part("silence"):
        assert np.isfinite(got).all(), "not finite: in a silent bin the mask is 1"
        same(got, want, hints, 1e-6, what)


def power_mask(ask, rng):
    """Real (C, F, T) for random p equals 1 / (1 + (|N| / |S|)^p); 1 in a silent bin."""
    for p in (1, 2, float(rng.uniform(0.3, 5))):
        stem, rest = _spectra(rng)
        mixture = stem + rest
        heard = np.abs(mixture) >= 1e-8
        want, amplitude, whole = np.ones((3, *stem.shape))
        s, n, x = (np.abs(z[heard]) for z in (stem, rest, mixture))
        want[heard] = 1 / (1 + (n / s) ** p)
        amplitude[heard], whole[heard] = (s / x) ** p, s**p / (s**p + x**p)
        hints = {
            "that is |S| / |X|: divide by |S|^p + |N|^p": amplitude,
            "the rest is X - S, not X": whole,
        }
        _mask(ask, [stem, mixture, p], heard, want, hints, f"p = {p:.2f}")


def binary_mask(ask, rng):
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
        hints = {
            "upside down: 1 where the stem is louder": 1 - want,
            "magnitudes take 20 log10, powers 10 log10": power,
        }
        with ask.part("any threshold" if threshold_db else "at 0 dB"):
            got = numbers(ask(stem, rest, threshold_db))
            assert np.isfinite(got).all() and set(got.real.ravel()) <= {0, 1}, "0 or 1 is wanted"
            same(got.astype(float), want, hints, what=f"at {threshold_db:.1f} dB")


def sigmoid_mask(ask, rng):
    """Real (C, F, T): the real part of S / X cut to [0, 1]; 1 in a silent bin."""
    for _ in range(3):
        stem, rest = _spectra(rng)
        mixture = stem + rest
        heard = np.abs(mixture) >= 1e-8
        want, free, amplitude = np.ones((3, *stem.shape))
        quotient = stem[heard] / mixture[heard]
        free[heard], amplitude[heard] = quotient.real, np.minimum(np.abs(quotient), 1)
        want[heard] = np.minimum(np.maximum(quotient.real, 0), 1)
        hints = {"a sigmoid stays between 0 and 1": free, "|S| / |X| has no phase": amplitude}
        _mask(ask, [stem, mixture], heard, want, hints)


def ladder_db(ask, rng):
    """Four rungs in dB for waveforms (C, L); the best gain by the cosine, not by a search."""
    for channels in (1, 2):
        stem, rest, error = rng.standard_normal((3, channels, int(rng.integers(30, 90))))
        mixture = stem + 10 ** rng.uniform(-1, 1) * rest
        estimate = stem + 10 ** rng.uniform(-2, 0) * error
        names = ["silence", "mixture", "estimate", "best gain"]
        with ask.part("floors"):
            got = ask(stem, mixture, estimate)
            assert isinstance(got, dict), "a dict is wanted, rung -> dB"
            assert list(got) == names, f"the rungs are {', '.join(names)}, in this order"
        cosine = np.sum(stem * mixture) / np.linalg.norm(stem) / np.linalg.norm(mixture)
        want = {
            "silence": 0.0,
            "mixture": _sdr(stem, mixture),
            "estimate": _sdr(stem, estimate),
            "best gain": -10 * math.log10(1 - cosine**2),
        }
        for name, value in want.items():
            hints = {"upside down": -value, "10 log10 of energies": 2 * value}
            with ask.part(name if name in ("estimate", "best gain") else "floors"):
                same(entry(got, name), value, hints, 1e-7, name)


def _sdr(s, e):
    """uSDR in dB of (C, L)."""
    return 20 * math.log10(np.linalg.norm(s) / np.linalg.norm(e - s))


def add_up(ask, rng):
    """Estimates (S, C, L) meet the mixture (C, L), and all were moved by the same amount."""
    for stems in (2, 3, 5):
        shape = (stems, int(rng.integers(1, 4)), int(rng.integers(5, 40)))
        estimates = rng.standard_normal(shape)
        mixture = rng.standard_normal(shape[1:])
        with ask.part("sum"):
            got = numbers(ask(estimates, mixture))
            assert got.shape == shape, f"shape {shape} expected, yours {got.shape}"
            off = np.abs(got.sum(axis=0) - mixture).max()
            assert off < 1e-9, f"the sum misses the mixture by {off:.2g}"
        with ask.part("equal parts"):
            moved = got - estimates
            same(moved, np.broadcast_to(moved[0], shape), what="equal parts")


def match(ask, rng):
    """[(stem, sign)] of real estimates in another order, some upside down, all with leaks."""
    for _ in range(3):
        stems = np.stack(list(excerpts.stems(rng).values()))  # (S, C, L)
        order, signs = rng.permutation(len(stems)), rng.choice([-1, 1], len(stems))
        signs[0] = -1
        clean, mixture = signs[:, None, None] * stems[order], stems.sum(axis=0)
        level = np.linalg.norm(clean, axis=(1, 2), keepdims=True) / np.linalg.norm(mixture)
        gain = rng.uniform(0.3, 2, (len(stems), 1, 1))
        estimates = gain * clean + 0.02 * level * mixture  # a soft stem leaks less
        with ask.part("order"):
            got = numbers(ask(stems, estimates))
            assert got.shape == (len(stems), 2), "a pair (stem, sign) for each estimate"
            hints = {"the stem of each estimate, not the estimate of each stem": np.argsort(order)}
            same(got[:, 0], order, hints, what="the stems")
        with ask.part("polarity"):
            same(got[:, 1], signs, what="the signs")
