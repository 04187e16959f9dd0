"""The examination room: a process that forks one child per question, each with limits.

`python -m bsrnn.course.room MODULE ...` imports the modules once, so that a child starts in
milliseconds, then answers requests: JSON lines in, JSON lines out. `Room` is the other end.

A child has limits on CPU time, waiting, memory and file size, no terminal, a folder of its own,
and its whole process group is killed afterwards. That contains accidents (a loop without an end, a
list that grows for ever, `sys.exit`); it is no prison for hostile code: grade strangers' work in a
container.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

from bsrnn.common import UsageError

SECONDS, MEGABYTES = 10, 1024  # of CPU time and of memory beyond the room's own, per question
PATIENCE = 3  # waiting costs no CPU: a child may take so many times SECONDS by the clock
FILE_BYTES = 64 * 2**20
# numpy imports its parts when first used: once here, or again in every child.
_WARM = ("numpy.random", "numpy.fft", "numpy.linalg", "bsrnn.course.submission")


class Room:
    """The parent's end: `ask` sends a question in, whatever happens an answer comes back.

    modules: to be imported once, before the first child; they decide how long a start takes.
    """

    def __init__(self, modules=()):
        if not hasattr(os, "fork"):
            raise UsageError("grading needs Linux or macOS: on Windows use WSL or Colab")
        self.modules, self._process = list(modules), None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, **request) -> dict:
        """{"passed": bool, "feedback": str} for assignment, question, function, cells, seed,
        seconds and megabytes."""
        try:
            self._start()
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
            if answer:
                return json.loads(answer)
        except BrokenPipeError:
            pass
        except BaseException:  # interrupted: a late answer must not meet the next question
            self.close()
            raise
        self.close()
        return {"passed": False, "feedback": "the function ended the examination room"}

    def _start(self):
        if self._process is None:
            from bsrnn.common import PACKAGE

            given = os.environ.get("PYTHONPATH")
            path = os.pathsep.join(filter(None, [str(PACKAGE.parent), given]))
            env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
            env.pop("PYTHONOPTIMIZE", None)  # it would remove the checks' asserts
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "bsrnn.course.room", *self.modules],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
                start_new_session=True,  # Ctrl-C of a notebook is not for the room
            )  # fmt: skip

    def close(self):
        """End the room; the next question opens a new one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def serve(modules) -> None:
    """Answer requests until the input ends."""
    for name in (*_WARM, *modules):
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(_invigilate(json.loads(line))), flush=True)


def _invigilate(request: dict) -> dict:
    """Fork, wait within the limits, kill what is left, read what it said."""
    out, into = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        child = os.fork()
        if child == 0:
            _sit(request, folder, into)
        os.close(into)
        said = _listen(out, PATIENCE * request["seconds"])
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(out)
    if said and said.endswith(b"\n"):
        return json.loads(said)
    over = f"stopped after {request['seconds']} s: is there a loop without an end?"
    if said is None or status == -signal.SIGXCPU:
        return {"passed": False, "feedback": over}
    end = f"signal {-status}" if status < 0 else f"exit code {status}"
    return {"passed": False, "feedback": f"the function ended its own process ({end})"}


def _listen(pipe: int, seconds: float) -> bytes | None:
    """What comes out of a pipe up to the end of a line or of the pipe; None if time is up."""
    said, end = bytearray(), time.monotonic() + seconds
    while not said.endswith(b"\n"):
        if not select.select([pipe], [], [], max(0, end - time.monotonic()))[0]:
            return None
        part = os.read(pipe, 65536)
        if not part:
            break
        said += part
    return bytes(said)


def _sit(request: dict, folder: str, into: int) -> None:
    """The child: never returns."""
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        os.chdir(folder)
        _limit(request["seconds"], request["megabytes"])
        passed, feedback = examine(request)
        words = " ".join(feedback.split())[:300]
        os.write(into, (json.dumps({"passed": passed, "feedback": words}) + "\n").encode())
    finally:
        os._exit(0)


def _limit(seconds: int, megabytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    with contextlib.suppress(OSError, ValueError):  # macOS cannot limit memory
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        size = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def examine(request: dict) -> tuple[bool, str]:
    """(passed, one line of feedback) of one question, in this very process."""
    import numpy as np

    from bsrnn.course import questions, submission

    question, failures = request["question"], {}
    try:
        check = questions.check(request["assignment"], question)
        answer, failures = submission.function(request["cells"], questions.function(question))
        check(answer, np.random.default_rng([request["seed"], zlib.crc32(question.encode())]))
    except AssertionError as error:
        return False, str(error) or "a check failed"
    except NotImplementedError:
        return False, "not answered yet"
    except MemoryError:
        return False, f"used more than {request['megabytes']} MB of memory"
    except SystemExit:
        return False, "the function ended the program: return a value instead"
    except submission.Missing as error:
        return False, str(error)
    except NameError as error:
        cause = failures.get(error.name)
        more = f" (its line fails: {type(cause).__name__}: {cause})" if cause else ""
        return False, f"NameError: {error}{more}"
    except BaseException as error:
        words = str(error).strip().split("\n")[0]
        if "allocate memory" in words:  # torch's way to say MemoryError
            return False, f"used more than {request['megabytes']} MB of memory"
        return False, f"the function raised {type(error).__name__}: {words}"
    return True, "passed"


if __name__ == "__main__":
    serve(sys.argv[1:])
