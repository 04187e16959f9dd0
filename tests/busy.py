"""What other work on the machine costs a small training: `PYTHONPATH=. python tests/busy.py`.

Updates a second of the `tiny` network, with torch's threads as torch comes (one for each core, all
spinning) and as `bsrnn.threads` settles them, on the machine as it is and beside four processes
that only compute, each in a session of its own. Medians of interleaved rounds.
"""

import contextlib
import os
import subprocess
import sys

import pandas

LOAD, ROUNDS, SECONDS = 4, 7, 3.0
TRAIN = """
import sys, time
import bsrnn, torch
from bsrnn import models, threads

torch.manual_seed(0)
network = models.BandSplitSeparator(models.presets()["tiny"])
optimizer = torch.optim.Adam(network.parameters())
mixture = torch.randn(4, 2, 88200)


def step():
    optimizer.zero_grad()
    network(mixture).square().mean().backward()
    optimizer.step()


with threads.suited(network):
    step()
    print("ready", flush=True)
    for seconds in map(float, sys.stdin):
        began, steps = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            step()
            steps += 1
        print(steps / (time.monotonic() - began), flush=True)
"""
# 300,000 looks before a thread sleeps is what GNU's OpenMP does where nothing is set.
SETTINGS = {
    "as torch comes": {"OMP_NUM_THREADS": str(os.cpu_count()), "GOMP_SPINCOUNT": "300000"},
    "settled": {},
}


def updates_per_s(load: int) -> dict:
    """Median updates a second of each setting, beside `load` busy processes."""
    rounds = {name: [] for name in SETTINGS}
    with contextlib.ExitStack() as stack:
        for _ in range(load):
            stack.enter_context(process("while True: pass"))
        workers = {name: stack.enter_context(process(TRAIN, **SETTINGS[name])) for name in SETTINGS}
        for worker in workers.values():
            worker.stdout.readline()
        for _ in range(ROUNDS):
            for name, worker in workers.items():
                print(SECONDS, file=worker.stdin, flush=True)
                rounds[name].append(float(worker.stdout.readline()))
    return pandas.DataFrame(rounds).median().to_dict()


@contextlib.contextmanager
def process(code: str, **settings):
    kept = {name: value for name, value in os.environ.items() if "OMP_" not in name}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    options = {"env": kept | settings, "start_new_session": True, **pipes}
    with subprocess.Popen([sys.executable, "-c", code], **options) as started:
        try:
            yield started
        finally:
            started.kill()


if __name__ == "__main__":
    table = pandas.DataFrame([{"load": load, **updates_per_s(load)} for load in (0, LOAD)])
    table["ratio"] = table["settled"] / table["as torch comes"]
    print(table.round(2).to_string(index=False))
