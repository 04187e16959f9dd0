"""What README's commands install: the pins name every package, and this environment holds them."""

import os
import re
import sysconfig
import tomllib
from importlib.metadata import distributions

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from bsrnn.common import CONSTRAINTS, ROOT, pins

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LISTED = [Requirement(line) for line in PROJECT["dependencies"]]
PINNED = dict(re.findall(r"(?m)^([a-z]\w*)==(\S+)$", (ROOT / "requirements.txt").read_text()))
PIP_ITSELF = {"pip", "setuptools", "wheel", "bsrnn"}


def test_every_package_is_pinned_inside_its_range():
    assert list(PINNED) == [need.name for need in LISTED], "the order of pyproject.toml"
    extras = [
        Requirement(line) for each in PROJECT["optional-dependencies"].values() for line in each
    ]
    for need in LISTED + extras:
        version = pins()[need.name.replace("_", "-")]
        assert need.specifier.contains(version), f"{need} does not allow the tested {version}"
        assert PINNED.get(need.name, version) == version, f"{need.name}: run .ci/pin"


def test_the_pins_name_no_host():
    assert not re.search(r"(?m)://|^--", CONSTRAINTS.read_text())


def test_this_environment_is_the_tested_set():
    """Of a fresh environment, as .ci/run makes it; elsewhere the versions may differ."""
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]  # not what tests added
    packages = distributions(path=folders)
    here = {d.name.lower().replace("_", "-").replace(".", "-"): d.version for d in packages}
    apart = {
        name
        for name, version in PINNED.items()
        if public(here.get(name.replace("_", "-"), "0")) != version
    }
    if apart and "BSRNN_PINNED" not in os.environ:
        pytest.skip(f"this environment was not made from the pins: it has other {sorted(apart)}")
    tested = pins()
    assert not set(here) - set(tested) - PIP_ITSELF, "installed, but not pinned: run .ci/pin"
    wrong = {name: (version, tested[name]) for name, version in here.items() if name in tested}
    wrong = {name: pair for name, pair in wrong.items() if public(pair[0]) != pair[1]}
    assert not wrong, f"(installed, pinned): {wrong}"


def public(version: str) -> str:
    """Without the build: 2.14.1+cpu is 2.14.1.

    >>> public("2.14.1+cpu")
    '2.14.1'
    """
    return Version(version).public
