"""What happens during a training run: steps, checkpoints, state, interruption (lesson 07).

`bsrnn.training.fit` decides what is trained; `Run` carries it out on a Lightning trainer and owns
the files of the run folder. The state file is written last and by renaming, so a kill at any
moment leaves either the old or the new one.
"""

import contextlib
import dataclasses
import json
import logging
import math
import os
import pathlib
import signal
import sys
import threading
import time
import warnings

import lightning.pytorch as lightning
import numpy as np
import pandas
import torch
import tqdm

import bsrnn
from bsrnn import losses, metrics, models, separation
from bsrnn.errors import DataError, UsageError

_STATE_FORMAT = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def validation(separator, songs) -> dict[str, float]:
    """Median uSDR in dB over whole `songs` per stem, and the mean of these over the stems.

    {"valid_usdr_vocals": ..., "valid_usdr": ...}. A song whose reference is silent says nothing
    about that stem and is left out of its median.
    """
    values = {stem: [] for stem in separator.stems}
    for song in songs:
        references = song.sources()  # stem -> (C, L)
        mixture = np.sum(list(references.values()), axis=0)
        estimates = separation.separate(separator, mixture, song.sample_rate)
        for stem, found in values.items():
            if np.any(references[stem]):
                found.append(metrics.usdr(references[stem], estimates[stem]))
    silent = [stem for stem, found in values.items() if not found]
    if silent:
        raise DataError(f"{silent[0]} is silent in every validation song: give other songs")
    medians = {f"valid_usdr_{stem}": float(np.median(found)) for stem, found in values.items()}
    return {"valid_usdr": float(np.mean(list(medians.values())))} | medians


class _Module(lightning.LightningModule):
    """What Lightning must know: the loss of a batch, the optimiser, the clipping."""

    def __init__(self, run: "Run"):
        super().__init__()
        self.run = run
        self.separator = run.separator  # registered, so that Lightning moves it to the device

    def training_step(self, batch, _):
        mixture, targets = batch["mixture"], batch["targets"]  # (B, C, L), (B, S, C, L)
        if not (torch.isfinite(mixture).all() and torch.isfinite(targets).all()):
            place = self.run.mixer.blame(batch["index"])
            raise DataError(f"NaN or infinite samples in {place}: repair or remove the file")
        waveforms, spectra = self.separator.estimate(mixture)
        stft = self.separator.config.stft
        loss = losses.loss(self.run.config.loss, waveforms, spectra, targets, stft)
        self.run.require_finite(loss, "loss", batch)
        self.run.batch_now = batch
        return loss

    def configure_optimizers(self):
        config = self.run.config
        weights = [weight for weight in self.separator.parameters() if weight.requires_grad]
        if config.optimizer == "adam":
            return torch.optim.Adam(weights, lr=config.lr, weight_decay=config.weight_decay)
        return torch.optim.AdamW(weights, lr=config.lr, weight_decay=config.weight_decay)

    def configure_gradient_clipping(self, optimizer, *_, **__):
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(weights, self.run.config.clip_norm)
        self.run.require_finite(norm, "gradient", self.run.batch_now)
        self.run.grad_norm = float(norm)


class _Keeper(lightning.Callback):
    """Sets the learning rate, counts steps, shows progress, validates and saves at checkpoints."""

    def __init__(self, run: "Run", progress: bool):
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
        self.run.begin(trainer.optimizers[0])
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
            group["lr"] = self.run.lr = self.run.config.lr_at(self.run.step, self.run.spent())

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        run = self.run
        run.count(float(outputs["loss"]))
        self.bar.update()
        done = run.finished()
        if done or run.step % run.config.checkpoint_every == 0:
            self.show(run.checkpoint())
        elif run.interrupted:
            run.save()
        if done or run.interrupted:
            trainer.should_stop = True

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


