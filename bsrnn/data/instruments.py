"""The toy band's instruments: drums, tuned notes, a voice and a room, from numpy and scipy only.

Sounds are float32 at 44.1 kHz with a peak near 1, (L,) or (2, L) where stated. Randomness comes
only from the `rng` passed in, so a seed fixes every sample.

References: Chowning 1973, "The synthesis of complex audio spectra by means of FM" (`note`);
Rosenberg 1971, "Effect of glottal pulse shape on the quality of natural vowels" (`voice`);
Peterson and Barney 1952, "Control methods used in a study of the vowels" (`VOWELS`).
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft, signal

SAMPLE_RATE = 44100
HOP = 256  # control rate of the voice: pitch, loudness and formants move every 5.8 ms
# Mean formants F1 F2 F3 of men in Hz (Peterson and Barney 1952, table II).
VOWELS = {
    "i": (270, 2290, 3010), "e": (530, 1840, 2480), "ae": (660, 1720, 2410),
    "a": (730, 1090, 2440), "o": (570, 840, 2410), "u": (300, 870, 2240), "er": (490, 1350, 1690),
}  # fmt: skip


def seconds_of(count: int) -> np.ndarray:
    """Time axis (L,) in seconds."""
    return np.arange(count, dtype=np.float32) / SAMPLE_RATE


def noise(rng, seconds: float, low_hz: float = 0.0, high_hz: float = 0.0) -> np.ndarray:
    """White noise (L,) of unit level, band-limited where an edge is given (12 dB per octave)."""
    sound = rng.standard_normal(int(seconds * SAMPLE_RATE)).astype(np.float32)
    for edge, kind in ((low_hz, "highpass"), (high_hz, "lowpass")):
        if edge:
            sos = signal.butter(2, edge, kind, fs=SAMPLE_RATE, output="sos").astype(np.float32)
            sound = signal.sosfilt(sos, sound)
    return sound / (np.sqrt(np.mean(sound**2)) + 1e-9)


def peak(sound: np.ndarray) -> np.ndarray:
    """`sound` scaled to a peak of 1."""
    return (sound / (np.abs(sound).max() + 1e-9)).astype(np.float32)


def harmonics(hz: float, slope: float, cutoff_hz: float, hollow: float = 0.0) -> np.ndarray:
    """Amplitudes (H,) of the partials below 16 kHz: n ** -slope through a 12 dB/octave low-pass;
    `hollow` (0 to 1) weakens the even ones, as in a clarinet or a square wave."""
    n = np.arange(1, max(2, int(16000 / hz)))
    even = np.where(n % 2 == 0, 1 - hollow, 1.0)
    return even * n**-slope / np.sqrt(1 + (n * hz / cutoff_hz) ** 4)


def wave(phase: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """A periodic sound (L,) from its phase in cycles (L,) and partials (H,): a wavetable."""
    size = 4096
    spectrum = np.zeros(size // 2 + 1, complex)
    spectrum[1 : len(amplitudes) + 1] = -0.5j * size * amplitudes
    table = np.fft.irfft(spectrum)
    table = np.append(table, table[0]).astype(np.float32)
    position = (phase % 1) * size
    index = position.astype(np.int32)
    return table[index] + (position - index).astype(np.float32) * np.diff(table)[index % size]


@dataclass(frozen=True)
class Timbre:
    """One tuned instrument. A note starts bright and turns dark; FM is a moving phase."""

    slope: float  # spectral slope of the partials: 1 saw-like, 2 flute-like
    dark_hz: float  # low-pass of the sustained tone
    bright_hz: float  # low-pass of the attack
    bright_s: float  # time constant from bright to dark
    decay_s: float  # time constant of the loudness; long for organs and strings
    attack_s: float = 0.004
    hollow: float = 0.0
    detune_cents: float = 0.0
    fm_ratio: float = 0.0
    fm_index: float = 0.0


TIMBRES = {
    "strings": Timbre(1.0, 2600, 4000, 1.0, 9.0, attack_s=0.09, detune_cents=9),
    "synth": Timbre(1.0, 900, 6000, 0.22, 1.2, detune_cents=7, hollow=0.3),
    "square": Timbre(0.9, 1600, 5000, 0.12, 0.9, hollow=0.9, detune_cents=5),
    "plucked": Timbre(0.8, 900, 7000, 0.07, 0.55),
    "guitar": Timbre(0.7, 1500, 6500, 0.25, 1.4, detune_cents=3),
    "organ": Timbre(0.8, 2200, 3000, 0.02, 30.0, attack_s=0.012, detune_cents=2),
    "electric piano": Timbre(2.0, 1500, 3000, 0.3, 1.0, fm_ratio=1.0, fm_index=2.6),
    "bell": Timbre(2.5, 3000, 6000, 0.5, 0.9, fm_ratio=3.5, fm_index=1.8),
    "brass": Timbre(0.7, 1900, 900, 0.09, 6.0, attack_s=0.05, detune_cents=4),
}
BASS_TIMBRES = {
    "round": Timbre(1.8, 220, 700, 0.05, 0.9, attack_s=0.008),
    "picked": Timbre(1.0, 260, 2800, 0.05, 0.8),
    "synth": Timbre(1.0, 240, 1600, 0.15, 1.6, detune_cents=6),
    "fm": Timbre(2.0, 300, 900, 0.12, 0.9, fm_ratio=1.0, fm_index=2.0),
    "sub": Timbre(2.2, 160, 400, 0.04, 4.0, attack_s=0.01, hollow=0.7),
}


def note(hz: float, seconds: float, timbre: Timbre, brightness: float = 1.0) -> np.ndarray:
    """One note (L,): `seconds` held, then a 60 ms release."""
    release_s = 0.06
    time = seconds_of(int((seconds + release_s) * SAMPLE_RATE))
    bright = np.exp(-time / timbre.bright_s)
    dark_tone = harmonics(hz, timbre.slope, timbre.dark_hz * brightness, timbre.hollow)
    bright_tone = harmonics(hz, timbre.slope, timbre.bright_hz * brightness, timbre.hollow)
    sound = np.zeros_like(time)
    for cents in (-timbre.detune_cents, timbre.detune_cents) if timbre.detune_cents else (0.0,):
        phase = time * (hz * 2 ** (cents / 1200)) + 0.25 * (cents > 0)
        if timbre.fm_index:
            swing = np.sin(2 * np.pi * timbre.fm_ratio * phase)
            phase = phase + timbre.fm_index / (2 * np.pi) * bright * swing
        sound += wave(phase, dark_tone) * (1 - bright) + wave(phase, bright_tone) * bright
    fade = np.clip((seconds + release_s - time) / release_s, 0, 1) ** 2
    attack = np.clip(time / timbre.attack_s, 0, 1)
    return peak(sound * attack * np.exp(-time / timbre.decay_s) * fade)


def drop(start_hz, end_hz, fall_s, decay_s, seconds) -> np.ndarray:
    """A sine whose pitch falls from start to end: kicks, toms, the body of a snare."""
    time = seconds_of(int(seconds * SAMPLE_RATE))
    cycles = end_hz * time + (start_hz - end_hz) * fall_s * (1 - np.exp(-time / fall_s))
    return np.sin(2 * np.pi * cycles) * np.exp(-time / decay_s)


def burst(rng, seconds, decay_s, low_hz=0.0, high_hz=0.0) -> np.ndarray:
    """Noise that dies away with the time constant `decay_s`."""
    sound = noise(rng, seconds, low_hz, high_hz)
    return sound * np.exp(-seconds_of(len(sound)) / decay_s)


def drum_kit(rng) -> dict:
    """A random kit: drum name -> list of takes (L,), because no hit sounds like the last."""
    low = rng.uniform(44, 62)
    fall_s, decay_s = rng.uniform(0.015, 0.035), rng.uniform(0.1, 0.26)
    kick = drop(low * rng.uniform(3, 6), low, fall_s, decay_s, 0.6)
    kick[:2205] += rng.uniform(0.3, 0.8) * burst(rng, 0.05, 0.008, 250, 5000)
    kick = np.tanh(rng.uniform(1.0, 2.5) * kick)
    body_hz, wires_s = rng.uniform(165, 240), rng.uniform(0.05, 0.13)
    wires = rng.uniform(0.6, 1.4)
    hat_hz, open_s = rng.uniform(5500, 8500), rng.uniform(0.15, 0.35)
    tom_hz = rng.uniform(80, 115)

    def snare():
        body = drop(body_hz * 1.5, body_hz, 0.02, 0.07, 0.4)
        body += 0.5 * drop(body_hz * 2.2, body_hz * 1.7, 0.02, 0.05, 0.4)
        return body + wires * burst(rng, 0.4, wires_s, 250, 7000) * rng.uniform(0.9, 1.1)

    def hat(decay_s):
        # A cymbal is noise and a crowd of inharmonic partials.
        sound = burst(rng, decay_s * 6, decay_s, hat_hz, 13000)
        time = seconds_of(len(sound))
        for hz in hat_hz * rng.uniform(0.6, 1.6, 6):
            sound += 0.3 * np.sin(2 * np.pi * hz * time) * np.exp(-time / decay_s)
        return sound

    crash_s = rng.uniform(0.35, 0.7)
    takes = {
        "kick": [kick],
        "snare": [snare() for _ in range(3)],
        "hat": [hat(rng.uniform(0.018, 0.04)) for _ in range(4)],
        "open": [hat(open_s)],
        "crash": [burst(rng, 2.5, crash_s, 2500, 12000)],
        "tom": [drop(tom_hz * k * 1.6, tom_hz * k, 0.04, 0.16, 0.7) for k in (1, 1.35, 1.8)],
        "rim": [burst(rng, 0.08, 0.012, 1200, 7000) + drop(900, 780, 0.01, 0.02, 0.08)],
    }
    return {name: [peak(sound) for sound in sounds] for name, sounds in takes.items()}


def glottis(f0_hz: np.ndarray, open_part: float = 0.62) -> np.ndarray:
    """The flow derivative (L,) of Rosenberg's glottal pulse for a pitch contour (L,) in Hz."""
    phase = (np.cumsum(f0_hz, dtype=np.float64) / SAMPLE_RATE % 1).astype(np.float32)
    rise, fall = 0.67 * open_part, 0.33 * open_part
    up = np.sin(np.pi * phase / rise) * (0.5 / rise)
    down = -np.sin(0.5 * np.pi * (phase - rise) / fall) * (0.5 / fall)
    return np.where(phase < rise, up, np.where(phase < open_part, down, 0.0))


