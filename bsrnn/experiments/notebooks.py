"""Notebooks as data: read, their tags, their typed parameters, the hash of their sources."""

import ast
import hashlib
import json
import sys

# jsonschema, which nbformat brings in, builds a grammar of web addresses wherever rfc3987_syntax is
# installed: a CPU second. A notebook has no address to be checked; jsonschema goes on without.
sys.modules.setdefault("rfc3987_syntax", None)  # "not installed", for as long as the import takes
import nbformat  # noqa: E402

if sys.modules["rfc3987_syntax"] is None:
    del sys.modules["rfc3987_syntax"]

PROFILES = ("smoke", "small", "full")


def read(path) -> nbformat.NotebookNode:
    """The notebook at `path`, in format 4."""
    return nbformat.read(str(path), as_version=4)


def tags(cell) -> list[str]:
    """The tags of a notebook cell."""
    return list(cell.get("metadata", {}).get("tags", []))


def parameters(notebook) -> dict[str, object]:
    """Names and default values of the parameters cell, read without running it.

    Raises:
        ValueError: a line is not `name: type = literal`.
    """
    cell = next((c for c in notebook.cells if "parameters" in tags(c)), None)
    values = {}
    for node in ast.parse(cell.source).body if cell else []:
        if not isinstance(node, ast.AnnAssign) or node.value is None:
            raise ValueError(f"line {node.lineno} of the parameters: write `name: type = literal`")
        values[node.target.id] = ast.literal_eval(node.value)
    return values


def source_hash(notebook) -> str:
    """Hash of what decides the outputs: code cells and their tags, without the setup cell.

    Prose and the stamped address may change without making the stored outputs stale.
    """
    digest = hashlib.sha256()
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and "setup" not in tags(cell):
            digest.update(json.dumps([cell["source"], tags(cell)]).encode())
    return digest.hexdigest()[:16]
