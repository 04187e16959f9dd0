"""`fit`: from configurations and songs to a trained separator in a run folder (lesson 07)."""

import dataclasses
import pathlib

import pandas
import torch

from bsrnn import models
from bsrnn.common import UsageError, writable
from bsrnn.data import mixing
from bsrnn.training import check as checks
from bsrnn.training import engine, machine
from bsrnn.training.config import TrainConfig
from bsrnn.training.parts import recompute_blocks, transfer
from bsrnn.training.run import Run
from bsrnn.training.teacher import HalfLabelled, Teacher

LONG_JOB_STEPS = 20_000  # from so many steps on, one batch is overfitted first


@dataclasses.dataclass
class FitResult:
    """What `fit` returns."""

    separator: torch.nn.Module  # the best weights by validation (the last without one), on the CPU
    history: pandas.DataFrame  # step, loss, lr, grad_norm, seconds, cpu_seconds, valid_usdr[_stem]
    best_path: pathlib.Path  # best.safetensors
    card: dict  # parameters, steps, seconds, configs, ... as in card.json
    seconds: float  # wall-clock seconds, all sessions of the run together


def fit(
    model_config, train_config: TrainConfig, dataset, out_dir, valid=None, initial=None,
    freeze: tuple[str, ...] = (), resume: bool = False, device: str = "auto", progress: bool = True,
    devices: int | str = "auto", check: bool | None = None, tensorboard: bool = False,
    unlabelled=None, energy: bool = False,
) -> FitResult:  # fmt: skip
    """Train a separator and leave its checkpoints in `out_dir`.

    model_config   ModelConfig; None keeps the one of `initial`
    dataset        songs, of which those of subset "train" are trained on
    valid          songs to validate on; default: those of subset "valid" in `dataset`, if any
    initial        path or separator to start from; every part that fits is copied (`transfer`)
    freeze         parts of it that stay as they are: "split", "sequence", "masks"
    resume         go on from out_dir/state.pt if it is there; False begins anew and replaces it
    device         "auto" (CUDA if present), "cpu", "cuda"
    progress       a bar on a terminal, one line per checkpoint elsewhere; False: nothing
    devices        processes on this machine that share each batch: a number, "all" GPUs, or "auto":
                   as many as torchrun or SLURM started, else one. More than one needs a script
    check          overfit one batch first (`bsrnn.training.overfit`); None: before 20,000 steps
                   and more
    tensorboard    write the log to out_dir/tensorboard too, if tensorboard is installed
    unlabelled     folder or paths of songs without stems: half of the examples come from them, with
                   labels by `initial` and its better successors (`bsrnn.training.teacher`)
    energy         also the energy in the card, by codecarbon (`bsrnn.training.expense`)

    Errors: one UsageError or DataError line for a missing stem, a segment longer than every song,
    silent or non-finite data (naming song and second), a folder that cannot be written, a state of
    another configuration. Ctrl-C and SIGTERM save the state after the running step, then raise.
    Lessons 07 and 10.
    """
    place = machine.find(device, devices)
    place.require(train_config)
    out_dir = writable(out_dir, "another out_dir")
    torch.manual_seed(train_config.seed)
    separator, origin = _build(model_config, initial, freeze)
    if valid is None:
        valid = [song for song in dataset.songs if song.subset == "valid"]
    train = dataset.subset("train")
    mixer = mixer_for(separator.config, train_config, train)
    if train_config.gradient_checkpointing:
        recompute_blocks(separator)
    if unlabelled is not None:
        _require_teacher(origin)
        mixer = HalfLabelled(mixer, unlabelled)
    run = Run(out_dir, separator, train_config, mixer, valid, freeze, place.first)
    run.facts = {"rung": train.rung, "split_hash": train.split_hash, "initial": origin}
    run.open_board(tensorboard)
    _resume_or_begin(run, resume)
    if unlabelled is not None:
        run.learn_from(Teacher(separator))
    long = check is None and train_config.steps >= LONG_JOB_STEPS
    if (check or long) and run.step == 0 and place.first:
        checks.overfit_separator(separator, train_config, mixer, place.accelerator).require()
    with run.metered(energy, place.world):
        if not run.finished():
            engine.train(run, place, progress)
    best = models.load(run.best_path)
    return FitResult(best, run.frame(), run.best_path, run.card(), run.seconds)


def mixer_for(model, config: TrainConfig, train) -> mixing.RandomMixer:
    """The examples that a model (ModelConfig) is trained on: what `fit` draws from `train`."""
    if train.sample_rate != model.sample_rate:
        raise UsageError(
            f"the songs have {train.sample_rate} Hz, the model {model.sample_rate}: "
            "set sample_rate of the model to that of the songs"
        )
    return mixing.RandomMixer(
        train,
        model.stems,
        model.chunk_samples or round(config.seconds_per_segment * train.sample_rate),
        mixing.recipe(config.recipe),
        config.seed,
        channels=1 if config.one_channel(model) else None,
        distinct=config.distinct_items,
        cache_bytes=config.cache_gb * 1e9 / max(1, config.workers),  # each has its own
    )


def _resume_or_begin(run: Run, resume: bool) -> None:
    """Read the state of an earlier session, or remove its files and begin at step 0."""
    if resume and run.state_path.exists():
        run.restore()
        return
    if run.first:
        run.clear()
    if hasattr(run.separator, "prepare"):  # statistics of the input, before the first step
        run.separator.prepare(run.mixer)


def _require_teacher(origin) -> None:
    if origin is None or origin["new"]:
        new = f" ({origin['new'][0]} is new)" if origin else ""
        raise UsageError(f"songs without stems need a trained teacher{new}: give initial=PATH")


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
