"""Training on Lightning: one call, one state file, exact resume (lesson 07; transfer: lesson 10).

    result = fit(model_config, presets()["smoke"], bsrnn.data.open("toy"), "runs/first")

The run folder holds
    last.safetensors, best.safetensors   the separator, readable by `bsrnn.load`
    state.pt                             everything a resume needs: weights, optimiser, step, log
    history.csv, card.json               the log and what the run was

Conventions
    A *step* is one optimiser update on one batch. Batch (`bsrnn.data.mixing.RandomMixer`) and
    learning rate (`TrainConfig.lr_at`) are functions of seed and step. So four steps equal two
    steps, a kill and two more, bit for bit on the CPU with the same number of threads.
    Validation separates the *whole* validation songs through `bsrnn.separation.separate` and takes
    the median uSDR over songs per stem, then the mean over stems. The test subset is never read.

References
    Luo & Yu 2022 (arXiv 2209.15174), section IV-B: Adam, 1e-3, x0.98 every two epochs, clip at 5.
"""

import dataclasses
import json
import math
import pathlib

import pandas
import torch

from bsrnn import losses, models
from bsrnn.data import mixing
from bsrnn.errors import UsageError, choose
from bsrnn.training_run import Run, validation

__all__ = ["FitResult", "PARTS", "TrainConfig", "fit", "presets", "transfer", "validation"]

