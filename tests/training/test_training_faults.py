"""What breaks a long run: each gives one line with the fix, and the last state goes on.

A run is broken between its checkpoints and then resumed, and the weights are those of a run that
nothing broke.
"""

import dataclasses
import os
import signal
import time
import traceback
from multiprocessing import resource_sharer
from pathlib import Path

import numpy as np
import pytest
import tones
import torch
from tones import CONSTANT, QUICK, Songs, ToneSong, equal, last, songs, state, train, unbroken

from bsrnn import cli, losses
from bsrnn.common import DataError, UsageError, stopping_signals
from bsrnn.data import mixing, toyband
from bsrnn.training.run import Run

CONFIG = dataclasses.replace(QUICK, steps=6, recipe="plain")


class FailingSong(ToneSong):
    """Reads well `good` times, then fails as told. The mixer keeps nothing of it in memory."""

    def __init__(self, number, fail=None, good=0):
        super().__init__(number)
        self.fail, self.good, self.reads = fail, good, 0

    def read(self, stem, start=0, samples=None):
        self.reads += 1
        audio = super().read(stem, start, samples)
        return self.fail(audio) if self.fail and self.reads > self.good else audio


def io_error(_):
    raise DataError("drums.wav: cannot be read (Input/output error): check the disk")


def turns_to_nan(audio):
    return audio * np.nan


def killed(_):
    os.kill(os.getpid(), signal.SIGKILL)


def nobody_answers(_):
    """A worker dies while it hands a batch over: Python's pipe breaks first."""
    resource_sharer._resource_sharer.get_connection(("/nowhere", 1))


def signalled_late(_):
    """The same, and torch tells of the death while we look at the broken pipe."""

    def once(_, walk=traceback.walk_tb):
        traceback.walk_tb = walk
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    traceback.walk_tb = once
    nobody_answers(_)


DIED = "a worker process died.*lower workers"


@pytest.fixture
def uncached(monkeypatch):
    """Every read goes to the song."""
    whole = mixing.RandomMixer.__init__

    def without(self, *args, **options):
        whole(self, *args, **options | {"cache_bytes": 0})

    monkeypatch.setattr(mixing.RandomMixer, "__init__", without)


@pytest.mark.parametrize(
    ("fail", "workers", "words"),
    [
        (io_error, 0, "Input/output error"),
        (io_error, 1, "Input/output error"),
        (turns_to_nan, 1, r"NaN or infinite samples in song 'tone 0', .*repair or remove"),
        (killed, 1, DIED),
        (nobody_answers, 0, DIED),
        (signalled_late, 0, DIED),
    ],
)
def test_songs_that_break_while_training(tmp_path, uncached, fail, words, workers):
    # one read to look for sound, two per example: it breaks after the second checkpoint's batch
    bad = Songs([FailingSong(0, fail, good=20 + (3 if workers else 0))])
    config = dataclasses.replace(CONFIG, workers=workers)
    with pytest.raises(DataError, match=words) as caught:
        train(tmp_path, config, data=bad)
    assert "\n" not in str(caught.value)
    assert state(tmp_path)["step"] in (2, 4)
    assert not list(tmp_path.glob(".new-*"))
    good = Songs([FailingSong(0)])
    train(tmp_path, config, data=good, resume=True)
    train(tmp_path / "through", CONFIG, data=good)
    assert equal(last(tmp_path), last(tmp_path / "through"))


FULL = """
    import resource, signal
    from tones import CONSTANT, train
    from bsrnn.common import DataError

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for limit in {limits}:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            train({folder!r}, CONSTANT, resume=True)
        except DataError as error:
            print(error)
"""


def test_files_that_cannot_grow_leave_the_state_before(tmp_path):
    """The system refuses to write more, as a full disk does, at two files of a checkpoint."""
    train(tmp_path, tones.steps(CONSTANT, 2))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    limits = [len(before[name]) // 2 for name in ("best.safetensors", "state.pt")]
    done = tones.run_script(FULL.format(limits=limits, folder=str(tmp_path)))
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    for line, name in zip(lines, ("best.safetensors", "state.pt"), strict=True):
        assert "cannot write" in line and name in line and "make room, then resume" in line
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    train(tmp_path, CONSTANT, resume=True)
    assert equal(last(tmp_path), unbroken(CONSTANT).last)


def cut(path):
    path.write_bytes(path.read_bytes()[:1000])


def rewrite(**parts):
    return lambda path: torch.save(torch.load(path, weights_only=True) | parts, path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x80\x02 no state"),
        lambda path: torch.save({"weights": torch.zeros(3)}, path),
        lambda path: torch.save({"format": Path("x")}, path),  # wants to run
        lambda path: torch.save(torch.zeros(3), path),
        cut,
        rewrite(separator={"split": torch.zeros(3)}),
        rewrite(optimizer={}),
        rewrite(identity="null"),
    ],
)
def test_a_damaged_or_foreign_state_is_one_line_that_names_it(tmp_path, damage):
    train(tmp_path, tones.steps(CONSTANT, 2))
    damage(tmp_path / "state.pt")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(DataError, match=r"state\.pt is damaged or no state .*overwrite") as caught:
        train(tmp_path, CONSTANT, resume=True)
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# -- numbers and arguments ------------------------------------------------------------------------


