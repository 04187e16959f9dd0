"""The toy film: dialogue, music and effects that overlap as in a mixed scene, from a seed.

Mono at 44.1 kHz, with the stems and about the levels of Divide and Remaster (DnR v2): speech
loudest, music and effects some 5 dB below, every stem with pauses of its own.
Reference: Petermann et al. 2022, "The Cocktail Fork Problem", section 3. Lesson 12.
"""

import numpy as np

from bsrnn.data import instruments as play
from bsrnn.data.toysong import balance, sing, song

STEMS = ("speech", "music", "sfx")
LEVELS_DB = {"speech": -27.5, "music": -33.0, "sfx": -32.5}  # RMS while sounding


def scene(seconds: float, rng) -> tuple[dict, dict]:
    """One scene: stems {name: (1, L) float32} and what happens in it, as plain data.

    >>> stems, facts = scene(4.0, np.random.default_rng(0))
    >>> list(stems), stems["sfx"].shape
    (['speech', 'music', 'sfx'], (1, 176400))
    """
    samples = int(round(seconds * play.SAMPLE_RATE))
    response = play.room(rng, rng.uniform(0.2, 0.6))
    speech, speakers = _speech(rng, seconds, samples, response)
    music, plan = _music(rng, seconds, samples)
    sfx, heard = _effects(rng, seconds, samples, response)
    stems = {}
    for name, sound in zip(STEMS, (speech, music, sfx), strict=True):
        stems[name] = balance(sound, float(rng.normal(LEVELS_DB[name], 1.5)), squash=8.0)
    mixture = sum(stems.values())
    top = max(np.abs(sound).max() for sound in (mixture, *stems.values()))
    if top > 0.88:
        stems = {name: sound * np.float32(0.88 / top) for name, sound in stems.items()}
    return stems, {"speakers_hz": speakers, "music": plan, "effects": heard}


def _mono(desk: play.Desk, response) -> np.ndarray:
    return desk.mix(response).mean(axis=0, keepdims=True)  # (2, L) -> (1, L)


def _speech(rng, seconds, samples, response):
    """One or two speakers in turn; a sentence falls in pitch and ends in a pause."""
    speakers = [float(rng.uniform(95, 140)), float(rng.uniform(170, 240))]
    speakers = [round(hz, 1) for hz in rng.permutation(speakers)[: rng.integers(1, 3)].tolist()]
    syllables = [[] for _ in speakers]
    now, turn = rng.uniform(0.3, 1.5), 0
    while now < seconds:
        count = int(rng.integers(5, 16))
        for index in range(count):
            length = float(rng.uniform(0.11, 0.26))
            lean = 1.15 - 0.35 * index / count + rng.normal(0, 0.07)
            hz = speakers[turn] * max(0.7, lean)
            syllables[turn].append((now, length, hz, index == count - 1))
            now += length
            if rng.random() < 0.12:
                now += rng.uniform(0.05, 0.2)  # a breath inside the sentence
        now += rng.uniform(0.3, 1.1)
        turn = (turn + 1) % len(speakers)
    desk = play.Desk(samples)
    for hz, words in zip(speakers, syllables, strict=True):
        size = 1.0 if hz < 155 else 1.17
        sound = sing(rng, words, seconds, size, rng.uniform(0.005, 0.02), speech=True)
        desk.place(sound, 0.0, 1.0, 0.0, 0.05)
    return _mono(desk, response), speakers


def _music(rng, seconds, samples):
    """A toy song without its voice, faded in somewhere and out again."""
    stems, plan = song(seconds, rng)
    sound = stems["drums"] * (rng.random() < 0.6) + stems["bass"] + stems["other"]
    sound = sound.mean(axis=0, keepdims=True)  # (2, L) -> (1, L)
    time = play.seconds_of(samples)
    start, stop = rng.uniform(0, 0.15) * seconds, rng.uniform(0.85, 1.05) * seconds
    fade_s = min(1.0, seconds / 8)
    sound = sound * np.clip((time - start) / fade_s, 0, 1) * np.clip((stop - time) / fade_s, 0, 1)
    return sound.astype(np.float32), {"tempo_bpm": plan["tempo_bpm"], "key": plan["key"]}


def door(rng) -> np.ndarray:
    """A door slam: a low thump, a rattle, a latch."""
    sound = play.drop(140, 55, 0.03, 0.09, 0.9) + 0.6 * play.burst(rng, 0.9, 0.05, 80, 1500)
    latch = play.burst(rng, 0.1, 0.01, 1500, 8000)
    sound[3000 : 3000 + latch.size] += 0.2 * latch
    return play.peak(sound)


