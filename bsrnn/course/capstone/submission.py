"""What a submission is: its files, what each must say, the limits it is held to; and packing one.

A plain folder, no archive and no links:

    model.safetensors   the separator, as `bsrnn.save` writes it
    card.json           `CARD`, and the claims: medians in dB with the ladder beside them
    plan.md             a section for each of `PLAN`, written before the first run
    report.md           a section for each of `REPORT`, the parts of assignment a8's report

and attachments for its readers (`ATTACHMENTS`), which nothing here opens. Lesson 15.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bsrnn import evaluation, models
from bsrnn.common import UsageError, write_text
from bsrnn.data import splits

MODEL, CARD_FILE = "model.safetensors", "card.json"
CARD = {  # what a card must say, in words for the reader
    "name": "what the system is called",
    "authors": "who made it",
    "question": "the one question of the project",
    "method": "what differs from the baseline, and nothing else",
    "training_data": "which songs, and which were kept out",
    "licence": "of the weights; that of the training songs binds",
    "commands": "that make the same checkpoint again",
    "limitations": "what it cannot do, as heard",
}
PLAN = ("Question", "Prediction", "Protocol", "Decision rule")
REPORT = (
    "Question and protocol", "Results", "Listening and errors", "What it does not show",
)  # fmt: skip
TEXTS = {"plan.md": PLAN, "report.md": REPORT}
ATTACHMENTS = (".csv", ".flac", ".ipynb", ".mp3", ".pdf", ".png", ".py", ".wav")
LADDER = ("silence", "mixture", "gain", "ideal ratio mask")  # rungs that stand beside every claim
SYSTEM = "model"  # what card.json calls the submission's own scores


@dataclass(frozen=True)
class Limits:
    """The rules of a board. Costs hold for the whole network, on songs of the board's channels.

    stems: that are scored; empty: all that the songs have. parameters; macs_per_s:
    multiply-accumulates per second of sound (`bsrnn.cost`); tolerance_db: by which a claim may
    miss what is computed here.
    """

    stems: tuple[str, ...] = ()
    parameters: float = 1e6
    macs_per_s: float = 5e9
    tolerance_db: float = 0.05

    def __post_init__(self):
        for name in ("parameters", "macs_per_s", "tolerance_db"):
            if not getattr(self, name) > 0:
                raise UsageError(f"limit {name} is {getattr(self, name)}: give a number above 0")

    def of(self, dataset) -> tuple[str, ...]:
        """The stems that are scored on `dataset`; UsageError if it lacks one."""
        for stem in self.stems:
            if stem not in dataset.stems:
                has = ", ".join(dataset.stems)
                raise UsageError(f"the songs have no stem {stem!r}, only {has}: choose of these")
        return self.stems or dataset.stems


def pack(folder, separator, card: dict, plan: str, report: str, scores, trained_on=None) -> Path:
    """Write a submission into `folder` and return it.

    card: a text for each of `CARD`. plan, report: Markdown. scores: the evaluation.Report of the
    test songs, with the rungs `LADDER`; its only other system is taken for the submission.
    trained_on: Dataset that `separator` was trained on, whose split is then listed in the card.
    Raises UsageError where the card has unknown fields or the scores lack a rung.
    """
    folder = Path(folder)
    for name in card:
        if name not in CARD:
            raise UsageError(f"unknown field {name!r} of a card: it has {', '.join(CARD)}")
    filled = card | {"claims": claims(scores)}
    if trained_on is not None:
        filled["split"] = split_lines(trained_on)
    models.save(separator, folder / MODEL)
    write_text(folder / CARD_FILE, json.dumps(filled, indent=1) + "\n")
    for name, text in zip(TEXTS, (plan, report), strict=True):
        write_text(folder / name, text)
    return folder


def claims(scores) -> dict:
    """What a card claims: the songs, median uSDR in dB per system and stem (None: undefined)."""
    own = [system for system in scores.systems if system not in evaluation.LADDER]
    lacking = [rung for rung in LADDER if rung not in scores.systems]
    if lacking or len(own) != 1:
        raise UsageError(
            f"scores of {', '.join(scores.systems)}: evaluate one system with the ladder "
            f"{', '.join(LADDER)}"
        )
    table = scores.pivot("usdr").median()
    value = lambda x: None if np.isnan(x) else round(float(x), 4)  # noqa: E731
    return {
        "songs_hash": scores.card["protocol"]["songs_hash"],
        "median_usdr_db": {
            SYSTEM if system in own else system: {s: value(table[system, s]) for s in scores.stems}
            for system in (*LADDER, *own)
        },
    }


def split_lines(dataset) -> list[str]:
    """Which song was in which subset: the lines whose digest is the dataset's `split_hash`.

    Raises UsageError if the dataset is only a part of what the hash was made of.
    """
    lines = sorted(f"{song.subset}/{song.name}" for song in dataset.songs)
    if splits.digest("\n".join(lines)) != dataset.split_hash:
        raise UsageError("this is a part of a dataset: give the whole, as bsrnn.data.open opens it")
    return lines


def digest(path) -> str:
    """The first 16 hexadecimals of a file's SHA-256: a promise that fits into a message."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
