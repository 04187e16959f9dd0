"""Short-time Fourier transform: waveforms to complex spectrograms and back.

Waveforms are (..., C, L), spectrograms (..., C, F, T) complex, with F = n_fft // 2 + 1 bins and
T = 1 + L // hop frames; frame t is centred on sample t * hop. torch in gives torch out, numpy in
gives numpy out. The inverse is least-squares overlap-add (Griffin and Lim 1984). Lesson 01.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from bsrnn.audio.arrays import sound
from bsrnn.common import UsageError
from bsrnn.settings import checked

WINDOWS = {"hann": torch.hann_window, "hamming": torch.hamming_window}  # periodic


@dataclass(frozen=True)
class StftConfig:
    """Settings of one transform; the defaults are those of Luo and Yu, arXiv 2209.15174, IV.

    n_fft    samples of the FFT: 2048; 4096 in some RoFormers.
    hop      samples between frames: 512, RoFormers also 441 and 882.
    window   "hann"; "hamming" only in Refined BSRNN (sahandevs).
    padding  of half a window at both ends: "reflect"; "constant" (zeros) in BandIt v1.
    scale    what the spectrum is divided by: "none"; "window" = L2 norm of the window (BandIt,
             Banquet); "length" = sqrt(n_fft) (`stft_normalized` of the RoFormers).
    win_length  samples of a window that zeros fill up at both ends (some RoFormers). 0: n_fft.
    """

    n_fft: int = 2048
    hop: int = 512
    window: Literal["hann", "hamming"] = "hann"
    padding: Literal["reflect", "constant"] = "reflect"
    scale: Literal["none", "window", "length"] = "none"
    win_length: int = field(default=0, repr=False)

    def __post_init__(self):
        checked(self)
        if not 2 <= self.n_fft <= 2**16:
            raise UsageError(f"n_fft is {self.n_fft}: give 2 to {2**16} samples")
        if not 1 <= self.hop <= self.n_fft:
            raise UsageError(f"hop {self.hop} and n_fft {self.n_fft}: need 1 <= hop <= n_fft")
        if not 0 <= self.win_length <= self.n_fft or 0 < self.win_length <= self.hop:
            raise UsageError(f"win_length is {self.win_length}: give more than hop, at most n_fft")

    @property
    def bins(self) -> int:
        """Number of frequency bins F."""
        return self.n_fft // 2 + 1

    @property
    def shortest(self) -> int:
        """Fewest samples that can be transformed: a reflection must have something to mirror."""
        return self.n_fft // 2 + 1 if self.padding == "reflect" else 1

    def frames(self, samples: int) -> int:
        """Number of frames T of `samples` samples."""
        return 1 + samples // self.hop


PAPER = StftConfig()


@lru_cache(maxsize=32)
def window_of(config: StftConfig, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """The window (n_fft,)."""
    with torch.inference_mode(False):  # cached: must stay usable in training later
        size = config.win_length or config.n_fft
        window = WINDOWS[config.window](size, device=device, dtype=dtype)
        missing = config.n_fft - size
        return torch.nn.functional.pad(window, (missing // 2, missing - missing // 2))


def _scale(config: StftConfig, window: torch.Tensor) -> float:
    if config.scale == "window":
        return float(window.square().sum().sqrt())
    return config.n_fft**0.5 if config.scale == "length" else 1.0


def stft(waveform, config: StftConfig = PAPER):
    """Complex spectrogram (..., C, F, T) of a waveform (..., C, L).

    >>> stft(torch.zeros(2, 44100)).shape
    torch.Size([2, 1025, 87])
    """
    if not isinstance(waveform, torch.Tensor):
        array = np.ascontiguousarray(sound(waveform))
        return stft(torch.from_numpy(array), config).numpy()
    if not waveform.is_floating_point():
        sound(waveform)  # says what is wrong with it
    samples = waveform.shape[-1]
    if samples < (least := config.shortest):
        few = f"{samples} samples are too few for n_fft {config.n_fft}"
        raise UsageError(f"{few}: pad with zeros to at least {least}")
    window = window_of(config, waveform.device, waveform.dtype)
    spectrum = torch.stft(
        waveform.reshape(-1, samples), config.n_fft, config.hop, window=window,  # (... C, L)
        pad_mode=config.padding, return_complex=True,
    )  # fmt: skip
    if config.scale != "none":
        spectrum = spectrum / _scale(config, window)
    return spectrum.unflatten(0, waveform.shape[:-1])  # (..., C, F, T)


def istft(spectrum, config: StftConfig, length: int):
    """Waveform (..., C, length) of a spectrogram (..., C, F, T). `length` may exceed hop * (T - 1)
    by less than one hop: T frames do not tell it."""
    if isinstance(spectrum, np.ndarray):
        return istft(torch.from_numpy(np.ascontiguousarray(spectrum)), config, length).numpy()
    if spectrum.shape[-2] != config.bins:
        raise UsageError(
            f"spectrum has {spectrum.shape[-2]} bins: n_fft {config.n_fft} needs {config.bins}"
        )
    window = window_of(config, spectrum.device, spectrum.real.dtype)
    if config.scale != "none":
        spectrum = spectrum * _scale(config, window)
    flat = spectrum.reshape(-1, *spectrum.shape[-2:])  # (... C, F, T)
    waveform = torch.istft(flat, config.n_fft, config.hop, window=window, length=length)
    return waveform.unflatten(0, spectrum.shape[:-2])  # (..., C, L)
