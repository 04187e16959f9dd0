"""a8, report: median with interval, paired sign test, protocols that mix (lessons 09 and 10).

Its other questions are answered in words and marked by hand, with the rubric in the notebook.
"""

import numpy as np

from bsrnn.course.questions import numbers, same


def median_interval(answer, rng, part):
    """(3,) in dB of scores (songs,) with NaN: median, 95 % interval by the same draws."""
    for songs in (6, int(rng.integers(20, 60))):
        values = rng.gamma(2, 3, songs) - 2
        values[rng.integers(0, songs, 2)] = np.nan
        seed, draws = int(rng.integers(0, 10**6)), int(rng.integers(200, 400))
        known = np.sort(values[np.isfinite(values)])
        n = len(known)
        middle = (known[(n - 1) // 2] + known[n // 2]) / 2
        hints = [(known.mean(), "not the mean")]
        with part("median"):
            got = numbers(answer(values.copy(), draws, seed), "median_interval")
            assert got.shape == (3,), "median_interval: three numbers are wanted"
            same(got[0], middle, "median_interval: the median", hints=hints)
        ordered = values[np.isfinite(values)]
        drawn = np.random.default_rng(seed).integers(0, n, (draws, n))
        medians = np.array([np.median(ordered[row]) for row in drawn])
        ends = np.quantile(medians, [0.025, 0.975])
        with part("interval"):
            same(got[1:], ends, "median_interval: low and high")


def paired_wins(answer, rng, part):
    """Wins of each side and the two-sided p, ties and NaN left out; (0, 0, 1) of nothing."""
    for songs in (5, int(rng.integers(12, 40)), 1):
        a = rng.normal(5, 2, songs)
        b = a - rng.normal(0.4, 1, songs)
        if songs > 4:
            a[0], b[1], b[2] = np.nan, np.nan, a[2]
        pairs = [(x, y) for x, y in zip(a, b, strict=True) if x == x and y == y and x != y]
        wins = sum(x > y for x, y in pairs)
        want = (wins, len(pairs) - wins, _two_sided(wins, len(pairs)))
        hints = [(want[2] / 2, "two-sided: twice the tail")]
        with part("wins"):
            got = numbers(answer(a.copy(), b.copy()), "paired_wins")
            assert got.shape == (3,), "paired_wins: three numbers are wanted"
            same(got[:2], want[:2], "paired_wins: the songs that a and b win")
        with part("p"):
            same(got[2], want[2], "paired_wins: p", 1e-9, hints)
    nothing = np.array([1.0, np.nan])
    even = np.array([1.0, -1.0, 2.0, -2.0])
    with part("no song, and a draw"):
        same(answer(nothing, nothing), (0, 0, 1), "paired_wins where no song is left")
        same(answer(even, -even), (2, 2, 1), "paired_wins of a draw (p is at most 1)")


def _two_sided(wins: int, songs: int) -> float:
    """The p value by adding up a row of Pascal's triangle."""
    row = np.ones(1)
    for _ in range(songs):
        row = np.convolve(row, [0.5, 0.5])
    return min(1.0, 2 * row[max(wins, songs - wins) :].sum())


def mixed(answer, rng, part):
    """Keys, sorted, that differ or are missing in a row; what is not of the protocol may differ."""
    for _ in range(5):
        keys = rng.permutation(["metric", "songs", "split", "frames"]).tolist() + ["budget"]
        rows = [dict.fromkeys([*keys, "system"], "same") for _ in range(int(rng.integers(2, 6)))]
        want = ["budget", str(rng.choice(keys[:-1]))]
        rows[-1][want[0]] = "other"
        del rows[int(rng.integers(0, len(rows)))][want[1]]
        for number, row in enumerate(rows):
            row["system"] = f"system {number}"  # differs, and may: it is not of the protocol
        with part("keys"):
            got = answer([dict(row) for row in rows], list(keys))
            assert got is not None, "mixed: nothing comes back, is there a `return`?"
            assert list(got) == want, f"mixed: {want} expected, yours {list(got)}"
    with part("one row"):
        assert list(answer([{"metric": "usdr"}], list(keys))) == [], "mixed: one row alone agrees"
