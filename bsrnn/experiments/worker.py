"""One cell of a sweep in its own process: it may crash, be killed or hang without harm to others.

`spawn(job)` is the parent's end, here or on a machine of a cluster. The process reads its job from
its input and ends when that closes: nothing goes on after its parent was killed.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from bsrnn.common import PACKAGE, DataError, write_text
from bsrnn.experiments import notebooks, runner
from bsrnn.experiments.plan import MACHINERY, alone, code_hash, find
from bsrnn.experiments.schema import CARD, read_card

NOTEBOOK = "executed.ipynb"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_PATIENCE_S = 5.0  # for a process that was asked to end


class Children:
    """The processes that run now, so that Ctrl-C can end them all."""

    def __init__(self):
        self._lock, self._running, self._closed = threading.Lock(), set(), False

    @contextlib.contextmanager
    def start(self, command, **options):
        """A new process, waited for at the end; None once `end` was called."""
        with self._lock:
            child = None if self._closed else subprocess.Popen(command, **options)
            self._running.add(child)
        try:
            with contextlib.suppress(BrokenPipeError), child or contextlib.nullcontext():
                yield child
        finally:
            self._running.discard(child)

    def end(self) -> None:
        """End all and start no more."""
        with self._lock:
            self._closed, running = True, self._running - {None}
        for child in running:
            child.terminate()  # nbclient shuts its kernel down first
        for child in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_PATIENCE_S)
            child.kill()


def unfinished(folder, parameters: dict) -> str:
    """What `folder` lacks to hold the card of a cell that ran to its end with `parameters`."""
    try:
        kept = read_card(Path(folder) / CARD)["parameters"]
    except DataError as error:
        return str(error) if (Path(folder) / CARD).exists() else f"the notebook left no {CARD}"
    for name, value in parameters.items():
        if name not in kept or kept[name] != value:
            return f"its card says {name}={kept.get(name)!r}, not {value!r}"
    return ""


def spawn(job: dict, children: Children | None = None) -> tuple[str, str]:
    """Run one cell to its end: (error, note), a line each. The error is empty if its card is there,
    the note unless it was run twice (`runner.run_again`).

    job: notebook (name or path), code_hash, parameters, folder, threads, timeout_s; gpu, or None.
    """
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    env = os.environ | {"PYTHONPATH": path} | dict.fromkeys(_THREADS, str(job["threads"]))
    if job.get("gpu") is not None:
        env["CUDA_VISIBLE_DEVICES"] = job["gpu"]
    answer = ""
    with (children or Children()).start(
        [sys.executable, "-P", "-m", "bsrnn.experiments.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=env, start_new_session=True,  # Ctrl-C of a terminal goes to the sweep alone
    ) as child:  # fmt: skip
        if child is None:
            return "not begun", ""
        child.stdin.write(json.dumps(job) + "\n")
        child.stdin.flush()
        answer = child.stdout.readline()
    if answer.endswith("\n"):
        return tuple(json.loads(answer))
    code = child.returncode
    end = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"its process ended early ({end}): was there memory enough?", ""


def perform(job: dict) -> tuple[str, str]:
    """What the process does: execute the notebook, keep it beside the card; see `spawn`."""
    path, folder = find(job["notebook"]), Path(job["folder"])
    if code_hash(path) != job["code_hash"]:
        error = f"{path} is another version than the sweep's: update the checkout of this machine"
        return error, ""
    known, own = notebooks.parameters(notebooks.read(path)), (str(folder), True)
    given = job["parameters"] | {n: v for n, v in zip(MACHINERY, own, strict=True) if n in known}
    with alone(folder):  # one of a killed sweep may still be at work on another machine
        (folder / CARD).unlink(missing_ok=True)  # of other parameters, else this would not run
        notebook, error = runner.execute(path, given, job["timeout_s"])
        if notebook is not None:
            write_text(folder / NOTEBOOK, notebooks.nbformat.writes(notebook) + "\n")
        error = error or unfinished(folder, job["parameters"])
        if error:
            (folder / CARD).unlink(missing_ok=True)  # what failed must not look finished
    return error, runner.run_again(notebook)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Read a job, answer with [error, note]."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        answer = perform(job)
    except Exception as failure:
        answer = " ".join(f"{type(failure).__name__}: {failure}".split()), ""
    print(json.dumps(answer), flush=True)
    os._exit(0)  # the thread that waits for the parent would hold the interpreter back


if __name__ == "__main__":
    main()
