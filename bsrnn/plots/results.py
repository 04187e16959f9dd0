"""Figures of results: reports, training histories, errors per band. Data in, Figure out.

Every figure of scores shows the ladder beside the model (lesson 03) and carries the report's note
on toy data in its title. Intervals are 95 % bootstraps over songs. Lessons 07, 09 and 10.
"""

import numpy as np

from bsrnn.common import UsageError, choose
from bsrnn.evaluation import COSTS, LADDER
from bsrnn.evaluation import paired as paired_table
from bsrnn.plots.style import PALETTE, describe, figure, legend, log_hz_axis, stem_colour

GREY = "#888888"  # rungs of the ladder; systems under test are in colour
METRICS = {"usdr": "uSDR", "csdr": "cSDR", "si_sdr": "SI-SDR", "si_snr": "SI-SNR",
           "sd_sdr": "SD-SDR", "snr": "SNR"}  # fmt: skip


def ladder(report, metric: str = "usdr"):
    """Median of every system with its interval: a panel per stem, systems in ladder order."""
    rows, unit = report.aggregate(metric), METRICS[metric]
    title = f"The ladder: median {unit} over {_songs(report)}"
    picture, panels = _panels(report, title, unit, 0.32)
    words = []
    for stem, ax in panels.items():
        for y, system in enumerate(report.systems):
            row = rows[(rows["system"] == system) & (rows["stem"] == stem)]
            if row.empty or np.isnan(row["median"].item()):
                continue
            median, low, high = (row[c].item() for c in ("median", "median_low", "median_high"))
            colour = GREY if system in LADDER else stem_colour(stem)
            ax.plot([low, high], [y, y], color=colour, linewidth=2)
            ax.plot(median, y, "o", color=colour, markersize=6)
            look = {"textcoords": "offset points", "ha": "center", "va": "bottom", "fontsize": 7}
            look["bbox"] = {"fc": "white", "ec": "none", "pad": 0.5}  # over the line at 0
            ax.annotate(f"{median:.1f}", (median, y), (0, 5), **look)
            words.append(f"{stem} {system} {median:.1f} dB")
        ax.margins(x=0.12)
    return describe(picture, f"Median {unit} per stem and system: {', '.join(words)}.")


def per_song(report, metric: str = "usdr"):
    """Box plots over songs with every song as a point: a panel per stem."""
    values, unit = report.pivot(metric), METRICS[metric]
    picture, panels = _panels(report, f"{unit} of each of {_songs(report)}", unit, 0.42)
    for stem, ax in panels.items():
        for y, system in enumerate(report.systems):
            if (system, stem) not in values:
                continue
            points = values[system, stem].dropna().to_numpy()
            colour = GREY if system in LADDER else stem_colour(stem)
            _box(ax, points, y, colour)
            # a fixed spread instead of chance: the same data give the same picture
            offsets = 0.18 * np.sin(2.4 * np.arange(len(points)))
            ax.plot(points, y + offsets, ".", color=colour, alpha=0.7, markersize=4)
    return describe(
        picture,
        f"Box plots of {unit} over {_songs(report)}, systems {', '.join(report.systems)}, a panel "
        f"for each of {', '.join(panels)}; each point is a song, the line in a box is the median.",
    )


def _panels(report, title, unit, row_height) -> tuple:
    """A figure and its panels by stem; systems are the rows, 0 dB is a line."""
    title, height = _title(title, report), 1.3 + row_height * len(report.systems)
    columns = len(report.stems)
    picture, axes = figure(title, 1, columns, height=height, sharey=True, squeeze=False)
    for ax, stem in zip(axes[0], report.stems, strict=True):
        ax.axvline(0, color=GREY, linewidth=0.8)
        _label(ax, stem, f"{unit} (dB)")
    axes[0][0].set_yticks(range(len(report.systems)), report.systems)
    axes[0][0].set_ylim(-0.6, len(report.systems) - 0.3)
    return picture, dict(zip(report.stems, axes[0], strict=True))


def _box(ax, points, y, colour) -> None:
    """Quartiles as a box, the median as a line, whiskers to the last point within 1.5 box lengths.

    (Drawn by hand: matplotlib 3.9 to 3.11 disagree on how to ask for horizontal box plots.)"""
    if not len(points):
        return
    low, middle, high = np.percentile(points, (25, 50, 75))
    reach = 1.5 * (high - low)
    ends = points[points >= low - reach].min(), points[points <= high + reach].max()
    ax.hlines((y, y), (ends[0], high), (low, ends[1]), color=colour, linewidth=1)
    ax.barh(y, high - low, 0.6, left=low, facecolor="none", edgecolor=colour)
    ax.vlines(middle, y - 0.3, y + 0.3, color="black")


