"""The package as pip installs it: a wheel in an environment of its own, far from a checkout."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from bsrnn.common import ROOT

pytestmark = pytest.mark.xdist_group("wheel")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Python of an environment that holds the wheel alone; what bsrnn needs is lent by this one.

    Lent by its path, so that this environment's own editable bsrnn is not seen.
    """
    pytest.importorskip("hatchling", reason="hatchling builds the wheel: pip install -e '.[dev]'")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q"]
    build = [*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(build, check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / Path(sys.executable).relative_to(sys.prefix)
    (wheel,) = folder.glob("*.whl")
    there = [*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(there, check=True)
    (package,) = folder.glob("venv/**/site-packages/bsrnn")
    lent = package.parent / "lent.pth"
    lent.write_text(sysconfig.get_path("purelib") + "\n" + sysconfig.get_path("platlib") + "\n")
    return python


@pytest.fixture
def run(installed, tmp_path, monkeypatch):
    """Calls a module of the environment in an empty folder; its output."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("BSRNN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "empty").mkdir()

    def call(*words) -> str:
        command = [installed, "-m", *map(str, words)]
        done = subprocess.run(command, cwd=tmp_path / "empty", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
        return done.stdout

    return call


def test_it_is_the_wheel_that_runs_and_it_is_complete(run, tmp_path):
    (tmp_path / "empty" / "where.py").write_text("import bsrnn; print(bsrnn.__file__)")
    package = Path(run("where").strip()).parent
    assert package.parent.name == "site-packages" and ROOT not in package.parents
    assert (package / "py.typed").is_file()
    assert len(list(package.glob("share/notebooks/[0-9]*.ipynb"))) == 16
    assert not list(package.rglob("*solution*")) and not (package / "share/data/generated").exists()


def test_songs_are_separated_and_evaluated_from_an_empty_folder(run, tmp_path):
    from bsrnn.data import sources

    run("bsrnn", "separate", sources.clip(), "--model", "music", "--out", "stems")
    stems = sorted(path.stem for path in tmp_path.glob("empty/stems/*/*.wav"))
    assert stems == ["bass", "drums", "other", "vocals"]
    assert "music" in run("bsrnn", "models")
    told = run("bsrnn", "evaluate", "music", "--dataset", "clip", "--out", "report")
    assert "mixture" in told and (tmp_path / "empty/report/report.html").is_file()
    assert not list((tmp_path / "empty").glob("[!sr]*")), "only stems and report"


def test_lessons_are_copied_and_run_from_another_folder(run, tmp_path):
    run("bsrnn", "course", "copy", tmp_path / "course")
    copied = {str(path.relative_to(tmp_path / "course")) for path in tmp_path.rglob("*.ipynb")}
    assert {"02_stft.ipynb", "sweep.ipynb", "assignments/release/a1/a1.ipynb"} <= copied
    assert not any("source" in name for name in copied)
    run("papermill", "-k", "python3", tmp_path / "course/02_stft.ipynb", "out.ipynb")
    assert {path.name for path in tmp_path.glob("empty/*")} == {"out.ipynb", "runs"}


def test_doctor_judges_the_wheel(run, installed):
    told = run("bsrnn", "doctor")
    assert "wrong " not in told and "ok        torch " in told
    assert str(installed.parent.parent) in told and os.fspath(ROOT / "bsrnn") not in told
