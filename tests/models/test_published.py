"""Published networks: equal to the original's output, there and back bit for bit, strict."""

import random

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, Fixture, draw

from bsrnn import bands, losses
from bsrnn.audio.stft import istft, stft
from bsrnn.common import DataError, UsageError
from bsrnn.models.cost import cost
from bsrnn.models.zoo import bandit, families, roformer
from bsrnn.models.zoo.published import (
    FAMILIES,
    family_named,
    from_state_dict,
    recognise,
    to_published,
)

NO_NETWORKS = (
    "losses", "metrics", "oracles", "chunking", "weights", "expected", "train_steps", "overlap",
    "separator_ola",
)  # fmt: skip
FILES = sorted(
    path
    for pattern in ("magronp_*", "amanteur_*", "crlandsc_*", "sahandevs_*", "bandit*", "banquet_*")
    for path in GOLDEN.glob(f"{pattern}.npz")
    if not any(word in path.stem for word in NO_NETWORKS)
) + sorted(GOLDEN.glob("roformer/*.npz"))
ONE_EACH = [
    "magronp_obsrnn_vocals", "magronp_bscnn", "amanteur_v7_stereo", "crlandsc_drums_mono",
    "sahandevs_v7", "bandit_musical48", "bandit_single_vox7_3stem", "banditv2_musical48_44k",
    "banquet_film", "roformer/bs62_1stem_hop441", "roformer/mel60_1stem_hop441",
]  # fmt: skip
UNSTORED = {"amanteur_drums_mono": {"stft": {"hop": 1024}}}  # not in the original's settings


pytestmark = pytest.mark.usefixtures("one_thread")


def build(fixture, name="", state=None, family=True):
    config = {**fixture.meta["config"], **UNSTORED.get(name, {})}
    return from_state_dict(
        fixture.state if state is None else state,
        family=fixture.meta["family"] if family else None,
        config=config,
        stems=fixture.meta.get("stems"),
    )


def run(separator, fixture, gain=1.0):
    query = None
    if separator.config.query:
        shape = (len(fixture.mixture), separator.config.query)
        query = torch.from_numpy(draw(fixture.meta["seed"], "query", shape).astype(np.float32))
    with torch.inference_mode():
        return separator(fixture.mixture * gain, query=query)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_output_equals_the_original_and_weights_round_trip(path):
    fixture = Fixture(path)
    separator = build(fixture, path.stem)
    assert fixture.error(run(separator, fixture)) <= fixture.limit
    if "output_quiet" in fixture.arrays:  # small constants in the norms
        quiet = fixture.arrays["output_quiet"]
        gain = float(
            fixture.meta["extra_arrays"]["output_quiet"].split("multiplied by ")[1].split()[0]
        )
        error = fixture.error(run(separator, fixture, gain), quiet)
        assert error <= fixture.limit / np.abs(fixture.expected).max() * np.abs(quiet).max()
    back = to_published(separator)
    computed = {name for name, *_ in fixture.meta.get("buffers", [])}
    assert set(back) - computed == set(fixture.state)
    for name, tensor in fixture.state.items():
        assert torch.equal(back[name], tensor), name


def test_every_fixture_is_there():
    assert len(FILES) == 26 + 6 + 2 + 4 + 22 + 2 + 2 + 13


