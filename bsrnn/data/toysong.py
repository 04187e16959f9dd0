"""The toy band's songs: a seed becomes a plan, a plan becomes four stems. Times are in beats.

The ranges of levels and of stereo width are those measured on the 7-second previews of MUSDB18
(medians there: drums -25, bass -23, other -23, vocals -21 dBFS RMS, mixture -16). Lesson 01.
"""

from dataclasses import asdict, dataclass

import numpy as np
from scipy import signal

from bsrnn.data import instruments as play

STEMS = ("drums", "bass", "other", "vocals")
LEVELS_DB = {"drums": -24.0, "bass": -23.0, "other": -22.5, "vocals": -20.5}  # RMS while playing
WET = {"drums": (0.06, 0.3), "bass": (0.0, 0.05), "other": (0.08, 0.35), "vocals": (0.05, 0.22)}
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
KEYS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
PROGRESSIONS = (  # scale degrees from 0, one chord per bar
    (0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (0, 3, 4, 3), (0, 3, 0, 4), (1, 4, 0, 5),
    (0, 6, 5, 4), (0, 2, 3, 4), (3, 4, 2, 5), (0, 5, 1, 4),
)  # fmt: skip
GROOVES = {  # sixteenths of one bar: kick, snare, hat (o is open, r is rim)
    "rock": ("x.....x.x.......", "....x.......x...", "x.x.x.x.x.x.x.x."),
    "pop": ("x..x..x...x.....", "....x.......x..x", "x.x.x.x.x.x.x.o."),
    "house": ("x...x...x...x...", "....x.......x...", "..o...o...o...o."),
    "funk": ("x..x..x...x..x..", "....x..x.x..x...", "xxxxxxxxxxxxxoxx"),
    "half time": ("x.........x.....", "........x.......", "x...x...x...x.x."),
    "ballad": ("x.......x..x....", "....r.......r...", "x...x...x...x..."),
    "sixteenths": ("x.x.......x.....", "....x.......x...", "xxxxxxxxxxxxxxxx"),
    "toms": ("x.....x...x.....", "............x...", "t.tt..t.t.tt..t."),
}
BASS_FIGURES = {  # eighths of one bar: r root, 5 fifth, 8 octave, . rest, - hold
    "roots": "r-r-r-r-", "eighths": "rrrrrrrr", "octaves": "r8r8r8r8", "fifths": "r--5r-8-",
    "long": "r-------", "off beat": ".r.r.r.5", "walking": "r-5-8-5-",
}  # fmt: skip
OTHER_STYLES = ("chords", "off beats", "arpeggio", "melody", "pad")


@dataclass(frozen=True)
class Plan:
    """One song before it sounds."""

    tempo_bpm: float
    key: str
    minor: bool
    progression: tuple
    swing: float  # delay of every second sixteenth, in sixteenths
    groove: str
    bass_timbre: str
    bass_figure: str
    other_timbres: tuple
    other_styles: tuple
    singer_hz: float  # middle of the singer's range
    doubled: bool  # the voice is sung twice and spread
    room_s: float
    wet: dict  # stem -> share sent to the room
    levels_db: dict  # stem -> RMS while it plays, before the song's own gain
    peak: float  # of the mixture
    rests: dict  # stem -> [(first beat, last beat)] of silence

    @property
    def beat_s(self) -> float:
        return 60 / self.tempo_bpm

    def hz(self, degree: int, octave: int) -> float:
        """Frequency of a scale degree (0 is the key note, 7 its octave) in a MIDI octave."""
        steps = MINOR if self.minor else MAJOR
        midi = KEYS.index(self.key) + 12 * (octave + 1 + degree // 7) + steps[degree % 7]
        return 440 * 2 ** ((midi - 69) / 12)

    def chord(self, beat: float) -> int:
        return self.progression[int(beat // 4) % len(self.progression)]

    def plays(self, stem: str, beat: float) -> bool:
        return not any(first <= beat < last for first, last in self.rests[stem])


def compose(rng, seconds: float) -> Plan:
    """Draw a plan for a song of `seconds`."""
    tempo = float(rng.uniform(72, 158))
    beats = seconds * tempo / 60
    pick = lambda options: options[rng.integers(len(options))]  # noqa: E731
    low_voice = rng.random() < 0.5
    return Plan(
        tempo_bpm=round(tempo, 1),
        key=pick(KEYS),
        minor=bool(rng.random() < 0.5),
        progression=pick(PROGRESSIONS),
        swing=pick((0.0, 0.0, 0.0, 0.25, 0.5)),
        groove=pick(tuple(GROOVES)),
        bass_timbre=pick(tuple(play.BASS_TIMBRES)),
        bass_figure=pick(tuple(BASS_FIGURES)),
        other_timbres=tuple(map(str, rng.choice(list(play.TIMBRES), 2, replace=False))),
        other_styles=tuple(map(str, rng.choice(OTHER_STYLES, 2, replace=False))),
        singer_hz=round(float(rng.uniform(140, 200) if low_voice else rng.uniform(240, 340)), 1),
        doubled=bool(rng.random() < 0.4),
        room_s=round(float(rng.uniform(0.35, 1.3)), 2),
        wet={stem: round(float(rng.uniform(*span)), 2) for stem, span in WET.items()},
        levels_db={stem: round(float(rng.normal(LEVELS_DB[stem], 2.2)), 1) for stem in STEMS},
        peak=round(float(rng.uniform(0.6, 0.88)), 2),
        rests=_rests(rng, beats),
    )


def _rests(rng, beats: float) -> dict:
    """Who is silent when: the voice enters late; one player drops out, another may enter late."""
    rests = {stem: [] for stem in STEMS}
    whole = lambda share: max(1, round(share * beats))  # noqa: E731
    rests["vocals"].append((0, whole(rng.uniform(0.15, 0.32))))
    quiet, late, _ = rng.permutation(STEMS[:3])
    length = whole(rng.uniform(0.14, 0.28))
    start = whole(rng.uniform(0.4, 0.7))
    rests[str(quiet)].append((start, start + length))
    if rng.random() < 0.5:
        rests[str(late)].append((0, whole(rng.uniform(0.1, 0.2))))
    return rests


def _drums(plan: Plan, rng, desk: play.Desk, beats: float) -> None:
    kit = play.drum_kit(rng)
    kick, snare, hat = GROOVES[plan.groove]
    hat_pan, hat_gain = rng.uniform(-0.5, 0.5), rng.uniform(0.2, 0.5)
    kick_gain = rng.uniform(0.5, 0.85)
    snare_gain, wet = rng.uniform(0.6, 1.1), plan.wet["drums"]

    def hit(name, step, gain, pan=0.0, wet=wet):
        take = kit[name][rng.integers(len(kit[name]))]
        late = plan.swing if step % 2 else 0.0
        at_s = (step + late) * plan.beat_s / 4 + rng.normal(0, 0.003)
        desk.place(take, at_s, gain * rng.uniform(0.8, 1.05), pan, wet)

    for step in range(int(beats * 4)):
        if not plan.plays("drums", step / 4):
            continue
        bar, place = divmod(step, 16)
        if bar % 4 == 3 and place >= 12:  # a fill ends every fourth bar
            hit("tom" if rng.random() < 0.5 else "snare", step, 0.55, rng.uniform(-0.5, 0.5))
            continue
        if bar % 4 == 0 and place == 0 or not plan.plays("drums", step / 4 - 0.25):
            for pan in (-0.7, 0.7):
                hit("crash", step, 0.22, pan)
        if kick[place] == "x":
            hit("kick", step, kick_gain, wet=0.2 * wet)
        if snare[place] != ".":
            hit("rim" if snare[place] == "r" else "snare", step, snare_gain)
        elif rng.random() < 0.08:
            hit("snare", step, 0.1)  # a ghost note
        if hat[place] != ".":
            name = {"x": "hat", "o": "open", "t": "tom"}[hat[place]]
            accent = 1.0 if place % 4 == 0 else 0.65
            hit(name, step, hat_gain * accent * (2 if name == "tom" else 1), hat_pan, wet * 0.5)


def _bass(plan: Plan, rng, desk: play.Desk, beats: float) -> None:
    timbre = play.BASS_TIMBRES[plan.bass_timbre]
    figure = BASS_FIGURES[plan.bass_figure]
    lowest = plan.hz(0, 1)
    octave = 1 if lowest >= 41 else 2  # no note below the open E string
    finger = rng.uniform(0.004, 0.03)  # every string is touched: a little noise up to 6 kHz
    notes = {}
    for eighth in range(int(beats * 2)):
        beat, kind = eighth / 2, figure[eighth % 8]
        if kind in ".-" or not plan.plays("bass", beat):
            continue
        tail = figure[eighth % 8 + 1 :]
        length = 1 + len(tail) - len(tail.lstrip("-"))
        degree = plan.chord(beat) % 7 + {"r": 0, "5": 4, "8": 7}[kind]
        hz = plan.hz(degree, octave)
        hz = hz / 2 if hz > 125 else hz
        seconds = round(length * plan.beat_s / 2 * 0.92, 3)
        if (hz, seconds) not in notes:
            notes[hz, seconds] = play.note(hz, seconds, timbre)
            touch = play.burst(rng, 0.05, 0.008, 300, 4000)
            notes[hz, seconds][: touch.size] += finger * touch
        at_s = beat * plan.beat_s + rng.normal(0, 0.004)
        desk.place(notes[hz, seconds], at_s, rng.uniform(0.8, 1.0), 0.0, plan.wet["bass"])


def _other_events(plan: Plan, rng, style: str, beats: float):
    """(beat, length in beats, scale degrees) of one accompanying part."""
    step = {"chords": 1.0, "off beats": 0.5, "arpeggio": 0.5, "melody": 0.5, "pad": 4.0}[style]
    if style == "arpeggio" and plan.tempo_bpm < 105:
        step = 0.25
    left_hand = rng.random() < 0.6  # the root once more, an octave below
    order, degree = rng.permutation([0, 2, 4, 7]), int(rng.integers(7))
    for index in range(int(np.ceil(beats / step))):
        beat = index * step
        root = plan.chord(beat)
        root = root - 7 if root > 4 else root
        triad = [root, root + 2, root + 4]
        if style in ("chords", "pad"):
            yield beat, step, [root - 7, *triad] if left_hand else triad
        elif style == "off beats" and index % 2:
            yield beat, step * 0.6, triad
        elif style == "arpeggio":
            yield beat, step * 1.5, [root + int(order[index % 4])]
        elif style == "melody" and rng.random() < 0.7:
            degree = int(np.clip(degree + rng.integers(-2, 3), 0, 11))
            on_beat = index % 2 == 0
            nearest = min(triad, key=lambda d: (d - degree) % 7)
            yield beat, step * (1 + on_beat), [nearest + 7 if on_beat else degree]


def _other(plan: Plan, rng, desk: play.Desk, beats: float) -> None:
    side = rng.choice((-1.0, 1.0))
    for part, (name, style) in enumerate(zip(plan.other_timbres, plan.other_styles, strict=True)):
        timbre, notes = play.TIMBRES[name], {}
        pan = side * (1 - 2 * part) * rng.uniform(0.1, 0.75)
        gain = (1.0, rng.uniform(0.4, 0.9))[part]
        octave = 4 if style in ("melody", "arpeggio") else 3
        brightness = rng.uniform(0.7, 1.4)
        for beat, length, degrees in _other_events(plan, rng, style, beats):
            if not plan.plays("other", beat):
                continue
            seconds = round(length * plan.beat_s, 3)
            accent = rng.uniform(0.75, 1.0)
            for strum, degree in enumerate(degrees):
                key = (plan.hz(degree, octave), seconds)
                if key not in notes:
                    notes[key] = play.note(*key, timbre, brightness)
                at_s = beat * plan.beat_s + 0.008 * strum + abs(rng.normal(0, 0.004))
                desk.place(notes[key], at_s, gain * accent, pan, plan.wet["other"])


def _melody(plan: Plan, rng, beats: float):
    """Sung syllables: (beat, length in beats, Hz, last of its phrase)."""
    beat, degree = float(min((b for _, b in plan.rests["vocals"]), default=0)), 7
    octave = next(o for o in range(1, 6) if plan.hz(14, o) > plan.singer_hz * 1.5)
    while beat < beats:
        end = beat + rng.integers(4, 8)
        while beat < end:
            length = float(rng.choice((0.5, 0.5, 0.5, 1.0, 1.0, 1.5)))
            final = beat + length >= end
            length = float(rng.choice((1.5, 2.0))) if final else length
            degree = int(np.clip(degree + rng.integers(-2, 3), 4, 13))
            if final or beat % 2 == 0:  # rest on a tone of the chord
                tones = [d for d in range(4, 14) if (d - plan.chord(beat)) % 7 in (0, 2, 4)]
                degree = min(tones, key=lambda tone: abs(tone - degree))
            yield beat, length, plan.hz(degree, octave), final
            beat += length
        beat += float(rng.choice((1.0, 1.5, 2.0)))


def _vocals(plan: Plan, rng, desk: play.Desk, beats: float) -> None:
    syllables = [
        (beat * plan.beat_s, length * plan.beat_s, hz, final)
        for beat, length, hz, final in _melody(plan, rng, beats)
        if plan.plays("vocals", beat)
    ]
    seconds = desk.send.size / play.SAMPLE_RATE
    size = 1.0 if plan.singer_hz < 220 else 1.16
    breath, wet = rng.uniform(0.01, 0.05), plan.wet["vocals"]
    for pan, gain in ((0.0, 1.0), (-0.7, 0.35), (0.7, 0.35))[: 3 if plan.doubled else 1]:
        sound = sing(rng, syllables, seconds, size, breath)
        desk.place(sound, 0.0, gain, pan, wet)


def sing(rng, syllables, seconds, size=1.0, breath=0.03, speech=False) -> np.ndarray:
    """A voice (L,) from syllables (start_s, length_s, hz, last of its phrase). Sung: held pitches
    joined by glides, a growing vibrato, long vowels. Speech: pitches lean, loudness comes and goes.
    """
    frames = int(np.ceil(seconds * play.SAMPLE_RATE / play.HOP))
    time = np.arange(frames) * play.HOP / play.SAMPLE_RATE
    pitch, loudness = np.zeros(frames), np.zeros(frames)
    formants = np.zeros((frames, 3))
    noises = np.zeros(frames * play.HOP, np.float32)
    vowels = list(play.VOWELS)
    rate_hz, depth = rng.uniform(4.8, 6.3), 0.0 if speech else rng.uniform(0.2, 0.6) / 12
    for start, length, hz, final in syllables:
        here = time >= start  # later syllables overwrite what follows
        age = time[here] - start
        bend = depth * np.clip((age - 0.12) / 0.3, 0, 1) * np.sin(2 * np.pi * rate_hz * age)
        pitch[here] = np.log2(hz) + bend - (0.12 * age if speech else 0)
        formants[here] = np.array(play.VOWELS[vowels[rng.integers(len(vowels))]]) * size
        closed = final or rng.random() < (0.6 if speech else 0.3)  # else only a dip, as in "la la"
        held = length * 0.85 if final else length - rng.uniform(0.02, 0.05)
        shape = np.clip((held - age) / (0.15 if final else 0.04), 0.0 if closed else 0.4, 1)
        shape = np.where(age > length, 0, shape) * np.clip(0.3 + age / 0.12, 0, 1)
        swell = 1 - rng.uniform(0.1, 0.6) * age / length
        loudness[here] = np.maximum(shape * swell, 0) * 10 ** (rng.normal(0, 2.5) / 20)
        if rng.random() < (0.75 if speech else 0.6):
            sound = play.consonant(rng, str(rng.choice(("s", "sh", "f", "t", "k"))))
            first = max(0, int((start - 0.6 * len(sound) / play.SAMPLE_RATE) * play.SAMPLE_RATE))
            part = sound[: max(0, noises.size - first)]
            noises[first : first + part.size] += rng.uniform(0.1, 0.3 if speech else 0.5) * part
    if not syllables:
        return noises
    first = np.argmax(pitch > 0)
    pitch[:first], formants[:first] = pitch[first], formants[first]
    tracks = np.stack([_glide(formants[:, k]) for k in range(3)], axis=1)  # (T, 3)
    glide_frames = 13 if speech else int(rng.integers(11, 24)) * 2 + 1
    f0_hz = 2 ** (_glide(pitch, glide_frames) + _glide(rng.normal(0, 0.02, frames)))
    return play.peak(play.voice(rng, f0_hz, _glide(loudness, 7), tracks, breath)) + noises


def _glide(track: np.ndarray, frames: int = 19) -> np.ndarray:
    """Smooth a control track (T,): nobody jumps between pitches or vowels (19 frames: 55 ms)."""
    window = np.hanning(frames)
    padded = np.pad(track, frames // 2, mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")


PLAYERS = {"drums": _drums, "bass": _bass, "other": _other, "vocals": _vocals}


def song(seconds: float, rng) -> tuple[dict, dict]:
    """One song: stems {name: (C, L) float32 at 44.1 kHz}, whose sum peaks below 0.9, and the plan
    behind them as plain data.

    >>> stems, plan = song(3.0, np.random.default_rng(0))
    >>> stems["vocals"].shape
    (2, 132300)
    """
    plan = compose(rng, seconds)
    samples = int(round(seconds * play.SAMPLE_RATE))
    beats = seconds / plan.beat_s
    response = play.room(rng, plan.room_s)
    stems = {}
    for stem in STEMS:
        desk = play.Desk(samples)
        PLAYERS[stem](plan, rng, desk, beats)
        squash = 12.0 if stem == "drums" else 5.0
        stems[stem] = balance(desk.mix(response), plan.levels_db[stem], squash)
    mixture = sum(stems.values())
    top = max(np.abs(sound).max() for sound in (mixture, *stems.values()))
    stems = {stem: sound * np.float32(plan.peak / top) for stem, sound in stems.items()}
    return stems, asdict(plan)


def balance(sound: np.ndarray, level_db: float, squash: float) -> np.ndarray:
    """Master a stem (C, L): an RMS of `level_db` while it sounds, peaks beyond `squash` RMS rounded
    off as by a bus compressor, no infrasound or offset, a soft end."""
    frame = play.SAMPLE_RATE // 10
    blocks = sound[:, : sound.shape[1] // frame * frame].reshape(len(sound), -1, frame)
    power = np.mean(blocks**2, axis=(0, 2))
    rms = np.sqrt(power[power > 1e-4 * power.max()].mean() + 1e-12)
    sound = squash * np.tanh(sound / (rms * squash))
    # after the rounding, because an uneven wave (a voice) leaves it with an offset
    sos = signal.butter(2, 28, "highpass", fs=play.SAMPLE_RATE, output="sos")
    sound = signal.sosfilt(sos, sound, axis=-1)
    edge = min(sound.shape[1], play.SAMPLE_RATE // 50)
    sound[:, -edge:] *= np.linspace(1, 0, edge)
    return (sound * 10 ** (level_db / 20)).astype(np.float32)
