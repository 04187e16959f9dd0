"""Several separators as one, passes over turned mixtures, queries, and trials before a long run."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from test_separation import RATE, Gains, Mono, Stereo, noise

import bsrnn
from bsrnn import audio, cli, separation
from bsrnn.common import UsageError
from bsrnn.models import BandSplitSeparator, presets
from bsrnn.separation import Blend, probing, separate


class Other(Gains):
    stems, gains = ("half", "rest"), (0.1, 0.9)


def test_stems_are_weighted_means_of_those_that_have_them(tmp_path):
    mixture = noise(5000)
    blend = Blend([Gains(), Other()], {"half": (1, 3)})
    assert blend.stems == ("all", "half", "minus", "rest")
    found = separate(blend, mixture, RATE, chunk_s=0.2)
    for stem, gain in {"all": 1.0, "half": 0.25 * 0.5 + 0.75 * 0.1, "rest": 0.9}.items():
        assert np.allclose(found[stem], gain * mixture, atol=1e-6), stem
    path = audio.write(tmp_path / "a.wav", mixture, RATE)
    paths = separation.separate_file(blend, path, tmp_path, stems=("half",), residual="no_half")
    assert np.allclose(audio.read(paths["no_half"])[0], 0.8 * mixture, atol=1e-6)
    plain = separate(Blend([Gains(), Other()]), mixture, RATE, stems=("half",))["half"]
    assert np.allclose(plain, 0.3 * mixture, atol=1e-6)


def test_members_keep_their_channels_and_their_shortest_input():
    mixture = noise(3000, 2)
    found = separate(Blend([Mono(), Stereo()]), mixture, RATE)["half"]
    assert np.allclose(found, 0.25 * (mixture + mixture[::-1]), atol=1e-6)  # Stereo swaps
    network = BandSplitSeparator(presets()["tiny"]).eval()

    class Fast(Other):
        sample_rate = 44100

    assert separate(Blend([network, Fast()]), noise(3), 44100)["rest"].shape == (2, 3)


@pytest.mark.parametrize(
    ("members", "weights", "words"),
    [
        ([Gains(), type("Slow", (Gains,), {"sample_rate": 48000})()], None, "do not blend"),
        ([Gains(), Other()], (1, 2, 3), "give 2 numbers"),
        ([Gains(), Other()], {"hlaf": (1, 2)}, "did you mean half"),
        ([Gains(), Other()], {"rest": (1, 0)}, "one of them above 0"),
        ([Gains(), Other()], (1, -1), "give 0 or more"),
    ],
)
def test_blends_that_cannot_be(members, weights, words):
    with pytest.raises(UsageError, match=words):
        Blend(members, weights)


class Biased(Gains):
    """Hears left louder than right, and adds a constant: what the three passes take out."""

    stems = ("all",)

    def __call__(self, mixture):
        found = mixture.clone()
        found[:, 0] *= 1.5
        found[:, -1] *= 0.5
        return (found + 0.3)[:, None]


def test_turned_passes_are_turned_back():
    mixture = noise(4000)
    found = separate(Biased(), mixture, RATE, tta=True, chunk_s=0.2)["all"]
    gains = np.array([(1.5 + 0.5 + 1.5) / 3, (0.5 + 1.5 + 0.5) / 3])[:, None]
    assert np.allclose(found, gains * mixture + 0.1, atol=1e-6)
    mono = separate(Gains(), mixture[:1], RATE, tta=True, shifts=2)["half"]
    assert np.allclose(mono, 0.5 * mixture[:1], atol=1e-6)


def test_a_query_reaches_the_network_as_often_as_there_are_chunks():
    class Asked(Gains):
        stems = ("all",)

        def __call__(self, mixture, query):
            assert query.shape == (len(mixture), 3)
            return (query.sum(1)[:, None, None] * mixture)[:, None]

    options = {"chunk_s": 0.1, "batch": 3, "query": np.array([0.5, 1.0, 0.5])}
    assert np.allclose(separate(Asked(), noise(3000), RATE, **options)["all"], 2 * noise(3000))
    network = BandSplitSeparator(dataclasses.replace(presets()["tiny"], query=3)).eval()
    zero, other = (
        separate(network, 0.1 * noise(4000), 44100, query=np.array(q, np.float32))
        for q in ([0, 0, 0], [9, 9, 9])
    )
    assert np.abs(zero["vocals"] - other["vocals"]).max() > 1e-4
    with pytest.raises(UsageError, match="needs a query"):
        separate(network, 0.1 * noise(4000), 44100)


def test_the_encoder_of_queries_is_an_extra(monkeypatch):
    with pytest.raises(UsageError, match="pip install hear21passt"):
        separation.embedding(noise(4000), 44100)

    class Encoder(torch.nn.Module):
        def forward(self, sound):
            return sound.mean(1, keepdim=True).expand(-1, 768) + sound.shape[1]

    base = type("Base", (), {"get_basic_model": staticmethod(lambda mode, arch: Encoder())})
    monkeypatch.setattr("bsrnn.separation.blending.optional", lambda name: base)
    asked = separation.embedding(np.ones((2, 11 * 44100), np.float32), 44100)
    assert asked.shape == (768,) and asked[0] == pytest.approx(320001, abs=0.01)


def run(capsys, *words):
    code = cli.main(["separate", *map(str, words)])
    told = capsys.readouterr()
    return code, told.out.splitlines(), told.err.splitlines()


def test_the_command_blends_asks_turns_and_refuses(tmp_path, capsys, monkeypatch):
    models = {"a": Gains(), "b": Other()}
    monkeypatch.setattr(bsrnn, "load", lambda name, *_, **__: models[name])
    path = audio.write(tmp_path / "song.wav", noise(4000), RATE)
    np.save(tmp_path / "q.npy", np.ones(3))
    both = (path, "--model", "a", "--model", "b", "-o", tmp_path / "out")
    code, out, _ = run(capsys, *both, "--blend", "half=1,3", "--tta", "--stems", "half")
    assert code == 0 and len(out) == 1
    assert np.allclose(audio.read(out[0])[0], 0.2 * noise(4000), atol=1e-6)
    for words, message in [
        ((*both, "--blend", "1;2"), "write 2,1 or vocals=2,1"),
        ((*both, "--blend", "1,2", "--blend", "half=1,1"), "write one of the two"),
        ((*both, "--blend", "1,2,3"), "give 2 numbers"),
        ((*both[:3], "--blend", "1,2"), "--model twice or more"),
        ((*both, "--query", path), "pip install hear21passt"),
        ((*both, "--query", tmp_path / "no.npy"), "no file"),
    ]:
        code, _, err = run(capsys, *words)
        assert code == 2 and len(err) == 1 and message in err[0], err


# ---------------------------------------------------------------- trials


@pytest.mark.parametrize(
    ("product", "agreement", "times", "chosen", "words"),
    [
        (1.0, None, None, "fp32", "products are 1.00 times as fast"),
        (2.0, 44.9, None, "fp32", "agrees to 45 dB only"),
        (2.0, 60.0, (1.0, 0.95), "fp32", "bf16 is 1.05 times as fast"),
        (2.0, 60.0, (1.0, 0.5), "bf16", "2.0 times as fast as fp32 here, 60 dB"),
    ],
)
def test_auto_takes_bf16_only_where_it_is_faster_and_agrees(
    monkeypatch, product, agreement, times, chosen, words
):
    """Two kinds of processor, by masking what the trials find."""
    network = BandSplitSeparator(presets()["tiny"]).eval()
    monkeypatch.setattr(probing, "product_gain", lambda device: product)
    monkeypatch.setattr(probing, "agreement_db", lambda a, b: agreement)
    monkeypatch.setattr(
        probing, "timed", lambda engine, sound: times[engine.separator is not network]
    )
    made, why = separation.faster(network, 0.1 * noise(2000))
    assert (made is network) == (chosen == "fp32") and why.startswith(chosen) and words in why


def test_auto_measures_this_network_on_this_sound(monkeypatch):
    monkeypatch.setattr(probing, "product_gain", lambda device: 2.0)
    network = BandSplitSeparator(presets()["tiny"]).eval()
    monkeypatch.setattr(probing, "AGREEMENT_DB", 200.0)
    made, why = separation.faster(network, 0.1 * noise(4000))
    agreement = float(re.search(r"(\d+) dB", why)[1])
    assert made is network and 25 < agreement < 100
    monkeypatch.undo()
    assert 0 < probing.product_gain(torch.device("cpu")) < 100


def test_the_time_is_told_on_a_terminal_before_it_starts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bsrnn, "load", lambda *_, **__: Gains())
    monkeypatch.setattr("bsrnn.cli.separate.WORTH_TELLING_S", 0.1)
    monkeypatch.setattr(separation, "forecast_s", lambda net, seconds, **options: 90 * seconds)
    path = audio.write(tmp_path / "song.wav", noise(RATE), RATE)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    words = (path, tmp_path / "broken.wav", "-o", tmp_path / "out", "--model", "a")
    assert not any("min of sound" in line for line in run(capsys, *words)[2])
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert "about 1.5 min for 0.0 min of sound (90.00 s a second)" in run(capsys, *words)[2]


def test_the_time_told_is_that_of_the_chunks(monkeypatch):
    """A clock that counts the multiply-accumulates of each call."""
    network = BandSplitSeparator(presets()["tiny"]).eval()
    spent = []

    def clock(engine, sound):
        samples = sound.shape[-1] - engine.offsets[-1]
        spent.append(bsrnn.cost.cost(network.config, samples / 44100).macs)
        return spent[-1] * len(engine.offsets) * (3 if engine.tta else 1)

    monkeypatch.setattr(probing, "timed", clock)
    chunk = bsrnn.cost.cost(network.config, 10.0).macs
    assert separation.forecast_s(network, 10.0) == pytest.approx(chunk, rel=0.02)
    assert separation.forecast_s(network, 100.0) == pytest.approx(11 * chunk, rel=0.02)
    twice = separation.forecast_s(network, 100.0, shifts=2, tta=True)
    assert twice == pytest.approx(66 * chunk, rel=0.02)
    assert max(spent) < chunk / 5, "the trial is short"
