"""Training: determinism, exact resume after a kill, freezing, transfer, finite checks. About 50 s.

The songs are synthetic and live in memory: what is tested here is the machinery, not the music.
"""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from bsrnn import losses, models, training
from bsrnn.common import DataError, UsageError
from bsrnn.training import TrainConfig, fit
from bsrnn.training.run import Run

RATE, STEMS = 44100, ("drums", "vocals")


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

    stems, sample_rate, rung, split_hash = STEMS, RATE, "tones", "0"

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


TINY = dataclasses.replace(
    models.presets()["tiny"], scheme="equal8", features=8, repeats=1, stems=("vocals",)
)
QUICK = TrainConfig(
    steps=4, batch=2, seconds_per_segment=0.3, checkpoint_every=2, log_every=1, lr=3e-3
)


def train(folder, config=QUICK, model=TINY, data=None, **options):
    data = songs(valid=0) if data is None else data
    return fit(model, config, data, folder, progress=False, device="cpu", **options)


def weights(separator):
    return {name: value.clone() for name, value in separator.state_dict().items()}


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def last(folder):
    return weights(models.load(pathlib.Path(folder) / "last.safetensors"))


def without_clock(history):
    return history.drop(columns=["seconds", "cpu_seconds"])


# -- determinism and resume ---------------------------------------------------------------------


def test_same_seed_same_weights_other_seed_other_weights(tmp_path):
    one, two = train(tmp_path / "1"), train(tmp_path / "2")
    assert equal(weights(one.separator), weights(two.separator))
    assert without_clock(one.history).equals(without_clock(two.history))
    other = train(tmp_path / "3", dataclasses.replace(QUICK, seed=1))
    assert not equal(weights(one.separator), weights(other.separator))


def test_workers_do_not_change_the_result(tmp_path):
    one = train(tmp_path / "1")
    two = train(tmp_path / "2", dataclasses.replace(QUICK, workers=2))
    assert equal(weights(one.separator), weights(two.separator))


KILLED = """
    import dataclasses, os, signal, sys
    sys.path.insert(0, {here!r})
    from test_training import QUICK, train
    from bsrnn.training import run as training_run

    write, written = training_run._atomic, []

    def die(path, writer):
        # dies while the second state is being written: half a file stays behind
        if path.name == "state.pt":
            written.append(path)
            if len(written) == 2:
                path.with_name(path.name + ".part").write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
        write(path, writer)

    training_run._atomic = die
    train({folder!r}, dataclasses.replace(QUICK, steps=6))
"""


