"""Training: determinism, exact resume, learning, transfer, one run per folder. About 40 s."""

import dataclasses
import json
import os
import pathlib
import signal

import numpy as np
import pytest
import tones
import torch
from tones import CONSTANT, QUICK, TINY, equal, last, songs, state, steps, train, unbroken, weights

from bsrnn import models, training
from bsrnn.common import DataError, UsageError
from bsrnn.training import TrainConfig, folder
from bsrnn.training.run import Run

# -- determinism and resume ---------------------------------------------------------------------


def test_same_seed_same_weights_other_seed_other_weights(tmp_path):
    again = train(tmp_path / "2", dataclasses.replace(QUICK, workers=2))  # which change nothing
    assert equal(unbroken().best, weights(again.separator))
    assert unbroken().history.equals(tones.without_clock(again.history))
    other = train(tmp_path / "3", dataclasses.replace(QUICK, seed=1))
    assert not equal(unbroken().best, weights(other.separator))


KILLED = """
    import os, pathlib, signal, torch
    from tones import QUICK, steps, train

    save, written = torch.save, []

    def die(content, path):
        # dies while the second state is being written: half a file stays behind
        written.append(path)
        if len(written) == 2:
            pathlib.Path(path).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        save(content, path)

    torch.save = die
    train({folder!r}, steps(QUICK, 6))
"""


def test_killed_while_saving_and_resumed_equals_uninterrupted(tmp_path):
    config = steps(QUICK, 6)
    through = unbroken(config)
    assert tones.run_script(KILLED.format(folder=str(tmp_path))).returncode == -signal.SIGKILL
    assert state(tmp_path)["step"] == 2 and list(tmp_path.glob(".new-*"))
    resumed = train(tmp_path, config, resume=True)
    assert equal(through.last, last(tmp_path)) and not list(tmp_path.glob(".new-*"))
    assert through.history.equals(tones.without_clock(resumed.history))
    one, two = (state(path)["optimizer"]["state"] for path in (through.path, tmp_path))
    assert all(equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_finishes_its_step_and_keeps_it(tmp_path, monkeypatch, number):
    count, before = Run.count, signal.getsignal(number)

    def interrupt(run, loss):
        count(run, loss)
        if run.step == 2:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "count", interrupt)
        with pytest.raises(KeyboardInterrupt, match="after step 3: resume goes on"):
            train(tmp_path)
    assert state(tmp_path)["step"] == 3
    assert signal.getsignal(number) is before
    resumed = train(tmp_path, resume=True)
    assert equal(unbroken().best, weights(resumed.separator))


def test_resume_refuses_other_settings_and_songs_and_returns_a_finished_run(tmp_path):
    done = train(tmp_path)
    again = train(tmp_path, resume=True)
    assert equal(weights(done.separator), weights(again.separator))
    assert len(again.history) == len(done.history)
    with pytest.raises(UsageError, match="train.batch 2 there, 3 now"):
        train(tmp_path, dataclasses.replace(QUICK, batch=3), resume=True)
    with pytest.raises(UsageError, match="features"):
        train(tmp_path, model=dataclasses.replace(TINY, features=4), resume=True)
    lost, new = r"songs.tone 2 \d+ there, missing now", r"songs.tone 3 missing there, \d+ now"
    for count, words in ((2, lost), (4, new)):
        with pytest.raises(UsageError, match=f"{words}.*overwrite"):
            train(tmp_path, data=songs(train=count, valid=0), resume=True)
    other = songs(valid=0)
    other.songs[1].samples -= 1
    with pytest.raises(UsageError, match="songs.tone 1 66150 there, 66149 now"):
        train(tmp_path, data=other, resume=True)


def test_a_cpu_budget_stops_and_can_be_extended(tmp_path):
    config = dataclasses.replace(CONSTANT, steps=100_000, max_minutes=1e-4)
    short = train(tmp_path, config)
    assert 1 <= short.card["steps"] < 50
    longer = dataclasses.replace(config, max_minutes=short.card["cpu_seconds"] / 60 + 0.01)
    assert train(tmp_path, longer, resume=True).card["steps"] > short.card["steps"]


# -- learning -----------------------------------------------------------------------------------


def test_the_loss_falls_and_validation_beats_mixture_and_silence(tmp_path):
    config = dataclasses.replace(QUICK, steps=60, batch=4, lr=1e-2, checkpoint_every=30)
    result = train(tmp_path, config, data=songs())
    loss = result.history["loss"]
    assert loss.tail(10).mean() < 0.7 * loss.head(10).mean()
    assert result.card["best_valid_usdr_db"] > 3  # silence is 0 dB
    assert list(result.history["valid_usdr"].dropna().index) == [29, 59]


def test_the_best_weights_are_those_of_the_best_validation(tmp_path, monkeypatch):
    tones.scored(monkeypatch, [1.0, 5.0, 2.0])
    result = train(tmp_path, steps(QUICK, 6), data=songs())
    assert result.card["best_step"] == 4 and result.card["best_valid_usdr_db"] == 5
    assert equal(weights(result.separator), weights(models.load(result.best_path)))
    assert not equal(weights(result.separator), last(tmp_path))


def test_a_cosine_rises_and_falls():
    cosine = TrainConfig(steps=100, lr=1.0, warmup_steps=10)
    rates = [cosine.lr_at(step) for step in range(100)]
    assert rates[0] < 0.2 and max(rates) > 0.95 and rates[-1] < 0.02


