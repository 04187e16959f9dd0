"""The command line: `python -m bsrnn COMMAND`; a file for each group of them stands beside.

Rooms are imported inside the commands, so that `--help` answers at once.

Exit code 0 if all went well, 1 if something failed (data, a lesson, a check), 2 if the command
was misused, 130 after Ctrl-C, SIGTERM or SIGHUP. An error is one line; BSRNN_DEBUG=1 shows where
it came from.
"""

import argparse
import contextlib
import os
import sys
import warnings

from bsrnn.cli import course, data, evaluate, models, separate, sweep, train  # noqa: F401
from bsrnn.cli.shared import COMMANDS, GROUPS, fail
from bsrnn.common import DataError, UsageError, stopping_signals


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(f"{message} (see {self.prog} --help)")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    shape = argparse.RawDescriptionHelpFormatter
    top = _Parser(
        prog="bsrnn",
        formatter_class=shape,
        description="Band-split source separation: run the course, train, evaluate, separate.",
        epilog="example: python -m bsrnn course run 04",
    )
    places = {"": top.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)}
    for group, summary in GROUPS.items():
        example = next(words for name, _, words, *_ in COMMANDS if name.startswith(f"{group} "))
        inner = places[""].add_parser(
            group, help=summary, description=summary, formatter_class=shape,
            epilog=f"example: python -m bsrnn {example}",
        )  # fmt: skip
        places[group] = inner.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for name, summary, example, add, function in COMMANDS:
        group, _, last = name.rpartition(" ")
        own = places[group].add_parser(
            last, aliases=["leaderboard"] if last == "board" else [], help=summary,
            description=summary, formatter_class=shape,
            epilog=f"example: python -m bsrnn {example}",
        )  # fmt: skip
        add(own)
        own.set_defaults(run=function)
    return top


@contextlib.contextmanager
def _told():
    """A warning of this package is one line for people; those of others stay as they are."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def say(message, category, *place, **options):
            if category.__module__.startswith("bsrnn."):
                fail(message, 0)
            else:
                show(message, category, *place, **options)

        warnings.showwarning = say
        yield


def main(argv=None) -> int:
    """Run the command line; returns the exit code."""
    try:
        args = parser().parse_args(argv)
        with stopping_signals(), _told():  # SIGTERM and SIGHUP leave as little as Ctrl-C
            return args.run(args) or 0
    except SystemExit as stop:  # --help, a signal
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt as stop:
        return fail(str(stop) or "interrupted", 130)
    except BrokenPipeError:  # `... | head` closed our output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("BSRNN_DEBUG"):
            raise
        if isinstance(error, UsageError):
            return fail(error, 1 if isinstance(error, DataError) else 2)
        return fail(f"{type(error).__name__}: {error} (BSRNN_DEBUG=1 shows where)", 1)
