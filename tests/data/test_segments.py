"""Random segments: far faster than musdb's reader in the same run, and in bounded memory."""

import os
import shutil
import time
import tracemalloc

import numpy as np
import pytest
from conftest import needs_ffmpeg

from bsrnn import audio, data
from bsrnn.data import mixing, sources, toyband

SECONDS = 1.0


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    root = tmp_path_factory.mktemp("segments") / "wav"
    toyband.make(root, seconds=6, train=2, test=1, seed=0)
    return root


def per_second(read, count):
    """Segments of a stem per second; `read(place)` reads one, `place` from 0 to 1."""
    places = np.random.default_rng(0).random(count).tolist()
    began = time.perf_counter()
    for place in places:
        read(place)
    return count / (time.perf_counter() - began)


def ours(root):
    song = data.open(root)[0]
    song.read("vocals", 0, 10)  # lossy files are decoded now
    samples = round(SECONDS * song.sample_rate)
    return per_second(
        lambda place: song.read("vocals", int(place * (song.samples - samples)), samples), 40
    )


def theirs(root, is_wav, subsets):
    import musdb

    track = musdb.DB(root=str(root), is_wav=is_wav, subsets=subsets)[0]
    track.chunk_duration = SECONDS

    def read(place):
        track.chunk_start = place * (track.duration - SECONDS)
        assert len(track.targets["vocals"].audio) > 0

    return per_second(read, 3)


@needs_ffmpeg
def test_segments_per_second_against_musdb(toy, tmp_path, monkeypatch, record_property):
    monkeypatch.setenv("BSRNN_DATA", str(tmp_path / "home"))
    flac = tmp_path / "flac"
    for path in sorted(toy.rglob("*.wav")):
        waveform, rate = audio.read(path)
        (flac / path.parent.relative_to(toy)).mkdir(parents=True, exist_ok=True)
        audio.write((flac / path.relative_to(toy)).with_suffix(".flac"), waveform, rate)
    stems = tmp_path / "stems"
    (stems / "test").mkdir(parents=True)
    shutil.copy(sources.clip(), stems / "test")
    rates = {"wav": ours(toy), "flac": ours(flac), "stem.mp4": ours(stems)}
    rates |= {
        "musdb wav": theirs(toy, True, "train"),
        "musdb stem.mp4": theirs(stems, False, "test"),
    }
    for name, rate in rates.items():
        record_property(name, f"{rate:.0f} segments/s")
    assert rates["wav"] > 5 * rates["musdb wav"]
    assert rates["flac"] > 5 * rates["musdb wav"]
    assert rates["stem.mp4"] > 5 * rates["musdb stem.mp4"]


def test_a_thousand_songs_take_bounded_memory(toy, tmp_path):
    """1,000 songs are links to two. Beyond `cache_bytes` nothing stays decoded."""
    real = sorted(path for path in (toy / "train").iterdir() if path.is_dir())
    (tmp_path / "many" / "train").mkdir(parents=True)
    for number in range(1000):
        os.symlink(real[number % len(real)], tmp_path / "many" / "train" / f"song {number:04}")
    songs = data.open(tmp_path / "many", stems=("drums", "vocals"))
    train = songs.subset("train")
    assert len(songs) == 1000 and len(train) == 800
    samples = songs.sample_rate
    tracemalloc.start()
    mixer = mixing.RandomMixer(
        train, ("vocals",), samples, mixing.recipe("paper"), cache_bytes=100_000_000
    )
    drawn = {pick.song for index in range(60) for pick in mixer.picks(index)}
    mixer[0]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    whole = sum(song.samples * song.channels * 4 * 2 for song in train.songs)
    assert len(drawn) > 80 and whole > 1e9
    assert peak < 40e6, f"{peak / 1e6:.0f} MB for {whole / 1e9:.1f} GB of songs"
