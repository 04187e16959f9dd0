"""What a run spends: device and multiply-accumulates, beside the clocks (lesson 13)."""

import platform
from pathlib import Path

import torch

from bsrnn import models
from bsrnn.models.cost import cost


def device_name(device) -> str:
    """The GPU or CPU behind a torch device, in its maker's words."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def work(model, train, steps: int) -> dict:
    """MACs by the rule of `bsrnn.cost`, of a ModelConfig under a TrainConfig: of one second of
    sound in all channels, and of all training examples of `steps` updates, forward. A backward
    pass adds about twice that; validation is not counted. Nothing for D3Net: it has no closed form.
    """
    if not isinstance(model, models.ModelConfig):
        return {}
    heard = model.channels if train.one_channel(model) else 1  # one of so many channels is trained
    example = cost(model, train.seconds_per_segment).macs / heard
    return {
        "macs_per_second": round(cost(model, 6.0).macs / 6.0),
        "training_macs": round(example * train.batch * steps),
    }
