"""Reports: a tidy table and a card that says under which protocol it was made.

Reports with different protocols are never put into one table. Intervals are percentile bootstraps
over songs (Efron 1979), seeded; over few seeds Student's. Lesson 09.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from bsrnn.common import DataError, UsageError, choose, write_text
from bsrnn.evaluation.ladder import NAMES, in_order
from bsrnn.evaluation.metrics import UNITS
from bsrnn.settings import read_json

COLUMNS = {
    "rows": (
        "song", "stem", "system", "metric", "value_db", "frames_used", "frames_total", "note",
    ),
    "bands": ("song", "stem", "band", "reference", "error"),  # energies
    "leakage": ("song", "estimate", "source", "share"),  # of the energy of the estimate
}  # fmt: skip
TOY_NOTE = "toy data: direction only, not quality"
GENERATED = ("toy", "film")  # rungs of the data ladder that no claim about quality may stand on
RESAMPLES = 2000


@dataclass(frozen=True)
class Report:
    """Scores of one evaluation: `frame`, a row per song, stem, system and metric (value_db NaN:
    undefined), and `card`, a JSON dict with the protocol.

    bands, leakage: of the system itself, empty unless `evaluate` was given a scheme: energies of
    reference and error in each band, and the share of each true stem (or "rest") in an estimate.
    """

    frame: pd.DataFrame
    card: dict
    bands: pd.DataFrame = field(default_factory=pd.DataFrame)
    leakage: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __post_init__(self):
        if not self.card.get("protocol"):
            raise UsageError(
                "a report without protocol says nothing: use bsrnn.evaluation.evaluate"
            )

    @property
    def systems(self) -> list:
        """Systems in ladder order."""
        return in_order(self.frame["system"].unique())

    @property
    def stems(self) -> list:
        return list(self.card["protocol"]["stems"])

    @property
    def note(self) -> str:
        """What a reader must know before quoting a number; empty for real music."""
        return TOY_NOTE if self.card["protocol"]["rung"] in GENERATED else ""

    def pivot(self, metric: str = "usdr") -> pd.DataFrame:
        """Values in dB: a row per song, columns (system, stem)."""
        choose(metric, self.frame["metric"].unique(), "metric")
        rows = self.frame[self.frame["metric"] == metric]
        return rows.pivot(index="song", columns=["system", "stem"], values="value_db")

    def songs(self) -> pd.DataFrame:
        """Mean uSDR in dB over the stems that a song has: a row per song, a column per system."""
        return self.pivot("usdr").T.groupby(level="system").mean().T

    def table(self, metric: str = "usdr", statistic: str = "median") -> pd.DataFrame:
        """Median (or mean) over songs, systems in ladder order x stems, and their mean. Undefined
        values are left out; `aggregate` counts them. The columns' name is the note on toy data."""
        choose(statistic, ("median", "mean"), "statistic")
        values = self.pivot(metric).agg(statistic).unstack("stem")
        values = values.reindex(index=self.systems, columns=self.stems)
        if len(self.stems) > 1:
            values["all"] = values.mean(axis=1, skipna=False)
        values.index.name = f"{statistic} {metric} ({UNITS[metric]})"
        values.columns.name = self.note or None
        return values

    def shown(self, metric: str = "usdr") -> pd.DataFrame:
        """`table` as text, "median (mean)" over songs in each cell: the challenges and most papers
        average, SiSEC and this course take medians; they differ by up to a decibel."""
        median, mean = (self.table(metric, statistic) for statistic in ("median", "mean"))
        text = median.map("{:.2f}".format) + mean.map(" ({:.2f})".format)
        text = text.where(median.notna(), "undefined")
        return text.rename_axis(f"median (mean) {metric} ({UNITS[metric]})")

    def aggregate(self, metric: str = "usdr", seed: int = 0) -> pd.DataFrame:
        """Median and mean over songs with 95 % bootstrap intervals, per system and stem. `songs`
        counts the defined values, `undefined` the others."""
        values, rows = self.pivot(metric), []
        columns = sorted(values, key=lambda column: (self.systems.index(column[0]), column[1]))
        for system, stem in columns:
            defined = values[system, stem].dropna().to_numpy()
            row = {"system": system, "stem": stem}
            for name, statistic in (("median", np.median), ("mean", np.mean)):
                low, high = bootstrap_interval(defined, statistic, seed)
                value = float(statistic(defined)) if len(defined) else np.nan
                row |= {name: value, f"{name}_low": low, f"{name}_high": high}
            rows.append(row | {"songs": len(defined), "undefined": len(values) - len(defined)})
        return pd.DataFrame(rows)

    def save(self, folder) -> Path:
        """Write report.csv and report.json into `folder`, each in one step; returns `folder`."""
        folder = Path(folder)
        write_text(folder / "report.csv", self.frame.to_csv(index=False))
        for name in ("bands", "leakage"):
            if len(getattr(self, name)):
                write_text(folder / f"{name}.csv", getattr(self, name).to_csv(index=False))
        write_text(folder / "report.json", json.dumps(self.card, indent=1))
        return folder

    @classmethod
    def load(cls, folder) -> "Report":
        """The report that `save` wrote."""
        folder = Path(folder)
        try:
            card = read_json(folder / "report.json")
            frame = pd.read_csv(
                folder / "report.csv", keep_default_na=False,
                na_values={"value_db": ["", "nan"]}, float_precision="round_trip",
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise DataError(
                f"{folder}: no readable report ({error}): run evaluate first"
            ) from error
        parts = [folder / f"{name}.csv" for name in ("bands", "leakage")]
        return cls(frame, card, *(pd.read_csv(part) for part in parts if part.exists()))

    def _repr_html_(self):
        note = f"<p><b>{self.note}</b></p>" if self.note else ""
        songs = self.card["protocol"]["songs"]
        return f"{note}{self.shown().to_html()}<p>{songs} songs</p>"


def _known(values) -> np.ndarray:
    """Those that are not NaN."""
    values = np.asarray(values, dtype=float)
    return values[~np.isnan(values)]


def bootstrap_interval(values, statistic=np.median, seed: int = 0):
    """95 % interval (low, high) of `statistic` over songs drawn again with replacement; NaN
    without values."""
    values = _known(values)
    if not len(values):
        return float("nan"), float("nan")
    songs = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    drawn = np.sort(statistic(values[songs], axis=1))  # (RESAMPLES, songs) -> (RESAMPLES,)
    return tuple(float(drawn[round(q * (RESAMPLES - 1))]) for q in (0.025, 0.975))


def student_interval(values, level: float = 0.95) -> tuple[float, float]:
    """(low, high) of the mean of a few independent values (Student 1908); NaN below two values.

    >>> [round(bound, 1) for bound in student_interval([1.0, 2.0])]
    [-4.9, 7.9]
    """
    from scipy.stats import t

    values = _known(values)
    if len(values) < 2:
        return float("nan"), float("nan")
    half = t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean() - half), float(values.mean() + half)


