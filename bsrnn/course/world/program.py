"""A notebook as a program: the statements that a function depends on, and what they may not use.

Of a notebook only those top-level statements run that the wanted function depends on: imports,
constants and what fills them, other definitions, calls that set globals. Prints, plots, tests and
experiments of the student do not. Cell ids do not matter, because Colab and copying lose them.
"""

import ast
import json
import symtable
from dataclasses import dataclass, field

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
    names, previous = {"*", name}, set()
    while names != previous:
        previous = set(names)
        chosen = [s for s in program if _wanted(s, names, definitions)]
        for statement in chosen:
            names |= statement.reads
    return chosen


def _wanted(statement: Statement, names: set, definitions: dict) -> bool:
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
    # of definitions, those of classes: Config.hop = 3 (a module's attributes are not the student's)
    spared = {n for n, s in definitions.items() if not isinstance(s.node, ast.ClassDef)}
    return bool(changes & names - spared - {"*"})


def flags_of(chosen: list[Statement], allowed, forbidden, names, attributes) -> list[str]:
    """What the needed statements use and may not: modules that are not `allowed`, what is
    `forbidden` wherever it comes from, `names` and `attributes` that lead around the rules."""
    flags = []
    for part in (part for statement in chosen for part in ast.walk(statement.node)):
        imported = []
        if isinstance(part, ast.Import):
            imported = [alias.name for alias in part.names]
        elif isinstance(part, ast.ImportFrom):
            imported = [f"{part.module or ''}.{alias.name}" for alias in part.names]
        for name in imported:
            if name.split(".")[0] not in allowed:
                flags.append(f"imports {name.removesuffix('.*')}")
            if set(name.split(".")) & set(forbidden):
                flags.append(f"uses {name}")
        for kind, used in (("id", names), ("attr", attributes)):
            if getattr(part, kind, None) in {*forbidden, *used}:
                flags.append(f"uses {getattr(part, kind)}")
    return list(dict.fromkeys(flags))
