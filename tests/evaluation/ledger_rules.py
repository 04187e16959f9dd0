"""What must hold in `data/published`: the vocabulary of each column, and the faults of a table."""

import csv
import re
from pathlib import Path

import pandas as pd

from bsrnn.evaluation.ledger import NUMBERS, PROTOCOL, RESULT_COLUMNS, folder

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
OWN_COLUMNS = RESULT_COLUMNS + (
    "command", "seeds", "spread_db", "seconds", "hardware", "gap_db", "suspected_cause",
)  # fmt: skip
WEIGHT_COLUMNS = (
    "name", "task", "family", "loads", "stems", "heads", "heads_source", "settings",
    "url", "file", "bytes", "checksum_kind", "checksum", "weight_licence",
    "code_licence", "training_data", "saw_test", "score_db", "score_stem", "score_metric",
    "score_test_set", "parameters_m", "source", "note",
)  # fmt: skip
UNEQUAL_AVERAGE = "printed average is not the mean of its stems"

COLUMNS = {"own_runs": OWN_COLUMNS, "weights": WEIGHT_COLUMNS}
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
    "loads": ("name", "file", "reference"),
    "saw_test": ("", "yes", "no", "selection"),  # selection: only the checkpoint was chosen by it
    **dict.fromkeys(("extra_data", "selected_on_test", "per_stem_models"), ("", "yes", "no")),
}  # fmt: skip
# One publication states these once for all stems of a system, so its rows must agree.
_SHARED = ("aggregation", "year", "extra_data", "selected_on_test", "trained_on", "per_stem_models")


def _cell_fault(name: str, row: dict) -> str:
    """What is wrong with the cells of one row, "" if nothing is."""
    for column in _NEEDS.get(name, _RESULT_NEEDS):
        if not row.get(column, "").strip():
            return f"no {column}"
    for column, value in row.items():
        if column in NUMBERS and value and not _NUMBER.fullmatch(value):
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


def faults_of(name: str, rows: pd.DataFrame) -> list[str]:
    """Every fault of one table as `name.csv row N: what` (row 2 follows the header)."""
    columns = COLUMNS.get(name, RESULT_COLUMNS)
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


def faults(at=None) -> list[str]:
    """Every fault of the ledger in the folder `at`, as `name.csv row N: what`."""
    faults = []
    for path in sorted(Path(at or folder()).glob("*.csv")):
        header, *lines = csv.reader(path.read_text(encoding="utf-8").splitlines())
        faults += [
            f"{path.name} row {number}: {len(cells)} cells, not {len(header)}"
            for number, cells in enumerate(lines, 2)
            if len(cells) != len(header)
        ] or faults_of(path.stem, pd.DataFrame(lines, columns=header, dtype=str))
    return faults
