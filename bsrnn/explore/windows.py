"""The window and hop laboratory: what a window leaks, what a hop loses, what the picture shows.

`window_view` is the static twin: picture, table and players of fixed settings. Lesson 02.

References: Harris 1978, Proc. IEEE 66(1) (windows and their leakage); Griffin and Lim 1984, IEEE
Trans. ASSP 32(2) (the inverse that divides by the sum of the squared windows).
"""

from fractions import Fraction

import numpy as np
import pandas as pd

from bsrnn import listen
from bsrnn.bands import frames
from bsrnn.common import UsageError, choose
from bsrnn.explore.panel import Panel, choice
from bsrnn.plots import signals, style

MAX_S = 4.0  # of the sound: keeps every change below a second
N_FFTS = (256, 512, 1024, 2048, 4096, 8192, 16384)
SHARES = tuple(map(Fraction, ("1/8", "1/4", "1/3", "1/2", "3/4", "1", "5/4")))  # hop / n_fft
TOP_HZ = 8000.0  # of the spectrogram
POINTS = 32  # of the spectrum of a window, per bin
_COSINES = {  # a0 - a1 cos(x) + a2 cos(2x), x = 2 pi n / N: periodic windows
    "rectangular": (1.0,),
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
}
KINDS = (*_COSINES, "sine")  # "sine" is the square root of Hann
_EMPTY = 1e-10  # of the largest sum: below this there is nothing to divide by


def window(kind: str, n_fft: int) -> np.ndarray:
    """A periodic window (n_fft,), float64; `kind` is one of `KINDS`.

    >>> window("hann", 4)
    array([0. , 0.5, 1. , 0.5])
    """
    choose(kind, KINDS, "window")
    if n_fft < 2:
        raise UsageError(f"n_fft {n_fft}: a window needs at least 2 samples")
    x = 2 * np.pi * np.arange(n_fft) / n_fft
    if kind == "sine":
        return np.sin(x / 2)
    return sum((-1) ** k * a * np.cos(k * x) for k, a in enumerate(_COSINES[kind]))


def overlap_sum(values: np.ndarray, hop: int) -> np.ndarray:
    """Sum of all copies of `values` (n_fft,) shifted by multiples of `hop`: one period (hop,).

    Of a window squared: the weight of each sample after analysis and synthesis. Constant means
    that frames can be added as they are (COLA), zero somewhere that a sample is lost (no NOLA).

    >>> overlap_sum(window("hann", 8) ** 2, 2)
    array([1.5, 1.5])
    """
    if hop < 1:
        raise UsageError(f"hop {hop}: give at least 1 sample")
    padded = np.pad(values, (0, -len(values) % hop))
    return padded.reshape(-1, hop).sum(axis=0)


