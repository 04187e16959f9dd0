"""The mixing desk: what is heard, what is shown, and every control over its range."""

import numpy as np
import pytest

widgets = pytest.importorskip("ipywidgets")

from bsrnn import bands, explore  # noqa: E402
from bsrnn.explore import mixer  # noqa: E402

RATE = 44100


@pytest.fixture(scope="module")
def stems():
    time_s = np.arange(2 * RATE, dtype=np.float32) / RATE
    tones = {"bass": 100, "vocals": 1000, "lead guitar": 5000}
    return {
        name: np.tile(0.1 * np.sin(2 * np.pi * hz * time_s), (2, 1)) for name, hz in tones.items()
    }


def test_solo_mute_and_gain_make_the_mix(stems, heard):
    picture, _ = explore.stem_mix(stems, RATE, {"vocals": -20}, mute=["bass"])
    expected = 0.1 * stems["vocals"] + stems["lead guitar"]
    np.testing.assert_allclose(heard[-1]["your mix"], expected, atol=1e-7)
    np.testing.assert_array_equal(heard[-1]["all stems"], sum(stems.values()))
    assert picture.description.startswith("On: vocals -20 dB, lead guitar +0 dB.")
    explore.stem_mix(stems, RATE, mute=["bass"], solo=["bass", "vocals"])
    np.testing.assert_array_equal(heard[-1]["your mix"], stems["vocals"])


def test_untouched_mix_is_the_sum_and_mix_is_linear(stems, heard):
    explore.stem_mix(stems, RATE)
    np.testing.assert_array_equal(heard[-1]["your mix"], heard[-1]["all stems"])
    parts = []
    for name in stems:
        explore.stem_mix(stems, RATE, solo=[name])
        parts.append(heard[-1]["your mix"])
    np.testing.assert_allclose(sum(parts), heard[-1]["all stems"], atol=1e-6)


def test_nothing_on_is_silence_in_every_view(stems):
    for view in mixer.VIEWS:
        picture, sounds = explore.stem_mix(stems, RATE, mute=list(stems), view=view)
        assert picture.description.startswith("On: nothing.") and picture.png()
        assert "your mix    2.00 s  silent" in str(sounds)


def test_spectrogram_keeps_the_scale_of_the_full_mix(stems):
    def brightest(**setting):
        picture, _ = explore.stem_mix(stems, RATE, **setting)
        return picture.axes[0].collections[0].get_clim()[1]

    assert brightest(solo=["bass"]) == brightest() == brightest(mute=list(stems))


def test_bands_view_shows_the_owners(stems):
    scheme = bands.from_edges_hz([0, 500, 2000, 22050], RATE, 2048)
    picture, _ = explore.stem_mix(stems, RATE, view="bands", scheme=scheme)
    assert "bass 1, vocals 1, lead guitar 1." in picture.description
    picture, _ = explore.stem_mix(stems, RATE, solo=["bass", "vocals"], view="bands", scheme=scheme)
    assert "lead guitar" not in picture.description


def test_desk_takes_the_first_six_seconds(stems, heard):
    long = {name: np.tile(x, (1, 5)) for name, x in stems.items()}
    explore.stem_mixer(long, RATE)
    assert heard[-1]["all stems"].shape == (2, 6 * RATE)
