"""The toy band: exact sums, same bytes, silences, levels and spectra of music, clean failures."""

import hashlib
import json
import time

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from bsrnn.common import DataError, UsageError
from bsrnn.data import toyband, toyfilm, toysong

STEMS = ("drums", "bass", "other", "vocals")


@pytest.fixture(scope="module")
def band(tmp_path_factory):
    return toyband.make(tmp_path_factory.mktemp("toy") / "band", train=3, test=2, seconds=8.0)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy") / "film"
    return toyband.scenes(root, train=2, valid=1, test=1, seconds=10.0)


def folders(root):
    return sorted(p for p in root.glob("*/*") if p.is_dir())


def load(folder, stems=STEMS):
    """{stem: (C, L) float}"""
    return {s: soundfile.read(folder / f"{s}.wav", always_2d=True)[0].T for s in stems}


def digest(root):
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def rms_db(sound):
    return 10 * np.log10(np.mean(sound**2) + 1e-12)


def silent_share(sound, rate=44100):
    blocks = sound[:, : sound.shape[1] // 4410 * 4410].reshape(len(sound), -1, rate // 10)
    return np.mean(10 * np.log10(np.mean(blocks**2, axis=(0, 2)) + 1e-12) < -60)


def test_layout_names_and_card(band):
    names = [p.name for p in folders(band)]
    assert len([p for p in folders(band) if p.parent.name == "train"]) == 3
    assert len(set(names)) == 5
    assert len({name.split(" - ")[0] for name in names}) == 5, "an artist plays twice"
    for folder in folders(band):
        assert {p.stem for p in folder.iterdir()} == {*STEMS, "mixture"}
        info = soundfile.info(folder / "mixture.wav")
        assert (info.samplerate, info.channels, info.frames) == (44100, 2, 8 * 44100)
        assert info.subtype == "PCM_16"
    card = json.loads((band / "toyband.json").read_text())
    assert card["seed"] == 0 and card["licence"].startswith("CC0") and len(card["songs"]) == 5
    assert len({(s["tempo_bpm"], s["key"]) for s in card["songs"]}) == 5


def test_song_names_stay_distinct_for_large_sets():
    names = toyband._song_names(700, 600, 3)
    assert len({name for _, name, _ in names}) == 1300


@pytest.mark.parametrize("kind", ["band", "film"])
def test_mixture_is_the_exact_integer_sum_and_never_clips(kind, request):
    root = request.getfixturevalue(kind)
    for folder in folders(root):
        files = {p.stem: soundfile.read(p, dtype="int16")[0].astype(int) for p in folder.iterdir()}
        mixture = files.pop("mixture" if kind == "band" else "mix")
        assert np.array_equal(mixture, sum(files.values()))
        assert 0.05 < np.abs(mixture).max() / 32767 <= 0.9


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path):
    first = digest(toyband.make(tmp_path / "a", train=1, test=1, seconds=3.0, seed=5))
    again = digest(toyband.make(tmp_path / "b", train=1, test=1, seconds=3.0, seed=5))
    assert first == again
    more = digest(toyband.make(tmp_path / "c", train=2, test=1, seconds=3.0, seed=5))
    assert all(more[name] == value for name, value in first.items() if name.endswith(".wav"))
    other = digest(toyband.make(tmp_path / "d", train=1, test=1, seconds=3.0, seed=6))
    assert not set(first.values()) & set(other.values())
    scenes = [
        digest(toyband.scenes(tmp_path / name, train=1, valid=0, test=0, seconds=4.0))
        for name in ("e", "f")
    ]
    assert scenes[0] == scenes[1] and "tr/1001/mix.wav" in scenes[0]


def test_stems_are_silent_for_a_while_and_sound_for_longer(band):
    for folder in folders(band):
        stems = load(folder)
        share = {name: silent_share(sound) for name, sound in stems.items()}
        assert 0.1 < share["vocals"] < 0.6, share
        assert max(share[s] for s in STEMS[:3]) > 0.05, share
        assert max(share.values()) < 0.7, share
        assert not stems["vocals"][:, :2205].any(), "the intro has no voice at all"


def test_levels_crest_and_dc_are_those_of_music(band):
    for folder in folders(band):
        stems = load(folder)
        mixture = sum(stems.values())
        assert -24 < rms_db(mixture) < -12
        for name, sound in stems.items():
            assert -34 < rms_db(sound) < -15, name
            crest = 20 * np.log10(np.abs(sound).max()) - rms_db(sound)
            assert 6 < crest < 26, (name, crest)
            assert np.abs(sound.mean(axis=1)).max() < 2e-4, name


