"""The leaderboard of a class: all valid submissions on the same songs, the ladder beside them.

Hidden songs decide: claims are checked on the public test songs, ranks come from songs that nobody
could look at, such as toy songs of a seed that the teacher keeps. Lesson 15.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

import bsrnn
from bsrnn import evaluation
from bsrnn.common import UsageError
from bsrnn.course.capstone.checks import Fault, Verdict, validate
from bsrnn.course.capstone.scoring import joined, score
from bsrnn.course.capstone.submission import MODEL, Limits
from bsrnn.course.sandbox import clean

CACHE = ".board"  # in the folder of submissions: finished scores by digest of the model file


@dataclass(frozen=True)
class Ranking:
    """`frame`: the `evaluation.leaderboard`; `report`: the scores of every song; `verdicts`: of all
    submissions, by name; `costs`: of those on the board, by names of `evaluation.COSTS`."""

    frame: pd.DataFrame
    report: evaluation.Report
    verdicts: dict[str, Verdict]
    costs: dict[str, dict]

    @property
    def refused(self) -> dict[str, Verdict]:
        """The verdicts of those that are not on the board."""
        return {name: verdict for name, verdict in self.verdicts.items() if not verdict.valid}

    def text(self) -> str:
        """The board for people: the leaderboard, then who is missing and why."""
        lines = [self.report.note] if self.report.note else []
        lines.append(evaluation.readable(self.frame).to_string())
        lines += [f"not on the board: {verdict.text()}" for verdict in self.refused.values()]
        return "\n".join(lines)


def rank(folder, dataset, limits: Limits, hidden=None, cache=None, watch=lambda v: None) -> Ranking:
    """Validate and score every submission in `folder`, one folder each.

    dataset: public test songs that the claims are about. hidden: songs that decide (default: the
    public ones); the rung "gain" is learnt on the training songs beside them, and left out where
    there are none. cache: folder for finished scores, by default `folder`/.board. watch: told each
    Verdict.
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
    ladder = score(None, hidden, stems, cache)
    for name in separators:
        key = verdicts[name].digests[MODEL]
        try:
            reports[name] = score(separators[name], hidden, stems, cache, key)
        except Exception as error:  # it overflows on a song that was hidden
            verdicts[name] = replace(verdicts[name], faults=(Fault("sound", clean(error)),))
    report = joined(reports, ladder)
    costs = {
        name: dict(zip(("parameters", "macs_per_second"), verdicts[name].price, strict=True))
        for name in reports
    }
    return Ranking(evaluation.leaderboard(report.songs(), costs), report, verdicts, costs)


def _verdict(path: Path, limits, dataset, cache) -> Verdict:
    try:
        verdict = validate(path, limits, dataset, cache)
    except Exception as error:  # an archive, a link, whatever a stranger's file makes fail
        return Verdict(path.name, (Fault("files", clean(error)),))
    if path.name not in evaluation.LADDER:
        return verdict
    fault = Fault("files", f"the name {path.name!r} belongs to the ladder: rename the folder")
    return replace(verdict, faults=(fault, *verdict.faults))
