"""Plans: memory as autograd counts it, proposals that fit, one line of the command line."""

import dataclasses

import pytest
import torch
from tones import QUICK, TINY, saved_bytes

from bsrnn import cli, models, training

MODEL = dataclasses.replace(TINY, features=16, repeats=3)
CONFIG = dataclasses.replace(QUICK, batch=12, seconds_per_segment=2.0, loss="l1")


@pytest.fixture(scope="module")
def roomy():
    return training.plan(MODEL, 1000, CONFIG)


def test_parameters_and_memory_are_counted(roomy):
    separator = models.BandSplitSeparator(MODEL).train()
    weights = sum(weight.numel() for weight in separator.parameters())
    assert roomy.parameters == weights and roomy.fixed_gb == pytest.approx(16e-9 * weights)
    kept = saved_bytes(separator, torch.randn(1, 2, 2 * 44100)) - 4 * weights
    assert roomy.example_gb == pytest.approx(kept / 1e9, rel=0.05)  # from 0.5 and 1 s to 2 s
    assert roomy.needed_gb == pytest.approx(roomy.fixed_gb + 12 * roomy.example_gb)
    assert roomy.config == CONFIG and roomy.fits
    assert roomy.seconds_per_step > 0


def test_channels_of_the_songs_count(roomy):
    mono = training.plan(MODEL, 1000, CONFIG, channels=1)
    assert MODEL.channels == 2 and mono.parameters == roomy.parameters
    assert mono.example_gb == pytest.approx(roomy.example_gb / 2, rel=0.05)
    assert mono.gmacs == pytest.approx(roomy.gmacs / 2, rel=0.05)
    joint = dataclasses.replace(MODEL, channel_handling="joint")  # made for its own number
    for count in (0, 1):
        assert training.plan(joint, 1000, CONFIG, channels=count).gmacs == pytest.approx(
            training.plan(joint, 1000, CONFIG).gmacs
        )


def passes(roomy, examples):
    """The plan where so many examples fit beside the weights."""
    usable = roomy.fixed_gb + examples * roomy.example_gb
    return training.plan(MODEL, usable / 0.85, CONFIG)


def test_a_batch_is_split_into_the_fewest_passes_that_fit(roomy):
    found = passes(roomy, 5.5)
    assert found.fits and found.config.accumulate == 3  # 4 at a time: 5 does not divide 12
    assert found.config.batch == 12 and found.needed_gb <= 0.85 * found.memory_gb + 1e-9
    assert not found.config.gradient_checkpointing
    assert "-p accumulate 3" in found.text() and "12 examples in 3 passes" in found.text()


def test_then_blocks_are_recomputed_and_then_examples_shortened(roomy):
    tight = passes(roomy, 0.9)
    assert tight.config.gradient_checkpointing and tight.config.seconds_per_segment == 2
    assert tight.fits and tight.example_gb < roomy.example_gb
    tighter = passes(roomy, 0.4)
    assert tighter.config.seconds_per_segment < 2 and tighter.fits
    never = passes(roomy, 0.001)
    assert not never.fits and "take a smaller model" in never.text()


def test_the_command_line_plans_and_trains_nothing(tmp_path, capsys):
    words = ["train", "tiny", "--plan", "--memory-gb", "2", "--out", str(tmp_path / "run")]
    assert cli.main([*words, "-p", "seconds_per_segment", "0.5", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "parameters:" in said and "proposal:" in said and " of 2 GB" in said
    assert not (tmp_path / "run").exists()
