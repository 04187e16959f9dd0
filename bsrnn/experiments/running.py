"""Run the cells of a plan: on this machine side by side, or through a dask scheduler on many.

What is finished is not run again; what fails is named and stops nothing else.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from bsrnn.common import UsageError, choose, write_text
from bsrnn.experiments import plan as plans
from bsrnn.experiments import runner, words
from bsrnn.experiments.plan import Sweep, cell_folder
from bsrnn.experiments.schema import CARD, read_card
from bsrnn.experiments.worker import Children, spawn, unfinished

WAIT_S = 10  # for the answer of a scheduler
PLACES = ("dataset", "device")  # parameters that another machine may have otherwise


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one cell."""

    parameters: dict
    state: str  # "kept" (finished before), "took" (a card made elsewhere), "ran" or "failed"
    seconds: float = 0.0
    error: str = ""
    note: str = ""  # why it ran twice, if it did

    def line(self, names) -> str:
        """One line that shows the parameters `names`."""
        words = " ".join(f"{name}={self.parameters[name]}" for name in names)
        state = "FAIL" if self.state == "failed" else f"{self.state:4}"
        more = {"failed": self.error, "ran": f"{self.seconds:.0f} s"}.get(self.state, "")
        return f"{state}  {words}  {more}  {self.note}".rstrip()


def run(
    plan: Sweep, out, workers=None, threads=1, scheduler="", timeout_s=None, watch=None, adopt=None
):
    """Run what is not finished of `plan` into the folder `out`; one Outcome per cell, in order.

    workers: notebooks at a time on this machine (default: one per GPU, else per CPU core); the
      numbers in the cards do not depend on it. threads: of each.
    scheduler: address of a dask scheduler, such as tcp://host:8786: its workers run them, as
      many at a time as they have threads. `out` (and a dataset) must be a folder that all machines
      see under one path, each with a checkout of the same version. After Ctrl-C, notebooks that
      have begun there end by themselves; until then nothing else works on their cells.
    timeout_s: longest time for one notebook cell; by default that of its profile.
    watch: called with each Outcome when it is known.
    adopt: folder with cards made elsewhere, by papermill or on another machine: those of cells of
      this plan are taken, whatever their dataset's path and device.

    UsageError before anything runs: a misspelt parameter, a wrong type or value, a changed plan, no
    scheduler, another sweep that is running in `out`, a folder that cannot be written.
    """
    gpus = _gpus()
    workers = workers or len(gpus) or os.cpu_count()
    for name, value in (("workers", workers), ("threads", threads)):
        if value < 1:
            raise UsageError(f"{name} is {value}: give at least 1")
    plan = plans.checked(plan)
    cells, foreign = plan.cells(), _foreign(adopt) if adopt else []
    jobs = _jobs(plan, out, threads, timeout_s)
    outcomes = {}

    def tell(number, *what):
        outcomes[number] = Outcome(cells[number], *what)
        if watch is not None:
            watch(outcomes[number])

    with _client(scheduler) if scheduler else contextlib.nullcontext() as client, plans.alone(out):
        plans.register(plan, out)
        left = {}
        for number, job in enumerate(jobs):
            if not _lacks(job):
                tell(number, "kept")
            elif _adopted(foreign, job):
                tell(number, "took")
            else:
                left[number] = job
        stream = _on_cluster(left, client) if client else _here(left, workers, gpus)
        with contextlib.closing(stream):
            for number, seconds, error, note in stream:
                folder = jobs[number]["folder"]
                if not error and _lacks(jobs[number]):
                    error = f"no card in {folder}: do all machines share this folder?"
                tell(number, "failed" if error else "ran", seconds, error, note)
    return [outcomes[number] for number in range(len(cells))]


def _lacks(job: dict) -> str:
    return unfinished(job["folder"], job["parameters"])


def _jobs(plan: Sweep, out, threads: int, timeout_s=None) -> list[dict]:
    """What `spawn` is given for each cell of a checked plan."""
    path = plans.find(plan.notebook)
    code = plans.code_hash(path)
    return [
        {
            "notebook": str(path) if str(plan.notebook).endswith(".ipynb") else plan.notebook,
            "code_hash": code,
            "parameters": runner.resolve([path], cell)[path],
            "folder": str(cell_folder(plan, out, cell)),
            "threads": threads,
            "timeout_s": timeout_s,
        }
        for cell in plan.cells()
    ]


def run_cell(out, number: int, threads: int = 1) -> Outcome:
    """Run one cell of the plan registered in `out`: what a task of a SLURM array does."""
    plan, _ = plans.read_plan(out)
    choose(str(number), range(len(plan.cells())), "cell")
    cell, job = plan.cells()[number], _jobs(plan, out, threads)[number]
    if not _lacks(job):
        return Outcome(cell, "kept")
    seconds, error, note = _timed(job)
    return Outcome(cell, "failed" if error else "ran", seconds, error, note)


def _elsewhere(parameters: dict) -> dict:
    """Those that mean the same on another machine."""
    return {name: value for name, value in parameters.items() if name not in PLACES}


def _foreign(folder) -> list[dict]:
    """The cards in `folder`, at any depth; a file that is no card is passed over."""
    if not Path(folder).is_dir():
        raise UsageError(f"no folder {folder} to adopt cards from: check the path")
    cards = []
    for path in sorted(Path(folder).rglob(CARD)):
        with contextlib.suppress(UsageError):
            card = read_card(path)
            kept = _elsewhere(card["parameters"])
            exact = words.folded(kept | words.checked(kept))
            cards.append(card | {"adopted": str(path), "parameters": exact})
    return cards


def _adopted(cards: list[dict], job: dict) -> bool:
    """Whether one of `cards` is of this cell; it is then copied into the cell's folder."""
    wanted = _elsewhere(job["parameters"]).items()
    card = next((card for card in cards if wanted <= card["parameters"].items()), None)
    if card:
        whole = card | {"parameters": card["parameters"] | job["parameters"]}
        write_text(Path(job["folder"]) / CARD, json.dumps(whole, indent=1) + "\n")
    return card is not None


def _timed(job, children=None):
    """(seconds, error, note) of a job; also what the workers of a cluster call."""
    began = time.monotonic()
    ended = spawn(job, children)
    return time.monotonic() - began, *ended


def _gpus() -> list[str]:
    """Numbers of the GPUs that this process may use."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None or not shutil.which("nvidia-smi"):
        return [number for number in (told or "").split(",") if number]
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    return [str(n) for n, _ in enumerate(done.stdout.splitlines())] if not done.returncode else []


def _here(jobs: dict, workers: int, gpus=()):
    """(number, seconds, error, note) of each job as it ends, one at a time on a GPU. Leaving early
    ends all that run."""
    children, mine = Children(), threading.local()
    numbers = itertools.cycle(gpus or [None])  # more workers than GPUs share them

    def begin():
        mine.gpu = next(numbers)

    def work(job):
        return _timed(job | {"gpu": mine.gpu}, children)

    pool = ThreadPoolExecutor(workers, initializer=begin)
    try:
        futures = {pool.submit(work, job): number for number, job in jobs.items()}
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
        failure = future.exception()  # of the worker: the notebook's comes as a result
        words = f"{type(failure).__name__}: {failure}".splitlines()[0]
        yield futures[future], *((0.0, words, "") if failure else future.result())
