"""Panel: controls on top, one output below, and one pure function from values to what is shown.

`ipywidgets.interact` swallows exceptions: the cell stays green while the picture shows a traceback.
A Panel calls its function directly, so that an error reaches whoever changed the control: a test,
papermill, or the learner.
"""

import base64
import contextlib

import ipywidgets as widgets
import numpy as np

from bsrnn.common import UsageError


class Panel(widgets.VBox):
    """A widget that shows `view(**values)` and shows it again whenever a control changes.

    Args:
        view: function of the controls' values; returns one or several things to show: Figures of
            `bsrnn.plots`, sounds of `bsrnn.listen`, pandas frames, text.
        title: words above the controls.
        prepare: called before the view; may set limits and values of controls to fit each other.
        controls: by argument name; each an ipywidgets control with a `value` and a description.

    >>> panel = Panel(lambda k: f"{k} bands", "Count", k=widgets.IntSlider(4, description="bands"))
    >>> panel.controls["k"].value = 5
    >>> panel.text
    '5 bands'
    """

    def __init__(self, view, title: str, prepare=lambda: None, **controls):
        for name, control in controls.items():
            if not getattr(control, "description", ""):
                raise UsageError(f"control {name!r} has no description: screen readers need one")
            if hasattr(control, "continuous_update"):
                control.continuous_update = False  # one computation per decision, not per pixel
            control.style.description_width = "initial"
        self.view, self.prepare, self._held = view, prepare, False
        self.controls = controls
        self.output = widgets.Output()
        row = widgets.HBox(list(controls.values()), layout=widgets.Layout(flex_flow="row wrap"))
        super().__init__([widgets.HTML(f"<b>{title}</b>"), row, self.output])
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
        with self._hold():
            for name, value in values.items():
                self.controls[name].value = value
        self.refresh()

    @contextlib.contextmanager
    def _hold(self):
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
        with self._hold():
            self.prepare()
        shown = self.view(**self.values)
        shown = shown if isinstance(shown, (list, tuple)) else [shown]
        # Assigned in one step: no flicker, and no capturing that could hide an error.
        self.output.outputs = tuple(bundle(item) for item in shown)


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


def bundle(item) -> dict:
    """One thing to show as a display message: HTML where there is some, always words."""
    if isinstance(item, str):
        data = {"text/plain": item}
    elif hasattr(item, "png"):  # a Picture
        picture = base64.b64encode(item.png()).decode("ascii")
        words = item.description.replace('"', "&quot;")
        html = f'<img src="data:image/png;base64,{picture}" alt="{words}" style="max-width:100%">'
        data = {"text/html": html, "text/plain": item.description}
    elif hasattr(item, "_repr_mimebundle_"):
        bundle = item._repr_mimebundle_()
        data = bundle[0] if isinstance(bundle, tuple) else bundle
    else:
        html = getattr(item, "_repr_html_", lambda: None)()
        data = {"text/plain": str(item), **({"text/html": html} if html else {})}
    return {"output_type": "display_data", "data": data, "metadata": {}}
