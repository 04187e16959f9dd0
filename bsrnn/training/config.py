"""TrainConfig: how a separator is trained, and the presets of the publications (lesson 07)."""

import dataclasses
import math
from functools import partial
from typing import Annotated, Literal

from bsrnn import losses
from bsrnn.common import UsageError, choose
from bsrnn.data import recipes
from bsrnn.settings import Json, checked

Count = Annotated[int, (1, 10**12)]
Whole = Annotated[int, (0, 10**12)]
Workers = Annotated[int, (0, 1024)]
Amount = Annotated[float, (0.0, 1e6)]
Size = Annotated[float, (1e-15, 1e12)]
Seconds = Annotated[float, (1e-3, 3600.0)]
Share = Annotated[float, (0.0, 0.9999999)]
Factor = Annotated[float, (1e-6, 1.0)]
Schedule = Literal["cosine", "exponential", "plateau", "constant"]


@dataclasses.dataclass(frozen=True)
class TrainConfig(Json):
    """How to train, apart from what is trained (ModelConfig) and on what (the dataset).

    >>> TrainConfig.from_json(TrainConfig(steps=3).to_json()).steps
    3
    """

    # Examples
    steps: Count = 1000  # optimiser updates in all
    batch: Count = 8  # examples per update, all passes and processes together
    accumulate: Count = 1  # passes that share an update; less memory, the same numbers
    seconds_per_segment: Seconds = 2.0  # length of an example in s; the paper takes 3
    recipe: str = "paper"  # how examples are mixed: a name of bsrnn.data.recipes
    mono: bool = False  # one random channel per source: half the cost; models that look across
    # channels (joint channels, TAC) hear all of them all the same
    distinct_items: Whole = 0  # repeat so many examples for ever: `batch` of them overfit
    workers: Workers = 0  # processes that prepare examples; results do not depend on it
    cache_gb: Amount = 2.0  # songs stay decoded in memory if they need less, workers together
    seed: Whole = 0  # initial weights and examples

    # Updates
    loss: str = "l1_both"  # a name of bsrnn.losses
    optimizer: Literal["adam", "adamw"] = "adamw"  # "adam" as in the paper, or "adamw"
    lr: Size = 1e-3  # peak learning rate
    weight_decay: Amount = 0.0  # added to the gradient by "adam", apart from it by "adamw"
    clip_norm: Size = 5.0  # largest gradient norm; the paper clips at 5
    schedule: Schedule = "cosine"  # "cosine" to 1 % of lr; "exponential": lr x decay_factor per
    # decay_steps (the paper's; with 0.1 a step); "plateau": lr x decay_factor when the monitor
    # rests; "constant"
    warmup_steps: Whole = 0  # linear rise to lr at the start
    decay_factor: Factor = 0.98  # of "exponential" and "plateau" (magronp's plateau: 0.5)
    decay_steps: Count = 20_000  # of "exponential": two epochs of 10,000 in the paper
    plateau_patience: Count = 5  # of "plateau": checkpoints without a better monitor it bears
    ema_decay: Share = 0.0  # average weights with this decay per update, judge and keep the
    # average (amanteur: 0.9999); 0: the weights themselves

    # Numbers and memory
    precision: Literal["32", "bf16", "16"] = "32"  # "bf16" or "16" (GPU only): mixed precision,
    # weights stay float32
    gradient_checkpointing: bool = False  # forget what is inside a block and compute it again
    # for the gradient: a third slower, a fraction of the memory, the same numbers

    # Checkpoints and the end
    checkpoint_every: Count = 100  # steps between validation + saved state + line of the log
    log_every: Count = 10  # steps between rows of history.csv; the loss is their mean
    monitor: str = "valid_usdr"  # what decides the best weights, plateau and early stop: this,
    # "valid_usdr_<stem>", or "loss" (mean over the steps since the last checkpoint)
    patience: Whole = 0  # stop after so many checkpoints without a better monitor; 0: never
    max_minutes: Amount = 0.0  # CPU minutes of this process after which to stop; 0: no limit.
    # With a limit a cosine also follows the clock, so such a run is not repeatable to the bit

    def __post_init__(self):
        checked(self)
        recipes.recipe(self.recipe)
        choose(self.loss, losses.names(), "loss")
        if self.batch % self.accumulate:
            raise UsageError(
                f"batch {self.batch} does not divide into {self.accumulate} passes: "
                "make it a multiple of accumulate"
            )

    def lr_at(self, step: int, spent: float = 0.0, drops: int = 0) -> float:
        """Learning rate of update `step` (from 0). spent: share of `max_minutes` used, so that a
        cosine ends with the run; drops: how often the monitor has come to rest.

        >>> TrainConfig(steps=10, lr=1.0, schedule="constant", warmup_steps=4).lr_at(0)
        0.25
        """
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        factor = 1.0
        if self.schedule == "cosine":
            share = min(1.0, max(step / self.steps, spent))
            factor = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))
        elif self.schedule == "exponential":
            factor = self.decay_factor ** (step // self.decay_steps)
        elif self.schedule == "plateau":
            factor = self.decay_factor**drops
        return self.lr * warmup * factor

    def one_channel(self, model) -> bool:
        """Whether a network (ModelConfig) is trained on one channel of each source."""
        return self.mono and model.joint_channels == 1 and not model.tac


def presets() -> dict[str, TrainConfig]:
    """Training presets: "smoke" (seconds), "small" (minutes), and the published ones, for GPUs:
    "paper" (days), "finetune", "magronp", "bandit", "d3net"."""
    # The first two are for few songs and one CPU. L2 instead of the paper's L1: SDR counts squares;
    # on the 7 s previews vocals had 3.6 dB validation uSDR after 200 steps against 2.5 dB with L1.
    quick = partial(TrainConfig, mono=True, recipe="few-songs", loss="l2_both")
    paper = TrainConfig(
        steps=1_000_000,  # 100 epochs of 10,000 batches
        batch=16,  # 2 on each of 8 GPUs
        seconds_per_segment=3.0,
        recipe="paper-lists",
        optimizer="adam",
        schedule="exponential",
        checkpoint_every=10_000,
        log_every=100,
        patience=10,
        workers=8,
    )
    like_paper = partial(dataclasses.replace, paper)
    return {
        "smoke": quick(steps=300, batch=4, seconds_per_segment=1.0, lr=2e-2, warmup_steps=10),
        "small": quick(seconds_per_segment=1.5, lr=3e-3, warmup_steps=30, checkpoint_every=200),
        "paper": paper,
        "finetune": like_paper(lr=1e-4),  # its semi-supervised stage
        # magronp/bsrnn: 2 items on each of 4 GPUs, lr scaled by batch / 16; 200 epochs of 20,000
        # items; patience 10, and 30 for the published models
        "magronp": like_paper(
            steps=500_000,
            batch=8,
            recipe="magronp",
            lr=5e-4,
            decay_steps=5_000,
            checkpoint_every=2_500,
            seed=42,
        ),
        # kwatcharasupat/bandit: 20,000 items an epoch, 100 epochs. It stops on the validation loss
        # of 6 s crops; here, as everywhere, on uSDR of whole songs
        "bandit": like_paper(
            batch=2, seconds_per_segment=6.0, recipe="bandit", loss="l1_snr", patience=20, seed=42
        ),
        "d3net": TrainConfig(  # sony/ai-research-code: 50 epochs of 1066 batches, lr / 10 after 40
            steps=53_300,
            batch=6,
            seconds_per_segment=6.0,
            recipe="d3net",
            loss="l2_magnitude",
            optimizer="adam",
            weight_decay=1e-4,
            schedule="exponential",
            decay_steps=42_640,
            decay_factor=0.1,
            clip_norm=1e9,  # none
            checkpoint_every=1066,
            log_every=100,
            workers=4,
        ),
    }
