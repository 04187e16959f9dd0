"""What a training will cost, before it starts: `plan` (lesson 11).

    print(plan(model_config, 24).text())

Memory is counted, not guessed: weights, their gradients and Adam's two moments (16 bytes a
parameter, 4 more for averaged weights), and what autograd keeps of one example between forward and
backward, measured on a short excerpt with hooks on the saved tensors. That part grows linearly with
length and batch for recurrent and convolutional networks, which is all the arithmetic there is. A
kernel library may want workspace beyond it; so RESERVE of the memory stays free. On a GPU the peak
of the probe counts instead, workspace included, and one pass of the proposal is timed: there many
examples take hardly longer than one.
"""

import dataclasses
import math
import time
from collections.abc import Callable

import torch

from bsrnn import losses
from bsrnn.common import UsageError
from bsrnn.models.cost import cost
from bsrnn.training import machine
from bsrnn.training.config import TrainConfig, presets
from bsrnn.training.parts import recompute_blocks

RESERVE = 0.15  # share of the memory left to workspaces, fragmentation and the system
PROBE_S = (0.5, 1.0)  # two lengths tell what grows with the example from what does not
_SHORTEST_S = 0.5


@dataclasses.dataclass(frozen=True)
class Plan:
    """What `plan` found. Times are of one process; memory is per process."""

    parameters: int
    gmacs: float  # multiply-accumulates of one example, forward, in 1e9
    fixed_gb: float  # weights, gradients, moments
    example_gb: float  # kept for one example between forward and backward
    memory_gb: float  # what was asked for
    needed_gb: float  # by the proposal
    fits: bool  # False: not even the shortest example fits
    seconds_per_step: float  # of the proposal, measured here and scaled; NaN without a probe
    hours: float  # all steps of it, without validation
    config: TrainConfig  # the proposal: batch, accumulate, segment, gradient_checkpointing

    def text(self) -> str:
        """The plan in lines for a terminal."""
        config, hours = self.config, self.hours
        lasts = f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.0f} days"
        rows = {
            "parameters": f"{self.parameters:,}",
            "one example": f"{config.seconds_per_segment:g} s, {self.gmacs:.1f} GMAC forward, "
            f"{self.example_gb:.2f} GB kept",
            "weights, gradients, moments": f"{self.fixed_gb:.2f} GB",
            "memory": f"{self.needed_gb:.1f} of {self.memory_gb:g} GB"
            + ("" if self.fits else ": does not fit, take a smaller model"),
            "one update": f"{config.batch} examples in {config.accumulate} passes"
            + (", blocks recomputed" if config.gradient_checkpointing else "")
            + f": {self.seconds_per_step:.2f} s here",
            "all updates": f"{config.steps:,}: {lasts}, without validation",
        }
        options = f"-p batch {config.batch} -p accumulate {config.accumulate} "
        options += f"-p seconds_per_segment {config.seconds_per_segment:g}"
        if config.gradient_checkpointing:
            options += " -p gradient_checkpointing true"
        lines = [f"{name + ':':29}{text}" for name, text in rows.items()]
        return "\n".join([*lines, f"{'proposal:':29}{options}"])


def plan(
    model_config, memory_gb: float, train_config=None, device: str = "cpu", channels: int = 0
) -> Plan:
    """Parameters, memory and seconds per step of a training, and what fits `memory_gb` per process.

    model_config is a ModelConfig, train_config a TrainConfig, by default the preset "paper";
    device, "cpu", "cuda" or "auto", is where the probe runs and the seconds hold; channels is that
    of the songs (0: as the model's), for a network takes those it does not join one by one.
    The proposal keeps the batch and splits it into the fewest passes that fit; if one
    example is too much it recomputes blocks, then shortens the example. Half precision is not
    counted on: it is a reserve. Lesson 11.
    """
    if not memory_gb > 0:
        raise UsageError(f"memory_gb is {memory_gb}: give a number above 0")
    config = train_config or presets()["paper"]
    if channels and model_config.channel_handling == "independent":
        model_config = dataclasses.replace(model_config, channels=channels)
    usable = memory_gb * (1 - RESERVE) * 1e9
    probes = [_probe(model_config, config, device)]
    if probes[0].passes(config, usable) is None and not config.gradient_checkpointing:
        config = dataclasses.replace(config, gradient_checkpointing=True)
        probes.append(_probe(model_config, config, device))
    probe = probes[-1]
    while probe.passes(config, usable) is None and not model_config.chunk_samples:
        shorter = math.floor(config.seconds_per_segment) - 0.5  # 3 -> 2.5 -> 1.5 -> 0.5
        if shorter < _SHORTEST_S:
            break
        config = dataclasses.replace(config, seconds_per_segment=shorter)
    passes = probe.passes(config, usable)
    config = dataclasses.replace(config, accumulate=passes or config.batch)
    needed = probe.fixed + probe.example(config) * config.batch / config.accumulate
    seconds = probe.seconds(config, fits=passes is not None)
    counted = cost(model_config, config.seconds_per_segment)
    return Plan(
        counted.parameters,
        counted.macs / 1e9 / (model_config.channels if config.one_channel(model_config) else 1),
        probe.fixed / 1e9,
        probe.example(config) / 1e9,
        memory_gb,
        needed / 1e9,
        passes is not None,
        seconds,
        seconds * config.steps / 3600,
        config,
    )