@pytest.mark.parametrize("name", ONE_EACH)
def test_tampering_is_noticed(name):
    fixture = Fixture(GOLDEN / f"{name}.npz")
    chance = random.Random(name)
    names = sorted(fixture.state)

    dropped = dict(fixture.state)
    dropped.pop(chance.choice(names))
    with pytest.raises(DataError, match="misses|separates"):
        build(fixture, name, dropped)
    with pytest.raises(DataError, match="unknown tensors, such as"):
        extra = fixture.state | {names[0].rsplit(".", 2)[0] + ".extra": torch.zeros(3)}
        build(fixture, name, extra)
    with pytest.raises(DataError, match="of shape"):
        build(fixture, name, fixture.state | {names[0]: torch.zeros(1, 2, 3)})
    with pytest.raises(DataError, match="not finite|but differ"):
        victim = chance.choice(names)
        broken = torch.full_like(fixture.state[victim], float("nan"))
        build(fixture, name, fixture.state | {victim: broken})

    victim = chance.choice(names)
    changed = fixture.state[victim].clone()
    changed.view(-1)[0] += 0.5
    assert noticed(fixture, name, fixture.state | {victim: changed}), victim

    shapes: dict = {}
    for victim in names:
        shapes.setdefault(fixture.state[victim].shape, []).append(victim)
    one, two = chance.sample(chance.choice([v for v in shapes.values() if len(v) > 1]), 2)
    swapped = {one: fixture.state[two], two: fixture.state[one]}
    assert noticed(fixture, name, fixture.state | swapped), (one, two)


def noticed(fixture, name, state):
    """True if `state` is refused or gives another output."""
    try:
        separator = build(fixture, name, state)
    except DataError:
        return True
    return fixture.error(run(separator, fixture)) > fixture.limit


def test_families_are_recognised_by_their_names():
    for name in ONE_EACH:
        fixture = Fixture(GOLDEN / f"{name}.npz")
        found = recognise(fixture.state)
        if not name.startswith("crlandsc"):  # the same names as amanteur's
            assert found in (family_named(fixture.meta["family"]), FAMILIES["bandit-dedicated"])
    with pytest.raises(DataError, match="no known network has weights named encoder.weight"):
        from_state_dict({"encoder.weight": torch.zeros(2)})
    with pytest.raises(UsageError, match="did you mean magronp"):
        from_state_dict({"BN.0.0.weight": torch.zeros(2)}, family="magron")
    assert len(FAMILIES) == 10


@pytest.mark.parametrize("name", ONE_EACH)
def test_the_originals_settings_are_enough(name):
    """No names of stems; then the fixture's whole record instead of its settings."""
    fixture = Fixture(GOLDEN / f"{name}.npz")
    separator = from_state_dict(fixture.state, fixture.meta["family"], fixture.meta["config"])
    assert len(separator.stems) == len(fixture.meta["stems"])
    record = {name: value for name, value in fixture.meta.items() if name != "filled"}
    arrays = {name: tensor.numpy() for name, tensor in fixture.state.items()}
    assert list(from_state_dict(arrays, config=record).stems) == fixture.meta["stems"]


def test_stored_windows_and_band_weights_are_checked():
    fixture = Fixture(GOLDEN / "bandit_erb48.npz")
    state, weights = dict(fixture.state), bands.scheme("erb48").weights
    for stem in fixture.meta["stems"]:
        for band, values in enumerate(weights):
            state[f"bsrnn.mask_estim.{stem}.freq_weights/{band}"] = torch.tensor(values)
    state["stft.window"] = torch.hann_window(2048)
    build(fixture, state=state)
    for name, wrong in [
        ("stft.window", torch.hamming_window(2048)),
        ("bsrnn.mask_estim.music.freq_weights/9", torch.tensor(weights[10])),
    ]:
        with pytest.raises(DataError, match=f"{name} is not what its settings give"):
            build(fixture, state=state | {name: wrong})


def test_the_fork_scrambles_its_masks():
    """The same weights and settings: only the order in which a mask's memory is read differs."""
    plain, fork = (Fixture(GOLDEN / f"{who}_v7_stereo.npz") for who in ("amanteur", "crlandsc"))
    assert all(torch.equal(plain.state[name], fork.state[name]) for name in plain.state)
    assert fork.error(run(build(plain), plain)) > 1000 * fork.limit


