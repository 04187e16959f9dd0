"""Figures of published results: SDR over the years and over cost, leaderboards.

Rows come from `bsrnn.ledger`. `published` draws all, `save_published` saves them. Lessons 09, 11.
"""

import textwrap
from pathlib import Path

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bsrnn.common import UsageError
from bsrnn.evaluation.leaderboard import pareto
from bsrnn.evaluation.ledger import PROTOCOL
from bsrnn.plots.style import PALETTE, describe, figure, legend

_DATA = {"no": PALETTE[0], "yes": PALETTE[4], "": "#999999"}  # extra training data?
_DATA_WORDS = {"no": "MUSDB18 only", "yes": "extra training data", "": "training data not stated"}
_HQ = "MUSDB18-HQ test"


def sdr_over_years(rows):
    """Published averages of one metric over the year of publication, a point for each.

    rows: `ledger.results` rows of one metric and aggregation, stem "average" (else UsageError); of
    several quoted values of a system the best is drawn. Hollow points: MUSDB18, not MUSDB18-HQ
    (the same songs). The dotted line is the best value without extra data so far.
    """
    _alike(rows, "metric", "aggregation", "stem")
    rows = rows[rows["year"].notna()].assign(hq=rows["test_set"] == _HQ)
    rows = rows.sort_values(["value_db", "hq", "extra_data"], ascending=False)
    rows = rows.drop_duplicates("system")
    title = f"{_metric_words(rows)} of music separation over the years (mean of four stems)"
    picture, axes = figure(title, width=10, height=5)
    for row in rows.itertuples():
        _point(axes, row.year + _shift(row), row, hollow=not row.hq)
    best = rows[rows["extra_data"] == "no"].groupby("year")["value_db"].max().cummax()
    axes.step(best.index.astype(int), best, where="post", color=PALETTE[0], lw=1, ls=":", zorder=0)
    _name_points(axes, rows)
    years = range(int(rows["year"].min()), int(rows["year"].max()) + 1)
    axes.set_xticks(list(years))
    axes.set_xlim(years[0] - 0.5, years[-1] + 1.3)
    axes.set(xlabel="year of publication", ylabel=f"{_metric_words(rows)} (dB)")
    marks = _marks(rows, "hollow: compressed test songs, or not stated which")
    legend(axes, handles=marks, loc="lower right")
    top = rows[rows["extra_data"] == "no"].iloc[0]
    return describe(
        picture,
        f"{len(rows)} published average SDR values by year, from {rows['value_db'].min():.1f} to "
        f"{rows['value_db'].max():.1f} dB; best without extra data: {top['system']} "
        f"({top['year']}) with {top['value_db']:.2f} dB.",
    )


def leaderboard(table):
    """Bars of `ledger.leaderboard`, best on top; colour: extra data, hatch: chosen on the test set.

    A star marks a second-hand value; the size stands behind the name where it is known.
    """
    stem = table["stem"].iloc[0].replace("average", "mean of all stems")
    words = f"{_metric_words(table)}, {stem}, {table['test_set'].iloc[0]}"
    picture, axes = figure(words, height=1.1 + 0.2 * len(table))
    names = []
    for place, row in enumerate(table.itertuples()):
        hatch = "///" if row.selected_on_test == "yes" else None
        axes.barh(place, row.value_db, color=_DATA[row.extra_data], hatch=hatch, edgecolor="white")
        star = "*" if row.second_hand else ""
        axes.text(row.value_db + 0.05, place, f"{row.value_db:.2f}{star}", va="center", fontsize=7)
        facts = [] if pd.isna(row.year) else [str(row.year)]
        if not pd.isna(row.parameters_m):
            facts.append(f"{row.parameters_m:.0f} M")
        name = f"{row.system}: {row.setting}" if row.setting else row.system
        name = textwrap.shorten(name, 58, placeholder=" ...")
        names.append(f"{name} ({', '.join(facts)})" if facts else name)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, table["value_db"].max() * 1.08)
    axes.set_xlabel("dB (* second-hand)")
    kinds = [k for k in _DATA if k in set(table["extra_data"])]
    patches = [Patch(color=_DATA[k], label=_DATA_WORDS[k]) for k in kinds]
    if table["selected_on_test"].eq("yes").any():
        chosen = {"facecolor": "#cccccc", "edgecolor": "white", "hatch": "///"}
        patches.append(Patch(**chosen, label="checkpoint chosen on the test songs"))
    picture.legend(handles=patches, loc="outside lower center", ncols=4, fontsize=7, frameon=False)
    ends = [
        f"{row['system']} ({row['value_db']:.2f} dB)" for _, row in table.iloc[[0, -1]].iterrows()
    ]
    return describe(picture, f"{words}: {len(table)} values from {' down to '.join(ends)}.")


