"""Pieces of the real clip of lesson 00 for questions about sound: read where it is installed."""

import functools

import numpy as np

RATE = 44100


@functools.lru_cache(maxsize=1)
def _clip() -> dict:
    from bsrnn import data

    song = data.open("clip").songs[0]
    return {name: np.asarray(x, float) for name, x in song.sources().items()}


def stems(rng, samples: int = RATE) -> dict[str, np.ndarray]:
    """Stem -> (2, L): one moment of the clip in which every stem is heard, the loudest sample of
    the mixture at one half."""
    whole = _clip()
    while True:
        first = int(rng.integers(0, whole["drums"].shape[1] - samples))
        piece = {name: x[:, first : first + samples] for name, x in whole.items()}
        mixture = sum(piece.values())
        least = 0.01 * np.linalg.norm(mixture)
        if all(np.linalg.norm(x) > least for x in piece.values()):
            return {name: 0.5 * x / np.abs(mixture).max() for name, x in piece.items()}


def spectrum(x, n_fft: int, hop: int) -> np.ndarray:
    """Complex (C, F, T) of a waveform (C, L), Hann window, whole frames only."""
    starts = range(0, x.shape[-1] - n_fft + 1, hop)
    frames = np.stack([x[:, s : s + n_fft] for s in starts], axis=1)  # (C, T, n_fft)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    return np.fft.rfft(frames * window).swapaxes(1, 2)
