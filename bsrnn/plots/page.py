"""An evaluation as one HTML page without a kernel: tables, figures, and songs to hear. Lesson 09.

The page holds everything inside itself: it opens offline and can be sent by mail.
"""

import base64
import html
from pathlib import Path

from bsrnn.common import write_text
from bsrnn.plots import results
from bsrnn.plots.tracks import ranked, track_view

STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.2em .6em;"
    "text-align:right}img{max-width:100%}code{background:#f4f4f4}"
)


def report_page(report, path, dataset=None, separator=None) -> Path:
    """Write `report` (an `evaluation.Report`) as a self-contained page to `path`, in one step.

    The ladder, every song, the protocol; with `dataset` and `separator` (as `evaluate` took them)
    also error per band and sound of the worst and the best song of each stem.
    Raises UsageError as `track_view`, OSError if `path` cannot be written.
    """
    card = report.card
    parts = [f"<h1>Evaluation of {html.escape(card['name'])}</h1>"]
    if report.note:
        parts.append(f"<p><b>{html.escape(report.note)}</b></p>")
    for metric in card["protocol"]["metrics"]:
        parts += [f"<h2>{metric}</h2>", report.table(metric).round(2).to_html(na_rep="undefined")]
        shown = (results.ladder(report, metric), results.per_song(report, metric))
        parts += map(_shown, shown)
    if dataset is not None and card["name"] in report.systems:
        parts += _songs(report, dataset, separator)
    rows = "".join(
        f"<tr><th>{html.escape(key)}</th><td style='text-align:left'>{html.escape(str(value))}</td>"
        for key, value in card["protocol"].items()
    )
    parts.append(f"<h2>Protocol</h2><table>{rows}</table><p>bsrnn {card['version']}</p>")
    head = f'<meta charset="utf-8"><title>{html.escape(card["name"])}</title><style>{STYLE}</style>'
    write_text(Path(path), f'<!DOCTYPE html><html lang="en"><head>{head}</head><body>'
               f"{''.join(parts)}</body></html>")  # fmt: skip
    return Path(path)


def _songs(report, dataset, separator) -> list:
    """Worst and best song of each stem, seen and heard."""
    parts = []
    for stem in report.stems:
        values = ranked(report, stem, report.card["name"]).dropna()
        for word, song in {"Worst": values.index[:1], "Best": values.index[1:][-1:]}.items():
            for name in song:
                parts.append(f"<h2>{word} {stem}: {html.escape(name)}</h2>")
                shown = track_view(report, dataset, separator, name, stem, report.card["name"])
                parts += map(_shown, shown)
    return parts


def _shown(item) -> str:
    data = mime(item)
    return data.get("text/html") or f"<p>{html.escape(data['text/plain'])}</p>"


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
        shown = f'<img src="data:image/png;base64,{picture}" alt="{words}" style="max-width:100%">'
        return {"text/html": shown, "text/plain": item.description}
    if hasattr(item, "_repr_mimebundle_"):
        shown = item._repr_mimebundle_()
        return shown[0] if isinstance(shown, tuple) else shown
    shown = getattr(item, "_repr_html_", lambda: None)()
    return {"text/plain": str(item), **({"text/html": shown} if shown else {})}