def test_a_nan_song_is_named_and_its_batch_is_kept(tmp_path):
    bad = Songs([ToneSong(0), ToneSong(1, spoil="drums")])
    words = r"in song 'tone 1', drums, from \d\.\d\d s.*batch kept in bad_batch.pt"
    with pytest.raises(DataError, match=words) as caught:
        train(tmp_path, dataclasses.replace(QUICK, steps=50, checkpoint_every=1), data=bad)
    assert "\n" not in str(caught.value)
    kept = torch.load(tmp_path / "bad_batch.pt", weights_only=True)
    assert not torch.isfinite(kept["mixture"]).all() and len(kept["index"]) == 2


def test_numbers_that_break_by_themselves_stop_the_run(tmp_path, monkeypatch):
    real, calls = losses.loss, []

    def breaks(*args):
        calls.append(1)
        return real(*args) * (np.nan if len(calls) == 4 else 1)

    monkeypatch.setattr("bsrnn.losses.loss", breaks)
    with pytest.raises(DataError, match=r"loss is not finite at step 4 .*song 'tone"):
        train(tmp_path)
    assert (tmp_path / "bad_batch.pt").exists()
    assert state(tmp_path)["step"] == 2
    monkeypatch.setattr("bsrnn.losses.loss", real)
    lower = dataclasses.replace(QUICK, lr=1e-3)
    assert train(tmp_path, lower, resume=True).card["steps"] == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config": dataclasses.replace(QUICK, seconds_per_segment=9)}, "at most 1.50"),
        ({"model": dataclasses.replace(tones.TINY, stems=("vocal",))}, "did you mean vocals"),
        ({"model": None}, "give a model_config"),
        ({"device": "cuda"}, "use device='cpu'"),
        ({"data": Songs([ToneSong(0, rate=8000)])}, "8000 Hz, the model 44100"),
    ],
)
def test_bad_input_is_one_line_with_the_fix(tmp_path, change, words):
    if "device" in change and torch.cuda.is_available():
        pytest.skip("a CUDA device is there")
    with pytest.raises(UsageError, match=words) as caught:
        train(tmp_path, **{"data": songs()} | change)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.glob("*.safetensors"))


# -- the command line, signals --------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_command_as_ctrl_c_does(number):
    cleaned = []
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=signal.Signals(number).name), stopping_signals():
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), number)  # a second one does not disturb the cleaning
            cleaned.append(True)
    assert cleaned and signal.getsignal(number) is before
    signal.signal(number, signal.SIG_IGN)  # nohup
    try:
        with stopping_signals():
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)


def test_the_command_stops_resumes_and_refuses(tmp_path, monkeypatch, capsys):
    toyband.make(tmp_path / "songs", seconds=3, train=2, test=1, seed=1)
    words = ["train", "tiny", "--dataset", tmp_path / "songs", "--stems", "vocals", "--steps", 3]
    words += ["-p", "batch", 1, "-p", "seconds_per_segment", 0.3, "--device", "cpu"]
    words += ["--out", tmp_path / "run"]

    def run(*more):
        code = cli.main([str(word) for word in (*words, *more)])
        return code, capsys.readouterr().err.splitlines()[-1]

    count = Run.count

    def stop(run, loss):
        count(run, loss)
        if run.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "count", stop)
        assert run() == (130, "bsrnn: interrupted after step 2: resume goes on from there")
    code, line = run()
    assert code == 2 and "holds a run (last.safetensors)" in line and "overwrite" in line
    code, line = run("--resume")
    assert code == 0 and line.startswith("step 3/3")
    cut(tmp_path / "run" / "state.pt")
    code, line = run("--resume")
    assert code == 1 and f"{tmp_path / 'run' / 'state.pt'} is damaged" in line
    code, line = run("--overwrite", "--minutes", "nan")
    assert code == 2 and "--minutes: 'nan': give a number" in line
