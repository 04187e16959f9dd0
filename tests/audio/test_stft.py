"""STFT: against scipy, exact inverse, every setting, errors that help."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from bsrnn.audio.stft import WINDOWS, StftConfig, istft, stft
from bsrnn.common import UsageError


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("window", WINDOWS)
def test_equals_scipy(window):
    config = StftConfig(256, 64, window)
    x = noise(2, 2000)
    w = signal.get_window(window, 256)  # periodic, as ours
    padded = np.pad(x.numpy(), ((0, 0), (128, 128)), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 256, axis=-1)[:, ::64]
    expected = np.fft.rfft(frames * w).transpose(0, 2, 1)  # (C, F, T)
    found = stft(x, config)
    assert found.shape == (2, 129, 32) == (2, config.bins, config.frames(2000))
    assert np.abs(found.numpy() - expected).max() < 1e-4


@given(
    st.sampled_from(list(WINDOWS)),
    st.sampled_from(["reflect", "constant"]),
    st.sampled_from(["none", "window", "length"]),
    st.integers(300, 3000),
)
@settings(max_examples=20, deadline=None)
def test_inverse_gives_every_sample_back(window, padding, scale, samples):
    config = StftConfig(512, 128, window, padding, scale)
    x = noise(2, 3, samples, seed=samples)
    assert (istft(stft(x, config), config, samples) - x).abs().max() < 1e-5


def test_scales_divide():
    x = noise(1, 4096)
    plain = stft(x, StftConfig(1024, 256))
    norm = float(np.sqrt((signal.get_window("hann", 1024) ** 2).sum()))
    assert torch.allclose(stft(x, StftConfig(1024, 256, scale="window")) * norm, plain, atol=1e-4)
    assert torch.allclose(stft(x, StftConfig(1024, 256, scale="length")) * 32, plain, atol=1e-4)


def test_numpy_in_numpy_out():
    x = noise(2, 5000).numpy()
    spectrum = stft(x)
    assert isinstance(spectrum, np.ndarray) and spectrum.dtype == np.complex64
    assert np.abs(istft(spectrum, StftConfig(), 5000) - x).max() < 1e-5


def test_the_window_of_inference_still_trains():
    config = StftConfig(130, 65)  # nobody else's: not yet in the cache
    with torch.inference_mode():
        stft(noise(1, 1000), config)
    x = noise(1, 1000).requires_grad_()
    stft(x, config).abs().sum().backward()
    assert x.grad.abs().sum() > 0


def test_bad_input_says_the_fix():
    with pytest.raises(UsageError, match="pad with zeros to at least 1025"):
        stft(noise(1, 1024))
    assert stft(noise(1, 1), StftConfig(padding="constant")).shape == (1, 1025, 1)
    with pytest.raises(UsageError, match="513"):
        istft(stft(noise(1, 3000)), StftConfig(1024, 512), 3000)
    with pytest.raises(UsageError, match="did you mean hann"):
        StftConfig(window="han")
    with pytest.raises(UsageError, match="hop"):
        StftConfig(512, 1024)
