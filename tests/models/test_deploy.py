"""Exported networks: equal masks, the same interface, one line where a package is absent."""

import sys

import numpy as np
import pytest
import soundfile
import torch
from test_baselines import small_d3net, tiny

import bsrnn
from bsrnn import cli, deploy, models
from bsrnn.audio.stft import StftConfig
from bsrnn.bands import BandScheme
from bsrnn.common import DataError, UsageError
from bsrnn.models import D3NetSeparator

RATE = 44100
NEEDED = {"openvino": "openvino", "onnx": "onnxruntime"}
SHARES = (
    np.repeat([1, 0.25], [20, 20]).astype(np.float32),
    np.repeat([0.75, 1], [20, 89]).astype(np.float32),
)
RANGES = ((0, 9), (9, 40), (40, 71), (71, 129))


def small(ranges=RANGES, weights=None, **changes):
    scheme = BandScheme("few", ranges, RATE, 256, weights).to_json()
    return tiny(scheme=scheme, stft=StftConfig(256, 64), features=8, hidden=6, **changes)


KINDS = {
    "lstm": lambda: small(stems=("vocals", "drums")),
    "overlapping": lambda: small(
        ((0, 40), (20, 129)), SHARES, rnn="gru", split_norm="layer", block_norm="layer",
        mask_parts="real",
    ),
    "joint-residual": lambda: small(
        channel_handling="joint", stems=("vocals", "other"), residual_last=True
    ),
    "d3net": small_d3net,
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=["openvino", "onnx"])
def backend(request):
    for package in {request.param, NEEDED[request.param]}:
        pytest.importorskip(package, reason=f"pip install {package}")
    return request.param


def made(kind):
    torch.manual_seed(0)
    return KINDS[kind]().eval()


def noise(samples):
    chance = np.random.default_rng(samples)
    return (0.1 * chance.standard_normal((2, samples))).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_eager_through_a_file(backend, kind, tmp_path):
    separator = made(kind)
    several = isinstance(separator, D3NetSeparator)
    path = tmp_path / ("networks" if several else f"one{deploy.FORMATS[backend]}")
    separator.passport["made"] = "here"
    assert deploy.export(separator, path, backend, seconds=0.5) == path
    names = {file.name for file in (path if several else tmp_path).iterdir()}
    stems = separator.stems if several else ("one",)
    suffixes = (".xml", ".bin") if backend == "openvino" else (".onnx",)
    assert names == {f"{stem}{suffix}" for stem in stems for suffix in suffixes}
    found = deploy.load(path, threads=1)
    assert found.stems == separator.stems and found.sample_rate == RATE
    assert found.passport["made"] == "here" and not found.training
    mixture = noise(30_011)
    same = {"chunk_s": (found.config.chunk_samples or 22_050) / RATE, "overlap": 0.1}
    one = bsrnn.separate(separator, mixture, RATE, **same)
    two = bsrnn.separate(found, mixture, RATE, **same)
    for stem, expected in one.items():
        peak = np.abs(expected).max()
        assert peak > 1e-4 and np.abs(two[stem] - expected).max() < 1e-4 * peak, stem
    if not several:
        with pytest.raises(UsageError, match="takes chunks of"):
            found(torch.zeros(1, 2, 9000))


@pytest.fixture(scope="module")
def exported(backend, tmp_path_factory):
    path = tmp_path_factory.mktemp("deploy") / f"m{deploy.FORMATS[backend]}"
    return deploy.export(made("lstm"), path, seconds=0.3)


def test_any_length_and_channels_after_export(exported):
    found = deploy.load(exported, threads=1)
    for samples, channels in [(1, 2), (700, 1), (50_000, 2), (50_000, 1)]:
        stems = bsrnn.separate(found, noise(samples)[:channels], RATE)
        assert all(x.shape == (channels, samples) for x in stems.values())


def test_a_bag_becomes_a_folder(tmp_path):
    pytest.importorskip("onnx", reason="pip install onnx onnxruntime")
    bag = models.SeparatorBag([small(), small(stems=("drums",))]).eval()
    with pytest.raises(UsageError, match="need a folder"):
        deploy.export(bag, tmp_path / "bag.onnx")
    found = deploy.load(deploy.export(bag, tmp_path / "bag", "onnx", 0.5), threads=1)
    assert found.stems == ("vocals", "drums")
    mixture = torch.from_numpy(noise(found.config.chunk_samples))[None]
    with torch.inference_mode():
        assert torch.allclose(found(mixture), bag(mixture), atol=1e-5)


def test_the_command_separates_through_a_backend(exported, tmp_path, capsys):
    song, model = tmp_path / "song.wav", tmp_path / "model.safetensors"
    soundfile.write(song, noise(20_000).T, RATE, subtype="FLOAT")
    models.save(made("lstm"), model)
    ways = {"torch": ["--model", model, "--threads", 1], "file": ["--model", exported]}
    if exported.suffix == ".onnx":
        ways["onnx"] = ["--model", model, "--backend", "onnx", "--threads", 1]
    results = {}
    for name, words in ways.items():
        words = ["separate", song, "-o", tmp_path / name, *words]
        assert cli.main([str(word) for word in words]) == 0
        results[name], _ = soundfile.read(tmp_path / name / "song/vocals.wav", dtype="float32")
    for found in results.values():  # chunks of other lengths, so other means in the norms
        error = np.abs(found - results["torch"])
        assert found.shape == (20_000, 2) and np.median(error) < 0.1 * np.abs(found).max()
    assert "vocals.wav" in capsys.readouterr().out
    assert cli.main(["separate", str(song), "--backend", "tensorrt"]) == 2


def test_what_is_absent_is_named_with_its_command(tmp_path, monkeypatch):
    for package, path in [("openvino", "a.xml"), ("onnx", "a.onnx")]:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(UsageError, match=f"^{package} is not installed: pip install {package}"):
            deploy.export(made("joint-residual"), tmp_path / path, seconds=0.3)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for path, package in [("a.xml", "openvino"), ("a.onnx", "onnxruntime")]:
        (tmp_path / path).write_text("")
        with pytest.raises(UsageError, match=f"^{package} is not installed: pip install"):
            deploy.load(tmp_path / path)
    assert len(list(tmp_path.iterdir())) == 2


def test_wrong_use_is_one_line(backend, tmp_path):
    suffix = deploy.FORMATS[backend]
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(b"nothing")
    query = models.build(bsrnn.models.presets()["banquet"]) if backend == "onnx" else None
    for make, kind, words in [
        (lambda: deploy.load(broken), DataError, "cannot read it"),
        (lambda: deploy.load(tmp_path / "no.xml"), UsageError, "no exported network"),
        (lambda: deploy.export(made("lstm"), tmp_path / "a.pt"), UsageError, "deployment format"),
        (lambda: deploy.export(made("lstm"), tmp_path / "a.pt", backend), UsageError, "ends in"),
        (lambda: deploy.export(query, tmp_path / "a", backend), UsageError, "only band-split"),
        (lambda: deploy.load(broken, precision="f16"), UsageError, "unknown precision"),
    ]:
        with pytest.raises(kind, match=words):
            make()
    if backend == "onnx":
        path = deploy.export(made("joint-residual"), tmp_path / "ok.onnx", seconds=0.3)
        with pytest.raises(UsageError, match="use OpenVINO for bf16"):
            deploy.load(path, precision="bf16")
        import onnx

        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.save(model, path)
        with pytest.raises(DataError, match="not written by bsrnn.deploy.export"):
            deploy.load(path)
