"""What the tests of training share: songs of tones in memory, a tiny network, a quick recipe.

The songs are synthetic: what is tested is the machinery, not the music.
"""

import dataclasses
import functools
import pathlib
import subprocess
import sys
import tempfile
import textwrap
from types import SimpleNamespace

import numpy as np
import torch

from bsrnn import losses, models
from bsrnn.training import TrainConfig, fit

HERE = pathlib.Path(__file__).resolve().parent
RATE, STEMS = 44100, ("drums", "vocals")
TINY = dataclasses.replace(
    models.presets()["tiny"], scheme="equal8", features=8, repeats=1, stems=("vocals",)
)
QUICK = TrainConfig(
    steps=4, batch=2, seconds_per_segment=0.3, checkpoint_every=2, log_every=1, lr=3e-3
)
CONSTANT = dataclasses.replace(QUICK, schedule="constant")  # may be made longer


class ToneSong:
    """Vocals: a low tone; drums: noise bursts. Easy to tell apart, so that learning shows."""

    def __init__(self, number, subset="train", seconds=1.5, spoil=None, rate=RATE):
        self.name, self.subset, self.stems = f"tone {number}", subset, STEMS
        self.sample_rate, self.channels, self.samples = rate, 2, int(seconds * RATE)
        self.duration_s, self.spoil = seconds, spoil
        rng = np.random.default_rng(number)
        times = np.arange(self.samples) / RATE
        tone = 0.2 * np.sin(2 * np.pi * rng.uniform(150, 300) * times)
        bursts = 0.2 * rng.standard_normal(self.samples) * (times % 0.25 < 0.05)
        pan = rng.uniform(0.3, 1, (2, 2, 1))
        self.audio = {
            "vocals": (pan[0] * tone).astype(np.float32),  # (C, L)
            "drums": (pan[1] * bursts).astype(np.float32),
        }

    def read(self, stem, start=0, samples=None):
        stop = self.samples if samples is None else start + samples
        audio = self.audio[stem][:, start:stop]
        return audio * np.nan if stem == self.spoil else audio

    def sources(self, start=0, samples=None):
        return {stem: self.read(stem, start, samples) for stem in STEMS}


class Songs:
    """The few names of a dataset that training reads."""

    stems, rung, split_hash = STEMS, "tones", "0"

    def __init__(self, songs):
        self.songs = songs
        self.sample_rate = songs[0].sample_rate if songs else RATE

    def __len__(self):
        return len(self.songs)

    def __iter__(self):
        return iter(self.songs)

    def subset(self, name):
        return Songs([song for song in self.songs if song.subset == name])


def songs(train=3, valid=1):
    kept = [ToneSong(number) for number in range(train)]
    return Songs(kept + [ToneSong(100 + number, "valid") for number in range(valid)])


def train(folder, config=QUICK, model=TINY, data=None, **options):
    data = songs(valid=0) if data is None else data
    options = {"progress": False, "device": "cpu"} | options
    return fit(model, config, data, folder, **options)


def steps(config, count):
    return dataclasses.replace(config, steps=count)


def weights(separator):
    return {name: value.clone() for name, value in separator.state_dict().items()}


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def close(one, two, tolerance=1e-5):
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=tolerance, msg=name)


def last(folder):
    return weights(models.load(pathlib.Path(folder) / "last.safetensors"))


def state(folder):
    return torch.load(pathlib.Path(folder) / "state.pt", weights_only=True)


def without_clock(history):
    return history.drop(columns=["seconds", "cpu_seconds"])


@functools.cache
def unbroken(config=QUICK, model=TINY):
    """A run that nothing stops, made once per process: what others are compared with."""
    folder = tempfile.TemporaryDirectory()
    result = train(folder.name, config, model)
    return SimpleNamespace(
        keep=folder,
        path=pathlib.Path(folder.name),
        last=last(folder.name),
        best=weights(result.separator),
        history=without_clock(result.history),
    )


def saved_bytes(separator, mixture):
    """Bytes that autograd keeps between forward and backward."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        estimate = separator.estimate(mixture)
        losses.loss("l1", *estimate, torch.zeros_like(estimate.waveforms))
    return sum(kept.values())


def scored(monkeypatch, values):
    """Validation that says these numbers, one after the other."""
    ahead = iter(values)
    monkeypatch.setattr("bsrnn.training.scores.validation", lambda *_: {"valid_usdr": next(ahead)})


def run_script(text, **options):
    """A Python process that runs `text`, with these tests and the package on its path."""
    head = f"import sys\nsys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]\n"
    words = [sys.executable, "-c", head + textwrap.dedent(text)]
    return subprocess.run(words, capture_output=True, text=True, timeout=600, **options)