def test_three_training_steps_equal_bandits():
    """Losses, gradients and weights of Adam with clipping, step by step."""
    path = GOLDEN / "bandit_train_steps.npz"
    with np.load(path) as arrays:
        arrays = {name: arrays[name] for name in arrays.files}
    fixture = Fixture(path)
    meta, seed = fixture.meta, fixture.meta["seed"]
    separator = build(fixture, family=False).train()
    shape = (2, 1, 12000)
    sources = [
        torch.from_numpy((0.1 * draw(seed, stem, shape)).astype(np.float32))
        for stem in meta["config"]["stems"]
    ]
    target = torch.stack(sources, 1)
    optimiser = torch.optim.Adam(separator.parameters(), 1e-3)
    for step in range(meta["steps"]):
        estimate = separator.estimate(sum(sources))
        loss = losses.loss("l1_snr", *estimate, target, separator.config.stft)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(separator.parameters(), 5.0)
        found = (loss.item(), norm.item())
        assert found == pytest.approx(arrays["loss_and_gradnorm"][step], rel=1e-4), step
        optimiser.step()
    after = to_published(separator)
    norms = [after[name].norm().item() for name, _ in meta["filled"]]
    assert norms == pytest.approx(arrays["param_norm_after"], rel=1e-3, abs=2e-4)
    for name, expected in arrays.items():
        if name.startswith("after/"):
            got = after[name.removeprefix("after/")].detach().numpy()
            assert np.abs(got - expected).max() < 2e-4, name