# -- transfer -----------------------------------------------------------------------------------


def test_frozen_parts_stay_and_a_new_head_learns(tmp_path):
    model = dataclasses.replace(TINY, stems=("drums",))
    path = unbroken().path / "best.safetensors"
    options = {"initial": path, "freeze": ("split", "sequence")}
    moved = train(tmp_path / "moved", model=model, **options)
    origin = moved.card["initial"]
    assert origin["loaded"] == ["split", "sequence"] and origin["new"] == ["masks.drums"]
    assert moved.card["trained_parameters"] < moved.card["parameters"]
    before, after = unbroken().best, weights(moved.separator)
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


# -- one run per folder ---------------------------------------------------------------------------


def content(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


def test_the_run_folder(tmp_path):
    result = train(tmp_path, data=songs())
    assert content(tmp_path).keys() == {
        "best.safetensors", "last.safetensors", "state.pt", "history.csv", "card.json", ".lock"
    }  # fmt: skip
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["parameters"] == sum(p.numel() for p in result.separator.parameters())
    assert card["train_config"] == dataclasses.asdict(QUICK)
    assert str(tmp_path) not in json.dumps(card) and os.sep + "root" not in json.dumps(card)
    assert not result.separator.training


def test_a_run_is_replaced_only_on_request_and_when_the_new_state_is_whole(tmp_path, monkeypatch):
    train(tmp_path)
    before = content(tmp_path)
    other = dataclasses.replace(QUICK, seed=7)
    with pytest.raises(UsageError, match="holds a run .*resume, .*overwrite, .*another out_dir"):
        train(tmp_path, other)
    with pytest.raises(UsageError, match="did you mean vocals"):
        train(tmp_path, other, dataclasses.replace(TINY, stems=("vocal",)), overwrite=True)
    with monkeypatch.context() as patch, pytest.raises(DataError, match="cannot write.*state.pt"):
        patch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        train(tmp_path, other, overwrite=True)
    assert content(tmp_path) == before
    train(tmp_path, other, overwrite=True)
    assert state(tmp_path)["step"] == 4 and not equal(last(tmp_path), unbroken().last)


def test_what_cannot_be_resumed_is_not_begun_anew(tmp_path):
    with pytest.raises(UsageError, match="no state.pt in .* to resume"):
        train(tmp_path, resume=True)
    assert content(tmp_path).keys() <= {".lock"}
    train(tmp_path, resume=True, overwrite=True)  # both: whichever is possible
    again = train(tmp_path, steps(QUICK, 4), resume=True, overwrite=True)
    assert len(again.history) == 4 and equal(unbroken().last, last(tmp_path))


def test_two_trainings_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "ORPHANS_S", 0.1)
    with folder.claim(tmp_path), pytest.raises(UsageError, match="another training writes to"):
        train(tmp_path, overwrite=True)
    train(tmp_path)


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
def test_the_file_to_start_from_is_never_replaced(tmp_path, name):
    train(tmp_path)
    before = content(tmp_path)
    for how in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(UsageError, match="would be replaced by this run"):
            train(tmp_path, initial=str(tmp_path / "." / name), **how)
    assert content(tmp_path) == before
    with pytest.raises(UsageError, match="another out_dir"):
        train(pathlib.Path(tmp_path, "card.json", "run"))


# -- configurations, words ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"steps": 2.5}, "steps is 2.5: give a whole number"),
        ({"steps": "3"}, "steps is '3'"),
        ({"batch": True}, "batch is True"),
        ({"mono": 1}, "mono is 1: give true or false"),
        ({"max_minutes": float("inf")}, "max_minutes is inf"),
        ({"lr": None}, "lr is None"),
        ({"workers": 100_000}, "workers is 100000: give a whole number from 0 to 1024"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"optimizer": "adamm"}, "did you mean adam"),
        ({"loss": "l1_bot"}, "did you mean"),
        ({"recipe": "papr"}, "did you mean paper"),
        ({"batch": 8, "accumulate": 3}, "multiple of accumulate"),
    ],
)
def test_configurations_check_themselves(values, words):
    with pytest.raises(UsageError, match=words) as caught:
        TrainConfig(**values)
    assert "\n" not in str(caught.value)


def test_every_number_of_a_configuration_has_a_range():
    for field in dataclasses.fields(TrainConfig):
        if isinstance(field.default, (int, float)):
            with pytest.raises(UsageError, match=f"^{field.name} is nan"):
                TrainConfig(**{field.name: float("nan")})


def test_configurations_travel_as_json():
    with pytest.raises(UsageError, match="did you mean steps"):
        TrainConfig.from_json(json.dumps({"step": 1}))
    for preset in training.presets().values():
        assert TrainConfig.from_json(preset.to_json()) == preset
    assert TrainConfig(steps=np.int64(3), lr=np.float32(1)).steps == 3


def test_lines_without_a_terminal_and_no_noise(tmp_path, capfd):
    train(tmp_path / "1", data=songs(), progress=True)
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if line.strip()]
    assert out == "" and len(lines) == 2
    assert all(line.startswith(f"step {n}/4: loss ") for n, line in zip((2, 4), lines, strict=True))
    train(tmp_path / "2", dataclasses.replace(QUICK, precision="bf16"))
    assert capfd.readouterr() == ("", "")
