"""Panel: controls on top, one output below, and one pure function from values to what is shown.

    Panel(view, "Count", k=slider("bands", 4, 1, 64), scheme=choice("scheme", bands.names()))

`ipywidgets.interact` swallows exceptions: the cell stays green while the picture shows a traceback.
A Panel calls its function directly, so that an error reaches whoever changed the control: a test,
papermill, or the learner.
"""

import contextlib
import textwrap

import ipywidgets as widgets
import numpy as np

from bsrnn.common import UsageError, choose
from bsrnn.plots.page import mime
from bsrnn.plots.style import describe


def choice(words: str, options, value=None, **look):
    """A Dropdown of names, or of (words, name) pairs; without `value` the first is chosen.

    Raises UsageError for a `value` that is not there.
    """
    options = list(options)
    names = [option[1] if isinstance(option, tuple) else option for option in options]
    if value is not None:
        choose(str(value), names, words)
    value = names[0] if value is None else value
    return widgets.Dropdown(options=options, value=value, description=words, **look)


def slider(words: str, value, low, high, step=1, **look):
    """A slider from `low` to `high`, of floats if `value` is one."""
    kind = widgets.FloatSlider if isinstance(value, float) else widgets.IntSlider
    return kind(value, min=low, max=high, step=step, description=words, **look)


def tick(words: str, **look):
    """A Checkbox, off."""
    return widgets.Checkbox(False, description=words, indent=False, **look)


def row(*parts):
    """Controls side by side; on a narrow page they wrap."""
    return widgets.HBox(parts, layout=widgets.Layout(flex_flow="row wrap"))


class Panel(widgets.VBox):
    """A widget that shows `view(**values)` and shows it again whenever a control changes.

    Args:
        view: function of the controls' values; returns one or several things to show: Figures of
            `bsrnn.plots`, sounds of `bsrnn.listen`, pandas frames, text.
        title: words above the controls.
        prepare: called before the view; may set limits and values of controls to fit each other.
        idle: function of the values that names the controls without effect now: they rest.
        rows: how the controls lie: widgets, or lists of names of controls (default: one row).
        controls: by argument name; each an ipywidgets control with a `value` and a description.

    >>> panel = Panel(lambda k: f"{k} bands", "Count", k=slider("bands", 4, 1, 64))
    >>> panel.controls["k"].value = 5
    >>> panel.text
    '5 bands'
    """

    def __init__(self, view, title: str, prepare=None, idle=None, rows=None, **controls):
        for name, control in controls.items():
            if not getattr(control, "description", ""):
                raise UsageError(f"control {name!r} has no description: screen readers need one")
            if hasattr(control, "continuous_update"):
                control.continuous_update = False  # one computation per decision, not per pixel
            control.style.description_width = "initial"
        self.view, self.prepare, self.idle, self._held = view, prepare, idle, False
        self.controls = controls
        self.output = widgets.Output()
        parts = [
            row(*(controls[name] for name in part)) if isinstance(part, list) else part
            for part in rows or [list(controls)]
        ]
        super().__init__([widgets.HTML(f"<b>{title}</b>"), *parts, self.output])
        for control in controls.values():
            control.observe(self.refresh, names="value")
        self.refresh()

    @property
    def values(self) -> dict:
        """What the controls say now, by name."""
        return {name: control.value for name, control in self.controls.items()}

    @property
    def text(self) -> str:
        """The words of all that is shown now."""
        return "\n".join(bundle["data"].get("text/plain", "") for bundle in self.output.outputs)

    def set(self, **values) -> None:
        """Set several controls and show the result once."""
        with self.hold():
            for name, value in values.items():
                self.controls[name].value = value
        self.refresh()

    @contextlib.contextmanager
    def hold(self):
        """Controls may change in here without being shown in between."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    def refresh(self, _change=None) -> None:
        """Call the view and show its result; an error is shown by whoever called."""
        if self._held:
            return
        if self.prepare:
            with self.hold():
                self.prepare()
        if self.idle:
            resting = self.idle(**self.values)
            for name, control in self.controls.items():
                control.disabled = name in resting
        shown = self.view(**self.values)
        shown = shown if isinstance(shown, (list, tuple)) else [shown]
        # Assigned in one step: no flicker, and no capturing that could hide an error.
        self.output.outputs = tuple(
            {"output_type": "display_data", "data": mime(item), "metadata": {}} for item in shown
        )


def told(picture, words: str) -> list:
    """The picture with its words as alt text, and the words in lines."""
    return [describe(picture, words), textwrap.fill(words, 88)]


def excerpt(stems: dict, samples: int | None = None) -> dict:
    """name -> (C, L) float32, all of one shape, at most the first `samples` of each.

    Raises UsageError where there are no stems, or of different shapes.
    """
    if not stems:
        raise UsageError("no stems: give a dict name -> waveform (C, L)")
    arrays = {name: np.asarray(x, np.float32)[..., :samples] for name, x in stems.items()}
    shapes = {name: x.shape for name, x in arrays.items()}
    if len(set(shapes.values())) > 1 or next(iter(arrays.values())).ndim != 2:
        raise UsageError(f"stems must be (C, L) of one shape, not {shapes}: pad or cut them")
    return arrays
