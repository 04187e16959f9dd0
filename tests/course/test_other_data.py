"""Lessons on other people's songs: three odd data sets, made here, in profile smoke.

Each lesson passes on each set, or refuses in its first cells with one line that says the fix. Two
pairs run always; all of them, about an hour of two cores, by

    OTHER_DATA=all PYTHONPATH=. pytest tests/course/test_other_data.py
"""

import os
import re

import numpy as np
import pytest
import soundfile
from conftest import NOTEBOOKS

from bsrnn.experiments import runner

LESSONS = sorted(path.stem[:2] for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
QUICK = [("01", "bright and short"), ("06", "other names, one silent")]  # run always
FIRST_CELLS = 12  # a lesson that refuses does so in these


def bright(random, rate, seconds, number):
    """Hiss above 3 kHz in short bursts: (C, L)."""
    time_s = np.arange(round(seconds * rate)) / rate
    hiss = np.diff(random.standard_normal((2, len(time_s) + 3)), 3)  # rises 18 dB per octave
    beats = np.exp(-((number + 2) * time_s % 1.0) * 6)
    return 0.05 * hiss * beats


def tuned(random, rate, seconds, number):
    """A scale of decaying tones with overtones, an octave higher for each stem: (1, L)."""
    time_s = np.arange(round(seconds * rate)) / rate
    steps = random.integers(0, 12, 1 + int(2 * seconds))[(2 * time_s).astype(int)]
    phase = 2 * np.pi * np.cumsum(55.0 * 2 ** (number + steps / 12)) / rate
    tone = sum(np.sin(k * phase) / k for k in (1, 2, 3))
    return 0.2 * (tone * np.exp(-(2 * time_s % 1.0) * 3))[None]


def write_set(folder, name, seed=0):
    """A folder of songs, `[subset/]song/stem.wav`: float wav, so that quiet stays exact."""
    random = np.random.default_rng(seed)
    rate, songs, seconds, gain, make = 44100, ["train"] * 4 + ["test"] * 2, 10.0, 1.0, tuned
    stems = ("drums", "bass", "other", "vocals")
    if name == "bright and short":
        seconds, make = 4.0, bright
    elif name == "quiet, mono, no test part":
        songs, gain = ["."] * 3, 10 ** (-60 / 20)
    elif name == "other names, one silent":
        stems = ("guitar", "piano", "choir")
    for number, subset in enumerate(songs):
        place = folder / subset / f"song {number}"
        place.mkdir(parents=True)
        for index, stem in enumerate(stems):
            sound = gain * make(random, rate, seconds, index)
            if stem == "choir":
                sound = 0 * sound
            soundfile.write(place / f"{stem}.wav", sound.T, rate, subtype="FLOAT")
    return folder


SETS = ["bright and short", "quiet, mono, no test part", "other names, one silent"]
PAIRS = [(lesson, name) for lesson in LESSONS for name in SETS]


@pytest.mark.parametrize("lesson, name", PAIRS if os.environ.get("OTHER_DATA") else QUICK)
def test_lesson_runs_or_refuses_in_one_line(lesson, name, tmp_path):
    folder = write_set(tmp_path / "songs", name)
    [path] = runner.select([lesson])
    given = {"dataset": str(folder), "out_dir": str(tmp_path / "out")}
    _, error = runner.execute(path, given)
    refused = re.search(r"cell (\d+) .*(UsageError|DataError): \S.*[:,;] ", error)
    assert not error or (refused and int(refused[1]) <= FIRST_CELLS), error
