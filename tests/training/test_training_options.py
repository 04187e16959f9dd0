"""Schedules, accumulation, averaged weights, precision, recomputation, early stop, one batch.

About 30 s.
"""

import dataclasses
import json
import sys

import numpy as np
import pytest
import tones
import torch
from tones import CONSTANT, QUICK, TINY, equal, last, songs, state, steps, train, unbroken, weights

from bsrnn import losses, models, training
from bsrnn.common import UsageError
from bsrnn.models.cost import cost
from bsrnn.training import TrainConfig, check, machine, planning
from bsrnn.training.run import Run

# -- accumulation, recomputation, precision ---------------------------------------------------


@pytest.mark.parametrize("loss", ["l1_both", "l1_snr"])
def test_passes_that_share_an_update_equal_the_large_batch(tmp_path, loss):
    config = dataclasses.replace(QUICK, batch=4, loss=loss, optimizer="adam")
    whole = unbroken(config)
    four = train(tmp_path, dataclasses.replace(config, accumulate=4))
    tones.close(whole.last, last(tmp_path))
    columns = ["loss", "grad_norm"]
    np.testing.assert_allclose(whole.history[columns], four.history[columns], rtol=1e-4)
    assert not equal(whole.last, weights(models.BandSplitSeparator(TINY)))


def test_recomputed_blocks_give_the_same_weights(tmp_path):
    model = dataclasses.replace(TINY, repeats=2)
    train(tmp_path, dataclasses.replace(QUICK, gradient_checkpointing=True), model)
    assert equal(unbroken(model=model).last, last(tmp_path))


def test_recomputation_saves_memory():
    separator = models.BandSplitSeparator(dataclasses.replace(TINY, features=16, repeats=6)).train()
    mixture = torch.randn(1, 2, 22050)
    before = tones.saved_bytes(separator, mixture)
    training.parts.recompute_blocks(separator)
    assert tones.saved_bytes(separator, mixture) < 0.6 * before


def test_mixed_precision_trains_close_to_full(tmp_path):
    half = train(tmp_path, dataclasses.replace(QUICK, precision="bf16"))
    assert {value.dtype for value in last(tmp_path).values()} == {torch.float32}
    # beyond 0.1 % something else was rounded too, such as the waveforms
    np.testing.assert_allclose(unbroken().history["loss"], half.history["loss"], rtol=1e-3)
    assert not equal(unbroken().last, last(tmp_path))
    with pytest.raises(UsageError, match="precision 16 needs a GPU"):
        train(tmp_path, dataclasses.replace(QUICK, precision="16"))


# -- averaged weights --------------------------------------------------------------------------


def test_averaged_weights_follow_the_formula_and_are_what_is_kept(tmp_path, monkeypatch):
    seen = []
    count = Run.count

    def watch(run, loss):
        seen.append(weights(run.separator))
        count(run, loss)

    monkeypatch.setattr(Run, "count", watch)
    config = dataclasses.replace(QUICK, ema_decay=0.5, checkpoint_every=1)
    result = train(tmp_path, config, data=songs())
    expected = seen[0]
    for now in seen[1:]:
        expected = {name: 0.5 * expected[name] + 0.5 * now[name] for name in now}
    tones.close(last(tmp_path), expected, 1e-6)
    assert equal(state(tmp_path)["separator"], seen[-1])  # the raw weights go on training
    assert not equal(last(tmp_path), seen[-1])
    found = training.validation(result.separator, songs().subset("valid"))["valid_usdr"]
    assert found == pytest.approx(result.card["best_valid_usdr_db"], abs=1e-4)


def test_averaged_weights_resume_bit_for_bit(tmp_path):
    config = dataclasses.replace(CONSTANT, ema_decay=0.9)
    through = unbroken(config)
    train(tmp_path, steps(config, 2))
    resumed = train(tmp_path, config, resume=True)
    assert equal(through.last, last(tmp_path))
    one, two = state(through.path), state(tmp_path)
    assert equal(one["average"], two["average"]) and equal(one["separator"], two["separator"])
    assert through.history.equals(tones.without_clock(resumed.history))


# -- monitor: best, plateau, early stop ----------------------------------------------------------


def test_early_stop_counts_checkpoints_without_a_better_monitor(tmp_path, monkeypatch):
    tones.scored(monkeypatch, [1.0, 3.0, 2.0, 3.0, 9.0])
    config = dataclasses.replace(QUICK, steps=50, checkpoint_every=1, patience=2)
    result = train(tmp_path, config, data=songs())
    assert (result.card["steps"], result.card["best_step"]) == (4, 2)
    again = train(tmp_path, config, data=songs(), resume=True)  # it is over
    assert again.card["steps"] == 4
    tones.scored(monkeypatch, [2.0, 2.0])
    more = train(tmp_path, dataclasses.replace(config, patience=4), data=songs(), resume=True)
    assert more.card["steps"] == 6


