"""A submitted notebook as a program: one function by name, with what it needs and nothing else.

Cell ids and metadata do not matter, because Colab and copying lose them. Of the notebook's code
only those top-level statements run that the function needs (imports, constants, other
definitions); prints, plots, tests and experiments of the student do not. Where a name is defined
twice the last definition counts, as it does when the notebook is run from top to bottom.
"""

import ast
import json
import re
import symtable
from dataclasses import dataclass, field
from pathlib import Path

from bsrnn.common import DataError

_PYTHON_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun")  # the rest of the cell is Python
_MAGIC = re.compile(r"(?m)^([ \t]*)(?:([\w, ]+=[ \t]*)?[%!].*|\?+[\w.]+|[\w.]+\?+)[ \t]*$")

_NO_NAMES = (ast.Expr, ast.Assert)  # statements that define nothing


class Missing(Exception):
    """The function is not there; the words say why."""


def code_cells(path) -> list[str]:
    """Sources of the code cells of the notebook at `path`.

    Raises:
        DataError: the file is no notebook.
    """
    try:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is no notebook ({why}): save it again as .ipynb") from None


def plain(cell: str) -> str:
    """A cell without what only IPython understands: magics, shell lines, questions.

    >>> plain("%matplotlib inline" + chr(10) + "x = !ls")
    'pass\\nx = None'
    """
    first = cell.strip().split("\n")[0].split(" ")[0]
    if first.startswith("%%"):
        if first not in _PYTHON_MAGICS:
            return ""
        cell = cell.split("\n", cell[: cell.index("%%")].count("\n") + 1)[-1]
    return _MAGIC.sub(lambda m: f"{m[1]}{m[2]}None" if m[2] else f"{m[1]}pass", cell)


@dataclass
class Statement:
    """A top-level statement with the names that it binds and those it reads."""

    node: ast.stmt
    binds: set = field(default_factory=set)
    reads: set = field(default_factory=set)


def statements(cells: list[str]):
    """(statements, problems): a cell that does not parse is (cell, SyntaxError) in `problems`."""
    found, problems = [], []
    for cell in cells:
        try:
            try:
                tree = ast.parse(cell)
            except SyntaxError:
                tree = ast.parse(plain(cell))
            found += [_statement(node) for node in tree.body if not isinstance(node, _NO_NAMES)]
        except (SyntaxError, ValueError, RecursionError) as error:
            problems.append((cell, error))
    return found, problems


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
        named = (s.get_name() for s in scope.get_symbols() if s.is_global())
        statement.reads |= set(named)
    for target in getattr(node, "targets", [getattr(node, "target", None)]):
        if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            statement.binds.add(target.value.id)  # TABLE["x"] = 1 completes TABLE
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        statement.binds.add("*")
    return statement


def defined(cells: list[str]) -> set[str]:
    """Names of the functions that the notebook defines at the top level."""
    found = (s.node for s in statements(cells)[0])
    return {node.name for node in found if isinstance(node, ast.FunctionDef)}


def function(cells: list[str], name: str):
    """(the function `name`, what went wrong with other statements: {name: exception}).

    Raises:
        Missing: it is not defined, or its definition fails.
    """
    found, problems = statements(cells)
    for cell, error in problems:
        if re.search(rf"(?m)^\s*def {name}\b", cell):
            where = f"line {error.lineno}: " if getattr(error, "lineno", None) else ""
            raise Missing(f"the cell of `{name}` is not valid Python ({where}{error.args[0]})")
    needed, open_names = {"*"}, {name}
    while open_names:
        needed |= open_names
        read = (s.reads for s in found if s.binds & open_names)
        open_names = set().union(*read) - needed
    space, failures = {"__name__": "submission"}, {}
    for statement in found:
        if statement.binds & needed:
            try:
                module = ast.Module([statement.node], type_ignores=[])
                exec(compile(module, "<submission>", "exec"), space)
            except (Exception, SystemExit) as error:
                failures |= dict.fromkeys(statement.binds, error)
    if callable(space.get(name)):
        return space[name], failures
    if name in failures:
        error = failures[name]
        raise Missing(f"the definition of `{name}` fails ({type(error).__name__}: {error})")
    if name in space:
        raise Missing(f"`{name}` is not a function")
    raise Missing(f"no function `{name}` in the notebook: keep its name as given")
