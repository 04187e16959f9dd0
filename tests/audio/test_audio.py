"""Audio files: exact lengths, partial reads, atomic writes, resampling, bad files."""

import itertools
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import RATES_HZ, WIDTHS, decoded, run, strongest_hz, tones

from bsrnn import audio, separation
from bsrnn.common import DataError, UsageError

LOSSLESS = {".wav": 0.0, ".flac": 2**-24, ".aiff": 2**-24}


# ---- reading: files of other programs, every suffix x rate x width ----------------------------

HOW = {  # what ffmpeg is told, where the ending does not say it
    ".wav": ["-c:a", "pcm_s24le"],
    ".aif": ["-c:a", "pcm_s24be"],
    ".aifc": ["-f", "aiff", "-c:a", "pcm_s16le"],
    ".mov": ["-c:a", "pcm_s16le"],
    ".m4b": ["-f", "ipod"],
    ".ogg": ["-c:a", "libvorbis"],
    ".oga": ["-c:a", "flac"],
    ".mka": ["-c:a", "libvorbis"],
    ".mkv": ["-c:a", "flac"],
    ".webm": ["-c:a", "libopus"],
    ".avi": ["-c:a", "mp3"],
}
# Samples that ffmpeg gives beyond those that went in: an encoder's frames that nothing trims.
UNTRIMMED = {".aac": 3072, ".ac3": 3072, ".mp2": 2304, ".avi": 3456, ".wma": 4096, ".mka": 2048,
             ".webm": 1024, ".opus": 8, ".w64": 4}  # fmt: skip
SOX = (".wav", ".flac", ".aiff", ".aifc", ".w64", ".caf", ".au", ".ogg", ".wv")


