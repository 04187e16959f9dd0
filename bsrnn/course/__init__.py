"""The course: run lessons strictly, check their grammar and outputs, stamp badges, grade.

A lesson itself uses `begin`, `show`, `attempt`, `folder` and `write_card`; they import lightly.
"""

import importlib

from bsrnn.course.lesson import attempt, begin, folder, show, write_card

_ROOMS = {
    "run": "runner",
    "select": "runner",
    "check": "outputs",
    "problems": "grammar",
    "restamp": "stamp",
    "grade": "grading",
    "examine": "grading",
}

__all__ = ["attempt", "begin", "folder", "show", "write_card", *_ROOMS]


def __getattr__(name: str):
    if name in _ROOMS:
        return getattr(importlib.import_module(f"bsrnn.course.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'bsrnn.course' has no attribute {name!r}")
