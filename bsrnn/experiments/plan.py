"""The plan of a sweep: grid, question, hypothesis, decision rule; fixed before anything runs."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import filelock
import numpy as np

import bsrnn
from bsrnn.common import NOTEBOOKS, DataError, UsageError, choose, write_text
from bsrnn.evaluation.metrics import DEFINITIONS
from bsrnn.evaluation.planning import WANTED, power
from bsrnn.experiments import notebooks
from bsrnn.experiments.notebooks import source_hash
from bsrnn.settings import Json, checked, read_json

PLAN, LOCK = "plan.json", ".sweep.lock"  # a training in the same folder has a lock of its own
MACHINERY = ("out_dir", "resume")  # parameters of a notebook that the sweep itself sets


@dataclasses.dataclass(frozen=True)
class Sweep(Json):
    """A grid of named parameters and what will be concluded from it.

    Without a hypothesis it is exploratory: its board shows intervals and gives no verdict.

    >>> plan = Sweep({"scheme": ["v7", "tet24"], "seed": [0, 1]})
    >>> [cell["scheme"] for cell in plan.cells()]
    ['v7', 'v7', 'tet24', 'tet24']
    >>> Sweep.from_json(plan.to_json()) == plan
    True
    """

    grid: dict = dataclasses.field(default_factory=dict)  # parameter -> its values; every
    # combination is a cell
    fixed: dict = dataclasses.field(default_factory=dict)  # parameters that all cells share
    question: str = ""
    hypothesis: str = ""
    metric: str = "usdr"  # the primary one, a name of bsrnn.metrics.DEFINITIONS
    stem: str = "all"  # the primary one; "all": mean over stems
    baseline: dict = dataclasses.field(default_factory=dict)  # the arm that the others must beat;
    # empty: the first value of every parameter
    margin_db: Annotated[float, (0.0, 1e3)] = 0.0  # smallest gain worth having
    alpha: Annotated[float, (1e-9, 0.999)] = 0.05  # chance of a false alarm, shared by all
    # comparisons (Bonferroni)
    repeat: str = "seed"  # the parameter whose values are repetitions, not arms
    notebook: str = "sweep"  # a notebook of `notebooks/`, or a path

    def __post_init__(self):
        checked(self)
        lists = all(isinstance(v, (list, tuple)) and len(v) for v in self.grid.values())
        if not self.grid or not lists:
            raise UsageError('the grid is empty: give lists such as {"scheme": ["v7", "tet24"]}')
        object.__setattr__(self, "grid", {name: tuple(v) for name, v in self.grid.items()})
        for name, values in self.grid.items():
            if len({json.dumps(value) for value in values}) < len(values):
                raise UsageError(f"{name} has a value twice in the grid: give each once")
        for name in (*self.grid, *self.fixed):
            if name in MACHINERY or (name in self.grid and name in self.fixed):
                why = "the sweep sets it" if name in MACHINERY else "it stands in grid and fixed"
                raise UsageError(f"{name} cannot be planned ({why}): leave it out")
        choose(self.metric, DEFINITIONS, "metric")
        first = {name: values[0] for name, values in self.grid.items() if name != self.repeat}
        for name, value in self.baseline.items():
            choose(name, first, "parameter of the baseline")
            choose(str(value), self.grid[name], f"value of {name} for the baseline")
        object.__setattr__(self, "baseline", first | self.baseline)

    def cells(self) -> list[dict]:
        """Parameters of every cell, the last one of the grid changing fastest."""
        rows = itertools.product(*self.grid.values())
        return [dict(zip(self.grid, row, strict=True)) | self.fixed for row in rows]

    def arm(self, parameters: dict) -> str:
        """Label of the arm that a cell belongs to: its values of the grid without the seed."""
        names = [name for name in self.grid if name != self.repeat]
        if len(names) == 1:
            return str(parameters[names[0]])
        return ", ".join(f"{name} {parameters[name]}" for name in names) or "one arm"

    def arms(self) -> list[str]:
        """Labels of all arms, in the order of the grid."""
        return list(dict.fromkeys(self.arm(cell) for cell in self.cells()))

    @property
    def comparisons(self) -> int:
        """How many arms are compared with the baseline."""
        return len(self.arms()) - 1

    @property
    def level(self) -> float:
        """Level of each interval, such that all hold together with 1 - alpha (Bonferroni)."""
        return 1 - self.alpha / max(1, self.comparisons)

    @property
    def rule(self) -> str:
        """The decision rule in words; `Leaderboard.gains` applies exactly this."""
        return (
            f"An arm is better than {self.arm(self.baseline)} if the {100 * self.level:.4g} % "
            f"Student interval over {self.repeat}s of its paired gain (median {self.metric} over "
            f"songs, stem {self.stem}) lies above {self.margin_db:g} dB, worse if that of its loss "
            "does, else undecided; not before every cell is finished."
        )

    @property
    def shows(self) -> str:
        """What the planned seeds can show, in words."""
        count = len(self.grid.get(self.repeat, [0]))
        if count < 2:
            return f"one {self.repeat} has no interval: it decides nothing"
        gains = np.geomspace(0.05, 1e3, 400)  # in deviations of the paired gains
        enough = (gain for gain in gains if power(gain, 1.0, count, 1 - self.level) >= WANTED)
        return (
            f"{count} {self.repeat}s show a true gain of {next(enough):.2g} deviations of the "
            "paired gains 4 times in 5; of a smaller one they usually say undecided"
        )

    @classmethod
    def from_json(cls, text: str) -> "Sweep":
        """Inverse of to_json; `leaf` is the earlier name of `notebook`."""
        return super().from_json(text.replace('"leaf"', '"notebook"'))

    @property
    def digest(self) -> str:
        """Hash of everything above: two plans with one digest are one plan."""
        fields = dataclasses.asdict(self)
        fields["leaf"] = fields.pop("notebook")  # its name in earlier plans, whose hashes stay
        text = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def name_of(parameters: dict, names=()) -> str:
    """Folder name of a cell: the values of `names` to read, a hash of all parameters to be sure.

    >>> name_of({"scheme": "v7", "seed": 0}, ["scheme", "seed"])[:16]
    'scheme=v7,seed=0'
    """
    words = ",".join(f"{name}={parameters[name]}" for name in names)
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9=,.+-]+', '_', words)[:80]}-{digest}"


def cell_folder(plan: Sweep, out, parameters: dict) -> Path:
    """Where the card of a cell lies."""
    return Path(out).resolve() / "cells" / name_of(parameters, list(plan.grid))


def find(name: str) -> Path:
    """A notebook of `notebooks/` by its name, or by a path."""
    path = Path(name) if str(name).endswith(".ipynb") else NOTEBOOKS / f"{name}.ipynb"
    if not path.is_file():
        raise UsageError(f"no notebook {path}: check the name")
    return path.resolve()


def code_hash(path: Path) -> str:
    """Hash of the code of a notebook: cards of another code do not belong to this sweep."""

    return source_hash(notebooks.read(path))


@contextlib.contextmanager
def alone(out):
    """Holds the folder `out`, of a sweep or a cell: meanwhile every other is refused there.

    The lock is the operating system's: it ends with its process, however that ends.

    Raises:
        UsageError: another sweep is running there. DataError: it cannot be written.
    """
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(Path(out) / LOCK).acquire(timeout=0)
    except filelock.Timeout:
        raise UsageError(
            f"another sweep is running in {out}: wait until it ends, or choose another folder"
        ) from None
    except OSError as error:
        raise DataError(f"cannot write {out} ({error.strerror}): choose another folder") from None
    with lock:
        yield


def register(plan: Sweep, out) -> str:
    """Write `plan` to `<out>/plan.json`, once; returns its digest.

    Raises:
        UsageError: another plan is registered there, or its notebook has changed since.
        DataError: the file was edited, or cannot be written.
    """
    path = Path(out) / PLAN
    code = code_hash(find(plan.notebook))
    if path.exists():
        known, facts = read_plan(out)
        if known.digest != plan.digest:
            one, two = dataclasses.asdict(known), dataclasses.asdict(plan)
            names = [name for name in one if one[name] != two[name]]
            raise UsageError(
                f"{path} holds another plan ({', '.join(names)} differ): a registered plan stays "
                "as it is, choose another folder for a new one, or --extend it by values"
            )
        if facts["code_hash"] != code:
            raise UsageError(
                f"the notebook {plan.notebook} has changed since {path} was registered: its "
                "cards would not compare, choose another folder"
            )
        return plan.digest
    _write(out, plan, {"code_hash": code, "version": bsrnn.__version__, "registered": _now()})
    return plan.digest


def _write(out, plan: Sweep, facts: dict) -> None:
    """`plan` as the one registered in `out`, with the facts beside it."""
    path, known = Path(out) / PLAN, {"digest": plan.digest, "rule": plan.rule}
    try:
        text = json.dumps(facts | known | {"plan": dataclasses.asdict(plan)}, indent=1)
        write_text(path, text + "\n")
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror}): choose another folder") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def extend(out, grid: dict) -> Sweep:
    """Add values to the axes of the plan registered in `out`; its `history` keeps what it was.

    Raises:
        UsageError: an axis that it has not, or its test songs were seen: a larger plan would
            choose by them.
    """
    known, facts = read_plan(out)
    for name in grid:
        choose(name, known.grid, "axis of the plan")
    more = {name: [v for v in values if v not in known.grid[name]] for name, values in grid.items()}
    plan = dataclasses.replace(
        known, grid={name: [*old, *more.get(name, ())] for name, old in known.grid.items()}
    )
    if plan == known:
        return known
    if "test_seen" in facts:
        raise UsageError(
            f"the test songs of {out} were seen on {facts['test_seen']}: plan anew, in a new folder"
        )
    before = {name: facts[name] for name in ("digest", "registered", "plan")}
    history = [*facts.get("history", []), before]
    _write(out, plan, facts | {"history": history, "registered": _now()})
    return plan


def see_test(out) -> None:
    """Note that the test songs of the sweep in `out` are looked at: its plan is closed."""
    plan, facts = read_plan(out)
    if "test_seen" not in facts:
        _write(out, plan, facts | {"test_seen": _now()})


def read_plan(out) -> tuple[Sweep, dict]:
    """The plan registered in the folder `out` and the facts beside it (digest, code_hash, when)."""
    path = Path(out) / PLAN
    if not path.is_file():
        raise DataError(f"no plan in {out}: run a sweep first")
    try:
        facts = read_json(path)
        facts.setdefault("code_hash", facts.get("leaf_hash"))  # its earlier name
        plan = Sweep.from_json(json.dumps(facts["plan"]))
    except (ValueError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}): choose another folder") from None
    if plan.digest != facts.get("digest"):
        raise DataError(f"{path} was edited after it was registered: restore it from a copy")
    return plan, facts
