"""Who leads under which cost limit? The board of a capstone, with a limit to move. Lesson 15.

`contest_view` is the static twin of `contest_board`; ranks come from `evaluation.standings`.
"""

import textwrap

import ipywidgets as widgets

from bsrnn.common import UsageError
from bsrnn.evaluation.standings import BY, COSTS, standings
from bsrnn.explore.panel import Panel
from bsrnn.plots import contest

SHOWN = ("rank", "score_db", "low_db", "high_db", "behind_low_db", "tied")
LEAST = 5  # percent of the dearest submission


def contest_view(report, prices: dict, cost="macs_per_s", limit=100, by="score_db") -> list:
    """What `contest_board` shows: [Picture, words, standings within the limit].

    report: evaluation.Report with the ladder and all submissions; prices: submission ->
    (parameters, multiply-accumulates per second). limit: percent of the dearest submission's cost.
    by: ranked by "score_db" or, carefully, by "low_db", the lower end of the interval.
    Raises UsageError: no submissions, a limit that is not above 0, an unknown name.
    """
    if not prices or not limit > 0:
        raise UsageError("give at least one submission, and a limit above 0")
    place = COSTS.index(cost) if cost in COSTS else 0
    most = limit / 100 * max(price[place] for price in prices.values())
    inside = {name: price for name, price in prices.items() if price[place] <= most}
    frame = standings(report, inside, cost=cost, by=by)
    note = f" ({report.note})" if report.note else ""
    picture = contest.score_over_cost(frame, prices, cost, most, by, f"The board{note}")
    words = _words(frame, len(prices), most, cost, contest.RANKS[by])
    return [picture, textwrap.fill(words, 88), frame[[*SHOWN, cost, "front"]].round(2)]


def contest_board(report, prices: dict) -> Panel:
    """The board as a widget: which cost, which limit, ranked by what. Arguments as in
    `contest_view`."""
    costs = [(contest.UNITS[cost][1], cost) for cost in reversed(COSTS)]
    ranks = [(words, by) for words, by in zip(("median", "lower end"), BY, strict=True)]
    return Panel(
        lambda **values: contest_view(report, prices, **values),
        "Board",
        cost=widgets.Dropdown(options=costs, description="cost"),
        limit=widgets.IntSlider(60, LEAST, 100, 5, description="limit (% of the dearest)"),
        by=widgets.Dropdown(options=ranks, description="ranked by"),
    )


def _words(frame, count: int, most: float, cost: str, by: str) -> str:
    unit, words = contest.UNITS[cost]
    most = f"At most {most / unit:,.3g} {words}"
    inside = frame[frame["kind"] == "submission"]
    if inside.empty:
        return f"{most}: none of {count} submissions stays."
    first = inside.iloc[0]
    peers = [name for name, row in inside.iterrows() if row["tied"]][1:]
    told = (
        f"not told apart from it by these songs: {', '.join(peers)}"
        if peers
        else "ahead of all others"
    )
    return (
        f"{most}: {len(inside)} of {count} submissions stay. First by the "
        f"{by} is {inside.index[0]} with {first['score_db']:.2f} dB ({first['low_db']:.2f} to "
        f"{first['high_db']:.2f}), {told}."
    )