def voice(rng, f0_hz, loudness, formants_hz, breath=0.03) -> np.ndarray:
    """A voice (L,), L = T * HOP, from control tracks f0_hz (T,), loudness (T,), formants_hz (T, 3):
    pulses and breath pass six moving resonances in the STFT domain. The sixth is air above 6 kHz.
    """
    count = len(f0_hz) * HOP
    frames = np.arange(len(f0_hz)) * HOP
    samples = np.arange(count)
    pitch = np.interp(samples, frames, f0_hz)
    level = np.interp(samples, frames, loudness).astype(np.float32)
    source = glottis(pitch) + breath * 4 * rng.standard_normal(count).astype(np.float32)
    _, _, spectrum = signal.stft(
        source.astype(np.float32) * level, nperseg=4 * HOP, noverlap=3 * HOP
    )  # (F, T')
    hz = np.linspace(0, SAMPLE_RATE / 2, spectrum.shape[0], dtype=np.float32)[:, None]
    track = np.asarray(formants_hz, np.float32)
    track = np.pad(track, ((0, spectrum.shape[1] - len(track)), (0, 0)), mode="edge")  # (T', 3)
    upper = track.mean(axis=0)[2]
    envelope = np.zeros(spectrum.shape, np.float32)
    resonances = [
        (track[:, 0], 130, 1.0), (track[:, 1], 190, 1.1), (track[:, 2], 260, 0.9),
        (np.float32(upper + 850), 400, 0.7), (np.float32(upper + 2000), 700, 0.35),
        (np.float32(8500), 3500, rng.uniform(0.07, 0.22)),
    ]  # fmt: skip
    for centre, width, gain in resonances:
        envelope += gain / (1 + ((hz - centre) / width) ** 2)
    envelope *= np.minimum(1, hz / 120) ** 2
    _, sound = signal.istft(spectrum * envelope, nperseg=4 * HOP, noverlap=3 * HOP)
    return sound[:count].astype(np.float32)


