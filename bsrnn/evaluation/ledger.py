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
from pathlib import Path

import pandas as pd

from bsrnn.common import ROOT, DataError, UsageError, choose

PROTOCOL = ("metric", "aggregation", "test_set")
RESULT_COLUMNS = (
    "system", "setting", "year", "stem", "value_db", "metric", "aggregation", "test_set",
    "extra_data", "selected_on_test", "trained_on", "parameters_m", "per_stem_models", "source",
    "note",
)  # fmt: skip
NUMBERS = {
    "year", "value_db", "parameters_m", "spread_db", "seconds", "gap_db", "bytes", "score_db",
    "parameters", "gmac_6s", "macs_6s", "peak_memory_mb", "batch_per_s_gpu", "batch_per_s_cpu",
}  # fmt: skip


def folder() -> Path:
    """`data/published` of the checkout this package runs from, or of the installed package."""
    path = ROOT / "data" / "published"
    if not path.is_dir():
        raise DataError(f"no ledger at {path}: install bsrnn again")
    return path


def text_table(path: Path) -> pd.DataFrame:
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
    rows = text_table(path)
    for column in NUMBERS.intersection(rows.columns):
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

    Where nobody says whether a system had extra data, it stands below those that tell, and
    leads no board.
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
    rows = rows.assign(unknown=rows["extra_data"].eq(""), value=-rows["value_db"])
    return rows.sort_values(["unknown", "value"], kind="stable", ignore_index=True)[order]
