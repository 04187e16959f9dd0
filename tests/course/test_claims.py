"""A false claim turns its lesson red: a mistake per lesson, made in the world the claim is about.

Only the cells that a check needs run, so that a run takes seconds: first as they are, and the check
passes; then, from the spoilt cell on, once more with the mistake of `mistakes.toml`, and the check,
no other cell, must raise AssertionError.
"""

import copy
import tomllib
from pathlib import Path
from types import SimpleNamespace

import grammar
import nbformat
import pytest
from conftest import KERNEL, NOTEBOOKS

from bsrnn.experiments import notebooks, runner
from bsrnn.experiments.notebooks import tags

LESSONS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
ROWS = tomllib.loads((Path(__file__).parent / "mistakes.toml").read_text(encoding="utf-8"))
MISTAKES = {
    number: SimpleNamespace(**{"before": "", "between": ""} | row) for number, row in ROWS.items()
}


def write(lesson, mistake, target):
    """A notebook of the needed cells, followed by those from the spoilt one on, spoilt."""
    cells = notebooks.read(lesson).cells
    known = {cell.id: cell for cell in cells}
    first = [cell for cell in cells if {"parameters", "setup"} & set(tags(cell))]
    first += [known[name] for name in mistake.before.split()]
    names = [mistake.cell, *mistake.between.split(), mistake.claim]
    sound, again = ([copy.deepcopy(known[name]) for name in names] for _ in range(2))
    assert again[0].source.count(mistake.text) == 1, f"{mistake.text} stands there not once"
    again[0].source = again[0].source.replace(mistake.text, mistake.wrong)
    for cell in again:
        cell.id += "-spoilt"
    whole = nbformat.v4.new_notebook(cells=first + sound + again, metadata={"kernelspec": KERNEL})
    nbformat.write(whole, target)
    return target


def test_every_lesson_has_a_mistake_in_the_world_of_a_claim():
    assert set(MISTAKES) == {path.stem[:2] for path in LESSONS}, "add the lesson to MISTAKES"
    for path in LESSONS:
        mistake = MISTAKES[path.stem[:2]]
        claims = {cell.id for cell in grammar.claims(notebooks.read(path).cells)}
        assert mistake.claim in claims, f"{path.stem}: {mistake.claim} is no check of a claim"
        assert mistake.cell not in claims, f"{path.stem}: spoil the world, not a check"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_runs_red_with_a_mistake(path, tmp_path):
    mistake = MISTAKES[path.stem[:2]]
    target = write(path, mistake, tmp_path / path.name)
    _, error = runner.execute(target, {"out_dir": str(tmp_path / "out")})
    assert f"({mistake.claim}-spoilt): AssertionError" in error, error or "nothing was noticed"
