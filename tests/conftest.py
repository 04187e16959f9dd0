"""What several test files share: notebooks made on the spot, few threads."""

import os
from pathlib import Path

import nbformat
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # kernels and workers inherit it: small machines
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


@pytest.fixture(scope="session")
def write_notebook():
    """write_notebook(path, [(tags, source), ...]): a source beginning with `md ` is prose."""

    def write(path, cells):
        made = []
        for number, (tags, source) in enumerate(cells):
            prose = source.startswith("md ")
            new = nbformat.v4.new_markdown_cell if prose else nbformat.v4.new_code_cell
            metadata = {"tags": tags.split()} if tags else {}
            made.append(new(source.removeprefix("md "), id=f"cell-{number}", metadata=metadata))
        nbformat.write(nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": KERNEL}), path)
        return Path(path)

    return write