def test_the_plateau_lowers_the_rate_and_survives_a_resume(tmp_path, monkeypatch):
    scores = [1.0, 0.5, 0.5, 0.5, 0.5, 2.0, 1.0, 1.0]
    config = dataclasses.replace(
        QUICK, steps=8, checkpoint_every=1, lr=1e-3, schedule="plateau", decay_factor=0.5,
        plateau_patience=1,
    )  # fmt: skip
    tones.scored(monkeypatch, scores)
    through = train(tmp_path / "through", config, data=songs())
    # torch's ReduceLROnPlateau on the same numbers
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1e-3)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", factor=0.5, patience=1, threshold=0
    )
    expected = []
    for score in scores:
        expected.append(optimizer.param_groups[0]["lr"])
        plateau.step(score)
    assert through.history["lr"].tolist() == expected
    assert expected[-1] == 0.25e-3
    tones.scored(monkeypatch, scores)
    train(tmp_path / "cut", dataclasses.replace(config, steps=4), data=songs())
    resumed = train(tmp_path / "cut", config, data=songs(), resume=True)
    assert resumed.history["lr"].tolist() == expected
    assert equal(last(tmp_path / "through"), last(tmp_path / "cut"))


def test_the_monitor_may_be_the_loss(tmp_path):
    config = dataclasses.replace(
        QUICK, monitor="loss", checkpoint_every=2, steps=6, lr=1e-12, recipe="plain",
        distinct_items=2, patience=2,
    )  # fmt: skip
    result = train(tmp_path / "1", config)  # the same batch again and again, at rest
    assert result.card["steps"] == 6 and result.card["best_step"] == 2
    with pytest.raises(UsageError, match="no validation songs to compute valid_usdr"):
        train(tmp_path / "2", dataclasses.replace(config, monitor="valid_usdr"))
    with pytest.raises(UsageError, match="unknown monitor 'valid_usdr_drums'"):
        misspelt = dataclasses.replace(config, monitor="valid_usdr_drums")
        train(tmp_path / "3", misspelt, data=songs())


def test_one_stem_may_decide(tmp_path, monkeypatch):
    ahead = iter([{"valid_usdr": a, "valid_usdr_vocals": b} for a, b in [(1, 9), (5, 2)]])
    monkeypatch.setattr("bsrnn.training.scores.validation", lambda *_: next(ahead))
    config = dataclasses.replace(QUICK, monitor="valid_usdr_vocals")
    card = train(tmp_path, config, data=songs()).card
    assert card["best_step"] == 2 and card["best_valid_usdr_db"] == 1


# -- presets ------------------------------------------------------------------------------------


def test_published_presets_have_the_published_schedules():
    presets = training.presets()
    epoch = {"paper": 10_000, "magronp": 2_500, "bandit": 10_000}
    for name, updates in epoch.items():
        config = presets[name]
        assert config.checkpoint_every == updates and config.schedule == "exponential"
        first, second = config.lr_at(0), config.lr_at(2 * updates)
        assert config.lr_at(2 * updates - 1) == first and second == pytest.approx(0.98 * first)
        assert (config.clip_norm, config.optimizer) == (5, "adam")
    assert presets["magronp"].lr == 1e-3 * presets["magronp"].batch / 16
    for name in ("magronp", "bandit"):
        assert presets[name].checkpoint_every * presets[name].batch == 20_000
    assert presets["finetune"].lr == 1e-4 == presets["paper"].lr / 10


def test_machines_are_counted_from_the_environment(monkeypatch):
    assert machine.find("cpu", "auto") == machine.Machine("cpu", 1, 1)
    assert machine.find("cpu", "3").world == 3
    for name, value in {"LOCAL_WORLD_SIZE": 2, "WORLD_SIZE": 6, "RANK": 4}.items():
        monkeypatch.setenv(name, str(value))
    found = machine.find("cpu", "auto")
    assert (found.devices, found.nodes, found.world, machine.rank()) == (2, 3, 6, 4)
    with pytest.raises(UsageError, match="2 processes were started, not 4"):
        machine.find("cpu", 4)
    for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name)
    for name, value in {"SLURM_PROCID": 0, "SLURM_NTASKS": 8, "SLURM_NNODES": 2}.items():
        monkeypatch.setenv(name, str(value))
    assert machine.find("cpu", "auto") == machine.Machine("cpu", 4, 2)
    assert machine.rank() == 0
    with pytest.raises(UsageError, match="make it a multiple of 8"):
        machine.find("cpu", "auto").require(TrainConfig(batch=4))
    monkeypatch.delenv("SLURM_NTASKS")
    with pytest.raises(UsageError, match="give a number from 1 to 256, auto or all"):
        machine.find("cpu", "many")


