"""The ledger: published results, weights and our own runs as data, every row with its source.

Conventions:
    One row is one number: a system (and its setting), a stem, a value in dB, and the protocol that
    the value belongs to. Two values may be compared only if metric, aggregation and test set agree
    (`PROTOCOL`); `leaderboard` refuses anything else. An empty cell means "unknown", never "no".
    "second-hand" in `note`: read in another text than the one that measured it.
    The files lie in `data/published` of the checkout; `data/README.md` describes each.

    results(system="BSRNN", metric="csdr"); leaderboard("csdr", "MUSDB18-HQ test"); own_runs()

Lesson 09.
"""

import csv
import re
from pathlib import Path

import pandas as pd

from bsrnn.common import ROOT, DataError, UsageError, choose, whole

# what each metric and test set means: data/README.md
METRICS = ("usdr", "csdr", "csdr_2s", "usdr_batch", "si_sdr", "snr", "sdr")
AGGREGATIONS = (
    "mean over songs", "median over songs", "median over frames, median over songs",
    "median over frames, mean over songs", "running average over batches", "not stated",
)  # fmt: skip
TEST_SETS = (
    "MUSDB18-HQ test", "MUSDB18 test", "MUSDB18 test, version not stated", "MUSDB18-HQ valid",
    "MUSDB18-HQ test, mono 1 s chunks", "MUSDB18-7 test", "MDX23 hidden test",
    "Multisong (MVSep)", "MoisesDB, 235 songs", "MoisesDB, 48 songs", "DnR v2 test",
    "DnR v3 test", "toy", "clip", "MUSDB18-7 valid, 7 songs", "DnR-like scenes, 2 of 20 s",
)  # fmt: skip
PROTOCOL = ("metric", "aggregation", "test_set")
RESULT_COLUMNS = (
    "system", "setting", "year", "stem", "value_db", "metric", "aggregation", "test_set",
    "extra_data", "selected_on_test", "trained_on", "parameters_m", "per_stem_models", "source",
    "note",
)  # fmt: skip
OWN_COLUMNS = RESULT_COLUMNS + (
    "command", "seeds", "spread_db", "seconds", "hardware", "gap_db", "suspected_cause",
)  # fmt: skip
WEIGHT_COLUMNS = (
    "name", "task", "stems", "url", "file", "bytes", "checksum_kind", "checksum", "weight_licence",
    "code_licence", "training_data", "saw_test", "score_db", "score_stem", "score_metric",
    "score_test_set", "parameters_m", "source", "note",
)  # fmt: skip
UNEQUAL_AVERAGE = "printed average is not the mean of its stems"

_COLUMNS = {"own_runs": OWN_COLUMNS, "weights": WEIGHT_COLUMNS}
_NUMBERS = {
    "year", "value_db", "parameters_m", "spread_db", "seconds", "gap_db", "bytes", "score_db",
    "parameters", "gmac_6s", "macs_6s", "peak_memory_mb", "batch_per_s_gpu", "batch_per_s_cpu",
}  # fmt: skip
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")
_RESULT_NEEDS = ("source", "system", "stem", "value_db", *PROTOCOL)
_NEEDS = {
    "weights": ("source", "name", "task"),
    "complexity": ("source", "model"),
    "own_runs": (*_RESULT_NEEDS, "command", "seeds", "seconds", "hardware"),
}
_CHOICES = {
    "metric": METRICS, "aggregation": AGGREGATIONS, "test_set": TEST_SETS,
    "score_metric": ("", *METRICS), "score_test_set": ("", *TEST_SETS),
    "saw_test": ("", "yes", "no", "selection"),  # selection: only the checkpoint was chosen by it
    **dict.fromkeys(("extra_data", "selected_on_test", "per_stem_models"), ("", "yes", "no")),
}  # fmt: skip
# One publication states these once for all stems of a system, so its rows must agree.
_SHARED = ("aggregation", "year", "extra_data", "selected_on_test", "trained_on", "per_stem_models")


def folder() -> Path:
    """`data/published` of the checkout this package runs from, or of the installed package."""
    path = ROOT / "data" / "published"
    if not path.is_dir():
        raise DataError(f"no ledger at {path}: install bsrnn again")
    return path


