"""Band schemes: published tables bin for bin, and properties over random rates, n_fft and K."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st

from bsrnn import bands
from bsrnn.bands import BandScheme
from bsrnn.common import UsageError

HZ_FAMILIES = (*(f"v{i}" for i in range(1, 8)), "bass", "drums", "joint", "tet24", "bs-roformer")
RATES = st.sampled_from([8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000])
SIZES = st.integers(32, 4096).map(lambda half: 2 * half)
few = settings(deadline=None, max_examples=40)


def lists(scheme):
    return [list(span) for span in scheme.ranges]


@pytest.fixture(scope="module")
def bsrnn_golden():
    return json.loads((GOLDEN / "bsrnn_bands.json").read_text())


def test_tables_of_magronp_and_of_the_ceil_rule(bsrnn_golden):
    magronp = bsrnn_golden["magronp/bsrnn get_bandsplit (widths; target None = joint)"]
    amanteur = bsrnn_golden["amanteur/BandSplitRNN-Pytorch freq2bands (edges)"]
    for n_fft in (2048, 4096):
        for target, widths in magronp[f"n_fft={n_fft},sr=44100"].items():
            name = {"vocals": "v7", "None": "joint"}.get(target, target)
            assert list(bands.scheme(f"{name}-magronp", 44100, n_fft).widths) == widths
        for target, edges in amanteur[f"n_fft={n_fft},sr=44100"].items():
            assert lists(bands.scheme(target.lower(), 44100, n_fft)) == edges
    at_48k = (4,) * 10 + (10,) * 12 + (21,) * 8 + (42,) * 8 + (85,) * 2 + (191,)
    assert bands.scheme("v7-magronp", 48000).widths == at_48k


def test_paper_definitions_and_counts(bsrnn_golden):
    paper = bsrnn_golden[
        "definitions in the paper, Hz: [upper edge, bandwidth]; one band above the last edge"
    ]
    for name, count in paper["n_subbands"].items():
        assert len(bands.scheme({"drum": "drums"}.get(name, name.lower()))) == count
    v6 = "5 5 4 5 5 4 5 5 4 5 23 23 24 23 23 23 47 46 47 46 93 93 93 93 185 96"
    assert bands.scheme("v6").widths == tuple(map(int, v6.split()))
    assert len(bands.scheme("joint")) == len(bands.scheme("joint-magronp")) == 57
    assert bands.scheme("v7").edges_hz[:3] == (0, 100, 200)
    assert bands.scheme("v7-magronp").actual_edges_hz[10] == 40 * 44100 / 2048  # its "1 kHz"


def test_24_tet_with_its_spurious_edges(bsrnn_golden):
    tables = bsrnn_golden["sahandevs/Refined-BSRNN generic bands, 44.1 kHz (edges)"]
    assert tables
    for grid, edges in tables.items():
        assert lists(bands.scheme("tet24", 44100, int(grid.split("=")[1]))) == edges
    assert [len(bands.scheme("tet24", 44100, n)) for n in (1024, 2048, 4096)] == [34, 38, 41]


def test_bandit_tables_bin_for_bin():
    tables = json.loads((GOLDEN / "bandit_bands.json").read_text())
    grids = {(2048, 44100): tables["main"]["specs"]}
    for key, specs in tables["other"].items():
        n_fft, rate = (int("".join(filter(str.isdigit, part))) for part in key[2:].split("_fs"))
        grids[n_fft, rate] = specs
    assert len(grids) == 5
    for (n_fft, rate), specs in grids.items():
        for peer_name, spec in specs.items():
            fixed = peer_name.startswith("vocals_") or peer_name in ("bass", "drums", "other")
            name = peer_name.removeprefix("vocals_") + ("-bandit" if fixed else "")
            if spec["min_width"] <= 0:  # the peer builds a band of negative width at 16 kHz
                with pytest.raises(UsageError, match="ceil"):
                    bands.scheme(name, rate, n_fft)
                continue
            scheme = bands.scheme(name, rate, n_fft)
            assert lists(scheme) == spec["bands"], (name, rate, n_fft)
            gaps = [i for lo, hi in spec["uncovered_bins"] for i in range(lo, hi)]
            assert list(scheme.uncovered) == gaps


def test_bandit_weights():
    golden = np.load(GOLDEN / "bandit_band_weights.npz")
    keys = [key.removeprefix("weights/") for key in golden if key.startswith("weights/")]
    assert len(keys) == 10
    for key in keys:
        scheme = bands.scheme(key.split("_")[0])
        np.testing.assert_array_equal(scheme.ranges, golden[f"edges/{key}"])
        # exact for bark and musical; for triangles the peer's float32 power moves points by 1 ulp
        atol = 0 if key.startswith(("bark", "musical")) else 3e-6
        np.testing.assert_allclose(
            np.concatenate(scheme.weights), golden[f"weights/{key}"], rtol=0, atol=atol
        )


def test_roformer_tables():
    table = (2,) * 24 + (4,) * 12 + (12,) * 8 + (24,) * 8 + (48,) * 8 + (128, 129)
    assert bands.scheme("bs-roformer").widths == table
    assert bands.scheme("bs-roformer", 44100, 4096).widths == (*(2 * w for w in table[:-1]), 257)


def test_mel_roformer_equals_librosa():
    from librosa.filters import mel

    for k, rate, n_fft in [(60, 44100, 2048), (40, 48000, 4096), (100, 16000, 2048)]:
        held = mel(sr=rate, n_fft=n_fft, n_mels=k) > 0  # (K, F)
        held[0, 0] = held[-1, -1] = True
        np.testing.assert_array_equal(
            bands.scheme(f"mel-roformer{k}", rate, n_fft).matrix > 0, held
        )


def check_sound(scheme):
    """Cover, no empty band, resynthesis to 1e-6, energy adds up, JSON round trip."""
    assert min(scheme.widths) >= 1 and scheme.ranges[0][0] == 0
    held = set().union(*(range(lo, hi) for lo, hi in scheme.ranges)) | set(scheme.uncovered)
    assert held == set(range(scheme.n_fft // 2 + 1))
    rng = np.random.default_rng(0)
    spectrum = rng.standard_normal((2, scheme.bins, 6)).view(complex)  # (C, F, T)
    spectrum[:, list(scheme.uncovered)] = 0
    again = bands.merge(scheme, bands.split(scheme, spectrum))
    assert np.abs(again - spectrum).max() < 1e-6 * np.abs(spectrum).max()
    energy = bands.energy_per_band(scheme, spectrum)
    assert energy.shape == (2, len(scheme))
    np.testing.assert_allclose(energy.sum(1), (np.abs(spectrum) ** 2).sum((1, 2)), rtol=1e-6)
    back = BandScheme.from_json(scheme.to_json())
    assert back == scheme and hash(back) == hash(scheme) and back.notes == scheme.notes


@pytest.mark.parametrize("name", bands.names())
def test_every_built_in_is_sound(name):
    check_sound(bands.scheme(name))


@few
@given(st.sampled_from(HZ_FAMILIES), RATES, SIZES)
def test_hz_families_project_to_any_grid(name, rate, n_fft):
    scheme = bands.scheme(name, rate, n_fft)
    check_sound(scheme)
    assert scheme == bands.scheme(name).project(rate, n_fft)
    if len(scheme) < len(bands.scheme(name)) and name not in ("v1", "tet24"):
        assert scheme.notes  # whatever was merged or dropped is said


@few
@given(st.sampled_from(["equal", "octave"]), st.integers(1, 90), RATES, SIZES)
def test_equal_families_have_exactly_k_bands(family, k, rate, n_fft):
    if k > n_fft // 2 + 1:
        with pytest.raises(UsageError, match="choose 1 to"):
            bands.scheme(f"{family}{k}", rate, n_fft)
        return
    scheme = bands.scheme(f"{family}{k}", rate, n_fft)
    check_sound(scheme)
    assert len(scheme) == k
    if family == "equal":
        assert max(scheme.widths) - min(scheme.widths) <= 2
    else:
        wide = [(lo, hi) for lo, hi in scheme.ranges[1:] if hi - lo > 20]
        octaves = [np.log2(hi / lo) for lo, hi in wide]
        assert not wide or max(octaves) / min(octaves) < 1.1


@few
@given(
    st.sampled_from(["bark", "erb", "mel", "musical", "tribark", "minibark", "mel-roformer"]),
    st.integers(2, 100), RATES, SIZES,
)  # fmt: skip
def test_overlapping_families_are_sound_or_say_the_fix(family, k, rate, n_fft):
    try:
        scheme = bands.scheme(f"{family}{k}", rate, n_fft)
    except UsageError as error:
        assert "choose" in str(error) and "\n" not in str(error)
        return
    check_sound(scheme)
    assert len(scheme) == k or "hold no bin" in scheme.notes[0]


@few
@given(st.lists(st.integers(1, 21999), min_size=1, max_size=30, unique=True), RATES, SIZES)
def test_own_edges_are_strict_and_project(edges, rate, n_fft):
    own = bands.from_edges_hz(sorted(edges), 44100, 44100)  # 1 Hz per bin: every edge has its bin
    assert own.actual_edges_hz[1:-1] == tuple(map(float, sorted(edges)))
    moved = own.project(rate, n_fft)
    check_sound(moved)
    nominal = set(moved.edges_hz[1:-1])
    assert nominal <= set(map(float, edges)) and all(f < rate / 2 for f in nominal)
    try:
        assert bands.from_edges_hz(sorted(edges), rate, n_fft).ranges == moved.ranges
    except UsageError as error:
        assert moved.notes and ("Nyquist" in str(error) or "merge" in str(error))


@few
@given(st.integers(0, 2**31), st.integers(1, 40), st.sampled_from([1.0, 2.0]))
def test_equal_energy_is_as_equal_as_bins_allow(seed, k, exponent):
    spectrum = np.random.default_rng(seed).gamma(0.3, size=(2, 129, 5))
    scheme = bands.equal_energy(spectrum, k, 8000, exponent=exponent)
    check_sound(scheme)
    assert len(scheme) == k
    if k <= 3:  # wide bands: off by less than the largest bin at either border
        share = (spectrum**exponent).sum((0, 2))
        parts = [share[lo:hi].sum() for lo, hi in scheme.ranges]
        assert max(abs(p - share.sum() / k) for p in parts) <= share.max() + 1e-9


def test_low_and_high_rates_are_stated():
    low, high = bands.scheme("v7", 8000), bands.scheme("v7", 96000)
    assert len(low) == 22 and "19 edges at or above 4000 Hz dropped" in low.notes
    assert high.edges_hz[-2:] == (20000, 48000) and len(high) == 41
    assert high.notes == ("the last band reaches from 20000 to 48000 Hz",)
    small = bands.scheme("drums", 44100, 256)
    assert len(small) < 55 and "merged" in small.notes[0]
    for name in ("v7-magronp", "v7-bandit"):
        with pytest.raises(UsageError, match="8000 Hz .* use rounding 'ceil'"):
            bands.scheme(name, 8000)


TWO = {"name": "mine", "ranges": ((0, 500), (500, 1025)), "sample_rate": 44100, "n_fft": 2048}
HALF = np.full(525, 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ranges": ((0, 500), (500, 1020))}, "of 1025 bins: add 5 bins to the last band"),
        ({"ranges": ((0, 499), (500, 1025))}, "cover 1024 of 1025 bins: no band holds bin 499"),
        ({"ranges": ((0, 501), (500, 1025))}, "overlap: end band 0 at bin 500"),
        ({"ranges": ((0, 500), (500, 500), (500, 1025))}, "band 1 .* is empty"),
        ({"ranges": ((0, 500), (500, 1026))}, "keep 0 <= lo < hi <= 1025"),
        ({"ranges": ((500, 1025), (0, 500))}, "sort them"),
        ({"ranges": ()}, "no bands"),
        ({"uncovered": (7,)}, "names covered bins"),
        ({"weights": (np.ones(500), HALF)}, "sum to 0.5 on bin 500"),
        ({"weights": (np.ones(500), 2 * HALF[1:])}, "band 1 has 525 bins"),
        ({"weights": (np.ones(500), -2 * HALF)}, "between 0 and 1"),
    ],
)
def test_validate_refuses_and_says_the_fix(change, message):
    BandScheme(**TWO).validate()
    with pytest.raises(UsageError, match=message) as caught:
        BandScheme(**{**TWO, **change}).validate()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bands.scheme("v8"), "did you mean"),
        (lambda: bands.scheme("equal2000"), "choose 1 to 1025"),
        (lambda: bands.scheme("bark2"), "choose more bands"),
        (lambda: bands.scheme("v7", 44100, 2047), "even n_fft"),
        (lambda: bands.from_edges_hz([500, 400]), "sort them"),
        (lambda: bands.from_edges_hz([500, 30000]), "not between 0 and Nyquist"),
        (lambda: bands.from_edges_hz([500, 505]), "raise n_fft"),
        (lambda: bands.from_edges_hz(["low"]), "numbers in Hz"),
        (lambda: bands.from_edges_hz([(0, 1000), (900, 22050)]), "overlap between 900 and 1000 Hz"),
        (lambda: bands.from_edges_hz([(0, 1000), (1100, 22050)]), "leave a gap"),
        (lambda: bands.from_edges_hz([(0, 500, 1000)]), "or pairs"),
        (lambda: bands.equal_energy(np.zeros((1025, 3)), 8), "silent"),
        (lambda: bands.energy_per_band(bands.scheme("v7"), np.ones((513, 3))), "1025 bins of v7"),
        (lambda: BandScheme.from_json("{"), "no JSON"),
        (
            lambda: BandScheme.from_json('{"name": "x", "bands": 3}'),
            "unknown key of a band",
        ),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_own_schemes_from_files(tmp_path):
    (tmp_path / "edges.csv").write_text("edge_hz\n500\n4000\n")
    (tmp_path / "pairs.csv").write_text("low;high\n0;500\n500;4000\n4000;22050\n")
    (tmp_path / "pairs.json").write_text("[[0, 500], [500, 4000], [4000, 22050]]")
    (tmp_path / "edges.json").write_text("[500, 4000]")
    (tmp_path / "scheme.json").write_text(bands.from_edges_hz([500, 4000], 48000, 4096).to_json())
    expected = bands.from_edges_hz([500, 4000]).ranges
    for path in tmp_path.iterdir():
        assert bands.read(path).ranges == expected, path.name
    (tmp_path / "bad.csv").write_text("500\n4000,5000\n")
    for name in ("bad.csv", "absent.csv"):
        with pytest.raises(UsageError):
            bands.read(tmp_path / name)


def test_frozen_and_light():
    scheme = bands.scheme("musical64")
    with pytest.raises(AttributeError):
        scheme.name = "x"
    with pytest.raises(ValueError):
        scheme.weights[0][0] = 0
    code = (
        "import sys, bsrnn.bands as b, bsrnn.design; b.scheme('mel48'); "
        "sys.exit('torch' in sys.modules or 'librosa' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_scheme_plot_has_words_and_the_right_marks():
    from bsrnn.plots import schemes as plots

    v7, musical = (bands.scheme(name) for name in ("v7", "musical64"))
    spectrum = np.random.default_rng(0).standard_normal((1025, 20))
    energy = bands.energy_per_band(v7, spectrum)
    ones = np.ones(41)
    assert len(plots.coverage(musical).axes[0].lines) == 64  # weights of every band
    held = plots.energy_per_band(v7, {"vocals": energy, "drums": 0 * energy})
    assert "drums silent" in held.description
    assert plots.cost_per_band(v7, 1e6 * ones, ones).description
    owners = plots.band_owners(v7, {"vocals": 3 * ones, "drums": np.r_[4, ones[1:]]})
    assert "vocals 40, drums 1." in owners.description
    vocals, drums = (part.get_data() for part in owners.axes[0].patches)
    assert vocals.values[1] == 0.75 and np.allclose(drums.values, 1)  # stacked up to one
    silent = plots.band_owners(musical, {"vocals": np.zeros(64)})
    assert silent.description.endswith("vocals 0.")
