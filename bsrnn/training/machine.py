"""What a run computes on: CPU or GPUs, one process or many, one machine or many (lesson 07).

    python -m bsrnn train ... --devices 2                          # two processes of this machine
    torchrun --nproc-per-node 4 -m bsrnn train ...                 # as many as torchrun starts
    srun --ntasks-per-node 4 python -m bsrnn train ...             # as many as SLURM starts

Processes that torchrun or SLURM has started are counted from their environment; otherwise Lightning
starts the others by running the same command again.
"""

import dataclasses
import os

import torch
from lightning.fabric.utilities.imports import _IS_INTERACTIVE

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
    def first(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return rank() == 0

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
        if self.world > 1 and _IS_INTERACTIVE:
            raise UsageError(
                "a notebook trains in one process: use python -m bsrnn train --devices "
                f"{self.devices}, or devices=1"
            )


def rank() -> int:
    """Number of this process among all, before and after Lightning has started."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name])
    return 0


def find(device: str = "auto", devices="auto") -> Machine:
    """The machine that is asked for.

    device: "auto" (CUDA if present), "cpu", "cuda"; devices: a number of processes on this machine,
    "all": one for every GPU, or "auto": what torchrun or SLURM started, else one.
    UsageError if there is no such device or the numbers contradict.
    """
    choose(device, ("auto", "cpu", "cuda"), "device")
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise UsageError("no CUDA device is visible: use device='cpu' or 'auto'")
    accelerator = "gpu" if device != "cpu" and cuda else "cpu"
    started, nodes = _started()
    if devices == "auto":
        devices = started or 1
    elif devices == "all":
        devices = torch.cuda.device_count() if accelerator == "gpu" else 1
    try:
        devices = int(devices)
    except ValueError:
        raise UsageError(f"devices is {devices!r}: give a number, auto or all") from None
    if devices < 1:
        raise UsageError(f"devices is {devices}: give at least 1")
    if started and started != devices:
        raise UsageError(f"{started} processes were started, not {devices}: use devices='auto'")
    if accelerator == "gpu" and devices > torch.cuda.device_count():
        raise UsageError(f"{devices} GPUs asked for, {torch.cuda.device_count()} are visible")
    return Machine(accelerator, devices, nodes)


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
