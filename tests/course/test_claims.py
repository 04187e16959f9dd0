"""A false claim turns its lesson red: a mistake per lesson, made in the world the claim is about.

`MISTAKES` names for each lesson a check, the cells that it needs, a text in the first of them that
is spoilt and what a hurried author could have written there. Only those cells run, so that a run
takes seconds: first as they are, and the check passes; then, from the spoilt cell on, once more
with the mistake, and the check, no other cell, must raise AssertionError.
"""

import copy
from typing import NamedTuple

import grammar
import nbformat
import pytest
from conftest import KERNEL, NOTEBOOKS

from bsrnn.experiments import notebooks, runner
from bsrnn.experiments.notebooks import tags

LESSONS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


class Mistake(NamedTuple):
    """`cell` holds `text`; with `wrong` in its place, `claim` must fail. `before` and `between`:
    ids of the cells that must run before the spoilt one, and between it and the claim."""

    cell: str
    text: str
    wrong: str
    claim: str
    before: str = ""
    between: str = ""


MISTAKES = {
    "00": Mistake(  # estimates named in an order that is not the model's
        "separate",
        "estimates = bsrnn.separate(separator, mixture, clip.sample_rate)",
        "found = bsrnn.separate(separator, mixture, clip.sample_rate).values()\n"
        "estimates = dict(zip(('vocals', 'drums', 'bass', 'other'), found))",
        "claim-separate",
        "mixture-sound load predict-hardest",
        "likeness",
    ),
    "01": Mistake(  # magnitudes are added up, not energies
        "owners-clip",
        "np.square(np.abs(spectra)).sum",
        "np.abs(spectra).sum",
        "claim-8",
        "tracks-drawing clip-sound prediction-3 levels-over-time excerpt prediction-8",
        "give-to-owner owner-scores",
    ),
    "02": Mistake(  # divided by the sum of windows, though the window acts twice
        "my-istft",
        "+= w**2",
        "+= w",
        "edges-claim",
        "song window frame-figure my-stft back-prediction edges-prediction",
        "hops edges-lengths edges-figure edges-see",
    ),
    "03": Mistake(  # the angle between stem and mixture without the conjugate
        "kinds-code",
        "(Y * X.conj()).real",
        "(Y * X).real",
        "kinds-claim",
        "bin-drawing song kinds-prediction",
        "kinds-figure kinds-see",
    ),
    "04": Mistake(  # a projection without the conjugate
        "bound-by-hand",
        "(x.conj() * s).sum(1)",
        "(x * s).sum(1)",
        "claim-bound",
        "imports prediction-hz grid prediction-equal equal prediction-bound",
        "bound-n-fft",
    ),
    "05": Mistake(  # bands and frames are not exchanged before the layer across bands
        "block",
        "z = z.transpose(1, 2)  # (B, T, K, N)",
        "pass",
        "who-claim",
        "imports excerpt say way-figure norm split split-slow rows residual",
        "who-figure",
    ),
    "06": Mistake(  # half the amplitude is -6 dB, not -3 dB
        "examples",
        "0.5 * s",
        "10 ** (-3 / 20) * s",
        "claim-metrics",
        "metrics-drawing song prediction-metrics",
        "examples-table see-metrics",
    ),
    "07": Mistake(  # the mask of the rest in place of the stem's
        "loss-answers",
        "[:1] for pair",
        "[1:] for pair",
        "loss-claim",
        "choices plan mixer example activity",
        "loss-figure",
    ),
    "08": Mistake(  # chunks as long as the song
        "memory",
        "chunk_s=5.0",
        "chunk_s=1000.0",
        "claim-memory",
        "imports song",
        "memory-figure",
    ),
    "09": Mistake(  # sorted the wrong way round: the worst seconds are muted, not the best
        "mute", "nan=-np.inf))[::-1]", "nan=np.inf))", "claim-frames", "songs"
    ),
    "10": Mistake(  # half of the encoder is left free
        "one-transfer",
        "freeze=ENCODER",
        "freeze=ENCODER[:1]",
        "claim-freeze",
        "imports plan model parts-figure valid train budget",
    ),
    "11": Mistake(  # torch's LSTM has two bias vectors
        "by-hand", "(N + H + 2)", "(N + H + 1)", "claim-parameters", "model", "three-counts"
    ),
    "12": Mistake(  # masks of overlapping bands overwrite each other
        "add-up",
        "mask[low:high] += torch.tensor",
        "mask[low:high] = torch.tensor",
        "claim-weights",
        "imports scenes plan schemes prediction-weights",
        "add-up-figure",
    ),
    "13": Mistake(  # every team reports its dullest view of the data, not its best
        "forking-figure",
        ".min(axis=1) < 0.05",
        ".max(axis=1) < 0.05",
        "claim-forking",
        "imports prediction-forking",
    ),
    "14": Mistake(  # a sign: no rotation any more
        "rope",
        "odd * turn.cos() + even",
        "odd * turn.cos() - even",
        "pairs-claim",
        "imports conv attention swap rope-predict",
        "rope-scores pairs",
    ),
    "15": Mistake(  # twice as many songs as there are
        "power-figure",
        "planning.power(g, 1.0, n)",
        "planning.power(g, 1.0, 2 * n)",
        "claim-power",
        "imports prediction-question",
    ),
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
