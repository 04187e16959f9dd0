"""Stored outputs of the lessons: light, deterministic and fresh, so that GitHub is a reading room.

`check` reports what is heavy or stale; with `update` it first re-runs the lessons in the smoke
profile and stores their outputs with the hash of the sources that made them.
"""

import base64
import io
import json
import re
import tempfile
import time
from pathlib import Path

from bsrnn.common import ROOT, whole, write_text
from bsrnn.experiments import notebooks, runner
from bsrnn.experiments.notebooks import nbformat, source_hash, tags

PICTURE_KB, LESSON_KB = 150, 900
FOLDED = {"setup", "check", "reference", "prediction", "see"}  # code that is seen when asked for
_DRAWN = ("image/png", "image/svg+xml")
_KEPT = (*_DRAWN, "text/markdown", "text/html", "text/plain")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_SOUND, _WIDGET = "(sound: run the lesson to hear it)", "(widget: run the lesson to use it)"


def check(lessons=(), update=False, watch=None, folder=None) -> list[str]:
    """Problems of the lessons, one line each, empty if all are sound and fresh.

    Args:
        lessons: numbers, names or paths; none means all.
        update: re-run in smoke and store the outputs before checking.
        watch: told about the progress of an update.
        folder: where lessons are looked up, by default `notebooks` of the checkout.
    """
    watch, found = watch or runner.Watch(), []
    paths = runner.select(lessons, folder)
    if update:
        watch.start(paths)
    try:
        for path in paths:
            failed = _update(path, watch) if update else ""
            broken = [failed] if failed else _stored(path)
            found += [f"{path.stem}: {words}" for words in broken]
    finally:
        if update:
            watch.close()
    return found


def _update(path: Path, watch) -> str:
    """Re-run one lesson and store its outputs; the reason if it failed (nothing is written)."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        executed, error = runner.execute(path, {"out_dir": scratch}, watch=watch)
    seconds, note = time.monotonic() - began, runner.run_again(executed)
    watch.done(runner.Result(path.stem, seconds, error, path, path, note))
    if error:
        return error
    notebook = notebooks.read(path)
    outputs = {c.id: c.outputs for c in executed.cells if c.cell_type == "code"}
    for cell in notebook.cells:
        # what folds the source in Jupyter where its words or its verdict are what one reads
        folded = {"jupyter": {"source_hidden": True}} if FOLDED & set(tags(cell)) else {}
        named = {"tags": tags(cell)} if tags(cell) else {}
        cell.metadata = nbformat.from_dict(named | folded)
    code = (cell for cell in notebook.cells if cell.cell_type == "code")
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
        cell.outputs = [o for o in map(light, outputs[cell.id]) if o]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    _store_hero(notebook, path)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    own = {"source_hash": source_hash(notebook)}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}, "bsrnn": own}
    notebook.metadata = nbformat.from_dict(about)
    write_text(path, nbformat.writes(notebook).rstrip() + "\n")
    return ""


def light(output):
    """One output as it is stored: text and small pictures; None if nothing of it is kept.

    Sounds and widgets become a line of words, memory addresses and warnings go, pictures are
    written anew without metadata and with at most 128 colours where they are too large.
    """
    if output.output_type == "stream":
        text = re.sub(r"[^\n]*\r", "", _ADDRESS.sub("", output.text))
        return None if output.name == "stderr" else nbformat.v4.new_output("stream", text=text)
    data = output.get("data", {})
    if any("widget" in kind for kind in data):
        words = data.get("text/plain", "")
        kept = {"text/plain": words if words.startswith("Predict: ") else _WIDGET}
    elif "<audio" in "".join(data.get("text/html", "")):
        words = data.get("text/plain", "")  # of bsrnn.listen: labels, seconds and levels
        kept = {"text/plain": f"{_SOUND}\n{words}" if "object" not in words else _SOUND}
    else:
        kept = {kind: data[kind] for kind in _KEPT if kind in data}
    if "image/png" in kept:
        kept["image/png"] = _small(kept["image/png"])
        kept.pop("image/svg+xml", None)
    elif "text/plain" in kept:
        kept["text/plain"] = _ADDRESS.sub("", kept["text/plain"])
    if not kept:
        return None
    told = {kind: output.get("metadata", {}).get(kind, {}) for kind in _DRAWN if kind in kept}
    metadata = {kind: {k: words[k] for k in ("alt", "width") if k in words}
                for kind, words in told.items()}  # fmt: skip
    return nbformat.v4.new_output(output.output_type, kept, metadata=metadata)


def _small(picture: str) -> str:
    """A base64 PNG without metadata; over the limit with fewer colours, then fewer pixels."""
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(picture)))
    for colours, scale in ((None, 1), (128, 1), (32, 1), (32, 0.75), (32, 0.5)):
        buffer, shown = io.BytesIO(), image
        if scale < 1:
            size = [round(scale * pixels) for pixels in image.size]
            shown = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        if colours:
            shown = shown.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
        shown.save(buffer, "PNG", optimize=True)
        if buffer.tell() <= PICTURE_KB * 1000:
            break
    return base64.b64encode(buffer.getvalue()).decode()


def _store_hero(notebook, path: Path) -> None:
    """The picture of the cell tagged 'hero' into the title, and into figures/ for the README."""
    for cell in notebook.cells:
        pictures = [p for p in _pictures(cell) if "hero" in tags(cell)]
        if pictures:
            notebook.cells[0]["attachments"] = {"hero.png": {"image/png": pictures[0]}}
            if path.parent == ROOT / "notebooks":
                (ROOT / "figures").mkdir(exist_ok=True)
                with whole(ROOT / "figures" / f"{path.stem}.png") as part:
                    part.write_bytes(base64.b64decode(pictures[0]))


def _pictures(cell) -> list[str]:
    outputs = cell.get("outputs", []) if cell.cell_type == "code" else []
    return [o.data[kind] for o in outputs for kind in _DRAWN if kind in o.get("data", {})]


def _stored(path: Path) -> list[str]:
    """What is wrong with the outputs stored in the lesson."""
    notebook, fix = notebooks.read(path), f"run `python -m bsrnn course check --update {path.stem}`"
    kept = notebook.metadata.get("bsrnn", {}).get("source_hash")
    if kept != source_hash(notebook):
        state = "outputs are stale: the code changed after they were made" if kept else "no outputs"
        return [f"{state}; {fix}"]
    found, total = [], 0
    for number, cell in enumerate(notebook.cells, 1):
        where = f"cell {number} ({cell.id})"
        total += len(json.dumps([cell.get("outputs", []), cell.get("attachments", {})]))
        for size in (len(p) * 3 // 4 for p in _pictures(cell)):
            if size > PICTURE_KB * 1000:
                found.append(f"{where}: picture of {size // 1000} kB, at most {PICTURE_KB} kB")
        if {"figure", "static"} & set(tags(cell)) and not _pictures(cell):
            found.append(f"{where}: no picture among its outputs: end with course.show(figure)")
        for output in cell.get("outputs", []):
            heavy = set(output.get("data", {})) - set(_KEPT)
            if heavy or output.output_type == "error" or "<audio" in json.dumps(output):
                found.append(f"{where}: heavy or failed output stored; {fix}")
            elif any(k in output.get("data", {}) and not output.metadata.get(k) for k in _DRAWN):
                found.append(f"{where}: picture without alt text: use course.show(figure)")
    if total > LESSON_KB * 1000:
        found.append(f"{total // 1000} kB of outputs, at most {LESSON_KB} kB: smaller pictures")
    return found
