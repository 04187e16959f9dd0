"""Players that compare fairly: one gain, silence said, sound embedded, text that stays small."""

import base64
import io
import re
import shutil

import numpy as np
import pytest
import soundfile
import torch

from bsrnn import bands, listen
from bsrnn.common import DataError, UsageError

RATE = 44100


def tone(amplitude, seconds=0.5, hz=440, channels=2, rate=RATE):
    t = np.arange(round(seconds * rate)) / rate
    return np.array([amplitude * np.sin(2 * np.pi * hz * t)] * channels, np.float32)


def embedded(shown):
    """The sounds in the HTML, decoded: [(C, L), rate] each."""
    found = re.findall(r'src="data:audio/mpeg;base64,([^"]+)"', shown.html)
    decoded = [soundfile.read(io.BytesIO(base64.b64decode(data))) for data in found]
    return [(waveform.T, rate) for waveform, rate in decoded]


def rms(waveform):
    return np.sqrt(np.mean(np.square(waveform[..., 2000:-2000])))


def test_one_gain_keeps_the_levels_apart():
    shown = listen.players({"loud": tone(0.5), "quiet": tone(0.05)}, RATE)
    (loud, rate), (quiet, _) = embedded(shown)
    assert rate == RATE and loud.shape == quiet.shape == (2, RATE // 2)
    assert rms(loud) / rms(quiet) == pytest.approx(10, rel=0.01)
    assert np.abs(loud).max() == pytest.approx(listen.PEAK, abs=0.02)
    assert shown.gain == pytest.approx(listen.PEAK / 0.5, rel=1e-3)


def test_silence_is_said_not_played():
    shown = listen.players({"vocals": tone(0.3), "bass": np.zeros((2, 100)), "none": []}, RATE)
    assert len(embedded(shown)) == 1 and shown.html.count("<em>silent</em>") == 2
    assert re.search(r"bass +0\.00 s  silent", repr(shown))
    assert not embedded(listen.players({"all": np.zeros((2, 100))}, RATE))


def test_latest_sounds_are_encoded_once(monkeypatch):
    made, real = [], soundfile.write
    monkeypatch.setattr(soundfile, "write", lambda *a, **how: made.append(a) or real(*a, **how))
    first = listen.mp3(tone(0.55), RATE)
    assert listen.mp3(tone(0.55), RATE) == first and len(made) == 1
    others = [(tone(0.4), RATE), (tone(0.55), 48000), (tone(0.55, channels=1), RATE)]
    assert all(listen.mp3(*other) != first for other in others) and len(made) == 4
    many = {str(n): tone(0.01 * (n + 1), 0.1) for n in range(24)}  # more than are kept
    sounds = embedded(listen.players(many, RATE))
    levels = [rms(waveform) for waveform, _ in sounds]
    assert len(levels) == 24 and np.all(np.diff(levels) > 0)


def test_text_form_is_short_and_says_label_seconds_and_level():
    bundle = listen.players({"a <b>": tone(0.1, 2)}, RATE, max_s=1.5)._repr_mimebundle_()
    assert bundle["text/plain"].splitlines()[0] == "a <b>   1.50 s  -23.0 dBFS"
    assert "a &lt;b&gt;" in bundle["text/html"] and "<b>" not in bundle["text/html"]
    assert 'aria-label="a &lt;b&gt;"' in bundle["text/html"]


def test_part_rate_and_channels():
    sound = np.concatenate([tone(0.1, 1, channels=1), tone(0.4, 1, channels=1)], axis=-1)
    ((waveform, _),) = embedded(listen.players({"a": sound}, RATE, max_s=0.5, start_s=1.2))
    assert waveform.ndim == 1 and len(waveform) == RATE // 2
    ((_, rate),) = embedded(listen.players({"a": tone(0.1, rate=96000)}, 96000))
    assert rate == 48000
    ((waveform, rate),) = embedded(listen.players({"a": tone(0.1, rate=5000)}, 5000))
    assert rate == 8000 and waveform.shape[-1] == 4000
    assert len(embedded(listen.players({"5.1": tone(0.1, channels=6)}, RATE))[0][0]) == 2
    sounds = {"t": torch.from_numpy(tone(0.1)).requires_grad_(), "flat": tone(0.1)[0]}
    assert len(embedded(listen.players(sounds, RATE))) == 2


def test_ab_has_a_switch_for_each_sound_and_needs_nothing_from_outside():
    shown = listen.ab({"mixture": tone(0.5), "vocals": tone(0.1), "silent": 0 * tone(1)}, RATE)
    assert len(embedded(shown)) == 3 and shown.html.count('type="radio"') == 3
    assert shown.html.count(" checked") == 1 and "silent (silent)" in shown.html
    assert not re.search(r'(src|href)="(?!data:)', shown.html)
    other = listen.ab({"mixture": tone(0.5), "vocals": tone(0.1)}, RATE)
    keys = [re.search(r'id="(ab[^"]+)"', found.html)[1] for found in (shown, other)]
    assert keys[0] != keys[1] and shown.html.count(keys[0]) == 5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: listen.players({}, RATE), UsageError, "no sounds"),
        (lambda: listen.players({"x": np.ones((300, 2))}, RATE), UsageError, "'x' must be"),
        (lambda: listen.players({"x": np.array([[np.nan]])}, RATE), DataError, "'x' has NaN"),
        (lambda: listen.ab({"x": tone(1), "y": tone(1, 1)}, RATE), UsageError, "one length"),
    ],
)
def test_bad_sounds_are_one_line(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["v7", "musical64"])
def test_bands_sound_alone_and_sum_to_the_whole(name):
    scheme = bands.scheme(name)
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 20000)).astype(np.float32)
    every = listen.band_sound(sound, scheme, range(len(scheme)))
    assert every.shape == sound.shape and np.abs(every - sound).max() < 1e-4
    halves = [listen.band_sound(sound, scheme, range(a, len(scheme), 2)) for a in (0, 1)]
    assert np.abs(sum(halves) - sound).max() < 1e-4
    low, high = scheme.ranges[7]
    one = listen.band_sound(sound, scheme, 7)
    power = np.abs(np.fft.rfft(one[0])) ** 2
    hz = np.fft.rfftfreq(one.shape[-1], 1 / RATE)
    bin_hz = RATE / scheme.n_fft
    inside = (hz > (low - 3) * bin_hz) & (hz < (high + 2) * bin_hz)
    assert power[inside].sum() > 0.99 * power.sum()
    with pytest.raises(UsageError, match="no band 900"):
        listen.band_sound(sound, scheme, 900)


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(not CHROMIUM, reason="needs chromium on the PATH")
def test_ab_switches_in_a_browser_and_keeps_the_position(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    page_file = tmp_path / "ab.html"
    shown = listen.ab({"one": tone(0.5, 3), "two": tone(0.1, 3)}, RATE)
    page_file.write_text(f"<!doctype html><body>{shown.html}</body>", encoding="utf-8")
    with sync_api.sync_playwright() as play:
        flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
        browser = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(page_file.as_uri())
        every = "[...document.querySelectorAll('audio')]"
        state = f"{every}.map(a => [a.muted, a.paused])"
        page.wait_for_function(f"{every}.every(a => Math.abs(a.duration - 3) < 0.1)")
        assert page.evaluate(state) == [[False, True], [True, True]]
        page.get_by_role("button", name="Play").click()
        page.wait_for_function("document.querySelector('audio').currentTime > 0.3")
        page.get_by_role("radio", name="one").press("ArrowDown")
        assert page.evaluate(state) == [[True, False], [False, False]]
        page.wait_for_function(  # a busy machine lets them drift; the clock brings them together
            "(t => Math.min(...t) > 0.3 && Math.abs(t[0] - t[1]) < 0.1)"
            f"({every}.map(a => a.currentTime))"
        )
        page.get_by_label("position in seconds").fill("2")
        assert min(page.evaluate(f"{every}.map(a => a.currentTime)")) >= 2
        page.get_by_role("button", name="Pause").click()
        assert page.evaluate(state) == [[True, True], [False, True]]
        browser.close()
    assert not errors
