"""The leaderboard of an evaluation, a sweep or a capstone: who leads on the same songs, and at what
cost. `plots.score_over_cost` draws it. Lessons 13 and 15.

    board = evaluation.leaderboard(report.songs(), {"model": {"macs_per_second": 2e9}})
    evaluation.readable(board)
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from bsrnn.common import choose
from bsrnn.evaluation.ladder import NAMES
from bsrnn.evaluation.report import bootstrap_interval, student_interval

DIGITS = 2  # scores that agree to a hundredth of a dB share a rank


class Cost(NamedTuple):
    """How a cost is shown: in words with its unit, as a number of that unit, one unit."""

    words: str
    form: str
    unit: float = 1.0


COSTS = {
    "parameters": Cost("parameters", "{:,.0f}"),
    "macs_per_second": Cost("GMAC per second of sound", "{:,.3f}", 1e9),
    "training_macs": Cost("training GMAC", "{:,.2f}", 1e9),  # forward, of all examples
    "cpu_seconds": Cost("training CPU s", "{:,.1f}"),
    "seconds": Cost("training s", "{:,.1f}"),
    "real_time": Cost("s per second of sound", "{:.3f}"),  # on the machine of the board
    "products": Cost("matrix products per second of sound", "{:,.1f}"),  # see `capstone.measured`
}


def leaderboard(values, costs: dict, over="songs", cost="macs_per_second"):
    """A pandas frame, a row per system, best first; rungs of the ladder where their score is.

    values: pandas frame in dB, a row per song (`Report.songs`) or per seed, a column per system.
    costs: system -> values by names of `COSTS`; systems that it lacks are left out. over: "songs"
    or "seeds", what the rows are. cost: of `COSTS`, for the front.

    score_db with its 95 % interval: over songs the median with a bootstrap, beside it mean_db; over
    seeds the mean with Student's. rank: equal to 0.01 dB is equal, the cheaper stands first.
    behind_db: what the first is ahead, row by row; tied: its interval reaches 0. front: `pareto`.
    """
    choose(cost, COSTS, "cost")
    choose(over, ("songs", "seeds"), "repetition")

    def interval(column):
        if over == "songs":
            return float(column.median()), *bootstrap_interval(column)
        return float(column.mean()), *student_interval(column)

    rows = {}
    for name in values:
        if name in NAMES or name in costs:
            score, low, high = interval(values[name])
            row = {"kind": "system" if name in costs else "ladder", "score_db": score}
            row |= {"mean_db": float(values[name].mean())} if over == "songs" else {}
            rows[name] = row | {"low_db": low, "high_db": high} | costs.get(name, {})
    value = {name: round(row["score_db"], DIGITS) for name, row in rows.items()}
    price = {name: row.get(cost, np.nan if name in costs else 0) for name, row in rows.items()}
    order = sorted(rows, key=lambda name: (-value[name], price[name], name))
    entries = [name for name in order if name in costs]
    best = pareto([price[name] for name in entries], [value[name] for name in entries])
    for place, name in enumerate(entries):
        behind, low, high = interval(values[entries[0]] - values[name])
        rows[name] |= {
            "rank": 1 + sum(value[other] > value[name] for other in entries),
            "behind_db": behind, "behind_low_db": low, "behind_high_db": high,
            "tied": low <= 0, "front": place in best, over: int(values[name].notna().sum()),
        }  # fmt: skip
    columns = ["kind", "rank", "score_db", *(["mean_db"] if over == "songs" else []), "low_db"]
    columns += ["high_db", over, "behind_db", "behind_low_db", "behind_high_db", "tied", "front"]
    columns += [name for name in COSTS if name == cost or any(name in row for row in rows.values())]
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(order, columns=columns)
    return table.rename_axis("system").astype({"rank": "Int64", over: "Int64"})


def readable(board, leave: tuple = ()) -> pd.DataFrame:
    """A leaderboard as text, with units. leave: names of columns to leave out."""
    text = pd.DataFrame(index=board.index).rename_axis(columns=board.columns.name)
    hidden = ["kind", "behind_db", "behind_high_db", *leave]
    for name, values in board.drop(columns=hidden, errors="ignore").items():
        form = "{:.2f}" if name.endswith("_db") else "{}"
        shown = COSTS.get(name, Cost(name, form))
        scaled = values if shown.unit == 1 else values / shown.unit
        text[shown.words] = scaled.map(shown.form.format).where(values.notna(), "")
    return text


def pareto(cost, value) -> list[int]:
    """Positions of the points that no other one beats: none costs no more and is worth no less,
    one of the two strictly. Points of unknown cost are on no front.

    >>> pareto([1, 2, 3, 3], [5.0, 4.0, 6.0, 6.0])
    [0, 2, 3]
    """
    known = [place for place in range(len(cost)) if not np.isnan(cost[place])]
    front = []
    for place in sorted(known, key=lambda i: (cost[i], -value[i])):
        point = cost[place], value[place]
        last = (cost[front[-1]], value[front[-1]]) if front else None
        if last is None or value[place] > last[1] or point == last:
            front.append(place)
    return front
