"""What a run spends: device, multiply-accumulates and, on request, energy (lesson 13).

    pip install codecarbon          # 3.3 fits requirements.txt; numpy and torch stay as they are
    fit(..., energy=True)           # or sweep run -p energy true

Conventions
    Energy in kWh is in a card only where codecarbon is installed *and* asked for, and only if every
    session of the run was counted. Offline mode: no network, no file, no emission factors. Counted
    are this process's share of the CPU, the machine's memory, and every visible GPU. NVIDIA GPUs
    and, where readable, CPUs (RAPL) are measured; otherwise codecarbon models the CPU from its
    load and nominal power, and memory by its size: compare such numbers within one machine.

Reference: Schmidt et al., CodeCarbon, github mlco2/codecarbon.
"""

import logging
import platform
from pathlib import Path

import torch

from bsrnn import models
from bsrnn.common import UsageError, optional
from bsrnn.models.cost import cost

EVERY_S = 5  # between two looks at the load
METHOD = "codecarbon, offline, of the training process"


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


class Meter:
    """Counts from its creation to `stop`; `kwh()` reads it."""

    def __init__(self, processes: int = 1):
        if processes > 1:
            raise UsageError("energy is measured for one process: leave it out, or use devices=1")
        codecarbon = optional("codecarbon")
        logging.getLogger("codecarbon").setLevel(logging.ERROR)  # it tells of its own start
        # Its running total is in kg CO2e only: at 1000 g per kWh that is the energy in kWh.
        self._tracker = codecarbon.OfflineEmissionsTracker(
            country_iso_code="USA",  # one must be named offline; it has no influence on energy
            force_carbon_intensity_g_co2e_kwh=1000.0,
            tracking_mode="process",
            measure_power_secs=EVERY_S,
            save_to_file=False,
            log_level="error",
            allow_multiple_runs=True,  # leaves of a sweep run side by side
        )
        self._tracker.start()
        self._last = None

    def kwh(self) -> float:
        """Energy so far."""
        return float(self._tracker.flush()) if self._last is None else self._last

    def stop(self) -> None:
        """Stop counting; `kwh` keeps the last value."""
        self._last = float(self._tracker.stop())
