"""Figures of what happens inside a network: tensors, masks, who hears whom, what parts cost.

Arrays in, Figure out, with words. A mask is grey, its values outside [0, 1] have colours. Axis
letters as everywhere: B S C L F T K W N. Lessons 03, 05 and 14.
"""

import textwrap

import matplotlib as mpl
import numpy as np
from matplotlib.colors import BoundaryNorm
from matplotlib.patches import Polygon

from bsrnn.common import UsageError
from bsrnn.plots import style

INFLUENCE_DB = -120.0  # weakest influence that is drawn; exactly none stays white
_WIDTH, _HEIGHT, _DEPTH = ("T", "L"), ("F", "K", "W"), ("N",)
_CHOSEN = style.PALETTE[1]
COLUMNS, ROWS = 400, 180  # more points than pixels cost bytes and show nothing
OVER, UNDER = "#D55E00", "#56B4E9"  # above 1, below 0
STEPS, MARGIN = 11, 0.05  # a value counts as outside [0, 1] from this far on
LOW_HZ = 30.0  # bottom of the log axis


def tensors(steps, title="The way of the tensors"):
    """A row of boxes, one per tensor: frames or samples to the right, bins or bands upwards,
    features backwards; what counts copies (B, S, C) stands in the text.

    steps: dicts with `name`, `axes` ("B K T N"), `shape`, and optionally `along`, the letter of the
    axis on which a layer runs (drawn as an arrow).
    """
    if not steps:
        raise UsageError("no tensors to draw: give a list of {name, axes, shape}")
    picture, axes = style.figure(title, width=max(4.0, 1.55 * len(steps)), height=2.6)
    axes.set_axis_off()
    axes.set_aspect("equal")
    left, words = 0.0, []
    for step in steps:
        sizes = dict(zip(step["axes"].split(), step["shape"], strict=True))
        width, height, depth = (_length(sizes, names) for names in (_WIDTH, _HEIGHT, _DEPTH))
        depth *= 0.45  # seen from the side
        _box(axes, left, width, height, depth, sizes)
        _arrow(axes, left, width, height, step.get("along", ""))
        middle = left + (width + depth) / 2
        shape = ", ".join(map(str, step["shape"]))
        name = textwrap.fill(step["name"], 15)
        axes.text(middle, 3.0, name, ha="center", va="bottom", fontsize=9, weight="bold")
        label = f"({', '.join(step['axes'].split())})\n({shape})"
        axes.text(middle, -0.45, label, ha="center", va="top", fontsize=9)
        words.append(f"{step['name']} ({shape})")
        left += max(width + depth, 1.9) + 0.75
    axes.set_xlim(-0.4, left - 0.35)
    axes.set_ylim(-1.5, 3.8)
    return style.describe(picture, f"Tensors and their shapes: {'; '.join(words)}.")


def _length(sizes, names) -> float:
    """Length of a box's edge for the axis of `sizes` that is in `names`: grows with its log."""
    size = next((sizes[name] for name in names if name in sizes), 1)
    return 0.12 + 0.24 * np.log2(min(size, 1024)) if size > 1 else 0.12


def _box(axes, left, width, height, depth, sizes):
    """A box seen from the front right, with the letters of `sizes` at its edges."""
    right, back = left + width, np.array([depth, depth])
    front = np.array([(left, 0), (right, 0), (right, height), (left, height)])
    top = [front[3], front[2], front[2] + back, front[3] + back]
    side = [front[1], front[1] + back, front[2] + back, front[2]]
    for corners, shade in ((front, "#9ecae1"), (top, "#deebf7"), (side, "#6baed6")):
        axes.add_patch(Polygon(corners, facecolor=shade, edgecolor="#33658a", lw=0.8))
    small = {"fontsize": 9, "color": "#1b3a52"}
    for name in sizes:
        if name in _WIDTH:
            axes.text(left + width / 2, -0.05, name, ha="center", va="top", **small)
        elif name in _HEIGHT:
            axes.text(left - 0.08, height / 2, name, ha="right", va="center", **small)
        elif name in _DEPTH:
            place = right + depth / 2 + 0.12, depth / 2 - 0.05
            axes.text(*place, name, ha="left", va="top", **small)


def _arrow(axes, left, width, height, along):
    look = {"arrowstyle": "-|>", "color": _CHOSEN, "lw": 1.6}
    for share in (0.25, 0.5, 0.75) if along else ():
        if along in _WIDTH:
            start, end = (left + 0.08, share * height), (left + width - 0.04, share * height)
        else:
            start, end = (left + share * width, 0.08), (left + share * width, height - 0.04)
        axes.annotate("", xy=end, xytext=start, arrowprops=look)


def influence(maps, at, title="Which inputs reach one output?"):
    """Heat maps (K, T) of how strongly each input position reaches the output `at` = (band,
    frame), in dB below the strongest; a position without any influence is white.
    """
    if not maps:
        raise UsageError("no maps to draw: give a dict label -> influence (K, T)")
    columns = min(3, len(maps))
    picture, grid = style.grid(title, maps, columns, width=3.1 * columns + 0.6)
    words = []
    for axes, (label, values) in zip(grid, maps.items(), strict=True):
        mesh = draw_influence(axes, values, at)
        axes.label_outer()
        words.append(f"{label}: {np.mean(np.asarray(values) > 0):.0%}")
    picture.colorbar(mesh, ax=picture.axes, label="influence (dB)", pad=0.01)
    return style.describe(
        picture,
        f"Influence of every band and frame on the output of band {at[0]} in frame {at[1]} "
        f"(cross); white means none. Share of positions that reach it at all: {'; '.join(words)}.",
    )


