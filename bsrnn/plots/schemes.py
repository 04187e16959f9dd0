"""Figures of band schemes: where the bands lie, how wide they are, what they hold and cost.

Every function takes `BandScheme`s (and numbers), returns a figure with words; lesson 04. The piano
axis counts semitones (MIDI numbers, A4 = 440 Hz = 69), with octaves marked from C1 to C10.
"""

import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection
from matplotlib.ticker import NullLocator

from bsrnn.common import UsageError, choose
from bsrnn.plots import style
from bsrnn.plots.style import PALETTE, describe, figure, legend, stem_colour

AXES = ("linear", "log", "piano")
PAIR = (PALETTE[0], PALETTE[1])
LINES = ("-", "--", "-.", ":")
_MARKS = "osD^v<>pPX"
_FINE = "#222222"


def at(hz, scheme, axis):
    """Where frequencies stand on the axis of a scheme; 0 Hz at half a bin on log and piano."""
    if axis == "linear":
        return np.asarray(hz) / 1000
    hz = np.maximum(hz, scheme.sample_rate / scheme.n_fft / 2)
    return hz if axis == "log" else 69 + 12 * np.log2(hz / 440)


def frequency_axis(panels, axis, *schemes):
    """Scale, limits, ticks and label of the x axis that `panels` share; the last one shows it."""
    choose(axis, AXES, "frequency axis")
    for panel in panels[:-1]:
        panel.tick_params(bottom=False, labelbottom=False)
    scheme = max(schemes, key=lambda s: s.n_fft / s.sample_rate)
    low, high = at(scheme.spans_hz, scheme, axis)[[0, -1], [0, 1]]
    if axis == "log":
        style.log_hz_axis(panels[-1].xaxis, low, high)
        return
    panels[-1].set_xlim(low, high)
    panels[-1].set_xlabel("frequency (kHz)")
    if axis == "piano":
        octaves = [m for m in range(0, 144, 12) if low <= m <= high]  # C-1, C0, ... C10
        short_hz = [float(f"{440 * 2 ** ((m - 69) / 12):.3g}") for m in octaves]
        names = [
            f"C{m // 12 - 1}\n{style.hz_text(hz)}" for m, hz in zip(octaves, short_hz, strict=True)
        ]
        panels[-1].set_xticks(octaves, names)
        panels[-1].set_xlabel("note, and its frequency (Hz)")


