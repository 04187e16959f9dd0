"""The figure of a board: score against cost, with limit and ladder. Data in, Figure out.

Lesson 15.
"""

from bsrnn.errors import choose
from bsrnn.evaluation.standings import COSTS
from bsrnn.plots.style import PALETTE, describe, figure

WORDS = {"parameters": "parameters", "macs_per_s": "multiply-accumulates per second of sound"}
UNITS = {"parameters": (1e3, "thousand parameters"), "macs_per_s": (1e6, "MMAC per second")}
RANKS = {"score_db": "median uSDR", "low_db": "lower end of the interval of the median uSDR"}
GREY = "#888888"


def score_over_cost(
    frame, prices: dict, cost="macs_per_s", limit=None, by="score_db", title="The board"
):
    """Submissions by cost and score, with intervals, the front, the limit and the ladder.

    frame: `evaluation.standings` of those within the limit, ranked by `by`, which is where the
    points lie; prices: of all, (parameters, multiply-accumulates per second). Who is beyond the
    limit is a cross on the axis; a dotted line is a rung of the ladder.
    """
    place = COSTS.index(choose(cost, COSTS, "cost"))
    unit, unit_words = UNITS[cost]
    picture, axes = figure(title, width=8, height=4)
    inside = frame[frame["kind"] == "submission"]
    for name, row in frame[frame["kind"] == "ladder"].iterrows():
        axes.axhline(row["score_db"], color=GREY, lw=1, ls=":")
        axes.annotate(f"{name} {row['score_db']:.1f}", (1, row["score_db"]), (-2, 2), fontsize=7,
                      xycoords=("axes fraction", "data"), textcoords="offset points", ha="right",
                      color="#555555")  # fmt: skip
    colours = dict(zip(sorted(prices), PALETTE * len(prices), strict=False))
    for name, row in inside.iterrows():
        x, colour = row[cost] / unit, colours[name]
        axes.plot([x, x], [row["low_db"], row["high_db"]], color=colour, lw=2)
        face = colour if row["front"] else "white"
        axes.plot(x, row[by], "o", color=colour, mfc=face, ms=7, zorder=4)
        axes.annotate(f"{row['rank']} {name}", (x, row[by]), (6, 3), fontsize=8,
                      textcoords="offset points")  # fmt: skip
    front = inside[inside["front"].astype(bool)].sort_values(cost)
    axes.step(front[cost] / unit, front[by], where="post", color="#555555", lw=1)
    out = sorted(set(prices) - set(inside.index))
    floor = axes.get_ylim()[0]
    for name in out:
        axes.plot(prices[name][place] / unit, floor, "x", color=colours[name], clip_on=False)
    if limit is not None:
        axes.axvline(limit / unit, color="black", lw=1, ls="--")
    top = max(price[place] for price in prices.values()) / unit if prices else 1
    axes.set(xlabel=unit_words, ylabel=f"{RANKS[by]} (dB)", xlim=(0, 1.15 * top))
    axes.set_ylim(floor)
    words = [f"{n} {r[by]:.1f} dB for {r[cost] / unit:.0f}" for n, r in inside.iterrows()]
    rungs = [f"{n} {r['score_db']:.1f}" for n, r in frame.iterrows() if r["kind"] == "ladder"]
    return describe(
        picture,
        f"The {RANKS[by]} against {unit_words}: "
        f"{', '.join(words) or 'nobody within the limit'}"
        f"{'; beyond the limit ' + ', '.join(out) if out else ''}. Ladder in dB: "
        f"{', '.join(rungs)}. Filled: on the front.",
    )
