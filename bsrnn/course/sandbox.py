"""The examiner's end of a submission: `Sandbox` starts the student's world and asks it.

The student's code runs in one process (`world`) with limits on CPU time, waiting, memory and
file size, a folder of its own and no terminal. It receives inputs and returns arrays and text; the
checker, its reference and the seed stay here. Whatever comes back is bounded and validated. Where
bubblewrap is installed there is no network either, and nothing is mounted but the system, Python
and that world.
"""

import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from bsrnn.common import DataError, UsageError
from bsrnn.course.world import wire
from bsrnn.course.world.wire import Faulty

PATIENCE = 3  # waiting costs no CPU: a call may take so many times its seconds by the clock
START_S, START_CPU_S = 400, 120  # for numpy or torch to be imported, on a busy machine
AUDIT_S = 60  # for statements to be read, which runs nothing
NOTEBOOK_BYTES = 20 * 2**20
WORLD = Path(wire.__file__).parent
HELPERS, HELPER_BYTES = 20, 2**20


@dataclass(frozen=True)
class Limits:
    """Of one call of a submitted function."""

    seconds: int = 10  # of CPU time
    megabytes: int = 1024  # of memory, beyond what the libraries need


class StudentError(Exception):
    """What a submitted function did instead of returning; the words are for its author."""


