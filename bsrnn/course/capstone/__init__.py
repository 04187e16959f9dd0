"""The capstone: a project is packed, validated, and put on a local board with a cost limit.

    from bsrnn.course import capstone
    capstone.pack("submissions/anna", separator, card, plan, report, scores, trained_on=songs)
    limits = capstone.Limits(("vocals",), parameters=500_000)
    print(capstone.validate("submissions/anna", limits, songs.subset("test")).text())
    board = capstone.rank("submissions", songs.subset("test"), limits, hidden=other_songs)
    print(board.text())

`python -m bsrnn course submit` and `course board` do the same. Lesson 15.
"""

from .checks import CHECKS, Fault, Verdict, price, validate
from .ranking import Ranking, rank
from .submission import CARD, LADDER, PLAN, REPORT, Limits, claims, digest, pack, split_lines

__all__ = [
    "CARD", "CHECKS", "LADDER", "PLAN", "REPORT", "Fault", "Limits", "Ranking", "Verdict", "claims",
    "digest", "pack", "price", "rank", "split_lines", "validate",
]  # fmt: skip