def agrees(path):
    """Read whole; length, seeks and blocks agree with it, to the sample and to the bit."""
    whole, rate = audio.read(path)
    info = audio.info(path)
    assert (info.channels, info.samples) == whole.shape and info.sample_rate == rate
    for start in {0, 1, info.samples // 3, max(0, info.samples - 700), info.samples - 1}:
        part, _ = audio.read(path, start, 300)
        assert np.array_equal(part, whole[:, start : start + 300]), start
    with audio.Reader(path) as file:  # block by block, as long files are read; then back
        blocks = []
        while (block := file.read(1701)).shape[-1]:
            blocks.append(block)
        assert np.array_equal(np.concatenate(blocks, axis=-1), whole)
        file.seek(5)
        assert np.array_equal(file.read(99), whole[:, 5:104])
    return whole, rate


@pytest.mark.parametrize("channels", WIDTHS)
@pytest.mark.parametrize("rate", RATES_HZ)
def test_length_seek_and_read_agree_for_files_of_ffmpeg(tmp_path, rate, channels):
    samples = 6000 + rate // 50
    suffixes = [x for x in audio.SUFFIXES if x != ".wma" or channels < 6 and rate <= 48000]
    source = audio.write(tmp_path / "source.wav", tones(samples, rate, channels), rate)
    outputs = [[*HOW.get(x, []), "-strict", "-2", tmp_path / f"a{x}"] for x in suffixes]
    run("ffmpeg", "-i", source, *[word for words in outputs for word in words])
    for suffix in suffixes:
        whole, heard_hz = agrees(tmp_path / f"a{suffix}")
        over = whole.shape[1] - samples * heard_hz / rate
        assert -2100 * (suffix == ".wma") - 1 < over < UNTRIMMED.get(suffix, 1), suffix
        if suffix not in (".mp3", ".mp2", ".avi", ".wma"):  # these fold to stereo
            assert len(whole) == channels, suffix
            tone_hz = strongest_hz(whole, heard_hz)
            full = [0, 1, 2, 4, 5] if channels == 6 else range(channels)  # a codec's LFE is low
            wanted_hz = 200 + 150 * np.arange(channels)
            assert np.abs(tone_hz - wanted_hz)[full].max() < 12, suffix


@pytest.mark.parametrize("channels", WIDTHS)
@pytest.mark.parametrize("rate", RATES_HZ)
def test_length_seek_and_read_agree_for_files_of_sox(tmp_path, rate, channels):
    samples = 6000 + rate // 50
    source = audio.write(tmp_path / "source.wav", tones(samples, rate, channels), rate, "PCM_24")
    for suffix in SOX:
        run("sox", "-D", source, tmp_path / f"a{suffix}")
        whole, heard_hz = agrees(tmp_path / f"a{suffix}")
        assert (whole.shape, heard_hz) == ((channels, samples), rate), suffix


def joined(*names):
    return lambda folder: b"".join((folder / name).read_bytes() for name in names)


def patched(name, place, field):
    """The file `name` with a field of its header replaced."""

    def make(folder):
        data = (folder / name).read_bytes()
        begin = data.index(place) + len(place) if isinstance(place, bytes) else place
        return data[:begin] + field + data[begin + len(field) :]

    return make


def cut(name, size):
    return lambda folder: (folder / name).read_bytes()[:size]


PARTS = {  # made by ffmpeg from 66150 samples at 44.1 kHz
    "a.wav": ["-c:a", "pcm_s16le", "-bitexact"],
    "a.aiff": ["-bitexact"],
    "a.flac": [],
    "a.mp3": ["-q:a", "4"],
    "plain.mp3": ["-b:a", "128k", "-write_xing", "0"],
    "vbr.mp3": ["-q:a", "4", "-write_xing", "0"],
    "a.ogg": ["-c:a", "libvorbis"],
    "a.opus": [],
    "a.aac": [],
    "late.mp4": ["-output_ts_offset", "0.5"],
    "late.mkv": ["-c:a", "libvorbis", "-output_ts_offset", "1.25"],
    "late.webm": ["-c:a", "libopus", "-output_ts_offset", "0.7"],
    "fragments.mp4": ["-movflags", "frag_keyframe+empty_moov"],
    "first.m4a": ["-movflags", "faststart"],
}
ODD = {  # how the file is made -> samples, and how many more may come (frames of an encoder)
    "plain.mp3": (None, 66150, 2304),
    "vbr.mp3": (None, 66150, 2304),
    "late.mp4": (None, 66150, 1024),
    "late.mkv": (None, 66150, 1024),
    "late.webm": (None, 72000, 960),
    "fragments.mp4": (None, 66150, 1024),
    "first.m4a": (None, 66150, 0),
    "half.mp3": (patched("a.mp3", b"Xing\0\0\0\x0f", b"\0\0\0\x1d"), 66150, 2304),
    "double.mp3": (patched("a.mp3", b"Xing\0\0\0\x0f", b"\0\0\1\x1d"), 66150, 2304),
    "two.mp3": (joined("a.mp3", "a.mp3"), 132300, 3456),
    "plain and tagged.mp3": (joined("plain.mp3", "a.mp3"), 132300, 4608),
    "three.ogg": (joined("a.ogg", "a.ogg", "a.ogg"), 3 * 66150, 2048),
    "two.opus": (joined("a.opus", "a.opus"), 144000, 960),
    "two.flac": (joined("a.flac", "a.flac"), 132300, 0),
    "two.aac": (joined("a.aac", "a.aac"), 132300, 6144),
    "no count.flac": (patched("a.flac", 18, bytes([0x0A, 0xC4, 0x42, 0xF0, 0, 0, 0, 0])), 66150, 0),
    "few.flac": (patched("a.flac", 22, bytes([0, 0, 0x80, 0])), 66150, 0),
    "many.flac": (patched("a.flac", 22, bytes([0, 0xFF, 0x80, 0])), 66150, 0),
    "zero.wav": (patched("a.wav", b"data", bytes(4)), 66150, 0),
    "less.wav": (patched("a.wav", b"data", struct.pack("<I", 200_000)), 66150, 0),
    "more.wav": (patched("a.wav", b"data", struct.pack("<I", 300_000)), 66150, 0),
    "piped.wav": (patched("a.wav", b"data", b"\xff\xff\xff\xff"), 66150, 0),
    "sox's pipe.wav": (patched("a.wav", b"data", struct.pack("<I", 0x7FFFF000)), 66150, 0),
    "cut.wav": (cut("a.wav", 100_044), 25000, 0),
    "zero.aiff": (patched("a.aiff", b"SSND", bytes(4)), 66150, 0),
    "less.aiff": (patched("a.aiff", b"SSND", struct.pack(">I", 200_008)), 66150, 0),
    "cut.mp3": (cut("a.mp3", 5_000), 10000, 50000),
}  # fmt: skip


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    source = audio.write(folder / "source.wav", tones(66150, 44100), 44100, "PCM_16")
    for name, words in PARTS.items():
        run("ffmpeg", "-i", source, *words, "-strict", "-2", folder / name)
    return folder


@pytest.mark.parametrize("name", ODD)
def test_a_declared_length_cuts_nothing_and_refuses_nothing(parts, name):
    make, samples, over = ODD[name]
    if make:
        (parts / name).write_bytes(make(parts))
    whole, _ = agrees(parts / name)
    assert samples <= whole.shape[1] <= samples + over
    assert np.abs(whole[0]).max() > 0.25


def test_a_wrong_declaration_is_told_once(parts, caplog):
    path = parts / "told.mp3"
    path.write_bytes(ODD["half.mp3"][0](parts))
    for _ in range(2):
        audio.read(path)
    assert [line.count("told.mp3: its header declares") for line in caplog.messages] == [1]


# ---- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", audio.FORMATS)
def test_every_written_format_takes_every_rate_and_width(tmp_path, suffix):
    """What it cannot hold is resampled or folded; ffmpeg hears the same tones in the same order."""
    for rate, channels in itertools.product(RATES_HZ, (*WIDTHS, 4, 5)):
        sound = tones(9000, rate, channels)
        path = audio.write(tmp_path / f"{rate} {channels}{suffix}", sound, rate)
        held_hz, width = audio.fit(suffix, rate, channels)
        whole, heard_hz = audio.read(path)
        assert (whole.shape, heard_hz) == ((width, -(-9000 * held_hz // rate)), held_hz)
        if rate == 48000 and width == channels:
            there = decoded(path, channels)
            full = [0, 1, 2, 4, 5] if channels == 6 else range(channels)
            assert np.abs(strongest_hz(there, rate) - strongest_hz(sound, rate))[full].max() < 5
        if suffix in LOSSLESS:
            assert np.abs(whole - sound).max() <= LOSSLESS[suffix]
        path.unlink()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("samples", [1, 128, 1000, 1023, 1024, 1025, 30011])
def test_every_written_format_comes_back_at_its_length(tmp_path, samples):
    for suffix in audio.FORMATS:
        path = audio.write(tmp_path / f"a{suffix}", tones(samples, 48000), 48000)
        assert audio.info(path).samples == samples, suffix


def test_several_streams_of_one_file(tmp_path):
    path = tmp_path / "a.stem.mp4"
    with audio.Writer(path, 44100, 2, streams=("mixture", "drums")) as file:
        for block in np.split(tones(50000, 44100), 5, axis=1):
            file.write(block)
            file.write(0.5 * block, 1)
    first, second = (audio.read(path, stream=number)[0] for number in (0, 1))
    assert first.shape == (2, 50000) and np.abs(first - 2 * second).max() < 0.05


def test_sixteen_bits_come_back_within_half_a_step_and_full_scale_is_not_scaled(tmp_path):
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 30011)).astype(np.float32)
    path = audio.write(tmp_path / "a.wav", noise, 44100, "PCM_16")
    assert np.abs(audio.read(path)[0] - noise.clip(-1, 1 - 2**-15)).max() <= 2**-16
    steps = np.array([[-32768, -1, 0, 1, 32767]], np.float32) / 32768
    assert np.array_equal(audio.read(audio.write(path, steps, 44100, "PCM_16"))[0], steps)


def test_float_wav_keeps_what_exceeds_full_scale(tmp_path):
    loud = 5 * tones(1000, 44100)
    assert np.array_equal(audio.read(audio.write(tmp_path / "a.wav", loud, 44100))[0], loud)
    with audio.Writer(tmp_path / "a.flac", 44100, 2) as file:
        file.write(loud)
    assert file.clips and file.peak == pytest.approx(np.abs(loud).max())


def test_clip_streams_match_ffmpegs_own_decoding():
    from bsrnn.data import sources

    path = sources.clip()
    for stream in range(5):
        ours, _ = audio.read(path, stream=stream)
        raw = run("ffmpeg", "-i", path, "-map", f"0:a:{stream}", "-f", "f32le", "-")
        theirs = np.frombuffer(raw, "<f4").reshape(-1, 2).T
        assert ours.shape == theirs.shape and np.abs(ours - theirs).max() < 1e-6


def test_reading_converts_rate_and_channels(tmp_path):
    path = audio.write(tmp_path / "a.wav", tones(48000, 48000), 48000)
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
    half = 0.5**0.5
    for left, right in (
        ([1, 0, half, 0], [0, 1, 0, half]),
        ([1, 0, half, half, 0], [0, 1, half, 0, half]),
        ([1, 0, half, 0, half, 0], [0, 1, half, 0, 0, half]),
    ):
        assert np.allclose(audio.to_channels(np.eye(len(left)), 2), [left, right])
    assert np.array_equal(audio.to_channels(np.ones((1, 3)), 2), np.ones((2, 3)))
    assert np.array_equal(audio.to_channels(np.array([[1.0], [3.0]]), 1), [[2.0]])
    with pytest.raises(UsageError, match="7 channels into 2"):
        audio.to_channels(np.ones((7, 4)), 2)


def _truncated_flac(path):
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, (50000, 2)), 44100)
    path.write_bytes(path.read_bytes()[:60000])


