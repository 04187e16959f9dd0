"""What a training will cost, before it starts: `plan(model_config, 24).text()` (lesson 11).

Memory is counted: weights, their gradients and Adam's two moments (16 bytes a parameter, 4 more for
averaged weights), and what autograd keeps of an example between forward and backward, measured on
two short excerpts with hooks on the saved tensors; it grows linearly with length and batch. On a
GPU the peak of the probe counts instead, and a pass of the proposal is timed: there many examples
take hardly longer than one.
"""

import dataclasses
import math
import time

import torch

from bsrnn import losses, models
from bsrnn.models.cost import cost
from bsrnn.settings import in_range
from bsrnn.training.config import TrainConfig, presets
from bsrnn.training.machine import find, forked
from bsrnn.training.parts import recompute_blocks

RESERVE = 0.15  # share of the memory left to workspaces, fragmentation and the system
PROBE_S = (0.5, 1.0)  # two lengths tell what grows with the example from what does not
SHORTEST_S = 0.5


@dataclasses.dataclass(frozen=True)
class Plan:
    """What `plan` found. Times are of one process; memory is per process."""

    parameters: int
    gmacs: float  # of one example, forward
    fixed_gb: float  # weights, gradients, moments
    example_gb: float  # kept for one example between forward and backward
    memory_gb: float  # what was asked for
    fits: bool  # False: not even the shortest example fits
    seconds_per_step: float  # of the proposal, measured here and scaled
    config: TrainConfig  # the proposal: batch, accumulate, segment, gradient_checkpointing

    @property
    def needed_gb(self) -> float:
        """Memory of the proposal."""
        return self.fixed_gb + self.example_gb * self.config.batch / self.config.accumulate

    def text(self) -> str:
        """The plan in lines for a terminal."""
        config, hours = self.config, self.seconds_per_step * self.config.steps / 3600
        small = "" if self.fits else ": does not fit, take a smaller model"
        again = ", blocks recomputed" if config.gradient_checkpointing else ""
        options = f"-p batch {config.batch} -p accumulate {config.accumulate} "
        options += f"-p seconds_per_segment {config.seconds_per_segment:g}"
        options += " -p gradient_checkpointing true" if again else ""
        rows = {
            "parameters": f"{self.parameters:,}",
            "one example": f"{config.seconds_per_segment:g} s, {self.gmacs:.1f} GMAC forward, "
            f"{self.example_gb:.2f} GB kept",
            "weights, gradients, moments": f"{self.fixed_gb:.2f} GB",
            "memory": f"{self.needed_gb:.1f} of {self.memory_gb:g} GB{small}",
            "one update": f"{config.batch} examples in {config.accumulate} passes{again}: "
            f"{self.seconds_per_step:.2f} s here",
            "all updates": f"{config.steps:,}: {hours:,.1f} h, without validation",
            "proposal": options,
        }
        return "\n".join(f"{name + ':':29}{text}" for name, text in rows.items())


def plan(
    model_config, memory_gb: float, train_config=None, device: str = "cpu", channels: int = 0
) -> Plan:
    """Parameters, memory and seconds per step of a training, and what fits `memory_gb` per process.

    train_config: a TrainConfig, by default the preset "paper"; device: "cpu", "cuda" or "auto",
    where the probe runs; channels: of the songs (0: as the model's), for a network takes those it
    does not join one by one. The proposal keeps the batch and splits it into the fewest passes that
    fit; if one example is too much it recomputes blocks, then shortens the example. Lesson 11.
    """
    in_range("memory_gb", memory_gb, 1e-9, 1e6)
    config = train_config or presets()["paper"]
    if channels and model_config.channel_handling == "independent":
        model_config = dataclasses.replace(model_config, channels=channels)
    usable = memory_gb * (1 - RESERVE) * 1e9
    probe = _Probe(model_config, config, device)
    if probe.passes(config, usable) is None and not config.gradient_checkpointing:
        config = dataclasses.replace(config, gradient_checkpointing=True)
        probe = _Probe(model_config, config, device)
    while probe.passes(config, usable) is None and not model_config.chunk_samples:
        shorter = math.floor(config.seconds_per_segment) - 0.5  # 3 -> 2.5 -> 1.5 -> 0.5
        if shorter < SHORTEST_S:
            break
        config = dataclasses.replace(config, seconds_per_segment=shorter)
    passes = probe.passes(config, usable)
    config = dataclasses.replace(config, accumulate=passes or config.batch)
    return Plan(
        parameters=cost(model_config).parameters,
        gmacs=_example_macs(model_config, config) / 1e9,
        fixed_gb=probe.fixed / 1e9,
        example_gb=probe.example(config) / 1e9,
        memory_gb=memory_gb,
        fits=passes is not None,
        seconds_per_step=probe.seconds(config, fits=passes is not None),
        config=config,
    )


