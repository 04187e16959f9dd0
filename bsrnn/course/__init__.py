"""The course: run lessons strictly, check their grammar and outputs, stamp badges, grade.

A lesson itself uses `begin`, `show`, `attempt`, `folder` and `write_card`; they import lightly.
"""

from bsrnn.lazy import attach

_ROOMS = {
    "lesson": ("attempt", "begin", "folder", "show", "write_card"),
    "runner": ("run", "select"),
    "outputs": ("check",),
    "grammar": ("problems",),
    "stamp": ("restamp",),
    "grading": ("grade", "examine"),
}

__getattr__, __dir__, __all__ = attach(__name__, _ROOMS)
