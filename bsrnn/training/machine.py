"""What a run computes on: CPU or GPUs, one process or many, one machine or many (lesson 07).

    python -m bsrnn train ... --devices 2                          # two processes of this machine
    torchrun --nproc-per-node 4 -m bsrnn train ...                 # as many as torchrun starts
    srun --ntasks-per-node 4 python -m bsrnn train ...             # as many as SLURM starts

Without torchrun or SLURM Lightning starts the others by running the same command again.
"""

import dataclasses
import os
import platform
import sys
from pathlib import Path

import torch

from bsrnn.common import UsageError, choose


@dataclasses.dataclass(frozen=True)
class Machine:
    """Lightning's accelerator, processes on this machine, machines."""

    accelerator: str = "cpu"  # "cpu" or "gpu"
    devices: int = 1
    nodes: int = 1

    @property
    def world(self) -> int:
        """Processes in all."""
        return self.devices * self.nodes

    @property
    def torch_device(self) -> str:
        """The same in torch's words."""
        return "cuda" if self.accelerator == "gpu" else "cpu"

    def require(self, config) -> None:
        """UsageError if a TrainConfig cannot run here."""
        if config.precision == "16" and self.accelerator == "cpu":
            raise UsageError("precision 16 needs a GPU: use precision='bf16' or '32'")
        passes = self.world * config.accumulate
        if config.batch % passes:
            raise UsageError(
                f"batch {config.batch} does not divide among {self.world} processes x "
                f"{config.accumulate} passes: make it a multiple of {passes}"
            )
        if self.world > 1 and hasattr(sys, "ps1"):
            raise UsageError(
                "a notebook trains in one process: use python -m bsrnn train --devices "
                f"{self.devices}, or devices=1"
            )


def rank() -> int:
    """Number of this process among all, before and after Lightning has started: 0 writes files."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)


def find(device: str = "auto", devices="auto") -> Machine:
    """The machine asked for in the words of `fit`; UsageError if there is none or its numbers
    contradict."""
    choose(device, ("auto", "cpu", "cuda"), "device")
    gpus = torch.cuda.device_count() if device != "cpu" else 0
    if device == "cuda" and not gpus:
        raise UsageError("no CUDA device is visible: use device='cpu' or 'auto'")
    started, nodes = _started()
    count = {"auto": started or 1, "all": gpus or 1}.get(devices, devices)
    if not str(count).isdigit() or not 1 <= int(count) <= 256:
        raise UsageError(f"devices is {devices!r}: give a number from 1 to 256, auto or all")
    count = int(count)
    if started and started != count:
        raise UsageError(f"{started} processes were started, not {count}: use devices='auto'")
    if gpus and count > gpus:
        raise UsageError(f"{count} GPUs asked for, {gpus} are visible")
    return Machine("gpu" if gpus else "cpu", count, nodes)


def _started() -> tuple[int, int]:
    """Processes per machine and machines that a launcher has started; 0, 1 without a launcher."""
    given = os.environ
    if "LOCAL_WORLD_SIZE" in given:  # torchrun
        local = int(given["LOCAL_WORLD_SIZE"])
        return local, int(given["WORLD_SIZE"]) // local
    if "SLURM_PROCID" in given and int(given.get("SLURM_NTASKS", 1)) > 1:  # inside srun
        nodes = int(given.get("SLURM_NNODES", 1))
        return int(given["SLURM_NTASKS"]) // nodes, nodes
    return 0, 1


def device_name(device) -> str:
    """The GPU or CPU behind a torch device, in its maker's words."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def forked(device):
    """A context after which the generators of random numbers are as they were."""
    return torch.random.fork_rng(devices=[0] if torch.device(device).type == "cuda" else [])
