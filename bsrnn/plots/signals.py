"""Pictures of sounds: waveforms, spectra, spectrograms, levels, stereo, correlation of stems.

Conventions:
    `sounds` is a dict label -> waveform (C, L) float32; a label that is a stem's name gets the
    stem's colour. 0 dB is a full-scale sine in spectra and spectrograms, and a full-scale square
    wave in levels (dBFS of the RMS). Every function returns a figure with its own description;
    `draw_...` draw into the axes that they are given.

Lesson 01 uses most of them; lessons 02 and 04 the spectrograms, lesson 12 the loudness.
"""

import numpy as np

from bsrnn import audio
from bsrnn.bands.frames import hann
from bsrnn.bands.frames import spectra as spectra_of
from bsrnn.common import UsageError, choose
from bsrnn.plots import style

AXES = ("log", "linear", "mel")
LEVEL = "level (dB re full-scale sine)"
MEL_TICKS_HZ = (0, 500, 1000, 2000, 4000, 8000, 16000)
WINDOW_S = 0.1  # of levels
SILENT_DB = -60.0  # windows below this count as silence
FLOOR_DB = -90.0
FLOOR_LUFS = -60.0  # below this no loudness is drawn: silence
COLUMNS, ROWS, FRAMES = 640, 160, 360  # more points than pixels cost bytes and show nothing


def _checked(sounds: dict) -> dict:
    """Float arrays (C, L), or one line that says what is wrong."""
    if not sounds:
        raise UsageError("no sounds to draw: give a dict label -> waveform (C, L)")
    arrays = {}
    for label, given in sounds.items():
        sound = audio.sound(given, str(label)).astype(np.float32, copy=False)
        if sound.ndim != 2 or sound.shape[1] < 2:
            raise UsageError(f"{label} has shape {sound.shape}: give a waveform (C, L)")
        if not np.isfinite(sound).all():
            raise UsageError(f"{label} holds NaN or infinite samples: replace them before drawing")
        arrays[label] = sound
    return arrays


def _db(power) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 1e-12))