def leakage(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Spectrum of a window (n_fft,) and two numbers: (bins, level_db, main_lobe, side_lobe_db).

    `bins` are distances from the tone in bins; `level_db` is 0 at the tone. `main_lobe`: width
    between the first zeros, in bins; `side_lobe_db`: the loudest beyond them.
    """
    magnitude = np.abs(np.fft.rfft(values, POINTS * len(values)))
    half = min(len(magnitude), 32 * POINTS)
    level_db = 20 * np.log10(np.maximum(magnitude[:half] / magnitude[0], 1e-9))
    rises = np.flatnonzero(np.diff(level_db) > 0)
    edge = rises[0] if len(rises) else half - 1
    side_lobe_db = float(level_db[edge:].max())
    return np.arange(half) / POINTS, level_db, 2 * edge / POINTS, side_lobe_db


def round_trip(waveform: np.ndarray, values: np.ndarray, hop: int) -> dict[str, np.ndarray]:
    """Frames, window, FFT, inverse FFT, window, overlap-add of a waveform (C, L), in float64.

    Returns "spectrum" (C, F, T) of the frames whose centre is on the sound, "divided" (C, L),
    divided by the sum of the squared windows where there is any, and "plain" (C, L), divided by the
    mean of that sum only. Zeros around let every sample be in as many frames as in the middle.
    """
    n_fft, samples = len(values), waveform.shape[-1]
    first = -(-n_fft // (2 * hop))  # frames with their centre before the sound
    front = n_fft // 2 + first * hop
    count = 1 + -(-(samples + front) // hop)  # frames
    padded = np.zeros((len(waveform), (count - 1) * hop + n_fft))
    padded[:, front : front + samples] = waveform
    spectrum = frames.spectra(padded, values, hop)  # (C, count, F)
    parts = np.fft.irfft(spectrum, n_fft) * values  # (C, count, n_fft)
    added, weight = np.zeros_like(padded), np.zeros(padded.shape[-1])
    for t in range(count):
        added[:, t * hop : t * hop + n_fft] += parts[:, t]
        weight[t * hop : t * hop + n_fft] += values**2
    period = overlap_sum(values**2, hop)
    divided = np.divide(added, weight, np.zeros_like(added), where=weight > _EMPTY * period.max())
    keep = slice(front, front + samples)
    return {
        "spectrum": spectrum[:, first : first + 1 + samples // hop].swapaxes(1, 2),  # (C, F, T)
        "divided": divided[:, keep],
        "plain": added[:, keep] / period.mean(),
    }


def window_view(
    waveform, sample_rate: int, kind: str = "hann", n_fft: int = 2048, hop: int | None = None
) -> list:
    """What `window_lab` shows: [Picture, table, Sounds].

    waveform (C, L), of which the first 4 s are used; hop in samples, default n_fft / 4. Errors of
    the reconstruction are in dB below the sound, for dividing by the sum of the squared windows and
    for adding only, which is what one hears beside the original. Raises UsageError for an unknown
    window and for a hop below 1.
    """
    sound = np.asarray(waveform, np.float64)
    if sound.ndim != 2 or not sound.shape[-1]:
        raise UsageError(f"waveform of shape {sound.shape}: give (C, L), mono as x[None]")
    sound = sound[:, : round(MAX_S * sample_rate)]
    values, hop = window(kind, n_fft), n_fft // 4 if hop is None else hop
    period = overlap_sum(values**2, hop)
    back = round_trip(sound, values, hop)
    flat, whole = np.ptp(period) < 1e-9 * period.max(), period.min() > _EMPTY * period.max()
    lobes = leakage(values)
    errors = {name: _error(sound, back[name]) for name in ("divided", "plain")}
    rows = {
        "one bin (Hz)": f"{sample_rate / n_fft:.2f}",
        "one frame (ms)": f"{1000 * n_fft / sample_rate:.1f}",
        "hop (ms)": f"{1000 * hop / sample_rate:.2f}",
        "main lobe (bins)": f"{lobes[2]:.1f}",
        "loudest side lobe (dB)": f"{lobes[3]:.1f}",
        "sum of squared windows": f"{period.min():.3f} to {period.max():.3f}",
        "constant (COLA)": "yes" if flat else "no",
        "never zero (NOLA)": "yes" if whole else "no",
        "error, divided by the sum (dB)": errors["divided"],
        "error, added only (dB)": errors["plain"],
    }
    title = f"{kind}, n_fft {n_fft}, hop {hop}"
    seconds = sound.shape[-1] / sample_rate
    picture = _drawn(title, values, hop, lobes, back["spectrum"], sample_rate, seconds)
    style.describe(picture, f"{title}: " + "; ".join(f"{k} {v}" for k, v in rows.items()) + ".")
    sounds = {"added only": back["plain"].astype(np.float32), "original": sound.astype(np.float32)}
    return [picture, pd.DataFrame({title: rows}), listen.ab(sounds, sample_rate, max_s=MAX_S)]


def window_lab(waveform, sample_rate: int) -> Panel:
    """The laboratory as a widget: window, n_fft and hop (as a share of the window).

    >>> lab = window_lab(np.zeros((1, 4096)), 44100)
    >>> sorted(lab.controls)
    ['kind', 'n_fft', 'share']
    """

    def view(kind, n_fft, share):
        return window_view(waveform, sample_rate, kind, n_fft, round(n_fft * Fraction(share)))

    return Panel(
        view,
        "Window and hop",
        kind=choice("window", KINDS, "hann"),
        n_fft=choice("n_fft", N_FFTS, 2048),
        share=choice("hop", [(f"{part} of the window", str(part)) for part in SHARES], "1/4"),
    )


def _error(sound, estimate) -> str:
    """Energy of the difference over that of the sound, in words."""
    energy, error = (np.square(x).sum() for x in (sound, estimate - sound))
    if not energy:
        return "undefined (silent sound)"
    level_db = 10 * np.log10(error / energy) if error else -np.inf
    return f"{level_db:.1f}" if level_db > -200 else "below -200"


def _drawn(title, values, hop, lobes, spectrum, sample_rate, seconds):
    bins, level_db, _, side_lobe_db = lobes
    picture, axes = style.figure(title, 2, 2, width=9.5, height=4.4)
    axes[0, 0].plot(values, color=style.PALETTE[0])
    axes[0, 0].set(title="the window", xlabel="sample", ylabel="weight", ylim=(-0.05, 1.1))
    axes[0, 1].plot(np.r_[-bins[::-1], bins], np.r_[level_db[::-1], level_db], lw=1)
    axes[0, 1].axhline(side_lobe_db, ls=":", color=style.PALETTE[1])
    axes[0, 1].set(title="its spectrum: what one tone becomes", xlabel="distance (bins)")
    axes[0, 1].set(ylabel="level (dB)", xlim=(-16, 16), ylim=(-110, 5))
    _draw_sum(axes[1, 0], values**2, hop)
    power = np.abs(spectrum[0]) ** 2  # (C, F, T) -> (F, T)
    pixels = signals.pooled(power / max(power.max(), 1e-30), sample_rate, "linear", TOP_HZ)
    signals.draw_levels(axes[1, 1], *pixels, seconds, "linear", top_db=0)
    axes[1, 1].set(title="spectrogram (75 dB, first channel)", xlabel="time (s)")
    return picture


def _draw_sum(axes, squares, hop):
    """The sum over two windows' length in the middle of a long signal, and its parts."""
    n_fft = len(squares)
    position = np.arange(2 * n_fft)
    step = max(1, n_fft // 512)  # no more points than pixels
    for start in range(-(n_fft // hop) * hop, 2 * n_fft, hop):
        inside = position[max(0, start) : max(0, start + n_fft)]
        axes.plot(inside[::step], squares[inside - start][::step], color="#999999", lw=0.6)
    total = np.tile(overlap_sum(squares, hop), 2 + 2 * n_fft // hop)[: 2 * n_fft]
    axes.plot(position[::step], total[::step], color=style.PALETTE[1])
    axes.set(title="squared windows and their sum", xlabel="sample", ylabel="weight")
    axes.set_ylim(-0.05 * total.max(), 1.15 * total.max())
