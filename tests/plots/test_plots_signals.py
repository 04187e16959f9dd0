"""Pictures of signals: they show the numbers they were given, stay small, and leave no traces."""

import io
import subprocess
import sys
import warnings
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas
import pytest
from PIL import Image

from bsrnn import bands, common, plots
from bsrnn.common import UsageError
from bsrnn.plots import signals, style

RATE = 44100


def sine(hz, seconds=2.0, gain=1.0):
    return (gain * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype("f4")


@pytest.fixture(scope="module")
def sounds():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 2 * RATE)).astype("f4") * 0.1
    tone = np.stack([sine(220), 0.5 * sine(220)])
    silence = np.zeros((2, 2 * RATE), "f4")
    return {"vocals": tone, "drums": noise, "bass": silence, "theremin": tone[:1]}


def all_figures(sounds):
    yield plots.waveforms(sounds, RATE)
    yield plots.spectra(sounds, RATE)
    for axis in ("log", "linear", "mel"):
        yield plots.spectrogram(sounds["drums"], RATE, axis=axis)
        yield plots.spectrograms(sounds, RATE, axis=axis)
    yield plots.levels(sounds, RATE)
    yield plots.stereo(sounds)
    yield plots.stem_correlation(np.eye(3), ["a", "b", "c"])


def test_every_figure_has_title_units_words_and_is_small(sounds):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in all_figures(sounds):
            title = figure.get_suptitle()
            assert title
            words = figure.description
            assert 20 < len(words) < 400 and words.endswith(".") and "nan" not in words.lower()
            png = figure.png()
            assert len(png) < 150_000, (title, len(png))
            assert Image.open(io.BytesIO(png)).text["Description"] == words
            labels = [a.get_xlabel() + a.get_ylabel() for a in figure.axes]
            if "orrelation" not in title:
                assert any("(" in label for label in labels), (title, labels)


def test_figures_leave_no_trace_and_repeat_exactly(sounds):
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    first = plots.spectra(sounds, RATE).png()
    assert plt.get_fignums() == [] and dict(mpl.rcParams) == before
    assert plots.spectra(sounds, RATE).png() == first


def test_notebooks_get_one_png_with_alt_text(sounds):
    figure = plots.waveforms(sounds, RATE)
    data, metadata = figure._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == figure.description == data["text/plain"]


def test_figures_compose_in_the_axes_that_are_given(sounds):
    scheme = bands.scheme("equal8")
    runs = {"a": [pandas.DataFrame({"step": [1, 2], "valid_usdr": [0.0, 1.0]})]}
    calls = {
        "Spectrum": lambda ax: plots.spectrogram(sounds["drums"], RATE, title="Spectrum", ax=ax),
        "Long": lambda ax: plots.spectra(sounds, RATE, "Long", ax=ax),
        "Stereo": lambda ax: plots.stereo(sounds, "Stereo", ax=ax),
        "Stems": lambda ax: plots.stem_correlation(np.eye(2), ["a", "b"], "Stems", ax=ax),
        "Energy per band": lambda ax: plots.energy_per_band(scheme, {"a": np.ones(8)}, ax=ax),
        "1 ways to cut": lambda ax: plots.gallery([scheme], ax=ax),
        "Transfer": lambda ax: plots.transfer_curves(runs, title="Transfer", ax=ax),
    }
    whole, axes = plots.figure("All", columns=len(calls), width=20)
    for ax, (title, call) in zip(axes, calls.items(), strict=True):
        picture = call(ax)
        assert picture is whole and title in ax.get_title() and ax.has_data()
    assert whole.get_suptitle() == "All" and whole.png()


def test_drawings_are_svg_with_words_and_repeat_exactly():
    places = {"mixture": (0, 0), "mask": (1, 1), "stem": (1, 0)}
    arrows = [("mixture", "stem"), ("mask", "stem", '(F, T) "soft"')]
    data, metadata = plots.diagram(places, arrows, "Flow")._repr_mimebundle_()
    assert set(data) == {"image/svg+xml", "text/plain"}
    words = metadata["image/svg+xml"]["alt"]
    assert words == 'Boxes and arrows: mixture to stem; mask to stem ((F, T) "soft").'
    drawn = data["image/svg+xml"]
    assert ElementTree.fromstring(drawn).get("aria-label") == words
    assert drawn.count(">mixture<") == 1, "text stays text"
    assert drawn == plots.diagram(places, arrows, "Flow").svg()
    with pytest.raises(UsageError, match="did you mean mask"):
        plots.diagram(places, [("mask", "stem"), ("masc", "stem")])
    with pytest.raises(UsageError, match="no boxes"):
        plots.diagram({}, [])


