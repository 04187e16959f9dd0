"""Pictures of masks: one grey picture per mask, values outside [0, 1] in colour. Lesson 03."""

import matplotlib as mpl
import numpy as np
from matplotlib.colors import BoundaryNorm

from bsrnn.common import UsageError
from bsrnn.plots import style

COLUMNS, ROWS = 400, 180  # more points than pixels cost bytes and show nothing
OVER, UNDER = "#D55E00", "#56B4E9"  # above 1, below 0
STEPS, MARGIN = 11, 0.05  # a value counts as outside [0, 1] from this far on
LOW_HZ = 30.0  # bottom of the log axis


def draw_mask(axes, mask, sample_rate: int, seconds: float):
    """Draw a real mask (F, T) into `axes`: black 0, white 1, orange above 1.05, blue below
    -0.05.

    Points are picked, not averaged, so that a mask of zeros and ones stays one. Returns the mesh.
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
    shown = {label: _real(label, mask) for label, mask in masks.items()}
    rows = -(-len(shown) // 3)
    picture, grid = style.grid(title, shown, 3, height=0.9 + 0.6 * (rows == 1), row_height=1.9)
    words = []
    for axes, (label, mask) in zip(grid, shown.items(), strict=True):
        mesh = draw_mask(axes, mask, sample_rate, seconds)
        axes.set_xlabel("time (s)")
        axes.label_outer()
        words.append(f"{label}: {_outside(mask)}")
    bar = picture.colorbar(mesh, ax=picture.axes, label="mask value", pad=0.01, extend="both")
    bar.set_ticks([0, 0.5, 1])
    return style.describe(
        picture,
        f"Masks over time and frequency, black 0, white 1, orange above {1 + MARGIN}, blue below "
        f"{-MARGIN}. "
        f"{'; '.join(words)}.",
    )


def _real(label, mask) -> np.ndarray:
    """(F, T) real: the first channel, of complex masks the magnitude."""
    mask = np.asarray(mask)
    mask = mask[0] if mask.ndim == 3 else mask  # (C, F, T) -> (F, T)
    if mask.ndim != 2 or not np.isfinite(mask).all():
        raise UsageError(f"mask {label!r} {mask.shape}: give finite values (F, T) or (C, F, T)")
    return np.abs(mask) if np.iscomplexobj(mask) else mask


def _outside(mask) -> str:
    above, below = np.mean(mask > 1 + MARGIN), np.mean(mask < -MARGIN)
    if not above and not below:
        return f"mean {mask.mean():.2f}"
    return f"{above:.0%} orange, {below:.0%} blue"
