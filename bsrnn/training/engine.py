"""The loop on a Lightning trainer: steps, clipping, progress, interruption (lesson 07).

`Run` (run.py) owns the numbers and the files; here is what Lightning calls. One process or many
run the same code: each takes its share of every batch (`Share`), the gradients are averaged, and
what decides the course (loss, clock, interruption) is agreed on after each step.
"""

import contextlib
import datetime
import logging
import signal
import sys
import threading
import traceback
import warnings
from multiprocessing import resource_sharer

import lightning.pytorch as lightning
import torch
import torch.distributed
import tqdm
from lightning.pytorch.strategies import DDPStrategy

from bsrnn import losses
from bsrnn.common import DataError, UsageError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
_WAIT = datetime.timedelta(hours=12)  # for the others: they may validate, or list segments


class Share:
    """The examples of one process, in order: every `world`-th of each batch from `step` on.

    >>> list(Share(step=1, steps=3, batch=4, rank=1, world=2))
    [5, 7, 9, 11]
    """

    def __init__(self, step: int, steps: int, batch: int, rank: int = 0, world: int = 1):
        self.first, self.rank, self.world = step * batch, rank, world
        self.count = (steps - step) * batch // world

    def __len__(self):
        return self.count

    def __getitem__(self, number: int) -> int:
        if not 0 <= number < self.count:
            raise IndexError(number)
        return self.first + number * self.world + self.rank


class Module(lightning.LightningModule):
    """What Lightning must know: the data, the loss of a batch, the optimiser, the clipping."""

    def __init__(self, run):
        super().__init__()
        self.run = run
        self.separator = run.separator  # registered, so that Lightning moves it to the device

    def train_dataloader(self):
        run, config, trainer = self.run, self.run.config, self.trainer
        share = Share(run.step, config.steps, config.batch, trainer.global_rank, trainer.world_size)
        return torch.utils.data.DataLoader(
            torch.utils.data.Subset(run.mixer, share),
            batch_size=config.batch // (trainer.world_size * config.accumulate),
            num_workers=config.workers,
            generator=torch.Generator(),  # so that the loader draws nothing from the global one
            pin_memory=self.device.type != "cpu",
        )

    def training_step(self, batch, _):
        run = self.run
        mixture, targets = batch["mixture"], batch["targets"]  # (B, C, L), (B, S, C, L)
        if run.teacher:
            targets = run.teacher.complete(batch)
        if not (torch.isfinite(mixture).all() and torch.isfinite(targets).all()):
            place = run.mixer.blame(batch["index"]) or run.first_source(batch)
            kept = run.keep_batch(batch)
            raise DataError(
                f"NaN or infinite samples in {place}: repair or remove the file (batch kept in "
                f"{kept.name})"
            )
        waveforms, spectra = self.separator.estimate(mixture)
        loss = losses.loss(run.config.loss, waveforms, spectra, targets, self.separator.config.stft)
        run.require_finite(loss, "loss", batch)
        run.batch_now = batch
        run.passes.append(loss.detach())
        return loss

    def configure_optimizers(self):
        config = self.run.config
        weights = [weight for weight in self.separator.parameters() if weight.requires_grad]
        if config.optimizer == "adam":
            return torch.optim.Adam(weights, lr=config.lr, weight_decay=config.weight_decay)
        return torch.optim.AdamW(weights, lr=config.lr, weight_decay=config.weight_decay)

    def configure_gradient_clipping(self, optimizer, *_, **__):
        run = self.run
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(weights, run.config.clip_norm)
        if run.config.precision != "16":  # there the scaler passes such an update over by itself
            run.require_finite(norm, "gradient", run.batch_now)
        run.grad_norm = float(norm)


