"""Songs of an evaluation, ranked by a metric; one of them seen and heard with its error. Lesson 09.

What the widget `bsrnn.explore.track_browser` and the page `bsrnn.plots.report_page` show.
"""

import numpy as np

from bsrnn import bands, evaluation, listen, metrics
from bsrnn.common import UsageError, choose
from bsrnn.plots import results, signals, style

MAX_S = 4.0  # what is heard; three sounds of this length keep a change of a control below a second
ERROR_COLOUR = "#000000"


def ranked(report, stem: str, system: str, metric: str = "usdr"):
    """Songs and their values in dB (pandas Series), the worst first, undefined ones last."""
    values = report.pivot(metric)
    if (system, stem) not in values:
        raise UsageError(f"{system} has no {stem} in this report: choose another stem")
    return values[system, stem].sort_values(kind="stable", na_position="last")


def tested(report) -> str:
    """The system that a report is about: the one that it is named after, else its first."""
    name = report.card["name"]
    return name if name in report.systems else report.systems[0]


def worst_excerpt_s(error, sample_rate: int) -> float:
    """Where in (C, L) the 4 s with the most energy begin, in s, to half a second.

    >>> worst_excerpt_s(np.repeat([[0.0, 0.0, 1.0, 0.0]], 16, axis=1), sample_rate=8)
    2.0
    """
    block = max(1, sample_rate // 2)
    power = np.square(np.asarray(error, np.float64)).sum(axis=0)  # (C, L) -> (L,)
    power = np.add.reduceat(power, np.arange(0, len(power), block))  # (L,) -> (blocks,)
    width = round(2 * MAX_S)
    if len(power) <= width:
        return 0.0
    sums = np.convolve(power, np.ones(width), "valid")
    return float(np.argmax(sums)) * block / sample_rate


def track_view(
    report, dataset, separator, song, stem, system=None, metric="usdr", scheme=None, made=None
) -> list:
    """Picture and sounds of one stem of one song: what `explore.track_browser` shows.

    report: an `evaluation.Report`; dataset: the songs it was made of; separator: what was
    evaluated, as `evaluate` takes it (None: ladder alone), or a dict system -> separator.
    system: a system of the report (default: `tested`); metric: one of the report's. scheme: a
    BandScheme (default: the paper's V7). made: dict that keeps the last estimates between calls.
    Returns [Picture, Sounds], heard are the 4 s with most error; a system that has no such stem
    gives a line of words instead. Raises UsageError for an unknown song, stem, system or metric.
    """
    system = choose(system or tested(report), report.systems, "system")
    choose(stem, report.stems, "stem")
    if (system, stem) not in report.pivot(metric):
        return [f"{system} gives no {stem}: choose another stem or system."]
    rank = ranked(report, stem, system, metric)
    track = dataset[choose(song, list(rank.index), "song")]
    reference, estimate = _sounds(report, track, separator, system, stem, made)
    rate, error = track.sample_rate, estimate - reference  # (C, L)
    scheme = scheme or bands.scheme("v7", rate)
    colour = style.stem_colour(stem)
    picture, axes = style.figure(f"{stem} of {system}: {song}", 2, 2, width=9.0, height=5.0)
    words = [
        _draw_rank(axes[0, 0], rank, song, results.METRICS[metric], colour),
        _draw_error(axes[0, 1], reference, error, rate, colour),
    ]
    lost = metrics.band_error(reference, estimate, scheme)
    share, low_hz, high_hz = results.draw_band_error(axes[1], scheme, lost, colour)
    where = f"{share:.0f} % of the error lies between {low_hz:.0f} and {high_hz:.0f} Hz"
    words.append(where if share else "no error in any band")
    style.describe(picture, f"{stem} of {system} in {song}: {'; '.join(words)}.")
    sounds = {"reference": reference, "estimate": estimate, "error": error}
    return [picture, listen.ab(sounds, rate, max_s=MAX_S, start_s=worst_excerpt_s(error, rate))]


def _sounds(report, track, separator, system, stem, made):
    """Reference and estimate (C, L); the estimates of the last song and system are kept."""
    made = {} if made is None else made
    if made.get("key") != (track.name, system):
        sources = track.sources()
        references = {name: sources[name] for name in report.stems}
        mixture = sum(sources.values())  # (C, L)
        if isinstance(separator, dict):
            separator = separator.get(system)
        if hasattr(separator, "of"):  # a folder of estimates
            separator = separator.of(track)
        estimates = evaluation.estimates(separator, system, references, mixture, track.sample_rate)
        made.update(key=(track.name, system), references=references, estimates=estimates)
    return made["references"][stem], made["estimates"][stem]


def _draw_rank(ax, rank, song, unit, colour) -> str:
    places = np.arange(1, len(rank) + 1)
    chosen = list(rank.index).index(song)
    ax.plot(places, rank, "o", color="#999999", markersize=4)
    ax.plot(places[chosen], rank.iloc[chosen], "o", color=colour, markersize=9)
    ax.axhline(0, color="#999999", linewidth=0.8)
    ax.set_xlim(0.4, len(rank) + 0.6)
    ax.locator_params(axis="x", integer=True)
    ax.set_title("all songs, this one large", fontsize=9)
    ax.set(xlabel="rank (1: worst)", ylabel=f"{unit} (dB)")
    value, known = rank.iloc[chosen], int(rank.notna().sum())
    if np.isnan(value):
        return f"{unit} undefined"
    return f"{unit} {value:.1f} dB, number {chosen + 1} of {known} from the worst"


def _draw_error(ax, reference, error, sample_rate, colour) -> str:
    signals.draw_waveform(ax, reference, sample_rate, 400, color=colour, label="reference")
    look = {"color": ERROR_COLOUR, "alpha": 0.55, "label": "error"}
    signals.draw_waveform(ax, error, sample_rate, 400, **look)
    ax.set_title("reference and error over time", fontsize=9)
    ax.set(xlabel="time (s)", ylabel="amplitude")
    style.legend(ax, loc="lower left", ncols=2)
    level, rest = listen.level_db(reference), listen.level_db(error)
    if not np.isfinite(level):
        return "reference silent"
    return f"error {rest - level:+.1f} dB beside the reference" if np.isfinite(rest) else "no error"
