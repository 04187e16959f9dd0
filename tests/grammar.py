"""The grammar of a lesson, checked: which cells it has, in which order, how large, how worded.

`problems(path)` returns every breach as one line that names the cell and the fix; a lesson
is sound when the list is empty.
"""

import ast
import re
from pathlib import Path

from bsrnn.course.stamp import badge, setup_cell
from bsrnn.experiments import notebooks
from bsrnn.experiments.notebooks import nbformat, tags

SHARED = {
    "profile": str,
    "seed": int,
    "dataset": str,
    "scheme": str,
    "stems": str,
    "out_dir": str,
    "device": str,
}
MARKDOWN_TAGS = {
    "title", "objectives", "section", "prediction", "see", "task", "open", "pitfalls", "quiz",
    "summary",
}  # fmt: skip
CODE_TAGS = {
    "parameters", "setup", "figure", "drawing", "sound", "static", "interactive", "hero",
    "prediction", "see", "exercise", "check", "reference",
}  # fmt: skip
FOLDED = {"parameters", "setup", "check", "reference"}  # code that a reader does not see
SPEAKING = {"prediction", "see"}  # code that shows words in its place
CELLS, WORDS, CODE_LINES, EARLY = (40, 120), (1500, 5000), 30, 6
MOST_CELLS, SILENT = 80, 0.1  # of a lesson read as prose: cells, share of code after code
SECTIONS, CLAIMS = 3, 3  # at least so many of each
_BANNED = {
    r"tqdm\.notebook": "use tqdm.auto",
    r"\b(interact|interactive|interactive_output)\(": "they swallow errors: use bsrnn.explore",
    r"^\s*[!%]": "no shell or magic lines: they break outside Jupyter",
    r"weights_only\s*=\s*False": "pickles are never loaded",
    r"/content/|/home/|/root/|/Users/|[A-Z]:\\\\": "no path of one machine",
}


def problems(path) -> list[str]:
    """Every breach of the grammar in the lesson at `path`, one line each; empty if sound."""
    path = Path(path)
    notebook = notebooks.read(path)
    if not notebook.cells:
        return ["the notebook is empty"]
    found = []
    for rule in (
        _shape,
        _order,
        _title,
        _parameters,
        _setup,
        _sections,
        _triples,
        _ending,
        _cells,
        _prose,
    ):
        found += rule(notebook.cells, path)
    if "widgets" in notebook.metadata:
        found.append("metadata.widgets is stored: run `course check --update`")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel must be python3")
    return found


def _where(cell, cells) -> str:
    return f"cell {cells.index(cell) + 1} ({cell.get('id', '?')})"


def _tagged(cells, *names) -> list:
    return [c for c in cells if set(names) & set(tags(c))]


def _shape(cells, path):
    if not re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem):
        yield f"name {path.name!r}: write NN_words_like_this.ipynb"
    if not CELLS[0] <= len(cells) <= CELLS[1]:
        yield f"{len(cells)} cells: a lesson has {CELLS[0]} to {CELLS[1]}"
    words = sum(len(c.source.split()) for c in cells if c.cell_type == "markdown")
    if not WORDS[0] <= words <= WORDS[1]:
        yield f"{words} words of prose: a lesson has {WORDS[0]} to {WORDS[1]}"
    pictured = [c for c in cells[:EARLY] if c.cell_type == "markdown" and "![" in _unbadged(c)]
    if not pictured and not _tagged(cells[:EARLY], "figure", "sound", "static"):
        yield f"no picture or sound within the first {EARLY} cells"


def _unbadged(cell) -> str:
    return cell.source.replace("[![Open in Colab]", "")


def _order(cells, path):
    for position, name in enumerate(("title", "objectives", "parameters", "setup")):
        if _tagged(cells, name) != cells[position : position + 1] or position >= len(cells):
            yield f"cell {position + 1} must be the only one tagged {name!r}"
    for cell in cells:
        known = CODE_TAGS if cell.cell_type == "code" else MARKDOWN_TAGS
        for tag in set(tags(cell)) - known:
            yield f"{_where(cell, cells)}: a {cell.cell_type} cell cannot be tagged {tag!r}"


def _title(cells, path):
    source = cells[0].source
    if not re.match(rf"# {path.stem[:2]} - \S", source):
        yield f"the title must begin with `# {path.stem[:2]} - `"
    if badge(path.stem) not in source:
        yield "the title lacks this lesson's Colab badge: run `course badge`"
    for word in ("**Level:**", "**Minutes:**"):
        if word not in source:
            yield f"the title lacks {word}"
    if "![" not in _unbadged(cells[0]):
        yield "the title lacks its picture: ![what it shows](attachment:hero.png)"
    if len(_tagged(cells, "hero")) != 1:
        yield "exactly one figure cell must be tagged 'hero': it makes the title's picture"