def draw_bands(axes, scheme, axis, colour, base=0.0, height=1.0):
    """Boxes with alternating shades; overlapping bands are stacked in lanes."""
    ends, lanes = [], []
    for lo, hi in scheme.ranges:  # the first lane that is free where the band begins
        lane = next((i for i, end in enumerate(ends) if end <= lo), len(ends))
        ends[lane : lane + 1] = [hi]
        lanes.append(lane)
    step = height / len(ends)
    boxes, shades = [], []
    spans = at(scheme.spans_hz, scheme, axis)  # (K, 2)
    for k, ((lo, hi), lane) in enumerate(zip(spans, lanes, strict=True)):
        bottom = base + lane * step
        boxes.append([(lo, bottom), (hi, bottom), (hi, bottom + step), (lo, bottom + step)])
        shades.append((colour, 0.75 if (k // len(ends)) % 2 else 0.3))
    axes.add_collection(PolyCollection(boxes, facecolors=shades, edgecolors="white", lw=0.4))


def words_of(scheme):
    """One clause about a scheme, for descriptions and titles."""
    widths = scheme.widths
    return f"{scheme.name}: {len(scheme)} bands of {min(widths)} to {max(widths)} bins"


def draw_steps(axes, scheme, axis, values, colour, label=None, style="-"):
    """A horizontal bar at each band's value, joined where bands follow each other."""
    spans = at(scheme.spans_hz, scheme, axis)  # (K, 2)
    if scheme.overlapping:
        x = np.sqrt(spans[:, 0] * spans[:, 1]) if axis == "log" else spans.mean(axis=1)
        axes.plot(x, values, color=colour, ls=style, marker="o", ms=2.5, lw=1, label=label)
    else:
        edges = [*spans[:, 0], spans[-1, 1]]
        axes.stairs(values, edges, baseline=None, color=colour, ls=style, lw=1.5, label=label)


def plain_log(axis):
    """Ticks 1, 3, 10, 30 ... as plain numbers."""
    low, high = axis.get_view_interval()
    ticks = [m * 10.0**e for e in range(-2, 6) for m in (1, 3)]
    axis.set_ticks([t for t in ticks if low <= t <= high], minor=False)
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def coverage(scheme):
    """Overlap of a scheme: weights of every band, and how many bands hold each bin."""
    title = f"{scheme.name}: weights and coverage of {scheme.bins} bins"
    picture, (top, below) = figure(title, 2, height=4.0, sharex=True, height_ratios=[1.5, 1])
    hz = np.arange(scheme.bins) * scheme.sample_rate / scheme.n_fft
    x = at(hz, scheme, "log")  # (F,)
    for k, (lo, hi) in enumerate(scheme.ranges):
        weight = scheme.matrix[k, lo:hi]  # (W,)
        mark = "o" if hi - lo == 1 else None
        top.plot(x[lo:hi], weight, color=PALETTE[k % 4], lw=0.9, marker=mark, ms=2)
    top.set_ylim(0, 1.08)
    top.set_ylabel("weight in the band")
    count = scheme.coverage
    below.fill_between(x, count, step="mid", color=PALETTE[0], alpha=0.35, lw=0)
    below.step(x, count, where="mid", color=PALETTE[0], lw=1)
    if len(scheme.uncovered):
        gaps = list(scheme.uncovered)
        below.plot(x[gaps], count[gaps], "v", color=PALETTE[1], clip_on=False, label="in no band")
        legend(below, loc="best")
    below.set_ylim(0, max(2, count.max()) * 1.12)
    below.set_ylabel("bands per bin")
    frequency_axis((top, below), "log", scheme)
    gap = f"in no band: {len(scheme.uncovered)}" if scheme.uncovered else "no bin left out"
    return describe(
        picture,
        f"{words_of(scheme)}: weight of each bin in its bands above, number of bands per bin below "
        f"(up to {count.max()}, on average {count.mean():.2f}, {gap}).",
    )


def energy_per_band(scheme, energies, ax=None):
    """Energy per band of each stem, in dB below that stem's total.

    energies: stem -> array (K,) (see `bsrnn.bands.energy_per_band`).
    """
    picture, panel = figure(f"Energy per band. {words_of(scheme)}", height=3.4, ax=ax)
    clauses = []
    for number, (stem, energy) in enumerate(energies.items()):
        energy = np.asarray(energy, dtype=float)  # (K,)
        share = energy / max(energy.sum(), np.finfo(float).tiny)
        level = 10 * np.log10(np.maximum(share, 1e-9))
        draw_steps(panel, scheme, "log", level, stem_colour(stem), stem, LINES[number % 4])
        lo, hi = scheme.spans_hz[int(energy.argmax())]
        where = f"most between {lo:.0f} and {hi:.0f} Hz" if share.any() else "silent"
        clauses.append(f"{stem} {where} ({scheme.name})")
    panel.set_ylabel("share of the stem (dB)")
    panel.set_ylim(bottom=max(panel.get_ylim()[0], -80))
    frequency_axis([panel], "log", scheme)
    legend(panel, ncols=4, loc="lower left")
    return describe(picture, f"Energy per band of each stem: {'; '.join(clauses)}.")


def band_owners(scheme, energies, title=None):
    """Which stem owns each band: shares of the band's energy, stacked; below, the band's level.

    energies: stem -> array (K,) (see `bsrnn.bands.energy_per_band`). Shares are of the sum of the
    stems' energies; a band in which all stems are silent stays white. Lesson 01.
    """
    names = list(energies)
    energy = np.array([np.asarray(energies[name], float) for name in names])  # (S, K)
    total = energy.sum(axis=0)  # (K,)
    share = energy / np.where(total > 0, total, 1)  # (S, K)
    spans = at(scheme.spans_hz, scheme, "log")  # (K, 2)
    edges = np.append(spans[:, 0], spans[-1, 1])
    if scheme.overlapping:  # borders halfway between the centres of neighbours
        centre = spans.mean(axis=1)
        edges[1:-1] = (centre[1:] + centre[:-1]) / 2
    title = title or f"Who owns each of the {len(scheme)} bands of {scheme.name}?"
    picture, (top, below) = figure(title, 2, height=4.2, sharex=True, height_ratios=[2.2, 1])
    floor = np.zeros(len(scheme))
    for name, part in zip(names, share, strict=True):
        look = {"color": stem_colour(name), "label": name, "ec": "white", "lw": 0.4}
        top.stairs(floor + part, edges, baseline=floor, fill=True, **look)
        floor = floor + part
    top.set_ylim(0, 1)
    top.set_ylabel("share of the energy")
    top.grid(False)
    picture.legend(loc="outside lower center", ncols=len(names), fontsize=9, frameon=False)
    level = 10 * np.log10(np.maximum(total / (total.sum() or 1), 1e-12))
    below.stairs(np.maximum(level, -90), edges, baseline=-90, fill=True, color="#999999")
    below.set_ylim(-90, 0)
    below.set_ylabel("band (dB of all)")
    frequency_axis((top, below), "log", scheme)
    heard = total > 0
    owned = {name: int((share.argmax(axis=0)[heard] == i).sum()) for i, name in enumerate(names)}
    words = ", ".join(f"{name} {count}" for name, count in owned.items())
    return describe(
        picture,
        f"Share of each stem in the energy of the {len(scheme)} bands of {scheme.name}; bands in "
        f"which a stem is the strongest: {words}.",
    )


def cost_per_band(scheme, parameters, macs):
    """Parameters and MACs of each band (two arrays (K,)): what a scheme spends, and where."""
    parameters, macs = np.asarray(parameters, float), np.asarray(macs, float)
    title = f"{scheme.name}: cost of each of {len(scheme)} bands"
    picture, panels = figure(title, 2, height=4.0, sharex=True)
    rows = ((parameters, "parameters", "parameters"), (macs, "multiply-accumulates", "MACs"))
    for panel, (values, label, short), colour in zip(panels, rows, PAIR, strict=True):
        unit, word = (1e6, "M") if values.max() >= 1e6 else (1e3, "k")
        draw_steps(panel, scheme, "log", values / unit, colour)
        panel.set_ylim(0, values.max() / unit * 1.12)
        panel.set_ylabel(f"{short} ({word})")
        panel.set_title(f"{label}: {values.sum() / unit:,.4g} {word} in all bands", fontsize=9)
    frequency_axis(panels, "log", scheme)
    dear = int(parameters.argmax())
    return describe(
        picture,
        f"Parameters and multiply-accumulates per band of {words_of(scheme)}. The dearest band is "
        f"number {dear} with {parameters[dear] / parameters.sum():.0%} of the parameters.",
    )


# ---------------------------------------------------------------------------- choosing a scheme


def gallery(schemes, axis="piano", ax=None):
    """Several schemes below each other over one frequency axis: "linear", "log" or "piano".

    Overlapping bands are drawn in lanes.
    """
    if not schemes:
        raise UsageError("no schemes to draw: give a list of BandSchemes")
    title = f"{len(schemes)} ways to cut {schemes[0].sample_rate / 2000:g} kHz"
    picture, axes = figure(title, height=1.1 + 0.27 * len(schemes), ax=ax)
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


def face_to_face(scheme_a, scheme_b, share_a, share_b, stem, axis="log"):
    """Two schemes on one frequency axis: bands, bins per band, and the stem's energy per band.

    share_a, share_b: the part of the stem's energy in each band, (K,), summing to one.
    """
    pair, shares = (scheme_a, scheme_b), (np.asarray(share_a), np.asarray(share_b))
    title = f"{scheme_a.name} ({len(scheme_a)} bands) and {scheme_b.name} ({len(scheme_b)} bands)"
    picture, panels = figure(title, 3, height=4.6, sharex=True, height_ratios=[1, 1.2, 1.4])
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
    return describe(picture, f"Two schemes over a {axis} axis. {'; '.join(clauses)}.")


def bound_curves(rows, title="Band oracle and number of bands"):
    """Bound against number of bands (left) and against MACs (right), a line per family.

    rows: dicts or a frame with family, bands, sdr_db and, for the right panel, gmac; one stem. A
    family with one row is a published scheme and drawn as a named point.
    """
    rows = pd.DataFrame(rows)
    if rows.empty or rows["stem"].nunique() != 1:
        raise UsageError("bound_curves draws one stem: give rows of one stem")
    wide = "gmac" in rows and rows["gmac"].notna().all()
    size = {"columns": 1 + wide, "width": 9.0 if wide else 6.0, "height": 4.2}
    picture, panels = figure(title, **size, sharey=True, squeeze=False)
    places = (("bands", "number of bands"), ("gmac", "cost (GMAC for 6 s)"))
    for panel, (column, label) in zip(panels[0], places, strict=False):
        sizes = rows.groupby("family", sort=False)
        for number, (name, part) in enumerate(item for item in sizes if len(item[1]) > 1):
            part, row = part.sort_values(column), number // len(PALETTE)
            look = {"marker": _MARKS[number % len(_MARKS)], "ms": 3.5, "lw": 1.3}
            look |= {"color": PALETTE[number % len(PALETTE)], "ls": LINES[row % 2]}
            panel.plot(part[column], part["sdr_db"], label=name, **look)
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
        plain_log(panel.xaxis)
    panels[0, 0].set_ylabel(f"bound on {rows['stem'].iloc[0]} (dB)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside right upper", fontsize=9, frameon=False)
    worst, best = (rows.loc[rows["sdr_db"].agg(end)] for end in ("idxmin", "idxmax"))
    return describe(
        picture,
        f"Band oracle of {rows['stem'].iloc[0]} for {rows['family'].nunique()} families and "
        f"published schemes: from {worst['sdr_db']:.1f} dB ({worst['scheme']}) to "
        f"{best['sdr_db']:.1f} dB ({best['scheme']}, {best['bands']} bands).",
    )
