"""Drawings of how things hang together: boxes and arrows on a grid, as SVG. Every lesson.

flow = {"mixture (C, L)": (0, 0), "STFT": (1, 0), "mask": (2, 1), "times": (2, 0)}
diagram(flow, [("mixture (C, L)", "STFT"), ("STFT", "times"), ("mask", "times", "(F, T)")])
"""

from matplotlib.patches import FancyBboxPatch

from bsrnn.common import UsageError, choose
from bsrnn.plots import style

WIDE, HIGH = 0.62, 0.5  # of a box, in steps of the grid
QUIET = "#e8eef4"


def diagram(places, arrows, title="", colours=None, step=(1.75, 0.95), ax=None):
    """Boxes joined by arrows.

    places: text of a box -> (column, row), fractions too; row 0 is the lowest. arrows: pairs
    (from, to) of texts, or triples with a label. colours: text -> colour, such as that of a stem.
    step: inches from column to column and from row to row.

    >>> diagram({"a": (0, 0), "b": (1, 0)}, [("a", "b", "times 2")]).description
    'Boxes and arrows: a to b (times 2).'
    """
    if not places:
        raise UsageError("no boxes to draw: give a dict text -> (column, row)")
    columns, rows = zip(*places.values(), strict=True)
    wide, high = max(columns) - min(columns) + 0.8, max(rows) - min(rows) + 0.8
    size = {"width": max(3.0, step[0] * wide), "height": step[1] * high + 0.35 * bool(title)}
    picture, axes = style.figure(title, **size, ax=ax)
    axes.set_axis_off()
    axes.set_xlim(min(columns) - 0.4, max(columns) + 0.4)
    axes.set_ylim(min(rows) - 0.4, max(rows) + 0.4)
    boxes = {}
    for text, (column, row) in places.items():
        corner = column - WIDE / 2, row - HIGH / 2
        colour = (colours or {}).get(text)
        look = {"fc": colour or QUIET, "ec": "#33658a", "alpha": 0.35 if colour else 1, "lw": 1}
        shape = "round,pad=0.02,rounding_size=0.08"
        boxes[text] = axes.add_patch(FancyBboxPatch(corner, WIDE, HIGH, shape, **look))
        axes.text(column, row, text, ha="center", va="center", fontsize=9)
    clauses = []
    for start, end, *label in arrows:
        ends = [choose(text, boxes, "box") for text in (start, end)]
        look = {"arrowstyle": "-|>", "lw": 1.3, "color": "#33658a"}
        look |= {"patchA": boxes[start], "patchB": boxes[end], "shrinkA": 0, "shrinkB": 1}
        axes.annotate("", places[end], places[start], arrowprops=look)
        middle = [(a + b) / 2 for a, b in zip(places[start], places[end], strict=True)]
        if label:
            level = places[start][1] == places[end][1]
            above = {"ha": "center", "va": "bottom", "xytext": (0, 3)}
            beside = {"ha": "left", "va": "center", "xytext": (5, 0)}
            where = {"textcoords": "offset points", "fontsize": 9}
            axes.annotate(label[0], middle, **(above if level else beside), **where)
        clauses.append(" to ".join(ends) + (f" ({label[0]})" if label else ""))
    picture.vector = True
    return style.describe(picture, f"Boxes and arrows: {'; '.join(clauses)}.")
