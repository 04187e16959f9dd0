"""Source activity detection (SAD): which seconds of a stem are worth training on (lesson 07).

A rule cuts a stem into segments of 6 s that overlap by half, a segment into ten chunks, and keeps
a segment if more than half of its chunks are loud. Of ten numbers eight lie above their own 15 %
quantile: so the quantile of a segment never decides, that of a track does. The paper's "energy" is
read as the mean square, as BandIt does, which turns 1e-3 into -30 dBFS.

    frame = table(bsrnn.data.open("toy"), "paper")     # stem, song, subset, start, end
    write(frame, "lists", "text")

References: Luo & Yu 2022 (arXiv 2209.15174), section III-B; Watcharasupat et al. 2024 (2309.02539).
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bsrnn.common import DataError, choose, whole

WINDOW_S, HOP_S = 6.0, 3.0  # length of a segment, from one to the next
CHUNKS = 10  # of a segment
SHARE = 0.5  # a segment is kept if more than this share of its chunks is loud
BOUND = 1e-3  # lowest threshold, in the unit of the measure
FLOOR = 1e-5  # the level of a chunk of digital silence


@dataclasses.dataclass(frozen=True)
class Rule:
    """When a chunk is loud; the defaults are those of the repositories."""

    measure: str = "rms"  # level of a chunk: "rms", "mean-square" or "root-abs"
    pooled: bool = False  # channels measured together; else each judges and all must agree
    quantile: float = 0.15  # of the levels; 0: only the bound decides
    quantile_over: str = "segment"  # or "track": all chunks of all segments


_RULES = {
    "paper": Rule(measure="mean-square", pooled=True, quantile_over="track"),  # and BandIt
    "repositories": Rule(),  # amanteur, its fork crlandsc and magronp
    "root-abs": Rule(measure="root-abs"),  # amanteur before June 2023
    "mixer": Rule(pooled=True, quantile=0.0),  # what bsrnn.data.mixing asks of what it drew
}
_FORMS = {  # of the lists: suffix, and how pandas writes it
    "text": ("txt", {"sep": "\t", "header": False, "index": False}),  # amanteur, crlandsc
    "csv": ("csv", {"header": ["track", "ind_beg", "ind_end"], "index_label": "index"}),  # magronp
}


def rules() -> dict[str, Rule]:
    """Every built-in rule by name."""
    return dict(_RULES)


def rule(name: str) -> Rule:
    """The built-in rule `name`; UsageError with the nearest names otherwise."""
    return _RULES[choose(name, _RULES, "activity rule")]


class Segments(NamedTuple):
    """The segments of one stem. Positions are in samples."""

    starts: np.ndarray  # (G,)
    ends: np.ndarray  # (G,)
    levels: np.ndarray  # (C, G, chunks), C = 1 where channels are measured together
    kept: np.ndarray  # (G,) bool


def chunk_levels(waveform: np.ndarray, rule: Rule) -> np.ndarray:
    """Level of each chunk of (C, L): (C, chunks), or (1, chunks) if the rule pools channels.

    >>> chunk_levels(np.ones((2, 100)), Rule(pooled=True)).tolist() == [[1.0] * 10]
    True
    """
    count = min(CHUNKS, waveform.shape[-1])
    samples = waveform.shape[-1] // count * count
    parts = waveform[:, :samples].reshape(len(waveform), count, -1)  # (C, L) -> (C, chunks, n)
    if rule.measure == "root-abs":
        levels = np.abs(parts).mean(axis=-1, dtype=np.float64)  # (C, chunks)
    else:
        levels = np.square(parts, dtype=np.float64).mean(axis=-1)
    if rule.pooled:
        levels = levels.mean(axis=0, keepdims=True)  # (1, chunks)
    levels = levels if rule.measure == "mean-square" else np.sqrt(levels)
    return np.where(levels == 0, FLOOR, levels)


def loud(levels: np.ndarray, rule: Rule) -> np.ndarray:
    """Which chunks of (C, G, chunks) levels are loud. NaN counts as loud: it must not be hidden."""
    threshold = BOUND
    if rule.quantile:
        axes = -1 if rule.quantile_over == "segment" else (-2, -1)
        quantile = np.quantile(levels, rule.quantile, axis=axes, keepdims=True)
        threshold = np.maximum(quantile, BOUND)
    return ~(levels <= threshold)


def segments(waveform: np.ndarray, sample_rate: int, rule: Rule) -> Segments:
    """Cut a stem (C, L) into segments and judge them. A stem shorter than a segment is one."""
    length = waveform.shape[-1]
    window = min(round(WINDOW_S * sample_rate), length)
    if not window:
        raise DataError("a stem without samples has no activity: leave it out")
    hop = max(1, round(HOP_S * sample_rate))
    starts = np.arange(0, length - window + 1, hop)  # (G,)
    levels = [chunk_levels(waveform[:, start : start + window], rule) for start in starts]
    levels = np.stack(levels, axis=1)  # (C, G, chunks)
    kept = (loud(levels, rule).mean(axis=-1) > SHARE).all(axis=0)  # (G,)
    return Segments(starts, starts + window, levels, kept)


def heard(waveform: np.ndarray) -> float:
    """Share of ten equal chunks of a waveform (C, L) that the rule "mixer" calls loud.

    >>> heard(np.concatenate([np.zeros((1, 500)), np.ones((1, 500))], axis=1))
    0.5
    """
    return float(loud(chunk_levels(waveform, _RULES["mixer"]), _RULES["mixer"]).mean())


def table(dataset, rule_name: str = "paper", stems=None):
    """The segments that a rule keeps: a frame with the columns stem, song, subset, start, end.

    dataset: songs of `bsrnn.data.open`; stems: only these. Reads each stem once, one at a time.
    """
    import pandas

    judge, rows = rule(rule_name), []
    for stem in stems or dataset.stems:
        for song in dataset.songs:
            judged = segments(song.read(stem), song.sample_rate, judge)
            kept = np.stack((judged.starts, judged.ends), axis=1)[judged.kept]  # (G, 2)
            rows += [(stem, song.name, song.subset, *place) for place in kept.tolist()]
    return pandas.DataFrame(rows, columns=["stem", "song", "subset", "start", "end"])


def write(frame, folder, form: str = "text") -> list[Path]:
    """Write a `table` as <stem>_<subset>.txt ("text": song TAB start TAB end) or .csv ("csv"), the
    forms that the public repositories read; returns the paths."""
    suffix, style = _FORMS[choose(form, _FORMS, "form")]
    paths = []
    for (stem, subset), rows in frame.groupby(["stem", "subset"], sort=False):
        paths.append(Path(folder) / f"{stem}_{subset}.{suffix}")
        with whole(paths[-1]) as part:
            rows[["song", "start", "end"]].reset_index(drop=True).to_csv(part, **style)
    return paths
