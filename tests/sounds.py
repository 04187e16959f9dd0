"""Sounds for the tests, and files of them made by other programs than ours."""

import shutil
import subprocess

import numpy as np
import pytest

RATES_HZ = (8000, 11025, 22050, 32000, 44100, 48000, 96000, 192000)
WIDTHS = (1, 2, 6)


def tones(samples, rate, channels=2):
    """A sine per channel, 200 Hz and on in steps of 150, so that every rate and codec holds it."""
    time_s = np.arange(samples) / rate
    hz = 200 + 150 * np.arange(channels)
    return (0.3 * np.sin(2 * np.pi * hz[:, None] * time_s)).astype(np.float32)


def strongest_hz(waveform, rate):
    """The loudest frequency of each channel."""
    window = np.hanning(waveform.shape[1])
    spectrum = np.abs(np.fft.rfft(waveform * window, 1 << 17))
    return spectrum.argmax(axis=1) * rate / (1 << 17)


def run(tool, *words):
    """The output of ffmpeg or sox; the test is skipped, and says so, where it is not installed."""
    if not shutil.which(tool):
        pytest.skip(f"needs {tool} on the PATH")
    words = [str(word) for word in words]
    quiet = ["-v", "error", "-y"] if tool == "ffmpeg" else []
    done = subprocess.run([tool, *quiet, *words], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def decoded(path, channels):
    """What ffmpeg decodes, (C, L)."""
    raw = run("ffmpeg", "-i", path, "-map", "0:a:0", "-f", "f32le", "-")
    return np.frombuffer(raw, "<f4").reshape(-1, channels).T
