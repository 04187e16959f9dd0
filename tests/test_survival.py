"""A corpus of what once broke: for each kind of fault at least ten instances.

Every one ends in one line that names the fix, at once, in little memory, and leaves nothing behind.
Hostile notebooks are in test_grading, states of a training in test_training_faults, checkpoints in
test_checkpoints. `SURVIVAL=10000` runs the fuzzing at length.
"""

import contextlib
import json
import os
import resource
import signal
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bsrnn
from bsrnn import audio, bands, cli, data, evaluation, listen, metrics, plots, separation
from bsrnn.common import NOTEBOOKS, UsageError, csv_text, printable, sweep, unfinished, write_text
from bsrnn.course import alike, stamp
from bsrnn.course.capstone import checks
from bsrnn.course.sandbox import Sandbox
from bsrnn.course.world import program
from bsrnn.data import mixing, toyband
from bsrnn.evaluation.report import Report
from bsrnn.experiments import Sweep
from bsrnn.experiments.plan import read_plan
from bsrnn.models import ModelConfig
from bsrnn.separation import engine
from bsrnn.training import TrainConfig

RATE = 44100
FUZZ = settings(max_examples=int(os.environ.get("SURVIVAL", "30")), deadline=None)
MEMORY = 4 << 30  # bytes of address space that an attack may ask for on top


@pytest.fixture(autouse=True)
def bounded():
    """No test of this file may ask for gigabytes."""
    if sys.platform != "linux":
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def refused(function, *arguments):
    """The one line with which it is refused."""
    with pytest.raises(UsageError) as caught:
        function(*arguments)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 1000
    return line


def noise(channels=2, samples=4000):
    return np.random.default_rng(0).standard_normal((channels, samples)) * 0.1


def command(capsys, *words):
    """(exit code, last line of stderr)."""
    code = cli.main([str(word) for word in words])
    lines = capsys.readouterr().err.splitlines()
    assert not any("Traceback" in line or "BSRNN_DEBUG" in line for line in lines), lines
    return code, lines[-1] if lines else ""


def content(folder) -> dict:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Half:
    stems, sample_rate = ("half",), RATE

    def __call__(self, mixture):
        return 0.5 * mixture[:, None]


# -- a batch survives each of its items ------------------------------------------------------------


def header(rate=RATE, channels=2, declared=4000, bits=16, form=1, sound=b"\0" * 400) -> bytes:
    """A wav file that says of itself what one likes."""
    width = channels * bits // 8 % 65536
    parts = struct.pack("<HHIIHH", form, channels, rate, rate * width & 0xFFFFFFFF, width, bits)
    chunks = b"fmt " + struct.pack("<I", 16) + parts + b"data" + struct.pack("<I", declared)
    return b"RIFF" + struct.pack("<I", 36 + declared) + b"WAVE" + chunks + sound


DAMAGED = {
    "empty": b"",
    "text": b"no sound",
    "cut": header()[:30],
    "without channels": header(channels=0),
    "of 1 Hz": header(rate=1),
    "of 0 Hz": header(rate=0),
    "of 4 GHz": header(rate=2**32 - 1),
    "of 65535 channels": header(channels=65535),
    "of 0 bits": header(bits=0),
    "of no known form": header(form=0x1234),
    "not finite": header(form=3, bits=32, sound=struct.pack("<4f", *[float("nan")] * 4)),
    "zeros": bytes(5000),
    "html": b"<!DOCTYPE html><html></html>",
    "zip": b"PK\x03\x04" + bytes(100),
}


def test_a_damaged_song_costs_itself_only(tmp_path):
    for number, bytes_ in enumerate(DAMAGED.values()):
        (tmp_path / f"{number}.wav").write_bytes(bytes_)
    soundfile.write(tmp_path / "sound.wav", noise().T, RATE)
    files = separation.find([tmp_path])
    results = dict(separation.separate_files(Half(), files, tmp_path / "out"))
    made = [path.name for path, result in results.items() if not isinstance(result, Exception)]
    assert made == ["sound.wav"]
    for result in results.values():
        assert isinstance(result, UsageError | dict), repr(result)
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["half.wav"]