SETTINGS = {  # option -> (module, its settings, what is built or which words refuse it)
    "slope": ({"hidden_activation": "LeakyReLU"}, {"activation": "leaky-relu"}),
    "own slope": (
        {"hidden_activation": "LeakyReLU", "hidden_activation_kwargs": {"negative_slope": 0.2}},
        {"activation": "leaky-relu", "slope": 0.2},
    ),
    "alpha": (
        {"hidden_activation": "ELU", "hidden_activation_kwargs": {"alpha": 0.7, "inplace": True}},
        {"activation": "elu", "alpha": 0.7},
    ),
    "gelu": (
        {"hidden_activation": "GELU", "hidden_activation_kwargs": {"approximate": "tanh"}},
        "approximate: tanh",
    ),
    "tanh with a slope": ({"hidden_activation_kwargs": {"negative_slope": 0.2}}, "negative_slope"),
    "unknown": ({"hidden_activation": "SELU"}, "unknown hidden_activation 'SELU'"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_an_activation_is_built_or_refused_not_replaced(case):
    given, expected = SETTINGS[case]
    if isinstance(expected, dict):
        assert bandit._activation(given) == expected
    else:
        with pytest.raises(UsageError, match=expected):
            bandit._activation(given)


def test_elus_slope_is_the_originals():
    fixture = Fixture(GOLDEN / "bandit_vox7.npz")
    given = {"hidden_activation": "ELU", "hidden_activation_kwargs": {"alpha": 0.3}}
    config = {**fixture.meta["config"], **given}
    separator = from_state_dict(fixture.state, "bandit", config, fixture.meta["stems"])
    head = separator.masks[separator.stems[0]]
    x = torch.linspace(-3, 3, 7)
    assert torch.equal(head.activation(x), torch.nn.ELU(0.3)(x))


@pytest.mark.parametrize(
    "option, value", [("num_residual_streams", 4), ("freq_range", [0, 100]), ("mystery", "on")]
)
def test_an_option_of_a_roformer_that_is_not_built_is_refused_by_name(option, value):
    with pytest.raises(UsageError, match=option):
        roformer.flat({"model": {"dim": 8, option: value}})
    fine = {"flash_attn": True, "multi_stft_hop_size": 147, "num_residual_streams": 1}
    assert roformer.flat({"model": {"dim": 8, **fine}})["dim"] == 8


@pytest.mark.parametrize(
    "name, words",
    [
        ("static_alpha", "residual streams .*the default of BS-RoFormer 1.x"),
        ("branch.to_value_residual_mix.weight", "value residuals"),
        ("branch.norm.gamma", "the blocks of BS-RoFormer 1.x"),
    ],
)
def test_blocks_of_a_newer_roformer_are_named(name, words):
    """PyPI's BS-RoFormer 1.2.4 calls its weights so; the shapes alone would blame the bands."""
    fixture = Fixture(GOLDEN / "roformer" / "bs62_1stem_hop441.npz")
    state = {f"layers.0.0.layers.0.0.{name}": torch.zeros(4), **fixture.state}
    with pytest.raises(UsageError, match=f"{words}.*, which are not built here"):
        from_state_dict(state, config=fixture.meta["config"])


def test_a_window_shorter_than_the_transform():
    """As torch.stft has it: in the middle, zeros at both ends."""
    fixture = Fixture(GOLDEN / "roformer" / "bs62_1stem_hop441.npz")
    config = {**fixture.meta["config"], "stft_win_length": 1024}
    separator = from_state_dict(fixture.state, config=config, stems=["vocals"])
    sound = torch.from_numpy(draw(1, "window", (2, 6000)).astype(np.float32))
    expected = torch.stft(
        sound, 2048, 441, 1024, torch.hann_window(1024), return_complex=True, pad_mode="reflect"
    )
    found = stft(sound, separator.config.stft)
    assert torch.allclose(found, expected, atol=1e-5)
    back = istft(found, separator.config.stft, 6000)
    assert torch.allclose(back, sound, atol=1e-5)


@pytest.mark.parametrize("part, missing", [("gain", "beta"), ("offset", "gamma")])
def test_film_that_only_multiplies_or_only_adds(part, missing):
    """Banquet's `multiplicative` and `additive` alone: gamma(e) norm(x), or norm(x) + beta(e)."""
    fixture = Fixture(GOLDEN / "banquet_film.npz")
    state = {n: x for n, x in fixture.state.items() if not n.startswith(f"film.{missing}.")}
    one = from_state_dict(state, config=fixture.meta["config"], stems=fixture.meta["stems"])
    both = build(fixture)
    z = torch.randn(1, 3, 4, one.config.features)
    query = torch.randn(1, one.config.query)
    y = both.film.norm(z.flatten(1, 2)).unflatten(1, (3, 4))
    with torch.no_grad():
        wanted = both.film.gain(query) * y if part == "gain" else y + both.film.offset(query)
        assert torch.allclose(one.film(z, query), wanted, atol=1e-6)
    assert set(to_published(one)) == set(state) and one.config.film == part
    parameters = sum(weight.numel() for weight in one.parameters())
    assert cost(one.config).parameters == parameters


def test_a_bare_state_of_magronps_41_bands_is_v7():
    fixture = Fixture(GOLDEN / "magronp_vocals.npz")
    separator = from_state_dict(fixture.state)
    assert separator.config.scheme == "v7-magronp" and separator.stems == ("target",)
    assert fixture.error(run(separator, fixture)) <= fixture.limit


@pytest.mark.parametrize("kernels, built", [((3, 5), True), (([3, 5], 3), False)])
def test_bscnn_with_two_kernel_sizes(kernels, built):
    """One for each axis is built; several along one axis are refused by name."""
    fixture = Fixture(GOLDEN / "magronp_bscnn.npz")
    given = dict(fixture.meta["config"])
    for axis, kernel in zip(("time", "band"), kernels, strict=True):
        given[f"{axis}_layer"] = {**given[f"{axis}_layer"], "ks": kernel}
    if built:
        config = families.magronp_config({**given, "stems": ["vocals"]}, fixture.state)
        assert (config.block.time.kernel, config.block.band.kernel) == kernels
    else:
        with pytest.raises(UsageError, match=r"kernel is \[3, 5\]: give a whole number"):
            from_state_dict(fixture.state, config=given, stems=fixture.meta["stems"])
