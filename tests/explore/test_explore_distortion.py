"""The distortion lab: its numbers are the metrics, and every control over its range."""

import numpy as np
import pytest

widgets = pytest.importorskip("ipywidgets")

from bsrnn import distort, explore, metrics  # noqa: E402

RATE = 8000


@pytest.fixture(scope="module")
def sources():
    time_s = np.arange(2 * RATE) / RATE
    rng = np.random.default_rng(0)
    tone = 0.2 * np.sin(2 * np.pi * 220 * time_s) * (1 + np.sin(2 * np.pi * 3 * time_s))
    noise = 0.1 * rng.standard_normal((2, len(time_s)))
    return {
        "drums": noise.astype(np.float32),
        "vocals": np.stack([tone, 0.8 * tone + 0.01 * noise[0]]).astype(np.float32),
    }


def test_the_table_holds_every_metric_beside_its_ladder(sources, heard):
    picture, table, _ = explore.distortion_view(sources, RATE, "vocals", "leakage", sdr_db=7)
    estimate = distort.distort("leakage", sources, "vocals", RATE, 7).waveform
    reference, mixture = sources["vocals"], sum(sources.values())
    assert list(table.columns) == ["estimate", "silence", "mixture"]
    for column, x in (("estimate", estimate), ("mixture", mixture)):
        for name, metric in (("uSDR", metrics.usdr), ("SI-SDR", metrics.si_sdr),
                             ("SNR per channel", metrics.snr)):  # fmt: skip
            assert table.loc[name, column] == f"{metric(reference, x):.2f}"
        found = metrics.csdr(reference[None], x[None], RATE)[0]
        assert table.loc["cSDR", column] == f"{found:.2f}"
    assert table.loc["uSDR", "silence"] == "0.00" and table.loc["cSDR", "silence"] == "undefined"
    assert table.loc["uSDR", "estimate"] == "7.00" and "uSDR 7.0 dB" in picture.description
    np.testing.assert_array_equal(heard[-1]["estimate"], estimate)
    np.testing.assert_allclose(heard[-1]["error"], estimate - reference, atol=1e-7)


def test_the_metrics_disagree_as_they_should(sources):
    table = {
        kind: explore.distortion_view(sources, RATE, "vocals", kind)[1]["estimate"]
        for kind in distort.KINDS
    }
    assert table["gain"]["uSDR"] == "10.00" and float(table["gain"]["SI-SDR"]) > 100
    assert table["polarity"]["uSDR"] == "-6.02" and float(table["polarity"]["SI-SDR"]) > 100
    assert table["silence"]["SI-SDR"] == "undefined" and table["silence"]["uSDR"] == "0.00"
    assert float(table["delay"]["SDR, 512 taps forgiven"]) > float(table["delay"]["uSDR"]) + 10


def test_silence_is_said(sources):
    silent = {**sources, "vocals": 0 * sources["vocals"]}
    assert "choose another stem" in explore.distortion_view(silent, RATE, "vocals")[0]
    lab = explore.distortion_lab(silent, RATE)
    lab.controls["stem"].value = "drums"
    assert len(lab.output.outputs) == 1  # nothing is left to leak into the drums


def test_undefined_and_infinite_values_are_drawn(sources):
    for kind in ("silence", "gain", "polarity", "swap"):
        picture, _, _ = explore.distortion_view(sources, RATE, "vocals", kind)
        assert picture.png()[:4] == b"\x89PNG" and kind in picture.description