@pytest.mark.parametrize("bad", [*DAMAGED])
def test_a_damaged_stem_costs_its_song_only(tmp_path, bad):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for stem in ("drums", "vocals"):
            soundfile.write(tmp_path / name / f"{stem}.wav", noise().T, RATE)
    (tmp_path / "b" / "vocals.wav").write_bytes(DAMAGED[bad])
    if bad == "not finite":
        soundfile.write(tmp_path / "b" / "vocals.wav", noise().T * np.nan, RATE, "FLOAT")
        assert "NaN" in data.open(tmp_path).table()["note"][1]
        return
    with pytest.warns(data.DataWarning, match="song 'b'"):
        assert [song.name for song in data.open(tmp_path)] == ["a"]


def test_a_claim_of_any_kind_is_only_wrong():
    for claim in (
        10**400,
        -(10**400),
        float("nan"),
        float("inf"),
        "5",
        [5],
        {},
        True,
        1e308,
        2**70,
    ):
        assert not checks._same(claim, 5.0, 0.05)


# -- nothing is lost before the new is whole -------------------------------------------------------

TRAIN = ["train", "tiny", "--dataset", "SONGS", "--steps", 1, "--device", "cpu", "--out", "RUN"]
RESULTS = ["state.pt", "best.safetensors", "last.safetensors", "card.json", "history.csv"]


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    return toyband.make(tmp_path_factory.mktemp("survival") / "songs", 2, 1, seconds=2.0)


@pytest.mark.parametrize(
    "words",
    [
        TRAIN,
        [*TRAIN, "--resume"],
        [*TRAIN, "--overwrite", "-p", "featurs", 8],
        [*TRAIN, "--overwrite", "-p", "lr", "nan"],
        [*TRAIN, "--overwrite", "-p", "features", -8],
        [*TRAIN, "--overwrite", "--minutes", "nan"],
        [*TRAIN, "--overwrite", "--stems", "flute"],
        [*TRAIN, "--overwrite", "--scheme", "v99"],
        [*TRAIN, "--overwrite", "--initial", "RUN/best.safetensors"],
        [*TRAIN, "--overwrite", "--initial", "nowhere.safetensors"],
        [*TRAIN, "--overwrite", "--devices", 10_000],
        [*TRAIN, "--overwrite", "--freeze", "split"],
        [*TRAIN, "--overwrite", "-p", "seconds_per_segment", 60],
        ["toy", "RUN"],
        ["data", "repair", "SONGS", "RUN"],
        ["course", "copy", "RUN"],
    ],
)
def test_a_refused_command_leaves_a_run_as_it_is(tmp_path, capsys, songs, words):
    for name in RESULTS:
        (tmp_path / name).write_bytes(name.encode())
    before = content(tmp_path)
    words = [str(word).replace("SONGS", str(songs)) for word in words]
    code, line = command(capsys, *[word.replace("RUN", str(tmp_path)) for word in words])
    assert code in (1, 2) and line.startswith("bsrnn: ")
    assert {p: b for p, b in content(tmp_path).items() if p.name != ".lock"} == before


def test_threads_that_make_one_toy_set_share_it(tmp_path):
    make = lambda _: toyband.make(tmp_path / "set", 1, 0, seconds=2.0)  # noqa: E731
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(make, range(4))) == {tmp_path / "set"}
    assert os.listdir(tmp_path) == ["set"] and len(data.open(tmp_path / "set")) == 1


# -- the wrong kind of sound -----------------------------------------------------------------------

WRONG = [
    ((noise() * 3000).astype(np.int16), "is int16, full scale is 1.0 here: give array / 32768"),
    (np.full((2, 4000), 128, np.uint8), "give (array - 128.0) / 128"),
    (np.ones((2, 4000), np.int32), "give array / 2147483648"),
    (np.ones((2, 4000), bool), "of type bool"),
    (noise() * 1j, "is complex"),
    (np.ma.masked_less(noise(), 0), "masked array: fill it"),
    (np.full((2, 4000), "x"), "of type"),
    (np.full((2, 4000), None), "of type object"),
    ([[0.1, 0.2], [0.1]], "no array"),
    (None, "of type object"),
    (torch.ones(2, 4000, dtype=torch.int16), "int16"),
    (torch.ones(2, 4000, dtype=torch.complex64), "is complex"),
]
TAKERS = {
    "separate": lambda x: separation.separate(Half(), x, RATE),
    "write": lambda x: audio.write("never.wav", x, RATE),
    "resample": lambda x: audio.resample(x, RATE, 8000),
    "to_channels": lambda x: audio.to_channels(x, 1),
    "players": lambda x: listen.players({"x": x}, RATE),
    "ab": lambda x: listen.ab({"x": x, "y": x}, RATE),
    "usdr": lambda x: metrics.usdr(noise(), x),
    "si_sdr": lambda x: metrics.si_sdr(x, noise()),
    "score": lambda x: metrics.score({"v": noise()}, {"v": x}, RATE),
    "waveforms": lambda x: plots.waveforms({"x": x}, RATE),
    "stft": bsrnn.stft.stft,
    "band_sound": lambda x: listen.band_sound(x, bands.scheme("v4"), 0),
    "loudness": lambda x: bsrnn.loudness.integrated(x, RATE),
    "distort": lambda x: bsrnn.distort.distort("gain", {"x": x, "y": x}, "x", RATE),
    "leakage": lambda x: bsrnn.leakage.band_leakage({"x": x}, {"x": x}, bands.scheme("v4")),
    "oracle": lambda x: bsrnn.masks.oracle_estimates("binary", x),
}


