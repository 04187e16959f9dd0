"""Widgets: thin controls over the pure functions of the package. They compute nothing themselves.

Each widget has a static twin: the function that it calls is public, and its lesson shows it first.
All are made of core ipywidgets (7.7 to 8), need no extension and no network, and every control
has a label and works from the keyboard. Lessons 01 to 15.
"""

import importlib

_ROOMS = {
    "Panel": "panel",
    "Listening": "board",
    "loss_board": "board",
    "loss_view": "board",
    "compare_schemes": "schemes",
    "schemes_compared": "schemes",
    "contest_board": "contest",
    "contest_view": "contest",
    "cost_calculator": "costs",
    "cost_view": "costs",
    "distortion_lab": "distortion",
    "distortion_view": "distortion",
    "mask_threshold": "masks",
    "mask_view": "masks",
    "forward_steps": "forward",
    "forward_trace": "forward",
    "forward_view": "forward",
    "freeze_board": "freezing",
    "freeze_plan": "freezing",
    "freeze_view": "freezing",
    "influence": "layers",
    "layer_swapper": "layers",
    "layers_view": "layers",
    "remix_desk": "remix",
    "remix_view": "remix",
    "report_page": "page",
    "result_explorer": "results",
    "results_view": "results",
    "song_desk": "desk",
    "song_stems": "desk",
    "song_view": "desk",
    "stem_mix": "mixer",
    "stem_mixer": "mixer",
    "track_browser": "tracks",
    "track_view": "tracks",
    "window_lab": "windows",
    "window_view": "windows",
}

__all__ = list(_ROOMS)


def __getattr__(name: str):
    if name in _ROOMS:
        return getattr(importlib.import_module(f"bsrnn.explore.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'bsrnn.explore' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