def _text(path: Path) -> pd.DataFrame:
    """One CSV as text cells (empty string: unknown)."""
    try:
        with open(path, newline="", encoding="utf-8") as handle:
            header, *lines = csv.reader(handle)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path.name}: not a CSV with a header ({error})") from error
    for number, cells in enumerate(lines, 2):
        if len(cells) != len(header):
            raise DataError(f"{path.name} row {number}: {len(cells)} cells, not {len(header)}")
    return pd.DataFrame(lines, columns=header, dtype=str)


def _table(name: str, at) -> pd.DataFrame:
    """One CSV with numbers as numbers (NaN: unknown)."""
    path = Path(at or folder()) / f"{name}.csv"
    rows = _text(path)
    for column in _NUMBERS.intersection(rows.columns):
        try:
            rows[column] = rows[column].replace("", "nan").astype(float)
        except ValueError as error:
            raise DataError(f"{path.name}: column {column} is not numeric ({error})") from error
    return rows


def select(rows: pd.DataFrame, **filters) -> pd.DataFrame:
    """Rows whose columns have the given value, or one of the given list of values."""
    for column, wanted in filters.items():
        choose(column, rows.columns, "column")
        wanted = list(wanted) if isinstance(wanted, (list, tuple, set)) else [wanted]
        for value in wanted:
            if isinstance(value, str) and not rows[column].eq(value).any():
                choose(value, sorted(set(rows[column].dropna())), column)
        rows = rows[rows[column].isin(wanted)]
    return rows.reset_index(drop=True)


def results(at=None, **filters) -> pd.DataFrame:
    """Published results and our own runs, one number per row: `RESULT_COLUMNS` and `file`.

    Keywords select rows: `results(metric="csdr", stem=["bass", "drums"])`. A name that no row has
    raises a UsageError with the nearest one.
    """
    names = sorted(path.stem for path in Path(at or folder()).glob("*.csv"))
    names = [name for name in names if name not in ("weights", "complexity")]
    tables = [_table(name, at)[[*RESULT_COLUMNS]].assign(file=name) for name in names]
    rows = pd.concat([t for t in tables if len(t)], ignore_index=True)
    return select(rows.astype({"year": "Int64"}), **filters)


def own_runs(at=None, **filters) -> pd.DataFrame:
    """Our own runs with command, seeds, spread, seconds, hardware, gap and suspected cause."""
    return select(_table("own_runs", at), **filters)


def weights(at=None, **filters) -> pd.DataFrame:
    """Passports of published weights: licence, training data, whether they saw the test songs."""
    return select(_table("weights", at), **filters)


def complexity(at=None, **filters) -> pd.DataFrame:
    """BandIt's cost table. Its "GFlops" are multiply-accumulates of 6 s: the column `gmac_6s`."""
    return select(_table("complexity", at), **filters)


def leaderboard(metric=None, test_set=None, stem="average", rows=None, **filters) -> pd.DataFrame:
    """One stem's values under one protocol, best first, with what makes them hard to compare.

    rows: rows of `results` (default: all). Raises UsageError if metric, aggregation or test set
    differ among the rows that are left: a value in dB has no meaning without its protocol.
    """
    wanted = {"metric": metric, "test_set": test_set, "stem": stem, **filters}
    rows = results() if rows is None else rows
    rows = select(rows, **{k: v for k, v in wanted.items() if v is not None})
    if rows.empty:
        raise UsageError("no row fits: drop a filter or look at ledger.results()")
    for column in (*PROTOCOL, "stem"):
        kinds = rows.groupby(column, sort=False)["system"].first()
        if len(kinds) > 1:
            (one, its), (two, other), *_ = kinds.items()
            raise UsageError(
                f"rows mix {column}: {one!r} ({its}) and {two!r} ({other}) cannot be compared, "
                f"choose one: {column}={one!r}"
            )
    rows = rows.assign(second_hand=rows["note"].str.contains("second-hand"))
    order = ["system", "setting", "year", "value_db", "extra_data", "selected_on_test"]
    order += ["per_stem_models", "parameters_m", "second_hand", "source", *PROTOCOL, "stem"]
    return rows.sort_values("value_db", ascending=False, kind="stable", ignore_index=True)[order]


