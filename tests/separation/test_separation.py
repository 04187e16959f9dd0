"""Separation of any length: exact lengths, no seams, bounded memory, bad input."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bsrnn import audio
from bsrnn.common import DataError, UsageError
from bsrnn.separation import RULES, separate, separate_file

RATE = 8000


class Gains:
    """Stems that are the mixture times a gain: whatever is wrong is the cutting."""

    stems, gains, sample_rate = ("all", "half", "minus"), (1.0, 0.5, -0.25), RATE

    def __call__(self, mixture):
        return torch.stack([gain * mixture for gain in self.gains], dim=1)  # (B, S, C, L)


class Stereo(Gains):
    """Takes two channels only; its stems are the mixture with its channels swapped."""

    channels = 2

    def __call__(self, mixture):
        assert mixture.shape[1] == 2
        return super().__call__(mixture.flip(1))


class Mono(Gains):
    channels = 1

    def __call__(self, mixture):
        assert mixture.shape[1] == 1
        return super().__call__(mixture)


class Picky(Gains):
    """Computes only the stems asked for, and counts."""

    def __init__(self):
        self.seen = []

    def forward(self, mixture, stems=None):
        self.seen.append(tuple(stems))
        rows = [self.stems.index(stem) for stem in stems]
        return super().__call__(mixture)[:, rows]

    __call__ = forward


class Borders(Gains):
    """Wrong within 5 % of both ends of every chunk, as networks are."""

    stems, gains = ("all",), (1.0,)

    def __call__(self, mixture):
        found = mixture.clone()
        edge = mixture.shape[-1] // 50
        found[..., :edge] += 1
        found[..., -edge:] -= 1
        return found[:, None]


def noise(samples, channels=2, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (channels, samples)).astype(np.float32)


@given(
    samples=st.integers(0, 3300),
    chunk=st.integers(1, 1100),
    overlap=st.sampled_from([0, 0.1, 0.25, 0.5, 0.75, 0.95]),
    batch=st.integers(1, 4),
    rule=st.sampled_from(sorted(name for name in RULES if RULES[name].level_kept)),
    shifts=st.integers(1, 3),
    channels=st.integers(1, 3),
)
@settings(deadline=None, max_examples=150)
def test_every_length_and_cut_gives_exact_length_and_no_seams(
    samples, chunk, overlap, batch, rule, shifts, channels
):
    mixture = noise(samples, channels)
    found = separate(
        Gains(), mixture, RATE, chunk / RATE, overlap, batch=batch, rule=rule, shifts=shifts,
        residual=True,
    )  # fmt: skip
    assert list(found) == ["all", "half", "minus", "residual"]
    for name, gain in [*zip(Gains.stems, Gains.gains, strict=True), ("residual", -0.25)]:
        assert found[name].shape == mixture.shape and found[name].dtype == np.float32
        assert np.abs(found[name] - gain * mixture).max(initial=0) < 1e-6


def test_what_a_network_gets_wrong_beside_a_cut_is_thrown_away():
    mixture = noise(10 * RATE)
    kept = separate(Borders(), mixture, RATE, chunk_s=1.0, overlap=0.25)["all"] - mixture
    edge = RATE // 50  # the two ends of the song have no neighbour to take over
    assert np.abs(kept[:, edge:-edge]).max() < 1e-6
    blended = separate(Borders(), mixture, RATE, 1.0, 0.25, rule="magronp")["all"] - mixture
    assert np.abs(blended[:, edge:-edge]).max() > 0.05


@pytest.mark.parametrize(
    ("separator", "channels"), [(Stereo, 1), (Stereo, 6), (Mono, 2), (Mono, 1)]
)
def test_other_channel_counts_go_channel_by_channel(separator, channels):
    mixture = noise(3000, channels)
    found = separate(separator(), mixture, RATE, chunk_s=0.1, batch=2)
    assert np.abs(found["half"] - 0.5 * mixture).max() < 1e-6
    swapped = separate(Stereo(), noise(3000), RATE, chunk_s=0.1)["all"]
    assert np.abs(swapped - noise(3000)[::-1]).max() < 1e-6


def test_mono_in_a_stereo_network_is_the_mean_of_both_outputs():
    class Uneven(Stereo):
        def __call__(self, mixture):
            return super().__call__(mixture) * torch.tensor([[1.0], [0.5]])

    assert np.allclose(separate(Uneven(), noise(99, 1), RATE)["all"], 0.75 * noise(99, 1))


def test_only_the_stems_asked_for_are_computed_in_the_order_asked_for():
    picky = Picky()
    found = separate(picky, noise(100), RATE, stems=("minus", "half"))
    assert list(found) == ["minus", "half"] and set(picky.seen) == {("minus", "half")}
    assert np.array_equal(found["minus"], -0.25 * noise(100))
    found = separate(Gains(), noise(100), RATE, stems=("minus",), residual=True)
    assert np.allclose(found["residual"], 1.25 * noise(100))


@pytest.mark.parametrize("rate", [4000, 11025, 48000])
def test_other_rates_come_back_at_their_rate_and_length(rate, caplog):
    t = np.arange(2 * rate + 7) / rate
    tone = np.array([0.5 * np.sin(2 * np.pi * 440 * t)] * 2, np.float32)
    with caplog.at_level("INFO"):
        found = separate(Gains(), tone, rate, chunk_s=0.3)["half"]
    assert found.shape == tone.shape and "resampling" in caplog.text
    assert ("nothing above 4000 Hz" in caplog.text) == (rate > RATE)
    inner = slice(rate // 4, -rate // 4)
    assert 20 * np.log10(np.abs(found - 0.5 * tone)[:, inner].max() / 0.5) < -80


def test_torch_in_numpy_out_and_training_mode_survives():
    class Network(torch.nn.Module):
        stems, sample_rate = ("all",), RATE

        def forward(self, mixture):
            assert not self.training and not torch.is_grad_enabled()
            return mixture[:, None]

    network = Network().train()
    found = separate(network, torch.ones(2, 50, requires_grad=True), RATE)["all"]
    assert isinstance(found, np.ndarray) and network.training


def test_real_network_of_any_length():
    from bsrnn.models import BandSplitSeparator, presets

    torch.manual_seed(0)
    network = BandSplitSeparator(presets()["tiny"])
    mixture = 0.1 * noise(44100)
    for samples in (1, network.config.stft.hop - 1, 2000, 44100):
        found = separate(network, mixture[:, :samples], 44100, chunk_s=0.4, residual=True)
        assert all(x.shape == (2, samples) for x in found.values())
        assert np.allclose(sum(found.values()), mixture[:, :samples], atol=1e-5)
    with torch.no_grad():
        whole = network(torch.from_numpy(mixture)[None])[0, 0].numpy()
    assert np.abs(separate(network, mixture, 44100)[network.stems[0]] - whole).max() < 1e-6


@pytest.mark.parametrize(
    ("mixture", "options", "message"),
    [
        (np.ones(5), {}, r"\(C, L\)"),
        (np.ones((500, 2)), {}, "transpose"),
        (np.array([[0.0, np.nan]]), {}, "NaN"),
        (np.array([[0.0, np.inf]]), {}, "infinite"),
        (np.ones((1, 9)), {"stems": ("hlaf",)}, "did you mean half"),
        (np.ones((1, 9)), {"overlap": 1}, "overlap"),
        (np.ones((1, 9)), {"chunk_s": 0}, "chunk_s"),
        (np.ones((1, 9)), {"rule": "contxt"}, "did you mean context"),
    ],
)
def test_bad_input_is_one_line(mixture, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        separate(Gains(), mixture, RATE, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("rate", [RATE, 11025])
def test_file_to_file_equals_the_array(tmp_path, suffix, rate):
    mixture = 0.9 * noise(5 * rate + 3)
    path = audio.write(tmp_path / f"My song{suffix}", mixture, rate)
    options = {"chunk_s": 0.7, "stems": ("half", "minus"), "residual": True, "batch": 2}
    expected = separate(Gains(), audio.read(path)[0], rate, **options)
    paths = separate_file(Gains(), path, tmp_path / "out", suffix=suffix, **options)
    assert list(paths) == ["half", "minus", "residual"]
    assert paths["half"] == tmp_path / "out" / "My song" / f"half{suffix}"
    for name, written in paths.items():
        found, found_rate = audio.read(written)
        assert found_rate == rate and found.shape == mixture.shape
        assert np.abs(found - expected[name].clip(-1, 1)).max() < 1e-6


def test_clipping_in_integer_formats_is_said(tmp_path, caplog):
    class Loud(Gains):
        gains = (3.0, 1.0, 1.0)

    path = audio.write(tmp_path / "a.wav", noise(2000), RATE)
    separate_file(Loud(), path, tmp_path, suffix=".flac")
    assert "all.flac is clipped" in caplog.text and "half" not in caplog.text


def test_stems_are_written_while_the_next_chunk_is_computed(tmp_path, monkeypatch):
    second, write = threading.Event(), audio.Writer.write

    class Told(Gains):
        calls = 0

        def __call__(self, mixture):
            self.calls += 1
            if self.calls == 2:
                second.set()
            return super().__call__(mixture)

    def waits(self, *block):
        assert second.wait(timeout=60)
        write(self, *block)

    path = audio.write(tmp_path / "a.wav", noise(RATE), RATE)
    monkeypatch.setattr(audio.Writer, "write", waits)
    written = separate_file(Told(), path, tmp_path, chunk_s=0.25)["half"]
    assert np.allclose(audio.read(written)[0], 0.5 * noise(RATE), atol=1e-6)


class Failing(Gains):
    def __init__(self, error, after=2):
        self.error, self.left = error, after

    def __call__(self, mixture):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().__call__(mixture)


@pytest.mark.parametrize(
    ("separator", "error"),
    [
        (Failing(KeyboardInterrupt()), KeyboardInterrupt),
        (Failing(RuntimeError("out of memory")), RuntimeError),
        (type("Diverged", (Gains,), {"gains": (float("nan"),) * 3})(), UsageError),
    ],
)
def test_interrupted_runs_leave_nothing(tmp_path, separator, error):
    path = audio.write(tmp_path / "in" / "a.wav", noise(5 * RATE), RATE)
    with pytest.raises(error):
        separate_file(separator, path, tmp_path / "out", chunk_s=0.5)
    assert not list((tmp_path / "out").rglob("*.*")) and not (tmp_path / "out" / "a").exists()


def test_places_that_cannot_be_written_leave_nothing(tmp_path):
    path = audio.write(tmp_path / "a.wav", noise(100), RATE)
    with pytest.raises(UsageError, match="end it in"):
        separate_file(Gains(), path, tmp_path / "out", suffix=".xyz")
    with pytest.raises(DataError, match="cannot write"):
        separate_file(Gains(), path, path)
    assert not (tmp_path / "out").exists()


PEAK = """
import re, sys
from test_separation import Gains
from bsrnn.separation import separate_file
separate_file(Gains(), sys.argv[1], sys.argv[2], chunk_s=4.0, residual=True)
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_duration(tmp_path):
    """30 s against 60 min, resampled on the way (16 CPU s). Not ru_maxrss: a child inherits its
    parent's."""
    rate, peaks = RATE // 2, []
    for seconds in (30, 3600):
        path = tmp_path / f"{seconds}.wav"
        with audio.Writer(path, rate, 1, "PCM_16") as file:
            for minute in range(seconds // 30):
                file.write(0.5 * noise(30 * rate, 1, seed=minute))
        command = [sys.executable, "-c", PEAK, path, tmp_path / "out"]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=Path(__file__).parent, check=True
        )
        peaks.append(float(done.stdout))
        assert audio.info(tmp_path / "out" / str(seconds) / "half.wav").samples == seconds * rate
    assert peaks[1] < 1.1 * peaks[0], peaks
