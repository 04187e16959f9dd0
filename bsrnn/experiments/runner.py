"""Run lessons strictly with papermill: what papermill only warns about is refused here.

Unknown parameter names and values of the wrong type stop the run before it starts; a failing
cell, a dead kernel, a hung cell and an error that a widget swallowed each fail their lesson
by name. Executed notebooks and self-contained HTML pages land in the output folder.
"""

import dataclasses
import logging
import os
import time
from pathlib import Path

from bsrnn.common import (
    NOTEBOOKS,
    DataError,
    UsageError,
    choose,
    typed,
    workplace,
    writable,
    write_text,
)
from bsrnn.experiments import notebooks

CELL_TIMEOUT_S = 3600
START_TIMEOUT_S = 180  # of a kernel, on a busy machine


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one lesson: `error` is one line that names the cell, empty if it passed."""

    lesson: str
    seconds: float
    error: str
    notebook: Path
    page: Path


class Watch:
    """Told about the progress of a run; this one ignores it (see `progress.py` for the others)."""

    def start(self, lessons: list[Path]) -> None: ...
    def lesson(self, name: str, cells: int) -> None: ...
    def cell(self, index: int) -> None: ...
    def done(self, result: Result) -> None: ...
    def close(self) -> None: ...


def select(names=(), folder: Path | None = None) -> list[Path]:
    """Lessons by number ("04"), name ("04_band_schemes") or path, in lesson order; all if none.

    Raises:
        UsageError: a name that is no lesson, or a folder without any.
    """
    folder = Path(folder or NOTEBOOKS)
    lessons = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    paths = [Path(name).resolve() for name in names if str(name).endswith(".ipynb")]
    for path in paths:
        if not path.is_file():
            raise UsageError(f"no notebook {path}: check the path")
    if not lessons and not paths:
        raise UsageError(f"no lessons in {folder}: name a folder that holds some")
    numbers = {stem[:2]: stem for stem in lessons}
    for name in names:
        if not str(name).endswith(".ipynb"):
            number = str(name).zfill(2)
            stem = numbers.get(number, name)
            paths.append(lessons[stem] if stem in lessons else choose(number, numbers, "lesson"))
    return sorted(set(paths or lessons.values()), key=lambda path: path.name)


def resolve(lessons: list[Path], given: dict) -> dict[Path, dict]:
    """The parameters of each lesson with their types checked against its parameters cell.

    Raises:
        UsageError: a name that one of the lessons does not know, or a value of the wrong type.
    """
    plan = {}
    for path in lessons:
        try:
            defaults = notebooks.parameters(notebooks.read(path))
        except Exception as error:
            raise DataError(f"{path.name} cannot be read: {error}".splitlines()[0]) from None
        for name in given:
            choose(name, defaults, f"parameter of lesson {path.stem}")
        plan[path] = {name: typed(name, given[name], defaults[name]) for name in given}
        if "profile" in plan[path]:
            choose(plan[path]["profile"], notebooks.PROFILES, "profile")
        dataset = plan[path].get("dataset", "")
        if dataset not in ("", "toy", "film", "clip", "musdb7") and Path(dataset).exists():
            plan[path]["dataset"] = str(Path(dataset).resolve())  # a kernel runs elsewhere
    return plan


def run(lessons=(), parameters=None, out=None, timeout_s=CELL_TIMEOUT_S, watch=None, folder=None):
    """Execute lessons in order; one Result each. A failing lesson does not stop the others.

    Args:
        lessons: numbers, names or paths; none means all.
        parameters: name -> value, text or typed; each must be known to every lesson.
        out: folder for executed notebooks, pages and each lesson's own results
            (`<out>/<lesson>/`); by default `runs/course` of the checkout or here.
        timeout_s: longest time for one cell.
        watch: a Watch told about the progress.
        folder: where lessons are looked up, by default `notebooks` of the checkout.

    Raises:
        UsageError: before anything runs, for an unknown lesson, parameter or type.
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
            own = {"out_dir": str(out / path.stem)} if "out_dir" not in given else {}
            if "out_dir" not in notebooks.parameters(notebooks.read(path)):
                own = {}
            results.append(_run_one(path, {**plan[path], **own}, out, timeout_s, watch))
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
        from bsrnn.experiments.notebooks import nbformat

        write_text(executed, nbformat.writes(notebook) + "\n")
        write_page(notebook, page)
    return Result(path.stem, seconds, error, executed, page)


def execute(path: Path, parameters: dict, timeout_s=CELL_TIMEOUT_S, watch=None):
    """Execute one notebook in its own folder: (executed notebook or None, error line or "")."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    watch = watch or Watch()
    seen = {"notebook": None, "index": -1}
    places = {cell.get("id"): place for place, cell in enumerate(notebooks.read(path).cells, 1)}

    def at(index):
        """The cell as numbered in the source: papermill inserts some of its own."""
        if index < 0:
            return "kernel start"
        name = seen["notebook"].cells[index].get("id", "?")
        return f"cell {places.get(name, 'of the parameters')} ({name})"

    for name in ("papermill", "papermill.translators"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are told below, in one line
    logging.getLogger("asyncio").addFilter(_is_news)
    error = ""
    try:
        papermill.execute_notebook(
            str(path),
            None,
            parameters=parameters,
            engine_name=_engine(),
            kernel_name="python3",
            language="python",
            cwd=str(path.parent),
            progress_bar=False,
            start_timeout=START_TIMEOUT_S,
            execution_timeout=timeout_s,
            extra_arguments=["--IPKernelApp.log_level=50"],  # its remarks are not the lesson's
            seen=seen,
            watch=watch,
        )
    except PapermillExecutionError as failure:
        index = next(i for i, c in enumerate(seen["notebook"].cells) if _errors(c.get("outputs")))
        error = f"{at(index)}: {failure.ename}: {_line(failure.evalue)}"
    except Exception as failure:  # a dead kernel, a hung cell, a kernel that does not start
        kind = type(failure).__name__
        words = {
            "DeadKernelError": "the kernel died",
            "CellTimeoutError": f"still running after {timeout_s} s",
        }
        error = f"{at(seen['index'])}: {words.get(kind) or f'{kind}: {_line(str(failure))}'}"
    return seen["notebook"], error or _silent_error(seen["notebook"], at)


def _is_news(record) -> bool:
    """False for the last task of nbclient, which Ctrl-C leaves behind with its kernel ended."""
    return "DeadKernelError" not in record.getMessage()


def _silent_error(notebook, at) -> str:
    """What papermill lets pass: an early exit, skipped cells, errors inside Output widgets."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        for output in _errors(cell.outputs):
            return f"{at(index)}: {output['ename']}: {_line(output['evalue'])}"
        if cell.source.strip() and not cell.execution_count:
            return f"{at(index)}: did not run"
    states = notebook.metadata.get("widgets", {}).values()
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


def _engine() -> str:
    """Name of the papermill engine that reports cells and keeps the notebook on failure."""
    from papermill.engines import NBClientEngine, papermill_engines

    class CourseEngine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, seen=None, watch=None, **options):
            seen["notebook"] = nb_man.nb
            start, path = nb_man.cell_start, options.get("input_path", "")
            watch.lesson(Path(path).stem, len(nb_man.nb.cells))

            def cell_start(cell, cell_index=None, **more):
                seen["index"] = cell_index
                watch.cell(cell_index)
                return start(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("bsrnn", CourseEngine)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # a line of noise per kernel
    return "bsrnn"