def consonant(rng, kind: str) -> np.ndarray:
    """A burst (t, k) or a fricative (s, sh, f), peak 1."""
    if kind in "tk":
        return peak(burst(rng, 0.05, 0.01, *((2500, 9000) if kind == "t" else (1200, 4500))))
    edges = {"s": (5000, 11000), "sh": (2300, 7000), "f": (1500, 9000)}[kind]
    sound = noise(rng, rng.uniform(0.07, 0.13), *edges)
    return peak(sound * np.hanning(len(sound)))


def room(rng, decay_s: float) -> np.ndarray:
    """A stereo room response (2, L) of energy 1: early echoes and a tail that darkens as it dies,
    by 60 dB in `decay_s`."""
    count = int(decay_s * SAMPLE_RATE)
    time = seconds_of(count)
    tail = rng.standard_normal((2, count)).astype(np.float32)
    bright = tail * np.exp(-time * 6.9 / (0.45 * decay_s))
    sos = signal.butter(1, [180, 2200], "bandpass", fs=SAMPLE_RATE, output="sos")
    sound = 0.25 * bright + 1.3 * signal.sosfilt(sos, tail) * np.exp(-time * 6.9 / decay_s)
    sound[:, : int(0.012 * SAMPLE_RATE)] = 0  # direct sound travels on its own
    for _ in range(6):
        sound[rng.integers(2), rng.integers(400, 2600)] += rng.uniform(1.5, 4)
    return (sound / np.sqrt(np.sum(sound**2) / 2)).astype(np.float32)


