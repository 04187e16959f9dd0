"""Packages whose names are imported on first use: light, listed, plain about what is missing."""

import importlib
import os
import subprocess
import sys

import pytest

from bsrnn.common import ROOT

PACKAGES = ("bsrnn", "bsrnn.course", "bsrnn.explore", "bsrnn.plots", "bsrnn.experiments")


def test_importing_them_loads_nothing_heavy():
    code = f"import sys, {', '.join(PACKAGES)}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"torch", "numpy", "matplotlib", "nbformat"} & set(loaded.stdout.split())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_is_listed_and_found(package):
    module = importlib.import_module(package)
    assert set(module.__all__) <= set(dir(module)) and dir(module) == sorted(dir(module))
    for name in dir(module):
        found = getattr(module, name)
        assert getattr(found, "__name__", name).split(".")[-1] == name
    with pytest.raises(AttributeError, match=f"{package} attribute no_such"):
        _ = module.no_such


USER = """\
import bsrnn
from bsrnn import metrics, plots
separator = bsrnn.load("music")
reveal_type(bsrnn.load)
reveal_type(bsrnn.bands.scheme("v7"))
reveal_type(plots.spectrogram)
reveal_type(metrics.usdr)
bsrnn.explore.stem_mixer, bsrnn.experiments.Sweep, bsrnn.course.begin, bsrnn.cost.cost
bsrnn.no_such
"""
MYPY = """\
[mypy]
follow_imports = silent
ignore_missing_imports = true
[mypy-torch.*,pandas.*,scipy.*,matplotlib.*,IPython.*,nbformat.*,ipywidgets.*,lightning.*]
follow_imports = skip
"""


def test_type_checkers_see_the_names_and_their_types(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed: pip install -e '.[dev]'")
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "mypy.ini").write_text(MYPY)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "user.py"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "MYPYPATH": str(ROOT)},
    )  # fmt: skip
    told = done.stdout
    assert 'user.py:9: error: Module has no attribute "no_such"' in told, told
    assert told.count("error:") == 1, told
    assert told.count("note: Revealed type") == 4 and '"Any"' not in told, told
    assert "bsrnn.bands.core.BandScheme" in told and "def (" in told
