"""From the cards of a sweep to a leaderboard: interval over seeds, gains, cost (lesson 13).

The score of a cell is the median over songs in dB, per stem; stem "all" is the mean of them. An
interval over seeds is Student's (Biometrika 6(1), 1908): wide for two seeds, as it must be. It
speaks of other seeds on these songs; intervals over songs are bootstraps of the song-by-song gain,
averaged over seeds: they speak of other songs. Gains are paired: same seed, same songs.
"""

import dataclasses
from pathlib import Path

import pandas as pd

from bsrnn import evaluation
from bsrnn.common import DataError, choose
from bsrnn.evaluation import COSTS, LADDER, Report, paired, student_interval
from bsrnn.evaluation.report import same_protocol
from bsrnn.experiments.plan import Sweep, cell_folder, read_plan, see_test
from bsrnn.experiments.schema import CARD, read_card


@dataclasses.dataclass(frozen=True)
class Leaderboard:
    """The finished cells of a sweep."""

    plan: Sweep
    frame: pd.DataFrame  # a row per cell, system, stem and metric: the grid, `arm`, system, stem,
    # metric, value_db, and the costs of the cell
    songs: pd.DataFrame  # the same per song, of the trained systems only
    protocol: dict  # what all cards were measured by
    missing: tuple  # parameters of cells without a card
    facts: dict  # what stands beside the plan, such as `history` and `test_seen`
    made: pd.DataFrame  # a row for each card: commit, dirty, host, adopted

    @property
    def note(self) -> str:
        """What a reader must know before quoting a number; empty for real music."""
        return Report(self.frame, {"protocol": self.protocol}).note

    @property
    def remarks(self) -> list[str]:
        """What a reader must know about the plan and where its cards come from, a line each."""
        lines = []
        for before in self.facts.get("history", ()):
            lines.append(f"amended: plan {before['digest']} of {before['registered']} was extended")
        if "test_seen" in self.facts:
            lines.append(f"the test songs were first looked at on {self.facts['test_seen']}")
        if self.missing:
            lines.append(f"{len(self.missing)} of {len(self.plan.cells())} cells are not finished")
        for name in ("commit", "host"):
            if self.made[name].nunique() > 1:
                lines.append(f"cards of {self.made[name].nunique()} {name}s")
        for name, words in (("dirty", "of a changed checkout"), ("adopted", "adopted")):
            if self.made[name].any():
                lines.append(f"{int(self.made[name].sum())} cards are {words}")
        return lines

    @property
    def costs(self) -> list:
        """Names of `COSTS` that at least one card knows."""
        return [name for name in COSTS if self.frame[name].notna().any()]

    def scores(self, metric: str = "", stem: str = "") -> pd.DataFrame:
        """Scores in dB of the trained systems: a row per seed, a column per arm."""
        rows = self._rows(self.frame, metric, stem)
        rows = rows[~rows["system"].isin(LADDER)]
        table = rows.pivot(index=self.plan.repeat, columns="arm", values="value_db")
        return table[[arm for arm in self.plan.arms() if arm in table]]

    def table(self, metric: str = "", stem: str = "") -> pd.DataFrame:
        """`evaluation.leaderboard` of the arms over seeds, beside the ladder, with the mean of each
        known cost. metric, stem: the plan's if empty."""
        rows = self._rows(self.frame, metric, stem)
        rung = rows["system"].isin(LADDER)
        values = self.scores(metric, stem)
        once = rows[rung].groupby("system", sort=False)["value_db"].first()
        once = {name: pd.Series(value, values.index[:1]) for name, value in once.items()}
        costs = rows[~rung].groupby("arm")[self.costs].mean()
        board = evaluation.leaderboard(values.assign(**once), costs.to_dict("index"), over="seeds")
        metric, stem = metric or self.plan.metric, stem or self.plan.stem
        board.index.name = f"{metric} of {stem} (dB)"
        board.columns.name = self.note or None
        return board

    def readable(self, metric: str = "", stem: str = "", leave: tuple = ()) -> pd.DataFrame:
        """`table` as text for people; leave: names of columns to leave out."""
        return evaluation.readable(
            self.table(metric, stem), ("behind_low_db", "tied", "rank", *leave)
        )

    def gains(self, metric: str = "", stem: str = "") -> pd.DataFrame:
        """Paired gain of every arm over the baseline in dB, and the verdict of the plan's rule.

        mean, low, high: over seeds, at the plan's level. songs_low, songs_high: 95 % bootstrap over
        songs of the median gain, p: Wilcoxon's signed-rank test over songs, uncorrected. verdict:
        better, worse or undecided; "exploratory" without a hypothesis and for other metrics and
        stems than the primary ones.
        """
        scores = self.scores(metric, stem)
        base = self.plan.arm(self.plan.baseline)
        if base not in scores:
            raise DataError(f"no finished cell of the baseline {base}: run the sweep again")
        rows = {}
        for arm in scores.columns.drop(base):
            gain = (scores[arm] - scores[base]).dropna()
            low, high = student_interval(gain, self.plan.level)
            rows[arm] = {"mean": gain.mean(), "low": low, "high": high, "seeds": len(gain)}
            rows[arm] |= self._over_songs(arm, base, gain.index, metric, stem)
            rows[arm]["verdict"] = self._verdict(low, high, metric, stem)
        table = pd.DataFrame.from_dict(rows, orient="index")
        table.index.name = f"gain over {base} (dB)"
        return table

    def _rows(self, frame, metric, stem):
        metric, stem = metric or self.plan.metric, stem or self.plan.stem
        choose(metric, frame["metric"].unique(), "metric")
        choose(stem, frame["stem"].unique(), "stem")
        return frame[(frame["metric"] == metric) & (frame["stem"] == stem)]

    def _over_songs(self, arm, base, seeds, metric, stem) -> dict:
        """Interval and test over songs of values averaged over `seeds`."""
        if not len(seeds):
            return {"songs": 0}
        rows = self._rows(self.songs, metric, stem)
        rows = rows[rows[self.plan.repeat].isin(seeds)].assign(system=rows["arm"])
        keys = ["song", "stem", "system", "metric"]
        mean = rows.groupby(keys, as_index=False)["value_db"].mean()
        protocol = self.protocol | {"stems": list(rows["stem"].unique())}
        both = Report(mean, {"name": "sweep", "protocol": protocol})
        test = paired(both, base, arm, metric=metric or self.plan.metric).iloc[0]
        names = {"songs": "songs", "low": "songs_low", "high": "songs_high", "p": "p"}
        return test[list(names)].rename(names).to_dict()

    def _verdict(self, low, high, metric, stem) -> str:
        secondary = metric not in ("", self.plan.metric) or stem not in ("", self.plan.stem)
        if not self.plan.hypothesis or secondary:
            return "exploratory"
        if self.missing:
            return f"wait: {len(self.missing)} cells are not finished"
        word = "worse" if high < -self.plan.margin_db else "undecided"
        word = "better" if low > self.plan.margin_db else word
        return f"{word} (amended)" if self.facts.get("history") else word