# -- one batch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stems", [("vocals",), ("drums", "vocals")])
def test_one_batch_passes_for_a_sound_network(stems):
    model = dataclasses.replace(TINY, stems=stems, features=16)
    found = training.overfit(model, QUICK, songs(), device="cpu")
    assert found.passed and set(found.after_db) == set(stems)
    assert all(found.after_db[stem] >= 3 > found.before_db[stem] for stem in stems)


def test_a_head_that_does_not_learn_is_named(tmp_path, monkeypatch):
    model = dataclasses.replace(TINY, stems=("drums", "vocals"))
    both = losses.loss

    def only_the_first(name, waveforms, spectra, targets, stft):
        return both(name, waveforms[:, :1], spectra[:, :1], targets[:, :1], stft)

    monkeypatch.setattr("bsrnn.losses.loss", only_the_first)
    with pytest.raises(UsageError, match=r"no gradient reaches masks\.vocals") as caught:
        train(tmp_path, model=model, check=True)
    assert "\n" not in str(caught.value)

    def swapped(*args):
        return both(*args[:3], args[3].flip(1), *args[4:])

    monkeypatch.setattr("bsrnn.losses.loss", swapped)
    monkeypatch.setattr(check, "STEPS", 30)
    with pytest.raises(UsageError, match=r"check: (drums|vocals) reaches -?\d"):
        train(tmp_path, dataclasses.replace(QUICK, batch=2), model, check=True)
    assert not list(tmp_path.glob("*.safetensors"))


def test_the_check_leaves_the_run_as_it_would_be(tmp_path):
    train(tmp_path, check=True)
    assert equal(unbroken().last, last(tmp_path))


def test_long_jobs_are_checked_and_others_not(tmp_path, monkeypatch):
    asked, long = [], dataclasses.replace(QUICK, steps=20_000, max_minutes=1e-9)

    def overfitted(*_):
        asked.append(1)
        return check.Overfit(1, {}, {})

    monkeypatch.setattr(check, "overfit_separator", overfitted)
    train(tmp_path / "1")
    assert not asked
    train(tmp_path / "2", long)
    train(tmp_path / "3", long, check=False)
    assert len(asked) == 1


def test_an_example_needs_its_targets(monkeypatch):
    monkeypatch.setattr(check, "SEARCHED", 2)
    silent = tones.ToneSong(0)
    silent.audio["vocals"][:, :-200] = 0
    config = dataclasses.replace(QUICK, recipe="plain", seconds_per_segment=0.1)
    with pytest.raises(UsageError, match="no example with every target"):
        training.overfit(TINY, config, tones.Songs([silent]), device="cpu")


# -- logs -----------------------------------------------------------------------------------------


def test_tensorboard_where_it_is_installed_and_missing(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(UsageError, match="pip install tensorboard"):
        patch.setitem(sys.modules, "tensorboard", None)
        train(tmp_path / "missing", tensorboard=True)
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(tmp_path, data=songs(), tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"loss", "lr", "grad_norm", "valid_usdr"} <= set(events.Tags()["scalars"])
    logged = [event.value for event in events.Scalars("loss")]
    np.testing.assert_allclose(logged, result.history["loss"], rtol=1e-6)


def test_device_and_macs_are_those_of_the_run():
    found = json.loads((unbroken().path / "card.json").read_text())
    example = cost(TINY, QUICK.seconds_per_segment).macs
    assert found["training_macs"] == example * QUICK.batch * QUICK.steps
    assert found["macs_per_second"] == round(cost(TINY, 6.0).macs / 6)
    assert found["device"] == machine.device_name("cpu") != ""
    mono = planning.work(TINY, dataclasses.replace(QUICK, mono=True), QUICK.steps)
    assert mono["training_macs"] == found["training_macs"] // 2  # one of two channels
    joint = dataclasses.replace(TINY, channel_handling="joint")
    both = planning.work(joint, dataclasses.replace(QUICK, mono=True), 1)["training_macs"]
    assert both == cost(joint, QUICK.seconds_per_segment).macs * QUICK.batch
    assert planning.work(models.D3NetConfig(), QUICK, 4) == {}
