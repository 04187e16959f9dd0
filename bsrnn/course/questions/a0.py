"""a0, warm-up: levels, mid and side, mixture consistency, the lazy separator (lessons 00, 01)."""

import math

import numpy as np

from bsrnn.course.questions import entry, excerpts, numbers, same, several


def _stems(rng, channels: int = 2) -> dict:
    """Stems of one length and unequal levels, not correlated, with an offset: name -> (C, L)."""
    samples = int(rng.integers(50, 200))
    names = rng.permutation(["vocals", "drums", "bass", "other"])[: int(rng.integers(2, 5))]
    gains = 10 ** rng.uniform(-2, 0, len(names))
    return {
        str(name): gain * (rng.standard_normal((channels, samples)) + 0.3)
        for name, gain in zip(names, gains, strict=True)
    }


def level_db(ask, rng):
    """RMS in dB of full scale over all channels of (C, L) at random levels; -inf for silence."""
    for channels in (1, 2, 5):
        x = 10 ** rng.uniform(-3, 0) * rng.standard_normal((channels, int(rng.integers(20, 90))))
        x[0] *= 4 - 3 * (channels == 1)
        want = 10 * math.log10(math.fsum((x * x).ravel()) / x.size)
        hints = {
            "20 log10 is for amplitudes, 10 log10 for powers": 2 * want,
            "the mean of the squares, not their sum": 10 * math.log10(np.sum(x * x)),
            "all channels count": 10 * math.log10(np.mean(x[0] ** 2)),
        }
        ask.same("value", [x], want, hints)
    ask.same("silence", [np.zeros((2, 9))], -math.inf, what="silence")


def mid_side(ask, rng):
    """(2, L) is rotated by 45 degrees: left + right first, and the energy stays."""
    for _ in range(3):
        x = rng.standard_normal((2, int(rng.integers(5, 60))))
        want = np.array([[1, 1], [1, -1]]) * math.cos(math.pi / 4) @ x
        hints = {
            "the energy has halved: divide by the root of 2": want / math.sqrt(2),
            "mid first, then side": want[::-1],
            "left minus right": want * [[1], [-1]],
        }
        ask.same("rotation", [x], want, hints)


def inconsistency_db(ask, rng):
    """Energy that the stems (C, L) leave, in dB of the mixture's; -inf where they add up."""
    for channels in (1, 2):
        sources = _stems(rng, channels)
        missing = 10 ** rng.uniform(-4, 0) * rng.standard_normal(sources[list(sources)[0]].shape)
        mixture = np.add.reduce(list(sources.values())) + missing
        want = 20 * math.log10(np.linalg.norm(missing) / np.linalg.norm(mixture))
        hints = {
            "10 log10 of energies, not of amplitudes": want / 2,
            "upside down: relative to the mixture": -want,
        }
        ask.same("value", [mixture, sources], want, hints, 1e-6)
    whole = rng.integers(-9, 9, (3, 2, 30)).astype(float) + 0.5
    arguments = [whole.sum(axis=0), dict(enumerate(whole))]
    ask.same("adds up", arguments, -math.inf, what="stems that add up")


def lazy_sdr_db(ask, rng):
    """Each stem (C, L) over the sum of the others in dB: random stems, unequal levels."""
    for channels in (1, 2, 2):
        sources = _stems(rng, channels)
        with ask.part("names"):
            got = ask(sources)
            assert isinstance(got, dict), "a dict is wanted, stem name -> dB"
            assert set(got) == set(sources), "the same stem names as in sources"
        for name, s in sources.items():
            others = [x for other, x in sources.items() if other != name]
            want = 20 * math.log10(np.linalg.norm(s) / np.linalg.norm(sum(others)))
            alone = 10 * math.log10(np.sum(s**2) / np.sum(np.square(others)))
            hints = {
                "upside down: the stem's energy is above the line": -want,
                "add the waveforms, not their energies": alone,
                "10 log10": want / 2,
            }
            with ask.part("values"):
                same(entry(got, name), want, hints, what=name)


def active_share(ask, rng):
    """Blocks of (C, L) at known levels around threshold_db; a loud rest does not count."""
    for channels in (1, 2, 3):
        block, count = int(rng.integers(20, 40)), int(rng.integers(11, 19))
        threshold_db = float(rng.uniform(-60, -20))
        loud = rng.random(count) < 0.6
        level_db = threshold_db + np.where(loud, 1, -1) * rng.uniform(0.5, 20, count)
        x = rng.standard_normal((channels, count, block)) * rng.uniform(0.1, 1, (channels, 1, 1))
        x *= (10 ** (level_db / 20) / np.sqrt(np.mean(x**2, axis=(0, 2))))[:, None]
        tail = np.ones((channels, int(rng.integers(1, block))))  # loud, and to be left out
        hints = {
            "the incomplete last block does not count": (loud.sum() + 1) / (count + 1),
            "the share above the threshold, not below": 1 - loud.mean(),
        }
        whole = np.concatenate([x.reshape(channels, -1), tail], 1)
        ask.same("share", [whole, block, threshold_db], loud.mean(), hints)


def find_fault(ask, rng):
    """("click" or "dropout", s): one of them was planted in a second of the real clip."""
    for kind in ("click", "dropout", "dropout", "click"):
        x = sum(excerpts.stems(rng).values())
        first, length = int(rng.integers(4000, 38000)), int(rng.integers(500, 2000))
        if kind == "click":
            x[:, first] = rng.choice([-1, 1])
        else:
            x[:, first : first + length] = 0
        with ask.part("what"):
            got = several(ask(x, excerpts.RATE), "word", "seconds")
            assert got[0] == kind, f"it is a {kind}, yours says {got[0]}"
        with ask.part("where"):
            second = float(numbers(got[1]))
            assert abs(second - first) > 2, "seconds, not samples"
            off_ms = 1000 * (second - first / excerpts.RATE)
            assert abs(off_ms) < 1, f"the {kind} begins {-off_ms:.3g} ms after yours"
