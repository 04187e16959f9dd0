"""What several test files share: notebooks made on the spot, few threads, fair shares of work."""

import os
import shutil
import signal
from pathlib import Path

import nbformat
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # kernels and workers inherit it: small machines
TESTS = Path(__file__).resolve().parent
GOLDEN = TESTS / "golden"  # outputs of the public implementations
REAL = TESTS.parents[1] / "shared" / "real"  # stems that are never committed
NOTEBOOKS = TESTS.parent / "notebooks"
needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")),
    reason="musdb and museval need ffmpeg and ffprobe on the PATH",
)
LONG = ("test_notebooks", "test_browser", "test_readme", "test_claims")  # begun first
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def pytest_configure(config):
    config.option.loadscopereorder = False  # of pytest-xdist: keep the order given below
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as jobs in the background inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """With `-n 2 --dist loadgroup` a file stays in one worker; a lesson is a share of its own."""
    items.sort(key=lambda item: not item.path.stem.startswith(LONG))
    for item in items:
        alone = item.name.startswith("test_lesson_runs")
        item.add_marker(pytest.mark.xdist_group(item.nodeid if alone else item.path.stem))


@pytest.fixture
def one_thread():
    """torch works on one thread during the test: golden numbers were made so."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


@pytest.fixture
def heard(monkeypatch):
    """The sounds that were given to players, last call last."""
    from bsrnn import listen

    calls = []
    for name in ("ab", "players"):
        real = getattr(listen, name)
        monkeypatch.setattr(
            listen, name, lambda x, *a, real=real, **k: calls.append(x) or real(x, *a, **k)
        )
    return calls
