"""Faster ways to the same output: pieces and threads, lower precision, and how they are timed."""

import copy
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from bsrnn import benchmark, cli, models
from bsrnn.common import UsageError
from bsrnn.models import BandSplitSeparator, blocks, optimised, presets, sequence

SMALL = {"features": 16, "hidden": 16, "repeats": 2, "mask_hidden": 16}
KINDS = [
    ("paper", {}),
    ("paper", {"bidirectional": False}),
    ("paper", {"heads": 2, "hidden": 8}),
    ("obsrnn", {}),
    ("bandit", {}),
    ("bandit", {"bidirectional": False}),
    ("magronp", {"rnn": "conv"}),
    ("bscnn", {}),
    ("bandit", {"rnn": "transformer", "transformer_heads": 2}),
    ("bs-roformer", {"transformer_heads": 2, "head_features": 8, "linear_depth": 1}),
    ("mel-roformer", {"transformer_heads": 2, "head_features": 8, "skip": True}),
]


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def made(name, **changes):
    """A small network whose norms have gains and offsets of their own, and a mixture for it."""
    torch.manual_seed(0)
    config = replace(presets()[name], **{**SMALL, **changes})
    separator = BandSplitSeparator(config).eval()
    with torch.no_grad():
        for parameter in separator.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    channels = 1 if config.joint_channels == 1 and not config.tac else config.channels
    samples = config.chunk_samples or 60 * config.stft.hop
    return separator, 0.1 * torch.randn(1, channels, samples)


def peak_error(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("name", "changes"), KINDS)
def test_pieces_and_threads_change_nothing(name, changes, threads, monkeypatch):
    monkeypatch.setattr(sequence, "POSITIONS", 300)  # many pieces of rows and of steps
    monkeypatch.setattr(sequence, "LEAST_ROWS", 7)
    separator, mixture = made(name, **changes)
    whole = separator(mixture).detach()  # with gradients: nothing is cut
    with torch.no_grad():
        first = separator(mixture)
    with torch.inference_mode():
        again = separator(mixture)
    assert peak_error(first, whole) < 2e-6
    assert torch.equal(first, again)
    assert torch.get_num_threads() == threads


def test_layers_leave_their_input_alone():
    separator, _ = made("paper")
    z = torch.randn(1, 41, 20, 16)
    before = z.clone()
    with torch.no_grad():
        separator.sequence(z)
    assert torch.equal(z, before)


def test_each_keeps_order_modes_and_settings(threads):
    x = torch.zeros(1)
    seen = set()

    def job(number):
        time.sleep(0.01)
        seen.add(threading.current_thread().name)
        state = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads()
        return number, *state

    with torch.inference_mode():
        assert blocks.each(job, [(n,) for n in range(8)], x) == [
            (n, False, True, 1) for n in range(8)
        ]
    assert len(seen) == threads
    assert torch.get_num_threads() == threads
    later = []
    other = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert later == [threads]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        types = blocks.each(lambda: (torch.ones(2, 2) @ torch.ones(2, 2)).dtype, [()] * 3, x)
    assert types == [torch.bfloat16] * 3


def test_each_waits_for_all_before_it_raises(threads):
    ended = []

    def job(number):
        if number == 0:
            raise ValueError("the first")
        time.sleep(0.05)
        ended.append(number)

    with torch.no_grad(), pytest.raises(ValueError, match="the first"):
        blocks.each(job, [(n,) for n in range(4)], torch.zeros(1))
    assert len(ended) == (3 if threads > 1 else 0)
    assert torch.get_num_threads() == threads


def test_the_flop_counter_sees_as_much_with_any_number_of_threads(threads):
    from torch.utils.flop_counter import FlopCounterMode

    separator, mixture = made("paper")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        separator(mixture)
    torch.set_num_threads(1)
    with FlopCounterMode(display=False) as alone, torch.no_grad():
        separator(mixture)
    assert counter.get_total_flops() == alone.get_total_flops() > 0


def test_recorded_work_is_not_cut():
    x = torch.zeros(1)
    with torch.no_grad():
        assert blocks.in_pieces(x)
        assert not blocks.in_pieces(torch.zeros(1, device="meta"))
        told = []
        torch.jit.trace(lambda y: told.append(blocks.in_pieces(y)) or y + 1, x, check_trace=False)
    assert not any(told) and told
    assert not blocks.in_pieces(x)  # gradients are on


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("paper", {}), ("magronp", {}), ("magronp", {"channel_handling": "joint"}), ("bandit", {}),
        ("bandit-v7", {"mask_parts": "real"}), ("amanteur", {"frames": 41}),
        ("bs-roformer", {"transformer_heads": 2, "head_features": 8}),
        ("mel-roformer", {"transformer_heads": 2, "head_features": 8}),
    ],
)  # fmt: skip
def test_the_plain_form_is_the_same_network(name, changes):
    separator, mixture = made(name, **changes)
    plain = benchmark.plain(separator)
    with torch.inference_mode():
        assert peak_error(plain(mixture), separator(mixture)) < 1e-5
        victim = separator.sequence.blocks[0].band.layer
        weight = victim.project.weight if hasattr(victim, "project") else victim.steps[0].out.weight
        weight += 1  # the weights are shared: both hear it
        assert peak_error(plain(mixture), separator(mixture)) < 1e-5


