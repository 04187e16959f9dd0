"""Training on Lightning Fabric: a call, a visible loop, exact resume (lessons 07 and 10).

    result = fit(model_config, presets()["smoke"], bsrnn.data.open("toy"), "runs/first")

The run folder holds the separator (last.safetensors, best.safetensors: `bsrnn.load`), all that a
resume needs (state.pt), the log (history.csv) and what the run was (card.json).

A *step* is one optimiser update on one batch. Batch (`bsrnn.data.mixing.RandomMixer`) and learning
rate (`TrainConfig.lr_at`) are functions of seed and step: so four steps equal two steps, a kill and
two more, bit for bit on the CPU with the same number of threads. The batch is the same however many
passes (`accumulate`) and processes (`devices`) share it. Validation takes the median uSDR over
whole songs per stem, then the mean over stems. The test subset is never read.

Luo & Yu 2022 (arXiv 2209.15174), section IV-B: Adam, 1e-3, x0.98 every two epochs, clip at 5.
"""

from bsrnn.training.check import overfit
from bsrnn.training.config import TrainConfig, presets
from bsrnn.training.job import FitResult, fit
from bsrnn.training.parts import PARTS, transfer
from bsrnn.training.planning import Plan, plan
from bsrnn.training.scores import validation

__all__ = [
    "FitResult", "PARTS", "Plan", "TrainConfig", "fit", "overfit", "plan", "presets", "transfer",
    "validation",
]  # fmt: skip
