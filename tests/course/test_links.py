"""Links of lessons, assignments and guides: files, pictures and headings that they name exist."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import NOTEBOOKS

ROOT = NOTEBOOKS.parent
LESSONS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
DOCUMENTS = [
    ROOT / "README.md", ROOT / "data/README.md", NOTEBOOKS / "assignments/README.md",
    *sorted(NOTEBOOKS.rglob("*.ipynb")),
]  # fmt: skip
LINK = re.compile(r"\[([^\]]*)\]\((<[^>]*>|[^)\s]+)(?:\s+\"[^\"]*\")?\)")
HTML_LINK = re.compile(r"<(?:img|a)\b[^>]*?(?:src|href)=[\"']([^\"']+)")


def cells(path):
    """(prose, names of its attachments) of each Markdown cell, or of a whole Markdown file."""
    if path.suffix == ".md":
        return [(path.read_text(), ())]
    found = json.loads(path.read_text())["cells"]
    return [
        ("".join(cell["source"]), cell.get("attachments", {}))
        for cell in found
        if cell["cell_type"] == "markdown"
    ]


def links(text: str) -> list[tuple[str, str]]:
    """(words, target) of every link and picture; code and formulas are no links."""
    text = re.sub(r"(?s)```.*?```|`[^`\n]*`|\$\$.*?\$\$", "", text)
    text = re.sub(r"\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)", "", text)  # badges: outside addresses
    found = [(words, target.strip("<>")) for words, target in LINK.findall(text)]
    return found + [("", target) for target in HTML_LINK.findall(text)]


def anchors(path) -> set[str]:
    """Fragments of the headings of a document, as GitHub and Jupyter make them; of a module, the
    lines of its classes."""
    if path.suffix == ".py":
        lines = enumerate(path.read_text().splitlines(), 1)
        return {f"L{number}" for number, line in lines if line.startswith("class ")}
    heads = [h for text, _ in cells(path) for h in re.findall(r"(?m)^#+\s+(.+?)\s*$", text)]
    plain = [re.sub(r"[`*]|\]\([^)]*\)|\[", "", head) for head in heads]
    github = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in plain}
    return github | {head.replace(" ", "-") for head in plain}


def faults(path) -> list[str]:
    """Every link of a document that leads nowhere, with the reason."""
    found = []
    for text, attached in cells(path):
        for words, target in links(text):
            place, _, fragment = target.partition("#")
            if re.match(r"[a-z]+://|mailto:|data:", target):
                continue
            if target.startswith("attachment:"):
                if target.removeprefix("attachment:") not in attached:
                    found.append(f"{target}: the cell has no such picture")
                continue
            file = (path.parent / place).resolve() if place else path
            number = re.match(r"(\d\d) - ", words)
            if not file.exists():
                found.append(f"[{words}]({target}): no such file")
            elif ROOT not in (file, *file.parents):
                found.append(f"[{words}]({target}): outside the repository")
            elif number and not file.name.startswith(number[1]):
                found.append(f"[{words}]({target}): words and file name two lessons")
            elif fragment and fragment not in anchors(file):
                found.append(f"[{words}]({target}): no such heading")
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    assert faults(path) == []


def test_lesson_05_links_its_classes_to_those_of_the_package():
    """Each class, right after its cell, to the line of the class of the same name."""
    path = NOTEBOOKS / "05_bsrnn_from_scratch.ipynb"
    found = json.loads(path.read_text())["cells"]
    linked = []
    for cell, after in pairwise(found):
        text = "".join(cell["source"])
        name = re.match(r"class (\w+)\(nn\.Module\)", text)
        if cell["cell_type"] == "code" and name:
            link = re.search(r"\[`(\w+)`\]\(\.\./(\S+)#L(\d+)\)", "".join(after["source"]))
            line = (ROOT / link[2]).read_text().splitlines()[int(link[3]) - 1]
            assert link[1] == name[1] and line.startswith(f"class {name[1]}("), name[1]
            linked.append(name[1])
    assert len(linked) == 6, linked


def test_lessons_tell_one_story():
    """Each lesson's end names the next one, and its beginning only lessons that come before."""
    for path, after in zip(LESSONS, [*LESSONS[1:], LESSONS[0]], strict=True):
        told = cells(path)
        end = [target for _, target in links(told[-1][0].split("**Next**")[-1])]
        assert after.name in end, f"{path.name}: **Next** should name {after.name}, not {end}"
        start = told[1][0].split("**Before:**")[-1].split("**You will hear")[0]
        for _, target in links(start):
            early = Path(target).name < path.name
            assert early, f"{path.name}: **Before** names {target}, which comes later"


def test_dead_links_are_seen(tmp_path, write_notebook, monkeypatch):
    monkeypatch.setattr("test_links.ROOT", tmp_path)
    prose = (
        "md # A b\n[gone](99_gone.ipynb) [01 - x](02_b.ipynb) [up](../x.md) ![three little words]"
        "(attachment:none.png) [head](02_b.ipynb#No-head) [good](02_b.ipynb#A-b) [self](#a-b) "
        "[web](https://example.org) `[code](none)` <img src='none.png'>"
    )
    write_notebook(tmp_path / "02_b.ipynb", [("", prose)])
    (tmp_path.parent / "x.md").write_text("outside")
    told = faults(tmp_path / "02_b.ipynb")
    for words in ("[gone]", "two lessons", "outside", "no such picture", "no such heading"):
        assert sum(words in fault for fault in told) == 1, words
    assert len(told) == 6 and "none.png): no such file" in told[-1]
