"""The process that runs a student's functions: requests come in one pipe, answers leave by another.

`bsrnn.course.sandbox` starts this folder as a program.
"""

import ast
import contextlib
import os
import re
import resource
import sys
from pathlib import Path

import numpy as np
from program import Missing, code_cells, flags_of, needed, statements
from wire import frame, receive

EVENTS = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "subprocess.Popen",
    "socket.", "ctypes.", "gc.get_objects", "gc.get_referrers", "gc.get_referents", "pty.spawn",
    "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate",
    "shutil.",
)  # fmt: skip


class Guard:
    """An audit hook: what a function does at run time that no assignment needs is noted, refused.

    It cannot be removed. It is no prison: that is the sandbox's, where the system has one.
    """

    def __init__(self, folder: Path):
        self.folder, self.flags = folder, {}
        self.who = ""  # the function at work; "": none of the student's
        self.roots = (sys.prefix, sys.base_prefix, "/usr", "/lib", "/dev", "/proc/self", "/sys")
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if not self.who:
            return
        if event == "import":
            root = str(arguments[0]).split(".")[0]
            if root in {"bsrnn", "scipy", "museval", "mir_eval", "librosa", "torchaudio"}:
                self._refuse(f"imports {root}")
        elif event == "open":
            self._file(arguments[0])
        elif event.startswith(EVENTS):
            self._refuse(f"calls {event}")

    def _file(self, path) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        text = os.path.abspath(os.fsdecode(path))
        if text.startswith(f"{self.folder}{os.sep}") or text == "/proc/cpuinfo":
            return
        for root in self.roots:  # what libraries read when they are first used
            inside = text.removeprefix(f"{root}{os.sep}")
            if inside != text and not {"bsrnn", "notebooks"} & set(inside.split(os.sep)):
                return
        self._refuse(f"opens {os.path.basename(text)[:60]}")

    def _refuse(self, what: str) -> None:
        flags = self.flags.setdefault(self.who, [])
        if what not in flags and len(flags) < 20:
            flags.append(what)
        raise PermissionError(f"not allowed in an assignment: {what}")


