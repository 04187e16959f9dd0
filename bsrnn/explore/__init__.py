"""Widgets: thin controls over the pure functions of the package. They compute nothing themselves.

Each widget has a static twin: the function that it calls is public, and its lesson shows it first.
All are made of core ipywidgets (7.7 to 8), need no extension and no network, and every control
has a label and works from the keyboard. Lessons 01 to 15.
"""

from bsrnn.lazy import attach

_ROOMS = {
    "panel": ("Panel",),
    "board": ("Listening", "loss_board", "loss_view"),
    "schemes": ("compare_schemes", "schemes_compared"),
    "contest": ("contest_board", "contest_view"),
    "costs": ("cost_calculator", "cost_view"),
    "distortion": ("distortion_lab", "distortion_view"),
    "masks": ("mask_threshold", "mask_view"),
    "forward": ("forward_steps", "forward_trace", "forward_view"),
    "freezing": ("freeze_board", "freeze_plan", "freeze_view"),
    "layers": ("influence", "layer_swapper", "layers_view"),
    "remix": ("remix_desk", "remix_view"),
    "page": ("report_page",),
    "results": ("result_explorer", "results_view"),
    "desk": ("song_desk", "song_stems", "song_view"),
    "mixer": ("stem_mix", "stem_mixer"),
    "tracks": ("track_browser", "track_view"),
    "windows": ("window_lab", "window_view"),
}

__getattr__, __dir__, __all__ = attach(__name__, _ROOMS)
