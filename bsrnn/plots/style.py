"""House style of every figure: colours that colour-blind readers can tell apart, sizes, alt text.

Conventions:
    A plot function takes data and returns a `Picture`, which never enters pyplot's list of open
    figures: nothing needs closing, and a notebook shows it once. No global rcParams are changed.
    A figure's words are `figure.description`; they travel as the `alt` metadata of the notebook
    output and inside the file. Data are PNGs with two pixels to a pixel of the page; drawings
    (`picture.vector = True`) are SVG.

Colours: Okabe and Ito, "Color Universal Design" (2008), jfly.uni-koeln.de/color. Lesson 01.
"""

import base64
import io
from pathlib import Path
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter, NullLocator

from bsrnn.common import whole

PAGE_DPI = 96  # an inch of a figure on a page: 9 pt are 12 of its pixels
DPI = 2 * PAGE_DPI  # sharp on screens of twice that density
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#663300",
)  # fmt: skip
# Okabe-Ito's yellow is unreadable as a thin line on white: a dark brown stands in, which no colour
# blindness confuses with another of the eight (tests/plots/test_accessibility.py).
STEM_COLOURS = {
    "vocals": "#D55E00", "bass": "#0072B2", "drums": "#E69F00", "other": "#009E73",
    "mixture": "#555555", "accompaniment": "#56B4E9",
    "speech": "#D55E00", "music": "#009E73", "sfx": "#CC79A7", "effects": "#CC79A7",
}  # fmt: skip
DIVERGING = "PuOr"  # for signed quantities (differences, correlations), zero in the middle
_RC = {
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.prop_cycle": mpl.cycler(color=PALETTE),
}


class Picture(Figure):
    """A Figure with words: `.description` is its alt text. Jupyter shows it as one small PNG,
    or as SVG if `.vector` is set."""

    description = ""
    vector = False

    def png(self) -> bytes:
        """The figure as a 256-colour PNG at `DPI`, the same bytes for the same data."""
        from PIL import Image  # Pillow comes with matplotlib
        from PIL.PngImagePlugin import PngInfo

        self._take_words_literally()
        canvas, small = FigureCanvasAgg(self), io.BytesIO()
        canvas.draw()
        self.set_layout_engine("none")  # a second layout pass would move things by a pixel
        drawn = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba())
        picture = drawn.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        words = PngInfo()
        words.add_itxt("Description", self.description)
        picture.save(small, format="PNG", optimize=True, pnginfo=words)
        return small.getvalue()

    def svg(self) -> str:
        """The figure as SVG with its words, the same text for the same data."""
        self._take_words_literally()
        drawn = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": "bsrnn", "svg.fonttype": "none"}):
            self.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
        words = escape(self.description, {'"': "&quot;"})
        start = drawn.getvalue().index("<svg ")
        return f'<svg role="img" aria-label="{words}" {drawn.getvalue()[start + 5 :]}'

    def _take_words_literally(self) -> None:
        """A `$` in the name of a song is no formula; those of numbers on an axis are."""
        for text in self.findobj(Text):
            text.set_parse_math(r"$\math" in text.get_text())
        for axis in self.findobj(Axis):
            if not isinstance(axis.get_major_formatter(), FixedFormatter):
                for tick in axis.get_major_ticks():
                    tick.label1.set_parse_math(True)

    def save(self, path) -> Path:
        """Write the PNG to `path` in one step (nothing half-written is left behind)."""
        with whole(path) as part:
            part.write_bytes(self.png())
        return Path(path)

    def _repr_mimebundle_(self, include=None, exclude=None):
        words = {"text/plain": self.description or "figure"}
        if self.vector:
            return {"image/svg+xml": self.svg(), **words}, {"image/svg+xml": self._page()}
        picture = base64.b64encode(self.png()).decode("ascii")
        return {"image/png": picture, **words}, {"image/png": self._page()}

    def _page(self) -> dict:
        """Alt text, and width on the page in pixels."""
        return {"alt": self.description, "width": round(self.get_figwidth() * PAGE_DPI)}


def figure(title, rows=1, columns=1, width=8.0, height=3.0, ax=None, **share):
    """An empty house-style figure: `(figure, axes)`.

    `width` and `height` in inches are those of the whole figure; `share` goes to `Figure.subplots`.
    `axes` is one Axes for 1 x 1, else an array. With `ax`, an Axes to draw into, it is that one.

    >>> picture, axes = figure("Two rows", rows=2, sharex=True)
    >>> len(axes)
    2
    """
    if ax is not None:
        ax.set_title(title)
        return ax.figure, ax
    with mpl.rc_context(_RC):
        picture = Picture(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
        axes = picture.subplots(rows, columns, **share)
    if title:
        picture.suptitle(title, fontsize=11)
    return picture, axes


def grid(title, labels, columns, width=8.0, height=0.6, row_height=2.0):
    """`(figure, axes)` with one panel per label, in rows of up to `columns`, on common axes."""
    columns = min(columns, len(labels))
    rows = -(-len(labels) // columns)
    size = {"width": width, "height": height + row_height * rows}
    picture, axes = figure(title, rows, columns, **size, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(labels) :]:
        ax.set_axis_off()
    for ax, label in zip(axes.flat, labels, strict=False):
        ax.set_title(label)
    return picture, list(axes.flat[: len(labels)])


def describe(picture: Figure, text: str) -> Figure:
    """Give `picture` its words (one or two sentences: alt text) and return it."""
    picture.description = " ".join(text.split())
    return picture


def stem_colour(stem: str) -> str:
    """The fixed colour of a stem; other names get a palette colour that depends only on the name.

    >>> stem_colour("vocals")
    '#D55E00'
    """
    if stem in STEM_COLOURS:
        return STEM_COLOURS[stem]
    return PALETTE[sum(map(ord, stem)) % len(PALETTE)]


def level_colours() -> ListedColormap:
    """Magma in 24 equal steps: uniform to the eye, and it keeps PNGs of spectrograms small."""
    return ListedColormap(mpl.colormaps["magma"].resampled(24)(range(24)), name="level")


def hz_text(hz: float, _position=None) -> str:
    """A frequency as tick text.

    >>> hz_text(300), hz_text(12500)
    ('300', '12.5k')
    """
    return f"{hz:g}" if hz < 1000 else f"{hz / 1000:g}k"


def log_hz_axis(axis, low_hz: float = 30.0, high_hz: float = 20000.0, label="frequency (Hz)"):
    """Make `axis` (`axes.xaxis` or `axes.yaxis`) a log frequency axis: 30, 100, 300, 1k ... Hz."""
    name = axis.axis_name
    axes = axis.axes
    getattr(axes, f"set_{name}scale")("log")
    getattr(axes, f"set_{name}lim")(low_hz, high_hz)
    # the factor lets an edge such as 20 Hz or 20 kHz keep its tick
    ticks = [m * 10**e for e in range(0, 6) for m in (1, 3)] + [20000]
    axis.set_ticks([t for t in ticks if low_hz * 0.999 <= t <= high_hz * 1.001 and t != 30000])
    axis.set_major_formatter(FuncFormatter(hz_text))
    axis.set_minor_locator(NullLocator())
    axis.set_label_text(label)


def legend(axes, **where) -> None:
    """A light legend; `where` as in `Axes.legend` (`loc`, `ncols`, `title`)."""
    drawn = axes.legend(fontsize=9, framealpha=0.85, edgecolor="#dddddd", **where)
    drawn.set_zorder(10)