def paired(report, first, second, other=None, metric: str = "usdr", seed: int = 0) -> pd.DataFrame:
    """Is system `second` (of `other`, else of the same report) better than `first`? Per stem.

    Only songs with both values count. median_gain_db with its bootstrap interval, mean_gain_db, won
    (share of songs where second is better), p: two-sided Wilcoxon signed-rank test (1945).
    """
    from scipy.stats import wilcoxon

    other = report if other is None else other
    same_protocol([report, other])
    a, b = report.pivot(metric), other.pivot(metric)
    rows = []
    for stem in report.stems:
        if (first, stem) not in a or (second, stem) not in b:
            continue
        gain = (b[second, stem] - a[first, stem]).dropna()
        low, high = bootstrap_interval(gain, np.median, seed)
        row = {"stem": stem, "songs": len(gain), "median_gain_db": gain.median()}
        row |= {"low": low, "high": high, "mean_gain_db": gain.mean()}
        row["won"] = (gain > 0).mean()
        # without a difference there is nothing to rank
        row["p"] = wilcoxon(gain).pvalue if gain.any() else 1.0 if len(gain) else np.nan
        rows.append(row)
    if not rows:
        choose(first, report.systems, "system")
        choose(second, other.systems, "system")
    return pd.DataFrame(rows)


def same_protocol(reports) -> None:
    """Raise UsageError naming the first difference if protocols differ (the ladder may: it changes
    no value)."""
    first, name = reports[0].card["protocol"], reports[0].card["name"]
    for report in reports[1:]:
        other = report.card["protocol"]
        for key in [*first, *(key for key in other if key not in first)]:
            if key != "ladder" and first.get(key) != other.get(key):
                raise UsageError(
                    f"protocols differ in {key}: {first.get(key)!r} in {name!r}, "
                    f"{other.get(key)!r} in {report.card['name']!r}: evaluate both alike"
                )


def compare(reports, metric: str = "usdr") -> pd.DataFrame:
    """Medians of several reports of one protocol, in ladder order.

    Reports of the same name are taken as seeds of one system: mean of their medians, `seeds`, and
    `spread`, the standard deviation of the last column, `all` or the only stem. `mean` is that
    column with means over songs, as papers have it; `seconds_per_minute`: of audio. Refuses two
    protocols in one table.
    """
    reports = list(reports)
    if not reports:
        raise UsageError("nothing to compare: give at least one report")
    same_protocol(reports)
    runs = {}
    for report in reports:
        spent = pd.Series(report.card.get("seconds_per_minute", {}), dtype=float)
        table = report.table(metric).assign(
            mean=report.table(metric, "mean").iloc[:, -1], seconds_per_minute=spent
        )
        for system, row in table.iterrows():
            if system not in NAMES or system not in runs:  # the ladder is the same everywhere
                runs.setdefault(system, []).append(row)
    rows = {}
    for system in in_order(runs):
        of = pd.DataFrame(runs[system])
        seconds = of.pop("seconds_per_minute").mean()
        row = {**of.mean(), "seeds": len(of), "spread": of.iloc[:, -2].std()}  # before `mean`
        rows[system] = row | {"seconds_per_minute": seconds}
    board = pd.DataFrame.from_dict(rows, orient="index")
    board.index.name = f"median {metric} ({UNITS[metric]})"
    board.columns.name = reports[0].note or None
    return board