def _parameters(cells, path):
    cell = next(iter(_tagged(cells, "parameters")), None)
    if cell is None:
        return
    try:
        values = notebooks.parameters(nbformat.from_dict({"cells": [cell]}))
    except (ValueError, SyntaxError) as error:
        yield f"parameters: {error}"
        return
    if list(values)[: len(SHARED)] != list(SHARED):
        yield f"parameters must begin with {', '.join(SHARED)}, in this order"
    for name, value in values.items():
        if type(value) is not SHARED.get(name, type(value)):
            yield f"parameter {name!r} must be of type {SHARED[name].__name__}"
    shared = {"profile": "smoke", "dataset": "toy", "out_dir": "", "device": "auto"}
    for name, value in shared.items():
        if values.get(name) != value:
            yield f"parameter {name!r} must default to {value!r}"
    for line in cell.source.splitlines():
        if re.match(r"\w+\s*:", line) and "  # " not in line:
            yield f"parameters: {line.split(':')[0]!r} needs a trailing comment"
    code = "\n".join(c.source for c in cells if c.cell_type == "code" and c is not cell)
    for name in set(values) - set(SHARED):
        if not re.search(rf"\b{name}\b", code):
            yield f"parameter {name!r} is never used"


def _setup(cells, path):
    for cell in _tagged(cells, "setup"):
        if cell.source.strip() != setup_cell().strip():
            yield f"{_where(cell, cells)}: not the one setup cell: run `course badge`"


def _sections(cells, path):
    starts = [i for i, c in enumerate(cells) if "section" in tags(c)]
    if len(starts) < SECTIONS:
        yield f"{len(starts)} cells tagged 'section': a lesson has at least {SECTIONS}"
    for start in starts:
        part = cells[start : _section_end(cells, start)]
        kinds = [next(iter(tags(c)), c.cell_type) for c in part]
        where = _where(part[0], cells)
        if not part[0].source.startswith("## ") or "?" not in part[0].source:
            yield f"{where}: a section begins with a `## ` heading and asks a question"
        for name in ("prediction", "see"):
            if name not in kinds:
                yield f"{where}: the section has no cell tagged {name!r}"
        shown = [i for i, c in enumerate(part) if {"figure", "sound", "static"} & set(tags(c))]
        if not shown:
            yield f"{where}: the section shows nothing: tag a code cell 'figure' or 'sound'"
        elif "prediction" in kinds and kinds.index("prediction") > shown[0]:
            yield f"{where}: the prediction comes after the picture"
        elif "see" in kinds and len(kinds) - 1 - kinds[::-1].index("see") < shown[-1]:
            yield f"{where}: no 'see' cell after the last picture or sound"


def _section_end(cells, start: int) -> int:
    """Index after the last cell of the section: the next cell that begins with a `## ` heading."""
    heads = (i for i in range(start + 1, len(cells)) if cells[i].source.startswith("## "))
    return next((i for i in heads if cells[i].cell_type == "markdown"), len(cells))


def claims(cells) -> list:
    """The check cells that assert a lesson's claims (those of exercises excepted)."""
    code = [c for c in cells if c.cell_type == "code"]
    after = {id(b) for a, b in zip(code, code[1:], strict=False) if "exercise" in tags(a)}
    return [c for c in code if "check" in tags(c) and id(c) not in after]


def _triples(cells, path):
    code = [c for c in cells if c.cell_type == "code"]
    for index, cell in enumerate(code):
        following = [next(iter(tags(c)), "") for c in code[index + 1 : index + 3]]
        if "exercise" in tags(cell):
            if following != ["check", "reference"]:
                yield f"{_where(cell, cells)}: exercise, check and reference must follow each other"
            if "NotImplementedError(" not in cell.source:
                yield f'{_where(cell, cells)}: the stub raises NotImplementedError("what to do")'
        if "interactive" in tags(cell) and (index == 0 or "static" not in tags(code[index - 1])):
            yield f"{_where(cell, cells)}: put a static cell right before the interactive one"
    for name in ("exercise", "interactive"):
        if not _tagged(cells, name):
            yield f"no cell tagged {name!r}"
    if len(claims(cells)) < CLAIMS:
        yield f"{len(claims(cells))} check cells of claims: a lesson has at least {CLAIMS}"
    for cell in claims(cells):
        if not re.search(r"(?m)^\s*(assert |course\.claim\()", cell.source):
            yield f"{_where(cell, cells)}: a check cell asserts something"