def paired(report, first, second, other=None, metric: str = "usdr"):
    """Gain of `second` over `first` song by song, sorted, with the median and its interval."""
    table = paired_table(report, first, second, other, metric).set_index("stem")
    a, b = report.pivot(metric), (other or report).pivot(metric)
    title = _title(f"{second} against {first}, song by song", report)
    picture, axes = figure(title, 1, len(table), height=3.2, sharey=True, squeeze=False)
    for ax, (stem, row) in zip(axes[0], table.iterrows(), strict=True):
        gain = np.sort((b[second, stem] - a[first, stem]).dropna().to_numpy())
        colour = stem_colour(stem)
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.axhspan(row["low"], row["high"], color=colour, alpha=0.2, linewidth=0)
        ax.axhline(row["median_gain_db"], color=colour)
        ax.plot(range(1, len(gain) + 1), gain, "o", color=colour, markersize=4)
        p = "p < 0.001" if row["p"] < 0.001 else f"p = {row['p']:.3f}"
        _label(ax, f"{stem}: {row['median_gain_db']:+.1f} dB\n{p}", "song (sorted)")
        ax.locator_params(axis="x", integer=True)
    axes[0][0].set_ylabel(f"gain in {METRICS[metric]} (dB)")
    words = [
        f"{stem} {row['median_gain_db']:+.1f} dB ({row['low']:.1f} to {row['high']:.1f})"
        for stem, row in table.iterrows()
    ]
    return describe(picture, f"Median gain of {second} over {first}: {', '.join(words)}.")


def draw_band_error(axes, scheme, error, colour, label=None) -> tuple:
    """Draw a `metrics.BandError` into two axes, SDR inside each band and share of the whole error.

    Returns (share in percent, low_hz, high_hz) of the band with most of it."""
    step = scheme.sample_rate / scheme.n_fft
    low, high = np.array([(max(lo, 0.5) * step, hi * step) for lo, hi in scheme.ranges]).T
    total = error.error.sum() + error.outside[1]
    share = 100 * error.error / (total or 1.0)  # (K,)
    words = ("SDR in the band (dB)", "share of the error (%)")
    for ax, values, ylabel in zip(axes, (error.sdr_db, share), words, strict=True):
        ax.hlines(values, low, high, color=colour, linewidth=2.5, label=label)
        ax.set_ylabel(ylabel)
        log_hz_axis(ax.xaxis, high_hz=min(20000.0, scheme.sample_rate / 2))
    axes[0].set_title(f"{len(scheme)} bands of {scheme.name}", fontsize=9)
    axes[0].axhline(0, color=GREY, linewidth=0.8)
    k = int(np.argmax(share))
    return share[k], low[k], high[k]


def error_per_band(scheme, errors: dict, title: str = "Where the error sits"):
    """SDR inside each band, and share of the whole error, for estimates by label.

    errors: label -> `metrics.BandError` of the same scheme.
    """
    picture, axes = figure(title, rows=2, height=4.6, sharex=True)
    words = []
    for (label, error), colour in zip(errors.items(), PALETTE * len(errors), strict=False):
        share, low_hz, high_hz = draw_band_error(axes, scheme, error, colour, label)
        words.append(
            f"{label} has {share:.0f} % of its error between {low_hz:.0f} and {high_hz:.0f} Hz"
        )
    axes[0].set_xlabel("")
    legend(axes[0], loc="lower right")
    return describe(picture, f"SDR and share of the error per band: {'; '.join(words)}.")


def training_curves(history, title: str = "Training"):
    """Loss and validation SDR over steps, from `FitResult.history` (column step, loss, valid_usdr,
    valid_usdr_<stem>)."""
    measured = "valid_usdr" in history and history["valid_usdr"].notna().any()
    picture, panels = figure(title, columns=1 + measured, squeeze=False)
    loss = history.dropna(subset=["loss"])
    panels[0][0].plot(loss["step"], loss["loss"], color=PALETTE[0], label="training loss")
    _label(panels[0][0], "training loss", "step", "loss")
    words = [f"loss from {loss['loss'].iloc[0]:.3g} to {loss['loss'].iloc[-1]:.3g}"]
    if not measured:
        return describe(picture, f"{words[0]}.")
    ax = panels[0][1]
    for column in [c for c in history if c.startswith("valid_usdr_")] or ["valid_usdr"]:
        stem = column.removeprefix("valid_usdr").strip("_")
        known = history.dropna(subset=[column])
        look = {"color": stem_colour(stem) if stem else PALETTE[0], "ms": 3}
        ax.plot(known["step"], known[column], "o-", label=stem or "validation", **look)
        if len(known):
            ends = f"validation SDR ends at {known[column].iloc[-1]:.1f} dB"
            words.append(f"{stem} {ends}".strip())
    ax.axhline(0, color=GREY, linewidth=0.8)
    _label(ax, "validation", "step", "uSDR (dB)")
    legend(ax)
    return describe(picture, f"{'; '.join(words)}.")


