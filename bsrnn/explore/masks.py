"""One mask under the microscope: its kind, its knob, the window; see it, score it, hear it.

`mask_view` is the static twin: the same picture, table and players for fixed settings. Lesson 03.
"""

from functools import partial

import ipywidgets as widgets
import numpy as np
import pandas as pd
import torch

from bsrnn import listen, masks, metrics, plots
from bsrnn.audio.stft import StftConfig, istft, stft
from bsrnn.common import UsageError, choose
from bsrnn.explore.panel import Panel, choice, excerpt, slider
from bsrnn.plots import style

MAX_S = 6.0  # of a song: keeps every change below a second
N_FFTS = (256, 512, 1024, 2048, 4096, 8192, 16384)
KNOBS = {"binary": "threshold_db", "ratio": "exponent"}  # the other kinds have none
NAMES = {
    "binary": "binary (threshold)",
    "ratio": "ratio family (exponent: 1 ratio, 2 Wiener)",
    "phase_sensitive": "phase-sensitive",
    "amplitude": "amplitude",
    "complex": "complex",
}


def knob_mask(kind, stem, mixture, threshold_db=0.0, exponent=1.0) -> torch.Tensor:
    """The mask of one stem (C, F, T) in `mixture` (C, F, T); 1 where the mixture is silent.

    `threshold_db` acts on "binary", `exponent` on "ratio" (2 is "wiener"); both at their defaults
    give `masks.oracle`.
    """
    choose(kind, NAMES, "mask")
    if kind not in KNOBS:
        return masks.oracle(kind, stem[None], mixture)[0]
    if kind == "binary":
        return masks.binary_mask(stem, mixture - stem, threshold_db)
    if exponent <= 0:
        raise UsageError(f"exponent {exponent}: give a number above 0, 1 is the ratio mask")
    mask = masks.ratio_mask(stem, mixture - stem, exponent)
    return torch.where(mixture.abs() < masks.SILENT, 1.0, mask)


def mask_view(
    sources: dict, sample_rate: int, stem=None, kind="ratio", threshold_db=0.0, exponent=1.0,
    n_fft=4096,
) -> list:  # fmt: skip
    """What `mask_threshold` shows: [Picture of the mask, table, Sounds].

    sources: name -> (C, L); the mixture is their sum; the first 6 s are used. stem: default the
    last. The table holds the SDR of the estimate between that of the mixture and that of the best
    real mask of this STFT, and how much weaker a mask between 0 and 1 makes the stem and the rest.
    Raises UsageError for an unknown stem or kind, and for an exponent that is not above 0.
    """
    sources = excerpt(sources, round(MAX_S * sample_rate))
    stem = choose(stem or list(sources)[-1], sources, "stem")
    target, mixture = sources[stem], sum(sources.values())  # (C, L)
    spectra = [_spectrum(sound, n_fft) for sound in (target, mixture)]  # (C, F, T)
    mask = knob_mask(kind, *spectra, threshold_db, exponent)
    best = knob_mask("phase_sensitive", *spectra)
    estimate, ideal = (_sound(x * spectra[1], n_fft, target.shape[-1]) for x in (mask, best))
    sounds = {"mixture": mixture, "this mask": estimate, "best real mask": ideal}
    sdr_db = {name: metrics.usdr(target, sound) for name, sound in sounds.items()}
    rows = {f"SDR of {name} (dB)": _text(value) for name, value in sdr_db.items()}
    name = NAMES[kind]
    if kind in KNOBS:
        rows["stem weakened by (dB)"] = _text(_drop(mask, spectra[0]))
        rows["rest weakened by (dB)"] = _text(_drop(mask, spectra[1] - spectra[0]))
        knob = {"binary": f"{threshold_db:+.0f} dB", "ratio": f"exponent {exponent:.2f}"}
        name = f"{kind} ({knob[kind]})"
    title = f"Ideal {name} mask of {stem}, n_fft {n_fft}"
    seconds = mixture.shape[-1] / sample_rate
    picture = plots.masks({"first channel": mask}, sample_rate, seconds, title)
    words = f"{title}: SDR {_text(sdr_db['this mask'])}. {picture.description}"
    played = listen.ab({"estimate": estimate, "target": target}, sample_rate, max_s=MAX_S)
    return [style.describe(picture, words), pd.DataFrame({stem: rows}), played]


def mask_threshold(sources: dict, sample_rate: int, stem=None) -> Panel:
    """The microscope as a widget: kind of mask, stem, n_fft, and the knob that the kind has.

    Arguments as in `mask_view`. A knob without effect on the chosen kind is disabled.

    >>> panel = mask_threshold({"a": np.ones((1, 9000)), "b": np.zeros((1, 9000))}, 44100)
    >>> panel.controls["exponent"].disabled, panel.controls["threshold_db"].disabled
    (True, False)
    """
    sources = excerpt(sources, round(MAX_S * sample_rate))
    return Panel(
        partial(mask_view, sources, sample_rate),
        "Mask: kind, knob, window",
        idle=lambda kind, **_: {knob for owner, knob in KNOBS.items() if owner != kind},
        kind=choice("mask", [(words, name) for name, words in NAMES.items()], "binary"),
        stem=choice("stem", sources, stem or list(sources)[-1]),
        n_fft=choice("n_fft", N_FFTS, 4096),
        threshold_db=slider("threshold (dB)", 0.0, -30.0, 30.0),
        exponent=widgets.FloatLogSlider(
            1.0, base=2, min=-2, max=4, step=0.25, description="exponent"
        ),
    )


def _spectrum(sound, n_fft) -> torch.Tensor:
    """(C, F, T) of a sound (C, L), with zeros behind what is too short."""
    config, sound = StftConfig(n_fft, n_fft // 4), torch.from_numpy(sound)
    missing = max(0, config.shortest - sound.shape[-1])
    return stft(torch.nn.functional.pad(sound, (0, missing)), config)


def _sound(spectrum, n_fft, length) -> np.ndarray:
    """The first `length` samples of a spectrum (C, F, T): (C, L)."""
    config = StftConfig(n_fft, n_fft // 4)
    return istft(spectrum, config, max(length, config.shortest))[..., :length].numpy()


def _drop(mask, spectrum) -> float:
    """How many dB of the energy of `spectrum` the mask takes away; NaN for silence."""
    energy = [x.abs().square().sum(dtype=torch.float64) for x in (spectrum, mask * spectrum)]
    return float(10 * torch.log10(energy[0] / energy[1]))


def _text(value_db) -> str:
    return "undefined (silent stem)" if np.isnan(value_db) else f"{value_db:.2f}"
