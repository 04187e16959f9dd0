"""The walk through `forward` shows the tensors that the network really has, at every control."""

import numpy as np
import pytest

widgets = pytest.importorskip("ipywidgets")

import torch  # noqa: E402

from bsrnn import bands, explore, plots  # noqa: E402
from bsrnn.common import UsageError  # noqa: E402
from bsrnn.models import BandSplitSeparator, presets  # noqa: E402
from bsrnn.models.blocks import (  # noqa: E402
    MixedBlock,
    PlaneConvBlock,
    RNNBlock,
    RoformerBlock,
)

SMALL = presets()["tiny"].replace(features=8, hidden=8, repeats=2, mask_hidden=8)
RATE = 44100


def separator(**changes):
    torch.manual_seed(0)
    return BandSplitSeparator(SMALL.replace(**changes)).eval()


@pytest.fixture(scope="module")
def mixture():
    return np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32)


def test_trace_is_what_the_network_computes(mixture):
    model = separator()
    steps = {step.name: step for step in explore.forward_trace(model, mixture).steps}
    with torch.no_grad():
        estimate = model.estimate(torch.from_numpy(mixture)[None])
        z = model.split(torch.from_numpy(steps["what the split sees"].value)[None, None])
        for block in model.sequence.blocks:
            z = block(z)
    layers = [step for name, step in steps.items() if name.startswith("block")]
    assert [step.along for step in layers] == ["T", "K", "T", "K"]
    np.testing.assert_allclose(layers[-1].value, z[0].numpy(), atol=1e-5)
    np.testing.assert_array_equal(steps["vocals: samples"].value, estimate.waveforms[0, 0].numpy())
    product = steps["mask of vocals"].value * steps["what the split sees"].value
    np.testing.assert_allclose(steps["vocals: mask times mixture"].value, product, rtol=1e-5)


def test_trace_leaves_the_network_as_it_was(mixture):
    model = separator()
    explore.forward_trace(model, mixture)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    "changes, layers",
    [
        ({"channel_handling": "joint"}, 4),
        ({"block": MixedBlock(RNNBlock(hidden=8), None)}, 2),
        ({"tac": "prelu", "attention_heads": 2, "attention_features": 4}, 8),
        ({"block": RoformerBlock(2, 4)}, 4),
        ({"block": PlaneConvBlock(8)}, 4),
        ({"mask_parts": "real", "stems": ("vocals", "drums"), "residual_last": True}, 4),
        ({"scheme": "musical64", "standardise": True}, 4),
    ],
)
def test_other_networks_can_be_walked(mixture, changes, layers):
    trace = explore.forward_trace(separator(**changes), mixture)
    assert len(trace.steps) == 7 + layers
    channels, bins, frames = 2, 1025, 44
    items = 1 if changes.get("channel_handling") == "joint" else channels
    shapes = {step.name: step.shape for step in trace.steps}
    assert shapes["band split"] == (items, len(trace.scheme), frames, 8)
    assert shapes["mask of vocals"] == (items, channels // items, bins, frames)
    assert shapes["vocals: mask times mixture"] == (1, 1, channels, bins, frames)
    for number in range(len(trace.steps)):
        picture, words, table = explore.forward_view(trace, number, len(trace.scheme) - 1, 7)
        assert table.loc[number, ""] == ">" and "nan" not in words
        assert " ".join(words.split()) in picture.description
    assert picture.png()


def test_words_say_what_is_there(mixture):
    trace = explore.forward_trace(separator(), mixture)
    picture, *_ = explore.forward_view(trace, 4, 5, 3)
    sequences = 2 * len(bands.scheme("v4"))
    assert f"The layer saw {sequences} sequences (B K) of 44 frames" in picture.description
    values = trace.steps[4].value[5, :, 3]  # (K, T, N) -> (T,)
    assert f"between {values.min():.2f} and {values.max():.2f}" in picture.description
    whole, close = (axes.images[0].get_array() for axes in picture.axes[:2])
    np.testing.assert_array_equal(whole, trace.steps[4].value[:, :, 3])  # (K, T) of the feature
    np.testing.assert_array_equal(close, trace.steps[4].value[5].T)  # (N, T) of the band
    silent = explore.forward_trace(separator(), 0 * mixture)
    assert "0.0% of the energy" in explore.forward_view(silent, 1)[0].description


def test_boxes_are_as_long_as_the_axes():
    one = {"name": "features", "axes": "B K T N", "shape": (2, 8, 64, 16), "along": "T"}
    picture = plots.tensors([one, {**one, "shape": (2, 8, 256, 16), "along": "K"}])
    assert "features (2, 8, 64, 16)" in picture.description and picture.png()
    front = [patch.get_xy() for patch in picture.axes[0].patches if hasattr(patch, "get_xy")][::3]
    widths = [np.ptp(corners[:, 0]) for corners in front[:2]]
    assert widths[0] < widths[1]
    with pytest.raises(UsageError, match="no tensors"):
        plots.tensors([])