class Run:
    """The state of a run and its files. `step` counts finished updates."""

    def __init__(self, out_dir, separator, config, mixer, valid, freeze):
        self.out_dir, self.separator, self.config = out_dir, separator, config
        self.mixer, self.valid, self.freeze = mixer, valid, tuple(freeze)
        self.state_path = out_dir / "state.pt"
        self.best_path = out_dir / "best.safetensors"
        self.step, self.rows, self.facts = 0, [], {}
        self.best, self.best_step = -math.inf, 0
        self.window = [0.0, 0]  # sum and number of losses since the last row
        self.lr = self.grad_norm = math.nan
        self.batch_now = None
        self.interrupted = False
        self.optimizer, self.optimizer_state, self.random_state = None, None, None
        self.seconds_before = self.cpu_before = 0.0
        self.started = (time.perf_counter(), time.process_time())

    # -- clocks, counters ---------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.started[0]

    @property
    def cpu_seconds(self) -> float:
        return self.cpu_before + time.process_time() - self.started[1]

    def spent(self) -> float:
        """Share of the CPU budget that is used; 0 without a budget."""
        budget = self.config.max_minutes * 60
        return self.cpu_seconds / budget if budget else 0.0

    def finished(self) -> bool:
        return self.step >= self.config.steps or self.spent() >= 1

    def begin(self, optimizer) -> None:
        self.optimizer = optimizer
        if self.optimizer_state is not None:
            optimizer.load_state_dict(self.optimizer_state)
            torch.set_rng_state(self.random_state)

    def count(self, loss: float) -> None:
        self.step += 1
        self.window = [self.window[0] + loss, self.window[1] + 1]
        if self.step % self.config.log_every == 0:
            self._row()

    def _row(self) -> dict:
        """The row of this step; the mean loss runs since the row before."""
        if not self.rows or self.rows[-1]["step"] != self.step:
            row = {"step": self.step, "loss": self.window[0] / self.window[1]}
            row |= {"lr": self.lr, "grad_norm": self.grad_norm}
            row |= {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
            self.rows.append(row)
            self.window = [0.0, 0]
        return self.rows[-1]

    def require_finite(self, value, what: str, batch) -> None:
        """Stop a run whose numbers broke although its data are sound, and keep the batch."""
        if torch.isfinite(value):
            return
        path = self.out_dir / "bad_batch.pt"
        _atomic(path, lambda p: torch.save({k: v.cpu() for k, v in batch.items()}, p))
        picks = [pick for index in batch["index"] for pick in self.mixer.picks(int(index))]
        raise DataError(
            f"{what} is not finite at step {self.step + 1} (first source: "
            f"{self.mixer.describe(picks[0])}; batch kept in {path.name}): lower lr and resume"
        )

    def train(self, accelerator: str, progress: bool) -> None:
        """Steps from `step` to the end, to the budget, or to an interruption (state saved)."""
        config = self.config
        items = range(self.step * config.batch, config.steps * config.batch)
        loader = torch.utils.data.DataLoader(
            torch.utils.data.Subset(self.mixer, items),
            batch_size=config.batch,
            num_workers=config.workers,
            generator=torch.Generator(),  # so that the loader draws nothing from the global one
            pin_memory=accelerator != "cpu",
        )
        with _quiet():
            trainer = lightning.Trainer(
                accelerator=accelerator,
                devices=1,
                max_epochs=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[_Keeper(self, progress)],
            )
            try:
                trainer.fit(_Module(self), loader)
            except SystemExit:  # Lightning's answer to a second Ctrl-C
                raise KeyboardInterrupt("interrupted: resume=True goes on from state.pt") from None
        if self.interrupted:
            raise KeyboardInterrupt(
                f"interrupted after step {self.step}: resume=True goes on from there"
            )

    # -- checkpoints --------------------------------------------------------------------------

    def checkpoint(self) -> dict:
        """Validate, keep the best, save; returns the row of the log."""
        row, score = self._row(), float(self.step)  # without validation the last is the best
        if len(self.valid):
            row |= validation(self.separator, self.valid)
            score = row["valid_usdr"]
        if score > self.best:
            self.best, self.best_step = score, self.step
            models.save(self.separator, self.best_path, {"trained": self.card()})
        self.save()
        return row

    def save(self) -> None:
        """Write everything a resume or a reader needs.

        The state comes last: a kill before it repeats some steps and writes the same files again.
        """
        models.save(self.separator, self.out_dir / "last.safetensors", {"trained": self.card()})
        _atomic(self.out_dir / "history.csv", lambda p: self.frame().to_csv(p, index=False))
        card = json.dumps(self.card(), indent=2)
        _atomic(self.out_dir / "card.json", lambda p: p.write_text(card))
        _atomic(self.state_path, lambda p: torch.save(self._state(), p))

    def _identity(self) -> dict:
        """What a resume must share with the run it continues. Length, rate and bookkeeping may
        change: a longer run, a lower lr after a divergence, more workers."""
        config = dataclasses.asdict(self.config)
        for free in ("steps", "max_minutes", "lr", "workers", "checkpoint_every", "log_every"):
            del config[free]
        model = json.loads(self.separator.config.to_json())
        return {"train": config, "model": model, "freeze": list(self.freeze)} | self.facts

    def _state(self) -> dict:
        state = {"format": _STATE_FORMAT, "identity": json.dumps(self._identity())}
        state |= {"step": self.step, "rows": self.rows, "window": self.window}
        state |= {"best": self.best, "best_step": self.best_step, "grad_norm": self.grad_norm}
        state |= {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
        state |= {"separator": self.separator.state_dict()}
        state |= {"optimizer": self.optimizer.state_dict(), "random": torch.get_rng_state()}
        return state

    def restore(self) -> None:
        state = torch.load(self.state_path, map_location="cpu", weights_only=True)
        theirs, ours = json.loads(state["identity"]), json.loads(json.dumps(self._identity()))
        if theirs != ours:
            raise UsageError(
                f"{self.state_path} is a run with other settings ({_difference(theirs, ours)}): "
                "use those, or resume=False to begin anew"
            )
        for name in ("step", "rows", "window", "best", "best_step", "grad_norm"):
            setattr(self, name, state[name])
        self.seconds_before, self.cpu_before = state["seconds"], state["cpu_seconds"]
        self.separator.load_state_dict(state["separator"])
        self.optimizer_state, self.random_state = state["optimizer"], state["random"]

    def clear(self) -> None:
        for name in (
            "state.pt",
            "best.safetensors",
            "last.safetensors",
            "history.csv",
            "card.json",
        ):
            (self.out_dir / name).unlink(missing_ok=True)

    def frame(self) -> pandas.DataFrame:
        return pandas.DataFrame(self.rows)

    def card(self) -> dict:
        weights = list(self.separator.parameters())
        return {
            "version": bsrnn.__version__,
            "torch": torch.__version__,
            "stems": list(self.separator.stems),
            "parameters": sum(weight.numel() for weight in weights),
            "trained_parameters": sum(w.numel() for w in weights if w.requires_grad),
            "steps": self.step,
            "seed": self.config.seed,
            "seconds": round(self.seconds, 1),
            "cpu_seconds": round(self.cpu_seconds, 1),
            "threads": torch.get_num_threads(),
            "songs": len(self.mixer.songs),
            "valid_songs": len(self.valid),
            "best_step": self.best_step,
            "best_valid_usdr_db": self.best if len(self.valid) and self.best_step else None,
            "frozen": list(self.freeze),
            "train_config": dataclasses.asdict(self.config),
            "model_config": json.loads(self.separator.config.to_json()),
        } | self.facts


def _difference(theirs: dict, ours: dict) -> str:
    """Words for the first setting in which two nested dicts differ."""
    for name in sorted(theirs.keys() | ours.keys()):
        one, two = theirs.get(name), ours.get(name)
        if one != two:
            if isinstance(one, dict) and isinstance(two, dict):
                return _difference(one, two)
            return f"{name} {one} there, {two} now"
    return "none"


def _atomic(path: pathlib.Path, write) -> None:
    """`write(temporary path)`, then rename: a reader or a kill never meets half a file."""
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(
            f"cannot write {path} ({error.strerror}): make room, then resume from the last state"
        ) from None


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
