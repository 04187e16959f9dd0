"""The commands of `bsrnn.cli`, a file for each group. Thin: every one calls one public function.

Rooms are imported inside the commands, so that `--help` answers at once.
"""

from bsrnn.commands import course, data, models, separate, sweep, train  # noqa: F401  they register
from bsrnn.commands.shared import COMMANDS, GROUPS, fail

__all__ = ["COMMANDS", "GROUPS", "fail"]
