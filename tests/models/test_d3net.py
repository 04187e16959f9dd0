"""D3Net: equal to what Sony's own code gave on NNabla, block by block, file by file."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, Fixture, draw, fill

import bsrnn
from bsrnn import data, training
from bsrnn.audio.stft import StftConfig, istft, stft
from bsrnn.common import DataError, UsageError
from bsrnn.data import toyband
from bsrnn.models import D3NetConfig, D3NetSeparator
from bsrnn.models.zoo import d3net, d3net_files
from bsrnn.models.zoo.d3net_config import StackConfig, TargetConfig
from bsrnn.models.zoo.wiener import wiener

PUBLISHED = {"vocals": 2_967_407, "drums": 2_873_284, "bass": 2_419_822, "other": 2_967_407}
CHECKED = {"vocals": 1098, "drums": 1098, "bass": 1128, "other": 1098}  # arrays in an .h5


pytestmark = pytest.mark.usefixtures("one_thread")


def magnitudes(fixture, name="mag"):
    meta = fixture.meta
    x = 1.5 * np.abs(draw(meta["seed"], name, meta["input_shape"]))
    return torch.from_numpy(x.astype(np.float32)).transpose(1, 2)  # (B, T, C, F) -> (B, C, T, F)


def separator_of(fixture, stems=("target",), state=None, **changes):
    config = replace(D3NetConfig.from_original(fixture.meta["config"], stems), **changes)
    state = fixture.state if state is None else state
    return d3net_files.from_nnabla(dict.fromkeys(stems, state), config)


def close(found, expected, tolerance=5e-5):
    found = np.asarray(found.detach() if isinstance(found, torch.Tensor) else found)
    assert found.shape == expected.shape
    return np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("name", ["d2_3_4", "d2_4_1", "d3_2_2_4", "d3_3_3_2"])
def test_blocks(name):
    fixture = Fixture(GOLDEN / f"d3net_block_{name}.npz")
    config, inner = fixture.meta["config"], ("last.", "final_dense/", "B/")
    if name.startswith("d3"):
        inner = ("full.bottom.", "dense_full/bottleneck_block/", "")
        sizes = config["growth"], config["layers"], config["n_d2_blocks"]
        block = d3net.d3(config["in_channels"], *sizes)
    else:
        block = d3net.d2(config["in_channels"], config["growth"], config["layers"])
    ours, place, prefix = inner
    state = block.state_dict()
    for key in state:
        if not key.endswith("tracked"):
            theirs = d3net_files.theirs(ours + key).replace(place, prefix)
            state[key] = fixture.state.pop(theirs).reshape(state[key].shape)
    assert not fixture.state
    block.load_state_dict(state)
    x = draw(fixture.meta["seed"], "x", fixture.meta["input_shape"]).astype(np.float32)
    assert close(block.eval()(torch.from_numpy(x)), fixture.expected)


@pytest.mark.parametrize("name", ["toyA", "toyB", "full_vocals", "full_drums"])
def test_whole_networks(name):
    fixture = Fixture(GOLDEN / f"d3net_{name}.npz")
    separator = separator_of(fixture)
    network, taps = separator.networks["target"], {}
    for part, theirs in [("full", "dense_full"), ("last", "final_dense")]:
        getattr(network, part).register_forward_hook(
            lambda module, x, y, theirs=theirs: taps.update({theirs: y})
        )
    with torch.inference_mode():
        found = network(magnitudes(fixture)).transpose(1, 2)  # (B, T, C, F)
    t, f = (4, 31) if "full" in name else (1, 1)
    for theirs, y in taps.items():
        assert close(y[..., ::t, ::f], fixture.arrays[f"tap/{theirs}"])
    assert close(found[..., :: 16 if "full" in name else 1], fixture.expected)
    if "full" in name:
        assert close(found.square().mean(-1).sqrt(), fixture.arrays["output_rms"])
        settings = D3NetConfig((name.removeprefix("full_"),)).targets[0]
        got = separator.config.targets[0]
        assert [s.depth for s in got.bands] == [s.depth for s in settings.bands]
        rest = {"bands": settings.bands, "full": settings.full}  # their lists are longer than used
        assert replace(got, **rest) == settings


@pytest.mark.parametrize("stem", PUBLISHED)
def test_sizes_of_the_published_networks(stem):
    with torch.device("meta"):
        network = D3NetSeparator(D3NetConfig((stem,))).networks[stem]
    assert sum(p.numel() for p in network.parameters()) == PUBLISHED[stem]
    names = {d3net_files.theirs(name) for name in network.state_dict()} - {None}
    assert len(names) == CHECKED[stem]


def test_overlap_add():
    fixture = Fixture(GOLDEN / "d3net_overlap_add.npz")
    gains = torch.tensor([1, 0.25])[:, None, None]
    for case in fixture.meta["cases"]:
        patch, calls = case["patch"], []

        def network(v, patch=patch, calls=calls):
            calls.append(len(v))
            return v * (1 + torch.arange(patch) / patch)[:, None] * gains

        x = np.abs(draw(fixture.meta["seed"], case["name"], (case["frames"], 2, 5)))
        x = torch.from_numpy(x.astype(np.float32)).transpose(0, 1)[None]  # (1, C, T, F)
        sizes = patch, case["shift"], case["flip_average"]
        found = d3net.in_patches(network, x, *sizes, "published")[0].transpose(0, 1)
        expected = fixture.arrays[f"out/{case['name']}"]
        assert close(found, expected) and calls == [case["batch"]] * case["n_calls"]
        count = len(calls)
        # ours agrees where all patches lie, and does not fade the end
        ours = d3net.in_patches(network, x, *sizes)[0].transpose(0, 1)
        frames, shift = case["frames"], case["shift"]
        fades = (frames - 1) // shift + patch // shift > count  # patches over the last frame
        assert torch.equal(ours, found) != fades
        same = d3net.in_patches(lambda v: v, x, *sizes)
        assert torch.allclose(same, x)


def test_wiener_filter():
    fixture = Fixture(GOLDEN / "d3net_mwf.npz")
    stems = fixture.meta["config"]["sources"]

    def spectrum(name):  # [frame, channel, bin, (re, im)]
        x = torch.view_as_complex(torch.from_numpy(fixture.arrays[name]))
        return x.permute(1, 2, 0)[None]  # (1, C, F, T)

    estimates = torch.stack([spectrum(f"in/{stem}") for stem in stems], dim=1)
    mixture = spectrum("mix")
    found = wiener(estimates, mixture)
    expected = torch.stack([spectrum(f"out/{stem}") for stem in stems], dim=1)
    error, peak = (found - expected).abs().amax((0, 1, 2)), expected.abs().max()  # (F, T)
    assert error[4:].max() < 1e-6 * peak and error[:, :2].max() < 1e-7 * peak
    # In bins 0 to 3 the channels are equal: the inverse magnifies the last bits of R
    assert error.max() < fixture.meta["tolerance"]["max_abs_error_over_peak"] * peak
    sums = found.sum(1)[:, :, 4:, 2:]  # neither silent nor of rank 1
    assert torch.allclose(sums, mixture[:, :, 4:, 2:], atol=1e-5)
    mono = wiener(estimates[:, :, :1], mixture[:, :1])
    assert torch.allclose(mono.sum(1)[..., 2:], mixture[:, :1, :, 2:], atol=1e-5)


def test_frames_in_blocks_give_the_same_filter(monkeypatch):
    x = torch.randn(1, 3, 2, 5, 20, dtype=torch.complex64)
    mixture = x.sum(1) + 0.1
    whole = wiener(x, mixture)
    monkeypatch.setattr("bsrnn.models.zoo.wiener.BLOCK_FRAMES", 7)
    assert torch.allclose(wiener(x, mixture), whole, atol=1e-6)


def test_transforms():
    fixture = Fixture(GOLDEN / "d3net_stft.npz")
    seed, arrays = fixture.meta["seed"], fixture.arrays
    audio = (0.3 * draw(seed, "audio", (1, 2, 6000))).astype(np.float32)
    found = stft(torch.from_numpy(audio), D3NetConfig().stft)[:, :, ::7]  # (1, C, F / 7, T)
    assert close(found.real, arrays["re"]) and close(found.imag, arrays["im"])
    assert close(found.abs().permute(0, 3, 1, 2), arrays["mag"])
    zeros = StftConfig(64, 16, padding="constant")
    audio = (0.3 * draw(seed, "audio2", (2, 500))).astype(np.float32)
    spectrum = stft(torch.from_numpy(audio), zeros)
    assert close(spectrum.real.permute(2, 0, 1), arrays["librosa_re"])
    assert close(istft(spectrum, zeros, 500)[:, :496], arrays["librosa_istft"])


def toy_separator():
    """Four small networks as one separator, and the fixture they come from."""
    fixture = Fixture(GOLDEN / "d3net_separate_toyA.npz")
    seeds, shapes = fixture.meta["network_seeds"], fixture.meta["filled"]
    states = {
        stem: {n: fill(seed, n, shape, fixture.meta["exceptions"]) for n, shape in shapes}
        for stem, seed in seeds.items()
    }
    config = D3NetConfig.from_original(fixture.meta["config"], tuple(seeds))
    return d3net_files.from_nnabla(states, config), fixture


def test_whole_separation():
    separator, fixture = toy_separator()
    separator.config = replace(separator.config, overlap="published")
    audio = (0.2 * draw(fixture.meta["seed"], "audio", (700, 2))).astype(np.float32)
    mixture = torch.from_numpy(audio).T[None]  # (1, C, L)
    with torch.inference_mode():
        found = separator(mixture)
        spectrum = stft(mixture, replace(separator.config.stft, padding="constant"))
        sizes = separator.magnitudes(spectrum.abs())[0]  # (S, C, F, T)
    assert found.shape == (1, 4, 2, 700)
    for row, stem in enumerate(separator.stems):
        assert close(sizes[row].permute(2, 0, 1), fixture.arrays[f"mag/{stem}"])
        assert close(found[0, row, :, :688].T, fixture.arrays[f"wav/{stem}"])


def test_three_training_steps_equal_theirs():
    fixture = Fixture(GOLDEN / "d3net_train_toyA.npz")
    separator = separator_of(fixture).train()
    network, settings = separator.networks["target"], training.presets()["d3net"]
    optimiser = torch.optim.Adam(
        network.parameters(), settings.lr, weight_decay=settings.weight_decay
    )
    x, target = magnitudes(fixture), magnitudes(fixture, "target")
    for step in range(3):
        # NNabla adds eps before it corrects the bias of the second moment, torch afterwards
        optimiser.param_groups[0]["eps"] = 1e-8 / (1 - 0.999 ** (step + 1)) ** 0.5
        loss = (network(x) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        assert loss.item() == pytest.approx(fixture.arrays["losses"][step], rel=1e-6)
        if step == 0:
            norms = {d3net_files.theirs(n): p.grad.norm() for n, p in network.named_parameters()}
            for (name, _), norm in zip(
                fixture.meta["filled"], fixture.arrays["grad_norm"], strict=True
            ):
                assert np.isnan(norm) == (name not in norms)
                assert np.isnan(norm) or norms[name] == pytest.approx(norm, rel=1e-4, abs=1e-6)
        optimiser.step()
        after = {d3net_files.theirs(n): t for n, t in network.state_dict().items()}
        for name, expected in fixture.arrays.items():
            if name.startswith(f"after{step + 1}/"):
                found = after[name.split("/", 1)[1]].reshape(expected.shape)
                assert np.abs(found.numpy() - expected).max() < (2e-5, 0, 2e-4)[step], name


# ---- files ---------------------------------------------------------------------------------------

FILE = GOLDEN / "d3net_nnabla_params.h5"


def settings():
    with np.load(GOLDEN / "d3net_nnabla_params_expected.npz") as arrays:
        return json.loads(str(arrays["meta"]))["config"]


def test_a_file_of_nnabla_loads():
    expected = Fixture(GOLDEN / "d3net_nnabla_params_expected.npz")
    separator = bsrnn.load(FILE, config=settings())
    assert separator.stems == ("vocals",) and not separator.training
    assert separator.passport == {"family": "d3net", "file": FILE.name}
    with torch.inference_mode():
        found = separator.networks["vocals"](magnitudes(expected))
    assert close(found.transpose(1, 2), expected.expected)
    for name, tensor in d3net_files.read_h5(FILE)["vocals"].items():
        assert np.array_equal(tensor, expected.state[name].numpy()), name


def write_h5(path, stems, change=lambda found: None):
    h5py = pytest.importorskip("h5py")
    found = d3net_files.read_h5(FILE)["vocals"]
    change(found)
    with h5py.File(path, "w") as file:
        for stem in stems:
            for name, array in found.items():
                file[f"{stem}/{name}"] = array


def test_four_files_or_one_become_one_separator(tmp_path):
    stems = tuple(PUBLISHED)
    folder = tmp_path / "four"
    folder.mkdir()
    for stem in stems:
        write_h5(folder / f"{stem}.h5", [stem])
        (folder / f"{stem}.yaml").write_text(json.dumps(settings()))
    write_h5(tmp_path / "all.h5", stems)
    four, one = bsrnn.load(folder), bsrnn.load(tmp_path / "all.h5", config=settings())
    assert four.stems == tuple(sorted(stems)) and one.stems == stems and not four.training
    mixture = torch.randn(1, 2, 900)
    with torch.inference_mode():
        order = [one.stems.index(stem) for stem in four.stems]
        assert torch.allclose(four(mixture), one(mixture)[:, order], atol=1e-6)
    write_h5(folder / "again.h5", ["drums"])
    with pytest.raises(UsageError, match="each once"):
        bsrnn.load(folder, config=settings())


def test_tampering_is_noticed(tmp_path):
    name, path = "final_dense/initial_layer/bottleneck/conv1/conv/W", tmp_path / "vocals.h5"
    for change, words in [
        (lambda x: x.pop(name), f"misses vocals/{name}"),
        (lambda x: x.update(extra=x[name]), "1 unknown tensors, such as extra"),
        (lambda x: x.update({name: x[name][:1]}), "of shape"),
        (lambda x: x.update({name: x[name] * np.nan}), "not finite"),
    ]:
        write_h5(path, ["vocals"], change)
        with pytest.raises(DataError, match=words):
            bsrnn.load(path, config=settings())
    path.write_text("no HDF5")
    with pytest.raises(DataError, match="not a readable HDF5 file"):
        bsrnn.load(path, config=settings())
    with pytest.raises(UsageError, match="settings lack"):
        bsrnn.load(FILE, config={"fs": 44100})
    with pytest.raises(DataError, match="d3net_nnabla_params.h5"):  # it is not the published one
        bsrnn.load(FILE)


def test_without_h5py_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match="^h5py is not installed: pip install h5py$"):
        bsrnn.load(FILE, config=settings())


# ---- training ------------------------------------------------------------------------------------

SMALL = TargetConfig(
    (16, 64),
    (StackConfig(4, (3, 4, 3), (2, 2, 2)), StackConfig(4, (2,), (1,), (1,))),
    StackConfig(4, (3, 4, 3), (2, 2, 2)),
    last_growth=4,
    last_layers=2,
    patch=512,
    shift=256,
)
STEMS = tuple(PUBLISHED)


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("d3net") / "songs"
    toyband.make(folder, seconds=3, train=3, test=1, seed=1)
    return data.open(folder)


def small(stems=STEMS):
    return D3NetConfig(stems, (SMALL,) * len(stems), StftConfig(256, 128))


def test_fit_saves_and_loads(songs, tmp_path):
    recipe = replace(
        training.presets()["d3net"], steps=2, batch=2, seconds_per_segment=0.5, log_every=1,
        checkpoint_every=2, workers=0,
    )  # fmt: skip
    result = training.fit(small(("drums",)), recipe, songs, tmp_path, progress=False)
    network = result.separator.networks["drums"]
    assert network.offset.abs().max() > 0 and not torch.equal(
        network.scale, torch.ones_like(network.scale)
    )
    again = bsrnn.load(result.best_path)
    assert again.config == small(("drums",)) and not again.training
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, result.separator.state_dict()[name])
    longer = training.fit(
        small(("drums",)), replace(recipe, steps=3), songs, tmp_path, resume=True,
        progress=False,
    )  # fmt: skip
    assert longer.history.step.max() == 3


def test_the_schedule_is_the_originals():
    recipe = training.presets()["d3net"]
    epoch = 6400 // 6
    assert recipe.steps == 50 * epoch
    rates = [recipe.lr_at(e * epoch) for e in (0, 39, 40, 49)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_wrong_configurations_are_one_line():
    for make, words in [
        (lambda: D3NetConfig(("flute",)), "unknown D3Net target 'flute'"),
        (lambda: D3NetConfig(("drums", "drums")), "each once"),
        (lambda: D3NetConfig(channels=6), "takes 1 or 2"),
        (lambda: replace(SMALL, patch=20), "patch 20"),
        (lambda: replace(SMALL, edges=(16,)), "2 bands need as many edges"),
        (lambda: StackConfig(4, (2, 2), (1, 1)), "odd lengths"),
        (lambda: D3NetConfig.from_json('{"stem": 1}'), "unknown field of D3NetConfig 'stem'"),
        (lambda: D3NetSeparator(small()).eval()(torch.zeros(1, 1, 900)), r"give \(B, 2, L\)"),
    ]:
        with pytest.raises(UsageError, match=words):
            make()