def _truncated_m4a(path):
    audio.write(path, tones(100000, 44100), 44100)
    data = path.read_bytes()
    start, index = data.index(b"mdat") + 4, data.index(b"moov")
    middle = (start + index) // 2  # damage the second half of the sound, keep the index
    path.write_bytes(data[:middle] + bytes(index - middle) + data[index:])


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def _header(path, rate):
    soundfile.write(path, np.zeros((1000, 2)), 44100, "PCM_16")
    path.write_bytes(patched(path.name, 24, struct.pack("<I", rate))(path.parent))


def _no_index(path):
    audio.write(path, tones(100000, 44100), 44100)
    path.write_bytes(path.read_bytes()[:20000])


def _nan(path):
    soundfile.write(path, np.full((10, 2), np.nan, np.float32), 44100, "FLOAT")


BROKEN = {
    "missing.wav": (lambda path: None, "no such file"),
    "folder.wav": (lambda path: path.mkdir(), "is a folder"),
    "empty.wav": (lambda path: path.touch(), "empty file"),
    "text.wav": (lambda path: path.write_text("hello, I am a letter\n" * 50), "not audio"),
    "bytes.mp3": (lambda path: path.write_bytes(struct.pack("<64I", *range(64))), "not audio"),
    "header.wav": (lambda path: soundfile.write(path, np.zeros((0, 2)), 44100), "no samples"),
    "1 hz.wav": (lambda path: _header(path, 1), "declares 1 Hz, no rate of sound"),
    "4 ghz.wav": (lambda path: _header(path, 0xFFFFFFF), "no rate of sound|not audio"),
    "page.mp3": (lambda path: path.write_text("\n<!DOCTYPE html><p>Sorry"), "is a web page"),
    "pointer.flac": (lambda path: path.write_text(POINTER), "Git LFS pointer.*git lfs pull"),
    "zeros.mp3": (lambda path: path.write_bytes(bytes(9999)), "holds zeros only"),
    "stopped.m4a": (_no_index, r"index \(moov\) is missing"),
    "songs.wav": (lambda path: path.write_bytes(b"PK\3\4" + bytes(99)), "zip archive: unpack"),
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
        ("a.mp3", np.ones((7, 9)), "no rule to turn 7 channels into 2"),
        ("a.flac", np.ones((20, 9)), "no rule to turn 20 channels"),
    ],
)
def test_refused_writes_leave_nothing(tmp_path, name, waveform, message):
    with pytest.raises(UsageError, match=message) as caught:
        audio.write(tmp_path / name, waveform, 44100)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_interrupted_write_keeps_the_old_file(tmp_path):
    path = audio.write(tmp_path / "a.wav", tones(100, 44100), 44100)
    with pytest.raises(KeyboardInterrupt), audio.Writer(path, 44100, 2) as file:
        file.write(tones(50, 44100))
        raise KeyboardInterrupt
    assert audio.info(path).samples == 100 and len(list(tmp_path.iterdir())) == 1


class Mute:
    stems, sample_rate = ("mute",), 44100

    def __call__(self, mixture):
        return 0 * mixture[:, None]


@pytest.mark.parametrize("rate_hz", [1, 0, -44100, float("nan"), float("inf"), 10**9])
def test_rates_that_no_sound_has_are_refused_at_once(tmp_path, rate_hz):
    for function in (
        lambda: audio.resample(np.zeros((2, 9)), 44100, rate_hz),
        lambda: audio.write(tmp_path / "a.wav", np.zeros((2, 9)), rate_hz),
        lambda: separation.separate(Mute(), np.zeros((2, 9)), rate_hz),
    ):
        with pytest.raises(UsageError, match="the sample rate is"):
            function()


def test_import_is_light():
    code = "import sys, bsrnn.audio; assert not {'torch', 'av', 'librosa'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
