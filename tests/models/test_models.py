"""The one model: shapes, sizes, gradients, parts, bad input, own checkpoints."""

import json
import os

import pytest
import torch
from golden_fill import GOLDEN

from bsrnn import bands, losses, models
from bsrnn.audio.stft import StftConfig
from bsrnn.common import DataError, UsageError
from bsrnn.models import BandSplitSeparator, ModelConfig, cpu, presets
from bsrnn.models.blocks import ConvBlock, DilatedBlock, MixedBlock, RNNBlock, RoformerBlock
from bsrnn.models.zoo.bag import SeparatorBag

TINY = ModelConfig(scheme="v4", stft=StftConfig(1024, 512), features=8, repeats=1)
TINY = TINY.replace(hidden=8, mask_hidden=8)
SHORT = StftConfig(256, 64)
PARAMETERS = {  # counts of the publications' code
    "magronp": 8_020_296,
    "magronp-large": 36_417_160,
    "obsrnn": 40_777_192,
    "obsrnn-simo": 108_727_540,
    "bscnn": 8_687_944,
    "amanteur": 32_414_628,
    "crlandsc": 32_414_628,
    "refined": 2_000_816,
    "refined-24tet": 2_098_025,
    "bandit": 37_022_688,
    "bandit-v7": 25_676_176,
    "bs-roformer": 159_758_028,
    "mel-roformer": 228_202_788,
}
SIMO = ("vocals", "bass", "drums", "other")
BASS, DRUMS = {"scheme": "bass-magronp"}, {"scheme": "drums-magronp"}
VARIANTS = [  # (preset, changes, parameters)
    ("magronp", BASS, 7_111_432),
    ("magronp", DRUMS, 9_177_032),
    ("magronp-large", BASS, 32_797_192),
    ("magronp-large", DRUMS, 41_024_392),
    ("obsrnn", BASS, 37_072_744),
    ("obsrnn", DRUMS, 45_491_944),
    ("obsrnn", {"tac": None}, 37_227_484),
    ("magronp", {"stems": SIMO, "scheme": "joint-magronp"}, 26_621_140),
    ("magronp", {"stems": SIMO, "scheme": "joint-magronp", "residual_last": True}, 20_861_520),
    ("magronp", {"mask_hidden": 64}, 4_194_504),
    ("magronp", {"channel_handling": "joint"}, 9_209_296),
    ("magronp", {"tac": "tanh"}, 8_613_704),
    ("magronp", {"tac": "prelu"}, 8_613_712),
    ("magronp", {"attention_heads": 2}, 8_246_144),
    ("magronp", {"rnn": "gru"}, 7_225_672),
    ("magronp", {"block": ConvBlock(256)}, 5_632_328),
    ("magronp", {"heads": 2, "hidden": 64}, 5_446_472),
    ("magronp", {"stft": StftConfig(4096, 1024)}, 9_208_136),
    ("amanteur", {"scheme": "bass"}, 33_371_812),
    ("amanteur", {"scheme": "drums"}, 35_954_340),
    ("bandit", {"scheme": "bark48"}, 64_480_864),
    ("bandit", {"scheme": "erb64"}, 35_964_048),
    ("bandit", {"scheme": "mel48"}, 32_753_744),
    ("bandit", {"scheme": "tribark64"}, 35_996_128),
    ("bandit-v7", {"stems": ("speech",), "rnn": "lstm", "repeats": 12}, 25_781_128),
    ("bandit-v7", {"stems": ("speech",)}, 15_767_432),
    ("bandit", {"block": "transformer"}, 28_601_568),
    ("bandit", {"block": "plane-conv"}, 31_734_752),
    ("bs-roformer", {"features": 256, "stems": SIMO + ("guitar", "piano")}, 174_656_500),
    ("mel-roformer", {"repeats": 12}, 251_869_572),
]


def count(config):
    with torch.device("meta"):  # no memory, no numbers: only shapes
        return sum(p.numel() for p in BandSplitSeparator(config).parameters())


