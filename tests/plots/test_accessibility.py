"""Words for every picture, labels and keys for every control, colours told apart, narrow pages.

The stored lessons are looked at, nothing is executed; keys are pressed in
tests/explore/test_browser.py.
"""

import itertools
import re

import browser
import nbformat
import numpy as np
import pytest
from conftest import NOTEBOOKS, TESTS

from bsrnn.experiments import notebooks, page
from bsrnn.experiments.notebooks import tags
from bsrnn.plots import style

LESSONS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
PAGES = LESSONS + sorted(NOTEBOOKS.glob("assignments/release/a*/*.ipynb"))


# Words


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_stored_picture_has_alt_words_and_a_summary_below(path):
    shown = 0
    for cell in notebooks.read(path).cells:
        outputs = cell.get("outputs", [])
        for place, output in enumerate(outputs):
            if "image/png" in output.get("data", {}):
                shown += 1
                alt = output.metadata.get("image/png", {}).get("alt", "")
                assert len(alt.split()) >= 3, f"{cell.id}: alt {alt!r} says too little"
                below = outputs[place + 1].get("data", {}) if place + 1 < len(outputs) else {}
                words = f"*In words: {alt}*"
                assert below.get("text/markdown") == words, f"{cell.id}: no summary below"
    assert shown >= 3


# Controls


def test_every_widget_of_a_lesson_is_driven_by_keys_in_a_browser_test():
    driven = "".join(path.read_text() for path in (TESTS / "explore").glob("*.py"))
    for path in LESSONS:
        for cell in notebooks.read(path).cells:
            if "interactive" in tags(cell):
                (name,) = set(re.findall(r"explore\.(\w+)\(", cell.source))
                assert f"explore.{name}(" in driven, f"{path.stem}: no browser test of {name}"


# Colours: simulation of Machado, Oliveira, Fernandes 2009 (IEEE TVCG 15(6)), severity 1.0, on
# linear RGB; differences in CIE Lab; contrast as in WCAG 2.1, 1.4.11 (3:1 for graphical objects).

VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
LUMINANCE = np.array([0.2126729, 0.7151522, 0.0721750])
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], LUMINANCE, [0.0193339, 0.1191920, 0.9503041]])
APART = 12.0  # 2.3 is just noticeable side by side; thin lines in a legend need much more
PALE = {"#E69F00": 2.2, "#56B4E9": 2.3}  # Okabe and Ito's own, below 3:1 on white: a known limit


def linear(colour: str) -> np.ndarray:
    """Linear RGB (3,) of "#rrggbb"."""
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE Lab (3,) of linear RGB, white point D65."""
    x = XYZ @ np.clip(rgb, 0, 1) / XYZ.sum(axis=1)
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(
    "colours", [style.PALETTE, tuple(dict.fromkeys(style.STEM_COLOURS.values()))]
)
def test_colours_are_told_apart(vision, colours):
    seen = {colour: lab(VISION[vision] @ linear(colour)) for colour in colours}
    for a, b in itertools.combinations(colours, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > APART, f"{a} and {b} look alike"


def test_lines_stand_out_from_white():
    for colour in {*style.PALETTE, *style.STEM_COLOURS.values()}:
        contrast = 1.05 / (LUMINANCE @ linear(colour) + 0.05)
        assert contrast >= PALE.get(colour, 3.0), f"{colour}: {contrast:.2f} to 1 on white"


# Pages on a telephone

BROKEN_WORDS = """() => {
    const broken = [];
    for (const cell of document.querySelectorAll('td, th, .jp-OutputArea-output pre')) {
        const walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
        for (let node = walk.nextNode(); node; node = walk.nextNode())
            for (const word of node.data.matchAll(/[\\p{L}\\p{N}_.]+/gu)) {
                const range = document.createRange();
                range.setStart(node, word.index);
                range.setEnd(node, word.index + word[0].length);
                const tops = new Set([...range.getClientRects()].map(r => Math.round(r.top)));
                if (tops.size > 1) broken.push(word[0]);
            }
    }
    return broken;
}"""
CUT_OFF = """() => [...document.querySelectorAll('*')].filter(e =>
    e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === 'hidden' && e.clientWidth
).map(e => e.className)"""  # what the template hides is neither seen nor scrolled to
WIDE_PICTURES = """() => [...document.images].filter(i => !i.closest('table, .formula')).filter(
    i => i.getBoundingClientRect().right > innerWidth + 1).length"""  # those two boxes scroll


@pytest.fixture(scope="module")
def telephone():
    """A chromium tab of 400 x 800 pixels."""
    if browser.MISSING:
        pytest.skip(f"needs {browser.MISSING}")
    with browser.chromium() as running:
        yield running.new_page(viewport={"width": 400, "height": 800})


def test_a_formula_that_cannot_be_drawn_stays_readable(tmp_path):
    prose = r"$x \begin{pmatrix} 1 & 2 \end{pmatrix}$ and $\frac{l}{\sqrt 2}$"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(prose)])
    text = page.write_page(notebook, tmp_path / "page.html").read_text()
    assert r"<code>x \begin{pmatrix} 1 &amp; 2 \end{pmatrix}</code>" in text
    assert text.count('class="math"') == 1


def test_a_formula_stands_on_its_line_and_keeps_its_comma(tmp_path):
    prose = r"So $n$, $\frac{a}{b}$ and $x_k$ in 35 % or 3 dB, but `4 dB`."
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(prose)])
    text = page.write_page(notebook, tmp_path / "page.html").read_text()
    letter, fraction, index = map(float, re.findall(r"vertical-align: (-?[\d.]+)pt", text))
    assert fraction < index < letter < 0.5, "what hangs below the line of the words must hang"
    assert re.findall(r'<span class="whole"><img [^>]*>(.)</span>', text) == [","]
    assert "35\u00a0%" in text and "3\u00a0dB" in text and "<code>4 dB</code>" in text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page_fits_a_telephone(path, telephone, tmp_path):
    target = page.write_page(notebooks.read(path), tmp_path / "page.html")
    undrawn = re.findall(r"<code>[^<]*\\[a-z]+.*?</code>", target.read_text())
    assert undrawn == [], "a formula that matplotlib cannot draw stands there as TeX"
    telephone.goto(target.as_uri())
    wide = telephone.evaluate("document.documentElement.scrollWidth")
    assert wide <= telephone.evaluate("innerWidth"), f"the page is {wide} pixels wide"
    assert telephone.evaluate(CUT_OFF) == []
    assert telephone.evaluate(BROKEN_WORDS) == []
    assert telephone.evaluate(WIDE_PICTURES) == 0
