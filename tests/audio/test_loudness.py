"""Loudness: EBU's test signals, the standard's filter table, two other meters, bad input."""

import re
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from bsrnn import loudness
from bsrnn.common import UsageError

RATES = (48000, 44100, 32000)


def sine(*parts, hz=1000.0, rate=48000, channels=2):
    """(C, L): one sine whose level changes, of parts (dBFS peak, seconds)."""
    level = np.concatenate([np.full(round(s * rate), 10 ** (db / 20)) for db, s in parts])
    tone = level * np.sin(2 * np.pi * hz * np.arange(len(level)) / rate)
    return np.tile(tone, (channels, 1))


# EBU Tech 3341 (2023), table 1: what a meter must read within 0.1 LU
CASES = {
    "1": ([(-23, 20)], -23.0),
    "2": ([(-33, 20)], -33.0),
    "3, relative gate": ([(-36, 10), (-23, 60), (-36, 10)], -23.0),
    "4, both gates": ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23.0),
    "5": ([(-26, 20), (-20, 20.1), (-26, 20)], -23.0),
}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("parts, lufs", CASES.values(), ids=CASES)
def test_integrated_loudness_of_the_ebu_signals(parts, lufs, rate):
    assert loudness.integrated(sine(*parts, rate=rate), rate) == pytest.approx(lufs, abs=0.1)


def test_five_channels_of_ebu_case_6():
    parts = [sine((db, 20), channels=1) for db in (-28, -28, -24, -30, -30)]
    surround = np.concatenate(parts)  # L, R, C, Ls, Rs
    assert loudness.integrated(surround, 48000) == pytest.approx(-23.0, abs=0.1)
    bass = np.insert(surround, 3, sine((0, 20), hz=60, channels=1)[0], axis=0)
    assert loudness.integrated(bass, 48000) == loudness.integrated(surround, 48000)


@pytest.mark.parametrize(
    "parts, repeats, window_s, from_s",
    [([(-20, 1.34), (-30, 1.66)], 5, 3.0, 3.0), ([(-20, 0.18), (-30, 0.22)], 25, 0.4, 1.0)],
    ids=["9, short-term", "12, momentary"],
)
def test_loudness_over_time_of_the_ebu_signals(parts, repeats, window_s, from_s):
    times_s, lufs = loudness.over_time(sine(*parts * repeats), 48000, window_s)
    settled = lufs[times_s + window_s / 2 >= from_s - 1e-9]
    assert len(settled) > 50 and np.abs(settled + 23).max() <= 0.1
    assert np.diff(times_s) == pytest.approx(0.1) and times_s[0] == pytest.approx(window_s / 2)


def test_filter_is_that_of_the_standard_at_48_khz():
    shelf, high_pass = loudness.k_filter(48000)  # ITU-R BS.1770-4, tables 1 and 2
    table = [1.53512485958697, -2.69169618940638, 1.19839281085285]
    assert shelf == pytest.approx([*table, 1, -1.69065929318241, 0.73248077421585], abs=1e-10)
    expected = [1, -2, 1, 1, -1.99004745483398, 0.99007225036621]
    assert high_pass == pytest.approx(expected, abs=1e-10)


def test_full_scale_sine_on_one_channel():
    lufs = loudness.integrated(sine((0, 5), hz=997, channels=1), 48000)
    assert lufs == pytest.approx(-3.01, abs=0.01)


def noise(seconds, level, rate=44100):
    """(2, L): noise that swells from silence, so that both gates have work to do."""
    rng = np.random.default_rng(7)
    swell = np.linspace(0, 1, round(seconds * rate)) ** 3
    return level * swell * rng.standard_normal((2, len(swell)))


def test_agrees_with_torchaudio_where_that_is_right():
    torch = pytest.importorskip("torch")
    other = pytest.importorskip("torchaudio.functional").loudness
    for level in (0.003, 0.05):
        x = noise(12, level)
        lufs = loudness.integrated(x, 44100)
        assert other(torch.tensor(x), 44100) == pytest.approx(lufs, abs=0.1)
    loud = sine((0, 5), hz=8000)  # 0 dBFS: the shelf lifts it above full scale
    assert loudness.integrated(loud, 48000) - other(torch.tensor(loud), 48000).item() > 2.5
    assert np.isnan(other(torch.zeros(1, 48000), 48000))


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg not installed: another meter")
@pytest.mark.parametrize("rate, level", [(48000, 0.05), (44100, 0.6), (22050, 0.01)])
def test_agrees_with_ffmpeg(rate, level, tmp_path):
    x = noise(12, level, rate)
    soundfile.write(tmp_path / "noise.wav", x.T, rate, subtype="FLOAT")
    command = ["ffmpeg", "-nostats", "-i", tmp_path / "noise.wav", "-af", "ebur128", "-f", "null"]
    said = subprocess.run([*command, "-"], capture_output=True, text=True).stderr
    theirs = float(re.findall(r"I:\s+(-?[\d.]+) LUFS", said)[-1])
    rounded = 0.05 if rate == 48000 else 0.15  # it works at 48 kHz only, and resamples before
    assert loudness.integrated(x, rate) == pytest.approx(theirs, abs=rounded + 1e-6)


def test_gain_moves_loudness_by_as_much_and_silence_has_none():
    x = noise(5, 0.05)
    before = loudness.integrated(x, 44100)
    gain_db = loudness.gain_to(x, 44100, -30)
    assert loudness.integrated(x * 10 ** (gain_db / 20), 44100) == pytest.approx(-30, abs=0.05)
    assert gain_db == pytest.approx(-30 - before)
    assert loudness.integrated(np.zeros((1, 44100)), 44100) == float("-inf")
    assert loudness.integrated(sine((-75, 5)), 48000) == float("-inf")  # below the first gate
    with pytest.raises(UsageError, match="silence has no loudness"):
        loudness.gain_to(np.zeros((1, 44100)), 44100, -23)


def test_balance_gates_each_side_by_itself():
    rate = 48000
    stems = {"speech": sine((-26, 10), (-200, 10)), "music": sine((-33, 20), hz=440)}
    found = loudness.balance(stems, rate, "speech")
    alone = {name: loudness.integrated(x, rate) for name, x in stems.items()}
    assert (found.voice_lufs, found.rest_lufs) == (alone["speech"], alone["music"])
    assert found.ratio_lu == alone["speech"] - alone["music"]
    mix = sum(stems.values())
    assert found.peak_dbfs == pytest.approx(20 * np.log10(np.abs(mix).max()))
    assert found.mix_lufs == loudness.integrated(mix, rate)
    assert np.isnan(loudness.balance({"speech": mix}, rate, "speech").ratio_lu)
    with pytest.raises(UsageError, match="did you mean music"):
        loudness.balance(stems, rate, "musik")


def test_bad_input_is_one_line():
    for sound, words in (
        (np.zeros(44100), "one row per channel"),
        (np.zeros((3, 44100)), "1, 2, 5, 6 channels"),
        (np.zeros((1, 100)), "too short"),
        (np.full((1, 44100), np.nan), "NaN"),
    ):
        with pytest.raises(UsageError, match=words):
            loudness.integrated(sound, 44100)
