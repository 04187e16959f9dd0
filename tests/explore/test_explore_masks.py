"""The mask microscope: what it computes, draws and plays, and every control over its range."""

import numpy as np
import pytest
import torch

widgets = pytest.importorskip("ipywidgets")

from bsrnn import explore, masks, metrics, plots  # noqa: E402
from bsrnn.audio.stft import StftConfig, stft  # noqa: E402
from bsrnn.common import UsageError  # noqa: E402
from bsrnn.explore import masks as knobs  # noqa: E402

RATE = 44100


@pytest.fixture(scope="module")
def sources():
    rng = np.random.default_rng(0)
    time_s = np.arange(RATE) / RATE
    tone = 0.2 * np.sin(2 * np.pi * 440 * time_s) * (np.sin(2 * np.pi * 3 * time_s) > 0)
    noise = 0.05 * rng.standard_normal((2, len(time_s)))
    hum = 0.1 * np.sin(2 * np.pi * 100 * time_s)
    stems = {"hum": np.tile(hum, (2, 1)), "noise": noise, "tone": np.stack([tone, 0.5 * tone])}
    return {name: x.astype(np.float32) for name, x in stems.items()}


@pytest.mark.parametrize("kind", [*knobs.NAMES, "wiener"])
def test_estimate_is_that_of_the_oracle_and_the_table_says_its_sdr(sources, heard, kind):
    knob = {"kind": "ratio", "exponent": 2.0} if kind == "wiener" else {"kind": kind}
    _, table, _ = explore.mask_view(sources, RATE, "tone", n_fft=1024, **knob)
    stacked = np.stack(list(sources.values()))
    want = masks.oracle_estimates(kind, stacked, StftConfig(1024, 256))[2]
    np.testing.assert_allclose(heard[-1]["estimate"], want, atol=1e-5)
    np.testing.assert_array_equal(heard[-1]["target"], sources["tone"])
    said = float(table.loc["SDR of this mask (dB)", "tone"])
    assert said == pytest.approx(metrics.usdr(sources["tone"], heard[-1]["estimate"]), abs=0.006)
    best = float(table.loc["SDR of best real mask (dB)", "tone"])
    assert kind == "complex" or said <= best


def test_threshold_trades_leak_against_loss(sources):
    drops = []
    for threshold_db in (-15.0, 0.0, 15.0):
        table = explore.mask_view(sources, RATE, "tone", "binary", threshold_db)[1]["tone"]
        drops.append([float(table[f"{part} weakened by (dB)"]) for part in ("stem", "rest")])
    assert (np.diff(drops, axis=0) > 0).all()  # higher: less of the rest, less of the stem


def test_silent_stem_and_short_song_are_said_not_failed(sources):
    silent = {**sources, "nothing": np.zeros_like(sources["hum"])}
    for kind in knobs.NAMES:
        picture, table, sounds = explore.mask_view(silent, RATE, "nothing", kind)
        assert "undefined" in table.loc["SDR of this mask (dB)", "nothing"] and picture.png()
        assert "silent" in str(sounds)
    short = {name: x[:, :500] for name, x in sources.items()}
    assert explore.mask_view(short, RATE, n_fft=16384)[0].png()


def test_picture_keeps_zeros_and_ones_and_counts_what_is_outside(sources):
    spectra = [stft(torch.from_numpy(x), StftConfig()) for x in sources.values()]
    total = sum(spectra)
    kinds = {kind: masks.oracle(kind, spectra[2][None], total)[0] for kind in masks.KINDS}
    picture = plots.masks(kinds, RATE, 1.0)
    drawn = [axes.collections[0].get_array() for axes in picture.axes[:6]]
    assert set(np.unique(drawn[0])) == {0.0, 1.0} and len(picture.png()) < 80_000
    outside = [bool(((values < -0.05) | (values > 1.05)).any()) for values in drawn]
    assert outside == [False, False, False, True, True, True]
    assert f"binary: mean {kinds['binary'][0].mean():.2f};" in picture.description
    assert f"{(kinds['phase_sensitive'][0] < -0.05).float().mean():.0%} blue" in (
        picture.description
    )
    with pytest.raises(UsageError, match="finite"):
        plots.masks({"bad": np.full((3, 4), np.nan)}, RATE, 1.0)
    with pytest.raises(UsageError, match="no masks"):
        plots.masks({}, RATE, 1.0)


def test_mask_is_drawn_at_its_place():
    mask = np.zeros((1025, 100))
    mask[200:400, 50:] = 1  # 4.3 to 8.6 kHz, second half
    mesh = plots.masks({"block": mask}, RATE, 10.0).axes[0].collections[0]
    corners = mesh.get_coordinates()[:-1, :-1]
    on = np.asarray(mesh.get_array()) == 1
    assert corners[on][:, 0].min() == pytest.approx(5.0, abs=0.1)
    assert corners[on][:, 1].min() == pytest.approx(200 * RATE / 2048, rel=0.05)
    assert corners[on][:, 1].max() == pytest.approx(400 * RATE / 2048, rel=0.05)
