"""The student's world: a limited process that runs submitted functions, and the way to talk to it.

Stands alone: it imports nothing of this package, and neither checker nor reference nor seed ever
enters it. `bsrnn.course.sandbox` starts it and sends requests; both ends use `send` and `receive`,
a frame of JSON and raw arrays that runs nothing.

Of a notebook only those top-level statements run that the wanted function depends on: imports,
constants and what fills them, other definitions, calls that set globals. Prints, plots, tests and
experiments of the student do not. Cell ids do not matter, because Colab and copying lose them.
"""

import ast
import contextlib
import json
import os
import re
import resource
import struct
import symtable
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

HEADER = struct.Struct("<II")  # bytes of JSON, bytes of arrays
JSON_BYTES, ARRAY_BYTES = 2**21, 2**28
ITEMS, DEPTH = 100_000, 12
NUMBERS = "biufc"


# The wire


@dataclass(frozen=True)
class Opaque:
    """A value that does not travel; `kind` names its type."""

    kind: str


class Faulty(Exception):
    """What came through the pipe is no frame."""


def packed(value, functions=None):
    """(JSON, arrays) of a value. `functions`: a list that takes callables, known by their place."""
    buffers: list[np.ndarray] = []
    budget = [ITEMS]

    def pack(value, depth):
        budget[0] -= 1
        if depth > DEPTH or budget[0] < 0:
            return {"opaque": "nested too deep, or too long"}
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int):
            return value if value.bit_length() < 64 else {"opaque": "int of more than 64 bits"}
        if isinstance(value, str):
            return value[:10_000]
        if isinstance(value, complex):
            return pack(np.complex128(value), depth)
        if isinstance(value, dict):
            pairs = [[pack(k, depth + 1), pack(v, depth + 1)] for k, v in value.items()]
            return {"dict": pairs}
        if isinstance(value, (list, tuple, set, frozenset, range)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [pack(item, depth + 1) for item in value]}
        if isinstance(value, Opaque):
            return {"opaque": value.kind}
        if type(value).__module__ == "torch" and hasattr(value, "detach"):
            return {"tensor": pack(value.detach().cpu().resolve_conj().numpy(), depth)}
        if isinstance(value, (np.ndarray, np.generic)):
            return array(np.asarray(value))
        if callable(value) and functions is not None:
            functions.append(value)
            return {"function": len(functions) - 1}
        return {"opaque": type(value).__name__}

    def array(value):
        if value.dtype.kind not in NUMBERS:
            return {"opaque": f"array of {value.dtype}"}
        value = np.array(value, order="C", copy=True)
        buffers.append(value)
        return {"array": [value.dtype.str, list(value.shape)]}

    return pack(value, 0), buffers


def unpacked(data, blob: bytes, call=None):
    """The value of `packed`. `call(place)`: stands for a function. Raises Faulty."""
    place = 0

    def unpack(data, depth):
        nonlocal place
        if depth > 2 * DEPTH:
            raise Faulty("nested too deep")
        if not isinstance(data, dict):
            if isinstance(data, list):
                raise Faulty("a bare list")
            return data
        ((kind, inner),) = data.items()
        if kind == "list":
            return [unpack(item, depth + 1) for item in inner]
        if kind == "tuple":
            return tuple(unpack(item, depth + 1) for item in inner)
        if kind == "dict":
            return {unpack(k, depth + 1): unpack(v, depth + 1) for k, v in inner}
        if kind == "opaque":
            return Opaque(str(inner)[:100])
        if kind == "function" and call is not None:
            return call(int(inner))
        if kind == "tensor":
            import torch

            return torch.from_numpy(np.array(unpack(inner, depth + 1)))
        if kind != "array":
            raise Faulty(f"a {kind}"[:50])
        dtype, shape = np.dtype(str(inner[0])), tuple(int(n) for n in inner[1])
        if dtype.kind not in NUMBERS or any(n < 0 for n in shape) or len(shape) > 32:
            raise Faulty("no array of numbers")
        count = 1
        for n in shape:
            count *= n
        size = count * dtype.itemsize
        if place + size > len(blob):
            raise Faulty("an array that is longer than what came")
        value = np.frombuffer(blob, dtype, count, place).reshape(shape)
        place += size
        return value.copy() if shape else value.copy()[()]

    try:
        return unpack(data, 0)
    except (ValueError, TypeError, KeyError, RecursionError, IndexError, OverflowError) as error:
        raise Faulty(str(error)[:100]) from None