class Keeper(lightning.Callback):
    """Sets the learning rate, counts steps, shows progress, validates and saves at checkpoints."""

    def __init__(self, run, progress: bool):
        self.run, self.before = run, {}
        terminal = sys.stderr.isatty()
        self.bar = tqdm.tqdm(
            total=run.config.steps,
            initial=run.step,
            desc="train",
            unit="step",
            disable=not (progress and terminal),
        )
        self.lines = progress and not terminal

    def on_train_start(self, trainer, module):
        self.run.begin(trainer, module)
        if threading.current_thread() is threading.main_thread():
            # here, not earlier: Lightning has just put its own SIGTERM handler in place
            self.before = {number: signal.getsignal(number) for number in _SIGNALS}
            for number in _SIGNALS:
                signal.signal(number, self._interrupt)

    def _interrupt(self, number, _):
        self.run.interrupted = True
        signal.signal(number, self.before[number])  # a second Ctrl-C stops at once

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.run.lr = self.run.lr_now()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        run = self.run
        if len(run.passes) < run.config.accumulate:
            return
        run.count(self.agree(module))
        self.bar.update()
        done = run.finished()
        if done or run.step % run.config.checkpoint_every == 0:
            self.show(run.checkpoint())
            done = run.finished()  # the monitor may have come to rest
        elif run.interrupted:
            run.save()
        if done or run.interrupted:
            trainer.should_stop = True

    def agree(self, module) -> float:
        """The mean loss of the step; with several processes the mean of all, and their clocks and
        interruptions become one."""
        run = self.run
        loss = torch.stack(run.passes).mean()
        run.passes.clear()
        run.spent = run.clock()
        if run.world == 1:
            return float(loss)
        values = torch.tensor([float(loss), run.spent, run.interrupted], device=module.device)
        torch.distributed.all_reduce(values)
        mean_loss, run.spent, interrupted = (values / run.world).tolist()
        run.interrupted = interrupted > 0
        return mean_loss

    def show(self, row: dict) -> None:
        shown = {name: f"{row[name]:.4g}" for name in ("loss", "valid_usdr") if name in row}
        self.bar.set_postfix(shown)
        if self.lines:
            text = ", ".join(f"{name} {value}" for name, value in shown.items())
            tqdm.tqdm.write(f"step {row['step']}/{self.run.config.steps}: {text}", file=sys.stderr)

    def teardown(self, trainer, module, stage):
        self.close()

    def on_exception(self, trainer, module, exception):
        self.close()  # Lightning calls no teardown then, and has set SIGINT to be ignored

    def close(self):
        self.bar.close()
        for number, handler in self.before.items():
            signal.signal(number, handler)


def train(run, machine, progress: bool) -> None:
    """Steps from `run.step` to the end, to the budget, or to an interruption (state saved).

    machine: a `bsrnn.training.machine.Machine`.
    """
    config = run.config
    with _quiet():
        trainer = lightning.Trainer(
            accelerator=machine.accelerator,
            devices=machine.devices,
            num_nodes=machine.nodes,
            strategy=DDPStrategy(timeout=_WAIT) if machine.world > 1 else "auto",
            precision=_PRECISION[config.precision],
            accumulate_grad_batches=config.accumulate,
            sync_batchnorm=machine.world > 1 and machine.accelerator == "gpu",  # D3Net has some
            use_distributed_sampler=False,  # `Share` deals the examples out
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Keeper(run, progress and machine.first)],
        )
        try:
            trainer.fit(Module(run))
        except SystemExit:  # Lightning's answer to a second Ctrl-C
            raise KeyboardInterrupt("interrupted: resume=True goes on from state.pt") from None
        except (UsageError, RuntimeError, OSError, EOFError) as error:
            raise _of_a_worker(error) from error
    if run.interrupted:
        raise KeyboardInterrupt(
            f"interrupted after step {run.step}: resume=True goes on from there"
        )


def _of_a_worker(error: Exception) -> Exception:
    """What went wrong in a loader's worker process, as the one line it would be without workers."""
    text = str(error)
    frames = traceback.extract_tb(error.__traceback__)
    handing_over = any(frame.filename == resource_sharer.__file__ for frame in frames)
    if handing_over or ("DataLoader worker" in text and isinstance(error, RuntimeError)):
        return DataError(
            "a worker process died, most likely for lack of memory: lower workers or cache_gb, "
            "then resume from the last state"
        )
    if isinstance(error, UsageError) and "Original Traceback" in text:
        return type(error)(text.strip().splitlines()[-1].partition(": ")[2])
    return error


@contextlib.contextmanager
def _quiet():
    """Without Lightning's advertisements and its advice on workers and loggers."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
