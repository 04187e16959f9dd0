"""The board: all valid submissions on the same songs, the ladder beside them, what they cost.

Hidden songs decide: claims are checked on the public test songs, ranks come from songs that nobody
could look at, such as toy songs of a seed that the teacher keeps. Lesson 15.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

import bsrnn
from bsrnn import benchmark, evaluation
from bsrnn.common import UsageError
from bsrnn.course.capstone.checks import Fault, Verdict, one_line, validate
from bsrnn.course.capstone.parcel import MODEL, Limits
from bsrnn.course.capstone.scoring import joined, score
from bsrnn.evaluation.standings import standings

CACHE = ".board"  # in the folder of submissions: finished scores by digest of the model file
MEASURED_S = 3.0  # of sound that is timed


@dataclass(frozen=True)
class Board:
    """`frame`: `standings`; `report`: the scores of every song, for `evaluation.paired` and
    `plots.results`; `verdicts`: of all submissions, by name."""

    frame: pd.DataFrame
    report: evaluation.Report
    verdicts: dict[str, Verdict]

    @property
    def prices(self) -> dict[str, tuple[int, float]]:
        """Who is on the board: (parameters, multiply-accumulates per second of sound)."""
        entries = self.frame.index[self.frame["kind"] == "submission"]
        return {name: self.verdicts[name].price for name in entries}

    @property
    def refused(self) -> dict[str, Verdict]:
        """The verdicts of those that are not on the board."""
        return {name: verdict for name, verdict in self.verdicts.items() if not verdict.valid}

    def text(self) -> str:
        """The board for people: the standings, then who is missing and why."""
        lines = [self.report.note] if self.report.note else []
        frame = self.frame.drop(columns=["kind", "behind_db", "behind_high_db"])
        frame = frame.astype(object).where(frame.notna(), "-")
        lines.append(frame.to_string(float_format=lambda x: f"{x:.3g}"))
        lines += [f"not on the board: {verdict.text()}" for verdict in self.refused.values()]
        return "\n".join(lines)


def leaderboard(
    folder, dataset, limits: Limits, hidden=None, measure=False, cache=None, watch=lambda v: None
) -> Board:
    """Validate and score every submission in `folder`, one folder each.

    dataset: public test songs that the claims are about. hidden: songs that decide (default: the
    public ones). measure: time all networks, in turns; a limit on real_time asks for it, too.
    cache: folder for finished scores, by default `folder`/.board. watch: told each Verdict.
    Raises UsageError: no folder, nothing in it, stems that the songs lack.
    """
    folder = Path(folder)
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = [path for path in paths if not path.name.startswith(".")]
    if not paths:
        raise UsageError(f"no submissions in {folder}: give the folder that holds their folders")
    hidden, cache, stems = hidden or dataset, cache or folder / CACHE, limits.of(dataset)
    limits.of(hidden)
    verdicts, separators, reports = {}, {}, {}
    for path in paths:
        verdict = _verdict(path, limits, dataset, cache)
        if verdict.valid:
            separators[path.name] = bsrnn.load(path / MODEL)
        verdicts[path.name] = verdict
        watch(verdict)
    speeds = {}
    if separators and (measure or np.isfinite(limits.real_time)):
        speeds = measured(separators, hidden.channels)
        _slow(speeds, limits, verdicts)
    ladder = score(None, hidden, stems, cache)
    for name in [name for name in separators if verdicts[name].valid]:
        key = verdicts[name].digests[MODEL]
        try:
            reports[name] = score(separators[name], hidden, stems, cache, key)
        except UsageError as error:  # it overflows on a song that was hidden
            verdicts[name] = replace(verdicts[name], faults=(Fault("sound", one_line(error)),))
    report = joined(reports, ladder)
    prices = {name: verdicts[name].price for name in reports}
    return Board(standings(report, prices, speeds), report, verdicts)


def _verdict(path: Path, limits, dataset, cache) -> Verdict:
    try:
        verdict = validate(path, limits, dataset, cache)
    except UsageError as error:  # an archive, a link
        return Verdict(path.name, (Fault("files", one_line(error)),))
    if path.name not in evaluation.LADDER:
        return verdict
    fault = Fault("files", f"the name {path.name!r} belongs to the ladder: rename the folder")
    return replace(verdict, faults=(fault, *verdict.faults))


def measured(separators: dict, channels: int) -> dict:
    """name -> (real-time factor, the same in matrix products), one thread, all in turns.

    The real-time factor is seconds of computing per second of sound. Seconds do not travel to other
    machines; so the second number counts how many products of two square matrices of
    `benchmark.PEAK_SIZE` take as long, timed in the same rounds (lesson 11).
    """
    table = benchmark.measure({"board": separators}, MEASURED_S, (1,), 3, channels=channels)
    product_s = 2e-9 * benchmark.PEAK_SIZE**3 / table["peak_gflops"]
    found = zip(table["option"], table["real_time"], table["real_time"] / product_s, strict=True)
    return {name: (float(factor), float(products)) for name, factor, products in found}


def _slow(speeds: dict, limits, verdicts: dict) -> None:
    """Refuse in `verdicts` who is slower than the limit on this machine."""
    for name, (factor, _) in speeds.items():
        if factor > limits.real_time:
            words = f"real-time factor {factor:.2g} here, at most {limits.real_time:g}"
            fault = Fault("cost", f"{words}: a faster network, or a higher limit")
            verdicts[name] = replace(verdicts[name], faults=(fault,))