class Sandbox:
    """One submission in its process: `functions`, `call`, `flags`.

    cells: sources of code cells, or the bytes of a notebook. helpers: file name -> bytes of the
    modules beside it. modules: libraries that are imported before the limits are set. After a call
    that had to be stopped, a new process takes the others.
    """

    def __init__(self, cells, helpers=None, modules=(), limits=None, calls: int = 10):
        if not hasattr(os, "fork"):
            raise UsageError("grading needs Linux or macOS: on Windows use WSL or Colab")
        self.cells, self.helpers = cells, dict(helpers or {})
        self.modules, self.limits, self.calls = tuple(modules), limits or Limits(), calls
        self.process, self.folder = None, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def functions(self) -> list[str]:
        """Names of the functions that the notebook defines. Raises StudentError: no notebook."""
        names = self._start()
        return [name for name in names if isinstance(name, str)]

    def call(self, name: str, *arguments):
        """What the function `name` returns; functions among the arguments run here.

        Arrays come back as arrays, tensors as tensors, other things as `wire.Opaque`.
        Raises StudentError, one line.
        """
        self._start()
        return self._ask("call", {"name": name, "arguments": list(arguments)}, name)

    def train(self, name: str, **case):
        """(result, gain, calls, gradients) of a training loop on a witness (`world`)."""
        self._start()
        return self._ask("train", {"name": name, **case}, name)

    def flags(self, name: str, **rules) -> list[str]:
        """What the function `name` uses, or tried to, against the `rules` (`program.flags_of`)."""
        self._start()
        with contextlib.suppress(StudentError):
            told = self._ask("flags", {"name": name, **rules}, name, AUDIT_S)
            if isinstance(told, list):
                return [str(flag)[:100] for flag in told[:20]]
        return ["its process could not be asked"]

    def close(self):
        """End the process and all that it started; remove its folder."""
        if self.process is not None:
            for kill in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()
            self.process = None
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def _start(self):
        """Start the process if there is none; the names of the functions."""
        if self.process is not None:
            return self.names
        self.folder = tempfile.mkdtemp(prefix="bsrnn-student-")
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        env = {**kept, "HOME": self.folder, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        home = ["--bind", self.folder, self.folder, "--chdir", self.folder]
        prison = [*_walls(), *home] if imprisoned() else []
        self.process = subprocess.Popen(
            [*prison, sys.executable, "-I", "-B", str(WORLD)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=self.folder, env=env, start_new_session=True, bufsize=0,
        )  # fmt: skip
        notebook = isinstance(self.cells, bytes)
        value = {
            "cells": None if notebook else [str(cell) for cell in self.cells],
            "notebook": np.frombuffer(self.cells, np.uint8) if notebook else None,
            "helpers": {n: np.frombuffer(b, np.uint8) for n, b in self.helpers.items()},
            "modules": list(self.modules),
            "seconds": self.limits.seconds,
            "total_seconds": self.limits.seconds * (self.calls + 1) + START_CPU_S,
            "megabytes": self.limits.megabytes,
        }
        self.names = self._ask("load", value, "the notebook", START_S)
        self.names = self.names if isinstance(self.names, list) else []
        return self.names

    def _ask(self, what: str, value, name: str, seconds: float | None = None):
        """The reply to one request; the process ends with anything but a reply."""
        functions: list = []
        token = secrets.token_hex(8)  # a reply that was written by somebody else lacks it
        end = time.monotonic() + (seconds or PATIENCE * self.limits.seconds)
        try:
            self._send(wire.frame({"do": what, "token": token}, value, functions), end)
            while True:
                message, reply = wire.receive(partial(self._read, end))
                if message.get("token") != token:
                    raise Faulty("not to what was asked")
                if "call" not in message:
                    break
                self._send(self._called(functions, message["call"], reply), end)
        except TimeoutError:
            self._ended()
            if seconds:
                raise StudentError(f"not ready after {seconds} s: is the machine busy?") from None
            words = f"stopped after {self.limits.seconds} s: is there a loop without an end?"
            raise StudentError(words) from None
        except (OSError, EOFError):
            raise StudentError(self._ended()) from None
        except Faulty as error:
            self._ended()
            raise StudentError(f"its process wrote what is no answer ({error})") from None
        except BaseException:  # interrupted: a late answer must not meet the next question
            self.close()
            raise
        if "error" in message:
            raise StudentError(self._told(str(message["error"]), str(message.get("words", ""))))
        return reply

    def _called(self, functions: list, place, arguments) -> bytes:
        """Run one of the checker's functions for the student, on what came through the pipe."""
        try:
            if not isinstance(place, int) or not isinstance(arguments, list):
                raise ValueError("a function takes arrays by position")
            return wire.frame({"done": True}, functions[place](*arguments))
        except AssertionError as error:
            return wire.frame({"error": str(error)[:200]})
        except Exception as error:  # of arguments that do not fit
            return wire.frame({"error": f"{type(error).__name__}: {str(error)[:200]}"})

    def _told(self, kind: str, words: str) -> str:
        words = clean(words)
        known = {
            "memory": f"used more than {self.limits.megabytes} MB of memory",
            "exit": "the function ended the program: return a value instead",
            "missing": words,
            "NotImplementedError": "not answered yet",
            "NameError": f"NameError: {words}",
        }
        return known.get(kind, f"the function raised {clean(kind)[:40]}: {words}")

    def _ended(self) -> str:
        """Close; how the process ended, in words."""
        status = self.process.poll()
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self.process.wait(0.5)
        self.close()
        if status in (-signal.SIGXCPU, 128 + signal.SIGXCPU):
            return f"stopped after {self.limits.seconds} s: is there a loop without an end?"
        if status is None:
            return "the function closed its connection"
        end = f"signal {-status}" if status < 0 else f"exit code {status}"
        return f"the function ended its own process ({end})"

    def _send(self, data: bytes, end: float) -> None:
        pipe, view = self.process.stdin.fileno(), memoryview(data)
        while view:
            if not select.select([], [pipe], [], max(0, end - time.monotonic()))[1]:
                raise TimeoutError
            view = view[os.write(pipe, view[:65536]) :]

    def _read(self, end: float, size: int) -> bytes:
        pipe, data = self.process.stdout.fileno(), bytearray()
        while len(data) < size:
            if not select.select([pipe], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError
            part = os.read(pipe, min(size - len(data), 2**20))
            if not part:
                raise EOFError
            data += part
        return bytes(data)


def clean(words, length: int = 300) -> str:
    """One line that can be printed anywhere: no control characters, no lone surrogates.

    >>> clean("a" + chr(27) + "[2Jb" + chr(10) + "c")
    'a[2Jb c'
    """
    text = str(words).encode("utf-8", "replace").decode("utf-8", "replace")
    text = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)
    return " ".join(text.split())[:length]


def _walls() -> list[str]:
    """The command in front of a process that sees the system, Python, this world and no network."""
    system = [path for path in ("/usr", "/lib", "/lib64", "/bin", "/etc") if Path(path).exists()]
    words = ["bwrap", "--unshare-all", "--die-with-parent", "--dev", "/dev", "--proc", "/proc"]
    for path in [*system, *sorted({sys.base_prefix, sys.prefix}), str(WORLD)]:
        words += ["--ro-bind", path, path]
    return words


@cache
def imprisoned() -> bool:
    """Whether bubblewrap is installed and works here."""
    probe = [*_walls(), sys.executable, "-I", "-c", "import numpy"]
    return bool(shutil.which("bwrap")) and not subprocess.run(probe, capture_output=True).returncode


def read_submission(path) -> tuple[bytes, dict[str, bytes]]:
    """(bytes of the notebook, helper modules beside it: name -> bytes). Raises DataError."""
    path = Path(path)
    try:
        if path.stat().st_size > NOTEBOOK_BYTES:
            raise DataError(f"{path.name} has over {NOTEBOOK_BYTES >> 20} MB: clear its outputs")
        data = path.read_bytes()
        beside = [p for p in sorted(path.parent.glob("*.py")) if p.stat().st_size <= HELPER_BYTES]
        return data, {p.name: p.read_bytes() for p in beside[:HELPERS] if p.stem.isidentifier()}
    except OSError as error:
        raise DataError(f"{path.name} cannot be read ({error.strerror})") from None