def transfer_curves(runs: dict, title: str = "Transfer learning", ax=None):
    """Mean over seeds with a band from the worst to the best seed: label -> list of histories."""
    picture, ax = figure(title, height=3.4, ax=ax)
    words = []
    for number, (label, histories) in enumerate(runs.items()):
        known = [h.set_index("step")["valid_usdr"].dropna() for h in histories]
        if not known or any(series.empty for series in known):
            raise UsageError(f"{label}: a history has no valid_usdr: train with validation songs")
        steps = sorted(set.intersection(*(set(series.index) for series in known)))
        values = np.stack([series.loc[steps].to_numpy() for series in known])  # (seeds, steps)
        colour = PALETTE[number % len(PALETTE)]
        seeds = f"{len(values)} seeds" if len(values) > 1 else "1 seed"
        ax.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)
        ax.plot(steps, values.mean(0), "o-", color=colour, markersize=3, label=f"{label} ({seeds})")
        last = values[:, -1]
        spread = f"{last.min():.1f} to {last.max():.1f}, " if len(values) > 1 else ""
        words.append(f"{label} ends at {last.mean():.1f} dB ({spread}{seeds})")
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set(xlabel="step (mean over seeds, band from worst to best)", ylabel="validation uSDR (dB)")
    legend(ax)
    return describe(picture, f"{title}: {'; '.join(words)}.")


def _label(ax, title, xlabel="", ylabel="") -> None:
    ax.set_title(title, fontsize=9)
    ax.set(xlabel=xlabel, ylabel=ylabel)


def _songs(report) -> str:
    count = report.card["protocol"]["songs"]
    return f"{count} songs" if count > 1 else "1 song"


def _title(text: str, report) -> str:
    return f"{text} ({report.note})" if report.note else text


def score_over_cost(board, cost="macs_per_second", limit=None, title="The leaderboard"):
    """An `evaluation.leaderboard` by cost: left on the ladder, right at close range.

    A bar is the 95 % interval, filled points are on the front (dotted steps). limit: of the cost,
    a dashed line. Lesson 15.
    """
    unit = COSTS[choose(cost, COSTS, "cost")]
    systems = board[board["kind"] == "system"]
    rungs = board[board["kind"] == "ladder"]["score_db"]
    picture, (whole, close) = figure(title, columns=2, height=3.8, width_ratios=[1, 3.2])
    for name, value in rungs.items():
        whole.axhline(value, color=GREY, lw=1, ls=":")
        whole.annotate(f"{name} {value:.1f}", (0, value), (0, 2), fontsize=7, ha="center",
                       textcoords="offset points")  # fmt: skip
    front = systems[systems["front"].astype(bool)].sort_values(cost)
    close.step(front[cost] / unit.unit, front["score_db"], where="post", color=GREY, lw=1, ls=":")
    words = []
    for place, (name, row) in enumerate(systems.iterrows()):
        colour, before = PALETTE[place % len(PALETTE)], list(systems[cost][:place])
        x = row[cost] / unit.unit * 1.05 ** before.count(row[cost])  # equal costs side by side
        face = colour if row["front"] else "white"
        whole.plot([-0.25, 0.25], [row["score_db"]] * 2, color=colour, lw=2)
        close.plot([x, x], [row["low_db"], row["high_db"]], color=colour, lw=2)
        close.plot(x, row["score_db"], "o", color=colour, mfc=face, label=f"{row['rank']} {name}")
        words.append(
            f"{name} {row['score_db']:.1f} dB for {unit.form.format(row[cost] / unit.unit)}"
        )
    if limit is not None:
        close.axvline(limit / unit.unit, color="black", lw=1, ls="--")
    whole.set(xlabel="with the ladder", ylabel="score (dB)", xlim=(-1, 1), xticks=[])
    close.set(xlabel=unit.words)
    close.margins(0.15)
    if len(systems):
        picture.legend(loc="outside right upper", fontsize=8, frameon=False)
    rungs = ", ".join(f"{name} {value:.1f}" for name, value in rungs.items())
    return describe(
        picture,
        f"Score against {unit.words}: {', '.join(words) or 'nobody'}. Ladder in dB: {rungs}. "
        "Filled points: on the front.",
    )
