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

import bsrnn
from bsrnn import settings
from bsrnn.common import DataError, UsageError, choose, writable, write_text
from bsrnn.evaluation.metrics import DEFINITIONS
from bsrnn.evaluation.planning import WANTED, power
from bsrnn.experiments import notebooks, runner, words
from bsrnn.experiments.runner import find
from bsrnn.settings import Json, read_json

PLAN, LOCK = "plan.json", ".sweep.lock"  # a training in the same folder has a lock of its own
MACHINERY = ("out_dir", "resume")  # parameters of a notebook that the sweep itself sets


@dataclasses.dataclass(frozen=True)
class Sweep(Json):
    """A grid of named parameters and what will be concluded from it; without a hypothesis its board
    shows intervals and gives no verdict.

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
        settings.checked(self)
        lists = all(isinstance(v, (list, tuple)) and len(v) for v in self.grid.values())
        if not self.grid or not lists:
            raise UsageError('the grid is empty: give lists such as {"scheme": ["v7", "tet24"]}')
        object.__setattr__(self, "grid", {name: tuple(v) for name, v in self.grid.items()})
        for name, values in self.grid.items():
            if len({json.dumps(value) for value in values}) < len(values):
                raise UsageError(f"{name} has a value twice in the grid: give each once")
            if name in self.fixed:
                raise UsageError(f"{name} stands in grid and fixed: leave one out")
        for name in MACHINERY:
            if name in self.grid or name in self.fixed:
                raise UsageError(f"{name} cannot be planned (the sweep sets it): leave it out")
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
        gain = 0.05  # in deviations of the paired gains
        while power(gain, 1.0, count, 1 - self.level) < WANTED:
            gain *= 1.02
        return (
            f"{count} {self.repeat}s show a true gain of {gain:.2g} deviations of the paired gains "
            "4 times in 5; of a smaller one they usually say undecided"
        )

    @property
    def digest(self) -> str:
        """Hash of everything above: two plans with one digest are one plan."""
        fields = dataclasses.asdict(self)
        fields["leaf"] = fields.pop("notebook")  # its name in earlier plans, whose hashes stay
        return _hash(fields, 16)


def _hash(values: dict, characters: int) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:characters]


def cell_folder(plan: Sweep, out, parameters: dict) -> Path:
    """Where the card of a cell lies: its values of the grid to read, a hash of all to be sure.

    >>> cell_folder(Sweep({"scheme": ["v7"], "seed": [0]}), ".", {"scheme": "v7", "seed": 0}).name
    'scheme=v7,seed=0-b97e9709'
    """
    words = ",".join(f"{name}={parameters[name]}" for name in plan.grid)
    name = f"{re.sub(r'[^A-Za-z0-9=,.+-]+', '_', words)[:80]}-{_hash(parameters, 8)}"
    return Path(out).resolve() / "cells" / name


def code_hash(path: Path) -> str:
    """Hash of the code of a notebook: cards of another code do not belong to this sweep."""
    return notebooks.source_hash(notebooks.read(path))


@contextlib.contextmanager
def alone(out):
    """Holds the folder `out`, of a sweep or a cell: every other is refused there until the process
    ends, however that ends. UsageError where another is at work, or nothing can be written."""
    try:
        lock = filelock.FileLock(writable(out, "another folder") / LOCK).acquire(timeout=0)
    except filelock.Timeout:
        raise UsageError(
            f"another sweep is running in {out}: wait until it ends, or choose another folder"
        ) from None
    with lock:
        yield


def register(plan: Sweep, out) -> str:
    """Write `plan` to `<out>/plan.json`, once; returns its digest. UsageError where another plan is
    registered, or its notebook has changed since."""
    path = Path(out) / PLAN
    code = code_hash(find(plan.notebook))
    if path.exists():
        known, facts = read_plan(out)
        if known.digest != plan.digest:
            names = [name for name in vars(plan) if getattr(known, name) != getattr(plan, name)]
            raise UsageError(
                f"{path} holds another plan ({', '.join(names)} differ): a registered plan stays "
                "as it is, choose another folder for a new one, or --extend it by values"
            )
        if facts["code_hash"] != code:
            raise UsageError(
                f"the notebook {plan.notebook} has changed since {path} was registered: its "
                "cards would not compare, choose another folder"
            )
    else:
        _write(out, plan, {"code_hash": code, "version": bsrnn.__version__, "registered": _now()})
    return plan.digest


def _write(out, plan: Sweep, facts: dict) -> None:
    """`plan` as the one registered in `out`, with the facts beside it."""
    known = {"digest": plan.digest, "rule": plan.rule, "plan": dataclasses.asdict(plan)}
    writable(out, "another folder")
    write_text(Path(out) / PLAN, json.dumps(facts | known, indent=1) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def checked(plan: Sweep) -> Sweep:
    """The plan with every value of the type that the notebook says; UsageError where it does not
    take a name, type or value, in any cell."""
    path = find(plan.notebook)
    try:
        defaults = notebooks.parameters(notebooks.read(path))
    except (ValueError, SyntaxError) as error:
        raise UsageError(f"{path.name} cannot run in a sweep: {error}") from None
    exact: dict[tuple, object] = {}  # (setting, its text) -> its typed value
    for cell in plan.cells():
        given = runner.resolve([path], cell)[path]
        for name, value in words.checked(defaults | given).items():
            exact[name, repr(cell.get(name))] = value

    def kept(name, value):
        if words.is_setting(name):
            return exact[name, repr(value)]
        return settings.typed(name, value, defaults[name])

    grid = {name: [kept(name, value) for value in values] for name, values in plan.grid.items()}
    fixed = {name: kept(name, value) for name, value in plan.fixed.items()}
    baseline = {name: kept(name, value) for name, value in plan.baseline.items()}
    return dataclasses.replace(plan, grid=grid, fixed=fixed, baseline=baseline)


def extend(out, grid: dict) -> Sweep:
    """Add values to the axes of the plan registered in `out`; its `history` keeps what it was.
    UsageError for another axis, and once its test songs were seen: it would choose by them."""
    known, facts = read_plan(out)
    for name in grid:
        choose(name, known.grid, "axis of the plan")
    typed = checked(dataclasses.replace(known, grid=known.grid | grid, baseline={})).grid
    merged = {name: list(dict.fromkeys(known.grid[name] + typed[name])) for name in known.grid}
    plan = dataclasses.replace(known, grid=merged)
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
    """The plan registered in `out` and the facts beside it (digest, code_hash, when)."""
    path = Path(out) / PLAN
    if not path.is_file():
        raise DataError(f"no plan in {out}: run a sweep first")
    try:
        facts = read_json(path)
        plan = Sweep.from_json(json.dumps(facts["plan"]))
    except (ValueError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}): choose another folder") from None
    if plan.digest != facts.get("digest"):
        raise DataError(f"{path} was edited after it was registered: restore it from a copy")
    return plan, facts
