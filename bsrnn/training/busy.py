"""What other work on the machine costs a small training: `python -m bsrnn.training.busy`.

Steps a second of the `tiny` network as torch comes, and as `bsrnn.threads` settles it, on the
machine as it is and beside `LOAD` processes that only compute. Medians of interleaved rounds.
"""

import contextlib
import os
import statistics
import subprocess
import sys

import pandas

LOAD = 4
ROUNDS = 5
SECONDS = 2.0  # of each measurement
ORDERS = {"as torch comes": "import torch, bsrnn", "settled": "import bsrnn, torch"}
_WORK = """
import sys, time
from bsrnn import models

torch.manual_seed(0)
network = models.BandSplitSeparator(models.presets()["tiny"])
optimizer = torch.optim.Adam(network.parameters())
mixture = torch.randn(4, 2, 88200)


def step():
    optimizer.zero_grad()
    network(mixture).square().mean().backward()
    optimizer.step()


step()
print("ready", flush=True)
for seconds in map(float, sys.stdin):
    began, steps = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        step()
        steps += 1
    print(steps / (time.monotonic() - began), flush=True)
"""


def table(load=LOAD, rounds=ROUNDS, seconds=SECONDS) -> pandas.DataFrame:
    """Steps a second: a row for the machine as it is, one beside `load` busy processes."""
    return pandas.DataFrame([_row(count, rounds, seconds) for count in (0, load)])


def _row(load: int, rounds: int, seconds: float) -> dict:
    steps = {name: [] for name in ORDERS}
    with contextlib.ExitStack() as stack:
        for _ in range(load):
            stack.enter_context(_process("while True: pass"))
        workers = {}
        for name, order in ORDERS.items():  # the other one sleeps while this one looks around
            workers[name] = stack.enter_context(_process(order + _WORK))
            workers[name].stdout.readline()
        for _ in range(rounds):
            for name, worker in workers.items():
                print(seconds, file=worker.stdin, flush=True)
                steps[name].append(float(worker.stdout.readline()))
    medians = {name: statistics.median(values) for name, values in steps.items()}
    return {
        "busy processes": load,
        **medians,
        "ratio": medians["settled"] / medians["as torch comes"],
    }


@contextlib.contextmanager
def _process(code: str):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    with subprocess.Popen([sys.executable, "-c", code], **pipes, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    print(table().round(2).to_string(index=False))
