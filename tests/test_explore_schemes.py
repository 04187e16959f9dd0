"""The two-scheme comparer: its numbers are the package's, every control matters, files train."""

import json

import numpy as np
import pytest

widgets = pytest.importorskip("ipywidgets")

from dataclasses import replace  # noqa: E402

from bsrnn import bands, cli, data, design, explore, listen, masks, models  # noqa: E402
from bsrnn.common import UsageError  # noqa: E402
from bsrnn.explore import schemes  # noqa: E402
from bsrnn.models.cost import cost  # noqa: E402

RATE = 44100


@pytest.fixture(scope="module")
def sources():
    return data.open("clip")[0].sources(RATE, 2 * RATE)


@pytest.fixture(scope="module")
def songs(sources):
    return {"clip": (sources, RATE), "clip, turned": ({k: -x for k, x in sources.items()}, 22050)}


@pytest.fixture
def heard(monkeypatch):
    """The sounds that were given to the players, last call last."""
    calls, real = [], listen.players

    def players(sounds, *args, **kwargs):
        calls.append(sounds)
        return real(sounds, *args, **kwargs)

    monkeypatch.setattr(listen, "players", players)
    return calls


def test_the_table_holds_the_numbers_of_the_package(sources):
    _, table, _ = explore.schemes_compared(sources, "v7", "mel48", "vocals", model="tiny")
    assert list(table.columns) == ["A: v7", "B: mel48"]
    stacked = np.stack(list(sources.values()))
    for name, column in zip(("v7", "mel48"), table.columns, strict=True):
        scheme, facts = bands.scheme(name), table[column]
        assert facts["bands"] == str(len(scheme))
        assert facts["bins per band"] == f"{min(scheme.widths)}-{max(scheme.widths)}"
        preset = models.presets()["tiny"]
        config = replace(preset, scheme=name, stft=replace(preset.stft, n_fft=2048, hop=512))
        price = cost(config, 6.0)
        assert facts["parameters of tiny (M)"] == f"{price.parameters / 1e6:.3f}"
        assert facts["GMAC of tiny (6 s)"] == f"{price.macs / 1e9:.2f}"
        want = masks.band_sdr_db(scheme, stacked)[list(sources).index("vocals")]
        assert float(facts["bound on vocals (dB)"]) == pytest.approx(want, abs=0.006)


def test_band_and_rest_add_up_to_the_stem(sources, heard):
    explore.schemes_compared(sources, "v7", "musical64", "bass", band=4, muted=(4,), hear="B")
    whole, band, rest = heard[-1].values()
    np.testing.assert_array_equal(whole, sources["bass"])
    np.testing.assert_allclose(band + rest, whole, atol=1e-5)
    assert 0 < np.square(band).sum() < np.square(whole).sum()
    assert [label.split(",")[0] for label in heard[-1]] == [
        "all of bass", "band 4 of musical64", "bass without band 4",
    ]  # fmt: skip


def test_a_change_computes_only_what_it_changes(sources, monkeypatch):
    calls = []

    def counted(name, real):
        return lambda *args: calls.append(name) or real(*args)

    monkeypatch.setattr(listen, "_kept", listen.OrderedDict())
    monkeypatch.setattr(listen, "_encoded", counted("sound", listen._encoded))
    monkeypatch.setattr(design.Bound, "of", counted("oracle", design.Bound.of))
    monkeypatch.setattr(design.Bound, "sdr_db", counted("number", design.Bound.sdr_db))
    panel = explore.compare_schemes({"clip": (sources, RATE)})
    calls.clear()
    for changes, want in [
        ({"axis": "piano"}, []),
        ({"model": "paper"}, []),
        ({"edge": 2}, []),
        ({"band": 9}, ["sound"]),
        ({"band": 5}, []),
        ({"muted": "0-9"}, ["sound"]),
        ({"scheme_b": "mel48"}, ["number"]),
        ({"stem": "bass", "muted": ""}, ["oracle", "number", "number", "sound", "sound"]),
        ({"stem": "vocals"}, []),
        ({"n_fft": 4096}, ["oracle", "number", "number", "sound"]),
        ({"n_fft": 2048}, []),
    ]:
        calls.clear()
        panel.set(**changes)
        assert calls == want, changes


