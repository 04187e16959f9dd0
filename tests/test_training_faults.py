"""What breaks a long run: each gives one line with the fix, and the last state goes on.

The networks and songs are those of test_training.py; a run is broken between its checkpoints and
then resumed, and the weights are those of a run that nothing broke.
"""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
from multiprocessing import resource_sharer
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import QUICK, TINY, Songs, ToneSong, equal, fit, last, train

from bsrnn import data
from bsrnn.common import DataError
from bsrnn.data import mixing, toyband

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


def missing(_):
    raise DataError("song 'tone 0': drums.wav: no such file: check the path")


@pytest.fixture
def uncached(monkeypatch):
    """Every read goes to the song."""
    whole = mixing.RandomMixer.__init__

    def without(self, *args, **options):
        whole(self, *args, **options | {"cache_bytes": 0})

    monkeypatch.setattr(mixing.RandomMixer, "__init__", without)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    train(folder, CONFIG, data=Songs([FailingSong(0)]))
    return last(folder)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("fail", "words"),
    [
        (io_error, "Input/output error"),
        (missing, "no such file"),
        (turns_to_nan, r"NaN or infinite samples in song 'tone 0', .*repair or remove"),
        (killed, "a worker process died.*lower workers"),
    ],
)
def test_songs_that_break_while_training(tmp_path, uncached, unbroken, fail, words, workers):
    if fail is killed and not workers:
        pytest.skip("that is a kill of the run itself: test_training.py")
    # one read to look for sound, two per example: it breaks after the second checkpoint's batch
    bad = Songs([FailingSong(0, fail, good=20 + (3 if workers else 0))])
    config = dataclasses.replace(CONFIG, workers=workers)
    with pytest.raises(DataError, match=words) as caught:
        train(tmp_path, config, data=bad)
    assert "\n" not in str(caught.value)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] in (2, 4)
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob("*.tmp"))
    train(tmp_path, config, data=Songs([FailingSong(0)]), resume=True)
    assert equal(last(tmp_path), unbroken)


def test_a_worker_that_dies_while_it_hands_a_batch_over(tmp_path, uncached):
    """Then Python's own pipe breaks first, in one of several ways."""

    def nobody_answers(_):
        resource_sharer._resource_sharer.get_connection((str(tmp_path / "gone"), 1))

    with pytest.raises(DataError, match=r"a worker process died.*lower workers"):
        train(tmp_path, CONFIG, data=Songs([FailingSong(0, nobody_answers, good=20)]))
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] in (2, 4)


def test_a_stem_that_disappears_from_the_disk(tmp_path, uncached):
    toyband.make(tmp_path / "songs", seconds=3, train=2, test=1, seed=1)
    songs = data.open(tmp_path / "songs")
    config = dataclasses.replace(CONFIG, steps=40, checkpoint_every=1)
    stop = Path(songs.subset("train")[0].files["drums"][0])
    run = tmp_path / "run"
    done = []
    draw = mixing.RandomMixer.__getitem__

    def remove_half_way(mixer, index):
        done.append(index)
        if len(done) == 5:
            stop.rename(stop.with_suffix(".gone"))
        return draw(mixer, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixing.RandomMixer, "__getitem__", remove_half_way)
        with pytest.raises(DataError, match=r"drums\.wav") as caught:
            fit(TINY, config, songs, run, valid=[], progress=False, device="cpu")
    assert "\n" not in str(caught.value)
    assert torch.load(run / "state.pt", weights_only=True)["step"] == 2
    stop.with_suffix(".gone").rename(stop)
    shorter = dataclasses.replace(config, steps=4)
    again = fit(TINY, shorter, songs, run, valid=[], resume=True, progress=False, device="cpu")
    assert again.card["steps"] == 4


FULL = """
    import dataclasses, resource, signal, sys
    sys.path[:0] = [{here!r}, {root!r}]
    from test_training import Songs, ToneSong, train
    from test_training_faults import CONFIG
    from bsrnn.common import DataError

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    config = dataclasses.replace(CONFIG, schedule="constant")
    for limit in {limits}:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            train({folder!r}, config, data=Songs([ToneSong(0)]), resume=True)
        except DataError as error:
            print(error)
"""


def test_files_that_cannot_grow_leave_the_state_before(tmp_path):
    """The system refuses to write more, as a full disk does, at two files of a checkpoint."""
    data = Songs([FailingSong(0)])
    config = dataclasses.replace(CONFIG, schedule="constant")
    train(tmp_path, dataclasses.replace(config, steps=2), data=data)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    script = FULL.format(
        here=str(Path(__file__).parent),
        root=str(Path(__file__).parents[1]),
        limits=[len(before[name]) // 2 for name in ("last.safetensors", "state.pt")],
        folder=str(tmp_path),
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    for line, name in zip(lines, ("best.safetensors", "state.pt"), strict=True):
        assert "cannot write" in line and name in line and "make room, then resume" in line
    assert (tmp_path / "state.pt").read_bytes() == before["state.pt"]
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".part", ".tmp")]
    train(tmp_path, config, data=data, resume=True)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 6
