"""The reading room: executed lessons as a folder of pages that opens from disk, offline.

    python -m bsrnn course run && python -m bsrnn course site      # runs/site/index.html

nbconvert renders the cells; their tags decide what a page folds (`fold`). Sounds and pictures
become files beside the pages, links between lessons lead to pages, links to a module to its source
with line numbers. `reading/` holds the templates, the style and the script of a page.
"""

import base64
import hashlib
import html
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bsrnn import data
from bsrnn.common import NOTEBOOKS, ROOT, UsageError, whole, workplace, writable, write_text
from bsrnn.experiments import notebooks, page
from bsrnn.experiments.notebooks import tags
from bsrnn.explore import instrument

READING = Path(__file__).parent / "reading"
_DATA = re.compile(r"data:(audio/\w+|image/png);base64,([A-Za-z0-9+/=]+)")
_LINK = re.compile(r'href="([^":#]+)(#[^"]*)?"')
_KINDS = {"audio/mpeg": "mp3", "audio/wav": "wav", "audio/ogg": "ogg", "image/png": "png"}
_FOLDS = {
    "injected-parameters": "Parameters of this run",
    "parameters": "Parameters",
    "setup": "Setup",
    "reference": "Solution",
}
# Reading takes: words and lines of code a minute; minutes for a picture or a sound.
_WORDS, _LINES, _SHOWN = 180, 20, 0.4


@dataclass(frozen=True)
class Lesson:
    """An executed lesson and what the contents say about it."""

    name: str
    notebook: object
    title: str
    promise: str
    level: str
    minutes: int
    hero: str  # a base64 PNG
    sections: tuple[str, ...]


