"""Every system behind the one interface: baselines, D3Net and our own networks."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from golden_fill import GOLDEN, Fixture, fill
from torchaudio.models import HDemucs

import bsrnn
from bsrnn import cli, data, evaluation, models
from bsrnn.audio.stft import StftConfig
from bsrnn.common import DataError, UsageError
from bsrnn.data import toyband
from bsrnn.models import D3NetConfig, D3NetSeparator
from bsrnn.models import cost as costs
from bsrnn.models.cost import cost, counted
from bsrnn.models.zoo import baselines, peers, registry
from bsrnn.models.zoo.d3net_config import TARGETS, StackConfig, TargetConfig

RATE = 44100
FOUR = ["drums", "bass", "other", "vocals"]


pytestmark = pytest.mark.usefixtures("one_thread")


def small_d3net():
    stack = StackConfig(2, (2,), (1,), (1,))
    target = TargetConfig((16, 64), (stack, stack), stack, 2, 1, 128, 64)
    return D3NetSeparator(D3NetConfig(("vocals", "drums"), (target,) * 2, StftConfig(512, 256)))


def small_unmix():
    networks = {stem: baselines.OpenUnmix(2, 8, 129, 100, 2) for stem in FOUR}
    return baselines.OpenUnmixSeparator(networks)


def small_demucs():
    return baselines.HybridDemucs(HDemucs(FOUR, channels=4, depth=5, nfft=1024))


def tiny(**changes):
    config = models.presets()["tiny"].replace(**changes)
    return models.build(config)


SYSTEMS = {
    "hpss": baselines.Hpss,
    "open-unmix": small_unmix,
    "hdemucs": small_demucs,
    "d3net": small_d3net,
    "bsrnn": tiny,
    "bsrnn-joint": lambda: tiny(channel_handling="joint", stems=("vocals", "drums")),
    "bag": lambda: models.SeparatorBag([tiny(), tiny(stems=("drums",))]),
}


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request):
    torch.manual_seed(0)
    made = SYSTEMS[request.param]()
    return made.eval() if isinstance(made, torch.nn.Module) else made


def noise(samples, channels=2):
    chance = np.random.default_rng(samples)
    return (0.1 * chance.standard_normal((channels, samples))).astype(np.float32)


def test_call_and_its_shape(system):
    assert len(system.stems) >= 1 and system.sample_rate == RATE
    assert isinstance(system.passport, dict)
    with torch.inference_mode():
        found = system(torch.from_numpy(np.stack([noise(9000), noise(9000)[::-1].copy()])))
    assert found.shape == (2, len(system.stems), 2, 9000) and found.dtype == torch.float32
    assert found.device.type == "cpu" and torch.isfinite(found).all()


@pytest.mark.parametrize("samples", [0, 1, 700, 30_011])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_length_mono_and_stereo(system, samples, channels):
    found = bsrnn.separate(system, noise(samples, channels), RATE, chunk_s=0.5)
    assert tuple(found) == tuple(system.stems)
    for estimate in found.values():
        assert estimate.shape == (channels, samples) and np.isfinite(estimate).all()


def test_silence_stays_almost_silent(system):
    found = bsrnn.separate(system, np.zeros((2, 20_000), np.float32), RATE)
    untrained = 0.5 if isinstance(system, (D3NetSeparator, baselines.HybridDemucs)) else 1e-6
    for estimate in found.values():  # an untrained network may answer silence with an offset
        assert np.abs(estimate).max() <= untrained


def test_a_file_to_files(system, tmp_path):
    path, mixture = tmp_path / "song.wav", noise(12_000)
    soundfile.write(path, mixture.T, RATE, subtype="FLOAT")
    paths = bsrnn.separate_file(system, path, tmp_path / "out")
    expected = bsrnn.separate(system, mixture, RATE)
    for stem in system.stems:
        found, rate = soundfile.read(paths[stem], dtype="float32")
        assert rate == RATE and np.abs(found.T - expected[stem]).max() < 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("baselines") / "songs"
    return toyband.make(path, seconds=2, train=2, test=1, seed=3)


@pytest.fixture(scope="module")
def songs(folder):
    return data.open(folder).subset("test")


def test_evaluation(system, songs):
    report = evaluation.evaluate(system, songs, progress=False, ladder=("silence", "mixture"))
    rows = report.frame
    scored = rows[(rows.system == "model") & (rows.metric == "usdr")]
    assert set(scored.stem) == set(system.stems) & {"vocals", "drums", "bass", "other"}
    assert np.isfinite(scored.value_db).all()


def test_the_floors_do_something(songs):
    (song,) = list(songs)
    sources = song.sources()
    mixture = sum(sources.values())
    hpss = bsrnn.separate(baselines.Hpss(), mixture, RATE)
    assert np.abs(hpss["drums"] + hpss["other"] - mixture).max() < 1e-3
    better = bsrnn.metrics.usdr(sources["drums"], hpss["drums"])
    assert better > bsrnn.metrics.usdr(sources["drums"], mixture)


def test_floors_load_by_name_and_the_command_evaluates_them(folder, capsys):
    for name, kind in baselines.FLOORS.items():
        assert isinstance(bsrnn.load(name), kind)
    with pytest.raises(UsageError, match="did you mean hpss"):
        bsrnn.load("hpps")
    assert cli.main(["evaluate", "hpss", "--dataset", str(folder)]) == 0
    assert "model" in capsys.readouterr().out


# ---- Open-Unmix ----------------------------------------------------------------------------------


def unmix(fixture, filtered=True):
    shapes, exceptions = fixture.meta["filled"], fixture.meta["exceptions"]
    networks = {
        stem: baselines.OpenUnmix.from_state(
            {name: fill(seed, name, shape, exceptions) for name, shape in shapes}
        )
        for stem, seed in fixture.meta["network_seeds"].items()
    }
    return baselines.OpenUnmixSeparator(networks, filtered=filtered).eval()


@pytest.mark.parametrize(
    "key, gain, filtered",
    [("output", 1, True), ("output_loud", 20, True), ("output_niter0", 1, False)],
)
def test_open_unmix_equals_the_package(key, gain, filtered):
    fixture = Fixture(GOLDEN / "openunmix_small.npz")
    separator = unmix(fixture, filtered)
    assert separator.stft == StftConfig(256, 64)
    with torch.inference_mode():
        found = separator(gain * fixture.mixture)
    expected = fixture.arrays[key]
    assert fixture.error(found, expected) < 5e-5 * np.abs(expected).max()


def test_open_unmix_files_join_and_are_strict(tmp_path):
    fixture = Fixture(GOLDEN / "openunmix_small.npz")
    whole = unmix(fixture)
    for stem, network in whole.networks.items():
        state = {n: x for n, x in network.state_dict().items() if "tracked" not in n}
        state |= {"sample_rate": torch.tensor(44100.0), "stft.window": torch.hann_window(256)}
        torch.save(state, tmp_path / f"{stem}-0123abcd.pth")
    separator = bsrnn.load(tmp_path)
    assert separator.stems == ("bass", "drums", "vocals")
    with torch.inference_mode():
        found = separator(fixture.mixture)
        rows = [whole.stems.index(stem) for stem in separator.stems]
        assert torch.allclose(found, whole(fixture.mixture)[:, rows], atol=1e-6)
    path = tmp_path / "drums-0123abcd.pth"
    for name, words in [("fc2.weight", "misses fc2.weight"), ("input_mean", "misses input_mean")]:
        broken = torch.load(path, weights_only=True)
        broken.pop(name)
        torch.save(broken, tmp_path / "drums.pth")
        with pytest.raises(DataError, match=words):
            bsrnn.load(tmp_path / "drums.pth")


def test_published_sizes():
    with torch.device("meta"):
        assert sum(p.numel() for p in baselines.OpenUnmix().parameters()) == 8_893_348
        wide = baselines.OpenUnmix(1, 512, 2049, 2049)
        assert 3 * sum(p.numel() for p in wide.parameters()) == 22_103_058
        demucs = baselines.untrained("hdemucs")
    assert sum(p.numel() for p in demucs.parameters()) == 83_639_368
    assert demucs.stems == tuple(FOUR) and demucs.channels == 2


PACKAGES = {
    "openunmix": small_unmix,
    "bs_roformer": lambda: models.build(
        models.presets()["bs-roformer"].replace(
            features=16, repeats=2, transformer_heads=2, head_features=8, zero_dc=False
        )
    ),
}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_network_of_a_package_says_the_same_with_our_weights(package, monkeypatch):
    separator = PACKAGES[package]().eval()
    with monkeypatch.context() as absent:
        absent.setitem(sys.modules, package, None)
        with pytest.raises(UsageError, match=f"{package} is not installed: pip install {package}"):
            peers.peer(separator)
    assert peers.peer(tiny()) == {}
    pytest.importorskip(package)
    (network,) = peers.peer(separator).values()
    mixture = torch.from_numpy(noise(60 * 441))[None]  # whole hops: the rest is left out there
    with torch.inference_mode():
        assert network(mixture[..., :-9]).shape[1:] == (len(separator.stems), 2, 60 * 441 - 9)
        assert bsrnn.benchmark.agreement_db(separator(mixture), network(mixture)) > 110


# ---- Hybrid Demucs -------------------------------------------------------------------------------


def test_demucs_follows_the_level_of_its_input():
    separator = small_demucs().eval()
    mixture = torch.from_numpy(noise(20_000))[None]
    with torch.inference_mode():
        one, quiet = separator(mixture), separator(1e-3 * mixture)
    assert torch.allclose(1e3 * quiet, one, atol=1e-3 * one.abs().max())


def test_weights_come_through_the_registry(tmp_path, monkeypatch):
    """A file in the cache is used; without one and without a network, one line says the way."""
    monkeypatch.setenv("BSRNN_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("torchaudio.models.hdemucs_high", lambda sources: small_demucs().network)
    for name, weights in [("hdemucs", "hdemucs-musdb"), ("hdemucs-plus", "hdemucs-musdb-plus")]:
        passport = registry.passports()[weights]
        state = small_demucs().network.state_dict()
        (tmp_path / weights).mkdir()
        torch.save(state, tmp_path / weights / passport["file"])
        separator = bsrnn.load(name)
        assert separator.passport["saw_test"] == ("yes" if "plus" in name else "no")
        for key, tensor in separator.network.state_dict().items():
            assert torch.equal(tensor, state[key])
    state.pop("freq_encoder.0.conv.bias")
    torch.save(state, tmp_path / weights / passport["file"])
    with pytest.raises(DataError, match="misses freq_encoder.0.conv.bias"):
        bsrnn.load("hdemucs-plus")

    def offline(*args, **kwargs):
        import requests

        raise requests.ConnectionError

    monkeypatch.setattr("requests.get", offline)
    for name in ("open-unmix", "umxhq-bass"):
        with pytest.raises(DataError, match="cannot download https://zenodo.org.*put it at"):
            bsrnn.load(name)


# ---- cost ----------------------------------------------------------------------------------------


def test_counted_cost_equals_the_closed_form_where_there_is_one():
    separator = tiny(stems=("vocals", "drums"))
    expected = cost(separator.config, 1.0)
    plain = models.BandSplitSeparator(separator.config)
    plain.channels = separator.config.channels
    ran = costs._ran(plain, 1.0)  # what torch has seen
    assert (ran.parameters, ran.macs) == (expected.parameters, expected.matmul_macs)
    assert counted(separator, 1.0).macs == expected.macs
    assert counted(baselines.Hpss()).parameters == 0


@pytest.mark.parametrize("stem, gmacs", [("vocals", 119.9), ("drums", 107.9), ("bass", 116.6)])
def test_work_of_d3net(stem, gmacs):
    """One patch; a separator runs two channel orders and patches that overlap by half."""
    target = TARGETS[stem]
    config = D3NetConfig((stem,), flip=False)
    config = replace(config, targets=(replace(target, shift=target.patch),))
    seconds = 100 * 1024 / RATE  # fewer frames than a patch: one patch
    with torch.device("meta"):
        separator = D3NetSeparator(config)
    assert counted(separator, seconds).macs / 1e9 == pytest.approx(gmacs, abs=0.05)
