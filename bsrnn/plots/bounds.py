"""Figures for choosing a scheme: many schemes at once, and what the band oracle grants them.

Lesson 04. The rows are those of `bsrnn.design.curve`, with the cost of each scheme added.
"""

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullLocator, ScalarFormatter

from bsrnn.common import UsageError
from bsrnn.plots.schemes import (
    PAIR,
    at,
    draw_bands,
    draw_steps,
    frequency_axis,
    plain_log,
    words_of,
)
from bsrnn.plots.style import PALETTE, describe, figure, legend

_MARKS = "osD^v<>pPX"
_FINE = "#222222"


def gallery(schemes, axis="piano", ax=None):
    """Several schemes below each other over one frequency axis: "linear", "log" or "piano".

    Overlapping bands are drawn in lanes.
    """
    if not schemes:
        raise UsageError("no schemes to draw: give a list of BandSchemes")
    picture, axes = figure(
        f"{len(schemes)} ways to cut {schemes[0].sample_rate / 2000:g} kHz",
        height=1.1 + 0.27 * len(schemes), ax=ax,
    )  # fmt: skip
    for row, scheme in enumerate(schemes):
        draw_bands(axes, scheme, axis, PALETTE[row % 2], -row - 0.86, 0.86)
    axes.set_ylim(-len(schemes) - 0.1, 0.1)
    labels = [f"{scheme.name} ({len(scheme)})" for scheme in schemes]
    axes.set_yticks(-np.arange(len(schemes)) - 0.43, labels)
    axes.tick_params(axis="y", length=0)
    axes.grid(False)
    frequency_axis([axes], axis, *schemes)
    clauses = "; ".join(words_of(scheme) for scheme in schemes)
    return describe(picture, f"Bands of {len(schemes)} schemes over a {axis} axis. {clauses}.")


def face_to_face(
    scheme_a, scheme_b, share_a, share_b, stem, axis="log", hear="A", band=None, muted=(),
    edge_hz=None,
):  # fmt: skip
    """Two schemes on one frequency axis: bands, bins per band, and the stem's energy per band.

    share_a, share_b: the part of the stem's energy in each band, (K,), summing to one. Of scheme
    `hear` ("A" or "B") the band `band` is framed and the bands `muted` are crossed out. A dotted
    line stands at `edge_hz`.
    """
    pair, shares = (scheme_a, scheme_b), (np.asarray(share_a), np.asarray(share_b))
    picture, panels = figure(
        f"{scheme_a.name} ({len(scheme_a)} bands) and {scheme_b.name} ({len(scheme_b)} bands)",
        rows=3, height=4.6, sharex=True, height_ratios=[1, 1.2, 1.4],
    )  # fmt: skip
    top, middle, below = panels
    clauses = []
    for base, scheme, share, colour, line in zip(
        (1.08, 0), pair, shares, PAIR, ("-", "--"), strict=True
    ):
        draw_bands(top, scheme, axis, colour, base)
        draw_steps(middle, scheme, axis, scheme.widths, colour, scheme.name, line)
        level = 10 * np.log10(np.maximum(share, 1e-6))
        draw_steps(below, scheme, axis, level, colour, scheme.name, line)
        (low, high), most = scheme.spans_hz[int(share.argmax())], share.max()
        where = f"{most:.0%} of {stem} in its band from {low:.0f} to {high:.0f} Hz"
        clauses.append(f"{words_of(scheme)}, {where if most > 0 else f'{stem} silent'}")
    row = "AB".index(hear)
    marks = [(k, {"hatch": "xxxx", "lw": 0}) for k in muted]
    marks += [] if band is None else [(band, {"lw": 2})]
    for k, how in marks:
        low, high = at(pair[row].spans_hz[k], pair[row], axis)
        box = Rectangle((low, 1.08 * (1 - row)), high - low, 1, fill=False, ec=_FINE, **how)
        top.add_patch(box)
    top.set_ylim(0, 2.08)
    same = scheme_a.name == scheme_b.name
    top.set_yticks([1.58, 0.5], ["A", "B"] if same else [scheme_a.name, scheme_b.name])
    top.grid(False)
    middle.set_yscale("log")
    plain_log(middle.yaxis)
    middle.set_ylabel("width (bins)")
    below.set_ylim(-62, 2)
    below.set_ylabel(f"{stem} in the band (dB)")
    frequency_axis(panels, axis, *pair)
    legend(middle, loc="best")
    for panel in panels if edge_hz is not None else ():
        panel.axvline(at(edge_hz, scheme_a, axis), color=_FINE, ls=":", lw=1.5)
    framed = "" if band is None else f" Framed: band {band} of {pair[row].name}."
    framed += "" if edge_hz is None else f" Dotted: {edge_hz:g} Hz."
    return describe(picture, f"Two schemes over a {axis} axis. {'; '.join(clauses)}.{framed}")


