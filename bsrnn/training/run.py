"""What a training run counts, judges and keeps (lesson 07). The loop (loop.py) turns the wheel."""

import dataclasses
import json
import math
import time

import pandas
import torch
import torch.distributed
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import bsrnn
from bsrnn import models
from bsrnn.common import DataError, UsageError, choose
from bsrnn.training import machine, planning, scores
from bsrnn.training.config import TrainConfig
from bsrnn.training.folder import BEST, LAST, STATE, RunFolder

_STATE_FORMAT = 2
# What a resume may change: length, rate and bookkeeping
_FREE = (
    "steps", "max_minutes", "lr", "workers", "cache_gb", "accumulate", "gradient_checkpointing",
    "checkpoint_every", "log_every", "patience",
)  # fmt: skip


@dataclasses.dataclass
class Counters:
    """The numbers that a resume goes on from."""

    step: int = 0  # updates done
    rows: list = dataclasses.field(default_factory=list)  # of history.csv
    window: list = dataclasses.field(default_factory=lambda: [0.0, 0])  # loss since the last row:
    # sum and number
    span: list = dataclasses.field(default_factory=lambda: [0.0, 0])  # since the last checkpoint
    best: float = -math.inf  # best monitor so far
    best_step: int = 0
    rest: list = dataclasses.field(default_factory=lambda: [0, 0])  # checkpoints without a better
    # monitor: for patience, for the plateau
    drops: int = 0  # how often the plateau has lowered the learning rate
    grad_norm: float = math.nan