def steps(rng) -> np.ndarray:
    """Four to eight footsteps: heel, then sole."""
    sound = np.zeros(int(5.5 * play.SAMPLE_RATE), np.float32)
    pace_s = rng.uniform(0.45, 0.62)
    for index in range(int(rng.integers(4, 9))):
        for late_s, gain, edges in ((0, 1.0, (70, 900)), (0.09, 0.5, (900, 5000))):
            hit = play.burst(rng, 0.15, 0.02, *edges) * gain * rng.uniform(0.7, 1)
            start = int((index * pace_s + late_s) * play.SAMPLE_RATE)
            sound[start : start + hit.size] += hit
    return play.peak(sound)


def beeps(rng) -> np.ndarray:
    """Three to six beeps of a machine."""
    time = play.seconds_of(int(0.12 * play.SAMPLE_RATE))
    tone = np.tanh(2 * np.sin(2 * np.pi * rng.uniform(800, 2200) * time)) * np.hanning(time.size)
    silence = np.zeros(int(rng.uniform(0.05, 0.3) * play.SAMPLE_RATE))
    return play.peak(np.concatenate([tone, silence] * int(rng.integers(3, 7))))


def bark(rng) -> np.ndarray:
    """Two or three dog-like barks: a voice that shoots up and breaks off."""
    barks = [(0.05 + 0.45 * k, 0.2, float(rng.uniform(330, 480)), True) for k in range(3)]
    return play.peak(sing(rng, barks[: rng.integers(2, 4)], 1.6, 1.3, 0.1, speech=True))


def glass(rng) -> np.ndarray:
    """Something breaks: a crowd of high partials, each with its own start."""
    sound = play.burst(rng, 1.0, 0.04, 2000, 14000)
    time = play.seconds_of(sound.size)
    for hz in rng.uniform(1800, 9000, 14):
        age = time - rng.uniform(0, 0.25)
        sound += 0.25 * np.where(age > 0, np.exp(-age / 0.07), 0) * np.sin(2 * np.pi * hz * time)
    return play.peak(sound)


def engine(rng) -> np.ndarray:
    """A car passes: a rough low tone that rises in level and falls in pitch."""
    time = play.seconds_of(int(4.0 * play.SAMPLE_RATE))
    near = np.exp(-(((time - 2.0) / 0.9) ** 2))
    hz = rng.uniform(60, 90) * (1.06 - 0.12 / (1 + np.exp(-(time - 2.0) * 4)))
    tone = play.wave(np.cumsum(hz) / play.SAMPLE_RATE, play.harmonics(70, 1.0, 500))
    return play.peak((tone + 0.5 * play.noise(rng, 4.0, 200, 2500)) * near)


EVENTS = {f.__name__: f for f in (door, steps, beeps, bark, glass, engine)}
AMBIENCES = {  # noise band in Hz, depth and rate of its slow swell
    "wind": (60, 700, 0.9, 0.5), "rain": (900, 9000, 0.2, 3.0), "street": (50, 2000, 0.5, 0.8),
    "fan": (100, 1200, 0.05, 0.3),
}  # fmt: skip


def _effects(rng, seconds, samples, response):
    """An ambience for most of the scene and a few events in front of it."""
    desk = play.Desk(samples)
    ambience = str(rng.choice(list(AMBIENCES)))
    low_hz, high_hz, depth, rate_hz = AMBIENCES[ambience]
    stretch_s = seconds * rng.uniform(0.6, 1.0)
    sound = play.noise(rng, stretch_s, low_hz, high_hz)
    knots = rng.uniform(-1, 1, int(stretch_s * rate_hz) + 3)
    swell = np.interp(np.arange(sound.size), np.linspace(0, sound.size, knots.size), knots)
    edges = np.clip(np.minimum(np.arange(sound.size), np.arange(sound.size)[::-1]) / 22050, 0, 1)
    gain = 10 ** (rng.uniform(-26, -17) / 20)
    desk.place(sound * (1 + depth * swell) * edges, rng.uniform(0, seconds - stretch_s), gain)
    heard = [ambience]
    for _ in range(max(1, int(seconds / rng.uniform(2.5, 5)))):
        name = str(rng.choice(list(EVENTS)))
        at_s = rng.uniform(0, max(0.1, seconds - 0.8))
        desk.place(EVENTS[name](rng), at_s, rng.uniform(0.3, 1.0), 0.0, rng.uniform(0.05, 0.3))
        heard.append(f"{name} at {at_s:.1f} s")
    return _mono(desk, response), heard
