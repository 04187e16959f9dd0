"""The reading room, opened from disk in a browser that has no network."""

import re
from pathlib import Path

import browser
import nbformat
import pytest

from bsrnn import cli, listen
from bsrnn.common import UsageError
from bsrnn.course import predictions, site

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")


def cell(source, *tags, outputs=()):
    """A cell of an executed lesson; Markdown begins with "md "."""
    if source.startswith("md "):
        made = nbformat.v4.new_markdown_cell(source[3:])
    else:
        made = nbformat.v4.new_code_cell(source, outputs=list(outputs), execution_count=1)
    made.metadata["tags"] = list(tags)
    return made


def shown(text, markup):
    data = {"text/plain": text, "text/html": markup}
    return nbformat.v4.new_output("display_data", data)


def fragments(what, *told):
    return [shown(what, predictions._fragment(what, **data)) for data in told]


def printed(text):
    return nbformat.v4.new_output("stream", text=text)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Two executed lessons that hold one of everything; their folder stands in an output."""
    import numpy as np

    folder = tmp_path_factory.mktemp("executed")
    tone = np.sin(np.arange(22050) / 20)[None].astype(np.float32)
    sound = listen.players({"a tone": tone, "half of it": 0.5 * tone}, 44100)
    asked = {"name": "41 x", "question": "How much?", "kind": {"unit": "dB"}}
    told = {**asked, "truth": 3.0, "within": 0.75, "answer": None, "told": "The run says: 3 dB."}
    sketch = {"name": "41 y", "question": "Draw it.", "kind": {
        "x": [0, 7], "y": [0, 10], "x_label": "step", "y_label": "dB", "points": 8}}  # fmt: skip
    drawn = {**sketch, "truth": [5.0] * 8, "within": None, "answer": None, "told": "A line."}
    title = "md # {0} - Lesson {0}\n\n**Level:** beginner. **Minutes:** 5\n\nYou read."
    lessons = {
        "41_one": [
            cell(title.format(41), "title"),
            cell("md After this lesson you can read.", "objectives"),
            cell("seed: int = 0", "parameters"),
            cell("import os", "setup", outputs=[printed(f"version, in {folder}/41_one/x.json")]),
            cell(
                "md ## 1. Why a `mask`?\n\nA mask of the STFT: `mask`. See "
                "[42 - Lesson 42](42_two.ipynb#1.-What-next?) and "
                "[`Norm`](../bsrnn/models/bsrnn.py#L39)."
            ),
            cell("course.predict()", "prediction", outputs=fragments("predict", asked)),
            cell("course.predict()", "prediction", outputs=fragments("predict", sketch)),
            cell("listen.players()", "sound", outputs=[shown("sound", sound.html)]),
            cell("course.reveal()", "see", outputs=fragments("reveal", told, drawn)),
            cell("course.claim()", "check", outputs=[printed("Holds: a.\nHolds: b.\n")]),
            cell("print(course.attempt(check, f))", "check", outputs=[printed("Not yet: x")]),
            cell("f(1)", "reference"),
        ],
        "42_two": [cell(title.format(42), "title"), cell("md ## 1. What next?\n\nNothing. " * 9)],
    }
    for name, cells in lessons.items():
        notebook = nbformat.v4.new_notebook(cells=cells)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder


@pytest.fixture(scope="module")
def built(executed):
    return site.build(executed, executed / "site").parent


def test_folds(executed):
    folds = [site.fold(c) for c in nbformat.read(executed / "41_one.ipynb", 4).cells]
    assert folds[2:4] == ["Parameters", "Setup"] and folds[5] == folds[8] == "Code"
    assert folds[9:] == ["2 claims verified", "Check of your answer", "Solution"]
    failed = nbformat.v4.new_output("error", ename="AssertionError", evalue="", traceback=[])
    assert site.fold(cell("course.claim()", "check", outputs=[failed])) == "A claim does not hold"


def test_no_lesson_no_site(tmp_path):
    with pytest.raises(UsageError, match="run `python -m bsrnn course run`"):
        site.build(tmp_path)


def test_every_link_and_file_resolves_and_no_machine_is_named(built, executed):
    pages = {path.name: path.read_text(encoding="utf-8") for path in built.glob("*.html")}
    assert {"index.html", "glossary.html", "41_one.html", "42_two.html"} <= set(pages)
    seen = 0
    for name, text in pages.items():
        for target in re.findall(r'(?:href|src)="([^"]+)"', text):
            place, _, fragment = target.partition("#")
            if not re.match(r"https?:|data:", target):
                assert (built / (place or name)).is_file(), f"{name}: {target}"
                there = pages.get(place or name, "")
                assert not fragment or f'id="{fragment}"' in there or f'name="{fragment}"' in there
                seen += 1
        for machine in (str(executed), str(Path.home()) + "/", str(site.ROOT)):
            assert machine not in text, f"{name} names {machine}"
    assert seen > 30 and "source-bsrnn-models-bsrnn.html#L-39" in pages["41_one.html"]
    assert 'href="glossary.html#mask"' in pages["41_one.html"]
    assert "<code>B</code></span></td>" in pages["glossary.html"]
    assert 'href="42_two.html#1.-What-next?"' in pages["41_one.html"]
    assert not re.search(
        r"<(script|link|img|iframe)[^>]+(src|href)=.https?:", "".join(pages.values())
    )


@pytest.fixture(scope="module")
def chromium():
    if not browser.CHROMIUM:
        pytest.skip("needs chromium on the PATH")
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=browser.CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("width", [1200, 400])
def test_a_page_without_network_and_kernel_sounds_asks_and_finds(width, built, chromium):
    context = chromium.new_context(viewport={"width": width, "height": 900}, offline=True)
    tab, errors = context.new_page(), []
    tab.on("console", lambda message: message.type == "error" and errors.append(message.text))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto((built / "41_one.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.locator("details.fold[open]").count() == 0, "setup, checks, solutions are folded"
    assert tab.locator("summary", has_text="2 claims verified").count() == 1
    lengths = (
        "[...document.querySelectorAll('audio')].map(a => new Promise(done => {"
        "a.addEventListener('loadedmetadata', () => done(a.duration)); a.load()}))"
    )
    durations = tab.evaluate(f"Promise.all({lengths})")
    assert len(durations) == 2 and all(abs(length - 0.5) < 0.1 for length in durations)

    reveal = tab.locator(".reveal").first
    assert "commit it first" in reveal.inner_text()
    tab.locator(".predict input[type=number]").fill("2.8")
    tab.locator(".predict button").first.click()
    assert "3 dB" in reveal.inner_text() and "2.8 dB: close" in reveal.inner_text()
    tab.locator(".predict circle").first.press("ArrowUp")
    tab.locator(".predict button").nth(1).click()
    assert "close" in tab.locator(".reveal").nth(1).inner_text()
    assert "2 of 2" in reveal.inner_text() or "2 of 2" in tab.locator(".reveal").nth(1).inner_text()
    tab.reload()
    assert "2.8 dB: close" in tab.locator(".reveal").first.inner_text(), "it was not kept"

    tab.locator("#search input").fill("next nothing")
    tab.locator("#hits a").first.click()
    tab.wait_for_url("**/42_two.html*")
    assert tab.locator("a[rel=prev]").get_attribute("href") == "41_one.html"
    assert errors == []
    context.close()


def test_the_instrument_lives_on_a_page_of_its_own(built, chromium):
    context = chromium.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    tab, errors = context.new_page(), []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto((built / "instrument.html").as_uri())
    tab.locator("canvas").first.wait_for()
    before = tab.evaluate("document.querySelector('canvas').toDataURL()")
    tab.locator("main .heads select").first.select_option(index=3)
    tab.wait_for_function("was => document.querySelector('canvas').toDataURL() !== was", arg=before)
    assert errors == []
    context.close()


def test_the_command_says_what_to_open(executed, tmp_path, capsys):
    assert cli.main(["course", "site", str(executed), "--out", str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out == f"open {tmp_path / 's' / 'index.html'}\n"
