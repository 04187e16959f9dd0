"""An evaluation as one HTML page without a kernel: tables, figures, and songs to hear. Lesson 09.

The page holds everything inside itself: it opens offline and can be sent by mail.
"""

import html
from pathlib import Path

from bsrnn.common import write_text
from bsrnn.explore.panel import bundle
from bsrnn.explore.tracks import ranked, track_view
from bsrnn.plots import results

STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.2em .6em;"
    "text-align:right}img{max-width:100%}code{background:#f4f4f4}"
)


def report_page(report, path, dataset=None, separator=None) -> Path:
    """Write `report` (an `evaluation.Report`) as a self-contained page to `path`, in one step.

    The ladder, every song, the protocol; with `dataset` and `separator` (as `evaluate` took them)
    also error per band and sound of the worst and the best song of each stem.
    Raises UsageError as `explore.track_view`, OSError if `path` cannot be written.
    """
    card = report.card
    parts = [f"<h1>Evaluation of {html.escape(card['name'])}</h1>"]
    if report.note:
        parts.append(f"<p><b>{html.escape(report.note)}</b></p>")
    for metric in card["protocol"]["metrics"]:
        parts += [f"<h2>{metric}</h2>", report.table(metric).round(2).to_html(na_rep="undefined")]
        shown = (results.ladder(report, metric), results.per_song(report, metric))
        parts += [_shown(item) for item in shown]
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
                parts += [_shown(item) for item in shown]
    return parts


def _shown(item) -> str:
    data = bundle(item)["data"]
    return data.get("text/html") or f"<p>{html.escape(data['text/plain'])}</p>"
