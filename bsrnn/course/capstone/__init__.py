"""The capstone: a project is packed, validated, and put on a local board with a cost limit.

    from bsrnn.course import capstone
    capstone.pack("submissions/anna", separator, card, plan, report, scores, trained_on=songs)
    limits = capstone.Limits(("vocals",), parameters=500_000)
    print(capstone.validate("submissions/anna", limits, songs.subset("test")).text())
    board = capstone.leaderboard("submissions", songs.subset("test"), limits, hidden=other_songs)
    board.frame

`python -m bsrnn course submit` and `course board` do the same. Lesson 15.
"""

from bsrnn.course.capstone.board import Board, leaderboard
from bsrnn.course.capstone.checks import CHECKS, Fault, Verdict, price, validate
from bsrnn.course.capstone.parcel import (
    CARD,
    LADDER,
    PLAN,
    REPORT,
    Limits,
    claims,
    digest,
    pack,
    split_lines,
)  # fmt: skip

__all__ = [
    "CARD", "CHECKS", "LADDER", "PLAN", "REPORT", "Board", "Fault", "Limits", "Verdict", "claims",
    "digest", "leaderboard", "pack", "price", "split_lines",
    "validate",
]  # fmt: skip
