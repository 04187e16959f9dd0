"""Own band edges: choose one, drag it, add one, remove one, by mouse or keyboard.

The text of edges in Hz is the one truth: every action rewrites it, and what is typed moves the
sliders. The functions from edges to edges are pure. Lesson 04.
"""

import math
import re

import ipywidgets as widgets

from bsrnn import bands
from bsrnn.common import UsageError

OWN_HZ = "100, 200, 400, 800, 1600, 3200, 6400, 12800"


def parsed(text: str) -> list:
    """Edges in Hz of a text such as "100, 200.5"; 0 Hz need not be said and is left out."""
    try:
        edges = [float(part) for part in re.split(r"[,;\s]+", text) if part]
    except ValueError:
        raise UsageError(f"own edges {text!r}: give numbers in Hz, such as {OWN_HZ}") from None
    return [hz for hz in edges if hz != 0]


def written(edges) -> str:
    """The text of edges in Hz, rounded down to 0.1 Hz: an edge on a bin stays on that bin.

    >>> written([100, 430.6640625])
    '100, 430.6'
    """
    return ", ".join(f"{math.floor(10 * hz + 1e-6) / 10:g}" for hz in edges)


def added(edges, number: int, sample_rate: int, n_fft: int) -> list:
    """One edge more: in the middle (of pitch) of the band above edge `number`, 0 the lowest band.

    Raises UsageError for a band of one bin, and where the edges are no scheme.

    >>> added([400], 1, 8000, 80)
    [400, 1300.0]
    """
    scheme = bands.from_edges_hz(edges, sample_rate, n_fft)
    low, high = scheme.ranges[number]
    high = min(high, scheme.bins - 1)  # the Nyquist bin is no band of its own
    if high - low < 2:
        raise UsageError(f"own band {number} has one bin: choose a wider one to split")
    middle = round(math.sqrt(low * high)) if low else high // 2
    cut = min(max(middle, low + 1), high - 1)
    return [*edges[:number], cut * sample_rate / n_fft, *edges[number:]]


def replaced(edges, number: int, *hz) -> list:
    """Edge `number` (from 1) moved to `hz`; without `hz` it goes, its two bands become one.

    >>> replaced([100, 200, 400], 2, 250), replaced([100, 200, 400], 2)
    ([100, 250, 400], [100, 400])
    """
    return [*edges[: number - 1], *hz, *edges[number:]]


def span_hz(edges, number: int, sample_rate: int, n_fft: int) -> tuple:
    """From where to where (Hz) edge `number` may move while each neighbour keeps a bin.

    >>> span_hz([400, 1000], 1, 8000, 80)
    (100.0, 900.0)
    """
    scheme = bands.from_edges_hz(edges, sample_rate, n_fft)
    (low, _), (_, high) = scheme.ranges[number - 1 : number + 1]
    step = sample_rate / n_fft
    return (low + 1) * step, (min(high, scheme.bins - 1) - 1) * step


class EdgeEditor(widgets.HBox):
    """Slider, buttons and a line of words that edit the text of a control.

    text: Text with the edges; edge: IntSlider, the chosen edge (0 is 0 Hz, which neither moves nor
    goes). grid: function that gives (sample rate, n_fft) now, or None while no own scheme is
    shown. show: function that sets both, `show(own=text, edge=number)`, and shows the result.
    Call `follow` when any of these changed.
    """

    def __init__(self, text, edge, grid, show):
        self.text, self.edge, self.grid, self.show = text, edge, grid, show
        self.place = widgets.FloatSlider(
            description="move it to (Hz)", continuous_update=False, readout_format=".0f",
            style={"description_width": "initial"}, layout={"width": "26em"},
        )  # fmt: skip
        self.add = widgets.Button(description="add an edge above")
        self.remove = widgets.Button(description="remove the edge")
        self.answer = widgets.HTML()
        self.place.observe(self._move, names="value")
        self.add.on_click(self._add)
        self.remove.on_click(self._remove)
        super().__init__(
            [edge, self.place, self.add, self.remove, self.answer],
            layout=widgets.Layout(flex_flow="row wrap"),
        )

    def follow(self) -> None:
        """Bring sliders, buttons and words in line with the text."""
        grid, low, high, mark = self.grid(), None, None, ""
        controls = (self.edge, self.place, self.add, self.remove)
        for control in (self.text, *controls):
            control.disabled = grid is None
        self.place.disabled = self.remove.disabled = True
        if grid is None:
            self.answer.value = "Set scheme A or B to <b>own</b> to edit its edges."
            return
        try:
            edges = parsed(self.text.value)
            self.edge.max = max(1, len(edges))
            number = self.edge.value = min(self.edge.value, len(edges))
            self.remove.disabled = number == 0
            mark = f"edge {number} of {len(edges)}: {[0, *edges][number]:g} Hz"
            scheme = bands.from_edges_hz(edges, *grid)
            low_hz, high_hz = scheme.spans_hz[number]
            self.answer.value = f"{mark}, below band {number}: {low_hz:.0f}-{high_hz:.0f} Hz"
            if number:
                low, high = span_hz(edges, number, *grid)
        except UsageError as error:
            self.answer.value = f"{mark}. Not possible: {error}".removeprefix(". ")
            self.add.disabled = True
        self.place.disabled = low is None or low >= high
        if not self.place.disabled:
            place = self.place
            place.unobserve(self._move, names="value")
            place.step = grid[0] / grid[1]
            if low > place.max:  # in an order that never crosses the limits
                place.max, place.min = high, low
            else:
                place.min, place.max = low, high
            place.value = edges[number - 1]
            place.observe(self._move, names="value")

    def _move(self, _change):
        edges = replaced(parsed(self.text.value), self.edge.value, self.place.value)
        self.show(own=written(edges))

    def _add(self, _button):
        try:
            edges = added(parsed(self.text.value), self.edge.value, *self.grid())
        except UsageError as error:
            self.answer.value = f"Not possible: {error}"
            return
        self.edge.max = len(edges)
        self.show(own=written(edges), edge=self.edge.value + 1)

    def _remove(self, _button):
        edges = replaced(parsed(self.text.value), self.edge.value)
        self.show(own=written(edges), edge=max(0, self.edge.value - 1))
