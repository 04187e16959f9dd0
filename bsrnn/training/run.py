"""The state of a training run and its files (lesson 07).

The engine (engine.py) turns the wheel; `Run` counts, judges and saves. The state file is written
last and by renaming, so a kill at any moment leaves either the old or the new one.
"""

import contextlib
import dataclasses
import json
import math
import os
import shutil
import time

import pandas
import torch
import torch.distributed
from safetensors import SafetensorError
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import bsrnn
from bsrnn import models
from bsrnn.common import DataError, UsageError, choose
from bsrnn.training import expense, scores

_STATE_FORMAT = 2
_FREE = (
    "steps", "max_minutes", "lr", "workers", "cache_gb", "accumulate", "gradient_checkpointing",
    "checkpoint_every", "log_every", "patience",
)  # fmt: skip
_KEPT = ("step", "rows", "window", "span", "best", "best_step", "rest", "drops", "grad_norm")


class Run:
    """The state of a run and its files. `step` counts finished updates."""

    def __init__(self, out_dir, separator, config, mixer, valid, freeze, first=True):
        self.out_dir, self.separator, self.config = out_dir, separator, config
        self.mixer, self.valid, self.freeze = mixer, list(valid), tuple(freeze)
        self.first, self.world = first, 1  # whether this process writes; how many there are
        self.state_path = out_dir / "state.pt"
        self.best_path = out_dir / "best.safetensors"
        self.step, self.rows, self.facts = 0, [], {}
        self.best, self.best_step = -math.inf, 0
        self.rest = [0, 0]  # checkpoints without a better monitor: for patience, for the plateau
        self.drops = 0  # how often the plateau has lowered the learning rate
        self.window = [0.0, 0]  # sum and number of losses since the last row
        self.span = [0.0, 0]  # the same since the last checkpoint
        self.lr = self.grad_norm = math.nan
        self.passes, self.batch_now = [], None
        self.interrupted, self.board = False, None
        self.teacher = None  # of songs without stems
        self.optimizer, self.precision, self.loaded = None, None, None
        self.average = None
        if config.ema_decay:
            self.average = AveragedModel(
                separator, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay)
            ).requires_grad_(False)
        self.device = ""  # name of what it is trained on
        self.meter = self.kwh_before = None  # energy; before: None unless every step was counted
        self.seconds_before = self.cpu_before = 0.0
        self.started = (time.perf_counter(), time.process_time())
        self.spent = 0.0  # share of the CPU budget that was used at the end of the last step
        self._require_monitor()

    @property
    def judged(self):
        """The separator that is validated and kept: the average of weights where there is one."""
        return self.average.module if self.average else self.separator

    def learn_from(self, teacher) -> None:
        """Label what has no stems with this Teacher, and keep it until the student is better."""
        if not self.valid or self.config.monitor == "loss":
            raise UsageError(
                "no validation songs to tell student from teacher by: give valid= and a monitor "
                "of them"
            )
        self.teacher = teacher
        if self.loaded is not None:
            teacher.separator.load_state_dict(self.loaded["teacher"])
        elif self.first:
            self.best = scores.validation(teacher.separator, self.valid)[self.config.monitor]
            self._keep(self.best_path)

    def _require_monitor(self) -> None:
        config, stems = self.config, self.separator.stems
        known = ["loss", "valid_usdr", *(f"valid_usdr_{stem}" for stem in stems)]
        choose(config.monitor, known, "monitor")
        wanted = config.patience or config.schedule == "plateau" or config.monitor != "valid_usdr"
        if wanted and config.monitor != "loss" and not self.valid:
            raise UsageError(
                f"no validation songs to compute {config.monitor}: give valid=, or set "
                "monitor='loss'"
            )

    # -- clocks, counters ---------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.started[0]

    @property
    def cpu_seconds(self) -> float:
        return self.cpu_before + time.process_time() - self.started[1]

    def clock(self) -> float:
        """Share of the CPU budget that is used; 0 without a budget."""
        budget = self.config.max_minutes * 60
        return self.cpu_seconds / budget if budget else 0.0

    def lr_now(self) -> float:
        return self.config.lr_at(self.step, self.spent, self.drops)

    def finished(self) -> bool:
        config = self.config
        rested = config.patience and self.rest[0] >= config.patience
        return self.step >= config.steps or self.spent >= 1 or bool(rested)

    def begin(self, trainer, module) -> None:
        """Called when the optimiser stands on its device: what a resume has read goes there."""
        self.optimizer, self.precision = trainer.optimizers[0], trainer.precision_plugin
        self.world, self.device = trainer.world_size, expense.device_name(module.device)
        if self.average:
            self.average.to(module.device)
        if self.teacher:
            self.teacher.separator.to(module.device)
            self.best = trainer.strategy.broadcast(self.best)  # of the first teacher
        if self.loaded is not None:
            self.optimizer.load_state_dict(self.loaded["optimizer"])
            self.precision.load_state_dict(self.loaded["scaler"])
            torch.set_rng_state(self.loaded["random"])
            if "random_gpu" in self.loaded and module.device.type == "cuda":
                torch.cuda.set_rng_state(self.loaded["random_gpu"], module.device)

    def count(self, loss: float) -> None:
        """One update is done; `loss` is its mean over all passes and processes."""
        self.step += 1
        self.kwh_before = self.kwh_before if self.meter else None
        if self.average:
            self.average.update_parameters(self.separator)
        self.window = [self.window[0] + loss, self.window[1] + 1]
        self.span = [self.span[0] + loss, self.span[1] + 1]
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
            self._show_on_board(row)
        return self.rows[-1]

    def open_board(self, wanted: bool) -> None:
        """TensorBoard beside history.csv, where it is asked for and installed."""
        if not wanted:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                "TensorBoard is not installed: pip install tensorboard, or leave it out"
            ) from None
        if self.first:
            self.board = SummaryWriter(self.out_dir / "tensorboard")

    def _show_on_board(self, row: dict) -> None:
        if self.board:
            for name in row.keys() - {"step"}:
                self.board.add_scalar(name, row[name], row["step"])
            self.board.flush()

    def require_finite(self, value, what: str, batch) -> None:
        """Stop a run whose numbers broke although its data are sound, and keep the batch."""
        if torch.isfinite(value):
            return
        path = self.keep_batch(batch)
        raise DataError(
            f"{what} is not finite at step {self.step + 1} (first source: "
            f"{self.first_source(batch)}; batch kept in {path.name}): lower lr and resume"
        )

    def first_source(self, batch) -> str:
        """Song, stem and second of the first source of a batch."""
        return self.mixer.describe(self.mixer.picks(int(batch["index"][0]))[0])

    def keep_batch(self, batch):
        """Write a batch that must be looked at; returns its path."""
        path = self.out_dir / "bad_batch.pt"
        tensors = {name: value.cpu() for name, value in batch.items()}
        _atomic(path, lambda part: torch.save(tensors, part))
        return path

    @contextlib.contextmanager
    def metered(self, wanted: bool, processes: int):
        """Energy is counted in here, where it is asked for."""
        if not wanted:
            yield
            return
        self.meter = expense.Meter(processes)
        if self.step == 0:
            self.kwh_before = 0.0
        try:
            yield
        finally:
            self.meter.stop()

    # -- checkpoints --------------------------------------------------------------------------

    def checkpoint(self) -> dict:
        """Validate, keep the best, save; returns the row of the log."""
        row, mean_loss = self._row(), self.span[0] / self.span[1]
        self.span = [0.0, 0]
        if self.valid:
            found = self._validate()
            row |= found
            self._show_on_board({"step": self.step} | found)
        if self.config.monitor == "loss":
            score = -mean_loss
        else:  # without validation songs the last is the best
            score = row.get(self.config.monitor, float(self.step))
        self._judge(score)
        self.save()
        if self.world > 1:
            torch.distributed.barrier()  # nobody reads files that are still being written
        return row

    def _validate(self) -> dict:
        """Every process takes its share of the songs."""
        if self.world == 1:
            return scores.validation(self.judged, self.valid)
        mine = self.valid[torch.distributed.get_rank() :: self.world]
        found = [None] * self.world
        torch.distributed.all_gather_object(found, scores.song_scores(self.judged, mine))
        return scores.summary(self.separator.stems, sum(found, []))

    def _judge(self, score: float) -> None:
        if score > self.best:
            self.best, self.best_step, self.rest = score, self.step, [0, 0]
            self._keep(self.best_path)
            if self.teacher:
                self.teacher.learn_from(self.judged)
            return
        self.rest = [self.rest[0] + 1, self.rest[1] + 1]
        if self.config.schedule == "plateau" and self.rest[1] > self.config.plateau_patience:
            self.drops, self.rest = self.drops + 1, [self.rest[0], 0]

    def save(self) -> None:
        """Write everything a resume or a reader needs.

        The state comes last: a kill before it repeats some steps and writes the same files again.
        """
        if not self.first:
            return
        self._keep(self.out_dir / "last.safetensors")
        _atomic(self.out_dir / "history.csv", lambda p: self.frame().to_csv(p, index=False))
        card = json.dumps(self.card(), indent=2)
        _atomic(self.out_dir / "card.json", lambda p: p.write_text(card))
        _atomic(self.state_path, lambda p: torch.save(self._state(), p))

    def _keep(self, path) -> None:
        if self.first:
            with _named(path):
                models.save(self.judged, path, {"trained": self.card()})

    def _identity(self) -> dict:
        """What a resume must share with the run it continues. Length, rate and bookkeeping may
        change: a longer run, a lower lr after a divergence, more workers."""
        config = dataclasses.asdict(self.config)
        for free in _FREE:
            del config[free]
        model = json.loads(self.separator.config.to_json())
        return {"train": config, "model": model, "freeze": list(self.freeze)} | self.facts

    def _state(self) -> dict:
        state = {"format": _STATE_FORMAT, "identity": json.dumps(self._identity())}
        state |= {name: getattr(self, name) for name in _KEPT}
        state |= {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
        state |= {"device": self.device, "energy_kwh": self._kwh()}
        state |= {"separator": self.separator.state_dict()}
        state |= {"average": self.average.state_dict() if self.average else {}}
        state |= {"teacher": self.teacher.separator.state_dict() if self.teacher else {}}
        state |= {"optimizer": self.optimizer.state_dict(), "random": torch.get_rng_state()}
        state |= {"scaler": self.precision.state_dict()}  # of "16" only
        if torch.cuda.is_initialized():  # dropout is drawn there
            state |= {"random_gpu": torch.cuda.get_rng_state()}
        return state

    def restore(self) -> None:
        state = torch.load(self.state_path, map_location="cpu", weights_only=True)
        if state["format"] != _STATE_FORMAT:
            raise UsageError(f"{self.state_path} is of another version: begin anew, resume=False")
        theirs, ours = json.loads(state["identity"]), json.loads(json.dumps(self._identity()))
        if theirs != ours:
            raise UsageError(
                f"{self.state_path} is a run with other settings ({_difference(theirs, ours)}): "
                "use those, or resume=False to begin anew"
            )
        for name in _KEPT:
            setattr(self, name, state[name])
        self.seconds_before, self.cpu_before = state["seconds"], state["cpu_seconds"]
        self.device, self.kwh_before = state.get("device", ""), state.get("energy_kwh")
        self.spent = self.clock()
        self.separator.load_state_dict(state["separator"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.loaded = state

    def clear(self) -> None:
        """Remove the files of an earlier run."""
        names = ["state.pt", "history.csv", "card.json", "bad_batch.pt"]
        for name in [*names, "best.safetensors", "last.safetensors"]:
            (self.out_dir / name).unlink(missing_ok=True)

    def _best_db(self) -> float | None:
        """Validation uSDR at the best step."""
        rows = [row for row in self.rows if row["step"] == self.best_step]
        if not rows and self.teacher:
            return self.best  # the first teacher is still the best
        return rows[0].get("valid_usdr") if rows else None

    def frame(self) -> pandas.DataFrame:
        return pandas.DataFrame(self.rows)

    def _kwh(self) -> float | None:
        """Energy of all sessions; None unless every one was counted."""
        now = self.meter.kwh() if self.meter else 0.0
        return None if self.kwh_before is None else self.kwh_before + now

    def card(self) -> dict:
        weights, kwh = list(self.separator.parameters()), self._kwh()
        energy = {} if kwh is None else {"energy_kwh": kwh, "energy_method": expense.METHOD}
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
            "device": self.device,
            "threads": torch.get_num_threads(),
            "songs": len(self.mixer.songs),
            "valid_songs": len(self.valid),
            "best_step": self.best_step,
            "best_valid_usdr_db": self._best_db(),
            "frozen": list(self.freeze),
            "train_config": dataclasses.asdict(self.config),
            "model_config": json.loads(self.separator.config.to_json()),
            **expense.work(self.separator.config, self.config, self.step),
            **energy,
            **self.facts,
        }


def _difference(theirs: dict, ours: dict) -> str:
    """Words for the first setting in which two nested dicts differ."""
    for name in sorted(theirs.keys() | ours.keys()):
        one, two = theirs.get(name), ours.get(name)
        if one != two:
            if isinstance(one, dict) and isinstance(two, dict):
                return _difference(one, two)
            return f"{name} {one} there, {two} now"
    return "none"


@contextlib.contextmanager
def _named(path):
    """What a disk refuses becomes one line."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if "DataLoader worker" in str(error):
            raise  # its death interrupts whatever runs: the disk is sound, the engine names it
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        if isinstance(error, RuntimeError):  # torch.save's, which does not say why
            free = shutil.disk_usage(path.parent).free
            reason = f"only a part of it was taken; {free / 1e6:.0f} MB are free"
        raise DataError(
            f"cannot write {path} ({reason}): make room, then resume from the last state"
        ) from None


def _atomic(path, write) -> None:
    """`write(temporary path)`, then rename: a reader or a kill never meets half a file."""
    part = path.with_name(path.name + ".part")
    with _named(path):
        try:
            write(part)
            with open(part, "rb") as file:
                os.fsync(file.fileno())  # so that the rename does not overtake the content
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
