"""Validation: how well a separator does on whole songs (lesson 07)."""

import numpy as np

from bsrnn import metrics, separation
from bsrnn.common import DataError


def validation(separator, songs) -> dict[str, float]:
    """{"valid_usdr_vocals": ..., "valid_usdr": ...}: median uSDR in dB over whole `songs` per stem,
    without those in which the stem is silent, and the mean of these over the stems."""
    return summary(separator.stems, song_scores(separator, songs))


def song_scores(separator, songs) -> list[tuple[str, float]]:
    """(stem, uSDR in dB) of every stem of every song that is not silent there."""
    found = []
    for song in songs:
        references = song.sources()  # stem -> (C, L)
        mixture = np.sum(list(references.values()), axis=0)
        estimates = separation.separate(separator, mixture, song.sample_rate)
        for stem in separator.stems:
            if np.any(references[stem]):
                found.append((stem, float(metrics.usdr(references[stem], estimates[stem]))))
    return found


def summary(stems, found: list[tuple[str, float]]) -> dict[str, float]:
    """`validation` of what `song_scores` found, in any order."""
    values = {stem: [value for name, value in found if name == stem] for stem in stems}
    silent = [stem for stem in stems if not values[stem]]
    if silent:
        raise DataError(f"{silent[0]} is silent in every validation song: give other songs")
    medians = {f"valid_usdr_{stem}": float(np.median(values[stem])) for stem in stems}
    return {"valid_usdr": float(np.mean(list(medians.values())))} | medians