def test_spectra_have_the_shape_of_music(band):
    """Centroids of the magnitude, measured on 35 real tracks: bass 390, other 1630, vocals 2610,
    drums 4060 Hz (medians)."""
    centroids = {name: [] for name in STEMS}
    for folder in folders(band):
        for name, sound in load(folder).items():
            hz, power = signal.welch(sound.mean(axis=0), 44100, nperseg=4096)
            centroids[name].append((hz * power**0.5).sum() / (power**0.5).sum())
            if name == "drums":  # hats reach the top octave
                assert power[hz > 12000].sum() / power.sum() > 1e-4
            if name == "vocals":
                assert power[(hz > 100) & (hz < 8000)].sum() / power.sum() > 0.9
    medians = {name: np.median(values) for name, values in centroids.items()}
    assert 100 < medians["bass"] < 900 < medians["other"] < 3000
    assert 1700 < medians["vocals"] < medians["drums"] < 7000


def test_stems_overlap_so_that_masks_are_no_miracle(band):
    """Ideal ratio masks reach 6 to 10 dB on real tracks; disjoint stems would give 30 dB."""
    found = []
    for folder in folders(band):
        stems = load(folder)
        spectra = {k: signal.stft(v, nperseg=4096, noverlap=3072)[2] for k, v in stems.items()}
        mixture = sum(spectra.values())
        total = sum(np.abs(s) for s in spectra.values()) + 1e-9
        for name, sound in stems.items():
            masked = mixture * np.abs(spectra[name]) / total
            estimate = signal.istft(masked, nperseg=4096, noverlap=3072)[1][:, : sound.shape[1]]
            found.append(10 * np.log10((sound**2).sum() / ((sound - estimate) ** 2).sum()))
        power = {k: signal.welch(v.mean(axis=0), 44100, nperseg=2048)[1] for k, v in stems.items()}
        shared = np.abs(10 * np.log10(power["other"][10:200] / power["vocals"][10:200])) < 15
        assert shared.mean() > 0.3, "other and vocals share too few bins"
    assert 5 < np.median(found) < 13 and max(found) < 20, found


def test_scene_levels_are_those_of_film(film):
    levels = {name: [] for name in toyfilm.STEMS}
    for folder in folders(film):
        for name, sound in load(folder, toyfilm.STEMS).items():
            assert sound.shape == (1, 441000)
            levels[name].append(rms_db(sound))
    assert -34 < np.median(levels["speech"]) < -26
    assert np.median(levels["speech"]) > max(np.median(levels["music"]), np.median(levels["sfx"]))


@given(seed=st.integers(0, 10**6), seconds=st.floats(2.0, 4.0))
@settings(max_examples=6, deadline=None)
def test_every_short_song_has_four_sounding_stems(seed, seconds):
    stems, plan = toysong.song(seconds, np.random.default_rng(seed))
    assert tuple(stems) == STEMS
    for name, sound in stems.items():
        assert sound.dtype == np.float32 and sound.shape == (2, int(round(seconds * 44100)))
        assert np.isfinite(sound).all() and np.abs(sound).max() > 0.01, (name, plan)
    assert np.abs(sum(stems.values())).max() < 0.9


def test_rendering_is_much_faster_than_real_time():
    start = time.process_time()
    toysong.song(6.0, np.random.default_rng(1))
    assert time.process_time() - start < 6.0 / 6


def test_an_identical_set_is_reused_and_another_one_is_not_overwritten(band):
    before = {p: p.stat().st_mtime_ns for p in band.rglob("*.wav")}
    assert toyband.make(band, train=3, test=2, seconds=8) == band
    assert before == {p: p.stat().st_mtime_ns for p in band.rglob("*.wav")}
    with pytest.raises(UsageError, match="seed 0"):
        toyband.make(band, train=3, test=2, seconds=8, seed=1)
    with pytest.raises(UsageError, match="kind 'songs'"):
        toyband.scenes(band)
    assert before == {p: p.stat().st_mtime_ns for p in band.rglob("*.wav")}


def test_a_damaged_set_is_reported(tmp_path):
    root = toyband.make(tmp_path / "a", train=1, test=0, seconds=2)
    next(root.rglob("mixture.wav")).unlink()
    with pytest.raises(DataError, match="delete the folder"):
        toyband.make(root, train=1, test=0, seconds=2)


@pytest.mark.parametrize(
    "bad",
    [
        {"train": -1}, {"train": 1.5}, {"train": 0, "test": 0}, {"train": 5000}, {"seed": -1},
        {"seed": True}, {"seconds": 0}, {"seconds": float("nan")}, {"seconds": "long"},
        {"seconds": 1e6},
    ],
)  # fmt: skip
def test_bad_arguments_are_one_line(tmp_path, bad):
    with pytest.raises(UsageError) as caught:
        toyband.make(tmp_path / "a", **bad)
    assert "\n" not in str(caught.value) and next(iter(bad)) in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_unwritable_roots_are_one_line_and_leave_nothing(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "full"):
        with pytest.raises(UsageError) as caught:
            toyband.make(root, train=1, test=0, seconds=2)
        assert "\n" not in str(caught.value) and "choose" in str(caught.value)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "full", "thesis.txt"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch, failure):
    def broken(*_, **__):
        raise failure

    monkeypatch.setattr(soundfile, "write", broken)
    expected = DataError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="No space" if expected is DataError else None):
        toyband.make(tmp_path / "a", train=1, test=0, seconds=2)
    assert not list(tmp_path.iterdir())
