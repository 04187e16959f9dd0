"""What `bsrnn.experiments` offers: loaded on first use, read by editors and type checkers."""

from .cards import Leaderboard as Leaderboard, leaderboard as leaderboard
from .plan import (
    Sweep as Sweep,
    checked as checked,
    extend as extend,
    read_plan as read_plan,
    register as register,
)
from .running import Outcome as Outcome, run as run, run_cell as run_cell
from .schema import read_card as read_card
from .words import configs as configs, stems_of as stems_of
