"""Run the cells of a plan: on this machine side by side, or through a dask scheduler on many.

What is finished is not run again; what fails is named and stops nothing else.
"""

import contextlib
import dataclasses
import os
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from bsrnn.common import UsageError, typed
from bsrnn.experiments import notebooks, runner
from bsrnn.experiments.leaf import Children, finished, spawn
from bsrnn.experiments.plan import Sweep, alone, find, leaf_hash, name_of, register

WAIT_S = 10  # for the answer of a scheduler


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one cell: state "kept" (finished before), "ran" or "failed"; `note` says why
    it ran twice, if it did."""

    parameters: dict
    state: str
    seconds: float = 0.0
    error: str = ""
    note: str = ""

    def line(self, names) -> str:
        """One line that shows the parameters `names`."""
        words = " ".join(f"{name}={self.parameters[name]}" for name in names)
        state = "FAIL" if self.state == "failed" else f"{self.state:4}"
        more = {"failed": self.error, "ran": f"{self.seconds:.0f} s"}.get(self.state, "")
        return f"{state}  {words}  {more}  {self.note}".rstrip()


def run(plan: Sweep, out, workers=None, threads=1, scheduler="", timeout_s=None, watch=None):
    """Run what is not finished of `plan` into the folder `out`; one Outcome per cell, in order.

    workers: leaves at a time on this machine (default: one per CPU core); the numbers in the cards
      do not depend on it. threads: of each leaf.
    scheduler: address of a dask scheduler, such as tcp://host:8786: its workers run the leaves, as
      many at a time as they have threads. `out` (and a dataset) must be a folder that all machines
      see under one path, each with a checkout of the same version. After Ctrl-C, leaves that
      have begun there end by themselves; until then nothing else works on their cells.
    timeout_s: longest time for one notebook cell; by default that of the leaf's profile.
    watch: called with each Outcome when it is known.

    Raises:
        UsageError: before anything runs: a misspelt parameter, a wrong type, a changed plan, no
            scheduler, another sweep that is running in `out`. DataError where it cannot be written.
    """
    workers = workers or os.cpu_count()
    for name, value in (("workers", workers), ("threads", threads)):
        if value < 1:
            raise UsageError(f"{name} is {value}: give at least 1")
    path = find(plan.leaf)
    plan = _typed(plan, path)
    cells = plan.cells()
    given = [runner.resolve([path], cell)[path] for cell in cells]
    shared = {
        "leaf": str(path) if str(plan.leaf).endswith(".ipynb") else plan.leaf,
        "leaf_hash": leaf_hash(path), "threads": threads, "timeout_s": timeout_s,
    }  # fmt: skip
    outcomes = {}

    def tell(number, *what):
        outcomes[number] = Outcome(cells[number], *what)
        if watch is not None:
            watch(outcomes[number])

    with _client(scheduler) if scheduler else contextlib.nullcontext() as client, alone(out):
        register(plan, out)
        jobs = {}
        for number, (cell, parameters) in enumerate(zip(cells, given, strict=True)):
            folder = str(cell_folder(plan, out, cell))
            if finished(folder, parameters):
                tell(number, "kept")
            else:
                jobs[number] = shared | {"parameters": parameters, "folder": folder}
        stream = _on_cluster(jobs, client) if client else _here(jobs, workers)
        with contextlib.closing(stream):
            for number, seconds, error, note in stream:
                folder = jobs[number]["folder"]
                if not error and not finished(folder, given[number]):
                    error = f"no card in {folder}: do all machines share this folder?"
                tell(number, "failed" if error else "ran", seconds, error, note)
    return [outcomes[number] for number in range(len(cells))]


def cell_folder(plan: Sweep, out, parameters: dict) -> Path:
    """Where the card of a cell lies."""
    return Path(out).resolve() / "cells" / name_of(parameters, list(plan.grid))


def _typed(plan: Sweep, path: Path) -> Sweep:
    """The plan with every value of the type that the leaf says; a wrong name is refused."""
    try:
        defaults = notebooks.parameters(notebooks.read(path))
    except (ValueError, SyntaxError) as error:
        raise UsageError(f"{path.name} is no leaf: {error}") from None
    runner.resolve([path], {name: values[0] for name, values in plan.grid.items()} | plan.fixed)

    def kept(name, value):
        return typed(name, value, defaults[name])

    grid = {name: [kept(name, value) for value in values] for name, values in plan.grid.items()}
    fixed = {name: kept(name, value) for name, value in plan.fixed.items()}
    baseline = {name: kept(name, value) for name, value in plan.baseline.items()}
    return dataclasses.replace(plan, grid=grid, fixed=fixed, baseline=baseline)


def _timed(job, children=None):
    """(seconds, error, note) of a leaf; also what the workers of a cluster call."""
    began = time.monotonic()
    ended = spawn(job, children)
    return time.monotonic() - began, *ended


def _here(jobs: dict, workers: int):
    """(number, seconds, error, note) of each job as it ends. Leaving early ends all that run."""
    children, pool = Children(), ThreadPoolExecutor(max(1, min(workers, len(jobs))))
    try:
        futures = {pool.submit(_timed, job, children): number for number, job in jobs.items()}
        for future in as_completed(futures):
            yield futures[future], *future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        children.end()


def _client(address: str):
    """The cluster as a context: leaving it drops what has not begun."""
    try:
        from distributed import Client
    except ImportError:
        raise UsageError('dask is not installed: pip install "dask[distributed]"') from None
    try:
        client = Client(address, timeout=WAIT_S)
    except (OSError, ValueError) as error:
        words = str(error).splitlines()[0]
        raise UsageError(f"no scheduler at {address} ({words}): start `dask scheduler`") from None
    if not client.scheduler_info()["workers"]:
        client.close()
        raise UsageError(f"{address} has no workers: start `dask worker {address}` somewhere")
    return client


def _on_cluster(jobs: dict, client):
    from distributed import as_completed as done

    futures = {client.submit(_timed, job, pure=False): number for number, job in jobs.items()}
    for future in done(futures):
        failure = future.exception()  # of the worker: the leaf's own comes as a result
        words = f"{type(failure).__name__}: {failure}".splitlines()[0]
        yield futures[future], *((0.0, words, "") if failure else future.result())
