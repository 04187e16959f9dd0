"""A stem mixer: solo, mute and gain of each stem; see and hear the mix of what is on. Lesson 01.

`stem_mix` is the static twin: the same picture and players from fixed settings.
"""

import numpy as np

from bsrnn import bands, listen, plots
from bsrnn.audio.stft import StftConfig, stft
from bsrnn.common import choose
from bsrnn.explore.panel import Panel, choice, excerpt, slider, tick
from bsrnn.plots import signals, style

VIEWS = ("spectrogram", "spectra", "bands")
GAINS_DB = (-24.0, 12.0)
MAX_S = 6.0  # two players of this length keep a change of a control below a second


def audible(stems, mute=(), solo=()) -> list[str]:
    """Which stems are heard: the soloed ones if there are any, without the muted ones.

    >>> audible(["bass", "drums", "vocals"], mute=["bass"])
    ['drums', 'vocals']
    >>> audible(["bass", "drums", "vocals"], mute=["bass"], solo=["bass", "drums"])
    ['drums']
    """
    return [name for name in stems if name not in mute and (not solo or name in solo)]


def faded(stems: dict, gains_db: dict, mute=(), solo=()) -> dict:
    """What is heard of stems (C, L), each times its gain: name -> (C, L); its sum is the mix."""
    return {
        name: stems[name] * np.float32(10 ** (gains_db.get(name, 0.0) / 20))
        for name in audible(stems, mute, solo)
    }


def checked(stems: dict, gains_db, mute, solo, samples: int | None = None) -> tuple:
    """`excerpt` of the stems, and the gains as a dict; raises UsageError for an unknown stem."""
    stems, gains_db = excerpt(stems, samples), dict(gains_db or {})
    for name in (*gains_db, *mute, *solo):
        choose(name, stems, "stem")
    return stems, gains_db


def stem_mix(
    stems: dict, sample_rate: int, gains_db=None, mute=(), solo=(), view="spectrogram", scheme=None
) -> list:
    """Picture and players of one setting of the faders: what `stem_mixer` shows.

    stems: name -> (C, L), all of one shape. gains_db: name -> gain in dB (default 0). view:
    "spectrogram" of the mix on the colour scale of the untouched mix; "spectra" of what is on and
    of its mix; "bands", the share of each stem in each band of `scheme` (a BandScheme; default:
    the paper's V7). Returns [Picture, Sounds]: your mix beside all stems untouched, one gain for
    both. Raises UsageError for an unknown stem or view, or stems of different shapes.
    """
    choose(view, VIEWS, "view")
    stems, gains_db = checked(stems, gains_db, mute, solo)
    heard = faded(stems, gains_db, mute, solo)
    full = sum(stems.values())  # (C, L)
    mix = sum(heard.values()) if heard else np.zeros_like(full)
    if view == "spectra":
        title = "Spectra of what is on"
        picture = plots.spectra({**heard, "mixture": mix}, sample_rate, title)
    elif view == "bands":
        picture = _bands(heard, mix, sample_rate, scheme)
    else:
        picture = _spectrogram(heard, mix, full, sample_rate)
    words = ", ".join(f"{name} {gains_db.get(name, 0.0):+.0f} dB" for name in heard)
    style.describe(picture, f"On: {words or 'nothing'}. {picture.description}")
    sounds = listen.players({"your mix": mix, "all stems": full}, sample_rate, max_s=MAX_S)
    return [picture, sounds]


def stem_mixer(stems: dict, sample_rate: int, scheme=None) -> Panel:
    """The mixer as a widget: a row of solo, mute and gain for each stem, and the view below.

    Arguments as in `stem_mix`; the first 6 s are used.

    >>> mixer = stem_mixer({"bass": np.zeros((1, 4096)), "vocals": np.zeros((1, 4096))}, 44100)
    >>> sorted(mixer.controls)[:2]
    ['gain bass', 'gain vocals']
    """
    stems = excerpt(stems, round(MAX_S * sample_rate))

    def view(show, **values):
        return stem_mix(stems, sample_rate, **setting(stems, values), view=show, scheme=scheme)

    controls = {"show": choice("view", VIEWS)} | faders(stems)
    return Panel(view, "Stem mixer", rows=[["show"], *rows_of(stems)], **controls)


def faders(stems) -> dict:
    """Controls "solo NAME", "mute NAME" and "gain NAME" of each stem."""
    controls = {}
    for name in stems:
        for what in ("solo", "mute"):
            controls[f"{what} {name}"] = tick(f"{what} {name}", layout={"width": "9em"})
        controls[f"gain {name}"] = slider(f"{name} gain (dB)", 0.0, *GAINS_DB, readout_format=".0f")
    return controls


def rows_of(stems) -> list:
    """A row of names of `faders` for each stem."""
    return [[f"{what} {name}" for what in ("solo", "mute", "gain")] for name in stems]


def setting(stems, values) -> dict:
    """Values of `faders` as arguments of `stem_mix`: gains_db, mute and solo of these stems."""
    gains_db = {name: values[f"gain {name}"] for name in stems}
    mute, solo = ([n for n in stems if values[f"{what} {n}"]] for what in ("mute", "solo"))
    return {"gains_db": gains_db, "mute": mute, "solo": solo}


def _spectrogram(heard, mix, full, sample_rate):
    top_db = signals.levels_grid(full, sample_rate)[0].max()
    picture, axes = style.figure(f"Your mix: {' + '.join(heard) or 'nothing'}", height=3.2)
    mesh = signals.draw_spectrogram(axes, mix, sample_rate, top_db=top_db)
    axes.set_xlabel("time (s)")
    picture.colorbar(mesh, ax=axes, label=signals.LEVEL, pad=0.01)
    below = listen.level_db(mix) - listen.level_db(full)
    words = f"{below:+.1f} dB beside all stems" if np.isfinite(below) else "silent"
    return style.describe(picture, f"Spectrogram of the mix on a log axis; level: {words}.")


def _bands(heard, mix, sample_rate, scheme):
    scheme = scheme or bands.scheme("v7", sample_rate)
    config = StftConfig(n_fft=scheme.n_fft, hop=scheme.n_fft // 4)
    energies = {
        name: bands.energy_per_band(scheme, stft(x, config)).sum(axis=0)  # (C, F, T) -> (K,)
        for name, x in (heard or {"mixture": mix}).items()
    }
    return plots.band_owners(scheme, energies)
