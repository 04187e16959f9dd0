"""On an NVIDIA GPU: the output of the CPU, training, resume, memory. About a minute there.

Skips, saying so, where there is no CUDA device, as in CI.
"""

import dataclasses

import numpy as np
import pytest
import torch
from test_speed import KINDS, made, peak_error
from tones import QUICK, TINY, equal, last, songs, without_clock

import bsrnn
from bsrnn import benchmark, cli, models, training
from bsrnn.common import UsageError
from bsrnn.training import fit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def train(folder, config=QUICK, model=TINY, device="cuda", data=None, **options):
    data = songs(valid=0) if data is None else data
    return fit(model, config, data, folder, progress=False, device=device, **options)


@pytest.fixture
def whole_floats(monkeypatch):
    """cuDNN rounds nothing to TF32, as it does by default."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


# -- inference ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "changes"), KINDS)
def test_the_gpu_gives_the_output_of_the_cpu(name, changes, whole_floats):
    separator, mixture = made(name, **changes)
    with torch.inference_mode():
        expected = separator(mixture)
        found = separator.cuda()(mixture.cuda())
    assert found.is_cuda and peak_error(found.cpu(), expected) < 2e-5


@pytest.mark.parametrize("name", ["paper", "bandit", "bs-roformer"])
def test_the_plain_form_and_bf16_run_there(name, whole_floats):
    attention = {"transformer_heads": 2, "head_features": 8} if name == "bs-roformer" else {}
    separator, mixture = made(name, **attention)
    options = benchmark.options(separator.cuda())
    assert list(options) == ["plain", "fp32", "bf16"]  # int8 is the CPU's
    with torch.inference_mode():
        expected = options["fp32"](mixture.cuda())
        assert peak_error(options["plain"](mixture.cuda()), expected) < 2e-5
        assert 40 < benchmark.agreement_db(expected, options["bf16"](mixture.cuda())) < 80
    with pytest.raises(UsageError, match="int8 runs on a CPU"):
        models.optimised(separator, "int8")


def test_a_song_is_separated_there():
    separator, _ = made("paper")
    mixture = 0.1 * np.random.default_rng(0).standard_normal((2, 100_000)).astype(np.float32)
    options = {"chunk_s": 1.0, "batch": 4}
    expected = bsrnn.separate(separator, mixture, 44100, **options)["vocals"]
    torch.backends.cudnn.allow_tf32 = True  # torch's default: `separate` must not use it
    found = bsrnn.separate(separator.cuda(), mixture, 44100, **options)["vocals"]
    assert torch.backends.cudnn.allow_tf32 and found.shape == mixture.shape
    assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()


def test_speed_is_measured_there(capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "PEAK_SIZE", 64)
    settings = "-p features 16 -p repeats 1 --measure --device cuda --seconds 1 --repeats 1"
    assert cli.main(["cost", "paper", *settings.split()]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[1] for line in lines] == ["plain", "fp32", "bf16"]
    assert all(float(line.split()[-1]) > 1 for line in lines), "memory of the GPU in MB"


# -- training -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "tolerance"), [("32", 1e-4), ("bf16", 0.02), ("16", 0.02)])
def test_training_follows_the_cpu(tmp_path, precision, tolerance):
    config = dataclasses.replace(QUICK, ema_decay=0.9, accumulate=2, workers=2)
    expected = train(tmp_path / "cpu", config, device="cpu")
    config = dataclasses.replace(config, precision=precision)
    found = train(tmp_path / "gpu", config, data=songs(valid=1))
    np.testing.assert_allclose(found.history["loss"], expected.history["loss"], rtol=tolerance)
    assert {value.dtype for value in found.separator.state_dict().values()} == {torch.float32}
    assert found.card["device"] == torch.cuda.get_device_name()
    assert np.isfinite(found.history["valid_usdr"].iloc[-1])
    assert not any(weight.is_cuda for weight in models.load(found.best_path).parameters())


@pytest.mark.parametrize("model", ["lstm", "transformer"])  # that one draws dropout on the GPU
@pytest.mark.parametrize("precision", ["32", "16"])
def test_four_steps_equal_two_and_two(tmp_path, model, precision):
    shape = TINY
    if model == "transformer":
        shape = TINY.replace(block="transformer", transformer_heads=2)
    config = dataclasses.replace(QUICK, precision=precision, schedule="constant")
    whole = train(tmp_path / "4", config, shape)
    train(tmp_path / "2", dataclasses.replace(config, steps=2), shape)
    torch.rand(3, device="cuda")  # whatever was drawn in between does not matter
    resumed = train(tmp_path / "2", config, shape, resume=True)
    assert equal(last(tmp_path / "4"), last(tmp_path / "2"))
    assert without_clock(whole.history).equals(without_clock(resumed.history))


def test_a_run_moves_between_gpu_and_cpu(tmp_path):
    config = dataclasses.replace(QUICK, schedule="constant")
    whole = train(tmp_path / "4", config)
    train(tmp_path / "2", dataclasses.replace(config, steps=2))
    resumed = train(tmp_path / "2", config, device="cpu", resume=True)
    np.testing.assert_allclose(resumed.history["loss"], whole.history["loss"], rtol=1e-3)


def test_one_batch_is_overfitted_there():
    assert training.overfit(TINY, QUICK, songs(valid=0), device="cuda").passed


@pytest.mark.parametrize(("name", "recompute"), [
    ("compact", False), ("compact", True), ("bandit", False), ("bandit", True),
])  # fmt: skip
def test_the_plan_holds(tmp_path, name, recompute):
    model = dataclasses.replace(models.presets()[name], stems=("vocals",))
    config = dataclasses.replace(
        QUICK, steps=12, batch=4, seconds_per_segment=1.0, gradient_checkpointing=recompute,
        precision="32", log_every=1, checkpoint_every=12, workers=4,
    )  # fmt: skip
    planned = training.plan(model, 40, config, device="cuda", channels=2)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    rows = train(tmp_path, config, model).history
    needed_gb = (torch.cuda.max_memory_allocated() - before) / 1e9
    step_s = rows["seconds"].diff().iloc[3:].median()
    print(f"{name}: {planned.needed_gb:.2f} GB planned, {needed_gb:.2f} needed; "
          f"{planned.seconds_per_step:.3f} s planned, {step_s:.3f} needed")  # fmt: skip
    assert 0.8 * needed_gb < planned.needed_gb < 2 * needed_gb
    assert 0.3 * step_s < planned.seconds_per_step < 2 * step_s