def noise(*shape, seed=0):
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_published_presets_have_the_published_size():
    for name, expected in PARAMETERS.items():
        assert count(presets()[name]) == expected, name
    for name, changes, expected in VARIANTS:
        assert count(presets()[name].replace(**changes)) == expected, (name, changes)
    assert count(presets()["tiny"]) < 100_000


@pytest.mark.parametrize("name", presets())
def test_gradients_reach_every_parameter_of_every_preset(name):
    config = presets()[name]
    small = {"features": 32, "repeats": 1, "mask_hidden": 8}
    small |= {"frames": 10} if config.frames else {}
    if config.block.kind == "roformer":
        linear = 1 if name == "bs-roformer" else 0
        small |= {"transformer_heads": 2, "head_features": 8, "linear_depth": linear}
    else:
        small |= {"hidden": 8}
    config = config.replace(**small)
    torch.manual_seed(0)
    separator = BandSplitSeparator(config)
    mixture = noise(1, config.channels, config.stft.hop * 9 + 5)
    query = noise(1, 768) if config.query else None
    estimate = separator.estimate(mixture, query=query)
    assert estimate.waveforms.shape == (1, len(config.stems), *mixture.shape[1:])
    frames = config.stft.frames(mixture.shape[-1])
    assert estimate.spectra.shape == (
        1, len(config.stems), config.channels, config.stft.bins, frames,
    )  # fmt: skip
    target = noise(*estimate.waveforms.shape, seed=1)
    losses.loss("l1_both", *estimate, target, config.stft).backward()
    dead = [n for n, p in separator.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_asking_for_some_stems_runs_only_their_heads():
    separator = BandSplitSeparator(TINY.replace(stems=SIMO)).eval()
    mixture = noise(2, 2, 6000)
    ran = []
    for stem, head in separator.masks.items():
        head.register_forward_hook(lambda *_, stem=stem: ran.append(stem))
    with torch.inference_mode():
        everything = separator(mixture)
        ran.clear()
        two = separator(mixture, stems=("drums", "vocals"))
    assert ran == ["drums", "vocals"]
    assert torch.equal(two, everything[:, [2, 0]])


def test_the_last_stem_is_what_is_left():
    separator = BandSplitSeparator(TINY.replace(stems=SIMO, residual_last=True)).eval()
    mixture = noise(1, 2, 6000)
    with torch.no_grad():
        found = separator(mixture)
        assert torch.allclose(found.sum(1), mixture, atol=1e-5)
        assert torch.allclose(separator(mixture, stems=["other"])[:, 0], found[:, 3], atol=1e-6)
    assert "other" not in separator.masks


def test_independent_channels_are_separate_and_joint_ones_are_not():
    mixture = noise(1, 2, 6000)
    for handling, equal in (("independent", True), ("joint", False), ("shared", False)):
        separator = BandSplitSeparator(TINY.replace(channel_handling=handling)).eval()
        with torch.no_grad():
            before = separator(mixture)[0, 0, 0]
            after = separator(mixture * torch.tensor([1.0, 0.5])[:, None])[0, 0, 0]
        assert torch.equal(before, after) == equal, handling
    mono = BandSplitSeparator(TINY).eval()
    with torch.no_grad():
        assert mono(noise(1, 1, 6000)).shape == (1, 1, 1, 6000)
        assert mono(noise(1, 6, 6000)).shape == (1, 1, 6, 6000)


def test_the_split_sees_only_its_band_and_its_item():
    """Changing bins of one band, or one item, changes no other band's features, no other item's."""
    separator = BandSplitSeparator(TINY).eval()
    spectrum = torch.randn(2, 1, 513, 7, dtype=torch.complex64)
    with torch.no_grad():
        before = separator.split(spectrum)
        assert before.shape == (2, 23, 7, 8)
        lo, hi = TINY.bands.ranges[5]
        spectrum[1, :, lo:hi] += 1
        changed = (separator.split(spectrum) != before).flatten(2).any(-1)
    expected = torch.zeros(2, 23, dtype=torch.bool)
    expected[1, 5] = True
    assert torch.equal(changed, expected)


def test_masks_of_overlapping_bands_are_weighted():
    for scheme, covered in (("mel48", 1024), ("musical48", 1025)):
        small = {"features": 8, "repeats": 1, "mask_hidden": 8}
        config = presets()["bandit"].replace(scheme=scheme, **small)
        head = BandSplitSeparator(config).masks["speech"]
        with torch.no_grad():
            for out in head.out:  # every band says 1 + 0i everywhere
                out.weight.zero_()
                width = len(out.bias) // 4
                out.bias[:] = torch.tensor([1.0, 0.0, 40.0, 40.0]).repeat_interleave(width)
            mask = head(torch.randn(1, len(config.bands), 3, 8))
        assert torch.allclose(mask[..., :covered, :], torch.ones(()).to(mask), atol=1e-5)
        assert not mask[..., covered:, :].any()


def test_every_scheme_of_the_package_builds_a_network():
    for name in bands.names():
        config = TINY.replace(scheme=name, stft=StftConfig(), repeats=0)
        count(config)
        assert len(config.bands) == len(bands.scheme(name))


def test_config_round_trip_and_errors():
    for config in presets().values():
        assert ModelConfig.from_json(config.to_json()) == config
    own = bands.from_edges_hz([500, 4000], name="own")
    config = ModelConfig(scheme=own, stft=StftConfig(512, 128))
    assert config.bands.ranges == bands.from_edges_hz([500, 4000], 44100, 512).ranges
    assert ModelConfig.from_json(config.to_json()) == config and hash(config)
    for changes, hint in [
        ({"rnn": "lstmm"}, "lstm"),
        ({"rnnn": "lstm"}, "block.rnn"),
        ({"stems": ()}, "at least one"),
        ({"stems": ("a", "a")}, "each once"),
        ({"split_norm": "frames"}, "number of frames"),
        ({"heads": 3}, "divide"),
        ({"hidden": "2M"}, "a multiple of N"),
        ({"norm": "layers", "block": "dilated"}, "split.norm or mask.norm"),
        ({"block": "convv"}, "did you mean conv"),
        ({"attention_heads": 3}, "divide"),
        ({"features": 0}, "at least 1"),
        ({"tac": "tanh", "channel_handling": "joint"}, "independent"),
        ({"residual_last": True}, "two stems"),
    ]:
        with pytest.raises(UsageError, match=hint):
            ModelConfig().replace(**changes)
    with pytest.raises(UsageError, match="did you mean v7"):
        BandSplitSeparator(TINY.replace(scheme="v77"))
    with pytest.raises(UsageError, match="did you mean features"):
        ModelConfig.from_json('{"feature": 3}')


def test_bad_mixtures_say_what_is_needed():
    separator = BandSplitSeparator(TINY)
    with pytest.raises(UsageError, match=r"give \(B, C, L\)"):
        separator(noise(2, 6000))
    with pytest.raises(UsageError, match="did you mean vocals"):
        separator(noise(1, 2, 6000), stems=["vocal"])
    with pytest.raises(UsageError, match="name some of vocals"):
        separator(noise(1, 2, 6000), stems=[])
    with pytest.raises(UsageError, match="pad with zeros"):
        separator(noise(1, 2, 100))
    with pytest.raises(UsageError, match="no query"):
        separator(noise(1, 2, 6000), query=noise(1, 3))
    with pytest.raises(UsageError, match="1 channels"):
        BandSplitSeparator(TINY.replace(channel_handling="joint"))(noise(1, 1, 6000))
    fixed = BandSplitSeparator(TINY.replace(split_norm="frames", frames=5))
    assert fixed.config.chunk_samples == 2048
    with pytest.raises(UsageError, match="chunks of 2048 only"):
        fixed(noise(1, 2, 6000))


def test_own_checkpoints_round_trip(tmp_path):
    separator = BandSplitSeparator(TINY.replace(stems=("drums", "bass")), {"rung": "toy"})
    path = models.save(separator, tmp_path / "new" / "x.safetensors", {"score_db": 3.5})
    again = models.load(path)
    assert again.config == separator.config and not again.training
    assert again.passport == {"rung": "toy", "score_db": 3.5}
    assert os.listdir(path.parent) == ["x.safetensors"]
    for name, tensor in separator.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    copy = BandSplitSeparator(separator.config)
    for part in ("split", "sequence"):  # transfer
        getattr(copy, part).load_state_dict(getattr(again, part).state_dict())
    copy.masks["drums"].load_state_dict(again.masks["drums"].state_dict())
    mixture = noise(1, 2, 6000)
    with torch.no_grad():
        assert torch.equal(copy(mixture, ["drums"]), cpu.plain(again)(mixture, ["drums"]))


@pytest.mark.parametrize("name", ["older_obsrnn", "older_roformer", "older_bag"])
def test_files_of_before_separate_as_they_did(name):
    """Written when settings were flat and bands of one width shared a tensor; their passport holds
    what they gave then."""
    separator = models.load(GOLDEN / f"{name}.safetensors")
    with torch.no_grad():
        estimate = separator(noise(1, 2, 800))  # (1, S, C, L)
    expected = torch.tensor(separator.passport["output"])
    found = estimate[0, :, :, ::97].flatten()
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


def test_flat_settings_of_before_are_understood_or_refused_by_name():
    flat = {"stems": ["a", "b"], "features": 8, "split_norm": "layer", "mask_hidden": 0}
    config = ModelConfig.from_json(json.dumps(flat | {"hidden": 5, "frames": 0, "tac": ""}))
    assert config == ModelConfig(stems=("a", "b"), features=8).replace(split_norm="layer", hidden=5)
    for changes, block in [
        ({"rnn": "gru", "norm_groups": 0}, RNNBlock("gru", norm_groups="N")),
        ({"rnn": "conv", "hidden": 5}, ConvBlock(10)),
        ({"rnn": "dilated", "band_rnn": "none"}, MixedBlock(DilatedBlock(), None)),
        ({"rnn": "dilated", "band_hidden": 3}, MixedBlock(DilatedBlock(), DilatedBlock(3))),
        ({"rnn": "roformer", "last_norm": True}, RoformerBlock(last_norm=True)),
    ]:
        assert ModelConfig.from_json(json.dumps(flat | changes)).block == block
    with pytest.raises(UsageError, match="did you mean block_norm"):
        ModelConfig.from_json(json.dumps(flat | {"blok_norm": "layer"}))
    with pytest.raises(UsageError, match="unknown field of ModelConfig 'hidden'"):
        ModelConfig.from_json(json.dumps({"block": {"kind": "rnn"}, "hidden": 5}))


def test_broken_own_checkpoints_are_refused(tmp_path):
    separator = BandSplitSeparator(TINY)
    path = models.save(separator, tmp_path / "x.safetensors")
    (tmp_path / "half.safetensors").write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a complete safetensors file"):
        models.load(tmp_path / "half.safetensors")
    with pytest.raises(UsageError, match="no such"):
        models.load(tmp_path / "nothing.safetensors")
    with torch.no_grad():
        separator.split.linears[0].weight[0, 0] = float("nan")
    before = path.read_bytes()
    with pytest.raises(DataError, match="split.linears.0.weight holds values that are not"):
        models.save(separator, path)
    assert path.read_bytes() == before and os.listdir(tmp_path).count("x.safetensors.tmp") == 0
    with pytest.raises(UsageError, match="end in .safetensors"):
        models.save(separator, tmp_path / "x.pt")


def test_a_bag_joins_separators():
    one, two = (BandSplitSeparator(TINY.replace(stems=(stem,))) for stem in ("drums", "bass"))
    bag = SeparatorBag([one, two]).eval()
    mixture = noise(1, 2, 6000)
    assert bag.stems == ("drums", "bass") == bag.config.stems and bag.sample_rate == 44100
    with torch.no_grad():
        assert torch.equal(bag(mixture, ["bass"]), two(mixture))
        assert bag.estimate(mixture).spectra.shape[1] == 2
    with pytest.raises(UsageError, match="two separators for one stem"):
        SeparatorBag([one, one])
