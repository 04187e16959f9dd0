"""Metrics equal museval, the published numbers, and their own laws."""

import json
import math

import numpy as np
import pytest
from conftest import GOLDEN, needs_ffmpeg
from golden_fill import draw
from hypothesis import given, settings
from hypothesis import strategies as st

from bsrnn import bands, metrics
from bsrnn.common import UsageError


@st.composite
def songs(draw_):
    """Small random songs: silences, odd lengths, copies, levels from 1e-5 to 1e5."""
    seed = draw_(st.integers(0, 2**32 - 1))
    # museval's time grows with (stems x channels)^2: six of both only in the test below
    channels = draw_(st.sampled_from([1, 2, 6]))
    stems = draw_(st.integers(1, {1: 6, 2: 4, 6: 2}[channels]))
    window, hop = draw_(st.integers(8, 40)), draw_(st.integers(5, 45))
    length = draw_(st.sampled_from([window - 1, window, window + 1, window + hop, 130, 131]))
    rng = np.random.default_rng(seed)
    s = rng.standard_normal((stems, channels, length)) * 10.0 ** rng.uniform(-5, 5)
    e = s * rng.uniform(0.3, 1.5, (stems, 1, 1)) + rng.standard_normal(s.shape) * np.abs(s).mean()
    for _ in range(draw_(st.integers(0, 3))):
        which, start = rng.integers(stems), rng.integers(length)
        (s if rng.random() < 0.5 else e)[which, :, start : start + rng.integers(1, 80)] = 0
    if draw_(st.booleans()) and stems > 1:
        e[1] = e[0]
    if draw_(st.booleans()) and channels == 2:
        s[0, 1, : 2 * window] = -s[0, 0, : 2 * window]  # the channels cancel: silent for museval
    if draw_(st.booleans()):
        part = slice(0, window)
        e[-1, :, part] = s[-1, :, part]  # a perfect frame
    return s, e, window, hop


@needs_ffmpeg
@settings(max_examples=210, deadline=None)
@given(songs())
def test_csdr_equals_museval(song):
    from bsrnn.evaluation import museval_frames

    s, e, window, hop = song
    gone = [not x.sum(axis=0).any() for pair in zip(s, e, strict=True) for x in pair]
    ours = metrics.csdr(s, e, sample_rate=1, window_s=window, hop_s=hop)
    if any(gone):  # museval refuses such songs
        assert np.isnan(ours.value_db[[any(gone[2 * i : 2 * i + 2]) for i in range(len(s))]]).all()
        return
    theirs = museval_frames(s, e, 1, window, hop, taps=2)["SDR"]
    np.testing.assert_array_equal(np.isnan(ours.frames_db), np.isnan(theirs))
    plain = theirs < 100  # museval's filters blur perfect frames; ours are infinite
    np.testing.assert_allclose(ours.frames_db[plain], theirs[plain], rtol=0, atol=1e-9)
    assert (ours.frames_db[theirs >= 100] >= 100).all()
    assert ours.frames_total == theirs.shape[1]
    assert (ours.frames_used == (~np.isnan(theirs)).sum(axis=1)).all()
    for value, row in zip(ours, theirs, strict=True):
        row = row[~np.isnan(row)]
        if len(row) and np.median(row) < 100:
            assert value == pytest.approx(np.median(row), abs=1e-9)
        elif not len(row):
            assert math.isnan(value)


@needs_ffmpeg
def test_csdr_equals_museval_with_six_of_six_channels_and_with_its_512_taps():
    """The test above uses 2 taps, for speed: the SDR must not depend on their number."""
    from bsrnn.evaluation import museval_frames

    rng = np.random.default_rng(3)
    s = rng.standard_normal((6, 6, 100))
    e = s + 0.3 * rng.standard_normal(s.shape)
    theirs = museval_frames(s, e, 20, taps=2)["SDR"]
    np.testing.assert_allclose(metrics.csdr(s, e, 20).frames_db, theirs, rtol=0, atol=1e-9)
    s = rng.standard_normal((2, 1, 3000))
    e = s + 0.3 * rng.standard_normal(s.shape)
    theirs = museval_frames(s, e, 441, window_s=2, hop_s=1.5)["SDR"]
    ours = metrics.csdr(s, e, 441, window_s=2, hop_s=1.5)
    np.testing.assert_allclose(ours.frames_db, theirs, rtol=0, atol=1e-9)


