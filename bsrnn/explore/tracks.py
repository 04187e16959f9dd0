"""A track browser: songs sorted by a metric; the chosen one seen and heard with its error.

`track_view` is the static twin: the same picture and sounds for one song. Lesson 09.
"""

import ipywidgets as widgets
import numpy as np

from bsrnn import bands, evaluation, listen, metrics
from bsrnn.common import UsageError, choose
from bsrnn.explore.panel import Panel
from bsrnn.plots import style
from bsrnn.plots.results import METRICS

MAX_S = 4.0  # what is heard; three sounds of this length keep a change of a control below a second
ERROR_COLOUR = "#000000"


def ranked(report, stem: str, system: str, metric: str = "usdr"):
    """Songs and their values in dB (pandas Series), the worst first, undefined ones last."""
    values = report.pivot(metric)
    if (system, stem) not in values:
        raise UsageError(f"{system} has no {stem} in this report: choose another stem")
    return values[system, stem].sort_values(kind="stable", na_position="last")


def worst_excerpt_s(error, sample_rate: int, seconds: float = MAX_S) -> float:
    """Where in (C, L) the `seconds` with the most energy begin, in s, to half a second.

    >>> worst_excerpt_s(np.repeat([[0.0, 0.0, 1.0, 0.0]], 8, axis=1), sample_rate=8, seconds=1)
    0.0
    """
    block = max(1, sample_rate // 2)
    power = np.square(np.asarray(error, np.float64)).sum(axis=0)  # (C, L) -> (L,)
    power = np.add.reduceat(power, np.arange(0, len(power), block))  # (L,) -> (blocks,)
    width = max(1, round(2 * seconds))
    if len(power) <= width:
        return 0.0
    sums = np.convolve(power, np.ones(width), "valid")
    return float(np.argmax(sums)) * block / sample_rate


def track_view(
    report, dataset, separator, song, stem, system=None, metric="usdr", scheme=None, made=None
) -> list:
    """Picture and sounds of one stem of one song: what `track_browser` shows.

    report: an `evaluation.Report`; dataset: the songs it was made of; separator: what was
    evaluated, as `evaluate` takes it (None: ladder alone), or a dict system -> separator.
    system: a system of the report (default: the report's own, else its first); metric: one of the
    report's. scheme: a BandScheme (default: the paper's V7). made: dict that keeps the last
    estimates between calls.
    Returns [Picture, Sounds]: rank of the song, reference and error over time, SDR and share of
    the error per band; reference, estimate and error on one timeline (the 4 s with most error).
    A system that has no such stem gives a line of words instead. Raises UsageError for an unknown
    song, stem, system or metric.
    """
    system = system or next((s for s in report.systems if s == report.card["name"]), None)
    system = choose(system or report.systems[0], report.systems, "system")
    choose(stem, report.stems, "stem")
    if (system, stem) not in report.pivot(metric):
        return [f"{system} gives no {stem}: choose another stem or system."]
    rank = ranked(report, stem, system, metric)
    track = dataset[choose(song, list(rank.index), "song")]
    reference, estimate = _sounds(report, track, separator, system, stem, made)
    rate, error = track.sample_rate, estimate - reference  # (C, L)
    scheme = scheme or bands.scheme("v7", rate)
    picture = _picture(rank, song, METRICS[metric], reference, error, rate, scheme, stem)
    picture.suptitle(f"{stem} of {system}: {song}", fontsize=11)
    style.describe(picture, f"{stem} of {system} in {song}: {picture.description}")
    start_s = worst_excerpt_s(error, rate)
    sounds = {"reference": reference, "estimate": estimate, "error": error}
    return [picture, listen.ab(sounds, rate, max_s=MAX_S, start_s=start_s)]


def track_browser(report, dataset, separator=None, scheme=None, metric="usdr") -> Panel:
    """The browser as a widget: sort by, system, stem, and the songs, the worst first.

    Arguments as in `track_view`. A choice of metric, system or stem sorts the list of songs anew
    and keeps the song. Long songs take the time of their separation when they are first shown.
    """
    names = list(report.frame["metric"].unique())
    own = [s for s in report.systems if s == report.card["name"]] or report.systems
    controls = {
        "metric": _choice("sort by", [(METRICS[name], name) for name in names], metric),
        "system": _choice("system", report.systems, own[0]),
        "stem": _choice("stem", report.stems, report.stems[0]),
    }
    first = ranked(report, report.stems[0], own[0], metric)
    controls["song"] = _choice("song (worst first)", _labels(first), first.index[0])
    made = {}

    def view(metric, system, stem, song):
        return track_view(report, dataset, separator, song, stem, system, metric, scheme, made)

    panel = Panel(view, "Track browser", **controls)

    def sort(_change):
        values = panel.values
        if (values["system"], values["stem"]) not in report.pivot(values["metric"]):
            return  # nothing to sort by; the view says so
        rank = ranked(report, values["stem"], values["system"], values["metric"])
        song = controls["song"]
        song.unobserve(panel.refresh, names="value")  # new labels, the same song: no new picture
        song.options, song.value = _labels(rank), values["song"]
        song.observe(panel.refresh, names="value")

    for name in ("metric", "system", "stem"):
        controls[name].observe(sort, names="value")
    return panel


def _choice(words, options, value):
    width = {"width": "34em" if words.startswith("song") else "18em"}
    return widgets.Dropdown(options=options, value=value, description=words, layout=width)


def _labels(rank) -> list:
    """(words, song) of a Dropdown: value first, so that the order explains itself."""
    return [
        (f"{'undefined' if np.isnan(value) else f'{value:+.1f} dB'}  {song}", song)
        for song, value in rank.items()
    ]


def _sounds(report, track, separator, system, stem, made):
    """Reference and estimate (C, L); the estimates of the last song and system are kept."""
    made = {} if made is None else made
    if made.get("key") != (track.name, system):
        sources = track.sources()
        references = {name: sources[name] for name in report.stems}
        mixture = sum(sources.values())  # (C, L)
        if isinstance(separator, dict):
            separator = separator.get(system)
        found = evaluation.estimates(separator, system, references, mixture, track.sample_rate)
        made.update(key=(track.name, system), references=references, estimates=found)
    return made["references"][stem], made["estimates"][stem]


def _picture(rank, song, unit, reference, error, sample_rate, scheme, stem):
    picture, axes = style.figure("", rows=2, columns=2, width=9.0, height=5.0)
    split = metrics.band_error(reference, reference + error, scheme)
    words = [
        _draw_rank(axes[0, 0], rank, song, unit, style.stem_colour(stem)),
        _draw_waveform(axes[0, 1], reference, error, sample_rate, style.stem_colour(stem)),
        _draw_bands(axes[1], split, scheme, style.stem_colour(stem)),
    ]
    return style.describe(picture, "; ".join(words) + ".")


def _draw_rank(axis, rank, song, unit, colour) -> str:
    places = np.arange(1, len(rank) + 1)
    chosen = list(rank.index).index(song)
    axis.plot(places, rank, "o", color="#999999", markersize=4)
    axis.plot(places[chosen], rank.iloc[chosen], "o", color=colour, markersize=9)
    axis.axhline(0, color="#999999", linewidth=0.8)
    axis.set_xlim(0.4, len(rank) + 0.6)
    axis.locator_params(axis="x", integer=True)
    axis.set_title("all songs, this one large", fontsize=9)
    axis.set(xlabel="rank (1: worst)", ylabel=f"{unit} (dB)")
    value, known = rank.iloc[chosen], int(rank.notna().sum())
    if np.isnan(value):
        return f"{unit} undefined"
    return f"{unit} {value:.1f} dB, number {chosen + 1} of {known} from the worst"


def _draw_waveform(axis, reference, error, sample_rate, colour) -> str:
    edges = np.linspace(0, reference.shape[1], min(400, reference.shape[1]) + 1).astype(int)[:-1]
    for name, x, paint in (("reference", reference, colour), ("error", error, ERROR_COLOUR)):
        low = np.minimum.reduceat(x.min(axis=0), edges)
        high = np.maximum.reduceat(x.max(axis=0), edges)
        shade = 1.0 if name == "reference" else 0.55
        axis.fill_between(
            edges / sample_rate, low, high, color=paint, alpha=shade, lw=0.4, label=name
        )
    axis.set_title("reference and error over time", fontsize=9)
    axis.set(xlabel="time (s)", ylabel="amplitude")
    style.legend(axis, loc="lower left", ncols=2)
    level, rest = listen.level_db(reference), listen.level_db(error)
    if not np.isfinite(level):
        return "reference silent"
    return f"error {rest - level:+.1f} dB beside the reference" if np.isfinite(rest) else "no error"


def _draw_bands(axes, split, scheme, colour) -> str:
    step = scheme.sample_rate / scheme.n_fft
    lows = np.array([max(lo, 0.5) * step for lo, _ in scheme.ranges])
    highs = np.array([hi * step for _, hi in scheme.ranges])
    total = split.error.sum() + split.outside[1]
    share = 100 * split.error / (total or 1.0)
    axes[0].axhline(0, color="#999999", linewidth=0.8)
    for axis, values, what in (
        (axes[0], split.sdr_db, "SDR in the band (dB)"),
        (axes[1], share, "share of the error (%)"),
    ):
        axis.hlines(values, lows, highs, color=colour, linewidth=3)
        axis.set_title(f"{len(scheme)} bands of {scheme.name}", fontsize=9)
        style.log_hz_axis(axis.xaxis, high_hz=min(20000.0, scheme.sample_rate / 2))
        axis.set_ylabel(what)
    if not total:
        return "no error in any band"
    worst = int(np.argmax(share))
    return (
        f"{share[worst]:.0f} % of the error lies between {lows[worst]:.0f} and "
        f"{highs[worst]:.0f} Hz"
    )
