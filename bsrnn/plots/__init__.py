"""Figures: data in, Figure out. Every function returns a figure with titles, units and words.

`bsrnn.plots.spectrogram(...)` finds its function in the rooms below on first use, so importing
this package costs nothing. Signals: `signals`; band schemes: `schemes`; results: `results`;
published results: `ledger`; inside a network: `models`; loudness of remixes: `loudness`;
a board with costs: `contest`; colours, sizes and alt text: `style`.
"""

from bsrnn.lazy import attach

_ROOMS = {
    "signals": (
        "waveforms", "spectra", "spectrogram", "spectrograms", "levels", "stereo",
        "stem_correlation",
    ),
    "schemes": (
        "scheme", "compare", "coverage", "bands_over_spectrogram", "energy_per_band",
        "band_owners", "leakage", "cost_per_band",
    ),
    "bounds": ("gallery", "face_to_face", "bound_curves"),
    "oracles": ("masks", "draw_mask"),
    "loudness": ("loudness_over_time",),
    "models": ("tensors", "tensor_step", "influence", "layer_cost", "cost_by_length"),
    "results": (
        "ladder", "per_song", "training_curves", "error_per_band", "paired", "transfer_curves",
    ),
    "contest": ("score_over_cost",),
    "ledger": ("sdr_over_years", "sdr_over_cost", "leaderboard", "schemes_ablation", "pareto"),
    "style": ("figure", "describe", "stem_colour", "STEM_COLOURS", "PALETTE"),
}  # fmt: skip

__getattr__, __dir__, __all__ = attach(__name__, _ROOMS, rooms=tuple(_ROOMS))
