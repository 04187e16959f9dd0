"""The layer swapper: receptive fields by formula, costs by the closed form, every control works."""

import numpy as np
import pytest

widgets = pytest.importorskip("ipywidgets")

import torch  # noqa: E402

from bsrnn import cost, explore, plots  # noqa: E402
from bsrnn.common import UsageError  # noqa: E402
from bsrnn.explore import layers  # noqa: E402
from bsrnn.models import BandSplitSeparator, presets  # noqa: E402

BASE = presets()["tiny"]


def heard(time, band, repeats=1, norm="layer", **changes):
    """Which positions (K, T) have any influence on the middle."""
    config = layers.swapped(BASE, time, band, repeats=repeats, norm=norm)
    return explore.influence(config.replace(**changes)) > 0


@pytest.mark.parametrize("repeats", [1, 2, 4])
def test_convolutions_hear_as_far_as_their_kernels(repeats):
    field = heard("conv", "conv", repeats)
    bands, frames = np.nonzero(field)
    assert set(bands) == set(range(6 - min(repeats, 6), 6 + min(repeats, 6) + 1))
    assert set(frames) == set(range(20 - repeats, 20 + repeats + 1))
    assert field.sum() == (2 * repeats + 1) ** 2


@pytest.mark.parametrize("dilations", [1, 2, 3])
def test_dilated_convolutions_hear_farther(dilations):
    """Layers of kernel 3: in, dilations 1, 2, 4 ..., joined, out. Their own norms hear everything,
    so the far influence is small, not zero: count what a perturbation through the convolutions
    alone can reach, by the strength."""
    config = layers.swapped(BASE, "dilated", "none", repeats=1, norm="layer")
    values = explore.influence(config.replace(dilations=dilations), frames=61)[6]
    reach = 3 + sum(2**level for level in range(dilations))
    inside = values[30 - reach : 30 + reach + 1]
    outside = np.delete(values, np.arange(30 - reach, 30 + reach + 1))
    assert inside.min() > 0 and outside.max() < 0.2 * inside.max()


@pytest.mark.parametrize("kind", ["lstm", "gru", "transformer", "roformer"])
def test_recurrence_and_attention_hear_everything(kind):
    assert heard(kind, "same").all()
    assert heard(kind, "none").sum() == layers.FRAMES  # only its own band


def test_group_norm_hears_everything_by_itself():
    assert heard("conv", "none", norm="layer").sum() == 3
    assert heard("conv", "none", norm="group").sum() == layers.FRAMES


def test_recurrence_forgets_and_attention_does_not():
    far = {}
    for kind in ("lstm", "roformer"):
        values = explore.influence(layers.swapped(BASE, kind, "none", repeats=1, norm="layer"))[6]
        far[kind] = values[:4].mean() / values[[18, 19, 21, 22]].mean()
    assert far["lstm"] < 1e-3 < 0.1 < far["roformer"]


def test_influence_is_the_same_for_the_same_seed_and_leaves_the_others_alone():
    config = layers.swapped(BASE)
    torch.manual_seed(5)
    first = explore.influence(config, seed=1)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))
    np.testing.assert_array_equal(first, explore.influence(config, seed=1))
    assert not np.array_equal(first, explore.influence(config, seed=2))
    assert first.max() == 1


def test_costs_are_those_of_the_network_that_is_named():
    for kind in layers.TIME:
        for band in layers.BAND:
            config = layers.swapped(BASE, kind, band, features=16, repeats=2)
            counted = cost.cost(config).parameters
            built = sum(p.numel() for p in BandSplitSeparator(config).parameters())
            assert counted == built, (kind, band)
    picture, words, table = explore.layers_view(BASE, "conv", "none", 32, 2, seconds=3.0)
    total = cost.cost(layers.swapped(BASE, "conv", "none", 32, 2, "group"), 3.0)
    assert table.loc["all", "MACs"] == total.macs == table["MACs"][:-1].sum()
    assert table.loc["all", "parameters"] == total.parameters
    assert f"{total.parameters / 1e6:.3f} million parameters" in picture.description
    assert " ".join(words.split()) == picture.description
    assert "no layer joins bands" in picture.description and picture.png()


def test_reach_counts_bands_frames_and_strong_frames():
    values = np.zeros((3, 5))
    values[1, 1:4] = 0.5, 1.0, 1e-4
    assert layers.reach(values) == {"bands": 1, "frames": 3, "strong": 2}


def test_pictures_leave_what_is_not_heard_white():
    values = np.zeros((3, 5))
    values[1, 2] = 1.0
    picture = plots.influence({"one": values, "two": values + 1}, (1, 2))
    assert "one: 7%; two: 100%" in picture.description and picture.png()
    shown = picture.axes[0].images[0].get_array()
    assert shown.mask.sum() == 14
    with pytest.raises(UsageError, match="no maps"):
        plots.influence({}, (0, 0))
