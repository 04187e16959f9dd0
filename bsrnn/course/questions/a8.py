"""a8, report: median with interval, paired sign test, protocols that mix (lessons 09 and 10).

Its other questions are answered in words and marked by hand, with the rubric in the notebook.
"""

import math

import numpy as np

from bsrnn.course.questions import numbers, same


def median_interval(ask, rng):
    """(3,) in dB of scores (songs,) with NaN: median, 95 % interval by the same draws."""
    for songs in (6, int(rng.integers(20, 60))):
        values = rng.gamma(2, 3, songs) - 2
        values[rng.integers(0, songs, 2)] = np.nan
        seed, draws = int(rng.integers(0, 10**6)), int(rng.integers(200, 400))
        known = values[np.isfinite(values)]
        n, ordered = len(known), np.sort(known)
        middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
        with ask.part("median"):
            got = numbers(ask(values, draws, seed))
            assert got.shape == (3,), "three numbers are wanted"
            same(got[0], middle, {"not the mean": known.mean()}, what="the median")
        drawn = np.random.default_rng(seed).integers(0, n, (draws, n))
        medians = np.array([np.median(known[row]) for row in drawn])
        with ask.part("interval"):
            same(got[1:], np.quantile(medians, [0.025, 0.975]), what="low and high")


def paired_wins(ask, rng):
    """Wins of each side and the two-sided p, ties and NaN left out; (0, 0, 1) of nothing."""
    for songs in (5, int(rng.integers(12, 40)), 1):
        a = rng.normal(5, 2, songs)
        b = a - rng.normal(0.4, 1, songs)
        if songs > 4:
            a[0], b[1], b[2] = np.nan, np.nan, a[2]
        pairs = [(x, y) for x, y in zip(a, b, strict=True) if x == x and y == y and x != y]
        n, wins = len(pairs), sum(x > y for x, y in pairs)
        tail = sum(math.comb(n, k) for k in range(max(wins, n - wins), n + 1)) / 2**n
        with ask.part("wins"):
            got = numbers(ask(a, b))
            assert got.shape == (3,), "three numbers are wanted"
            same(got[:2], [wins, n - wins], what="the songs that a and b win")
        with ask.part("p"):
            same(got[2], min(1.0, 2 * tail), {"two-sided: twice the tail": min(0.5, tail)})
    nothing = np.array([1.0, np.nan])
    even = np.array([1.0, -1.0, 2.0, -2.0])
    part = "no song, and a draw"
    ask.same(part, [nothing, nothing], (0, 0, 1), what="where no song is left")
    ask.same(part, [even, -even], (2, 2, 1), what="a draw (p is at most 1)")


def mixed(ask, rng):
    """Keys, sorted, that differ or are missing in a row; what is not of the protocol may differ."""
    for _ in range(5):
        keys = rng.permutation(["metric", "songs", "split", "frames"]).tolist() + ["budget"]
        rows = [dict.fromkeys([*keys, "system"], "same") for _ in range(int(rng.integers(2, 6)))]
        want = ["budget", str(rng.choice(keys[:-1]))]
        rows[-1][want[0]] = "other"
        del rows[int(rng.integers(0, len(rows)))][want[1]]
        for number, row in enumerate(rows):
            row["system"] = f"system {number}"  # differs, and may: it is not of the protocol
        with ask.part("keys"):
            got = ask(rows, keys)
            assert got is not None, "nothing comes back, is there a `return`?"
            assert list(got) == want, f"{want} expected, yours {list(got)}"
    with ask.part("one row"):
        assert list(ask([{"metric": "usdr"}], keys)) == [], "one row alone agrees"