def test_slider_follows_the_heard_scheme(songs):
    panel = explore.compare_schemes(songs, "v7", "equal16")
    slider = panel.controls["band"]
    assert slider.max == 40
    slider.value = 40
    panel.controls["hear"].value = "B"
    assert (slider.max, slider.value) == (15, 15)
    assert "band 15 of equal16" in panel.text


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"scheme_a": "own", "own": "100, x"}, "give numbers in Hz"),
        ({"scheme_a": "own", "own": "300, 100"}, "edge 100 Hz follows 300 Hz"),
        ({"scheme_a": "own", "own": "100, 30000"}, "not between 0 and Nyquist"),
        ({"scheme_a": "own", "own": "100, 101"}, "no bin between 100 and 101 Hz"),
        ({"muted": "3-"}, "give numbers such as 0-3, 7"),
        ({"muted": "41"}, "v7 has bands 0 to 40"),
        ({"n_fft": 512, "scheme_a": "v7-magronp", "song": "clip, turned"}, "use rounding"),
    ],
)
def test_what_cannot_be_is_one_line_and_no_failure(songs, changes, words):
    panel = explore.compare_schemes(songs)
    for name, value in changes.items():
        panel.controls[name].value = value
    assert panel.text.startswith("Not possible") and words in panel.text
    assert "\n" not in panel.text


def test_a_broken_view_is_not_hidden(songs, monkeypatch):
    panel = explore.compare_schemes(songs)
    monkeypatch.setattr(schemes, "_facts", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        panel.controls["axis"].value = "piano"


def test_the_saved_scheme_trains(songs, tmp_path, capsys):
    panel = explore.compare_schemes(songs, "own", "v7", out_dir=tmp_path / "bands")
    panel.controls["own"].value = "200, 400, 800, 1600, 3200"
    panel.saver.name.value = "six"
    panel.saver.button.click()
    path = tmp_path / "bands" / "six.json"
    assert "6 bands saved" in panel.saver.answer.value and str(path) in panel.saver.answer.value
    saved = bands.BandScheme.from_json(path.read_text())
    assert saved == bands.from_edges_hz([200, 400, 800, 1600, 3200])
    toy = data.open("toy", train=2, test=1, seconds=2.0).root
    out = tmp_path / "run"
    words = ["train", "tiny", "--scheme", path, "--steps", "1", "--dataset", toy, "--out", out]
    short = ["--stems", "vocals", "-p", "seconds_per_segment", "1", "-p", "batch", "1"]
    assert cli.main([str(word) for word in words + short]) == 0, capsys.readouterr().err
    from bsrnn.models import load

    trained = load(next(out.glob("*.safetensors"))).config
    assert trained.bands.ranges == saved.project(44100, trained.stft.n_fft).ranges
    panel.saver.name.value = "../six"
    panel.saver.button.click()
    assert panel.saver.answer.value.startswith("Not possible")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        schemes.save_scheme(saved, tmp_path / "file" / "x.json")
    assert json.loads(path.read_text())["n_fft"] == 2048


def test_bad_input_is_one_line(sources):
    for change, words in [
        ({"scheme_a": "v9"}, "scheme"),
        ({"stem": "voice"}, "stem"),
        ({"axis": "mel"}, "axis"),
        ({"model": "huge"}, "preset"),
        ({"hear": "C"}, "hear"),
        ({"band": 41}, "0 to 40"),
    ]:
        with pytest.raises(UsageError, match=words):
            explore.schemes_compared(sources, **change)
    with pytest.raises(UsageError, match="no stems"):
        explore.schemes_compared({})
    with pytest.raises(UsageError, match="no songs"):
        explore.compare_schemes({})