@pytest.mark.parametrize("taker", [*TAKERS])
def test_sound_of_a_wrong_kind_is_refused_everywhere(tmp_path, monkeypatch, taker):
    monkeypatch.chdir(tmp_path)
    for array, words in WRONG:
        assert words in refused(TAKERS[taker], array)
    assert not os.listdir(tmp_path)


def test_torch_sound_with_a_gradient_and_separators_of_numpy_are_taken():
    grad = torch.tensor(noise(), requires_grad=True)
    assert metrics.usdr(noise(), grad) > 100 and audio.sound(grad).dtype == np.float64

    class Numpy(Half):
        def __call__(self, mixture):
            return np.asarray(mixture)[:, None]

    separated = separation.separate(Numpy(), noise(), RATE)["half"]
    assert np.allclose(separated, noise(), atol=1e-5)


# -- texts that are not what they should be --------------------------------------------------------

TEXTS = [
    "", "null", "5", "[]", '"text"', "{", "[" * 100_000, '{"a": 1', "NaN", '{"n": ' + "9" * 5000,
    '{"no such field": 1}', '{"grid": 5}', '{"stems": null}', '{"features": "x"}', "\0",
]  # fmt: skip
PARSERS = {
    "ModelConfig": ModelConfig.from_json,
    "TrainConfig": TrainConfig.from_json,
    "Recipe": mixing.Recipe.from_json,
    "Sweep": Sweep.from_json,
    "BandScheme": bands.BandScheme.from_json,
}


@pytest.mark.parametrize("parser", [*PARSERS])
def test_text_that_is_no_setting_is_refused(parser):
    for text in TEXTS:
        refused(PARSERS[parser], text)


FILES = {
    "evaluation.json": lambda folder: evaluation.evaluate(None, data.open("clip"), out_dir=folder),
    "report.json": Report.load,
    "plan.json": read_plan,
    "toyband.json": lambda folder: toyband.make(folder, 1, 0, seconds=2.0),
    "bands.json": lambda folder: bands.read(folder / "bands.json"),
    "bands.csv": lambda folder: bands.read(folder / "bands.csv"),
    "songs.csv": lambda folder: data.open(folder / "songs.csv"),
}


@pytest.mark.parametrize("name", [*FILES])
def test_a_file_that_is_not_ours_is_refused(tmp_path, name):
    edge = "5" if name == "bands.csv" else None
    texts = [text.encode() for text in TEXTS[:9] if text != edge]
    for bytes_ in [*texts, b"\xff\xfe\0", b"a,b\n\xe9,\0\n"]:
        (tmp_path / name).write_bytes(bytes_)
        refused(FILES[name], tmp_path)
        assert content(tmp_path) == {tmp_path / name: bytes_}


