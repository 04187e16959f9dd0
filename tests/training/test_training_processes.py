"""Several processes share a batch: equal weights on both, the numbers of one process.

Two gloo processes of this machine stand for GPUs and machines; Lightning starts them. About 20 s.
"""

import dataclasses
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from tones import HERE, QUICK, close, last, songs, state, train

CONFIG = dataclasses.replace(QUICK, batch=4, steps=3, checkpoint_every=2, ema_decay=0.5)
SCRIPT = """
    import sys
    sys.path[:0] = [{here!r}, {room!r}, {root!r}]
    import torch
    from bsrnn.training import machine
    from bsrnn.training.run import Run
    from tones import songs, train
    from test_training_processes import CONFIG


    count = Run.count
    def watch(run, loss):
        count(run, loss)
        found = {{"weights": run.separator.state_dict(), "average": run.average.state_dict()}}
        found |= {{"loss": loss, "drawn": DRAWN}}
        torch.save(found, f"{folder}/seen-{{machine.rank()}}-{{run.step}}.pt")
    Run.count = watch

    DRAWN = []
    from bsrnn.data.mixing import RandomMixer
    draw = RandomMixer.__getitem__
    def drawing(mixer, index):
        DRAWN.append(index)
        return draw(mixer, index)
    RandomMixer.__getitem__ = drawing

    train({folder!r}, CONFIG, data=songs(valid=3), devices=2)
"""


def run_two(tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    script = tmp_path / "job.py"
    text = SCRIPT.format(
        here=str(HERE), room=str(HERE / "training"), root=str(HERE.parent), folder=str(folder)
    )
    script.write_text(textwrap.dedent(text))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=600,
        env=environment | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_two_processes_equal_one(tmp_path):
    folder = run_two(tmp_path)
    one = train(tmp_path / "one", CONFIG, data=songs(valid=3))
    seen = {
        (rank, step): torch.load(folder / f"seen-{rank}-{step}.pt", weights_only=True)
        for rank in (0, 1)
        for step in (1, 2, 3)
    }
    for step in (1, 2, 3):  # the same weights on both, bit for bit
        zero, other = seen[0, step], seen[1, step]
        for part in ("weights", "average"):
            assert all(torch.equal(zero[part][n], other[part][n]) for n in zero[part]), part
        assert zero["loss"] == other["loss"]
    assert sorted(seen[0, 3]["drawn"] + seen[1, 3]["drawn"]) == list(range(12))  # no item twice
    close(last(tmp_path / "one"), last(folder), 2e-6)  # one process with the whole batch
    rows, shared = one.history.to_dict("records"), state(folder)["rows"]
    assert [row["step"] for row in shared] == [1, 2, 3]
    for name in ("loss", "grad_norm"):
        found = [row[name] for row in shared]
        np.testing.assert_allclose(found, [row[name] for row in rows], rtol=1e-4)
    for row, ours in zip(rows[1:], shared[1:], strict=True):  # validation songs are shared
        assert ours["valid_usdr"] == pytest.approx(row["valid_usdr"], abs=1e-3)
    resumed = train(folder, dataclasses.replace(CONFIG, steps=3), data=songs(valid=3), resume=True)
    assert resumed.card["steps"] == 3  # what two processes wrote, one can read