def build(executed=None, out=None) -> Path:
    """Build the site from a folder of executed lessons; the path of its first page.

    Args:
        executed: folder with `NN_name.ipynb` as `course run` leaves them; by default runs/course.
        out: folder of the site, made anew; by default runs/site.

    Raises UsageError: there are no executed lessons.
    """
    executed = Path(executed or workplace() / "runs" / "course").resolve()
    paths = sorted(executed.glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise UsageError(f"no executed lessons in {executed}: run `python -m bsrnn course run`")
    out = writable(Path(out or workplace() / "runs" / "site").resolve(), "--out")
    lessons = [_lesson(path) for path in paths]
    site = _Site(out, executed, lessons)
    for number, lesson in enumerate(lessons):
        site.write_lesson(number, lesson)
    site.write("glossary", "Glossary and notation", site.glossary())
    body = "<h1>The band instrument</h1>" + instrument.fragment(data.open("clip")[0])
    site.write("instrument", "The band instrument", body)
    contents = site.jinja.get_template("index.html.j2").render(lessons=lessons)
    index = site.write("index", "Band-split source separation", contents)
    write_text(out / "search.js", f"const SEARCH = {json.dumps(site.search)};\n")
    for name in ("site.css", "site.js"):
        shutil.copy(READING / name, out / name)
    return index


def _lesson(path: Path) -> Lesson:
    notebook = notebooks.read(path)
    prose, code = _of(notebook, "markdown"), [c for c in _of(notebook, "code") if not fold(c)]
    text = "\n".join(cell.source for cell in prose)
    lines = sum(len(cell.source.splitlines()) for cell in code)
    shown = sum(bool({"figure", "sound", "static"} & set(tags(cell))) for cell in code)
    minutes = len(text.split()) / _WORDS + lines / _LINES + shown * _SHOWN
    title = prose[0].source
    level = re.search(r"\*\*Level:\*\* ([\w ]+)", title)
    plain = [line for line in title.split("\n\n") if not re.match(r"[#\[!*]", line)]
    return Lesson(
        name=path.stem,
        notebook=notebook,
        title=title.splitlines()[0].removeprefix("# "),
        promise=plain[0] if plain else "",
        level=level[1] if level else "",
        minutes=max(5, 5 * round(minutes / 5)),
        hero=prose[0].get("attachments", {}).get("hero.png", {}).get("image/png", ""),
        sections=tuple(re.findall(r"(?m)^## (.+)$", text.replace("`", ""))),
    )


def _of(notebook, kind: str) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def fold(cell) -> str:
    """The line that stands for a code cell whose source a reader opens when asked; "" if open."""
    kinds = set(tags(cell))
    for kind in kinds & set(_FOLDS):
        return _FOLDS[kind]
    if "check" not in kinds:
        return "Code" if kinds & {"prediction", "see"} else ""
    if "course.attempt(" in cell.source:
        return "Check of your answer"
    if any(output.output_type == "error" for output in cell.get("outputs", [])):
        return "A claim does not hold"
    said = "".join(output.get("text", "") for output in cell.get("outputs", []))
    count = said.count("Holds: ") or len(re.findall(r"(?m)^\s*assert ", cell.source))
    return f"{count} claim{'s' * (count != 1)} verified"


class _Site:
    """The folder that is written: pages, the files that they show, the entries of the search."""

    def __init__(self, out: Path, executed: Path, lessons: list[Lesson]):
        from jinja2 import Environment, FileSystemLoader

        self.out, self.lessons, self.search = out, lessons, []
        self.pages = {lesson.name for lesson in lessons} | {"glossary", "instrument"}
        self.roots = [executed, ROOT, Path.home(), Path(tempfile.gettempdir()), Path.cwd()]
        self.loader = FileSystemLoader(READING)
        self.jinja = Environment(loader=self.loader, autoescape=True)
        self.frame = self.jinja.get_template("page.html.j2")
        lines = (READING / "glossary.md").read_text(encoding="utf-8").splitlines()
        rows = [line.split(" | ") for line in lines if line.count(" | ") == 2]
        self.terms = {term: (lesson, meaning) for term, lesson, meaning in rows}

    def write(self, name: str, title: str, body: str, **more) -> Path:
        """One page around `body`, with its files, links and search entry; its path."""
        body = _DATA.sub(self._file, body)
        body = _LINK.sub(lambda link: self._link(link[1], link[2] or ""), body)
        for root in sorted(map(str, self.roots), key=len, reverse=True):
            if len(root) > 1:
                body = body.replace(f"{root}/", "").replace(root, ".")
        path = self.out / f"{name}.html"
        write_text(path, self.frame.render(name=name, title=title, body=body, **more))
        return path

    def write_lesson(self, number: int, lesson: Lesson) -> None:
        """The page of a lesson, its entries in the search, its terms linked to the glossary."""
        shown = page.still(lesson.notebook)
        for cell in shown.cells:
            cell.metadata["fold"] = fold(cell) if cell.cell_type == "code" else ""
            cell.metadata["kinds"] = " ".join(tags(cell))
        self._link_terms(_of(shown, "markdown")[2:])
        before, _, after = [None, *self.lessons, None][number : number + 3]
        body = page.rendered(shown, self.loader, "cells.html.j2")
        self.write(lesson.name, lesson.title, body, lesson=lesson, before=before, after=after)
        head = lesson.title
        for cell in _of(lesson.notebook, "markdown"):
            heading = re.search(r"(?m)^##+ (.+)$", cell.source)
            head = heading[1].replace("`", "") if heading else head
            words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)|[*`#$|]", r"\1", cell.source)
            place = f"{lesson.name}.html#{head.replace(' ', '-')}"
            self.search.append([lesson.title, head, place, " ".join(words.split())[:2000]])

    def glossary(self) -> str:
        """The page of terms and letters, each linked to the lesson that explains it."""
        from nbconvert.filters import markdown2html

        names = {lesson.name[:2]: lesson.name for lesson in self.lessons}
        rows = ["# Glossary and notation", "", "| term | meaning | lesson |", "|---|---|---|"]
        for term, (where, words) in self.terms.items():
            there = f"[{where}]({names[where]}.ipynb)" if where in names else where
            rows.append(f'| <span id="{_slug(term)}">{term}</span> | {words} | {there} |')
        return f'<div class="glossary">{markdown2html(chr(10).join(rows))}</div>'

    def _link_terms(self, cells) -> None:
        """The first use of each term in the prose of a lesson leads to the glossary."""
        spared = r"`[^`]*`|!?\[[^\]]*\]\([^)]*\)|<[^>]*>|(?m:^[#|!].*$)"
        left = list(self.terms)
        for cell in cells:
            for term in list(left):
                uses = re.finditer(rf"(?:{spared})|\b({re.escape(term)})\b", cell.source)
                if use := next((use for use in uses if use[1]), None):
                    link = f"[{use[1]}](glossary.html#{_slug(term)})"
                    cell.source = cell.source[: use.start()] + link + cell.source[use.end() :]
                    left.remove(term)

    def _file(self, match) -> str:
        """A sound or picture as a file of the site, named by its content."""
        content = base64.b64decode(match[2])
        name = f"files/{hashlib.sha256(content).hexdigest()[:16]}.{_KINDS.get(match[1], 'bin')}"
        if not (self.out / name).exists():
            (self.out / "files").mkdir(exist_ok=True)
            with whole(self.out / name) as part:
                part.write_bytes(content)
        return name

    def _link(self, target: str, fragment: str) -> str:
        """A link of a lesson as it stands on the site: to a page, a source, or a copied file."""
        path = (NOTEBOOKS / html.unescape(target)).resolve()
        if Path(target).stem in self.pages:
            return f'href="{Path(target).stem}.html{fragment}"'
        if not path.is_file():
            return f'href="{target}{fragment}"'
        inside = os.path.relpath(path, ROOT)
        if path.suffix != ".py":
            (self.out / "files" / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, self.out / "files" / inside)
            return f'href="files/{inside}"'
        name = inside.replace(os.sep, "-").removesuffix(".py")
        write_text(self.out / f"source-{name}.html", _source(path))
        return f'href="source-{name}.html{fragment.replace("#L", "#L-")}"'


def _slug(term: str) -> str:
    return re.sub(r"\W+", "-", term.lower())


def _source(path: Path) -> str:
    """A module as a page with line numbers that can be linked to."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    form = HtmlFormatter(full=True, title=path.name, linenos="inline", lineanchors="L")
    return highlight(path.read_text(encoding="utf-8"), PythonLexer(), form)