PARTS = ("split", "sequence", "masks")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to train, apart from what is trained (ModelConfig) and on what (the dataset).

    >>> TrainConfig.from_json(TrainConfig(steps=3).to_json()).steps
    3
    """

    steps: int = 1000  # optimiser updates in all
    batch: int = 8  # examples per update
    seconds_per_segment: float = 2.0  # length of an example in s; the paper takes 3
    recipe: str = "paper"  # how examples are mixed: a name of bsrnn.data.mixing.recipes()
    mono: bool = False  # one random channel per source: half the cost; models that look across
    # channels (joint channels, TAC) hear all of them all the same
    distinct_items: int = 0  # repeat so many examples for ever; `batch` of them: the overfit check
    loss: str = "l1_both"  # a name of bsrnn.losses
    optimizer: str = "adamw"  # "adam" as in the paper, or "adamw"
    lr: float = 1e-3  # peak learning rate
    weight_decay: float = 0.0  # added to the gradient by "adam", apart from it by "adamw"
    schedule: str = "cosine"  # "cosine" to 1 % of lr, "exponential" (the paper's), or "constant"
    warmup_steps: int = 0  # linear rise to lr at the start
    decay_steps: int = 20_000  # "exponential": once per so many steps (two epochs of 10,000) ...
    decay_factor: float = 0.98  # ... lr x this
    clip_norm: float = 5.0  # largest gradient norm; the paper clips at 5
    checkpoint_every: int = 100  # steps between validation + saved state + line of the log
    log_every: int = 10  # steps between rows of history.csv; the loss is their mean
    max_minutes: float = 0.0  # CPU minutes of this process after which to stop; 0: no limit.
    # With a limit a cosine also follows the clock, so such a run is not repeatable to the bit
    workers: int = 0  # processes that prepare examples; results do not depend on it
    seed: int = 0  # initial weights and examples

    def __post_init__(self):
        choose(self.optimizer, ("adam", "adamw"), "optimizer")
        choose(self.schedule, ("cosine", "exponential", "constant"), "schedule")
        mixing.recipe(self.recipe)
        choose(self.loss, losses.names(), "loss")
        for name in ("steps", "batch", "seconds_per_segment", "lr", "clip_norm"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}: give a number above 0")
        for name in ("checkpoint_every", "log_every", "decay_steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}: give at least 1")
        for name in ("seed", "warmup_steps", "workers", "distinct_items", "max_minutes"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}: give 0 or more")

    def lr_at(self, step: int, spent: float = 0.0) -> float:
        """Learning rate of update number `step` (from 0); `spent` is the share of `max_minutes`
        used so far, so that a cosine ends with whatever ends the run.

        >>> TrainConfig(steps=10, lr=1.0, schedule="constant", warmup_steps=4).lr_at(0)
        0.25
        """
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        decay = 1.0
        if self.schedule == "cosine":
            share = min(1.0, max(step / self.steps, spent))
            decay = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))
        elif self.schedule == "exponential":
            decay = self.decay_factor ** (step // self.decay_steps)
        return self.lr * warmup * decay

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "TrainConfig":
        values = json.loads(text)
        for name in values:
            choose(name, [field.name for field in dataclasses.fields(cls)], "training option")
        return cls(**values)


def presets() -> dict[str, TrainConfig]:
    """Training presets: "smoke" (seconds), "small" (minutes), "paper" (days on GPUs), "d3net"."""
    # The first two are for few songs and one CPU. L2 instead of the paper's L1: SDR counts squares;
    # on the 7 s previews vocals had 3.6 dB validation uSDR after 200 steps against 2.5 dB with L1.
    quick = TrainConfig(mono=True, recipe="few-songs", loss="l2_both")
    return {
        "smoke": dataclasses.replace(
            quick, steps=300, batch=4, seconds_per_segment=1.0, lr=2e-2, warmup_steps=10
        ),
        "small": dataclasses.replace(
            quick,
            steps=1000,
            seconds_per_segment=1.5,
            lr=3e-3,
            warmup_steps=30,
            checkpoint_every=200,
        ),
        "paper": TrainConfig(
            steps=1_000_000,  # 100 epochs of 10,000 batches
            batch=16,  # 2 on each of 8 GPUs
            seconds_per_segment=3.0,
            optimizer="adam",
            schedule="exponential",
            checkpoint_every=10_000,
            log_every=100,
            workers=8,
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


@dataclasses.dataclass
class FitResult:
    """What `fit` returns."""

    separator: torch.nn.Module  # the best weights by validation (the last without one), on the CPU
    history: pandas.DataFrame  # step, loss, lr, grad_norm, seconds, cpu_seconds, valid_usdr[_stem]
    best_path: pathlib.Path  # best.safetensors
    card: dict  # parameters, steps, seconds, configs, ... as in card.json
    seconds: float  # wall-clock seconds, all sessions of the run together


def fit(
    model_config,
    train_config: TrainConfig,
    dataset,
    out_dir,
    valid=None,
    initial=None,
    freeze: tuple[str, ...] = (),
    resume: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> FitResult:
    """Train a separator and leave its checkpoints in `out_dir`.

    model_config   ModelConfig; None keeps the one of `initial`
    dataset        songs, of which those of subset "train" are trained on
    valid          songs to validate on; default: those of subset "valid" in `dataset`, if any
    initial        path or separator to start from; every part that fits is copied (`transfer`)
    freeze         parts of it that stay as they are: "split", "sequence", "masks"
    resume         go on from out_dir/state.pt if it is there; False begins anew and replaces it
    device         "auto" (CUDA if present), "cpu", "cuda"
    progress       a bar on a terminal, one line per checkpoint elsewhere; False: nothing

    Errors: one UsageError or DataError line for a missing stem, a segment longer than every song,
    silent or non-finite data (naming song and second), a folder that cannot be written, a state of
    another configuration. Ctrl-C and SIGTERM save the state after the running step, then raise.
    Lessons 07 and 10.
    """
    out_dir = _writable(out_dir)
    torch.manual_seed(train_config.seed)
    separator, origin = _build(model_config, initial, freeze)
    model = separator.config
    train = dataset.subset("train")
    if valid is None:
        valid = [song for song in dataset.songs if song.subset == "valid"]
    if train.sample_rate != separator.sample_rate:
        raise UsageError(
            f"the songs have {train.sample_rate} Hz, the model {separator.sample_rate}: "
            "set sample_rate of the model to that of the songs"
        )
    mixer = mixing.RandomMixer(
        train,
        separator.stems,
        model.chunk_samples or round(train_config.seconds_per_segment * train.sample_rate),
        mixing.recipe(train_config.recipe),
        train_config.seed,
        channels=1 if train_config.mono and model.joint_channels == 1 and not model.tac else None,
        distinct=train_config.distinct_items,
    )
    run = Run(out_dir, separator, train_config, mixer, valid, freeze)
    run.facts = {"rung": train.rung, "split_hash": train.split_hash, "initial": origin}
    if resume and run.state_path.exists():
        run.restore()
    else:
        run.clear()
        if hasattr(separator, "prepare"):  # statistics of the input, before the first step
            separator.prepare(mixer)
    if not run.finished():
        run.train(_accelerator(device), progress)
    best = models.load(run.best_path)
    return FitResult(best, run.frame(), run.best_path, run.card(), run.seconds)


def transfer(separator, base, freeze: tuple[str, ...] = ()) -> dict:
    """Copy into `separator` every part of `base` with equal shapes and freeze the parts named.

    Parts are "split", "sequence" and one head per stem, "masks.<stem>". A head of a stem that the
    base lacks stays new: so a drums head is trained on the encoder of a vocals model.
    Returns {"loaded": [...], "new": [...]}. UsageError if nothing fits, or if a part to be frozen
    was not loaded (its random weights would stay). Refined BSRNN does this; lesson 10.
    """
    theirs, loaded, new = _parts(base), [], []
    for name, part in _parts(separator).items():
        fits = name in theirs and _shapes(theirs[name]) == _shapes(part)
        (loaded if fits else new).append(name)
        if fits:
            part.load_state_dict(theirs[name].state_dict())
    if not loaded:
        raise UsageError("nothing of the initial model fits: use its scheme, features and repeats")
    for part in freeze:
        choose(part, PARTS, "part to freeze")
        lost = [name for name in new if name.split(".")[0] == part]
        if lost:
            raise UsageError(f"cannot freeze {part}: {lost[0]} was not in the initial model")
        getattr(separator, part).requires_grad_(False)
    if not any(weight.requires_grad for weight in separator.parameters()):
        raise UsageError("every part is frozen: leave one of split, sequence, masks to train")
    return {"loaded": loaded, "new": new}


def _parts(separator) -> dict[str, torch.nn.Module]:
    heads = separator.masks
    heads = (
        heads
        if isinstance(heads, torch.nn.ModuleDict)
        else dict(zip(separator.stems, heads, strict=True))
    )
    named = {"split": separator.split, "sequence": separator.sequence}
    return named | {f"masks.{stem}": heads[stem] for stem in separator.stems}


def _shapes(part: torch.nn.Module) -> dict:
    return {name: tuple(value.shape) for name, value in part.state_dict().items()}


def _build(model_config, initial, freeze):
    """The separator to train and where its weights come from."""
    if initial is None:
        if freeze:
            raise UsageError("freeze keeps weights of another model: give initial=PATH too")
        if model_config is None:
            raise UsageError("give a model_config, or initial=PATH to go on with its model")
        return models.build(model_config), None
    base = initial if isinstance(initial, torch.nn.Module) else models.load(initial)
    if not isinstance(base, models.BandSplitSeparator):
        raise UsageError("initial holds several networks: give the file of one of them")
    separator = models.BandSplitSeparator(model_config or base.config)
    report = transfer(separator, base, freeze)
    source = pathlib.Path(initial).name if isinstance(initial, (str, pathlib.Path)) else "module"
    return separator, {"from": source} | report


def _writable(out_dir) -> pathlib.Path:
    out_dir = pathlib.Path(out_dir)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        probe = out_dir / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"cannot write to {out_dir} ({error.strerror}): choose another out_dir"
        ) from None
    return out_dir


def _accelerator(device: str) -> str:
    choose(device, ("auto", "cpu", "cuda"), "device")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is visible: use device='cpu' or 'auto'")
    return "gpu" if device != "cpu" and torch.cuda.is_available() else "cpu"
