"""Where to cut a mixture into chunks, and with which weights the estimates add up again.

"context" is this project's rule. The others are published ones, here to give the publishers'
numbers; two of them change the level (`Rule.level_kept`). Lesson 08.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np


class Piece(NamedTuple):
    """Samples [start, stop) of the mixture, and the weight (L,) of their estimate in the sum.

    Pieces of some rules reach beyond the mixture; what lies there is the rule's `padding`.
    """

    start: int
    stop: int
    weight: np.ndarray


def context_pieces(samples: int, chunk: int, overlap: float, stft=None):
    """Chunks of equal length, `overlap` (0 ... <1) of each shared with the next.

    Half of the shared part is faded, or at most one hop; the rest is context, of weight 0. The last
    chunk is moved back to end with the mixture, so none is padded unless the mixture is shorter.
    """
    shared = min(round(overlap * chunk), chunk - 1)
    hop = chunk - shared
    fade = min(shared - 2 * (shared // 4), hop)
    context = (shared - fade) // 2

    def spans():
        stop = min(chunk, samples)
        yield 0, stop, 0, 0
        while stop < samples:
            risen = stop - context
            stop = min(stop + hop, samples)
            yield stop - chunk, stop, risen - fade, risen

    return _faded(spans())


def magronp_pieces(samples: int, chunk: int, overlap: float, stft=None):
    """Linear fader of github magronp/bsrnn: chunks of (1 + overlap) segments, each beginning
    `overlap` segments before the last one's end and reaching (1 + overlap) segments beyond it; all
    that is shared is faded."""
    shared, longer = int(overlap * chunk), int(chunk * (1 + overlap))

    def spans():
        stop = min(longer, samples)
        yield 0, stop, 0, 0
        while stop < samples:
            risen, stop = stop, min(stop + longer, samples)
            yield risen - shared, stop, risen - shared, risen

    return _faded(spans())


def _faded(spans):
    """Pieces from (start, stop, rise, risen): each fades in over [rise, risen) while the one before
    it fades out, linearly."""
    for (start, stop, rise, risen), after in itertools.pairwise(itertools.chain(spans, [None])):
        weight = np.ones(stop - start, np.float32)
        weight[: rise - start] = 0
        weight[rise - start : risen - start] = np.linspace(0, 1, risen - rise, dtype=np.float32)
        if after:
            *_, rise, risen = after
            falling = 1 - np.linspace(0, 1, risen - rise, dtype=np.float32)
            weight[rise - start : risen - start] *= falling
            weight[risen - start :] = 0
        yield Piece(start, stop, weight)


def magronp_ola_pieces(samples: int, chunk: int, overlap: float, stft=None):
    """Rectangular overlap-add of magronp/bsrnn: a chunk of zeros at both ends, every estimate times
    hop / chunk. The level is kept only where the hop divides the chunk, else it ripples."""
    hop = max(1, chunk - round(overlap * chunk))
    return _windowed(samples, hop, chunk, np.full(chunk, hop / chunk, np.float32))


def whole_frame_pieces(samples: int, chunk: int, overlap: float, stft=None, window=""):
    """Chunk and hop both grow by what fills the last STFT frame. window: "" (github
    amanteur/BandSplitRNN-Pytorch, times hop / chunk; with its 3 s and 0.5 s the level alternates
    between 0.891 and 1.069), "hann" (its option, 2.8 times too loud), "level hann" (github
    crlandsc/Music-Demixing-with-Band-Split-RNN, times 2 hop / chunk: a ripple is left)."""
    hop = max(1, chunk - round(overlap * chunk))
    border, filled = chunk - hop, stft.n_fft - chunk % stft.hop if stft else 0
    hop, chunk = hop + filled, chunk + filled
    weights = _hann(chunk) if window else np.full(chunk, hop / chunk, np.float32)
    if window == "level hann":
        weights *= np.float32(2 * hop / chunk)
    return _windowed(samples, hop, border, weights)


def bandit_pieces(samples: int, chunk: int, overlap: float, stft=None):
    """Hann overlap-add of github kwatcharasupat/bandit: the ends are reflected, so that every
    sample lies in as many chunks. The chunk is a whole number of hops, at least 2."""
    count = max(2, round(1 / (1 - overlap)))
    hop = max(1, chunk // count)
    window = _hann(count * hop) * np.float32(2 / count)
    return _windowed(samples, hop, (count - 1) * hop, window)


def _hann(samples: int) -> np.ndarray:  # periodic
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)).astype(np.float32)


def _windowed(samples: int, hop: int, border: int, window: np.ndarray):
    """A chunk every `hop` samples, from `border` before the mixture on; without those that only
    cover padding."""
    skipped = max(0, (border - len(window)) // hop + 1)
    for start in range(skipped * hop - border, samples, hop):
        yield Piece(start, start + len(window), window)


class Rule(NamedTuple):
    """A way to cut: its function, its own chunk and overlap, what lies beyond the ends ("zeros" or
    "reflect"), and whether the weights add up to 1 at every sample."""

    pieces: Callable
    chunk_s: float
    overlap: float
    padding: str = "zeros"
    level_kept: bool = True


RULES = {
    "context": Rule(context_pieces, 10.0, 0.1),
    "magronp": Rule(magronp_pieces, 10.0, 0.1),
    "magronp-ola": Rule(magronp_ola_pieces, 10.0, 0.5, level_kept=False),
    "amanteur": Rule(whole_frame_pieces, 3.0, 5 / 6, level_kept=False),
    "amanteur-hann": Rule(partial(whole_frame_pieces, window="hann"), 3.0, 5 / 6, level_kept=False),
    "crlandsc": Rule(
        partial(whole_frame_pieces, window="level hann"), 3.0, 5 / 6, level_kept=False
    ),
    "bandit": Rule(bandit_pieces, 6.0, 11 / 12, padding="reflect"),
}