def test_what_has_no_plain_form_says_so():
    for name, changes, words in [
        ("obsrnn", {}, "TAC"),
        ("bscnn", {}, "choose lstm, gru or roformer"),
        ("crlandsc", {"frames": 41}, "scrambled"),
    ]:
        with pytest.raises(UsageError, match=words):
            benchmark.plain(made(name, **changes)[0])


@pytest.mark.parametrize(
    ("name", "changes", "bf16_db", "int8_db"),
    [  # measured: bf16 47 to 48 dB, int8 38 to 43 dB
        ("paper", {}, 43, 32), ("obsrnn", {}, 43, 30), ("bandit", {}, 43, 30),
        ("bs-roformer", {"transformer_heads": 2, "head_features": 8}, 43, 30),
    ],
)  # fmt: skip
def test_lower_precision_agrees(name, changes, bf16_db, int8_db):
    separator, mixture = made(name, **changes)
    before = copy.deepcopy(separator.state_dict())
    with torch.inference_mode():
        expected = separator(mixture)
        for precision, least in (("bf16", bf16_db), ("int8", int8_db)):
            found = optimised(separator, precision)(mixture, stems=separator.stems)
            assert found.dtype == torch.float32
            agreement = benchmark.agreement_db(expected, found)
            assert least < agreement < 80, precision  # and it is not float32 in disguise
        assert torch.equal(optimised(separator)(mixture), expected)
        assert torch.equal(separator(mixture), expected)
    for key, tensor in separator.state_dict().items():
        assert torch.equal(tensor, before[key]) and tensor.dtype == before[key].dtype


def test_optimised_separators_have_their_faces_and_limits():
    separator, mixture = made("paper", stems=("drums", "bass"))
    bag = models.SeparatorBag([separator, made("paper")[0]])
    for one in (separator, bag):
        found = optimised(one, "bf16")
        assert found.stems == one.stems and found.sample_rate == one.sample_rate
        with torch.inference_mode():
            assert found(mixture, stems=["bass"]).shape[1] == 1
    with pytest.raises(UsageError, match="did you mean bf16"):
        optimised(separator, "bf61")
    with pytest.raises(UsageError, match="no int8 form"):
        optimised(made("bandit", rnn="transformer", transformer_heads=2)[0], "int8")


def test_compiled_separators_give_the_same_output():
    separator, mixture = made("paper", repeats=1)
    with torch.inference_mode():
        found = optimised(separator, compile="eager")(mixture)
        assert peak_error(found, separator(mixture)) < 1e-5


class Gain:
    """A separator that is no band-split network."""

    stems, sample_rate, channels = ("half",), 8000, 3

    def __init__(self, gain=0.5, pause_s=0.0):
        self.gain, self.pause_s = gain, pause_s

    def __call__(self, mixture):
        assert mixture.shape == (1, 3, 4000)
        time.sleep(self.pause_s)
        return self.gain * mixture[:, None]


def test_measure_compares_with_the_first_option(monkeypatch):
    monkeypatch.setattr(benchmark, "PEAK_SIZE", 64)
    before = torch.get_num_threads()
    options = {"slow": Gain(pause_s=0.05), "fast": Gain(), "off": Gain(0.505)}
    table = benchmark.measure({"gain": options, "alone": Gain()}, 0.5, (1, 2), 2)
    assert torch.get_num_threads() == before
    assert list(table["option"]) == ["slow", "fast", "off"] * 2 + ["", ""]
    assert list(table["threads"]) == [1] * 3 + [2] * 3 + [1, 2]
    first = table.iloc[:3]
    assert first["ratio"].iloc[0] == 1 and first["ratio"].iloc[1] > 3
    assert list(first["agreement_db"].round(3)) == [np.inf, np.inf, 40]
    assert first["median_s"].iloc[0] >= 0.05 and first["real_time"].iloc[0] >= 0.1
    assert table["of_peak"].isna().all() and (table["peak_gflops"] > 0).all()
    assert (table["bf16_product"] > 0).all()
    for wrong in ({"seconds": 0}, {"repeats": 0}, {"threads": (0,)}):
        with pytest.raises(UsageError, match="measure needs"):
            benchmark.measure({"alone": Gain()}, **wrong)


def test_the_share_of_the_peak_counts_two_channels():
    separator, _ = made("paper")
    whole = benchmark._gflop(separator, 2.0)
    joint, _ = made("paper", channel_handling="joint")
    assert whole == pytest.approx(2e-9 * models_cost(separator.config, 2.0))
    assert benchmark._gflop(joint, 2.0) < 0.7 * whole


def models_cost(config, seconds):
    from bsrnn.models.cost import cost

    return 2 * cost(replace(config, channels=1), seconds).matmul_macs


def test_the_command_measures(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "PEAK_SIZE", 64)
    table = tmp_path / "new" / "speed.csv"
    words = ["cost", "tiny", "--measure", "--seconds", "0.5", "--repeats", "1", "--threads", "1"]
    assert cli.main([*words, "--csv", str(table), "-p", "features", "8"]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert [line[1] for line in lines[1:]] == ["plain", "fp32", "bf16", "int8"]
    assert table.read_text().startswith("model,option,threads,input_s,median_s")
    assert [path.name for path in table.parent.iterdir()] == ["speed.csv"]
    assert cli.main([*words[:-1], "one"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