@dataclasses.dataclass(frozen=True)
class _Probe:
    """Bytes of the weights; bytes of one example as a line over its length in s (offset, slope);
    seconds of computing per second of it, on a CPU; on a GPU what times a pass (config -> s)."""

    fixed: float
    kept: tuple[float, float]
    spent: float
    timed: Callable | None = None

    def example(self, config) -> float:
        return self.kept[0] + self.kept[1] * config.seconds_per_segment

    def seconds(self, config, fits: bool) -> float:
        """Of one update."""
        if self.timed and fits:
            return self.timed(config) * config.accumulate
        return self.spent * config.seconds_per_segment * config.batch

    def passes(self, config, usable: float) -> int | None:
        """The fewest passes whose share of the batch fits, None if one example does not."""
        for passes in range(config.accumulate, config.batch + 1):
            if config.batch % passes == 0:
                examples = config.batch // passes
                if self.fixed + examples * self.example(config) <= usable:
                    return passes
        return None


def _probe(model_config, config, device: str) -> _Probe:
    """Measure one example of two lengths on this device."""
    from bsrnn import models

    place = "cuda" if machine.find(device, 1).accelerator == "gpu" else "cpu"
    lengths = PROBE_S
    if model_config.chunk_samples:  # a network made for one length
        lengths = (model_config.chunk_samples / model_config.sample_rate,)
    devices = [0] if place == "cuda" else []

    def timed(config):
        length, examples = config.seconds_per_segment, config.batch // config.accumulate
        with torch.random.fork_rng(devices=devices):
            runs = [_measure(separator, model_config, config, length, place, examples)
                    for _ in range(3)]  # fmt: skip
        return min(seconds for _, seconds in runs)

    with torch.random.fork_rng(devices=devices):
        separator = models.build(model_config).to(place).train()

        def measure():
            found = [_measure(separator, model_config, config, each, place) for each in lengths]
            return tuple(zip(*found, strict=True))

        _measure(separator, model_config, config, lengths[0], place)  # warms up
        kept, spent = measure()
        if config.gradient_checkpointing:
            recompute_blocks(separator)
            whole, (kept, spent) = kept, measure()
            if place == "cpu":  # one block at a time lives again for its gradient
                blocks = max(1, model_config.repeats)
                kept = [few + (all_ - few) / blocks for few, all_ in zip(kept, whole, strict=True)]
    weights = sum(weight.numel() for weight in separator.parameters())
    fixed = weights * (16 + (4 if config.ema_decay else 0))
    line, each = _line(lengths, kept), spent[-1] / lengths[-1]
    return _Probe(fixed, line, each, timed if place == "cuda" else None)


def _measure(separator, model_config, config, seconds: float, device: str, examples: int = 1):
    """Bytes that examples of this length need between forward and backward (on a CPU what autograd
    keeps, on a GPU the peak), and seconds for their gradient."""
    samples = round(seconds * model_config.sample_rate)
    channels = 1 if config.one_channel(model_config) else model_config.channels
    mixture = torch.randn(examples, channels, samples, device=device)
    own = {weight.untyped_storage().data_ptr() for weight in separator.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    began = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        waveforms, spectra = separator.estimate(mixture)
        target = torch.zeros_like(waveforms)
        loss = losses.loss(config.loss, waveforms, spectra, target, model_config.stft)
    loss.backward()
    if device == "cuda":
        torch.cuda.synchronize()
        needed = torch.cuda.max_memory_allocated() - before
    else:
        needed = sum(kept.values())
    return needed, time.perf_counter() - began


def _line(lengths, values) -> tuple[float, float]:
    """Offset and slope through one or two points; a single one is proportional to its length."""
    if len(lengths) == 1:
        return 0.0, values[0] / lengths[0]
    slope = (values[1] - values[0]) / (lengths[1] - lengths[0])
    return values[0] - slope * lengths[0], slope
