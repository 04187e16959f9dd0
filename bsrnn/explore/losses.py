"""A loss board: the curves of a training run, and how it sounded at its checkpoints. Lesson 07.

`loss_view` is the static twin: the same picture and players from fixed settings. The curves come
from `history.csv` of a run folder (or `FitResult.history`); the sounds were kept while training.
"""

from dataclasses import dataclass
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas

from bsrnn import listen, metrics
from bsrnn.common import DataError, UsageError, choose
from bsrnn.explore.panel import Panel, choice, slider
from bsrnn.plots import signals, style

HEAR = ("estimate", "target", "error", "everything")
MAX_SMOOTHING = 15  # rows of the log
MAX_S = 5.0  # three players of this length keep a change of a control below a second


@dataclass(frozen=True)
class Listening:
    """One excerpt of a song that was not trained on, and its estimates at some steps.

    mixture, target: (C, L); estimates: step -> (C, L); all of one shape at `sample_rate` Hz.
    Raises UsageError if there is no estimate or a shape differs.
    """

    mixture: np.ndarray
    target: np.ndarray
    estimates: dict
    sample_rate: int
    stem: str = "target"

    def __post_init__(self):
        if not self.estimates:
            raise UsageError("no estimates to hear: give a dict step -> waveform (C, L)")
        for name, sound in {"target": self.target, **self.estimates}.items():
            if np.shape(sound) != np.shape(self.mixture) or np.ndim(sound) != 2:
                raise UsageError(
                    f"{name} has shape {np.shape(sound)}, the mixture {np.shape(self.mixture)}: "
                    "cut all to one excerpt (C, L)"
                )

    @property
    def steps(self) -> list[int]:
        return sorted(self.estimates)


def loss_view(run, listening: Listening, step=None, hear="estimate", smoothing: int = 1) -> list:
    """[Picture, Sounds] of one setting of the board: what `loss_board` shows.

    run: folder of `training.fit`, or its history (a frame with the columns step and loss).
    step: one of `listening.steps`, default the last. hear: one of `HEAR`, beside the mixture, which
    sets the common gain. smoothing: the loss is the mean over a row of the log and those before.
    Raises UsageError (setting), DataError (folder without a log).
    """
    history = _history(run)
    choose(hear, HEAR, "sound to hear")
    step = listening.steps[-1] if step is None else step
    if step not in listening.estimates:
        raise UsageError(f"nothing was kept at step {step}: choose one of {listening.steps}")
    if smoothing < 1:
        raise UsageError(f"smoothing is {smoothing}: give at least 1 row of the log")
    target, estimate = listening.target, listening.estimates[step]
    kept = {
        "estimate": {f"estimate at step {step}": estimate},
        "target": {f"target: {listening.stem}": target},
        "error": {f"error at step {step}": estimate - target},
    }
    kept["everything"] = kept["target"] | kept["estimate"]
    shown = "estimate" if hear == "everything" else hear
    picture, axes = style.figure(f"Step {step}", 2, 2, width=9.6, height=4.8)
    words = [_draw_loss(axes[0, 0], history, smoothing)]
    words.append(_draw_sdr(axes[1, 0], history, listening, step))
    for ax in axes[:, 0]:
        ax.axvline(step, color=style.PALETTE[1], lw=1.2, ls="--")
    rate = listening.sample_rate
    top_db = signals.levels_grid(listening.mixture, rate)[0].max()
    drawn = (*kept["target"].items(), *kept[shown].items())
    for ax, (label, sound) in zip(axes[:, 1], drawn, strict=True):
        mesh = signals.draw_spectrogram(ax, sound, rate, top_db=top_db)
        ax.set_title(label)
    axes[1, 1].set_xlabel("time (s)")
    picture.colorbar(mesh, ax=axes[:, 1], label=signals.LEVEL, pad=0.01)
    words.append(f"Spectrograms: the target above, {label} below.")
    sounds = {"mixture": listening.mixture} | kept[hear]
    played = listen.players(sounds, rate, max_s=MAX_S)
    return [style.describe(picture, " ".join(words)), played]


def loss_board(run, listening: Listening) -> Panel:
    """The board as a widget: choose the checkpoint, what to hear, and the smoothing of the curve.

    Arguments and errors as in `loss_view`.

    >>> silence = np.zeros((1, 4096), np.float32)
    >>> history = pandas.DataFrame({"step": [1, 2], "loss": [2.0, 1.0]})
    >>> board = loss_board(history, Listening(silence, silence, {0: silence, 2: silence}, 44100))
    >>> sorted(board.controls)
    ['hear', 'smoothing', 'step']
    """
    history, steps = _history(run), listening.steps
    return Panel(
        lambda **values: loss_view(history, listening, **values),
        "Loss board",
        step=widgets.SelectionSlider(
            options=steps, value=steps[-1], description="checkpoint: step"
        ),
        hear=choice("hear and see", HEAR),
        smoothing=slider("smoothing (rows)", 1, 1, MAX_SMOOTHING),
    )


def _history(run) -> pandas.DataFrame:
    """The log of a run, from its folder or as it is."""
    if isinstance(run, str | Path):
        path = Path(run) / "history.csv"
        if not path.is_file():
            raise DataError(f"{run} has no history.csv: give the out_dir of a run of training.fit")
        run = pandas.read_csv(path)
    if not {"step", "loss"} <= set(run) or not len(run):
        raise UsageError("a history needs rows with step and loss: train at least log_every steps")
    return run


def _draw_loss(ax, history, smoothing) -> str:
    smooth = history["loss"].rolling(smoothing, min_periods=1).mean()
    ax.plot(history["step"], history["loss"], color="#999999", lw=0.8)
    ax.plot(history["step"], smooth, color=style.PALETTE[0], lw=1.8)
    words = "every row" if smoothing == 1 else f"mean over {smoothing} rows"
    ax.set(title=f"training loss, {words}", xlabel="step", ylabel="loss")
    return (
        f"Training loss ({words}) from {smooth.iloc[0]:.3g} to {smooth.iloc[-1]:.3g} after "
        f"{history['step'].iloc[-1]} steps;"
    )


def _draw_sdr(ax, history, listening, step) -> str:
    """The uSDR of the excerpt at every kept step, beside that of the validation."""
    sdr_db = {
        kept: float(metrics.usdr(listening.target, listening.estimates[kept]))
        for kept in listening.steps
    }
    ax.axhline(0, color="#888888", lw=0.8)
    ax.plot(sdr_db.keys(), sdr_db.values(), "o-", color=style.PALETTE[1], label="this excerpt")
    if "valid_usdr" in history and history["valid_usdr"].notna().any():
        known = history.dropna(subset=["valid_usdr"])
        look = {"color": style.PALETTE[2], "label": "validation"}
        ax.plot(known["step"], known["valid_usdr"], "s-", **look)
    ax.set(title="uSDR; 0 dB is what silence gets", xlabel="step", ylabel="uSDR (dB)")
    style.legend(ax, loc="lower right")
    return f"{listening.stem} of the excerpt has {sdr_db[step]:.1f} dB uSDR at step {step}."
