"""The freeze board: what it says learns is what training lets learn, and every control works."""

import itertools
from dataclasses import replace

import pytest

widgets = pytest.importorskip("ipywidgets")

import torch  # noqa: E402

from bsrnn import cost, explore  # noqa: E402
from bsrnn.explore import freezing  # noqa: E402
from bsrnn.models import BandSplitSeparator, presets  # noqa: E402
from bsrnn.training import transfer  # noqa: E402

BASE = presets()["tiny"].replace(features=8, hidden=8, repeats=1, mask_hidden=8)
DRUMS = replace(BASE, stems=("drums",))


def learning(separator) -> set:
    """Names of the weights that a backward pass reaches."""
    separator.estimate(torch.randn(1, 1, 8192)).waveforms.square().sum().backward()
    return {name for name, weight in separator.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("freeze", [(), ("split",), ("sequence",), ("split", "sequence")])
def test_plan_agrees_with_training(freeze):
    separator = BandSplitSeparator(DRUMS)
    report = transfer(separator, BandSplitSeparator(BASE), freeze)
    states = {part: "frozen" if part in freeze else "trained" for part in freezing.PARTS}
    plan = explore.freeze_plan(BASE, DRUMS, **states)
    rows = plan.tensors.set_index("tensor")["state"]
    assert set(rows[rows != "frozen"].index) == learning(separator)
    assert report["new"] == ["masks.drums"] and set(rows[rows == "new"].index) == {
        name for name in rows.index if name.startswith("masks.drums.")
    }
    assert plan.parameters() == cost.cost(DRUMS).parameters
    assert plan.learning == sum(p.numel() for p in separator.parameters() if p.requires_grad)
    assert plan.optimiser_bytes == 8 * plan.learning


def test_what_does_not_fit_is_new():
    plan = explore.freeze_plan(BASE, replace(BASE, scheme="v7"), "frozen", "frozen", "frozen")
    states = plan.tensors.groupby("part")["state"].unique().str.join(" ")
    assert dict(states) == {"split": "new", "sequence": "frozen", "masks": "new"}
    two = explore.freeze_plan(BASE, replace(BASE, stems=("vocals", "drums")))
    heads = two.tensors[two.tensors["part"] == "masks"]
    old = heads["tensor"].str.startswith("masks.vocals.")
    assert set(heads[old]["state"]) == {"frozen"} and set(heads[~old]["state"]) == {"new"}


def test_step_costs_what_gradients_must_pass():
    macs = {name: tally.macs for name, tally in cost.cost(BASE, 1.0).parts.items()}
    whole = sum(macs.values())
    expected = {  # forward + weights that learn + frozen parts that gradients pass through
        ("frozen", "frozen", "replaced"): whole + 2 * macs["masks"],
        ("trained", "frozen", "frozen"): whole + 2 * macs["split"] + whole - macs["split"],
        ("trained", "trained", "trained"): 3 * whole,
        ("frozen", "frozen", "frozen"): whole,
    }
    for states, value in expected.items():
        plan = explore.freeze_plan(BASE, BASE, *states)
        assert plan.step_macs == value and plan.full_step_macs == 3 * whole
    kept = [explore.freeze_plan(BASE, BASE, *states).activation_bytes for states in expected]
    assert kept[3] == 0 < kept[0] < kept[1] == kept[2] == cost.cost(BASE, 1.0).activation_bytes


def test_view_says_what_learns():
    picture, table = explore.freeze_view(BASE)
    head = cost.cost(BASE).parts["masks"].parameters
    assert picture.description.startswith(f"{head:,} of {cost.cost(BASE).parameters:,} parameters")
    assert picture.png() and table["parameters"].sum() == cost.cost(BASE).parameters
    picture, _ = explore.freeze_view(BASE, "frozen", "frozen", "frozen")
    assert picture.description.startswith("Nothing learns")


def test_every_combination_of_states_has_words():
    for states in itertools.product(freezing.STATES, repeat=3):
        words = freezing._words(explore.freeze_plan(BASE, DRUMS, *states, seconds=0.1))
        assert "parameters" in words and "nan" not in words
