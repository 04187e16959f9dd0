"""The figure of a board: score against cost, with limit and ladder. Data in, Figure out.

Lesson 15.
"""

from bsrnn.common import choose
from bsrnn.evaluation.standings import COSTS
from bsrnn.plots.style import PALETTE, describe, figure

UNITS = {"parameters": (1e3, "thousand parameters"), "macs_per_s": (1e6, "MMAC per second")}
RANKS = {"score_db": "median uSDR", "low_db": "lower end of the interval of the median uSDR"}
GREY = "#888888"


def score_over_cost(
    frame, prices: dict, cost="macs_per_s", limit=None, by="score_db", title="The board"
):
    """Submissions by cost and score: left among the ladder, right at close range.

    frame: `evaluation.standings` of those within the limit, ranked by `by`, which is where the
    points lie; prices: of all, (parameters, multiply-accumulates per second). A bar is the 95 %
    interval, filled points are on the front; who is beyond the limit is a cross on the axis.
    """
    place = COSTS.index(choose(cost, COSTS, "cost"))
    unit, unit_words = UNITS[cost]
    picture, (whole, axes) = figure(title, columns=2, width=8, height=3.8, width_ratios=[1, 3.2])
    inside = frame[frame["kind"] == "submission"]
    rungs = frame[frame["kind"] == "ladder"][by]
    colours = dict(zip(sorted(prices), PALETTE * len(prices), strict=False))
    for name, value in rungs.items():
        whole.axhline(value, color=GREY, lw=1, ls=":")
        whole.annotate(f"{name} {value:.1f}", (0, value), (0, 2), fontsize=7, color="#444444",
                       textcoords="offset points", ha="center")  # fmt: skip
    for name, row in inside.iterrows():
        whole.plot([-0.25, 0.25], [row[by]] * 2, color=colours[name], lw=2)
    whole.set(ylabel=f"{RANKS[by]} (dB)", xlim=(-1, 1), xticks=[])
    whole.set_xlabel("all, with the ladder")
    front = inside[inside["front"].astype(bool)].sort_values(cost)
    axes.step(front[cost] / unit, front[by], where="post", color="#999999", lw=1)
    taken = []
    for name, row in inside.iterrows():
        x = row[cost] / unit * 1.03 ** taken.count(row[cost])  # equal costs stand side by side
        taken.append(row[cost])
        face = colours[name] if row["front"] else "white"
        axes.plot([x, x], [row["low_db"], row["high_db"]], color=colours[name], lw=2)
        axes.plot(x, row[by], "o", color=colours[name], mfc=face, ms=7, zorder=4,
                  label=f"{row['rank']} {name}")  # fmt: skip
    axes.margins(y=0.15)
    if inside.empty:
        axes.set(ylim=(0, 1), yticks=[])
        axes.text(0.5, 0.5, "nobody is within the limit", ha="center", transform=axes.transAxes)
    floor = axes.get_ylim()[0]
    out = sorted(set(prices) - set(inside.index))
    for name in out:
        x = prices[name][place] / unit * 1.03 ** taken.count(prices[name][place])
        taken.append(prices[name][place])
        axes.plot(x, floor, "x", color=colours[name], clip_on=False, label=f"- {name}")
    if limit is not None:
        axes.axvline(limit / unit, color="black", lw=1, ls="--")
    costs = [price[place] / unit for price in prices.values()]
    ticks = sorted(set(costs))
    axes.set(xscale="log", xlabel=unit_words, xlim=(0.8 * ticks[0], 1.3 * ticks[-1]))
    axes.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(floor)
    picture.legend(loc="outside right upper", fontsize=8, frameon=False)
    words = [f"{n} {r[by]:.1f} dB for {r[cost] / unit:.0f}" for n, r in inside.iterrows()]
    return describe(
        picture,
        f"The {RANKS[by]} against {unit_words}: "
        f"{', '.join(words) or 'nobody within the limit'}"
        f"{'; beyond the limit ' + ', '.join(out) if out else ''}. Ladder in dB: "
        f"{', '.join(f'{name} {value:.1f}' for name, value in rungs.items())}. Filled points: on "
        "the front.",
    )