def golden_song(name):
    z = np.load(GOLDEN / f"{name}.npz")
    meta = json.loads(str(z["meta"]))
    config, rate = meta["config"], meta["sample_rate"]
    shape = (1, config["sources"], 2, config["samples"])
    s = (0.3 * draw(meta["seed"], "ref", shape)).astype(np.float32)
    gains = np.array(config["gains"], dtype=np.float32)[:, None, None]
    e = s * gains + (0.1 * draw(meta["seed"], "err", shape)).astype(np.float32)
    s, e = s[0], e[0]
    for edit in config["edits"]:
        i, part = edit["source"], slice(edit["frame"] * rate, (edit["frame"] + 1) * rate)
        if edit["kind"] == "ref_zero":
            s[i, :, part] = 0
        elif edit["kind"] == "est_zero":
            e[i, :, part] = 0
        elif edit["kind"] == "ref_right_is_minus_left":
            s[i, 1, part] = -s[i, 0, part]
        else:
            e[i, :, part] = s[i, :, part]
    return z, s, e, rate


@pytest.mark.parametrize("name", ["metrics_museval_sdr", "metrics_museval_sdr_one_silent_source"])
def test_csdr_and_usdr_equal_the_golden_numbers(name):
    z, s, e, rate = golden_song(name)

    def equal(ours, golden):
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(golden))
        plain = golden < 60
        np.testing.assert_allclose(ours[plain], golden[plain], rtol=0, atol=2e-6)
        assert (ours[golden >= 60] > 60).all()

    joint = metrics.csdr(s, e, rate)
    equal(joint.frames_db, z["museval_frames_together_win1s"])
    own = metrics.csdr(s, e, rate, frames="own")
    equal(own.frames_db, z["museval_frames_one_by_one_win1s"])
    long = metrics.csdr(s, e, rate, window_s=2, hop_s=1.5)
    equal(long.frames_db, z["museval_frames_together_win2s_hop1.5s"])
    np.testing.assert_allclose(joint.value_db, z["nanmedian_numpy"], rtol=0, atol=2e-6)
    challenge = metrics.usdr(s, e, metrics.CHALLENGE_EPSILON)
    np.testing.assert_allclose(challenge, z["magronp_usdr"][0], rtol=0, atol=1e-3)


def test_frames_dropped_are_counted_and_explained():
    rng = np.random.default_rng(0)
    s = rng.standard_normal((2, 2, 100))
    e = s + 0.1 * rng.standard_normal(s.shape)
    s[0, :, 20:60] = 0
    joint = metrics.csdr(s, e, 10, names=["vocals", "bass"])
    assert list(joint.frames_used) == [6, 6] and joint.frames_total == 10
    assert joint.notes[1] == "dropped 4 of 10 frames: reference vocals silent in 4"
    own = metrics.csdr(s, e, 10, frames="own")
    assert list(own.frames_used) == [6, 10] and own.notes[1] == ""


def test_whole_silent_stems_are_undefined_and_do_not_take_the_others_with_them():
    rng = np.random.default_rng(0)
    s = rng.standard_normal((3, 2, 100))
    e = s + 0.1 * rng.standard_normal(s.shape)
    alone = metrics.csdr(s[:1], e[:1], 10)
    s[1], e[2] = 0, 0
    scores = metrics.csdr(s, e, 10)
    assert scores[0] == alone[0] and np.isnan(scores.value_db[1:]).all()
    assert (
        scores.notes[1]
        == f"undefined: silent reference, residual {metrics.residual_db(e[1]):.1f} dBFS"
    )
    assert scores.notes[2] == "undefined: silent estimate"
    assert len(scores) == 3 and np.asarray(scores).shape == (3,)


