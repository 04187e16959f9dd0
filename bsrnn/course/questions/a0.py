"""a0, warm-up: levels, mid and side, mixture consistency, the lazy separator (lessons 00, 01)."""

import math

import numpy as np

from bsrnn.course.questions import entry, excerpts, numbers, same


def _stems(rng, channels: int = 2) -> dict:
    """Stems of one length and unequal levels, not correlated, with an offset: name -> (C, L)."""
    samples = int(rng.integers(50, 200))
    names = rng.permutation(["vocals", "drums", "bass", "other"])[: int(rng.integers(2, 5))]
    gains = 10 ** rng.uniform(-2, 0, len(names))
    return {
        str(name): gain * (rng.standard_normal((channels, samples)) + 0.3)
        for name, gain in zip(names, gains, strict=True)
    }


def level_db(answer, rng, part):
    """RMS in dB of full scale over all channels of (C, L) at random levels; -inf for silence."""
    for channels in (1, 2, 5):
        x = 10 ** rng.uniform(-3, 0) * rng.standard_normal((channels, int(rng.integers(20, 90))))
        x[0] *= 4 - 3 * (channels == 1)
        want = 10 * math.log10(math.fsum((x * x).ravel()) / x.size)
        first = 10 * math.log10(np.mean(x[0] ** 2))
        total = 10 * math.log10(np.sum(x * x))
        hints = [
            (2 * want, "20 log10 is for amplitudes, 10 log10 for powers"),
            (total, "the mean of the squares, not their sum"),
            (first, "all channels count"),
        ]
        with part("value"):
            same(answer(x.copy()), want, "level_db", 1e-9, hints)
    with part("silence"):
        same(answer(np.zeros((2, 9))), -math.inf, "level_db of silence")


def mid_side(answer, rng, part):
    """(2, L) is rotated by 45 degrees: left + right first, and the energy stays."""
    for _ in range(3):
        x = rng.standard_normal((2, int(rng.integers(5, 60))))
        rotation = np.array([[1, 1], [1, -1]]) * math.cos(math.pi / 4)
        want = rotation @ x
        half = [(want / math.sqrt(2), "the energy has halved: divide by the root of 2")]
        half += [(want[::-1], "mid first, then side"), (want * [[1], [-1]], "left minus right")]
        with part("rotation"):
            same(answer(x.copy()), want, "mid_side", 1e-9, half)


def inconsistency_db(answer, rng, part):
    """Energy that the stems (C, L) leave, in dB of the mixture's; -inf where they add up."""
    for channels in (1, 2):
        sources = _stems(rng, channels)
        missing = 10 ** rng.uniform(-4, 0) * rng.standard_normal(sources[list(sources)[0]].shape)
        mixture = np.add.reduce(list(sources.values())) + missing
        ratio = np.linalg.norm(missing) / np.linalg.norm(mixture)
        hints = [(10 * math.log10(ratio), "10 log10 of energies, not of amplitudes")]
        hints.append((-20 * math.log10(ratio), "upside down: relative to the mixture"))
        with part("value"):
            got = answer(mixture.copy(), {name: x.copy() for name, x in sources.items()})
            same(got, 20 * math.log10(ratio), "inconsistency_db", 1e-6, hints)
    whole = rng.integers(-9, 9, (3, 2, 30)).astype(float) + 0.5
    with part("adds up"):
        got = answer(whole.sum(axis=0), dict(enumerate(whole)))
        same(got, -math.inf, "inconsistency_db of stems that add up")


def lazy_sdr_db(answer, rng, part):
    """Each stem (C, L) over the sum of the others in dB: random stems, unequal levels."""
    for channels in (1, 2, 2):
        sources = _stems(rng, channels)
        with part("names"):
            got = answer({name: x.copy() for name, x in sources.items()})
            assert isinstance(got, dict), "lazy_sdr_db: a dict is wanted, stem name -> dB"
            assert set(got) == set(sources), "lazy_sdr_db: the same stem names as in sources"
        for name, s in sources.items():
            rest = sum(x for other, x in sources.items() if other != name)
            want = 20 * math.log10(np.linalg.norm(s) / np.linalg.norm(rest))
            alone = sum(np.sum(x**2) for other, x in sources.items() if other != name)
            alone = 10 * math.log10(np.sum(s**2) / alone)
            hints = [(-want, "upside down: the stem's energy is above the line")]
            hints += [(alone, "add the waveforms, not their energies"), (want / 2, "10 log10")]
            with part("values"):
                same(entry(got, name), want, f"lazy_sdr_db of {name}", 1e-9, hints)


def active_share(answer, rng, part):
    """Blocks of (C, L) at known levels around threshold_db; a loud rest does not count."""
    for channels in (1, 2, 3):
        block, count = int(rng.integers(20, 40)), int(rng.integers(11, 19))
        threshold_db = float(rng.uniform(-60, -20))
        loud = rng.random(count) < 0.6
        level_db = threshold_db + np.where(loud, 1, -1) * rng.uniform(0.5, 20, count)
        x = rng.standard_normal((channels, count, block)) * rng.uniform(0.1, 1, (channels, 1, 1))
        x *= (10 ** (level_db / 20) / np.sqrt(np.mean(x**2, axis=(0, 2))))[:, None]
        tail = np.ones((channels, int(rng.integers(1, block))))  # loud, and to be left out
        hints = [((loud.sum() + 1) / (count + 1), "the incomplete last block does not count")]
        hints.append((1 - loud.mean(), "the share above the threshold, not below"))
        with part("share"):
            got = answer(np.concatenate([x.reshape(channels, -1), tail], 1), block, threshold_db)
            same(got, loud.mean(), "active_share", 1e-9, hints)


def find_fault(answer, rng, part):
    """("click" or "dropout", s): one of them was planted in a second of the real clip."""
    for kind in ("click", "dropout", "dropout", "click"):
        x = sum(excerpts.stems(rng).values())
        first, length = int(rng.integers(4000, 38000)), int(rng.integers(500, 2000))
        if kind == "click":
            x[:, first] = rng.choice([-1, 1])
        else:
            x[:, first : first + length] = 0
        with part("what"):
            got = answer(x.copy(), excerpts.RATE)
            pair = isinstance(got, (tuple, list)) and len(got) == 2
            assert pair, "find_fault: (word, seconds) is wanted"
            assert got[0] == kind, f"find_fault: it is a {kind}, yours says {got[0]}"
        with part("where"):
            second = float(numbers(got[1], "find_fault: the second"))
            assert abs(second - first) > 2, "find_fault: seconds, not samples"
            off_ms = 1000 * (second - first / excerpts.RATE)
            assert abs(off_ms) < 1, f"find_fault: the {kind} begins {-off_ms:.3g} ms after yours"
