"""An evaluation as one HTML page without a kernel: tables, figures, and songs to hear. Lesson 09.

The page holds everything inside itself: it opens offline and can be sent by mail.
"""

import base64
import json
from pathlib import Path

from bsrnn.bands import BandScheme
from bsrnn.common import write_text
from bsrnn.evaluation.estimates import Estimates
from bsrnn.evaluation.metrics import BandError
from bsrnn.plots import results
from bsrnn.plots.tracks import ranked, track_view

_PAGE = Path(__file__).with_name("page.html")


def report_page(report, path, dataset=None, separator=None) -> Path:
    """Write `report` (an `evaluation.Report`) as a self-contained page to `path`, in one step.

    With `dataset` and `separator` (as `evaluate` took them) the worst and the best song of each
    stem are seen and heard. Raises UsageError as `track_view`, OSError if `path` cannot be written.
    """
    from jinja2 import Environment

    card, sections = report.card, []
    if isinstance(separator, (str, Path)):
        separator = Estimates(separator, list(dataset), report.stems)
    for metric in card["protocol"]["metrics"]:
        table = {"text/html": report.shown(metric).to_html()}
        figures = (results.ladder(report, metric), results.per_song(report, metric))
        sections.append((metric, [table, *map(mime, figures)]))
    if len(report.bands):
        sections += [("Error and leakage", [mime(item) for item in _where(report)])]
    stems = report.stems if dataset is not None and card["name"] in report.systems else []
    for stem in stems:
        values = ranked(report, stem, card["name"]).dropna()
        for word, songs in {"Worst": values.index[:1], "Best": values.index[1:][-1:]}.items():
            for song in songs:
                shown = track_view(report, dataset, separator, song, stem, card["name"])
                sections.append((f"{word} {stem}: {song}", [mime(item) for item in shown]))
    page = Environment(autoescape=True).from_string(_PAGE.read_text("utf-8"))
    write_text(Path(path), page.render(card=card, note=report.note, sections=sections))
    return Path(path)


def _where(report) -> list:
    """Error per band, every song with the same weight, and what the estimates are made of."""
    rows = report.bands
    level = rows.groupby(["song", "stem"])["reference"].transform("sum").where(lambda x: x > 0)
    energies = rows[["reference", "error"]].div(level, axis=0).groupby([rows["stem"], rows["band"]])
    totals = energies.sum()
    scheme = BandScheme.from_json(json.dumps(report.card["scheme"]))
    errors = {
        stem: BandError(part["reference"].to_numpy(), part["error"].to_numpy(), (0.0, 0.0))
        for stem, part in totals.groupby(level="stem", sort=False)
    }
    made_of = report.leakage.pivot_table(index="estimate", columns="source", values="share")
    made_of = (100 * made_of).round(1).rename_axis(columns="% of the energy, mean over songs")
    return [results.error_per_band(scheme, errors), made_of]


def mime(item) -> dict:
    """One thing to show by MIME type: HTML where there is some, always words.

    >>> mime("4 bands")
    {'text/plain': '4 bands'}
    """
    if isinstance(item, str):
        return {"text/plain": item}
    if hasattr(item, "png"):  # a Picture
        picture = base64.b64encode(item.png()).decode("ascii")
        words = item.description.replace('"', "&quot;")
        wide = f'alt="{words}" style="width:{item.get_figwidth()}in;max-width:100%"'
        shown = f'<img src="data:image/png;base64,{picture}" {wide}>'
        return {"text/html": shown, "text/plain": item.description}
    if hasattr(item, "_repr_mimebundle_"):
        shown = item._repr_mimebundle_()
        return shown[0] if isinstance(shown, tuple) else shown
    shown = getattr(item, "_repr_html_", lambda: None)()
    return {"text/plain": str(item), **({"text/html": shown} if shown else {})}
