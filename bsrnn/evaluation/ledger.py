"""The ledger: published results, weights and our own runs as data, every row with its source.

A row is a system (and its setting), a stem, a value in dB, and its protocol. Two values compare
only if metric, aggregation and test set agree (`PROTOCOL`); `leaderboard` refuses anything else. An
empty cell means "unknown", never "no". `data/README.md` describes each file. Lesson 09.

    results(system="BSRNN", metric="csdr"); leaderboard("csdr", "MUSDB18-HQ test"); own_runs()
"""

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


def _table(name: str) -> pd.DataFrame:
    """One CSV: text (empty: unknown), and numbers as numbers (NaN: unknown)."""
    rows = pd.read_csv(folder() / f"{name}.csv", dtype=str, keep_default_na=False)
    numbers = NUMBERS.intersection(rows.columns)
    return rows.assign(**{column: pd.to_numeric(rows[column]).astype(float) for column in numbers})


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


def results(**filters) -> pd.DataFrame:
    """Published results and our own runs, one number per row: `RESULT_COLUMNS` and `file`. Keywords
    select rows, `metric="csdr"` or `stem=["bass", "drums"]`; UsageError for what no row has."""
    names = {path.stem for path in folder().glob("*.csv")} - {"weights", "complexity"}
    tables = [_table(name)[[*RESULT_COLUMNS]].assign(file=name) for name in sorted(names)]
    rows = pd.concat([t for t in tables if len(t)], ignore_index=True)
    return select(rows.astype({"year": "Int64"}), **filters)


def own_runs(**filters) -> pd.DataFrame:
    """Our own runs with command, seeds, spread, seconds, hardware, gap and suspected cause."""
    return select(_table("own_runs"), **filters)


def weights(**filters) -> pd.DataFrame:
    """Passports of published weights: licence, training data, whether they saw the test songs."""
    return select(_table("weights"), **filters)


def complexity(**filters) -> pd.DataFrame:
    """BandIt's cost table. Its "GFlops" are multiply-accumulates of 6 s: the column `gmac_6s`."""
    return select(_table("complexity"), **filters)


def leaderboard(metric=None, test_set=None, stem="average", rows=None, **filters) -> pd.DataFrame:
    """One stem's values under one protocol, best first, with what makes them hard to compare; those
    of systems that do not tell whether they had extra data stand below. rows: of `results`
    (default: all). Raises UsageError if the rows that are left mix protocols."""
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