def rms_over_time(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """RMS level in dBFS of consecutive 100 ms: (C, L) -> (windows,)."""
    size = min(sound.shape[1], max(1, int(WINDOW_S * sample_rate)))
    count = sound.shape[1] // size
    blocks = sound[:, : count * size].reshape(len(sound), count, size)  # (C, windows, samples)
    return _db(np.mean(blocks**2, axis=(0, 2)))


def draw_waveform(axes, sound, sample_rate: int, columns=COLUMNS, **look) -> None:
    """Fill the outline of a waveform (C, L) over time, all channels as one, into `axes`."""
    edges = np.linspace(0, sound.shape[1], min(columns, sound.shape[1]) + 1).astype(int)[:-1]
    low = np.minimum.reduceat(sound.min(axis=0), edges)
    high = np.maximum.reduceat(sound.max(axis=0), edges)
    axes.fill_between(edges / sample_rate, low, high, lw=0.4, **look)


def waveforms(sounds: dict, sample_rate: int, title="Waveforms"):
    """The outline of each sound over time, one row each, all on one amplitude scale.

    >>> figure = waveforms({"bass": np.zeros((2, 44100))}, 44100)
    >>> figure.description
    'Waveforms over 1.0 s: bass silent.'
    """
    sounds = _checked(sounds)
    share = {"sharex": True, "sharey": True, "squeeze": False}
    picture, axes = style.figure(title, len(sounds), height=0.8 + 0.85 * len(sounds), **share)
    top = max(np.abs(sound).max() for sound in sounds.values()) or 1.0
    words = []
    for axis, (label, sound) in zip(axes[:, 0], sounds.items(), strict=True):
        draw_waveform(axis, sound, sample_rate, color=style.stem_colour(label))
        axis.set_ylabel(label)
        axis.set_ylim(-1.05 * top, 1.05 * top)
        peak = np.abs(sound).max()
        told = f"peaks at {20 * np.log10(peak):.1f} dBFS" if peak else "silent"
        words.append(f"{label} {told}")
    axes[-1, 0].set_xlabel("time (s); height: amplitude, one scale for all rows")
    seconds = max(sound.shape[1] for sound in sounds.values()) / sample_rate
    return style.describe(picture, f"Waveforms over {seconds:.1f} s: {', '.join(words)}.")


def power_spectrum(sound, sample_rate: int, n_fft=2048, frames=None):
    """Mean power over channels of Hann frames: (C, L) -> (frequencies_hz (F,), power (F, T)).

    A full-scale sine reads 1 at its bin. At most `frames` frames are taken, spread evenly.
    """
    sound = np.pad(sound, ((0, 0), (0, max(0, n_fft - sound.shape[1]))))
    hop = n_fft // 4
    if frames:
        hop = max(hop, (sound.shape[1] - n_fft) // frames)
    window = hann(n_fft).astype(np.float32)
    power = np.mean([np.abs(spectra_of(channel, window, hop)) ** 2 for channel in sound], axis=0)
    return np.fft.rfftfreq(n_fft, 1 / sample_rate), (power / (n_fft / 4) ** 2).T  # (F, T)


def _pool(power, frequencies_hz, edges_hz) -> np.ndarray:
    """Sum of the power between edges, splitting bins: (F, ...) -> (rows, ...)."""
    step = frequencies_hz[1]
    total = np.concatenate([np.zeros((1, *power.shape[1:])), np.cumsum(power, axis=0)])
    position = np.clip(np.asarray(edges_hz) / step + 0.5, 0, len(power))
    below = np.minimum(position.astype(int), len(power) - 1)
    share = (position - below).reshape(-1, *[1] * (power.ndim - 1))
    cumulative = total[below] + share * power[below]
    return np.diff(cumulative, axis=0)


def spectra(sounds: dict, sample_rate: int, title="Long-term spectra", ax=None):
    """The long-term average spectrum of each sound: level per sixth of an octave."""
    sounds = _checked(sounds)
    picture, axis = style.figure(title, height=3.4, ax=ax)
    top_hz = min(20000, sample_rate / 2)
    edges = 25 * 2 ** np.arange(0, np.log2(top_hz / 25), 1 / 6)
    words, top = [], FLOOR_DB
    for label, sound in sounds.items():
        hz, power = power_spectrum(sound, sample_rate, 8192, frames=2000)
        # 1.5 bins: the noise bandwidth of a Hann window, so bands of a sine do not count it twice
        level = _db(_pool(power.mean(axis=1) / 1.5, hz, edges))
        middle = np.sqrt(edges[1:] * edges[:-1])
        axis.plot(middle, level, label=label, color=style.stem_colour(label), lw=1.6)
        top = max(top, level.max())
        if level.max() > FLOOR_DB:
            words.append(f"{label} is strongest near {middle[level.argmax()]:.0f} Hz")
    style.log_hz_axis(axis.xaxis, 30, top_hz)
    axis.set_ylim(top - 70, top + 5)
    axis.set_ylabel("level per 1/6 octave (dB)")
    style.legend(axis, ncols=2)
    return style.describe(picture, f"Long-term spectra: {', '.join(words) or 'all silent'}.")


# ---------------------------------------------------------------------------- spectrograms


def hz_to_mel(hz):
    """2595 log10(1 + f / 700), O'Shaughnessy (1987), as in HTK."""
    return 2595 * np.log10(1 + np.asarray(hz) / 700)


def mel_to_hz(mel):
    """The inverse of `hz_to_mel`."""
    return 700 * (10 ** (np.asarray(mel) / 2595) - 1)


def _rows(axis: str, top_hz: float, count: int) -> np.ndarray:
    """Edges (count + 1,) in Hz of rows that look equally high on the frequency axis."""
    if axis == "log":
        return np.geomspace(30, top_hz, count + 1)
    if axis == "mel":
        return mel_to_hz(np.linspace(0, hz_to_mel(top_hz), count + 1))
    return np.linspace(0, top_hz, count + 1)


def pooled(power, sample_rate: int, axis="log", top_hz=None) -> tuple:
    """A power spectrogram (F, T) as pixels: (level_db (rows, T), their edges_hz (rows + 1,)).

    A row is the mean of its bins; of more frames than pixels the loudest are kept.
    """
    if power.shape[1] > FRAMES:
        starts = np.linspace(0, power.shape[1], FRAMES, endpoint=False).astype(int)
        power = np.maximum.reduceat(power, starts, axis=1)
    hz = np.fft.rfftfreq(2 * (len(power) - 1), 1 / sample_rate)
    edges_hz = _rows(axis, min(top_hz or np.inf, sample_rate / 2), ROWS)
    bins = np.diff(edges_hz)[:, None] / hz[1]
    return _db(_pool(power, hz, edges_hz) / bins), edges_hz


def levels_grid(sound, sample_rate: int, n_fft=2048, axis="log", top_hz=None) -> tuple:
    """The spectrogram of a waveform (C, L) as pixels: (level_db, edges_hz) as `pooled`."""
    return pooled(power_spectrum(sound, sample_rate, n_fft, FRAMES)[1], sample_rate, axis, top_hz)


def draw_levels(axes, level_db, edges_hz, seconds, axis="log", top_db=None, range_db=75.0):
    """Draw the pixels (rows, T) of `pooled` over `seconds` into `axes`; returns the mesh.

    The y axis is then in Hz. `top_db` is the brightest level (default: the loudest).
    """
    top_db = level_db.max() if top_db is None else top_db
    times_s = np.linspace(0, seconds, level_db.shape[1] + 1)
    mesh = axes.pcolormesh(
        times_s, edges_hz, level_db, cmap=style.level_colours(), vmin=top_db - range_db, vmax=top_db
    )
    if axis == "log":
        style.log_hz_axis(axes.yaxis, edges_hz[0], edges_hz[-1])
    else:
        if axis == "mel":
            axes.set_yscale("function", functions=(hz_to_mel, mel_to_hz))
            axes.set_yticks([hz for hz in MEL_TICKS_HZ if hz <= edges_hz[-1]])
        axes.set_ylim(0, edges_hz[-1])
        axes.yaxis.set_major_formatter(style.hz_text)
        axes.set_ylabel("frequency (Hz)" if axis == "linear" else "frequency (Hz, mel axis)")
    axes.grid(False)
    return mesh


def draw_spectrogram(
    axes, sound, sample_rate, n_fft=2048, axis="log", top_hz=None, top_db=None, range_db=75.0
):
    """Draw the spectrogram of a waveform (C, L) into `axes`; as `draw_levels`, up to `top_hz`
    (default: half the sample rate)."""
    choose(axis, AXES, "frequency axis")
    pixels = levels_grid(sound, sample_rate, n_fft, axis, top_hz)
    return draw_levels(axes, *pixels, sound.shape[1] / sample_rate, axis, top_db, range_db)


def spectrogram(
    waveform, sample_rate: int, n_fft=2048, axis="log", title="Spectrogram", top_hz=None, ax=None
):
    """The power spectrogram of a waveform (C, L), mean over channels; axis log, linear or mel."""
    sound = _checked({"waveform": waveform})["waveform"]
    picture, axes = style.figure(title, height=3.2, ax=ax)
    mesh = draw_spectrogram(axes, sound, sample_rate, n_fft, axis, top_hz)
    axes.set_xlabel("time (s)")
    picture.colorbar(mesh, ax=axes, label=LEVEL, pad=0.01)
    return style.describe(
        picture,
        f"Spectrogram of {sound.shape[1] / sample_rate:.1f} s with a {n_fft}-point window on a "
        f"{axis} frequency axis.",
    )


def spectrograms(
    sounds: dict, sample_rate: int, n_fft=2048, axis="log", title="Spectrograms", top_hz=None
):
    """One spectrogram per sound in a grid of two columns, all on one dB scale."""
    sounds = _checked(sounds)
    choose(axis, AXES, "frequency axis")
    picture, grid = style.grid(title, sounds, 2, row_height=1.75)
    pixels = [levels_grid(sound, sample_rate, n_fft, axis, top_hz) for sound in sounds.values()]
    tops = [level_db.max() for level_db, _ in pixels]
    for axes, sound, part in zip(grid, sounds.values(), pixels, strict=True):
        mesh = draw_levels(axes, *part, sound.shape[1] / sample_rate, axis, max(tops))
        axes.set_xlabel("time (s)")
        axes.label_outer()
    picture.colorbar(mesh, ax=picture.axes, label=LEVEL, pad=0.01)
    return style.describe(
        picture,
        f"Spectrograms of {', '.join(sounds)} on one scale of 75 dB, {n_fft}-point window; "
        f"the loudest point is in {list(sounds)[np.argmax(tops)]}.",
    )


# ---------------------------------------------------------------------------- level, stereo


def levels(sounds: dict, sample_rate: int, title="Levels over time"):
    """RMS level of each sound over time; the bars below show where it sounds, gaps are silence."""
    sounds = _checked(sounds)
    size = {"height": 3.4 + 0.14 * len(sounds), "height_ratios": (3, 1)}
    picture, (top, bottom) = style.figure(title, 2, **size, sharex=True)
    words = []
    for row, (label, sound) in enumerate(sounds.items()):
        level = rms_over_time(sound, sample_rate)
        start, look = np.arange(len(level)) * WINDOW_S, {"color": style.stem_colour(label)}
        top.plot(start + WINDOW_S / 2, np.maximum(level, SILENT_DB), label=label, **look)
        active = level > SILENT_DB
        spans = [(s, WINDOW_S) for s in start[active]]
        bottom.broken_barh(spans, (row - 0.35, 0.7), lw=0, **look)
        words.append(f"{label} silent {100 * (1 - active.mean()):.0f} %")
    top.set_ylim(SILENT_DB, 0)
    top.set_ylabel("RMS level (dBFS)")
    style.legend(top, ncols=min(5, len(sounds)), loc="upper left")
    bottom.set_yticks(range(len(sounds)), list(sounds))
    bottom.set_ylim(len(sounds) - 0.5, -0.5)
    bottom.set_xlabel(f"time (s); a gap is silence: below {SILENT_DB:.0f} dBFS")
    return style.describe(
        picture,
        f"Level per {1000 * WINDOW_S:.0f} ms; share of time in silence: {', '.join(words)}.",
    )


def width_db(sound: np.ndarray) -> float:
    """Stereo width of a waveform (C, L): energy of the side over that of the mid in dB, -60 to 60.

    >>> width_db(np.ones((1, 8))), width_db(np.array([[1.0, 1.0], [0.0, 0.0]]))
    (-60.0, 0.0)
    """
    if not np.any(sound):
        return np.nan
    left, right = sound[0].astype(np.float64), sound[-1].astype(np.float64)
    mid, side = np.mean((left + right) ** 2), np.mean((left - right) ** 2)
    return float(np.clip(10 * np.log10((side + 1e-12) / (mid + 1e-12)), -60, 60))


def stereo(sounds: dict, title="Stereo width", ax=None):
    """A bar per sound: energy of the side over that of the mid."""
    sounds = _checked(sounds)
    picture, axis = style.figure(title, height=1.2 + 0.28 * len(sounds), ax=ax)
    words = []
    for row, (label, sound) in enumerate(sounds.items()):
        width = width_db(sound)
        axis.barh(row, np.nan_to_num(width, nan=-60) + 60, left=-60, color=style.stem_colour(label))
        told = "silent" if np.isnan(width) else f"{width:.0f} dB" if width > -60 else "mono"
        axis.text(np.nan_to_num(width, nan=-60) + 1, row, told, va="center", fontsize=9)
        words.append(f"{label} {told}")
    axis.set_xlim(-60, max(10, axis.get_xlim()[1]) + 8)  # room for the numbers
    axis.set_xlabel("side over mid (dB)")
    axis.set_yticks(range(len(sounds)), list(sounds))
    axis.invert_yaxis()
    return style.describe(picture, f"Stereo width (side over mid): {', '.join(words)}.")


def stem_correlation(matrix, labels, title="Correlation of the stems", ax=None):
    """A correlation matrix (S, S), values -1 to 1, with its numbers."""
    matrix = np.asarray(matrix, float)
    if matrix.shape != (len(labels), len(labels)):
        raise UsageError(f"matrix {matrix.shape} does not fit {len(labels)} labels: give (S, S)")
    picture, axes = style.figure(title, width=4.6, height=3.6, ax=ax)
    mesh = axes.imshow(matrix, cmap=style.DIVERGING, vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(matrix):
        look = {"ha": "center", "va": "center", "fontsize": 9}
        look["color"] = "white" if abs(value) > 0.6 else "black"
        axes.text(column, row, f"{round(value, 2) + 0.0:.2f}", **look)  # no -0.00
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.grid(False)
    picture.colorbar(mesh, ax=axes, label="correlation")
    apart = np.where(np.eye(len(labels), dtype=bool), 0, np.nan_to_num(matrix))
    row, column = np.unravel_index(np.abs(apart).argmax(), apart.shape)
    return style.describe(
        picture,
        f"Correlation matrix of {', '.join(labels)}; the largest off the diagonal is "
        f"{apart[row, column]:.2f} ({labels[row]}, {labels[column]}).",
    )


def loudness_over_time(curves: dict, integrated: dict, title, window):
    """Loudness over time, and integrated loudness before and after a change.

    curves: name -> (times_s, lufs) as `bsrnn.loudness.over_time` gives them. integrated: name ->
    (before, after) in LUFS, -inf for silence; the last name is the mix. window: (start_s, stop_s)
    that the players play, shaded.
    """
    picture, (left, right) = style.figure(title, 1, 2, width=9, height=3.4, width_ratios=(5, 2))
    mix = list(integrated)[-1]
    top = max((float(np.max(y)) for _, y in curves.values()), default=FLOOR_LUFS)
    for name, (times_s, lufs) in curves.items():
        line = {"color": "#000000", "lw": 2} if name == mix else {"color": style.stem_colour(name)}
        left.plot(times_s, np.where(lufs > FLOOR_LUFS, lufs, np.nan), label=name, **line)
    left.set_xlim(0, max((x[0] + x[-1] for x, _ in curves.values() if len(x)), default=1.0))
    left.axvspan(*window, color="#dddddd", alpha=0.6, lw=0, zorder=0)
    left.set(xlabel="time (s); shaded: what the players play")
    left.set(ylabel="short-term loudness (LUFS)", ylim=(FLOOR_LUFS, max(top, -20) + 10))
    style.legend(left, loc="upper center", ncols=len(curves))
    words = []
    for place, (name, pair) in enumerate(integrated.items()):
        before, after = np.maximum(pair, FLOOR_LUFS)
        colour = "#000000" if name == mix else style.stem_colour(name)
        right.plot([before, after], [place, place], color=colour, lw=1)
        right.plot(before, place, "o", mfc="white", mec=colour, ms=8)
        right.plot(after, place, "o", color=colour, ms=5)
        levels = [f"{x:.1f}" if x > FLOOR_LUFS else "silent" for x in pair]
        words.append(f"{name} {' to '.join(dict.fromkeys(levels))}")
    right.set_yticks(range(len(integrated)), list(integrated))
    right.set(title="hollow: before, full: after", xlabel="integrated (LUFS)")
    right.set(xlim=(FLOOR_LUFS - 2, max(top, -20) + 5), ylim=(len(integrated) - 0.5, -0.5))
    return style.describe(picture, f"{title}. Integrated loudness in LUFS: {', '.join(words)}.")