# -- signals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize(
    "words",
    [
        ["toy", "OUT", "-p", "seconds", 2], ["data", "repair", "SONGS", "OUT"],
        ["activity", "--dataset", "SONGS", "--out", "OUT"], ["data", "check", "SONGS"],
        ["separate", "SONGS/test", "--out", "OUT", "--shifts", 4],
        ["evaluate", "music", "--dataset", "SONGS", "--out", "OUT", "--subset", "all"],
        ["course", "grade", "SUBMISSIONS", "--assignment", "a1", "--out", "OUT.csv"],
    ],
)  # fmt: skip
def test_a_signal_leaves_nothing_half_made(tmp_path, capsys, monkeypatch, songs, number, words):
    """In the middle of its third file, pass of a network or question."""
    seen = []

    def stops(function):
        def call(*arguments, **options):
            seen.append(1)
            if len(seen) == 3:
                os.kill(os.getpid(), number)
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(soundfile, "write", stops(soundfile.write))
    monkeypatch.setattr(audio, "read", stops(audio.read))
    monkeypatch.setattr(os, "link", stops(os.link))
    monkeypatch.setattr(engine, "estimate", stops(engine.estimate))
    monkeypatch.setattr(Sandbox, "call", stops(Sandbox.call))
    places = {"SONGS": songs, "SUBMISSIONS": NOTEBOOKS / "assignments" / "source" / "a1"}
    for name, place in places.items():
        words = [str(word).replace(name, str(place)) for word in words]
    before = signal.signal(number, signal.default_int_handler)  # as nohup would have it ignored
    try:
        code, line = command(capsys, *[w.replace("OUT", str(tmp_path / "out")) for w in words])
    finally:
        signal.signal(number, before)
    assert code == 130 and "interrupted" in line
    resumed = ".json" if words[0] == "evaluate" else None  # goes on after the last whole song
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != resumed]
    assert not [p for p in psutil.Process().children() if "world" in " ".join(p.cmdline())]


def test_what_a_killed_process_left_is_swept_before_the_first_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)  # beyond what Linux gives
    unfinished(tmp_path / "a").write_text("half")
    (folder := unfinished(tmp_path / "b")).mkdir()
    (folder / "half").write_text("")
    monkeypatch.undo()
    (living := unfinished(tmp_path / "d")).write_text("of a process that still writes")
    sweep.cache_clear()
    write_text(tmp_path / "c", "")
    assert sorted(os.listdir(tmp_path)) == sorted([living.name, "c"])


# -- numbers ---------------------------------------------------------------------------------------

NUMBERS = [
    ["cost", "tiny", "--seconds", each] for each in ("inf", "nan", "1e400", "-1", "0", "1e12")
] + [
    ["cost", "tiny", "-p", *pair]
    for pair in (
        ("features", "-8"), ("features", "0x10"), ("features", "1:30"), ("features", 10**11),
        ("repeats", 10**6), ("n_fft", 10**9), ("n_fft", 1), ("hop", 0), ("sample_rate", 1),
        ("channels", 10**5), ("mask_hidden", 10**7), ("frames", -7), ("frames", 10**8),
        ("stems", "[1]"), ("norm_eps", "nan"), ("tac", "5"), ("block", "5"), ("scheme", "5"),
    )
] + [
    ["cost", "tiny", "--measure", "--threads", 100_000],
    ["cost", "tiny", "--measure", "--repeats", 0],
    ["separate", "SONG", "--threads", 100_000],
    ["separate", "SONG", "--threads", -1],
    ["separate", "SONG", "--shifts", 0],
    ["separate", "SONG", "--device", "cuda:99"],
    ["separate", "SONG", "--device", "banana"],
    ["separate", ""],
    ["separate", "SONG", "--stems", ""],
    ["evaluate", "music", "--workers", 0],
    ["evaluate", "music", "--device", "cuda:99"],
    ["train", "tiny", "--minutes", "nan"],
    ["train", "tiny", "--share", "nan"],
    ["train", "tiny", "--steps", -5],
    ["train", "tiny", "--seed", 10**40],
    ["train", "tiny", "--dataset", ""],
    ["train", "tiny", "--plan", "--memory-gb", "nan"],
    ["bands", "v7", "--sample-rate", 1],
    ["bands", "v7", "--n-fft", 10**9],
    ["toy", "OUT", "-p", "seconds", "nan"],
    ["toy", "OUT", "-p", "seconds", 10**9],
    ["toy", "OUT", "-p", "train", 10**6],
    ["toy", "OUT", "-p", "train", -1],
    ["toy", "OUT", "--seed", -1],
    ["toy", "SONG"],
    ["sweep", "run", "-p", "seed", "0,1", "--threads", 100_000],
    ["sweep", "run", "-p", "seed", "0,1", "--workers", -1],
    ["sweep", "run", "-p", "seed", "0,1", "--timeout", "nan"],
    ["sweep", "run", "-p", "seed", "0,1", "--margin-db", "nan"],
    ["course", "run", "02", "--timeout", -1],
    ["course", "board", "OUT", "--tolerance", "nan"],
    ["course", "board", "OUT", "--max-parameters", "-1"],
]  # fmt: skip


