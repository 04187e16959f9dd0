"""Fair listening in a notebook: players that compare, and A/B switching on one timeline.

One gain serves all sounds of a comparison (IPython's own `Audio` scales each clip to its peak),
silence is written out instead of played, and the sound is embedded as MP3, so that it also plays in
exported HTML. The plain-text form remains when notebooks are committed without sound. Lesson 00.
"""

import base64
import functools
import html
import io
import itertools
import math
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from bsrnn import audio
from bsrnn.common import UsageError

PEAK = 0.89  # -1 dBFS: room for the MP3 encoder's overshoot
SILENCE_DB = -90.0  # RMS below this is shown as silent
KEPT_SOUNDS = 16  # of the latest: comparisons repeat most of them
_ids = itertools.count()


def level_db(waveform: np.ndarray) -> float:
    """RMS level of (C, L) in dBFS; -inf for digital silence.

    >>> round(level_db(np.full((1, 100), 0.1)), 3)
    -20.0
    """
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if np.size(waveform) else 0.0
    return 10 * math.log10(power) if power else float("-inf")


class Sounds:
    """What a notebook shows: HTML with sound, and a plain text of labels, seconds and levels."""

    def __init__(self, markup: str, text: str, gain: float):
        self.html, self.text, self.gain = markup, text, gain

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.html, "text/plain": self.text}

    def __repr__(self):
        return self.text


def players(sounds: dict, sample_rate: int, max_s: float = 10.0, start_s: float = 0.0) -> Sounds:
    """One labelled player per sound, all with one common gain.

    sounds: label -> (C, L) numpy or torch. At most `max_s` seconds from `start_s` on are embedded.
    Returns an object that notebooks display. Raises UsageError (shapes), DataError (NaN).
    """
    clips, gain = _prepared(sounds, sample_rate, max_s, start_s)
    tags = _tags({k: x for k, x in clips.items() if not _silent(x)}, gain, sample_rate)
    rows = []
    for label, clip in clips.items():
        name, sound = html.escape(label), "<em>silent</em>"
        if label in tags:
            sound = f"{tags[label]}<small>{_level(clip)}</small>"
        rows.append(
            f'<div role="group" aria-label="{name}" style="display:flex;gap:1em;'
            f'align-items:center;margin:.2em 0"><span style="min-width:9em">{name}</span>'
            f"{sound}</div>"
        )
    text = _summary(clips, sample_rate, gain)
    note = f"<small>one gain for all: {_db(gain)}</small>"
    return Sounds(f"<div>{''.join(rows)}{note}</div>", text, gain)


def ab(sounds: dict, sample_rate: int, max_s: float = 10.0, start_s: float = 0.0) -> Sounds:
    """Switch between sounds while they play: one timeline, one gain, one radio button for each.

    All sounds run together and only the chosen one is heard, so a switch keeps the position. Needs
    no kernel and no network. Arguments and errors as in `players`; sounds of one length.
    """
    clips, gain = _prepared(sounds, sample_rate, max_s, start_s)
    lengths = {label: clip.shape[-1] for label, clip in clips.items()}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"A/B switching needs sounds of one length, not {lengths}: cut them")
    key = f"ab{next(_ids)}-{zlib.crc32(repr((list(clips), gain)).encode())}"
    tags = _tags(clips, gain, sample_rate, controls=False)
    radios = []
    for number, (label, clip) in enumerate(clips.items()):
        said = html.escape(label + (" (silent)" if _silent(clip) else ""))
        radios.append(
            f'<label style="margin-right:1em"><input type="radio" name="{key}" value="{number}"'
            f"{' checked' if number == 0 else ''}> {said}</label>"
        )
    seconds = next(iter(lengths.values())) / sample_rate
    markup = (
        f'<div id="{key}" role="group" aria-label="compare {html.escape(", ".join(clips))}">'
        f'<button type="button">Play</button> <input type="range" min="0" max="{seconds:.3f}" '
        'step="0.01" value="0" aria-label="position in seconds" style="width:20em"> '
        f'<output>0.0 s</output><div role="radiogroup">{"".join(radios)}</div>'
        f"<div hidden>{''.join(tags.values())}</div><small>one gain for all: {_db(gain)}</small>"
        f"<script>{_SWITCH.replace('KEY', key)}</script></div>"
    )
    return Sounds(markup, _summary(clips, sample_rate, gain), gain)


_SWITCH = Path(__file__).with_name("switch.js").read_text(encoding="utf-8")