class World:
    """One submission: its cells, and the functions asked for so far."""

    def __init__(self, read, outbox, folder: Path):
        self.read, self.outbox, self.folder = read, outbox, folder
        self.program, self.problems, self.made, self.failures = [], [], {}, {}

    def answer(self) -> None:
        """Reply to the next request."""
        message, value = receive(self.read, self.remote)
        self.token, result = message["token"], None
        try:
            told, result = {"done": True}, getattr(self, f"do_{message['do']}")(value)
        except MemoryError:
            told = {"error": "memory"}
        except Missing as error:
            told = {"error": "missing", "words": str(error)}
        except SystemExit:
            told = {"error": "exit"}
        except BaseException as error:
            kind = "memory" if "allocate memory" in str(error) else type(error).__name__
            told = {"error": kind, "words": self.explained(error)}
        self.send(told, result)

    def send(self, message: dict, value) -> None:
        self.outbox.write(frame({**message, "token": self.token}, value))
        self.outbox.flush()

    def do_load(self, value) -> object:
        for name, text in value["helpers"].items():
            (self.folder / name).write_bytes(np.asarray(text).tobytes())
        cells = value["cells"]
        if cells is None:
            cells = code_cells(np.asarray(value["notebook"]).tobytes())
        self.helpers = {Path(name).stem for name in value["helpers"]}
        self.allowed = self.helpers | set(value["modules"])
        self.seconds = value["seconds"]
        for name in value["modules"]:
            with contextlib.suppress(ImportError):
                __import__(name)
                if name == "torch":
                    _warm_torch()
        sys.path.insert(0, str(self.folder))
        self.guard = Guard(self.folder)
        _limit(value["megabytes"], value["total_seconds"])
        self.program, self.problems = statements(cells)
        return sorted(s.node.name for s in self.program if isinstance(s.node, ast.FunctionDef))

    def do_flags(self, value) -> list[str]:
        name, allowed = value.pop("name"), self.allowed | set(value.pop("allowed"))
        static = flags_of(needed(self.program, name), allowed, **value)
        return list(dict.fromkeys([*static, *self.guard.flags.get(name, [])]))

    def do_call(self, value) -> object:
        function = self.function(value["name"])
        return self._guarded(value["name"], function, value["arguments"])

    def do_train(self, value) -> object:
        """a6: the student's loop on a witness that lives here, since gradients do not travel."""
        name = value.pop("name")
        function = self.function(name)
        return self._guarded(name, lambda case: _train_case(function, **case), [value])

    def _guarded(self, name, function, arguments):
        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = int(used.ru_utime + used.ru_stime) + 1
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (min(spent + self.seconds, hard), hard))
        self.guard.who = name
        try:
            return function(*arguments)
        finally:
            self.guard.who = ""

    def function(self, name: str):
        """The student's function. Raises Missing."""
        if name in self.made:
            return self.made[name]
        for cell, error in self.problems:
            if re.search(rf"(?m)^[ \t]{{0,20}}def {name}\b", cell):
                where = f"line {error.lineno}: " if getattr(error, "lineno", None) else ""
                words = f"the cell of `{name}` is not valid Python"
                raise Missing(f"{words} ({where}{str(error.args[0])[:100]})")
        space, self.failures = {"__name__": "submission"}, {}
        self.guard.who = name
        try:
            for statement in needed(self.program, name):
                try:
                    module = ast.Module([statement.node], type_ignores=[])
                    exec(compile(module, "<submission>", "exec"), space)
                except (Exception, SystemExit) as error:
                    self.failures |= dict.fromkeys(statement.binds, error)
        finally:
            self.guard.who = ""
        if name in self.failures and not callable(space.get(name)):
            error = self.failures[name]
            raise Missing(f"the definition of `{name}` fails ({type(error).__name__}: {error})")
        if name not in space:
            raise Missing(f"no function `{name}` in the notebook: keep its name as given")
        if not callable(space[name]):
            raise Missing(f"`{name}` is not a function")
        self.made[name] = space[name]
        return space[name]

    def explained(self, error: BaseException) -> str:
        """One line on what a function raised, with its cause among the other statements."""
        words = " ".join(str(error).split())[:200]
        if isinstance(error, NameError) and error.name in self.failures:
            cause = self.failures[error.name]
            words += f" (its line fails: {type(cause).__name__}: {cause})"
        if isinstance(error, ModuleNotFoundError) and error.name not in self.helpers:
            words += f" (is {error.name}.py missing beside the notebook?)"
        return words

    def remote(self, place: int):
        """A function of the checker's, which runs there."""

        def call(*arguments):
            self.send({"call": place}, list(arguments))
            message, value = receive(self.read, self.remote)
            if "error" in message:
                raise ValueError(message["error"])
            return value

        return call


def _warm_torch() -> None:
    """torch imports its compiler with the first optimiser: once, before limits and guard."""
    import torch

    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1)], lr=1.0)
    torch.nn.functional.group_norm(torch.zeros(1, 2, 2), 1)


def _limit(megabytes: int, seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))
    with contextlib.suppress(OSError, ValueError):  # macOS cannot limit memory
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        size = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _train_case(train, gain, lr, shape, sizes, valid, epochs, clip_norm, accumulate):
    """(result of train, gain at the end, calls, gradients): targets are 0, so gradients are sizes.

    A call is (training, gradients recorded, gain)."""
    import torch

    class Witness(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(gain))

        def forward(self, mixture):
            calls.append((self.training, torch.is_grad_enabled(), self.gain.item()))
            return self.gain * mixture

    class Steps(torch.optim.SGD):
        def step(self, closure=None):
            gradients.append(model.gain.grad.item())
            return super().step(closure)

    calls, gradients = [], []
    model = Witness()
    shape = tuple(shape)
    batches = [(torch.full(shape, float(size)), torch.zeros(shape)) for size in sizes]
    pairs = [(torch.ones(shape), torch.full(shape, float(value))) for value in valid]
    optimizer = Steps(model.parameters(), lr=lr)
    result = train(model, batches, pairs, optimizer, epochs, clip_norm, accumulate)
    return result, model.gain.item(), calls, gradients


def main() -> None:
    """Answer requests from the first pipe on the second, until it closes."""
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)

    def read(size: int) -> bytes:
        data = inbox.read(size)
        return data if len(data) == size else sys.exit()

    world = World(read, outbox, Path.cwd())
    while True:
        world.answer()


if __name__ == "__main__":
    main()
