"""What `bsrnn.experiments` offers: loaded on first use, read by editors and type checkers."""

from .cards import Leaderboard as Leaderboard, leaderboard as leaderboard
from .plan import Sweep as Sweep, read_plan as read_plan, register as register
from .running import Outcome as Outcome, run as run
