"""The loss board: what is read, heard and drawn, and every control over its range."""

import numpy as np
import pandas
import pytest

widgets = pytest.importorskip("ipywidgets")

from bsrnn import explore  # noqa: E402
from bsrnn.explore import losses  # noqa: E402

RATE = 44100


@pytest.fixture(scope="module")
def listening():
    """A tone in noise; the estimates have less and less of the noise: 0, 6 and 20 dB."""
    time_s = np.arange(2 * RATE, dtype=np.float32) / RATE
    tone = np.tile(0.2 * np.sin(2 * np.pi * 440 * time_s), (2, 1)).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(tone.shape).astype(np.float32)
    noise *= np.sqrt(np.square(tone).sum() / np.square(noise).sum())
    estimates = {0: tone + noise, 40: tone + 0.5 * noise, 80: tone + 0.1 * noise}
    return explore.Listening(tone + noise, tone, estimates, RATE, "vocals")


@pytest.fixture
def history():
    loss = [8.0, 4.0, 6.0, 2.0, 3.0, 1.0, 2.0, 1.0]
    valid = [np.nan] * 3 + [1.0] + [np.nan] * 3 + [4.0]
    return pandas.DataFrame({"step": range(10, 90, 10), "loss": loss, "valid_usdr": valid})


def curve(picture, panel, number):
    """x and y of a line of the left panels: 0 the loss, 2 the SDR of the excerpt."""
    line = picture.axes[panel].lines[number]
    return list(line.get_xdata()), [round(float(y), 6) for y in line.get_ydata()]


def test_smoothing_is_the_mean_of_a_row_and_those_before(listening, history):
    raw, _ = explore.loss_view(history, listening)
    assert curve(raw, 0, 1) == (list(history["step"]), list(history["loss"]))
    smooth, _ = explore.loss_view(history, listening, smoothing=2)
    assert curve(smooth, 0, 1)[1] == [8.0, 6.0, 5.0, 4.0, 2.5, 2.0, 1.5, 1.5]
    assert curve(smooth, 0, 0) == curve(raw, 0, 0)


def test_sdr_of_the_excerpt_at_every_step_beside_validation(listening, history):
    picture, _ = explore.loss_view(history, listening)
    steps, values = curve(picture, 2, 1)
    assert steps == [0, 40, 80]
    assert values == pytest.approx([0, 6.0206, 20], abs=0.01)
    assert curve(picture, 2, 2) == ([40, 80], [1.0, 4.0])
    assert "20.0 dB uSDR at step 80" in picture.description
    bare, _ = explore.loss_view(history.drop(columns="valid_usdr"), listening)
    assert len(bare.axes[2].lines) == len(picture.axes[2].lines) - 1


def test_what_is_heard_always_with_the_mixture(listening, history, heard):
    labels = {
        "estimate": ["mixture", "estimate at step 40"],
        "target": ["mixture", "target: vocals"],
        "error": ["mixture", "error at step 40"],
        "everything": ["mixture", "target: vocals", "estimate at step 40"],
    }
    for hear in losses.HEAR:
        explore.loss_view(history, listening, 40, hear)
        assert list(heard[-1]) == labels[hear]
    explore.loss_view(history, listening, 40, "error")
    noise = listening.mixture - listening.target
    np.testing.assert_allclose(heard[-1]["error at step 40"], 0.5 * noise, atol=1e-6)
    np.testing.assert_array_equal(heard[-1]["mixture"], listening.mixture)


def test_spectrograms_share_one_scale(listening, history):
    limits = set()
    for step in listening.steps:
        picture, _ = explore.loss_view(history, listening, step, "error")
        limits |= {axes.collections[0].get_clim() for axes in (picture.axes[1], picture.axes[3])}
    assert len(limits) == 1


def test_a_run_folder_is_read(listening, history, tmp_path):
    history.to_csv(tmp_path / "history.csv", index=False)
    for run in (tmp_path, str(tmp_path)):
        assert (
            explore.loss_view(run, listening)[0].png()
            == explore.loss_view(history, listening)[0].png()
        )


def test_silence_is_shown_not_refused(history):
    silence = np.zeros((1, RATE), np.float32)
    quiet = explore.Listening(silence, silence, {1: silence}, RATE)
    picture, sounds = explore.loss_view(history, quiet)
    assert picture.png() and "estimate at step 1   1.00 s  silent" in str(sounds)