def test_the_metrics_of_bandit_equal_its_golden_numbers():
    """Its SNR and SI-SNR have float32's epsilon in both sums; its SDR forgives a filter."""
    golden = json.loads((GOLDEN / "bandit_metrics.json").read_text())
    epsilon = float(np.finfo(np.float32).eps)
    for stem, level in list(golden["inputs"]["amplitude"].items())[:2]:
        shape = tuple(golden["inputs"]["audio_shape"])
        a, e, n = (draw(golden["seed"], f"{stem}/{part}", shape) for part in "aen")
        s = (level * a).astype(np.float32)
        estimate = s + (0.25 * level * e).astype(np.float32) + (0.0005 * n).astype(np.float32)
        want = golden["values"][stem]
        pairs = list(zip(s, estimate, strict=True))
        for (reference, made), snr, si_snr in zip(
            pairs, want["snr_items"], want["sisnr_items"], strict=True
        ):
            assert metrics.snr(reference, made, epsilon) == pytest.approx(snr, abs=1e-4)
            value = metrics.si_snr(reference, made, epsilon, channels="mean")
            assert value == pytest.approx(si_snr, abs=1e-4)
        values = [metrics.filtered_sdr(*pair) for pair in pairs]
        assert np.mean(values) == pytest.approx(want["sdr"], abs=1e-3)


seeds = st.integers(0, 2**32 - 1)
gains = st.floats(0.01, 100.0)


def pair(seed, shape=(2, 200)):
    rng = np.random.default_rng(seed)
    s = rng.standard_normal(shape) + 0.2
    return s, s + 0.5 * rng.standard_normal(shape)


@settings(max_examples=30, deadline=None)
@given(seeds, gains)
def test_scale_laws(seed, gain):
    s, e = pair(seed)
    for name in ("usdr", "snr", "sd_sdr", "si_sdr", "si_snr"):
        metric = getattr(metrics, name)
        assert metric(gain * s, gain * e) == pytest.approx(metric(s, e), abs=1e-9)
        assert metric(s[::-1], e[::-1]) == pytest.approx(metric(s, e), abs=1e-9)  # channel order
        assert metric(-s, -e) == pytest.approx(metric(s, e), abs=1e-9)
    for metric in (metrics.si_sdr, metrics.si_snr):
        assert metric(s, gain * e) == pytest.approx(metric(s, e), abs=1e-9)
        assert metric(s, -e) == pytest.approx(metric(s, e), abs=1e-9)
    offset = np.array([[3.0], [-1.0]])
    assert metrics.si_snr(s, e + offset) == pytest.approx(metrics.si_snr(s, e), abs=1e-9)
    # SD-SDR <= SI-SDR (Le Roux et al. 2019, section 2.3)
    assert metrics.sd_sdr(s, e) <= metrics.si_sdr(s, e) + 1e-9
    # leaving the scale free can only help: SI-SDR = -10 log10 (1 - c) + 10 log10 c, c = cos^2
    cos2 = (s * e).sum() ** 2 / ((s**2).sum() * (e**2).sum())
    assert metrics.si_sdr(s, e) == pytest.approx(10 * np.log10(cos2 / (1 - cos2)), abs=1e-9)


def test_values_worked_by_hand():
    s = np.array([[3.0, -4.0]])
    assert metrics.usdr(s, 0.9 * s) == pytest.approx(20.0)
    assert metrics.usdr(s, np.zeros_like(s)) == 0.0
    assert metrics.usdr(s, -s) == pytest.approx(-6.0206, abs=1e-4)
    assert metrics.usdr(s, s) == math.inf and metrics.csdr(s[None], s[None], 2)[0] == math.inf
    assert metrics.usdr(s, s, epsilon=1e-7) == pytest.approx(10 * np.log10(25 / 1e-7), abs=1e-6)
    assert metrics.sd_sdr(s, 0.5 * s) == pytest.approx(0.0)  # |s/2|^2 / |s/2|^2
    assert metrics.si_sdr([[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]]) == -math.inf
    assert metrics.usdr([1.0, -1.0], [0.5, -0.5]) == pytest.approx(6.0206, abs=1e-4)  # (L,) is mono
    # even count: the two middle frames are averaged, not the lower one taken
    frames = np.array([[[1.0] * 4]]), np.array([[[0.9, 0.8, 0.7, 0.5]]])
    want = 10 * (np.log10(1 / 0.2**2) + np.log10(1 / 0.3**2)) / 2
    assert metrics.csdr(*frames, sample_rate=1)[0] == pytest.approx(want)