def frame(message: dict, value=None, functions=None) -> bytes:
    """A message with a value as bytes."""
    data, buffers = packed(value, functions)
    blob = b"".join(buffer.tobytes() for buffer in buffers)
    if len(blob) > ARRAY_BYTES:
        data, blob = {"opaque": f"{len(blob) >> 20} MB of numbers"}, b""
    text = json.dumps({**message, "value": data}).encode()
    if len(text) > JSON_BYTES:
        text, blob = json.dumps({**message, "value": {"opaque": "too long a value"}}).encode(), b""
    return HEADER.pack(len(text), len(blob)) + text + blob


def parsed(text: bytes) -> dict:
    """The JSON of a frame. Raises Faulty."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError, MemoryError):
        raise Faulty("no JSON") from None
    if not isinstance(message, dict) or "value" not in message:
        raise Faulty("no message")
    return message


# The notebook as a program

_PYTHON_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun")  # the rest of the cell is Python
NOTHING = (ast.Assert, ast.Pass)


class Missing(Exception):
    """The function is not there; the words say why."""


def code_cells(notebook: bytes) -> list[str]:
    """Sources of the code cells. Raises Missing if it is no notebook."""
    try:
        cells = json.loads(notebook)["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise Missing(f"no notebook ({why[:100]}): save it again as .ipynb") from None


def plain(cell: str) -> str:
    """A cell without what only IPython understands: magics, shell lines, questions.

    >>> plain("%matplotlib inline" + chr(10) + "x = !ls")
    'pass\\nx = None'
    """
    lines = cell.split("\n")
    first = next((line.strip().split(" ")[0] for line in lines if line.strip()), "")
    if first.startswith("%%"):
        if first not in _PYTHON_MAGICS:
            return ""
        place = next(i for i, line in enumerate(lines) if line.strip())
        lines = lines[place + 1 :]
    return "\n".join(_plain_line(line) for line in lines)


def _plain_line(line: str) -> str:
    """One line: linear in its length, whatever stands in it."""
    text = line.strip()
    indent = line[: len(line) - len(line.lstrip())]
    if text[:1] in ("%", "!", "?") or (text.endswith("?") and text.rstrip("?").isidentifier()):
        return f"{indent}pass"
    target, _, value = text.partition("=")
    names = target.replace(",", " ").split()
    shell = value.lstrip()[:1] in ("%", "!") and all(name.isidentifier() for name in names)
    return f"{indent}{target.rstrip()} = None" if shell and names else line


@dataclass
class Statement:
    """A top-level statement: the names it binds, reads, and may change the content of."""

    node: ast.stmt
    binds: set = field(default_factory=set)
    reads: set = field(default_factory=set)
    changes: set = field(default_factory=set)
    calls: set = field(default_factory=set)


def statements(cells: list[str]):
    """(statements, problems): a cell that does not parse is (cell, error) in `problems`."""
    result, problems = [], []
    for cell in cells:
        try:
            try:
                tree = ast.parse(cell)
            except SyntaxError:
                tree = ast.parse(plain(cell))
            result += [_statement(node) for node in tree.body if not isinstance(node, NOTHING)]
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            problems.append((cell, error))
    return result, problems


def _statement(node: ast.stmt) -> Statement:
    statement = Statement(node)
    table = symtable.symtable(ast.unparse(node), "cell", "exec")
    for symbol in table.get_symbols():
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
            statement.binds.add(symbol.get_name())
        if symbol.is_referenced():
            statement.reads.add(symbol.get_name())
    inner = list(table.get_children())
    while inner:  # functions, classes, comprehensions: what they take from the notebook
        scope = inner.pop()
        inner += scope.get_children()
        for symbol in scope.get_symbols():
            if symbol.is_global():
                statement.reads.add(symbol.get_name())
                if symbol.is_assigned():  # `global X` in a function
                    statement.changes.add(symbol.get_name())
    for part in ast.walk(node):
        _note(part, statement)
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        statement.binds.add("*")
    return statement


def _note(part: ast.AST, statement: Statement) -> None:
    """What one node may change: TABLE["x"] = 1, Config.hop = 3, TABLE.append(1), fill(TABLE)."""
    if isinstance(part, (ast.Subscript, ast.Attribute)) and isinstance(part.ctx, ast.Store):
        statement.changes.add(_root(part))
    elif isinstance(part, ast.Call):
        if isinstance(part.func, ast.Name):
            statement.calls.add(part.func.id)
        elif isinstance(part.func, ast.Attribute):
            statement.changes.add(_root(part.func))
        for argument in part.args:
            if isinstance(argument, ast.Name):
                statement.changes.add(argument.id)
    statement.changes.discard("")


def _root(part: ast.AST) -> str:
    """The name at the bottom of a.b[c].d; "" if there is none."""
    while isinstance(part, (ast.Attribute, ast.Subscript)):
        part = part.value
    return part.id if isinstance(part, ast.Name) else ""


_DEFINITIONS = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef, ast.Import, ast.ImportFrom)


def needed(program: list[Statement], name: str) -> list[Statement]:
    """The statements that the function `name` depends on, in order.

    Needed are statements that bind a name which is read, and those that change the content of one:
    directly, or by calling a function of the notebook that does.
    """
    definitions = {n: s for s in program for n in s.binds if isinstance(s.node, _DEFINITIONS)}
    code = {n for n, s in definitions.items()}
    names, previous = {"*", name}, set()
    while names != previous:
        previous = set(names)
        chosen = [s for s in program if _wanted(s, names, code, definitions)]
        for statement in chosen:
            names |= statement.reads
    return chosen


def _wanted(statement: Statement, names: set, code: set, definitions: dict) -> bool:
    if statement.binds & names:
        return True
    if isinstance(statement.node, _DEFINITIONS):
        return False
    changes = set(statement.changes)
    seen, waiting = set(), set(statement.calls)
    while waiting:  # setup() changes what `global` names in it, and what its own calls change
        called = waiting.pop()
        seen.add(called)
        if called in definitions and isinstance(definitions[called].node, ast.FunctionDef):
            changes |= definitions[called].changes
            waiting |= definitions[called].calls - seen
    return bool(changes & (names - code - {"*"})) or bool(_classes(changes, names, definitions))


def _classes(changes: set, names: set, definitions: dict) -> set:
    """Classes whose attributes are set: Config.hop = 3 (a module's are not the student's)."""
    return {
        name
        for name in changes & names
        if name in definitions and isinstance(definitions[name].node, ast.ClassDef)
    }


# What is not allowed

SAFE = {
    "__future__", "abc", "array", "bisect", "cmath", "collections", "copy", "dataclasses",
    "decimal", "enum", "fractions", "functools", "heapq", "itertools", "math", "numbers", "numpy",
    "operator", "random", "statistics", "string", "time", "types", "typing", "typing_extensions",
    "warnings", "pprint", "textwrap", "re", "matplotlib", "IPython", "pandas", "tqdm",
}  # fmt: skip
HIDDEN_NAMES = {
    "__import__", "eval", "exec", "compile", "open", "globals", "vars", "getattr", "__builtins__",
    "__loader__", "__spec__",
}  # fmt: skip
HIDDEN_ATTRIBUTES = {
    "__dict__", "__globals__", "__subclasses__", "__code__", "__getattribute__", "_getframe",
    "f_back", "f_locals", "modules", "settrace",
}  # fmt: skip
EVENTS = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "subprocess.Popen",
    "socket.", "ctypes.", "gc.get_objects", "gc.get_referrers", "gc.get_referents", "pty.spawn",
    "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate",
    "shutil.",
)  # fmt: skip


def flags_of(chosen: list[Statement], allowed: set, forbidden: set) -> list[str]:
    """What the needed statements use and may not: modules, names, ways around both."""
    flags = []
    for statement in chosen:
        for part in ast.walk(statement.node):
            names = []
            if isinstance(part, ast.Import):
                names = [alias.name for alias in part.names]
            elif isinstance(part, ast.ImportFrom):
                module = part.module or ""
                names = [f"{module}.{alias.name}" for alias in part.names]
            for name in names:
                if name.split(".")[0] not in allowed:
                    flags.append(f"imports {name.removesuffix('.*')}")
                if set(name.split(".")) & forbidden:
                    flags.append(f"uses {name}")
            name, attribute = getattr(part, "id", None), getattr(part, "attr", None)
            if name in forbidden | HIDDEN_NAMES:
                flags.append(f"uses {name}")
            if attribute in forbidden | HIDDEN_ATTRIBUTES:
                flags.append(f"uses {attribute}")
    return list(dict.fromkeys(flags))


class Guard:
    """An audit hook: what a function does at run time that no assignment needs is noted, refused.

    It cannot be removed. It is no prison: that is the sandbox's, where the system has one.
    """

    def __init__(self, folder: Path, allowed: set):
        self.folder, self.allowed, self.flags = folder, allowed, {}
        self.who = ""  # the function at work; "": none of the student's
        self.roots = (sys.prefix, sys.base_prefix, "/usr", "/lib", "/dev", "/proc/self", "/sys")
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if not self.who:
            return
        if event == "import":
            root = str(arguments[0]).split(".")[0]
            if root == "bsrnn" or root in {"museval", "mir_eval", "librosa", "torchaudio"}:
                self._refuse(f"imports {root}")
            if root == "scipy" and "scipy" not in self.allowed:
                self._refuse("imports scipy")
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


# The loop


class World:
    """One submission: its cells, and the functions asked for so far."""

    def __init__(self, inbox, outbox, folder: Path):
        self.inbox, self.outbox, self.folder = inbox, outbox, folder
        self.program, self.problems, self.made, self.failures = [], [], {}, {}

    def answer(self, message: dict, value) -> dict:
        """The reply to one request."""
        return getattr(self, f"do_{message['do']}")(value)

    def do_load(self, value) -> object:
        for name, text in value["helpers"].items():
            (self.folder / name).write_bytes(np.asarray(text).tobytes())
        cells = value["cells"]
        if cells is None:
            cells = code_cells(np.asarray(value["notebook"]).tobytes())
        self.helpers = {Path(name).stem for name in value["helpers"]}
        self.allowed = SAFE | set(value["modules"]) | self.helpers
        self.seconds = value["seconds"]
        for name in value["modules"]:
            with contextlib.suppress(ImportError):
                __import__(name)
                if name == "torch":
                    _warm_torch()
        sys.path.insert(0, str(self.folder))
        self.guard = Guard(self.folder, self.allowed)
        _limit(value["megabytes"], value["total_seconds"])
        self.program, self.problems = statements(cells)
        return sorted(s.node.name for s in self.program if isinstance(s.node, ast.FunctionDef))

    def do_flags(self, value) -> list[str]:
        chosen = needed(self.program, value["name"])
        static = flags_of(chosen, self.allowed, set(value["forbidden"]))
        return list(dict.fromkeys([*static, *self.guard.flags.get(value["name"], [])]))

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
        space, failures = {"__name__": "submission"}, {}
        self.guard.who = name
        try:
            for statement in needed(self.program, name):
                try:
                    module = ast.Module([statement.node], type_ignores=[])
                    exec(compile(module, "<submission>", "exec"), space)
                except (Exception, SystemExit) as error:
                    failures |= dict.fromkeys(statement.binds, error)
        finally:
            self.guard.who = ""
        self.failures = failures
        if not callable(space.get(name)):
            raise Missing(self._why(name, space, failures))
        self.made[name] = space[name]
        return space[name]

    def _why(self, name: str, space: dict, failures: dict) -> str:
        if name in failures:
            error = failures[name]
            return f"the definition of `{name}` fails ({type(error).__name__}: {error})"
        if name in space:
            return f"`{name}` is not a function"
        return f"no function `{name}` in the notebook: keep its name as given"

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
            self.outbox.write(frame({"call": place, "token": self.token}, list(arguments)))
            self.outbox.flush()
            message, value = receive(self.inbox, self.remote)
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


def receive(stream, call=None):
    """(message, value) of the next frame of a trusted stream; None at its end."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    text, blob = (stream.read(size) for size in HEADER.unpack(header))
    message = parsed(text)
    return message, unpacked(message.pop("value"), blob, call)


def main() -> None:
    """Answer requests from the first pipe on the second, until it closes."""
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    world = World(inbox, outbox, Path.cwd())
    while request := receive(inbox, world.remote):
        message, value = request
        world.token = message["token"]
        result = None
        try:
            told, result = {"done": True}, world.answer(message, value)
        except MemoryError:
            told = {"error": "memory", "words": ""}
        except Missing as error:
            told = {"error": "missing", "words": str(error)}
        except SystemExit:
            told = {"error": "exit", "words": ""}
        except BaseException as error:
            kind = "memory" if "allocate memory" in str(error) else type(error).__name__
            told = {"error": kind, "words": world.explained(error)}
        outbox.write(frame({**told, "token": world.token}, result))
        outbox.flush()


if __name__ == "__main__":
    main()