def _cell_fault(name: str, row: dict) -> str:
    """What is wrong with the cells of one row, "" if nothing is."""
    for column in _NEEDS.get(name, _RESULT_NEEDS):
        if not row.get(column, "").strip():
            return f"no {column}"
    for column, value in row.items():
        if column in _NUMBERS and value and not _NUMBER.fullmatch(value):
            return f"{column} {value!r} is not a number"
        if column in _CHOICES and value not in _CHOICES[column]:
            return f"unknown {column} {value!r}"
    if row.get("gap_db") and not row["suspected_cause"].strip():
        return "a gap to the published value without suspected_cause ('unknown' is allowed)"
    paired = bool(row.get("checksum")) == bool(row.get("checksum_kind"))
    return "" if paired else "checksum and checksum_kind belong together"


def _group_fault(group: pd.DataFrame) -> str:
    """What is wrong among the stems of one system in one publication, "" if nothing is."""
    if group["stem"].duplicated().any():
        return f"stem {group['stem'][group['stem'].duplicated()].iloc[0]!r} stands twice"
    for column in _SHARED:
        if group[column].nunique() > 1:
            return f"mixed protocol: {column} is {' and '.join(map(repr, group[column].unique()))}"
    values = dict(zip(group["stem"], group["value_db"], strict=True))
    stems = [s for s in values if s not in ("average", "accompaniment")]
    if "average" in values and len(stems) == (3 if "speech" in values else 4):
        mean = sum(float(values[s]) for s in stems) / len(stems)
        digits = max(len(v.partition(".")[2]) for v in values.values())
        note = group.loc[group["stem"] == "average", "note"].iloc[0]
        # each stem and the average are rounded: together at most one unit of the last place
        unequal = abs(mean - float(values["average"])) > 10**-digits + 1e-9
        if unequal != (UNEQUAL_AVERAGE in note):
            return f"average {values['average']} but its stems give {mean:.{digits}f}"
    return ""


def _faults(name: str, rows: pd.DataFrame) -> list[str]:
    """Every fault of one table as `name.csv row N: what` (row 2 follows the header)."""
    columns = _COLUMNS.get(name, RESULT_COLUMNS)
    if name != "complexity" and tuple(rows.columns) != columns:
        return [f"{name}.csv row 1: columns must be {','.join(columns)}"]
    faults = {i: _cell_fault(name, row) for i, row in enumerate(rows.to_dict("records"))}
    if name == "weights":
        faults |= dict.fromkeys(rows.index[rows["name"].duplicated()], "name stands twice")
    elif name != "complexity" and not any(faults.values()):
        keys = ["system", "setting", "metric", "test_set", "source", *columns[15:17]]
        for _, group in rows.groupby(keys, sort=False):
            faults[group.index[0]] = _group_fault(group)
    return [f"{name}.csv row {i + 2}: {what}" for i, what in faults.items() if what]


def validate(at=None) -> None:
    """Raise a DataError that names file and row of the ledger's first fault, if it has one."""
    paths = sorted(Path(at or folder()).glob("*.csv"))
    found = [fault for path in paths for fault in _faults(path.stem, _text(path))]
    if found:
        raise DataError(found[0] + f" (and {len(found) - 1} more)" * (len(found) > 1))


def record(runs, at=None) -> Path:
    """Append our own runs: a dict or a list of dicts with `OWN_COLUMNS` (missing: unknown).

    Needed: the protocol, source, command, seeds, seconds, hardware; with `gap_db` (ours minus the
    published value) also `suspected_cause`. Nothing is written if a row is faulty. Values in dB.
    """
    runs = pd.DataFrame([runs] if isinstance(runs, dict) else list(runs))
    for key in runs.columns:
        choose(key, OWN_COLUMNS, "column")
    path = Path(at or folder()) / "own_runs.csv"
    text = runs.astype(object).where(runs.notna(), "").astype(str)
    text = text.reindex(columns=list(OWN_COLUMNS), fill_value="")
    rows = pd.concat([_text(path), text], ignore_index=True)
    found = _faults("own_runs", rows)
    if found:
        raise UsageError(f"nothing recorded: {found[0]}")
    with whole(path) as part:
        rows.to_csv(part, index=False, lineterminator="\n")
    return path
