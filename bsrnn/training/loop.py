"""The training loop, every step of it in sight, on Lightning Fabric (lesson 07).

A process or many run the same code: each takes its share of every batch, gradients are averaged,
and what decides the course (loss, clock, interruption) is agreed on after each update.
"""

import datetime
import logging
import sys
import warnings

import lightning
import torch
import tqdm
from lightning.fabric.plugins import MixedPrecision
from lightning.fabric.strategies import DDPStrategy

from bsrnn import losses, threads
from bsrnn.common import optional, stopping_signals
from bsrnn.training.examples import batches

_HALF = {"bf16": "bf16-mixed", "16": "16-mixed"}
_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
_WAIT = datetime.timedelta(hours=12)  # for the others: they may validate, or list segments


class Learner(torch.nn.Module):
    """A separator and its loss in a single module."""

    def __init__(self, separator, loss: str):
        super().__init__()
        self.separator, self.loss = separator, loss

    def forward(self, mixture, targets):
        """(B, C, L), (B, S, C, L) -> scalar."""
        waveforms, spectra = self.separator.estimate(mixture)
        return losses.loss(self.loss, waveforms, spectra, targets, self.separator.config.stft)


def train(run, machine, progress: bool, tensorboard: bool) -> None:
    """Updates from `run.step` to the end, to the budget, or to an interruption (state saved)."""
    config = run.config
    fabric = _fabric(machine, config.precision, _loggers(run.folder.path) if tensorboard else ())
    fabric.launch()  # the further processes begin here, with the same command
    learner, optimizer = _set_up(run, fabric)
    off = None if progress and fabric.is_global_zero else True  # None: where no terminal watches

    with (
        tqdm.tqdm(total=config.steps, initial=run.step, desc="train", disable=off) as bar,
        stopping_signals(run.interrupt),
        batches(run, fabric) as examples,
        threads.suited(run.separator),
    ):
        while not run.finished() and not run.interrupted:
            run.lr = config.lr_at(run.step, run.spent, run.drops)
            for group in optimizer.param_groups:
                group["lr"] = run.lr

            optimizer.zero_grad()
            loss_of_passes = []
            for number in range(config.accumulate):
                batch = next(examples)  # mixture (B, C, L), targets (B, S, C, L)
                targets = _targets(run, fabric, batch)
                with fabric.no_backward_sync(learner, enabled=number < config.accumulate - 1):
                    loss = learner(batch["mixture"], targets)
                    run.require_finite(loss, "loss", batch)
                    fabric.backward(loss / config.accumulate)
                loss_of_passes.append(loss.detach())

            norm = fabric.clip_gradients(
                learner, optimizer, max_norm=config.clip_norm, error_if_nonfinite=False
            )
            if config.precision != "16":  # there the scaler passes such an update over by itself
                run.require_finite(norm, "gradient", batch)
            run.grad_norm = float(norm)
            optimizer.step()
            if run.average:
                run.average.update_parameters(run.separator)

            mean_loss = torch.stack(loss_of_passes).mean()
            agreed = torch.tensor([mean_loss, run.clock(), run.stop_asked], device=fabric.device)
            mean_loss, run.spent, interrupted = fabric.all_reduce(agreed).tolist()
            run.interrupted = interrupted > 0
            run.count(mean_loss)

            bar.update()
            if run.finished() or run.step % config.checkpoint_every == 0:
                row = run.checkpoint()
                if off is None:
                    _tell(row, config.steps, bar)
            elif run.interrupted:
                run.save()
    if run.interrupted:
        raise KeyboardInterrupt(f"interrupted after step {run.step}: resume goes on from there")


def _set_up(run, fabric):
    """Learner and optimiser on their device; the run goes on there."""
    config, separator = run.config, run.separator
    weights = [weight for weight in separator.parameters() if weight.requires_grad]
    make = _OPTIMIZERS[config.optimizer]
    bare = make(weights, lr=config.lr, weight_decay=config.weight_decay)
    if fabric.world_size > 1 and fabric.device.type == "cuda":  # D3Net has some
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(separator)
    learner, optimizer = fabric.setup(Learner(separator, config.loss), bare)
    run.begin(fabric, bare)
    return learner, optimizer


def _targets(run, fabric, batch):
    """Targets (B, S, C, L) of a sound batch, with the teacher's labels where there are none."""
    targets = batch["targets"]
    if run.teacher:
        with fabric.autocast():
            targets = run.teacher.complete(batch)
    run.require_sound(batch, targets)
    return targets


class _HalfInside(MixedPrecision):
    """Half precision inside the network; Lightning's would round the waveforms that go in, too."""

    def convert_input(self, data):
        return data


def _fabric(machine, precision: str, loggers) -> lightning.Fabric:
    """Lightning's devices, processes and precision, without its advice."""
    plugins = None
    if precision in _HALF:
        plugins = _HalfInside(_HALF[precision], machine.torch_device)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.fabric")
    return lightning.Fabric(
        accelerator=machine.accelerator,
        devices=machine.devices,
        num_nodes=machine.nodes,
        strategy=DDPStrategy(timeout=_WAIT) if machine.world > 1 else "auto",
        plugins=plugins,
        loggers=list(loggers),
    )


def _loggers(folder) -> list:
    optional("tensorboard")
    from lightning.fabric.loggers import TensorBoardLogger

    return [TensorBoardLogger(folder, name="tensorboard", version="")]


def _tell(row: dict, steps: int, bar) -> None:
    """What a checkpoint measured: at the bar of a terminal, else in a line."""
    words = {name: f"{row[name]:.4g}" for name in ("loss", "valid_usdr") if name in row}
    bar.set_postfix(words)
    if bar.disable:
        text = ", ".join(f"{name} {value}" for name, value in words.items())
        tqdm.tqdm.write(f"step {row['step']}/{steps}: {text}", file=sys.stderr)
