"""A track browser: songs sorted by a metric; the chosen one seen and heard with its error.

`track_view` of `bsrnn.plots` is the static twin: the same for one song. Lesson 09.
"""

import numpy as np

from bsrnn.explore.panel import Panel, choice
from bsrnn.plots.results import METRICS
from bsrnn.plots.tracks import ranked, tested, track_view

__all__ = ["track_browser", "track_view"]


def track_browser(report, dataset, separator=None, scheme=None) -> Panel:
    """The browser as a widget: sort by, system, stem, and the songs, the worst first.

    Arguments as in `track_view`. A choice of metric, system or stem sorts the list of songs anew
    and keeps the song. Long songs take the time of their separation when they are first shown.
    """
    names, metric = report.frame["metric"].unique(), "usdr"
    system, stem = tested(report), report.stems[0]
    made = {}

    def view(metric, system, stem, song):
        return track_view(report, dataset, separator, song, stem, system, metric, scheme, made)

    def songs(metric, system, stem) -> list:
        """(words, song), the worst first; value first, so that the order explains itself."""
        return [
            (f"{'undefined' if np.isnan(value) else f'{value:+.1f} dB'}  {song}", song)
            for song, value in ranked(report, stem, system, metric).items()
        ]

    def sort():
        """New words for the songs, the same song."""
        *chosen, song = (control.value for control in controls.values())
        if (chosen[1], chosen[2]) in report.pivot(chosen[0]):  # else the view says so
            controls["song"].options = songs(*chosen)
            controls["song"].value = song

    look = {"layout": {"width": "18em"}}
    controls = {
        "metric": choice("sort by", [(METRICS[name], name) for name in names], metric, **look),
        "system": choice("system", report.systems, system, **look),
        "stem": choice("stem", report.stems, stem, **look),
        "song": choice("song (worst first)", songs(metric, system, stem), layout={"width": "34em"}),
    }
    return Panel(view, "Track browser", sort, **controls)