def test_killed_while_saving_and_resumed_equals_uninterrupted(tmp_path):
    config = dataclasses.replace(QUICK, steps=6)
    through = train(tmp_path / "through", config)
    here, folder = str(pathlib.Path(__file__).parent), str(tmp_path / "killed")
    script = textwrap.dedent(KILLED).format(here=here, folder=folder)
    killed = subprocess.run([sys.executable, "-c", script], timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert torch.load(tmp_path / "killed" / "state.pt", weights_only=True)["step"] == 2
    resumed = train(tmp_path / "killed", config, resume=True)
    assert equal(last(tmp_path / "through"), last(tmp_path / "killed"))
    assert without_clock(through.history).equals(without_clock(resumed.history))
    one, two = (
        torch.load(tmp_path / name / "state.pt", weights_only=True)["optimizer"]["state"]
        for name in ("through", "killed")
    )
    assert all(equal_states(one[key], two[key]) for key in one)


def equal_states(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def test_four_steps_equal_two_and_two(tmp_path):
    constant = dataclasses.replace(QUICK, schedule="constant")
    train(tmp_path / "four", constant)
    train(tmp_path / "two", dataclasses.replace(constant, steps=2))
    train(tmp_path / "two", constant, resume=True)
    assert equal(last(tmp_path / "four"), last(tmp_path / "two"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_finishes_its_step_and_keeps_it(tmp_path, monkeypatch, number):
    through = train(tmp_path / "through")
    count = Run.count

    def interrupt(run, loss):
        count(run, loss)
        if run.step == 3:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "count", interrupt)
        with pytest.raises(KeyboardInterrupt, match="after step 3: resume=True goes on"):
            train(tmp_path / "stopped")
    assert torch.load(tmp_path / "stopped" / "state.pt", weights_only=True)["step"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = train(tmp_path / "stopped", resume=True)
    assert equal(weights(through.separator), weights(resumed.separator))


def test_resume_refuses_other_settings_and_returns_a_finished_run(tmp_path):
    done = train(tmp_path)
    again = train(tmp_path, resume=True)
    assert equal(weights(done.separator), weights(again.separator))
    assert len(again.history) == len(done.history)
    with pytest.raises(UsageError, match="batch 2 there, 3 now"):
        train(tmp_path, dataclasses.replace(QUICK, batch=3), resume=True)
    with pytest.raises(UsageError, match="features"):
        train(tmp_path, model=dataclasses.replace(TINY, features=4), resume=True)


def test_a_cpu_budget_stops_and_can_be_extended(tmp_path):
    config = dataclasses.replace(QUICK, steps=100_000, max_minutes=1e-4, schedule="constant")
    short = train(tmp_path, config)
    assert 1 <= short.card["steps"] < 50
    longer = dataclasses.replace(config, max_minutes=short.card["cpu_seconds"] / 60 + 0.01)
    assert train(tmp_path, longer, resume=True).card["steps"] > short.card["steps"]


# -- learning -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stems", [("vocals",), ("drums", "vocals")])
def test_one_batch_can_be_overfitted(tmp_path, stems):
    """One target that silently learns nothing is the field's most common training bug."""
    config = dataclasses.replace(
        QUICK, steps=60, distinct_items=2, recipe="plain", lr=2e-2, checkpoint_every=60
    )
    model = dataclasses.replace(TINY, stems=stems, features=16)
    history = train(tmp_path, config, model).history
    assert history["loss"].iloc[-1] < 0.3 * history["loss"].iloc[0]


def test_the_loss_falls_and_validation_beats_mixture_and_silence(tmp_path):
    config = dataclasses.replace(QUICK, steps=60, batch=4, lr=1e-2, checkpoint_every=30)
    result = train(tmp_path, config, data=songs())
    loss = result.history["loss"]
    assert loss.tail(10).mean() < 0.7 * loss.head(10).mean()
    assert result.card["best_valid_usdr_db"] > 3  # silence is 0 dB
    assert list(result.history["valid_usdr"].dropna().index) == [29, 59]


def test_the_best_weights_are_those_of_the_best_validation(tmp_path, monkeypatch):
    scores = iter([1.0, 5.0, 2.0])
    fake = lambda *_: {"valid_usdr": next(scores)}  # noqa: E731
    monkeypatch.setattr("bsrnn.training.scores.validation", fake)
    config = dataclasses.replace(QUICK, steps=6)
    result = train(tmp_path, config, data=songs())
    assert result.card["best_step"] == 4 and result.card["best_valid_usdr_db"] == 5
    assert equal(weights(result.separator), weights(models.load(result.best_path)))
    assert not equal(weights(result.separator), last(tmp_path))


def test_learning_rate_schedules():
    cosine = TrainConfig(steps=100, lr=1.0, warmup_steps=10)
    rates = [cosine.lr_at(step) for step in range(100)]
    assert rates[0] < 0.2 and max(rates) > 0.95 and rates[-1] < 0.02
    paper = training.presets()["paper"]
    assert paper.lr_at(0) == 1e-3 and paper.lr_at(20_000) == pytest.approx(0.98e-3)


# -- transfer -----------------------------------------------------------------------------------


def test_frozen_parts_stay_and_a_new_head_learns(tmp_path):
    base = train(tmp_path / "base")
    model = dataclasses.replace(TINY, stems=("drums",))
    path = tmp_path / "base" / "best.safetensors"
    options = {"initial": path, "freeze": ("split", "sequence")}
    moved = train(tmp_path / "moved", model=model, **options)
    origin = moved.card["initial"]
    assert origin["loaded"] == ["split", "sequence"] and origin["new"] == ["masks.drums"]
    assert moved.card["trained_parameters"] < moved.card["parameters"]
    before, after = weights(base.separator), weights(moved.separator)
    for name in after:
        if name.split(".")[0] in ("split", "sequence"):
            assert torch.equal(before[name], after[name]), name
    fresh = train(tmp_path / "zero", dataclasses.replace(QUICK, lr=1e-12), model, **options)
    changed = weights(fresh.separator)
    heads = [name for name in after if name.startswith("masks")]
    assert heads and any(not torch.equal(after[name], changed[name]) for name in heads)


def test_transfer_reports_and_refuses(tmp_path):
    base = models.BandSplitSeparator(TINY)
    same = models.BandSplitSeparator(dataclasses.replace(TINY, stems=("drums", "vocals")))
    report = training.transfer(same, base)
    assert report == {"loaded": ["split", "sequence", "masks.vocals"], "new": ["masks.drums"]}
    with pytest.raises(UsageError, match="cannot freeze masks: masks.drums"):
        training.transfer(same, base, freeze=("masks",))
    with pytest.raises(UsageError, match="nothing of the initial model fits"):
        other = dataclasses.replace(TINY, features=4, scheme="equal16")
        training.transfer(models.BandSplitSeparator(other), base)
    with pytest.raises(UsageError, match="every part is frozen"):
        training.transfer(models.BandSplitSeparator(TINY), base, freeze=training.PARTS)
    with pytest.raises(UsageError, match="give initial=PATH"):
        train(tmp_path, freeze=("split",))


# -- bad input ----------------------------------------------------------------------------------


def test_a_nan_song_is_named_and_the_state_before_it_is_kept(tmp_path):
    data = Songs([ToneSong(0), ToneSong(1, spoil="drums")])
    with pytest.raises(DataError, match=r"in song 'tone 1', drums, from \d\.\d\d s") as caught:
        train(tmp_path, dataclasses.replace(QUICK, steps=50, checkpoint_every=1), data=data)
    assert "\n" not in str(caught.value)


def test_numbers_that_break_by_themselves_stop_the_run(tmp_path, monkeypatch):
    real = training_loss = losses.loss
    calls = []

    def breaks(*args):
        calls.append(1)
        return training_loss(*args) * (np.nan if len(calls) == 4 else 1)

    monkeypatch.setattr("bsrnn.losses.loss", breaks)
    with pytest.raises(DataError, match=r"loss is not finite at step 4 .*song 'tone"):
        train(tmp_path)
    assert (tmp_path / "bad_batch.pt").exists()
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 2
    monkeypatch.setattr("bsrnn.losses.loss", real)
    lower = dataclasses.replace(QUICK, lr=1e-3)
    assert train(tmp_path, lower, resume=True).card["steps"] == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config": dataclasses.replace(QUICK, seconds_per_segment=9)}, "at most 1.50"),
        ({"model": dataclasses.replace(TINY, stems=("vocal",))}, "did you mean vocals"),
        ({"model": None}, "give a model_config"),
        ({"device": "cuda"}, "use device='cpu'"),
        ({"data": Songs([ToneSong(0, rate=8000)])}, "8000 Hz, the model 44100"),
    ],
)
def test_bad_input_is_one_line_with_the_fix(tmp_path, change, words):
    change = {"device": "cpu", "model": TINY, "config": QUICK, "data": songs()} | change
    if change["device"] == "cuda" and torch.cuda.is_available():
        pytest.skip("a CUDA device is there")
    with pytest.raises(UsageError, match=words) as caught:
        fit(change["model"], change["config"], change["data"], tmp_path, device=change["device"])
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.glob("*.safetensors"))


def test_a_folder_that_cannot_be_written_is_refused_before_work(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="choose another out_dir"):
        train(tmp_path / "file" / "run")


def test_a_full_disk_leaves_the_state_before(tmp_path, monkeypatch):
    train(tmp_path, dataclasses.replace(QUICK, steps=2, schedule="constant"))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(DataError, match="No space left on device.*resume"):
            train(tmp_path, dataclasses.replace(QUICK, schedule="constant"), resume=True)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 2


def test_configurations_check_themselves():
    for values, words in [
        ({"steps": 0}, "steps is 0"),
        ({"optimizer": "adamm"}, "did you mean adam"),
        ({"loss": "l1_bot"}, "did you mean"),
        ({"recipe": "papr"}, "did you mean paper"),
        ({"seed": -1}, "seed is -1"),
    ]:
        with pytest.raises(UsageError, match=words):
            TrainConfig(**values)
    with pytest.raises(UsageError, match="did you mean steps"):
        TrainConfig.from_json(json.dumps({"step": 1}))
    for preset in training.presets().values():
        assert TrainConfig.from_json(preset.to_json()) == preset


# -- words and files ----------------------------------------------------------------------------


def test_lines_without_a_terminal_and_no_noise(tmp_path, capfd):
    fit(TINY, QUICK, songs(), tmp_path, device="cpu")
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if line.strip()]
    assert out == "" and len(lines) == 2
    assert all(line.startswith(f"step {n}/4: loss ") for n, line in zip((2, 4), lines, strict=True))
    train(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_the_run_folder(tmp_path):
    result = train(tmp_path, data=songs())
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "best.safetensors", "last.safetensors", "state.pt", "history.csv", "card.json"
    }  # fmt: skip
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["parameters"] == sum(p.numel() for p in result.separator.parameters())
    assert card["train_config"] == dataclasses.asdict(QUICK)
    assert str(tmp_path) not in json.dumps(card) and os.sep + "root" not in json.dumps(card)
    assert not result.separator.training