def sdr_over_cost(rows):
    """Published SDR against the parameters of all networks that a system needs, and its Pareto
    front (stepped line: no smaller system of these is better).

    rows: `ledger.results` rows of one stem and protocol; those without `parameters_m` are left out.
    Raises UsageError if the rows mix protocols or none has a size.
    """
    _alike(rows, *PROTOCOL, "stem")
    rows = rows[rows["parameters_m"].notna()].sort_values("parameters_m", ignore_index=True)
    if rows.empty:
        raise UsageError("no row has parameters_m: choose another metric or test set")
    first = rows.iloc[0]
    words = f"{_metric_words(rows)}, {first['stem']}, {first['test_set']}"
    picture, axes = figure(words, width=8, height=3.8)
    front = rows.iloc[pareto(list(rows["parameters_m"]), list(rows["value_db"]))]
    axes.step(front["parameters_m"], front["value_db"], where="post", color="#555555", lw=1, ls=":")
    names = set()
    for row in rows.itertuples():
        _point(axes, row.parameters_m, row, hollow=row.per_stem_models == "yes")
        if row.system not in names:
            axes.annotate(row.system, (row.parameters_m, row.value_db), (5, -9), fontsize=7,
                          textcoords="offset points")  # fmt: skip
        names.add(row.system)
    axes.set_xscale("log")
    low, high = rows["parameters_m"].min(), rows["parameters_m"].max()
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500) if low / 2.5 < t < high * 2.5]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.set_xlim(low / 1.3, high * 2)
    axes.set(xlabel="parameters for all stems (millions)", ylabel=f"{_metric_words(rows)} (dB)")
    marks = _marks(rows, "hollow: one network per stem, sizes added")
    picture.legend(handles=marks, loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    on_front = ", ".join(
        f"{row.system} ({row.parameters_m:.3g} million, {row.value_db:.2f} dB)"
        for row in front.itertuples()
    )
    words += f": {len(rows)} published values against size. On the Pareto front: {on_front}."
    return describe(picture, words)


def published() -> dict:
    """Every figure of published results, by the name of its file: file name -> Picture."""
    from bsrnn import ledger

    rows = ledger.results(stem="average")
    music = rows[
        rows["test_set"].str.startswith("MUSDB18") & ~rows["test_set"].str.contains("valid")
    ]
    # without a repository's older numbers and without experiments on small models
    music = music[~music["setting"].str.contains("^state of|^dim ")]
    music = music.sort_values("extra_data", ascending=False, kind="stable")
    boards = {}
    for metric in ("csdr", "usdr"):
        board = ledger.leaderboard(metric, _HQ, rows=music)
        boards[metric] = board.drop_duplicates(["system", "setting"], ignore_index=True)
    return {
        "published-sdr-over-years": sdr_over_years(music[music["metric"] == "csdr"]),
        "published-leaderboard-csdr": leaderboard(boards["csdr"]),
        "published-leaderboard-usdr": leaderboard(boards["usdr"]),
    }


def save_published(out_dir, pictures=None) -> list[Path]:
    """Save the pictures of `published` as `out_dir`/<name>.png and return the paths."""
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    pictures = pictures or published()
    return [picture.save(out_dir / f"{name}.png") for name, picture in pictures.items()]


def _point(axes, x, row, hollow) -> None:
    colour = _DATA[row.extra_data]
    axes.scatter(x, row.value_db, s=34, ec=colour, fc="none" if hollow else colour, zorder=4)


def _alike(rows, *columns) -> None:
    for column in columns:
        if rows[column].nunique() != 1:
            kinds = ", ".join(map(repr, rows[column].unique())) or "none"
            raise UsageError(f"rows mix {column} ({kinds}): select one")


def _marks(rows, hollow: str) -> list:
    """Points for a legend: a colour per kind of training data, then what a hollow one means."""
    dot = {"marker": "o", "ls": ""}
    kinds = [kind for kind in _DATA if kind in set(rows["extra_data"])]
    filled = [Line2D([], [], color=_DATA[k], label=_DATA_WORDS[k], **dot) for k in kinds]
    return [*filled, Line2D([], [], mfc="none", color="#555555", label=hollow, **dot)]


def _metric_words(rows) -> str:
    name = rows["metric"].iloc[0]
    return {"usdr": "uSDR", "csdr": "cSDR"}.get(name, name)


def _shift(row) -> float:
    """Points of one year stand apart: without extra data, not stated, with extra data."""
    return {"no": -0.1, "yes": 0.1, "": 0.0}[row.extra_data]


def _name_points(axes, rows) -> None:
    """Write every name right of its point, no two of one year closer than 0.22 dB, none over the
    points of later years: lower than its own point where needed, the first of a year higher."""
    points = [(row.year + _shift(row), row.value_db) for row in rows.itertuples()]
    for _, group in rows.groupby("year"):
        lowest = float("inf")
        for row in group.sort_values("value_db", ascending=False).itertuples():
            name = row.system.replace(" (extra data)", "")  # the colour tells
            point, at = (row.year + _shift(row) + 0.06, row.value_db), row.year + 0.21
            covered = [y for x, y in points if at < x < at + 0.06 * len(name)]  # years a letter
            start = min(row.value_db, lowest - 0.22)
            heights = [start - 0.11 * step for step in range(99)]
            heights[1:1] = [start + 0.14] if lowest == float("inf") else []
            lowest = next(h for h in heights if all(abs(h - y) > 0.13 for y in covered))
            axes.plot([point[0], at - 0.02], [point[1], lowest], color="#bbbbbb", lw=0.5, zorder=0)
            white = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
            axes.text(at, lowest, name, fontsize=6.5, va="center", color="#222222", bbox=white)