def draw_influence(axes, values, at):
    """Draw one map (K, T) of `influence` into `axes`; returns the mesh."""
    values = np.asarray(values)
    level_db = np.ma.masked_all(values.shape)
    there = values > 0
    level_db[there] = 20 * np.log10(values[there] / values.max())
    colours = mpl.colormaps["viridis"].resampled(12).with_extremes(bad="white")
    limits = {"vmin": INFLUENCE_DB, "vmax": 0, "cmap": colours, "aspect": "auto"}
    mesh = axes.imshow(level_db, origin="lower", interpolation="nearest", **limits)
    axes.plot(at[1], at[0], "x", color="red", ms=6, mew=1.5)
    axes.set(xlabel="frame", ylabel="band")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(False)
    return mesh


def draw_parts(axes, table):
    """Stacked bars into `axes`: parameters, MACs and activations by part, as shares of each total.

    table: a frame with these three columns, a row per part and the last for all.
    """
    kinds = ("parameters", "MACs", "activations")
    units = ((1e6, "M"), (1e9, "G"), (1e6, "MB"))
    totals = table.iloc[-1].to_numpy(float)
    left = np.zeros(len(kinds))
    for (name, numbers), colour in zip(table[:-1].iterrows(), style.PALETTE, strict=False):
        share = numbers.to_numpy(float) / totals
        axes.barh(kinds, share, left=left, color=colour, label=name)
        left += share
    for place, (total, (size, unit)) in enumerate(zip(totals, units, strict=True)):
        count = total / size
        text = f"{count:,.0f} {unit}" if count >= 100 else f"{count:.3g} {unit}"
        axes.text(1.02, place, text, va="center", fontsize=9)
    axes.set(title="where it goes", xlabel="share of the total", xlim=(0, 1.3))
    axes.set_xticks([0, 0.5, 1])
    axes.grid(False)
    axes.invert_yaxis()
    axes.legend(loc="upper center", bbox_to_anchor=(0.42, -0.25), ncols=3, fontsize=9)


def draw_mask(axes, mask, sample_rate: int, seconds: float):
    """Draw a real mask (F, T) into `axes`: black 0, white 1, orange above, blue below; the mesh.

    Points are picked, not averaged, so that a mask of zeros and ones stays one.
    """
    bins, frames = mask.shape
    top_hz = sample_rate / 2
    edges_hz = np.geomspace(LOW_HZ, top_hz, ROWS + 1)
    middle_hz = (edges_hz[1:] + edges_hz[:-1]) / 2
    rows = np.clip(np.round(middle_hz / top_hz * (bins - 1)), 0, bins - 1).astype(int)
    columns = np.linspace(0, frames - 1, min(frames, COLUMNS)).round().astype(int)
    colours = mpl.colormaps["gray"].resampled(STEPS).with_extremes(over=OVER, under=UNDER)
    mesh = axes.pcolormesh(
        np.linspace(0, seconds, len(columns) + 1),
        edges_hz,
        np.asarray(mask)[np.ix_(rows, columns)],
        cmap=colours,
        norm=BoundaryNorm(np.linspace(-MARGIN, 1 + MARGIN, STEPS + 1), STEPS),
    )
    style.log_hz_axis(axes.yaxis, LOW_HZ, top_hz)
    axes.grid(False)
    return mesh


def masks(masks: dict, sample_rate: int, seconds: float, title="Masks"):
    """Masks by label in a grid of up to three columns: each (F, T) or (C, F, T), first channel.

    Of complex masks the magnitude is drawn. The description counts the values outside [0, 1].
    """
    if not masks:
        raise UsageError("no masks to draw: give a dict label -> mask (F, T)")
    height = 1.5 if len(masks) <= 3 else 0.9
    picture, grid = style.grid(title, masks, 3, height=height, row_height=1.9)
    words = []
    for axes, (label, mask) in zip(grid, masks.items(), strict=True):
        mask = _real(label, mask)
        mesh = draw_mask(axes, mask, sample_rate, seconds)
        axes.set_xlabel("time (s)")
        axes.label_outer()
        above, below = np.mean(mask > 1 + MARGIN), np.mean(mask < -MARGIN)
        outside = f"{above:.0%} orange, {below:.0%} blue"
        words.append(f"{label}: {outside if above or below else f'mean {mask.mean():.2f}'}")
    bar = picture.colorbar(mesh, ax=picture.axes, label="mask value", pad=0.01, extend="both")
    bar.set_ticks([0, 0.5, 1])
    colours = f"black 0, white 1, orange above {1 + MARGIN}, blue below {-MARGIN}"
    return style.describe(picture, f"Masks over time and frequency, {colours}. {'; '.join(words)}.")


def _real(label, mask) -> np.ndarray:
    """(F, T) real: the first channel, of complex masks the magnitude."""
    mask = np.asarray(mask)
    mask = mask[0] if mask.ndim == 3 else mask  # (C, F, T) -> (F, T)
    if mask.ndim != 2 or not np.isfinite(mask).all():
        raise UsageError(f"mask {label!r} {mask.shape}: give finite values (F, T) or (C, F, T)")
    return np.abs(mask) if np.iscomplexobj(mask) else mask
