"""Sums, residual, projection, time shifts; separators of several networks."""

import dataclasses

import numpy as np
import pytest
import torch
from test_separation import RATE, Gains, Picky, noise

from bsrnn import audio
from bsrnn.common import UsageError
from bsrnn.models import BandSplitSeparator, SeparatorBag, presets
from bsrnn.separation import Outputs, project, separate, separate_file

KARAOKE = {"karaoke": ("half", "minus")}


def test_sums_are_sums_and_bring_only_the_stems_they_need():
    picky = Picky()
    found = separate(picky, noise(500), RATE, stems=("all",), sums=KARAOKE, residual="rest")
    assert list(found) == ["all", "karaoke", "rest"]
    assert np.allclose(found["karaoke"], 0.25 * noise(500))
    assert np.abs(found["rest"]).max() < 1e-6  # the mixture less the stems returned
    picky.seen.clear()
    assert list(separate(picky, noise(500), RATE, stems=(), sums=KARAOKE)) == ["karaoke"]
    assert set(picky.seen) == {("half", "minus")}


@pytest.mark.parametrize("how", [True, "equal", "energy"])
def test_projected_stems_add_up_to_the_mixture(how):
    mixture = noise(3000)
    found = separate(Gains(), mixture, RATE, chunk_s=0.1, projection=how)
    assert np.abs(sum(found.values()) - mixture).max() < 1e-6
    plain = separate(Gains(), mixture, RATE, chunk_s=0.1)
    missing = mixture - sum(plain.values())
    share = {"energy": 1 / (1 + 0.25 + 0.0625)}.get(how, 1 / 3)
    assert np.allclose(found["all"], plain["all"] + share * missing, atol=1e-6)
    one = separate(Gains(), mixture, RATE, chunk_s=0.1, projection=how, stems="half")
    assert list(one) == ["half"] and np.array_equal(one["half"], found["half"])


def test_equal_projection_is_the_nearest_and_energy_leaves_silence_alone():
    rng = np.random.default_rng(0)
    estimates, mixture = rng.standard_normal((3, 2, 50)), rng.standard_normal((2, 50))
    near = project(estimates, mixture)
    for _ in range(20):  # any other point that adds up is farther away
        other = rng.standard_normal(estimates.shape)
        other += (mixture - other.sum(0)) / 3
        assert np.square(near - estimates).sum() < np.square(other - estimates).sum()
    estimates[1] = 0
    assert not project(estimates, mixture, "energy")[1].any()
    assert np.allclose(project(0 * estimates, mixture, "energy"), mixture / 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sums": {"half": ("all",)}}, "two outputs are called 'half'"),
        ({"sums": {"a/b": ("all",)}}, "cannot be called 'a/b'"),
        ({"sums": {"x": ("al",)}}, "did you mean all"),
        ({"sums": {"x": ("all",)}, "residual": "x"}, "two outputs"),
        ({"stems": ()}, "no stem is asked for"),
        ({"stems": (), "sums": KARAOKE, "residual": True}, "ask for at least one stem"),
        ({"projection": "eqal"}, "did you mean equal"),
        ({"projection": True, "known": ("vocals",)}, "is the mixture"),
    ],
)
def test_outputs_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        Outputs(**{"known": Gains.stems, **options})
    assert "\n" not in str(caught.value)


class Grid(Gains):
    """As networks are: what it says depends on where the chunk begins (here: every 4th sample)."""

    stems, gains = ("all",), (1.0,)

    def __call__(self, mixture):
        found = torch.zeros_like(mixture)
        found[..., ::4] = 4 * mixture[..., ::4]
        return found[:, None]


def test_shifts_average_over_places_of_the_chunk_and_repeat():
    mixture = noise(5 * RATE)
    options = {"chunk_s": 1.0, "shifts": 4}  # 0, 1000, 2000, 3000 samples: all on the grid
    same = separate(Grid(), mixture, RATE, chunk_s=1.0)["all"]
    assert np.allclose(separate(Grid(), mixture, RATE, **options)["all"], same, atol=1e-6)

    class Odd(Grid):
        sample_rate = RATE + 8  # 0, 1001, 2002, 3003: one on each place of the grid

    found = separate(Odd(), mixture, Odd.sample_rate, **options)["all"]
    assert np.abs(found - mixture).max() < 1e-5 < np.abs(same - mixture).max()
    again = separate(Odd(), mixture, Odd.sample_rate, batch=3, **options)["all"]
    assert np.array_equal(found, again)


def tiny(*stems):
    torch.manual_seed(len(stems))
    return BandSplitSeparator(dataclasses.replace(presets()["tiny"], stems=stems)).eval()


def counted(modules):
    calls = []
    for name, module in modules.items():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    return calls


def test_decoders_of_other_stems_do_not_run(tmp_path):
    network = tiny("vocals", "drums", "bass", "other")
    calls = counted(dict(zip(network.stems, network.masks.values(), strict=True)))
    path = audio.write(tmp_path / "a.wav", 0.1 * noise(44100), 44100)
    separate_file(network, path, tmp_path, stems=("drums",), chunk_s=0.5, residual="no_drums")
    assert set(calls) == {"drums"}
    separate(network, 0.1 * noise(2000), 44100, stems=("bass",), projection=True)
    assert set(calls) == set(network.stems)  # adding up needs them all


def test_networks_of_one_stem_each_behave_as_one_separator(tmp_path):
    ones = [tiny("vocals"), tiny("drums"), tiny("bass")]
    bag = SeparatorBag(ones).eval()
    mixture = 0.1 * noise(44100)
    path = audio.write(tmp_path / "a.wav", mixture, 44100)
    options = {"chunk_s": 0.5, "sums": {"rhythm": ("drums", "bass")}, "residual": True}
    paths = separate_file(bag, path, tmp_path, **options)
    found = {name: audio.read(stem)[0] for name, stem in paths.items()}
    assert list(found) == ["vocals", "drums", "bass", "rhythm", "residual"]
    for one in ones:
        alone = separate(one, mixture, 44100, chunk_s=0.5)
        assert np.abs(found[one.stems[0]] - alone[one.stems[0]]).max() < 1e-6
    assert np.allclose(found["rhythm"], found["drums"] + found["bass"], atol=1e-6)
    assert np.allclose(sum(found[s] for s in (*bag.stems, "residual")), mixture, atol=1e-6)
    networks = counted({one.stems[0]: one.split for one in ones})
    separate(bag, mixture, 44100, stems=("bass",))
    assert set(networks) == {"bass"}
