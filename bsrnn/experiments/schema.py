"""The card of an experiment, `results.json`: all that leaves a notebook which can be swept.

    parameters  object    name -> value; all that the sweep has set must be there, and equal
    metrics     list      a row for each value, at least one:
        value_db    number or null (undefined), in dB
        metric      a name of bsrnn.metrics.DEFINITIONS   ["usdr"]
        system      "model", or a rung of the ladder       ["model"]
        stem, song  names                                  ["all", "all songs"]
        subset      "valid" (ranks), or "test"             ["test"]
    protocol    object    how it was measured; cards of two protocols share no table [{}]
    protocols   object    subset -> protocol, where they differ [{}]
    cost        object    names of bsrnn.evaluation.COSTS -> numbers [{}]
    made        object    `made`: commit, host, versions [{}]

What stands in brackets is taken where a card says nothing; other fields are kept and not read.
`course.write_card` writes one (lesson 13).
"""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

from bsrnn.common import ROOT, DataError
from bsrnn.evaluation.metrics import DEFINITIONS
from bsrnn.settings import read_json

CARD = "results.json"
ROW = {"metric": "usdr", "system": "model", "stem": "all", "song": "all songs", "subset": "test"}
OBJECTS = ("parameters", "protocol", "protocols", "cost", "made")


def read_card(path) -> dict:
    """The card at `path` with all fields above; DataError says what is wrong in it."""
    card = read_json(path)
    wrong = _fault(card)
    if wrong:
        raise DataError(f"{path} is no card: {wrong} (bsrnn.experiments.schema lists the fields)")
    card = dict.fromkeys(OBJECTS, {}) | card
    return card | {"metrics": [ROW | row for row in card["metrics"]]}


def _fault(card) -> str:
    """What is wrong with a card; "" if nothing is."""
    for name in OBJECTS:
        if not isinstance(card.get(name, None if name == "parameters" else {}), dict):
            return f"{name} is no object"
    rows = card.get("metrics")
    if not isinstance(rows, list) or not rows:
        return "metrics is no list of rows"
    for row in rows:
        value = row.get("value_db", "") if isinstance(row, dict) else ""
        if value is not None and type(value) not in (int, float):
            return f"the row {str(row)[:80]} has no number value_db"
        if row.get("metric", "usdr") not in DEFINITIONS:
            return f"unknown metric {row['metric']!r}"
        if row.get("subset", "test") not in ("valid", "test"):
            return f"unknown subset {row['subset']!r}"
    return ""


def made() -> dict:
    """Where and of what a card is made: commit, dirty, host, versions."""

    def git(*words):
        command = ["git", "-C", str(ROOT), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    changes = git("status", "--porcelain", "--untracked-files=no")
    versions = {"python": platform.python_version()}
    for name in ("torch", "numpy", "lightning"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if changes is None else bool(changes),
        "host": platform.node(),
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "versions": versions,
    }