def band_sound(waveform, scheme, bands, config=None) -> np.ndarray:
    """The sound of some bands alone: (C, L) -> (C, L).

    scheme: a BandScheme for the rate of the waveform; bands: a band number or several; config: an
    StftConfig (default: the scheme's n_fft, hop n_fft / 4). Bins of overlapping bands are shared
    by their weights, so that all bands together sound as the input. Lesson 04.
    """
    from bsrnn.audio.stft import StftConfig, istft, stft

    config = config or StftConfig(n_fft=scheme.n_fft, hop=scheme.n_fft // 4)
    chosen = [bands] if np.isscalar(bands) else list(bands)
    missing = [band for band in chosen if not 0 <= band < len(scheme)]
    if missing:
        raise UsageError(f"no band {missing[0]}: {scheme.name} has bands 0 to {len(scheme) - 1}")
    gains = np.zeros(scheme.bins, np.float32)  # (F,)
    for number in chosen:
        low, high = scheme.ranges[number]
        gains[low:high] += 1 if scheme.weights is None else scheme.weights[number]
    waveform = audio.sound(waveform).astype(np.float32, copy=False)
    spectrum = stft(waveform, config) * gains[:, None]  # (C, F, T)
    return istft(spectrum, config, waveform.shape[-1]).astype(np.float32)  # (C, L)


def _prepared(sounds, sample_rate, max_s, start_s):
    """label -> (C <= 2, n) float32, and the gain that brings the loudest peak to PEAK."""
    if not sounds:
        raise UsageError("no sounds to play: pass a dictionary label -> (C, L)")
    clips = {}
    for label, given in sounds.items():
        array = audio.sound(given, f"sound {label!r}")
        array = array[None] if array.ndim == 1 else array  # (L,) -> (1, L)
        array = audio.waveform(array, f"sound {label!r}").astype(np.float32, copy=False)
        first = round(start_s * sample_rate)
        array = array[:, first : first + round(max_s * sample_rate)]
        clips[str(label)] = audio.to_channels(array, min(2, len(array)))
    peak = max(float(np.abs(clip).max(initial=0)) for clip in clips.values())
    return clips, PEAK / peak if peak > 0 else 1.0


def _silent(clip: np.ndarray) -> bool:
    return level_db(clip) < SILENCE_DB


def _level(clip: np.ndarray) -> str:
    return "silent" if _silent(clip) else f"{level_db(clip):.1f} dBFS"


def _summary(clips, sample_rate, gain) -> str:
    width = max(len(label) for label in clips)
    lines = [
        f"{label:{width}}  {clip.shape[-1] / sample_rate:5.2f} s  {_level(clip)}"
        for label, clip in clips.items()
    ]
    return "\n".join([*lines, f"played with one gain of {_db(gain)}"])


def _db(gain: float) -> str:
    return f"{20 * np.log10(gain):+.1f} dB"


def mp3(waveform: np.ndarray, sample_rate: int) -> bytes:
    """(C, L) as MP3; rates that MP3 has not are resampled to the next one it has, or 48 kHz.

    The latest results are kept: encoding takes longer than anything else on the way to a player.
    """
    return _mp3(np.asarray(waveform, np.float32).tobytes(), len(waveform), sample_rate)


@functools.lru_cache(maxsize=KEPT_SOUNDS)
def _mp3(floats: bytes, channels: int, sample_rate: int) -> bytes:
    waveform = np.frombuffer(floats, np.float32).reshape(channels, -1)  # (C, L)
    rates_hz = audio.FORMATS[".mp3"].rates_hz
    if sample_rate not in rates_hz:
        target = next((hz for hz in rates_hz if hz > sample_rate), rates_hz[-1])
        waveform, sample_rate = audio.resample(waveform, sample_rate, target), target
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform.T, sample_rate, format="MP3")
    return buffer.getvalue()


def _tags(clips: dict, gain: float, sample_rate: int, controls: bool = True) -> dict:
    """label -> audio element; the sounds are encoded side by side (the encoder frees the GIL)."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        encoded = list(pool.map(lambda clip: mp3(clip * gain, sample_rate), clips.values()))
    shown = "controls " if controls else ""
    return {
        label: f'<audio {shown}preload="auto" aria-label="{html.escape(label)}" '
        f'src="data:audio/mpeg;base64,{base64.b64encode(sound).decode()}"></audio>'
        for label, sound in zip(clips, encoded, strict=True)
    }