def bound_curves(rows, title="Band oracle and number of bands"):
    """Bound against number of bands (left) and against MACs (right), a line per family.

    rows: dicts or a frame with family, bands, sdr_db and, for the right panel, gmac; one stem. A
    family with one row is a published scheme and drawn as a named point.
    """
    rows = pd.DataFrame(rows)
    if rows.empty or rows["stem"].nunique() != 1:
        raise UsageError("bound_curves draws one stem: give rows of one stem")
    wide = "gmac" in rows and rows["gmac"].notna().all()
    picture, panels = figure(
        title, columns=1 + wide, width=9.0 if wide else 6.0, height=4.2, sharey=True, squeeze=False
    )
    places = (("bands", "number of bands"), ("gmac", "cost (GMAC for 6 s)"))
    for panel, (column, label) in zip(panels[0], places, strict=False):
        sizes = rows.groupby("family", sort=False)
        for number, (name, part) in enumerate(item for item in sizes if len(item[1]) > 1):
            part = part.sort_values(column)
            panel.plot(
                part[column], part["sdr_db"], marker=_MARKS[number % len(_MARKS)], ms=3.5, lw=1.3,
                color=PALETTE[number % len(PALETTE)], ls=("-", "--")[number // len(PALETTE) % 2],
                label=name,
            )  # fmt: skip
        for name, part in (item for item in sizes if len(item[1]) == 1):
            x, y = part[column].iloc[0], part["sdr_db"].iloc[0]
            panel.plot(x, y, "*", color=_FINE, ms=6, zorder=10)
            if column == "bands":  # names once: the right panel has the same heights
                at = {"xytext": (6, -4), "textcoords": "offset points", "fontsize": 9, "zorder": 9}
                box = {"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8}
                panel.annotate(name, (x, y), color=_FINE, bbox=box, **at)
        panel.set_xscale("log")
        panel.set_xlabel(label)
        low, high = rows[column].min(), rows[column].max()
        panel.set_xlim(low * 0.9, high * (1.6 if column == "bands" else 1.1))  # room for names
        ticks = [t for e in range(-2, 5) for t in (10**e, 2 * 10**e, 5 * 10**e)]
        panel.set_xticks([t for t in ticks if low * 0.95 <= t <= high * 1.05])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(ScalarFormatter())
    panels[0, 0].set_ylabel(f"bound on {rows['stem'].iloc[0]} (dB)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside right upper", fontsize=9, frameon=False)
    best = rows.loc[rows["sdr_db"].idxmax()]
    worst = rows.loc[rows["sdr_db"].idxmin()]
    return describe(
        picture,
        f"Band oracle of {rows['stem'].iloc[0]} for {rows['family'].nunique()} families and "
        f"published schemes: from {worst['sdr_db']:.1f} dB ({worst['scheme']}) to "
        f"{best['sdr_db']:.1f} dB ({best['scheme']}, {best['bands']} bands).",
    )
