"""The guard of every public function that takes sound: wrong arrays are refused, not guessed."""

import numpy as np

from bsrnn.audio.formats import RATES_HZ
from bsrnn.common import DataError, UsageError

MOST_CHANNELS = 64  # more rows than this are samples


def sound(array, what: str = "the waveform") -> np.ndarray:
    """A numpy array of floats of any shape from numpy or torch, its values untouched; UsageError
    for integers (another full scale), complex numbers (a spectrum), masked arrays, no array.

    >>> sound(np.array([[0.5, -0.5]]), "the mixture").dtype
    dtype('float64')
    """
    if hasattr(array, "detach"):  # torch
        array = array.detach().cpu().numpy()
    if isinstance(array, np.ma.MaskedArray):
        raise UsageError(f"{what} is a masked array: fill it first, array.filled(0)")
    try:
        array = np.asarray(array)
    except ValueError:  # rows of unequal length
        raise UsageError(f"{what} is no array: give numbers of the shape (C, L)") from None
    if np.issubdtype(array.dtype, np.integer):
        half = 1 << (8 * array.dtype.itemsize - 1)
        fix = f"array / {half}"
        if np.issubdtype(array.dtype, np.unsignedinteger):
            fix = f"(array - {half}.0) / {half}"
        raise UsageError(f"{what} is {array.dtype}, full scale is 1.0 here: give {fix}")
    if np.iscomplexobj(array):
        raise UsageError(f"{what} is complex: give a waveform, such as istft of the spectrum")
    if not np.issubdtype(array.dtype, np.floating):
        raise UsageError(f"{what} is of type {array.dtype}: give an array of floats")
    return array


def waveform(array, what: str = "the waveform") -> np.ndarray:
    """`sound` of the shape (C, L), channels first; UsageError for another shape, or samples where
    channels belong, DataError for NaN or infinite samples."""
    array = sound(array, what)
    if array.ndim != 2 or not 1 <= len(array) <= MOST_CHANNELS:
        turned = array.ndim == 2 and 1 <= array.shape[1] <= MOST_CHANNELS
        hint = ": transpose it" if turned else ": give one row per channel"
        raise UsageError(f"{what} must be (C, L), channels first, not {array.shape}{hint}")
    finite = np.isfinite(array).all(axis=0)  # (L,)
    if not finite.all():
        first = int(np.argmin(finite))
        raise DataError(f"{what} has NaN or infinite samples, the first is {first}: repair it")
    return array


def check_rate(rate_hz, what: str = "the sample rate"):
    """UsageError for a sample rate that no sound has: NaN, infinite, negative, 1 Hz."""
    low, high = RATES_HZ
    if not low <= rate_hz <= high:  # NaN compares as False
        raise UsageError(f"{what} is {rate_hz} Hz: give one from {low} to {high}")


def checked_pair(reference, estimate, name="", float64=True):
    """Both as checked arrays of one shape (..., C, L); (L,) becomes (1, L). Raises UsageError."""
    of = f" of {name}" if name else ""
    pair = ((reference, f"reference{of}"), (estimate, f"estimate{of}"))
    s, e = (np.atleast_2d(sound(x, what)) for x, what in pair)
    for x, (_, what) in zip((s, e), pair, strict=True):
        if x.shape[-2] > max(MOST_CHANNELS, x.shape[-1]):
            raise UsageError(f"{what} has {x.shape[-2]} channels: give (C, L), transpose it")
    if s.shape != e.shape:
        fix = "pad or cut the estimate" if s.shape[:-1] == e.shape[:-1] else "match the channels"
        raise UsageError(f"reference{of} {s.shape} and estimate {e.shape} differ: {fix}")
    if s.size == 0:
        raise UsageError(f"reference{of} is empty {s.shape}: give at least one sample")
    for x, what in ((s, "reference"), (e, "estimate")):
        if not np.isfinite(x).all():
            raise UsageError(f"{what}{of} has samples that are not finite: clean the audio first")
    return (s.astype(np.float64), e.astype(np.float64)) if float64 else (s, e)
