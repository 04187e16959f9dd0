"""Run lessons strictly with papermill: what papermill only warns about is refused here.

Unknown parameter names and values of the wrong type stop the run before it starts; a failing
cell, a dead kernel, a hung cell and an error that a widget swallowed each fail their lesson
by name.
"""

import dataclasses
import time
from pathlib import Path

from bsrnn.common import NOTEBOOKS, DataError, UsageError, choose, workplace, writable, write_text
from bsrnn.experiments import notebooks, words
from bsrnn.settings import typed

# Longest time for one cell, by the profile of the lesson; without a profile: that of `full`.
LIMITS_S = {"smoke": 600, "small": 3600, "full": 12 * 3600}


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one lesson."""

    lesson: str
    seconds: float
    error: str  # a line that names the cell; empty if it passed
    notebook: Path
    page: Path
    note: str = ""  # why it was run a second time, if it was


class Watch:
    """Told about the progress of a run; this one ignores it."""

    def start(self, lessons: list[Path]) -> None: ...
    def lesson(self, name: str, cells: int) -> None: ...
    def cell(self, index: int) -> None: ...
    def done(self, result: Result) -> None: ...
    def close(self) -> None: ...


def select(names=(), folder: Path | None = None) -> list[Path]:
    """Lessons by number ("04"), name ("04_band_schemes") or path, in lesson order; all if none.
    UsageError for a name that is no lesson, and a folder without any."""
    folder = Path(folder or NOTEBOOKS)
    lessons = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    known = {path.stem[:2]: path for path in lessons} | {path.stem: path for path in lessons}
    paths = set()
    for name in map(str, names):
        if name.endswith(".ipynb"):
            paths.add(find(name))
        else:
            number = name if name in known else name.zfill(2)
            paths.add(known[choose(number, known, "lesson")])
    if not lessons and not paths:
        raise UsageError(f"no lessons in {folder}: name a folder that holds some")
    return sorted(paths or lessons, key=lambda path: path.name)


def find(name: str) -> Path:
    """A notebook of `notebooks/` by its name, or by a path."""
    path = Path(name) if str(name).endswith(".ipynb") else NOTEBOOKS / f"{name}.ipynb"
    if not path.is_file():
        raise UsageError(f"no notebook {path}: check the path")
    return path.resolve()


def resolve(lessons: list[Path], given: dict) -> dict[Path, dict]:
    """The parameters of each lesson, typed; UsageError for a name that one of the lessons does not
    know, or a value of the wrong type."""
    plan = {}
    for path in lessons:
        try:
            defaults = notebooks.parameters(notebooks.read(path))
        except Exception as error:
            raise DataError(f"{path.name} cannot be read: {error}".splitlines()[0]) from None
        for name in given:
            known = defaults if "settings" not in defaults or not words.is_setting(name) else [name]
            choose(name, known, f"parameter of lesson {path.stem}")
        mine = words.folded(given)
        mine = {name: typed(name, mine[name], defaults[name]) for name in mine}
        exact = words.checked(defaults | mine)
        plan[path] = words.folded(mine | exact)
        if "profile" in mine:
            choose(mine["profile"], notebooks.PROFILES, "profile")
        dataset = mine.get("dataset", "")
        if dataset and dataset not in words.DATASETS and Path(dataset).exists():
            plan[path]["dataset"] = str(Path(dataset).resolve())  # a kernel runs elsewhere
    return plan


def run(lessons=(), parameters=None, out=None, timeout_s=None, watch=None, folder=None):
    """Execute lessons in order; one Result each. A failing lesson does not stop the others.

    lessons: numbers, names or paths; none means all. parameters: name -> value, text or typed, each
    known to every lesson. out: folder for executed notebooks, pages and each lesson's own results
    (`<out>/<lesson>/`), by default `runs/course`. timeout_s: longest time for one cell, by default
    that of the lesson's profile. watch: a Watch. folder: of the lessons, by default `notebooks`.

    UsageError before anything runs, for an unknown lesson, parameter or type.
    """
    watch = watch or Watch()
    given = dict(parameters or {})
    paths = select(lessons, folder)
    if "out_dir" in given and len(paths) > 1:
        raise UsageError("out_dir would be shared by several lessons: use --out FOLDER instead")
    plan = resolve(paths, given)
    out = writable(Path(out or workplace() / "runs" / "course").resolve(), "--out")
    watch.start(paths)
    results = []
    try:
        for path in paths:
            if "out_dir" in notebooks.parameters(notebooks.read(path)):
                plan[path].setdefault("out_dir", str(out / path.stem))
            results.append(_run_one(path, plan[path], out, timeout_s, watch))
            watch.done(results[-1])
    finally:
        watch.close()
    return results


def _run_one(path, parameters, out, timeout_s, watch) -> Result:
    """Execute one lesson and write its notebook and page, also when it failed."""
    from bsrnn.experiments.page import write_page

    began = time.monotonic()
    notebook, error = execute(path, parameters, timeout_s, watch)
    seconds = time.monotonic() - began
    executed, page = out / path.name, out / f"{path.stem}.html"
    if notebook is not None:
        write_text(executed, notebooks.nbformat.writes(notebook) + "\n")
        write_page(notebook, page)
    return Result(path.stem, seconds, error, executed, page, run_again(notebook))


def execute(path: Path, parameters: dict, timeout_s=None, watch=None):
    """Execute one notebook in its own folder: (executed notebook or None, error line or "").

    If the kernel does not start or loses a message, another takes its place and the notebook is
    run again, once; `run_again` of the executed notebook says so.
    """
    from bsrnn.experiments.kernel import KernelFaultError

    profile = (notebooks.parameters(notebooks.read(path)) | parameters).get("profile")
    limit_s = timeout_s or LIMITS_S.get(profile, LIMITS_S["full"])
    run, note = _Attempt(path, watch or Watch()), ""
    while True:
        try:
            error = run(parameters, limit_s) or _silent_error(run)
        except KernelFaultError as fault:
            words = f"{run.at()}: {fault}"
            if not note:
                note = f"{words}; it was replaced, all cells run again"
                continue
            error = f"{words} twice: run it again"
        if note and run.notebook is not None:
            run.notebook.metadata["run_again"] = note
        return run.notebook, error


def run_again(notebook) -> str:
    """Why an executed notebook (or None) was run a second time; "" if it was not."""
    return notebook.metadata.get("run_again", "") if notebook else ""


class _Attempt:
    """Runs one notebook; knows how far the run came."""

    def __init__(self, path: Path, watch: Watch):
        self.path, self.watch = path, watch
        self.notebook, self.index = None, -1
        cells = notebooks.read(path).cells
        self._places = {cell.get("id"): place for place, cell in enumerate(cells, 1)}

    def at(self, index: int | None = None) -> str:
        """A cell (the last begun) as numbered in the source: papermill inserts some of its own."""
        index = self.index if index is None else index
        if index < 0:
            return "kernel start"
        name = self.notebook.cells[index].get("id", "?")
        return f"cell {self._places.get(name, 'of the parameters')} ({name})"

    def __call__(self, parameters: dict, limit_s: float) -> str:
        """Run all cells from the start: the error line, or ""."""
        from papermill.exceptions import PapermillExecutionError

        from bsrnn.experiments import kernel

        try:
            kernel.execute(self.path, parameters, limit_s, self)
        except kernel.KernelFaultError:
            raise
        except PapermillExecutionError as failure:
            cells = enumerate(self.notebook.cells)
            index = next(i for i, cell in cells if _errors(cell.get("outputs")))
            return f"{self.at(index)}: {failure.ename}: {_line(failure.evalue)}"
        except Exception as failure:  # a dead kernel, a hung cell, a kernel that does not start
            kind = type(failure).__name__
            words = {
                "DeadKernelError": "the kernel died",
                "CellTimeoutError": f"still running after {limit_s} s",
            }
            return f"{self.at()}: {words.get(kind) or f'{kind}: {_line(str(failure))}'}"
        return ""


def _silent_error(run: _Attempt) -> str:
    """What papermill lets pass: an early exit, skipped cells, errors inside Output widgets."""
    for index, cell in enumerate(run.notebook.cells):
        if cell.cell_type != "code":
            continue
        for output in _errors(cell.outputs):
            return f"{run.at(index)}: {output['ename']}: {_line(output['evalue'])}"
        if cell.source.strip() and not cell.execution_count:
            return f"{run.at(index)}: did not run"
    states = run.notebook.metadata.get("widgets", {}).values()
    for model in (m for s in states for m in s.get("state", {}).values()):
        for output in _errors(model.get("state", {}).get("outputs")):
            words = f"{output['ename']}: {_line(output['evalue'])}"
            return f"an error swallowed by a widget: {words}"
    return ""


def _errors(outputs) -> list:
    return [o for o in outputs or () if o.get("output_type") == "error"]


def _line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0] if lines else "(no message)"
