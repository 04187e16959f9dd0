"""Audio files: exact lengths, partial reads, atomic writes, resampling, bad files."""

import doctest
import importlib
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from bsrnn import audio
from bsrnn.audio import writing
from bsrnn.common import DataError, UsageError

LOSSLESS = {".wav": 0.0, ".flac": 2**-24, ".aiff": 2**-24}


@pytest.fixture
def noise():
    return np.random.default_rng(0).uniform(-1, 1, (2, 30011)).astype(np.float32)


def smooth(samples, sample_rate=44100, channels=2):
    t = np.arange(samples) / sample_rate
    sines = [0.4 * np.sin(2 * np.pi * (220 + 110 * c) * t) for c in range(channels)]
    return np.array(sines, np.float32)


def make_m4a(path, waveform, sample_rate=44100):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=sample_rate, layout="stereo")
        stream.bit_rate = 256000
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(waveform), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.pts = sample_rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [*LOSSLESS, ".ogg", ".mp3"])
def test_every_written_format_comes_back_at_its_length_and_level(tmp_path, suffix):
    waveform = smooth(30011)
    path = audio.write(tmp_path / f"a{suffix}", waveform, 44100)
    again, rate = audio.read(path)
    assert (again.shape, again.dtype, rate) == (waveform.shape, np.float32, 44100)
    assert np.abs(again - waveform).max() <= LOSSLESS.get(suffix, 0.05)
    info = audio.info(path)
    assert (info.samples, info.channels) == (30011, 2)
    assert info.duration_s == pytest.approx(30011 / 44100)
    assert [file.name for file in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", [*LOSSLESS, ".ogg", ".mp3"])
def test_a_part_equals_the_same_part_of_the_whole(tmp_path, suffix):
    path = audio.write(tmp_path / f"a{suffix}", smooth(30011), 44100)
    whole, _ = audio.read(path)
    for start, samples in [(0, 1), (1, 5000), (17777, 12234), (30010, 1)]:
        part, _ = audio.read(path, start, samples)
        assert np.array_equal(part, whole[:, start : start + samples])
    assert audio.read(path, 30000, 500)[0].shape == (2, 11)
    with audio.Reader(path) as file:  # block by block, as long files are read
        blocks = [file.read(7001) for _ in range(5)]
    assert np.array_equal(np.concatenate(blocks, axis=-1), whole)


def test_sixteen_bits_come_back_within_half_a_step_and_full_scale_is_not_scaled(tmp_path, noise):
    path = audio.write(tmp_path / "a.wav", noise, 44100, "PCM_16")
    assert np.abs(audio.read(path)[0] - noise.clip(-1, 1 - 2**-15)).max() <= 2**-16
    steps = np.array([[-32768, -1, 0, 1, 32767]], np.float32) / 32768
    assert np.array_equal(audio.read(audio.write(path, steps, 44100, "PCM_16"))[0], steps)


def test_float_wav_keeps_what_exceeds_full_scale(tmp_path):
    loud = 3 * smooth(1000)
    assert np.array_equal(audio.read(audio.write(tmp_path / "a.wav", loud, 44100))[0], loud)
    with audio.Writer(tmp_path / "a.flac", 44100, 2) as file:
        file.write(loud)
    assert file.clips and file.peak == pytest.approx(np.abs(loud).max())


def test_m4a_has_the_declared_length_and_parts_equal_the_whole(tmp_path):
    waveform = smooth(50000)
    path = make_m4a(tmp_path / "a.m4a", waveform)
    whole, rate = audio.read(path)
    assert rate == 44100 and whole.shape == (2, audio.info(path).samples)
    # The container declares milliseconds: 1134 ms for 50000 samples (49 frames hold 50176).
    assert whole.shape[-1] == round(1.134 * 44100) and audio.info(path).format == "MP4/aac"
    assert np.abs(whole[:, 2000:48000] - waveform[:, 2000:48000]).max() < 0.03
    for start, samples in [(0, 10), (5, 3000), (20001, 10000), (whole.shape[-1] - 1, 1)]:
        part, _ = audio.read(path, start, samples)  # AAC's noise depends on the start
        assert np.abs(part - whole[:, start : start + samples]).max() < 0.01


def test_clip_streams_match_ffmpegs_own_decoding():
    if not audio_tool("ffmpeg"):
        pytest.skip("needs ffmpeg on the PATH to compare with")
    from bsrnn.data import sources

    path = sources.clip()
    for stream in range(5):
        ours, _ = audio.read(path, stream=stream)
        command = ["ffmpeg", "-v", "error", "-i", path, "-map", f"0:a:{stream}", "-f", "f32le", "-"]
        raw = subprocess.run(command, capture_output=True, check=True).stdout
        theirs = np.frombuffer(raw, "<f4").reshape(-1, 2).T[:, : ours.shape[-1]]
        assert np.abs(ours - theirs).max() < 1e-6


def audio_tool(name):
    from shutil import which

    return which(name)


def test_reading_converts_rate_and_channels(tmp_path):
    path = audio.write(tmp_path / "a.wav", smooth(48000, 48000), 48000)
    waveform, rate = audio.read(path, sample_rate=16000, channels=1)
    assert (waveform.shape, rate) == ((1, 16000), 16000)


@given(
    samples=st.integers(0, 4000),
    rates=st.tuples(*[st.sampled_from([8000, 22050, 44100, 44101, 48000, 96000])] * 2),
    block=st.integers(1, 1500),
)
@settings(deadline=None, max_examples=40)
def test_resampling_in_blocks_equals_the_whole_at_the_promised_length(samples, rates, block):
    waveform = np.random.default_rng(samples).standard_normal((2, samples)).astype(np.float32)
    whole = audio.resample(waveform, *rates)
    assert whole.shape == (2, audio.resampled_length(samples, *rates))
    if rates[0] != rates[1]:
        stream = audio.Resampler(*rates, 2)
        parts = [stream.push(waveform[:, i : i + block]) for i in range(0, samples, block)]
        joined = np.concatenate([*parts, stream.finish()], axis=-1)
        assert joined.shape == whole.shape
        assert np.abs(joined - whole).max(initial=0) < 1e-5


def test_resampling_keeps_a_tone_and_removes_what_does_not_fit():
    t = np.arange(48000) / 48000
    low, high = np.sin(2 * np.pi * 1000 * t), np.sin(2 * np.pi * 15000 * t)
    ours = audio.resample(np.array([low + high], np.float32), 48000, 16000)[0, 1000:-1000]
    expected = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)[1000:-1000]
    assert 20 * np.log10(np.abs(ours - expected).max()) < -100