def leaderboard(out, test: bool = False) -> Leaderboard:
    """The leaderboard of the sweep in folder `out`, from its plan and its cards.

    It ranks on validation songs; on test songs with `test`, which closes the plan (`see_test`), and
    where the cards have no others. DataError where there is no plan or no finished cell, or a card
    is damaged; UsageError for cards of different protocols (other songs, stems, rates).
    """
    if test:
        see_test(out)
    plan, facts = read_plan(out)
    cells = {cell_folder(plan, out, cell) / CARD: cell for cell in plan.cells()}
    cards = {path: read_card(path) for path in cells if path.is_file()}
    if not cards:
        raise DataError(f"no finished cell in {out}: run the sweep, look at its failures")
    rows = [row for card in cards.values() for row in card["metrics"]]
    valid = not test and any(row["subset"] == "valid" for row in rows)
    reports = [_report(path, card, "valid" if valid else "test") for path, card in cards.items()]
    same_protocol(reports)
    frames, songs = [], []
    for (path, card), report in zip(cards.items(), reports, strict=True):
        cell = cells[path]
        own = {plan.repeat: 0} | {name: cell[name] for name in plan.grid} | {"arm": plan.arm(cell)}
        costs = {name: card["cost"].get(name) for name in COSTS}
        rows = report.frame[["song", "system", "stem", "metric", "value_db"]]
        medians = rows.groupby(["system", "stem", "metric"], sort=False)["value_db"].median()
        frames.append(_with_all(medians.reset_index(), ["system", "metric"]).assign(**own, **costs))
        rows = rows[~rows["system"].isin(LADDER)]
        songs.append(_with_all(rows, ["song", "system", "metric"]).assign(**own))
    made = [card["made"] | {"adopted": "adopted" in card} for card in cards.values()]
    return Leaderboard(
        plan=plan,
        frame=pd.concat(frames, ignore_index=True).astype(dict.fromkeys(COSTS, float)),
        songs=pd.concat(songs, ignore_index=True),
        protocol=reports[0].card["protocol"],
        missing=tuple(cell for path, cell in cells.items() if path not in cards),
        facts=facts,
        made=pd.DataFrame(made, columns=["commit", "dirty", "host", "adopted"]),
    )


def _with_all(rows: pd.DataFrame, keys: list) -> pd.DataFrame:
    """`rows`, and the mean over their stems as stem "all"; undefined if one of them is."""
    if "all" in set(rows["stem"]):
        return rows
    mean = rows.groupby(keys, sort=False)["value_db"].agg(lambda v: v.mean(skipna=False))
    return pd.concat([rows, mean.reset_index().assign(stem="all")], ignore_index=True)


def _report(path: Path, card: dict, subset: str) -> Report:
    frame = pd.DataFrame([row for row in card["metrics"] if row["subset"] == subset])
    if frame.empty:
        raise DataError(f"{path} has no {subset} songs: delete it and run again")
    frame = frame.assign(value_db=frame["value_db"].astype(float))
    known = {"rung": "unknown", "stems": list(frame["stem"].unique())}
    protocol = known | card["protocols"].get(subset, card["protocol"])
    return Report(frame, {"name": path.parent.name, "protocol": protocol})