class Desk:
    """A mixing desk for one stem: sounds are placed, panned and sent to the room."""

    def __init__(self, samples: int):
        self.dry = np.zeros((2, samples), np.float32)  # (C, L)
        self.send = np.zeros(samples, np.float32)

    def place(self, sound, at_s: float, gain: float, pan: float = 0.0, wet: float = 0.0) -> None:
        """Add a mono sound (L,) at a time; pan -1 left to 1 right with constant power."""
        start = max(0, int(round(at_s * SAMPLE_RATE)))
        part = np.asarray(sound, np.float32)[: max(0, self.send.size - start)] * np.float32(gain)
        angle = (pan + 1) * np.pi / 4
        stop = start + part.size
        self.dry[0, start:stop] += np.float32(np.sqrt(2) * np.cos(angle)) * part
        self.dry[1, start:stop] += np.float32(np.sqrt(2) * np.sin(angle)) * part
        self.send[start:stop] += np.float32(wet) * part

    def mix(self, response: np.ndarray) -> np.ndarray:
        """Dry sound plus the room: (C, L)."""
        length = self.send.size
        size = fft.next_fast_len(length + response.shape[1], real=True)
        wet = fft.irfft(fft.rfft(self.send, size) * fft.rfft(response, size), size)[:, :length]
        return self.dry + wet