def _ending(cells, path):
    place = [next((i for i, c in enumerate(cells) if t in tags(c)), -1) for t in _LAST]
    if -1 in place or place != sorted(place) or place[-1] != len(cells) - 1:
        yield "the lesson must close with pitfalls, quiz, summary, in this order"
    quiz = "\n".join(c.source for c in _tagged(cells, "quiz"))
    if quiz.count("<details>") < 3 or quiz.count("<details>") != quiz.count("</details>"):
        yield "the quiz needs at least three answers in <details> ... </details>"
    for word in ("**Reading**", "**Next**"):
        if word not in cells[-1].source:
            yield f"the summary lacks {word}"


_LAST = ("pitfalls", "quiz", "summary")


def _cells(cells, path):
    for cell in cells:
        where = _where(cell, cells)
        if cell.cell_type == "markdown":
            for words in re.findall(r"!\[([^\]]*)\]", _unbadged(cell)):
                if len(words.split()) < 3:
                    yield f"{where}: an image needs alt text of a few words"
            continue
        if not cell.source.strip():
            yield f"{where}: empty code cell"
        if len(cell.source.splitlines()) > CODE_LINES:
            yield f"{where}: {len(cell.source.splitlines())} lines of code, at most {CODE_LINES}"
        if "setup" in tags(cell):
            continue
        for pattern, fix in _BANNED.items():
            if re.search(pattern, cell.source, re.MULTILINE):
                yield f"{where}: {fix}"
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            yield f"{where}: line {error.lineno} does not parse"


def silent(cells) -> list:
    """Code cells that a reader meets right after other code, without a word between them."""
    shown = [c for c in cells if not FOLDED & set(tags(c))]
    return [b for a, b in zip(shown, shown[1:], strict=False) if _is_code(a) and _is_code(b)]


def _is_code(cell) -> bool:
    return cell.cell_type == "code" and not SPEAKING & set(tags(cell))


def counts(cells) -> dict:
    """What the rules of prose count in a lesson."""
    code = [c for c in cells if _is_code(c) and not FOLDED & set(tags(c))]
    asked = [c for c in cells if "prediction" in tags(c)]
    names = [_names(c, "predict") for c in asked]
    return {
        "cells": len(cells),
        "code after code": len(silent(cells)) / max(1, len(code)),
        "asserts read": sum(len(re.findall(r"(?m)^\s*assert ", c.source)) for c in code),
        "asserts for claims": sum("assert " in c.source for c in claims(cells)),
        "drawings": len(_tagged(cells, "drawing")),
        "predictions": len(asked),
        "not entered": sum(not name for name in names),
        "not revealed": len({n for ns in names for n in ns} - _all(cells, "reveal")),
        "open exercises": len(_tagged(cells, "open")),
    }


def _names(cell, call: str) -> list[str]:
    if cell.cell_type != "code":
        return []
    return re.findall(rf'course\.{call}\(\s*["\']([^"\']+)', cell.source)


def _all(cells, call: str) -> set[str]:
    return {name for cell in cells for name in _names(cell, call)}


def _prose(cells, path):
    number = path.stem[:2]
    for name in _all(cells, "predict"):
        if not name.startswith(f"{number} "):
            yield f"prediction {name!r}: its name begins with the lesson's number, `{number} `"
    told = counts(cells)
    if told["cells"] > MOST_CELLS:
        yield f"{told['cells']} cells: a lesson has at most {MOST_CELLS}"
    if told["code after code"] >= SILENT:
        ids = ", ".join(cell.get("id", "?") for cell in silent(cells))
        yield f"{told['code after code']:.0%} of code follows code without a sentence: {ids}"
    for name in ("asserts read", "asserts for claims", "not entered", "not revealed"):
        if told[name]:
            yield f"{told[name]} {name}: claims use course.claim, predictions predict and reveal"
    for name in ("drawings", "open exercises"):
        if not told[name]:
            yield f"no {name}: tag a cell {name.split()[0].removesuffix('s')!r}"


if __name__ == "__main__":  # the counts of every lesson: PYTHONPATH=. python tests/grammar.py
    for lesson in sorted(Path("notebooks").glob("[0-9][0-9]_*.ipynb")):
        print(lesson.stem, counts(notebooks.read(lesson).cells))
