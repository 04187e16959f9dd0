"""The window laboratory: its formulas, its numbers, and every control over its range."""

import itertools

import numpy as np
import pytest
import torch

widgets = pytest.importorskip("ipywidgets")

from bsrnn import explore  # noqa: E402
from bsrnn.audio.stft import StftConfig, stft  # noqa: E402
from bsrnn.explore import windows  # noqa: E402

RATE = 44100
ADDED, DIVIDED = "error, added only (dB)", "error, divided by the sum (dB)"


@pytest.fixture(scope="module")
def sound():
    time_s = np.arange(2 * RATE) / RATE
    tone = 0.2 * np.sin(2 * np.pi * 440 * time_s)
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(time_s))
    return np.stack([tone, noise]).astype(np.float32)


def numbers(sound, *setting):
    return explore.window_view(sound, RATE, *setting)[1].iloc[:, 0]


@pytest.mark.parametrize("kind", ["hann", "hamming", "blackman"])
def test_windows_are_torch_s_periodic_ones(kind):
    want = getattr(torch, f"{kind}_window")(512, dtype=torch.float64).numpy()
    np.testing.assert_allclose(windows.window(kind, 512), want, atol=1e-12)
    np.testing.assert_allclose(
        windows.window("sine", 512) ** 2, windows.window("hann", 512), atol=1e-12
    )


def test_spectrum_is_that_of_the_package(sound):
    back = windows.round_trip(sound.astype(np.float64), windows.window("hann", 2048), 512)
    want = stft(sound, StftConfig(padding="constant"))  # (C, F, T)
    np.testing.assert_allclose(back["spectrum"], want, atol=1e-3)


def test_error_is_nothing_exactly_where_the_sum_allows_it(sound):
    short = sound[:, :6000]
    for kind, share in itertools.product(windows.KINDS, (5, 4, 3, 2, 1)):
        said = numbers(short, kind, 960, 960 // share)
        flat = said["constant (COLA)"] == "yes"
        assert (said[ADDED] == "below -200") == flat, (kind, share)
        assert (said[DIVIDED] == "below -200") == (said["never zero (NOLA)"] == "yes")
        # a window with m cosines in it: its square has 2m, constant from 2m + 1 frames a window on
        cosines = {"rectangular": 0, "sine": 0.5, "hann": 1, "hamming": 1, "blackman": 2}[kind]
        assert flat == (share >= 2 * cosines + 1)


def test_a_gap_between_frames_loses_what_lies_in_it(sound):
    said = numbers(sound, "rectangular", 512, 640)
    assert said["never zero (NOLA)"] == "no"
    assert float(said[DIVIDED]) == pytest.approx(10 * np.log10(128 / 640), abs=0.3)


def test_leakage_is_as_in_the_tables():
    for kind, lobe, side_db in (
        ("rectangular", 2, -13.3), ("hann", 4, -31.5), ("hamming", 4, -42.7),
        ("blackman", 6, -58.1), ("sine", 3, -23.0),
    ):  # fmt: skip  # Harris 1978, table 1
        _, level_db, main, side = windows.leakage(windows.window(kind, 1024))
        assert level_db[0] == 0 and main == pytest.approx(lobe, abs=0.07)
        assert side == pytest.approx(side_db, abs=0.2)


def test_edges_of_input_are_said_not_failed(sound):
    assert "undefined" in numbers(np.zeros((1, 9000)))[ADDED]
    assert numbers(sound[:, :1], "hann", 16384)[DIVIDED] == "below -200"  # one sample
