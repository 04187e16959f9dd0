"""Scores on the songs of a board, kept by the digest of the model file. Lesson 15."""

from pathlib import Path

import pandas as pd

import bsrnn
from bsrnn import evaluation
from bsrnn.course.capstone.submission import LADDER, SYSTEM
from bsrnn.data import splits
from bsrnn.evaluation.report import same_protocol


def score(separator, dataset, stems, cache=None, key="ladder") -> evaluation.Report:
    """uSDR of `separator` (None: the ladder alone) on the songs, with the ladder beside it.

    cache: folder for finished songs, kept below the digest `key` of the model file and that of the
    songs. So a second look computes nothing, and the ladder is scored once for all.
    """
    facts = [bsrnn.__version__, *stems, dataset.root, dataset.rung, dataset.split_hash]
    facts += [(s.subset, s.name, s.first, s.samples) for s in dataset]
    place = cache and Path(cache) / f"{key}-{splits.digest(repr(list(map(str, facts))))}"
    report = evaluation.evaluate(
        separator, dataset, stems, place, progress=False, metrics=("usdr",), name=SYSTEM,
        ladder=LADDER if separator is None else (),
    )  # fmt: skip
    if separator is None:
        return report
    return joined({SYSTEM: report}, score(None, dataset, stems, cache))


def joined(reports: dict, ladder) -> evaluation.Report:
    """One Report of several of one protocol: name -> Report, whose own system gets that name."""
    same_protocol([ladder, *reports.values()])
    frames = [ladder.frame]
    for name, report in reports.items():
        rows = report.frame[report.frame["system"] == SYSTEM]
        frames.append(rows.assign(system=name))
    return evaluation.Report(pd.concat(frames, ignore_index=True), ladder.card)