def test_numbers_are_in_range_before_work_begins(tmp_path, capsys):
    soundfile.write(tmp_path / "song.wav", noise().T, RATE)
    places = {"SONG": tmp_path / "song.wav", "OUT": tmp_path / "out"}
    taken = []
    for words in NUMBERS:
        code, line = command(capsys, *(places.get(word, word) for word in words))
        if code != 2 or not line.startswith("bsrnn: "):
            taken.append((words, code, line))
    assert not taken
    assert os.listdir(tmp_path) == ["song.wav"]


# -- words that are not code -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../x", "a/..", "a/.", "", "a/b/c", "a b/c", "a/$(x)", "a/b\nc", "a/b'", "ä/b", "a/b?c=1"],
)
def test_a_repository_is_a_name(name):
    assert "write --repository owner/name" in refused(stamp.restamp, name)


@pytest.mark.filterwarnings("ignore:Glyph")  # the font has no ESC
@pytest.mark.parametrize(
    "name", ["$x$", r"$\frac$", "$", "a_b^c", "<b>", "&amp;", "=1+1", "\x1b[2J"]
)
def test_names_stay_names_in_figures_terminals_and_tables(name):
    sounds = {name: noise(), f"{name} 2": noise()}
    assert plots.waveforms(sounds, RATE, title=name).png().startswith(b"\x89PNG")
    assert "\x1b" not in printable(name)
    text = csv_text(pd.DataFrame({name: [name]}), index=False).splitlines()[1]
    assert not text.strip('"').startswith(("=", "+", "-", "@"))
    assert f"<{name}" not in listen.players(sounds, RATE).html


# -- at random -------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([10**400, -1, 2**40, "v7", "N", "rnn", "roformer", "usdr"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5) | st.sampled_from(["kind", "n_fft"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def edited(base: dict):
    """One or two fields of a JSON object with any value."""
    return st.dictionaries(st.sampled_from([*base]), JSON, max_size=2).map(lambda new: base | new)


BASES = {
    "ModelConfig": json.loads(ModelConfig().to_json()),
    "TrainConfig": json.loads(TrainConfig().to_json()),
    "Recipe": json.loads(mixing.Recipe().to_json()),
    "Sweep": json.loads(Sweep({"seed": [0, 1]}).to_json()),
    "BandScheme": json.loads(bands.scheme("v7").to_json()),
}


@pytest.mark.parametrize("parser", [*BASES])
def test_any_settings_are_taken_or_refused(parser):
    @FUZZ
    @given(edited(BASES[parser]) | JSON)
    def check(values):
        try:
            PARSERS[parser](json.dumps(values)).to_json()
        except UsageError as error:
            assert "\n" not in str(error)

    check()


LINE = st.text(max_size=9) | st.sampled_from(
    ["x = 1", "def f(x):\n    return x", "def f(:", "%%bash", "!ls", "global x", "return", "\0",
     "\ud800", "[" * 300, "from x import *", "class A(f): pass", "x[0].y += 1", "lambda: (yield)"]
)  # fmt: skip
SOURCE = LINE | st.lists(LINE, max_size=3) | JSON
CELL = st.fixed_dictionaries({"cell_type": st.just("code") | JSON, "source": SOURCE}) | JSON


@FUZZ
@given(st.binary(max_size=9) | JSON | st.fixed_dictionaries({"cells": st.lists(CELL, max_size=4)}))
def test_any_notebook_is_read_or_refused(notebook):
    """As the student's process reads it, which is not started here."""
    notebook = notebook if isinstance(notebook, bytes) else json.dumps(notebook).encode()
    assert isinstance(alike.runs(notebook), set)
    with contextlib.suppress(program.Missing):
        found, _ = program.statements(program.code_cells(notebook))
        for name in ("f", "x", "A"):
            program.flags_of(program.needed(found, name), *[set()] * 4)


@FUZZ
@given(st.binary(max_size=60), st.integers(0, 43), st.integers(0, 2**32 - 1))
def test_any_audio_header_is_read_or_refused(tmp_path_factory, noise_, place, word):
    path = tmp_path_factory.getbasetemp() / "fuzzed.wav"
    sound = bytearray(header(sound=bytes(400)))
    sound[place : place + len(noise_)] = noise_
    sound[place : place + 4] = struct.pack("<I", word)
    path.write_bytes(sound)
    try:
        with audio.Reader(path) as file:
            file.read(1000)
    except UsageError as error:
        assert "\n" not in str(error)
