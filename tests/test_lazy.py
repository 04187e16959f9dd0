"""Packages whose names are imported on first use: light, listed, plain about what is missing."""

import importlib
import subprocess
import sys

import pytest

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
    with pytest.raises(AttributeError, match=rf"module '{package}' .* 'no_such'; it has .*{name}"):
        _ = module.no_such
