"""The distortion lab: spoil a stem in one way, at one SDR; see, hear and score it. Lesson 06.

`distortion_view` is the static twin: the same picture, table and player for fixed settings.
"""

from functools import lru_cache

import ipywidgets as widgets
import numpy as np
import pandas as pd

from bsrnn import distort, listen, metrics
from bsrnn.common import UsageError, choose
from bsrnn.explore.panel import Panel, choice, excerpt, slider
from bsrnn.plots import signals, style

MAX_S = 6.0  # of a song
HEARD_S = 4.0  # three sounds of this length keep a change of a control below a second
DELAY_MS = (0.02, 50.0)  # range of the slider
GREY = "#888888"


def scores(reference, estimate, sample_rate: int) -> pd.Series:
    """Every metric in dB for one stem (C, L), by name; NaN is undefined."""
    values = {
        "uSDR": metrics.usdr(reference, estimate),
        "cSDR": metrics.csdr(reference[None], estimate[None], sample_rate)[0],
        "SI-SDR": metrics.si_sdr(reference, estimate),
        "SD-SDR": metrics.sd_sdr(reference, estimate),
        "SNR per channel": metrics.snr(reference, estimate),
        "SDR, 512 taps forgiven": metrics.filtered_sdr(reference, estimate),
    }
    return pd.Series(values, dtype=float)


def distortion_view(
    sources: dict, sample_rate: int, stem=None, kind="leakage", sdr_db=10.0, delay_ms=1.0, seed=0
) -> list:
    """What `distortion_lab` shows: [Picture, table, Sounds].

    sources: name -> (C, L); the mixture is their sum; the first 6 s are used. stem: default the
    last. The other arguments are those of `distort.distort`. The table has every metric of the
    estimate, beside that of silence and of the mixture. A silent stem gives a line of words.

    Raises UsageError for an unknown stem or kind, and where `distort.distort` does.
    """
    view = _viewer(sources, sample_rate, seed)
    return view(stem or list(sources)[-1], kind, sdr_db, delay_ms)


def distortion_lab(sources: dict, sample_rate: int, stem=None, kind="leakage", seed=0) -> Panel:
    """The lab as a widget: kind of distortion, stem, SDR to reach, delay.

    Arguments as in `distortion_view`. A slider without effect on the chosen kind is disabled.

    >>> lab = distortion_lab({"a": np.ones((1, 9000)), "b": np.ones((1, 9000))}, 8000, kind="delay")
    >>> lab.controls["sdr_db"].disabled, lab.controls["delay_ms"].disabled
    (True, False)
    """
    knobs = {"sdr_db": distort.SCALED, "delay_ms": ("delay",)}
    return Panel(
        _viewer(sources, sample_rate, seed),
        "Distortion lab: one error, every metric",
        idle=lambda kind, **_: {knob for knob, kinds in knobs.items() if kind not in kinds},
        kind=choice("distortion", distort.KINDS, kind),
        stem=choice("stem", sources, stem or list(sources)[-1]),
        sdr_db=slider("SDR (dB)", 10.0, 1.0, 40.0),
        delay_ms=widgets.FloatLogSlider(
            1.0, min=np.log10(DELAY_MS[0]), max=np.log10(DELAY_MS[1]), description="delay (ms)"
        ),
    )


def _viewer(sources: dict, sample_rate: int, seed: int):
    """The function (stem, kind, sdr_db, delay_ms) -> what is shown; the ladder is kept."""
    sources = excerpt(sources, round(MAX_S * sample_rate))

    @lru_cache
    def ladder(stem) -> dict:
        rungs = {"silence": np.zeros_like(sources[stem]), "mixture": sum(sources.values())}
        return {name: scores(sources[stem], x, sample_rate) for name, x in rungs.items()}

    def view(stem, kind, sdr_db, delay_ms) -> list:
        target = sources[choose(stem, sources, "stem")]
        choose(kind, distort.KINDS, "distortion")
        if not target.any():
            return [f"{stem} is silent here, so no SDR is defined: choose another stem."]
        try:
            estimate, setting = distort.distort(
                kind, sources, stem, sample_rate, sdr_db, delay_ms, seed
            )
        except UsageError as reason:  # no rest that could leak: words, not a broken control
            return [f"{reason}."]
        table = pd.DataFrame({"estimate": scores(target, estimate, sample_rate), **ladder(stem)})
        sounds = {"estimate": estimate, "target": target, "error": estimate - target}
        picture = _picture(f"{stem}, {kind}: {setting}", sounds, sample_rate, table, stem)
        table.columns.name = "dB"
        shown = table.map(lambda value: "undefined" if np.isnan(value) else f"{value:.2f}")
        return [picture, shown, listen.ab(sounds, sample_rate, max_s=HEARD_S)]

    return view


def _picture(title, sounds, sample_rate, table, stem):
    picture, axes = style.figure(title, 1, 4, width=10.5, height=3.1, width_ratios=(3, 3, 3, 4))
    picture.set_layout_engine(None)  # fixed places: constrained layout would double the time
    picture.subplots_adjust(left=0.07, right=0.85, bottom=0.16, top=0.82, wspace=0.12)
    drawn = {name: sounds[name] for name in ("target", "estimate", "error")}
    _draw_sounds(axes[:3], drawn, sample_rate)
    _draw_scores(axes[3], table, style.stem_colour(stem))
    values = ", ".join(f"{name} {_text(value)}" for name, value in table["estimate"].items())
    return style.describe(picture, f"{title}. {values}.")


def _draw_sounds(axes, sounds, sample_rate) -> None:
    """Spectrograms on a mel axis, all on one scale of 75 dB."""
    pixels = [signals.levels_grid(x, sample_rate, 2048, "mel", 16000) for x in sounds.values()]
    top_db = max(level_db.max() for level_db, _ in pixels)
    for ax, (name, x), part in zip(axes, sounds.items(), pixels, strict=True):
        signals.draw_levels(ax, *part, x.shape[1] / sample_rate, "mel", top_db)
        ax.set(title=name, xlabel="time (s)")
        ax.label_outer()


def _draw_scores(axis, table, colour) -> None:
    """A row per metric; what lies beyond the axis is an arrow, what is undefined a word."""
    low, high = -15.0, 45.0
    marks = {"mixture": ("x", GREY), "silence": ("s", "none"), "estimate": ("o", colour)}
    for name, (mark, shade) in marks.items():
        look = {"color": shade, "mec": GREY if shade == "none" else shade, "ms": 8}
        values = np.clip(table[name].to_numpy(), low, high)
        axis.plot(values, np.arange(len(table)), mark, label=name, **look)
    for row, value in enumerate(table["estimate"]):
        beyond = np.isnan(value) or not low <= value <= high
        axis.annotate(
            f"{_text(value)}{' →' if value > high else ' ←' if value < low else ''}",
            (low if np.isnan(value) else np.clip(value, low, high), row), (0, 6),
            textcoords="offset points", ha="right" if beyond and value > 0 else "left", fontsize=7,
        )  # fmt: skip
    axis.axvline(0, color=GREY, linewidth=0.8)
    axis.set_yticks(range(len(table)), table.index)
    axis.yaxis.tick_right()
    axis.set_ylim(len(table) + 0.6, -0.8)  # the row below the last is for the legend
    axis.set_xlim(low - 1, high + 1)
    axis.set(title="every metric", xlabel="dB")
    style.legend(axis, loc="lower center", ncols=3, columnspacing=0.6, handletextpad=0.1)


def _text(value_db) -> str:
    return "undefined" if np.isnan(value_db) else f"{value_db:.1f} dB"