def test_silence_is_undefined_never_a_number():
    silence, noise = np.zeros((2, 50)), np.full((2, 50), 0.1)
    for name in ("usdr", "snr", "sd_sdr", "si_sdr", "si_snr"):
        assert math.isnan(getattr(metrics, name)(silence, noise)), name
        assert math.isnan(getattr(metrics, name)(silence, silence)), name
    assert math.isnan(metrics.usdr(silence, noise, metrics.CHALLENGE_EPSILON))
    assert math.isnan(metrics.filtered_sdr(silence, noise))
    assert metrics.residual_db(noise) == pytest.approx(-20.0)
    assert metrics.residual_db(silence) == -math.inf


def test_score_gives_rows_with_reasons():
    rng = np.random.default_rng(0)
    s = {stem: rng.standard_normal((2, 100)).astype(np.float32) for stem in ("vocals", "bass")}
    s["drums"] = np.zeros((2, 100), np.float32)
    e = {stem: x + np.float32(0.1) for stem, x in s.items()}
    rows = metrics.score(s, e, 10, metrics=tuple(metrics.DEFINITIONS))
    assert len(rows) == 3 * len(metrics.DEFINITIONS)
    by = {(row["stem"], row["metric"]): row for row in rows}
    assert by["bass", "usdr"]["value_db"] == metrics.usdr(s["bass"], e["bass"])
    assert by["bass", "csdr"]["frames_used"] == 10
    for metric in metrics.DEFINITIONS:
        row = by["drums", metric]
        assert math.isnan(row["value_db"]) and row["frames_used"] == 0
        assert row["note"] == "undefined: silent reference, residual -20.0 dBFS"
    without = metrics.score(s, {"bass": e["bass"]}, 10)
    assert {row["stem"] for row in without} == {"bass"}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: metrics.usdr(x, x[:, :-1]), "pad or cut"),
        (lambda x: metrics.usdr(x, x[:1]), "match the channels"),
        (lambda x: metrics.usdr(x[:, :0], x[:, :0]), "empty"),
        (lambda x: metrics.usdr(*np.ones((2, 99, 2))), "transpose it"),
        (lambda x: metrics.si_sdr(x, x.astype(np.int16)), "full scale is 1.0"),
        (lambda x: metrics.score({"v": x + 0j}, {"v": x}, 10), "complex"),
        (lambda x: metrics.usdr(x, x * math.nan), "not finite"),
        (lambda x: metrics.csdr(x, x, 10), "stem axis"),
        (lambda x: metrics.csdr(x[None], x[None], 10, window_s=0), "less than a sample"),
        (lambda x: metrics.csdr(x[None], x[None], 10, frames="jiont"), "joint"),
        (lambda x: metrics.score({"a": x}, {"b": x}, 10), "no stem in common"),
        (lambda x: metrics.score({"a": x}, {"a": x}, 10, metrics=["ursd"]), "usdr"),
    ],
)
def test_bad_input_says_the_fix_in_one_line(call, words):
    with pytest.raises(UsageError, match=words) as caught:
        call(np.ones((2, 30)))
    assert "\n" not in str(caught.value)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 700), st.booleans())
def test_band_error_adds_up_to_the_error(seed, length, overlapping):
    rng = np.random.default_rng(seed)
    s, e = rng.standard_normal((2, 2, length))
    name = "mel16" if overlapping else "equal5"  # this mel scheme leaves out the Nyquist bin
    scheme = bands.scheme(name, 44100, 256)
    assert len(scheme.uncovered) == overlapping
    split = metrics.band_error(s, e, scheme)
    assert split.error.sum() + split.outside[1] == pytest.approx(((e - s) ** 2).sum(), rel=1e-9)
    assert split.reference.sum() + split.outside[0] == pytest.approx((s**2).sum(), rel=1e-9)
    assert (split.outside[1] > 0) == overlapping


def test_band_error_finds_the_band():
    t = np.arange(8000) / 8000
    s = np.sin(2 * np.pi * 440 * t)[None]
    e = s + 0.1 * np.sin(2 * np.pi * 3000 * t)[None]
    scheme = bands.from_edges_hz([0, 1000, 4000], 8000, 512)
    split = metrics.band_error(s, e, scheme)
    assert split.error[1] > 1e4 * split.error[0] and split.reference[0] > 1e4 * split.reference[1]
    assert split.sdr_db[0] > 60 and split.sdr_db[1] < -10
