"""How torch's threads wait is settled by the load of the machine, before torch is loaded."""

import contextlib
import os
import subprocess
import sys

import pytest

from bsrnn import threads

ABOUT_TO_LOAD = "import bsrnn, importlib.util; importlib.util.find_spec('torch')"
SHOW = "; import os; print(os.environ.get('OMP_WAIT_POLICY'))"


def policy(imports: str, **more) -> str:
    """OMP_WAIT_POLICY of a new process after these imports."""
    own = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
    kept = {name: value for name, value in os.environ.items() if name not in own}
    done = subprocess.run(
        [sys.executable, "-c", imports + SHOW],
        capture_output=True, text=True, check=True, env={**kept, **more},
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def busy():
    """As many processes that only compute as there are cores."""
    with contextlib.ExitStack() as stack:
        for _ in range(os.cpu_count()):
            burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(burner.wait)
            stack.callback(burner.kill)
        yield


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts the threads that run")
def test_threads_sleep_beside_other_work(busy):
    assert policy(ABOUT_TO_LOAD) == "PASSIVE"
    assert policy("import bsrnn") == "None", "nothing is decided before torch comes"
    assert policy("import torch, bsrnn") == "None", "too late: OpenMP has read its settings"


def test_a_setting_of_the_user_stays(busy):
    assert policy(ABOUT_TO_LOAD, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE"
    assert policy(ABOUT_TO_LOAD, GOMP_SPINCOUNT="1000") == "None"


def test_threads_spin_on_an_idle_machine(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(threads, "others", lambda: 0.2)
    threads.settle()
    assert "OMP_WAIT_POLICY" not in os.environ


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts the threads that run")
def test_the_number_of_threads_does_not_depend_on_the_load(busy):
    count = "import bsrnn, torch; print(torch.get_num_threads())"
    assert policy(count, OMP_NUM_THREADS="2").split() == ["2", "PASSIVE"]


SIZES = """
import bsrnn, torch
before = torch.get_num_threads()
for units in (10, 1000):
    with bsrnn.threads.suited(torch.nn.Linear(units, units)):
        print(torch.get_num_threads() == 1, end=" ")
print(torch.get_num_threads() == before, end=" ")
"""


def test_small_networks_train_on_one_thread():
    few = "import torch; torch.set_num_threads(2);"
    assert policy(few + SIZES.rstrip()).split()[:3] == ["True", "False", "True"]
    assert policy(few + SIZES.rstrip(), OMP_NUM_THREADS="2").split()[:3] == [
        "False",
        "False",
        "True",
    ]