def _example_macs(model_config, config: TrainConfig) -> float:
    """Multiply-accumulates of one example, forward."""
    heard = model_config.channels if config.one_channel(model_config) else 1
    return cost(model_config, config.seconds_per_segment).macs / heard


def work(model_config, config: TrainConfig, steps: int) -> dict:
    """MACs by the rule of `bsrnn.cost`: of one second of sound in all channels, and of all training
    examples of `steps` updates, forward. A backward pass adds about twice that; validation is not
    counted. Nothing for D3Net: it has no closed form (lesson 13)."""
    if not isinstance(model_config, models.ModelConfig):
        return {}
    return {
        "macs_per_second": round(cost(model_config, 6.0).macs / 6.0),
        "training_macs": round(_example_macs(model_config, config) * config.batch * steps),
    }


class _Probe:
    """Bytes and seconds of a new network under a TrainConfig, measured on this device."""

    def __init__(self, model_config, config: TrainConfig, device: str):
        self.model, self.config = model_config, config
        self.device = find(device, 1).torch_device
        with forked(self.device):
            self.separator = models.build(model_config).to(self.device).train()
        weights = sum(weight.numel() for weight in self.separator.parameters())
        self.fixed = weights * (20 if config.ema_decay else 16)
        self.lengths = PROBE_S
        if model_config.chunk_samples:  # a network made for one length: through zero
            self.lengths = (0.0, model_config.chunk_samples / model_config.sample_rate)
        self._measure(self.lengths[-1])  # warms up
        self.kept, self.spent = self._both()
        if config.gradient_checkpointing:
            whole = self.kept
            recompute_blocks(self.separator)
            self.kept, self.spent = self._both()
            if self.device == "cpu":  # one block at a time lives again for its gradient
                blocks = max(1, model_config.repeats)
                pairs = zip(self.kept, whole, strict=True)
                self.kept = [few + (all_ - few) / blocks for few, all_ in pairs]

    def example(self, config: TrainConfig) -> float:
        """Bytes kept of one example: the line through both probes."""
        (short, long), (few, many) = self.lengths, self.kept
        return few + (many - few) * (config.seconds_per_segment - short) / (long - short)

    def seconds(self, config: TrainConfig, fits: bool) -> float:
        """Of one update."""
        examples = config.batch // config.accumulate
        length = config.seconds_per_segment
        if self.device == "cuda" and fits:
            timed = [self._measure(length, examples)[1] for _ in range(3)]
            return min(timed) * config.accumulate
        return self.spent * length * config.batch

    def passes(self, config: TrainConfig, usable: float) -> int | None:
        """The fewest passes whose share of the batch fits, None if one example does not."""
        for passes in range(config.accumulate, config.batch + 1):
            examples = config.batch / passes
            if examples.is_integer() and self.fixed + examples * self.example(config) <= usable:
                return passes
        return None

    def _both(self) -> tuple[list, float]:
        """Bytes of both lengths, and seconds per second of the longer."""
        kept, seconds = zip(*(self._measure(length) for length in self.lengths), strict=True)
        return list(kept), seconds[-1] / self.lengths[-1]

    def _measure(self, seconds: float, examples: int = 1) -> tuple[float, float]:
        """Bytes that examples of this length need between forward and backward (on a CPU what
        autograd keeps, on a GPU the peak), and seconds for their gradient."""
        if not seconds:
            return 0.0, 0.0
        channels = 1 if self.config.one_channel(self.model) else self.model.channels
        samples = round(seconds * self.model.sample_rate)
        weights = {x.untyped_storage().data_ptr() for x in self.separator.parameters()}
        kept, cuda = {}, self.device == "cuda"

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with forked(self.device):
            mixture = torch.randn(examples, channels, samples, device=self.device)  # (B, C, L)
            if cuda:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            began = time.perf_counter()
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                waveforms, spectra = self.separator.estimate(mixture)
                silence = torch.zeros_like(waveforms)
                name, stft = self.config.loss, self.model.stft
                loss = losses.loss(name, waveforms, spectra, silence, stft)
            loss.backward()
            if cuda:
                torch.cuda.synchronize()
        needed = torch.cuda.max_memory_allocated() - before if cuda else sum(kept.values())
        return needed, time.perf_counter() - began
