"""A result explorer: the points behind a leaderboard, their means and intervals, against cost.

`results_view` is the static twin of the widget `result_explorer`. Lesson 13.
"""

from functools import partial

import pandas as pd

from bsrnn.common import choose
from bsrnn.evaluation import COSTS, LADDER, pareto, student_interval
from bsrnn.explore.panel import Panel, choice, told
from bsrnn.plots import style
from bsrnn.plots.results import METRICS


def results_view(board, metric="", stem="", cost="", group="") -> list:
    """What `result_explorer` shows: [Picture, words, table].

    board: a `bsrnn.experiments.Leaderboard`.
    metric, stem: of the scores (default: the plan's primary ones).
    cost: what lies on the x axis, a name of `board.costs`; group: what belongs together, "arm" or a
    parameter of the grid. Left every cell is a point; right each group is its mean with the 95 %
    Student interval over its cells, the Pareto front as steps. The ladder stands in both as lines.
    Raises UsageError for unknown names.
    """
    metric, stem = metric or board.plan.metric, stem or board.plan.stem
    cost = choose(cost or board.costs[0], board.costs, "cost")
    group = choose(group or "arm", _groups(board), "group")
    choose(metric, board.frame["metric"].unique(), "metric")
    choose(stem, board.frame["stem"].unique(), "stem")
    rows = board.frame[(board.frame["metric"] == metric) & (board.frame["stem"] == stem)]
    ladder = rows[rows["system"].isin(LADDER)].groupby("system", sort=False)["value_db"].first()
    cells = rows[~rows["system"].isin(LADDER)]
    cells = cells.assign(**{cost: cells[cost] / COSTS[cost].unit})
    table = _table(cells, group, cost)
    unit = METRICS[metric]
    picture = _picture(cells, table, ladder, group, cost, f"{unit} of {stem} (dB)")
    if board.note:
        picture.suptitle(board.note, fontsize=9)
    words = _words(table, ladder, unit, stem, group, board)
    table = table.round(3).rename(columns={cost: COSTS[cost].words})
    if cost == "parameters":
        table[cost] = table[cost].map("{:,.0f}".format)
    return [*told(picture, words), table]


def result_explorer(board) -> Panel:
    """The explorer as a widget: metric, stem, cost on the x axis, grouping.

    board: a `bsrnn.experiments.Leaderboard`.
    """
    metrics = [(METRICS[name], name) for name in board.frame["metric"].unique()]
    return Panel(
        partial(results_view, board),
        "Result explorer",
        metric=choice("metric", metrics, board.plan.metric),
        stem=choice("stem", board.frame["stem"].unique(), board.plan.stem),
        cost=choice("cost", [(COSTS[name].words, name) for name in board.costs]),
        group=choice("group by", _groups(board)),
    )


def _groups(board) -> list:
    """ "arm", and the parameters of the grid that group otherwise."""
    arms = [name for name in board.plan.grid if name != board.plan.repeat]
    return ["arm", *(name for name in board.plan.grid if [name] != arms)]


def _table(cells, group, cost) -> pd.DataFrame:
    """A row per group: mean, low, high in dB, number of cells, mean cost."""
    rows = {}
    for name, members in cells.groupby(group, sort=False):
        low, high = student_interval(members["value_db"])
        rows[str(name)] = {
            "mean": members["value_db"].mean(), "low": low, "high": high,
            "cells": int(members["value_db"].notna().sum()), cost: members[cost].mean(),
        }  # fmt: skip
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = group
    return table


def _picture(cells, table, ladder, group, cost, label):
    picture, axes = style.figure("", 1, 2, height=3.6, sharey=True)
    colours = [style.PALETTE[i % len(style.PALETTE)] for i in range(len(table))]
    for (name, row), colour in zip(table.iterrows(), colours, strict=True):
        members = cells[cells[group].astype(str) == name]
        axes[0].plot(members[cost], members["value_db"], "o", color=colour, alpha=0.7, label=name)
        axes[1].plot([row[cost]] * 2, [row["low"], row["high"]], color=colour, linewidth=2)
        axes[1].plot(row[cost], row["mean"], "D", color=colour, label=name)
    front = table.iloc[pareto(list(table[cost]), list(table["mean"]))]
    axes[1].step(front[cost], front["mean"], where="post", color="#555555", lw=1, ls=":")
    for ax, title in zip(axes, ("every cell", "mean, 95 % interval"), strict=True):
        for system, value in ladder.dropna().items():
            ax.axhline(value, color="#999999", linewidth=0.8)
            ax.annotate(system, (0.99, value), (0, 2), xycoords=("axes fraction", "data"),
                        textcoords="offset points", fontsize=7, ha="right")  # fmt: skip
        ax.set(xlabel=COSTS[cost].words)
        ax.set_title(title, fontsize=9)
        ax.margins(x=0.35)
        ax.locator_params(axis="x", nbins=5)
    axes[0].set_ylabel(label)
    handles, names = axes[0].get_legend_handles_labels()
    names = [f"{group} {name}" for name in names]
    picture.legend(handles, names, loc="outside lower center", ncols=4, fontsize=7, frameon=False)
    return picture


def _words(table, ladder, unit, stem, group, board) -> str:
    groups = "; ".join(
        f"{name} {row['mean']:.2f} dB"
        + (f" ({row['low']:.1f} to {row['high']:.1f})" if row["low"] == row["low"] else "")
        for name, row in table.iterrows()
    )
    rungs = ", ".join(f"{system} {value:.2f} dB" for system, value in ladder.dropna().items())
    note = f" {board.note.capitalize()}." if board.note else ""
    return f"{unit} of {stem} by {group}, mean over cells: {groups}. Beside it {rungs}.{note}"
