"""Who leads among systems that were scored on the same songs, and at what cost. Lesson 15."""

import numpy as np
import pandas as pd

from bsrnn.common import choose
from bsrnn.evaluation.ladder import NAMES
from bsrnn.evaluation.report import bootstrap_interval

DIGITS = 2  # scores that agree to a hundredth of a dB share a rank
COSTS = ("parameters", "macs_per_s")
SPEEDS = ("real_time", "products_per_s")
BY = ("score_db", "low_db")
COLUMNS = (
    "system", "kind", "rank", "score_db", "low_db", "high_db", "behind_db", "behind_low_db",
    "behind_high_db", "tied", *COSTS, "front",
)  # fmt: skip


def standings(report, prices: dict, speeds=None, cost="macs_per_s", by="score_db", seed: int = 0):
    """A pandas frame, a row per system, best first; rungs of the ladder where their score is.

    report: Report with the ladder and the systems. prices: system -> (parameters,
    multiply-accumulates per second of sound); systems that it lacks are left out. speeds: system ->
    values of `SPEEDS`. cost: of `COSTS`, for the front. by: of `BY`, what ranks.

    A song's score is the mean of its uSDR over the stems that it has; score_db is the median over
    songs, low_db to high_db its 95 % bootstrap interval. rank: equal to 0.01 dB is equal, and the
    cheaper stands first. behind_db: the median of what the first is ahead, song by song, with its
    interval; tied: the interval reaches 0, so these songs do not tell the two apart. front: no
    other costs no more and ranks as high or higher, one of the two strictly.
    """
    place = COSTS.index(choose(cost, COSTS, "cost"))
    choose(by, BY, "ranking")
    songs = report.pivot("usdr").T.groupby(level="system").mean().T  # (songs, systems)
    systems = [name for name in report.systems if name in prices or name in NAMES]
    low_high = {name: bootstrap_interval(songs[name], np.median, seed) for name in systems}
    score = {name: float(songs[name].median()) for name in systems}
    value = {name: round(score[name] if by == "score_db" else low_high[name][0], DIGITS)
             for name in systems}  # fmt: skip
    order = sorted(systems, key=lambda n: (-value[n], prices.get(n, (0, 0))[place], n))
    entries = [name for name in order if name in prices]
    points = {name: (prices[name][place], -value[name]) for name in entries}
    rows = []
    for name in order:
        row = {"system": name, "kind": "submission" if name in prices else "ladder"}
        row |= {"score_db": score[name], "low_db": low_high[name][0], "high_db": low_high[name][1]}
        if name in prices:
            behind = songs[entries[0]] - songs[name]
            low, high = bootstrap_interval(behind, np.median, seed)
            row |= {"behind_db": behind.median(), "behind_low_db": low, "behind_high_db": high}
            row |= {"tied": low <= 0, "rank": 1 + sum(value[o] > value[name] for o in entries)}
            row |= dict(zip(COSTS, prices[name], strict=True))
            mine = points[name]
            beaten = any(o[0] <= mine[0] and o[1] <= mine[1] and o != mine for o in points.values())
            row["front"] = not beaten
        row |= dict(zip(SPEEDS, (speeds or {}).get(name, ()), strict=False))
        rows.append(row)
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *(SPEEDS if speeds else ())]).set_index("system")
    return frame.astype({"rank": "Int64", "parameters": "Int64"})
