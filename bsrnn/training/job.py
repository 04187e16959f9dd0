"""`fit`: from configurations and songs to a trained separator in a run folder (lesson 07)."""

import dataclasses
import pathlib

import pandas
import torch

from bsrnn import models
from bsrnn.common import UsageError
from bsrnn.evaluation import ladder
from bsrnn.training import check as checks
from bsrnn.training import machine
from bsrnn.training.config import TrainConfig
from bsrnn.training.examples import mixer_for
from bsrnn.training.folder import BEST, FILES, STATE, claim
from bsrnn.training.parts import recompute_blocks, transfer
from bsrnn.training.run import Run
from bsrnn.training.teacher import HalfLabelled, Teacher

LONG_JOB_STEPS = 20_000  # from so many steps on, a batch is overfitted first


@dataclasses.dataclass
class FitResult:
    """What `fit` returns."""

    separator: torch.nn.Module  # the best by validation (without songs the last), on the CPU
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
    *,
    initial=None,
    freeze: tuple[str, ...] = (),
    unlabelled=None,
    resume: bool = False,
    overwrite: bool = False,
    check: bool | None = None,
    device: str = "auto",
    devices: int | str = "auto",
    progress: bool = True,
    tensorboard: bool = False,
) -> FitResult:
    """Train a separator and leave its checkpoints in `out_dir`.

    model_config   ModelConfig; None keeps the one of `initial`
    dataset        songs, of which those of subset "train" are trained on
    valid          songs to validate on; default: those of subset "valid" in `dataset`, if any
    initial        path or separator to start from; every part that fits is copied (`transfer`)
    freeze         parts of it that stay as they are: "split", "sequence", "masks"
    unlabelled     folder or paths of songs without stems, which `initial` and its better successors
                   label: half of the examples (`bsrnn.training.teacher`)
    resume         go on from out_dir/state.pt, with the same settings and songs
    overwrite      replace a run that out_dir holds, once the first state of this one is written;
                   with `resume` too: go on if there is a state, else begin anew
    check          overfit one batch first (`overfit`); None: before 20,000 steps and more
    device         "auto" (CUDA if present), "cpu", "cuda"
    devices        processes that share each batch: a number, "all" GPUs, or "auto": as many as
                   torchrun or SLURM started, else one. More than one needs a script
    progress       a bar on a terminal, one line per checkpoint elsewhere; False: nothing
    tensorboard    write the log to out_dir/tensorboard too, if tensorboard is installed

    Errors: one UsageError or DataError line for a missing stem, a segment longer than every song,
    silent or non-finite data (naming song and second), a folder that cannot be written, holds a run
    or is being trained in, a damaged state or one of other settings or songs. Ctrl-C, SIGTERM and
    SIGHUP save the state after the running step, then raise KeyboardInterrupt. Lessons 07 and 10.
    """
    from bsrnn.training import loop  # here: Lightning takes long to load, losses do without

    place = machine.find(device, devices)
    place.require(train_config)
    _require_elsewhere(initial, out_dir)
    with claim(out_dir, resume, overwrite, machine.rank() == 0) as folder:
        torch.manual_seed(train_config.seed)
        separator, origin = _build(model_config, initial, freeze)
        run = _run(folder, separator, train_config, dataset, valid, unlabelled, origin)
        run.frozen = tuple(freeze)
        if resume and (folder.path / STATE).exists():
            run.restore()
        elif hasattr(separator, "prepare"):  # statistics of the input
            separator.prepare(run.mixer)
        _check(run, check, place.torch_device)
        if not run.finished():
            loop.train(run, place, progress, tensorboard)
    best_path = folder.path / BEST
    return FitResult(models.load(best_path), run.frame(), best_path, run.card(), run.seconds)


def _run(folder, separator, config: TrainConfig, dataset, valid, unlabelled, origin) -> Run:
    """The run with its songs, its teacher if there is one, and what its card will say of them."""
    if valid is None:
        valid = [song for song in dataset.songs if song.subset == "valid"]
    train = dataset.subset("train")
    if config.gradient_checkpointing:
        recompute_blocks(separator)
    run = Run(folder, separator, config, mixer_for(separator.config, config, train), valid)
    run.facts = {"rung": train.rung, "split_hash": train.split_hash, "initial": origin}
    run.gains = ladder.learnt_gains(train) if machine.rank() == 0 else {}
    if unlabelled is not None:
        _require_teacher(origin, valid, config)
        run.mixer, run.teacher = HalfLabelled(run.mixer, unlabelled), Teacher(separator)
    return run


def _check(run: Run, wanted: bool | None, device: str) -> None:
    """Overfit a batch before the first step of a long run, or of any if `wanted`."""
    long = wanted is None and run.config.steps >= LONG_JOB_STEPS
    if (wanted or long) and run.step == 0 and machine.rank() == 0:
        checks.overfit_separator(run.separator, run.config, run.mixer, device).require()


def _require_elsewhere(initial, out_dir) -> None:
    """The file to start from must not be a file that the run replaces."""
    named = isinstance(initial, (str, pathlib.Path))
    path = pathlib.Path(initial).expanduser().resolve() if named else pathlib.Path()
    if path.parent == pathlib.Path(out_dir).resolve() and path.name in FILES:
        raise UsageError(f"initial {path} would be replaced by this run: choose another out_dir")


def _require_teacher(origin, valid, config: TrainConfig) -> None:
    if origin is None or origin["new"]:
        new = f" ({origin['new'][0]} is new)" if origin else ""
        raise UsageError(f"songs without stems need a trained teacher{new}: give initial=PATH")
    if not valid or config.monitor == "loss":
        raise UsageError(
            "no validation songs to tell student from teacher by: give valid= and a monitor of them"
        )


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
    separator = models.build(model_config or base.config)
    report = transfer(separator, base, freeze)
    source = pathlib.Path(initial).name if isinstance(initial, (str, pathlib.Path)) else "module"
    return separator, {"from": source} | report