class Run(Counters):
    """The state of a run: counters, weights, their average, optimiser; validation and files."""

    def __init__(self, folder: RunFolder, separator, config: TrainConfig, mixer, valid):
        super().__init__()
        self.folder, self.separator, self.config = folder, separator, config
        self.mixer, self.valid = mixer, list(valid)
        self.facts = {}  # of data and origin, for card and state
        self.gains = {}  # per stem, of the rung gain, for the passport
        self.frozen = ()  # parts that are not trained
        self.teacher = None  # of songs without stems
        self.average = None
        if config.ema_decay:
            rule = get_ema_multi_avg_fn(config.ema_decay)
            self.average = AveragedModel(separator, multi_avg_fn=rule)
            self.average.requires_grad_(False)
        self.fabric = self.optimizer = self.loaded = None
        self.device = ""  # name of what it is trained on
        self.lr = math.nan
        self.stop_asked = self.interrupted = False  # by a signal here; as all processes agreed
        self.started = [time.perf_counter(), time.process_time()]
        self.spent = 0.0  # share of the CPU budget that was used at the end of the last step
        self._require_monitor()

    def _require_monitor(self) -> None:
        config, monitor = self.config, self.config.monitor
        stems = [f"valid_usdr_{stem}" for stem in self.separator.stems]
        choose(monitor, ["loss", "valid_usdr", *stems], "monitor")
        wanted = config.patience or config.schedule == "plateau" or monitor != "valid_usdr"
        if wanted and monitor != "loss" and not self.valid:
            raise UsageError(
                f"no validation songs to compute {monitor}: give valid=, or set monitor='loss'"
            )

    @property
    def judged(self):
        """The separator that is validated and kept: the average of weights where there is one."""
        return self.average.module if self.average else self.separator

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started[0]

    @property
    def cpu_seconds(self) -> float:
        return time.process_time() - self.started[1]

    def clock(self) -> float:
        """Share of the CPU budget that is used; 0 without a budget."""
        budget = self.config.max_minutes * 60
        return self.cpu_seconds / budget if budget else 0.0

    def finished(self) -> bool:
        patience = self.config.patience
        rested = patience > 0 and self.rest[0] >= patience
        return self.step >= self.config.steps or self.spent >= 1 or rested

    def interrupt(self) -> None:
        """Stop after the running update."""
        self.stop_asked = True

    # Updates

    def begin(self, fabric, optimizer) -> None:
        """Called when the weights stand on their device: what a resume has read goes there."""
        self.fabric, self.optimizer = fabric, optimizer
        self.device = machine.device_name(fabric.device)
        for module in (self.average, self.teacher and self.teacher.separator):
            if module:
                module.to(fabric.device)
        if self.loaded is not None:
            with self.folder.reading():
                for name, part in self._parts().items():
                    part.load_state_dict(self.loaded[name])
                torch.set_rng_state(self.loaded["random"])
                if "random_gpu" in self.loaded and fabric.device.type == "cuda":
                    torch.cuda.set_rng_state(self.loaded["random_gpu"], fabric.device)
            self.loaded = None
        elif self.teacher:  # the first teacher is what a student must beat
            self.best = self._validate(self.teacher.separator)[self.config.monitor]
            self.save(best=self.teacher.separator)

    def count(self, loss: float) -> None:
        """An update is done; `loss` is its mean over all passes and processes."""
        self.step += 1
        for sums in (self.window, self.span):
            sums[0] += loss
            sums[1] += 1
        if self.step % self.config.log_every == 0:
            self._row()

    def _row(self) -> dict:
        """The row of this step; the mean loss runs since the row before."""
        if not self.rows or self.rows[-1]["step"] != self.step:
            row = {
                "step": self.step,
                "loss": self.window[0] / self.window[1],
                "lr": self.lr,
                "grad_norm": self.grad_norm,
                "seconds": self.seconds,
                "cpu_seconds": self.cpu_seconds,
            }
            self.rows.append(row)
            self.window = [0.0, 0]
            self.fabric.log_dict(row, self.step)
        return self.rows[-1]

    def require_sound(self, batch: dict, targets) -> None:
        """Stop at data with NaN or infinite samples."""
        if not (torch.isfinite(batch["mixture"]).all() and torch.isfinite(targets).all()):
            place = self.mixer.blame(batch["index"]) or self._first_source(batch)
            self._refuse(batch, f"NaN or infinite samples in {place}: repair or remove the file")

    def require_finite(self, value, what: str, batch: dict) -> None:
        """Stop a run whose numbers broke although its data are sound."""
        if not torch.isfinite(value):
            place = f"step {self.step + 1} (first source: {self._first_source(batch)})"
            self._refuse(batch, f"{what} is not finite at {place}: lower lr and resume")

    def _first_source(self, batch: dict) -> str:
        """Song, stem and second of the first source of a batch."""
        return self.mixer.describe(self.mixer.picks(int(batch["index"][0]))[0])

    def _refuse(self, batch: dict, words: str):
        """Keep the batch to be looked at, and stop."""
        name = "bad_batch.pt"
        tensors = {key: value.cpu() for key, value in batch.items()}
        self.folder.write({name: lambda path: torch.save(tensors, path)})
        raise DataError(f"{words} (batch kept in {name})")

    # Checkpoints

    def checkpoint(self) -> dict:
        """Validate, keep the best, save; returns the row of the log."""
        row, measured = self._row(), {}
        if self.valid:
            measured = self._validate(self.judged)
            row |= measured
            self.fabric.log_dict(measured, self.step)
        measured["loss"] = -self.span[0] / self.span[1]
        self.span = [0.0, 0]
        score = measured.get(self.config.monitor, float(self.step))  # without songs the last wins
        better = score > self.best
        self.rest = [0 if better else checkpoints + 1 for checkpoints in self.rest]
        if better:
            self.best, self.best_step = score, self.step
            if self.teacher:
                self.teacher.learn_from(self.judged)
        if self.config.schedule == "plateau" and self.rest[1] > self.config.plateau_patience:
            self.drops += 1
            self.rest[1] = 0
        self.save(best=self.judged if better else None)
        return row

    def _validate(self, separator) -> dict:
        """Scores over all validation songs; every process takes its share of them."""
        world = self.fabric.world_size
        if world == 1:
            return scores.validation(separator, self.valid)
        mine = scores.song_scores(separator, self.valid[self.fabric.global_rank :: world])
        gathered = [None] * world
        torch.distributed.all_gather_object(gathered, mine)
        return scores.summary(separator.stems, sum(gathered, []))

    def save(self, best=None) -> None:
        """Write everything a resume or a reader needs; `best` is a new best separator."""
        if self.fabric.is_global_zero:
            card, state = self.card(), self._state()
            passport = {"trained": card, "gain_per_stem": self.gains}
            writers = {BEST: lambda path: models.save(best, path, passport)} if best else {}
            writers |= {
                LAST: lambda path: models.save(self.judged, path, passport),
                "history.csv": lambda path: self.frame().to_csv(path, index=False),
                "card.json": lambda path: path.write_text(json.dumps(card, indent=2)),
                STATE: lambda path: torch.save(state, path),
            }
            self.folder.write(writers)
        self.fabric.barrier()  # nobody reads files that are still being written

    def _parts(self) -> dict:
        """What has a state of its own."""
        parts = {
            "separator": self.separator,
            "average": self.average,
            "teacher": self.teacher and self.teacher.separator,
            "optimizer": self.optimizer,
            "scaler": self.fabric.strategy.precision,  # of "16" only
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _state(self) -> dict:
        state = {
            "format": _STATE_FORMAT,
            "identity": json.dumps(self._identity()),
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(Counters)},
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "device": self.device,
            **{name: part.state_dict() for name, part in self._parts().items()},
            "random": torch.get_rng_state(),
        }
        if torch.cuda.is_initialized():  # dropout is drawn there
            state["random_gpu"] = torch.cuda.get_rng_state()
        return state

    # Resume

    def restore(self) -> None:
        """Go on from the state in the folder: with its numbers now, with its weights at `begin`."""
        self.folder.replaces = False
        state = self.folder.read_state()
        with self.folder.reading():
            if state["format"] != _STATE_FORMAT:
                path = self.folder.path / STATE
                raise UsageError(f"{path} is of another version: begin anew with overwrite")
            self._require_same(dict(json.loads(state["identity"])))
            for field in dataclasses.fields(Counters):
                setattr(self, field.name, state[field.name])
            self.device = state["device"]
            self.started[0] -= state["seconds"]  # as if it had never stopped
            self.started[1] -= state["cpu_seconds"]
        self.spent = self.clock()
        self.loaded = state

    def _identity(self) -> dict:
        """What a resume must share with the run it continues."""
        train = dataclasses.asdict(self.config)
        samples = {song.name: song.samples for song in self.mixer.songs}
        for path, length in getattr(self.mixer, "files", {}).items():  # those without stems
            samples[path.name] = length
        identity = {
            "train": {name: value for name, value in train.items() if name not in _FREE},
            "model": json.loads(self.separator.config.to_json()),
            "freeze": self.frozen,
            "songs": samples,
            **self.facts,
        }
        return json.loads(json.dumps(identity))

    def _require_same(self, theirs: dict) -> None:
        ours = self._identity()
        if theirs != ours:
            raise UsageError(
                f"{self.folder.path / STATE} is a run with other settings or songs "
                f"({_difference(theirs, ours)}): use those, or begin anew with overwrite"
            )

    # What it was

    def frame(self) -> pandas.DataFrame:
        """The log: a row per `log_every` steps and per checkpoint."""
        return pandas.DataFrame(self.rows)

    def card(self) -> dict:
        """What the run was, for people and tables."""
        weights = list(self.separator.parameters())
        rows = {row["step"]: row.get("valid_usdr") for row in self.rows}
        if self.teacher:
            rows[0] = self.best  # the first teacher, while nothing is better
        best_db = rows.get(self.best_step)
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
            "best_valid_usdr_db": best_db,
            "frozen": list(self.frozen),
            "train_config": dataclasses.asdict(self.config),
            "model_config": json.loads(self.separator.config.to_json()),
            **planning.work(self.separator.config, self.config, self.step),
            **self.facts,
        }


def _difference(theirs, ours, name: str = "") -> str:
    """Words for the first value in which two nested dicts differ, by its dotted name."""
    if not (isinstance(theirs, dict) and isinstance(ours, dict)):
        return f"{name} {theirs} there, {ours} now"
    for key in {**theirs, **ours}:
        there, now = theirs.get(key, "missing"), ours.get(key, "missing")
        if there != now:
            return _difference(there, now, f"{name}.{key}".lstrip("."))
    return ""
