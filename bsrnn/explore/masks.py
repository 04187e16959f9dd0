"""One mask under the microscope: its kind, its knob, the window; see it, score it, hear it.

`mask_view` is the static twin: the same picture, table and players for fixed settings. Lesson 03.
"""

from functools import lru_cache

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
    real mask of this STFT, and what the mask does to each part: how much weaker it makes the stem
    and the rest (dB), for masks between 0 and 1. One player switches
    between estimate and target.

    Raises UsageError for an unknown stem or kind, and for an exponent that is not above 0.
    """
    song = _Song(sources, sample_rate)
    return song.view(stem or list(sources)[-1], kind, threshold_db, exponent, n_fft)


def mask_threshold(sources: dict, sample_rate: int, stem=None) -> Panel:
    """The microscope as a widget: kind of mask, stem, n_fft, and the knob that the kind has.

    Arguments as in `mask_view`. A knob without effect on the chosen kind is disabled.

    >>> panel = mask_threshold({"a": np.ones((1, 9000)), "b": np.zeros((1, 9000))}, 44100)
    >>> panel.controls["exponent"].disabled, panel.controls["threshold_db"].disabled
    (True, False)
    """
    song = _Song(sources, sample_rate)
    return Panel(
        song.view,
        "Mask: kind, knob, window",
        idle=lambda kind, **_: {knob for owner, knob in KNOBS.items() if owner != kind},
        kind=choice("mask", [(words, name) for name, words in NAMES.items()], "binary"),
        stem=choice("stem", song.sources, stem or list(song.sources)[-1]),
        n_fft=choice("n_fft", N_FFTS, 4096),
        threshold_db=slider("threshold (dB)", 0.0, -30.0, 30.0),
        exponent=widgets.FloatLogSlider(
            1.0, base=2, min=-2, max=4, step=0.25, description="exponent"
        ),
    )


class _Song:
    """Sources of one length and their spectra, the latest few kept."""

    def __init__(self, sources: dict, sample_rate: int):
        self.sources = excerpt(sources, round(MAX_S * sample_rate))
        self.mixture = sum(self.sources.values())  # (C, L)
        self.sample_rate = sample_rate
        self.spectrum = lru_cache(maxsize=4)(self._spectrum)
        self.best_db = lru_cache(maxsize=64)(self._best_db)

    def _spectrum(self, stem, n_fft) -> torch.Tensor:
        """(C, F, T) of a stem, of the mixture for stem None; zeros behind what is too short."""
        config = StftConfig(n_fft, n_fft // 4)
        sound = torch.from_numpy(self.mixture if stem is None else self.sources[stem])
        missing = max(0, config.shortest - sound.shape[-1])
        return stft(torch.nn.functional.pad(sound, (0, missing)), config)

    def _best_db(self, stem, n_fft) -> float:
        """SDR of the phase-sensitive mask, the best real one."""
        stem_spectrum, total = self.spectrum(stem, n_fft), self.spectrum(None, n_fft)
        mask = knob_mask("phase_sensitive", stem_spectrum, total)
        return metrics.usdr(self.sources[stem], self.sound(mask, n_fft))

    def sound(self, mask, n_fft) -> np.ndarray:
        """The mixture through a mask (C, F, T): (C, L)."""
        config, length = StftConfig(n_fft, n_fft // 4), self.mixture.shape[-1]
        spectrum = mask * self.spectrum(None, n_fft)
        return istft(spectrum, config, max(length, config.shortest))[..., :length].numpy()

    def view(self, stem, kind, threshold_db, exponent, n_fft) -> list:
        """As `mask_view`."""
        choose(stem, self.sources, "stem")
        stem_spectrum, total = self.spectrum(stem, n_fft), self.spectrum(None, n_fft)
        mask = knob_mask(kind, stem_spectrum, total, threshold_db, exponent)
        target, estimate = self.sources[stem], self.sound(mask, n_fft)
        sdr = {
            "mixture": metrics.usdr(target, self.mixture),
            "this mask": metrics.usdr(target, estimate),
            "best real mask": self.best_db(stem, n_fft),
        }
        rows = {f"SDR of {name} (dB)": _text(value) for name, value in sdr.items()}
        if kind in KNOBS:
            rest = total - stem_spectrum
            rows["stem weakened by (dB)"] = _text(_drop(mask, stem_spectrum))
            rows["rest weakened by (dB)"] = _text(_drop(mask, rest))
        table = pd.DataFrame({stem: rows})
        name = _setting(kind, threshold_db, exponent)
        seconds = self.mixture.shape[-1] / self.sample_rate
        title = f"Ideal {name} mask of {stem}, n_fft {n_fft}"
        picture = plots.masks({"first channel": mask}, self.sample_rate, seconds, title)
        style.describe(picture, f"{title}: SDR {_text(sdr['this mask'])}. {picture.description}")
        sounds = {"estimate": estimate, "target": target}
        return [picture, table, listen.ab(sounds, self.sample_rate, max_s=MAX_S)]


def _drop(mask, spectrum) -> float:
    """How many dB of the energy of `spectrum` the mask takes away; NaN for silence."""
    energy = [x.abs().square().sum(dtype=torch.float64) for x in (spectrum, mask * spectrum)]
    return float(10 * torch.log10(energy[0] / energy[1]))


def _text(value_db) -> str:
    return "undefined (silent stem)" if np.isnan(value_db) else f"{value_db:.2f}"


def _setting(kind, threshold_db, exponent) -> str:
    if kind == "binary":
        return f"binary ({threshold_db:+.0f} dB)"
    return f"ratio (exponent {exponent:.2f})" if kind == "ratio" else NAMES[kind]