def test_channel_rules():
    five_one = np.eye(6, dtype=np.float32)
    half = 0.5**0.5
    expected = [[1, 0, half, 0, half, 0], [0, 1, half, 0, 0, half]]
    assert np.allclose(audio.to_channels(five_one, 2), expected)
    assert np.array_equal(audio.to_channels(np.ones((1, 3)), 2), np.ones((2, 3)))
    assert np.array_equal(audio.to_channels(np.array([[1.0], [3.0]]), 1), [[2.0]])
    with pytest.raises(UsageError, match="3 channels into 2"):
        audio.to_channels(np.ones((3, 4)), 2)


def _truncated_wav(path):
    soundfile.write(path, np.zeros((1000, 2)), 44100, "PCM_16")
    path.write_bytes(path.read_bytes()[:2000])


def _truncated_flac(path):
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, (50000, 2)), 44100)
    path.write_bytes(path.read_bytes()[:60000])


def _truncated_m4a(path):
    make_m4a(path, smooth(100000))
    data = path.read_bytes()
    start = data.index(b"mdat") + 4  # damage the second half of the sound, keep the index
    middle = start + (data.index(b"moov") - start) // 2
    path.write_bytes(
        data[:middle] + bytes(data.index(b"moov") - middle) + data[data.index(b"moov") :]
    )


def _nan(path):
    soundfile.write(path, np.full((10, 2), np.nan, np.float32), 44100, "FLOAT")


BROKEN = {
    "missing.wav": (lambda path: None, "no such file"),
    "folder.wav": (lambda path: path.mkdir(), "is a folder"),
    "empty.wav": (lambda path: path.touch(), "empty file"),
    "text.wav": (lambda path: path.write_text("hello, I am a letter\n" * 50), "not audio"),
    "text.m4a": (lambda path: path.write_text("hello, I am a letter\n" * 50), "not audio"),
    "bytes.mp3": (lambda path: path.write_bytes(struct.pack("<64I", *range(64))), "not audio"),
    "header.wav": (lambda path: soundfile.write(path, np.zeros((0, 2)), 44100), "no samples"),
    "short.wav": (_truncated_wav, "truncated"),
    "short.flac": (_truncated_flac, "truncated|decoded"),
    "damaged.m4a": (_truncated_m4a, "truncated|decoded|damaged"),
    "nan.wav": (_nan, "NaN"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_give_one_line_that_names_the_file(tmp_path, name):
    make, message = BROKEN[name]
    make(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        audio.read(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "waveform", "message"),
    [
        ("a.wav", np.full((2, 9), np.nan), "NaN"),
        ("a.wav", np.ones(9), r"\(C, L\)"),
        ("a.xyz", np.ones((1, 9)), "end it in"),
        ("a.mp3", np.ones((6, 9)), "cannot write"),
        ("a.flac", np.ones((20, 9)), "cannot write"),
    ],
)
def test_refused_writes_leave_nothing(tmp_path, name, waveform, message):
    with pytest.raises(UsageError, match=message) as caught:
        audio.write(tmp_path / name, waveform, 44100)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_interrupted_write_keeps_the_old_file(tmp_path):
    path = audio.write(tmp_path / "a.wav", smooth(100), 44100)
    with pytest.raises(KeyboardInterrupt), audio.Writer(path, 44100, 2) as file:
        file.write(smooth(50))
        raise KeyboardInterrupt
    assert audio.info(path).samples == 100 and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(writing.Path, "with_name", lambda self, name: writing.Path("/dev/full"))
    monkeypatch.setattr(writing.Path, "unlink", lambda self, missing_ok=False: None)
    with pytest.raises(DataError, match="cannot write"):
        audio.write(tmp_path / "a.wav", smooth(100000), 44100)
    assert list(tmp_path.iterdir()) == []


ROOMS = ["audio.converting", "listen", "data.splits", "options"]
ROOMS += [f"separation.{room}" for room in ("batch", "outputs", "run")]


@pytest.mark.parametrize("room", ROOMS)
def test_examples_in_docstrings(room):
    found = doctest.testmod(importlib.import_module(f"bsrnn.{room}"))
    assert found.attempted and not found.failed


def test_import_is_light():
    code = "import sys, bsrnn.audio; assert not {'torch', 'av', 'librosa'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