def test_save_is_atomic(tmp_path, monkeypatch, sounds):
    figure = plots.waveforms(sounds, RATE)
    assert figure.save(tmp_path / "a.png").read_bytes() == figure.png()
    monkeypatch.setattr(common.os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        figure.save(tmp_path / "b.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_full_scale_sine_reads_zero_db():
    hz = 44100 / 2048 * 50
    _, power = signals.power_spectrum(sine(hz)[None], RATE)
    assert power.mean(axis=1).argmax() == 50
    np.testing.assert_allclose(power[50], 1, rtol=1e-3)
    line = plots.spectra({"vocals": sine(1000)[None]}, RATE).axes[0].lines[0]
    at = np.argmax(line.get_ydata())
    assert abs(line.get_ydata()[at]) < 0.1
    assert 1000 / 2 ** (1 / 12) < line.get_xdata()[at] < 1000 * 2 ** (1 / 12)


def test_pooling_keeps_the_power():
    rng = np.random.default_rng(1)
    power = rng.random((1025, 7))
    hz = np.fft.rfftfreq(2048, 1 / RATE)
    for axis in ("linear", "mel"):
        edges = signals._rows(axis, RATE / 2 + 50, 90)
        edges[0] = -50
        np.testing.assert_allclose(
            signals._pool(power, hz, edges).sum(axis=0), power.sum(axis=0), rtol=1e-9
        )


@pytest.mark.parametrize("axis", ["log", "linear", "mel"])
def test_a_tone_is_drawn_at_its_frequency(axis):
    level, edges = signals.levels_grid(sine(3000)[None], RATE, axis=axis)
    row = level.mean(axis=1).argmax()
    assert edges[row] - 25 <= 3000 <= edges[row + 1] + 25


def test_levels_mark_silence():
    sound = np.concatenate([sine(440, 1.0, 0.5), np.zeros(RATE, "f4")])[None]
    figure = plots.levels({"vocals": sound}, RATE)
    assert "vocals silent 50 %" in figure.description
    top = figure.axes[0].lines[0].get_ydata()
    np.testing.assert_allclose(top[:10], -9.03, atol=0.1)  # RMS of a sine of amplitude 0.5
    assert (top[10:] == signals.SILENT_DB).all()


def test_stereo_width_is_right():
    left, right = sine(220), sine(330)
    assert abs(signals.width_db(np.stack([left, right]))) < 0.1
    assert signals.width_db(np.stack([left, left])) == -60
    assert signals.width_db(np.stack([left, -left])) == 60
    assert np.isnan(signals.width_db(np.zeros((2, 100))))
    figure = plots.stereo({"a": np.stack([left, right]), "b": left[None], "c": 0 * left[None]})
    assert figure.description.endswith("b mono, c silent.")


@pytest.mark.parametrize("length", [2, 3000])
def test_very_short_sounds_are_drawn(length):
    for figure in all_figures({"vocals": np.full((2, length), 0.1, "f4"), "drums": sine(99)[None]}):
        assert figure.description


def test_bad_input_is_one_line(sounds):
    cases = [
        (plots.waveforms, {}, "no sounds"),
        (plots.waveforms, {"a": np.zeros(100)}, "shape"),
        (plots.spectra, {"a": np.full((1, 100), np.nan)}, "NaN"),
        (plots.levels, {"a": np.zeros((2, 0))}, "shape"),
    ]
    for function, given, message in cases:
        with pytest.raises(UsageError, match=message) as caught:
            function(given, RATE)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="did you mean log"):
        plots.spectrogram(sounds["drums"], RATE, axis="lag")
    with pytest.raises(UsageError, match="does not fit"):
        plots.stem_correlation(np.eye(2), ["a"])


def test_importing_plots_loads_no_matplotlib_and_the_page_no_widgets():
    code = "import sys, bsrnn.plots; assert 'matplotlib' not in sys.modules; bsrnn.plots.spectra"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys, bsrnn.plots.page; assert 'ipywidgets' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="wavefroms"):
        _ = plots.wavefroms


def test_colours_are_fixed_and_distinct():
    music = [style.STEM_COLOURS[s] for s in ("vocals", "bass", "drums", "other", "mixture")]
    film = [style.STEM_COLOURS[s] for s in ("speech", "music", "sfx", "mixture")]
    assert len(set(music)) == 5 and len(set(film)) == 4
    assert style.stem_colour("theremin") == style.stem_colour("theremin")
