"""`validate`: every fault of a submission at once, without running anything that was submitted.

The weights run in this package's own network, and only within the limits. This finds mistakes. It
is no lie detector: a checkpoint says what its author let it say. Lesson 15.
"""

import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

import bsrnn
from bsrnn import audio, cost, evaluation, models
from bsrnn.common import UsageError
from bsrnn.course.sandbox import clean
from bsrnn.data import splits, toyfilm, toysong
from bsrnn.evaluation.report import GENERATED
from bsrnn.models.zoo import checkpoints

from .scoring import score
from .submission import ATTACHMENTS, CARD, CARD_FILE, MODEL, TEXTS, Limits, claims, digest

TEXT_BYTES = 1_000_000  # a longer card, plan or report is not read
LEAST_WORDS = 8  # below a heading
SCENE_S = 3.0  # of generated sound that a submission must separate
SILENT_DB = -80.0  # level below that of the mixture, under which an output counts as silent
CHUNK_S = 6.0  # sound for which the cost is counted, as in BandIt's table (lesson 11)
_OVERLAPPING = {"clip", "musdb7", "musdb18", "musdb18-hq"}  # rungs with songs of MUSDB18


class Fault(NamedTuple):
    """One thing that is wrong: the check that found it (`CHECKS`), and a line with the fix."""

    check: str
    words: str


CHECKS = ("files", "card", "texts", "model", "stems", "cost", "sound", "songs", "claims")


@dataclass(frozen=True)
class Verdict:
    """What `validate` found. `scores` is an evaluation.Report, None if there was nothing to score;
    `price` (parameters, multiply-accumulates per second), None if the file tells none."""

    submission: str
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    price: tuple[int, float] | None = None
    digests: dict = field(default_factory=dict)  # of plan and model: the first 16 hexadecimals
    scores: evaluation.Report | None = None

    @property
    def valid(self) -> bool:
        return not self.faults

    def text(self) -> str:
        """The verdict for people: a line for each fault."""
        count = len(self.faults)
        word = f"{count} fault{'s' * (count > 1)}" if count else "valid"
        lines = [f"{self.submission}: {word}"]
        lines += [f"  {fault.check}: {fault.words}" for fault in self.faults]
        lines += [f"  note: {words}" for words in self.notes]
        if self.price:
            parameters, macs = self.price
            lines.append(f"  {parameters:,} parameters, {macs / 1e9:.3f} GMAC per second of sound")
        if "plan.md" in self.digests:
            lines.append(f"  digest of the plan: {self.digests['plan.md']}")
        return "\n".join(lines)


def validate(path, limits: Limits, dataset, cache=None) -> Verdict:
    """Every fault of the submission in folder `path`.

    dataset: the public test songs that its claims are about; cache: folder for finished scores,
    by digest of the model file. Runs the network of this package with the submitted weights, and
    no code from the folder. Raises UsageError if there is no folder, or a stem is unknown.
    """
    folder, faults, notes = Path(path), [], []
    if folder.is_symlink() or not folder.is_dir():
        hint = "unpack it and give the folder" if folder.is_file() else "check the path"
        raise UsageError(f"{path} is no plain folder: {hint}")
    stems = limits.of(dataset)

    def sound(check: str, lines) -> bool:
        """Whether a check tells nothing; what it tells is kept."""
        told = [Fault(check, clean(words)) for words in lines]
        faults.extend(told)
        return not told

    sound("files", _files(folder))
    there = {name for name in (MODEL, CARD_FILE, *TEXTS) if _readable(folder / name)}
    card = separator = bill = scores = None
    try:
        if CARD_FILE in there:
            card = _card(folder / CARD_FILE)
            sound("card", (f"no {n} ({CARD[n]}): add a text" for n in CARD if not _said(card, n)))
    except UsageError as error:
        sound("card", [error])
    for name, headings in TEXTS.items():
        if name in there:
            sound("texts", _sections(folder / name, headings))
    digests = {name: digest(folder / name) for name in ("plan.md", MODEL) if name in there}
    try:
        separator = _separator(folder / MODEL) if MODEL in there else None
    except UsageError as error:
        sound("model", [error])
    if separator is not None:
        configs = [part.config for part in _parts(separator)]
        bill = price(configs, dataset.channels)
        fits = [
            sound("stems", _outputs(configs, stems, dataset)),
            sound("cost", _costs(bill, limits)),
        ]
        if all(fits):
            sound("songs", _songs(separator, card or {}, dataset, notes))
            if sound("sound", _sounds(separator, stems, dataset)):
                try:
                    scores = score(separator, dataset, stems, cache, digests[MODEL])
                    sound("claims", _claims(card or {}, scores, limits))
                except UsageError as error:  # it overflows on one of the songs
                    sound("sound", [error])
    return Verdict(clean(folder.name), tuple(faults), tuple(notes), bill, digests, scores)


def _readable(path: Path) -> bool:
    small = path.name == MODEL or not path.exists() or path.stat().st_size <= TEXT_BYTES
    return path.is_file() and not path.is_symlink() and small


def _files(folder: Path):
    wanted = (MODEL, CARD_FILE, *TEXTS)
    for path in sorted(folder.iterdir()):
        name = path.name
        if name.startswith("."):  # what file managers leave: not looked at
            continue
        if path.is_symlink() or not path.is_file():
            yield f"{name} is a link or a folder: put plain files here"
        elif name in wanted and not _readable(path):
            yield f"{name} has more than {TEXT_BYTES:,} bytes: shorten it"
        elif name not in wanted and path.suffix.lower() not in ATTACHMENTS:
            yield f"{name} is no part of a submission: weights go into {MODEL}, remove the rest"
    for name in wanted:
        if not os.path.lexists(folder / name):
            yield f"no {name}: capstone.pack writes it"


def _card(path: Path) -> dict:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        card = error
    if not isinstance(card, dict):
        raise UsageError(f"{CARD_FILE} holds no fields by name ({card}): pack it again")
    return card


def _said(card: dict, name: str) -> bool:
    return isinstance(card.get(name), str) and bool(card[name].strip())


def _sections(path: Path, headings):
    """Each heading stands there, with words below it."""
    text = path.read_text(encoding="utf-8", errors="replace")
    parts = re.split(r"(?m)^#+[ \t]*(.*?)[ \t]*$", text)[1:]
    words = dict(zip(map(str.lower, parts[::2]), map(str.split, parts[1::2]), strict=True))
    for heading in headings:
        if heading.lower() not in words:
            yield f"{path.name} has no heading `## {heading}`: add it"
        elif len(words[heading.lower()]) < LEAST_WORDS:
            yield f"{path.name} has fewer than {LEAST_WORDS} words below `{heading}`: write it out"


def _separator(path: Path):
    """The network of a file of `bsrnn.save`, which is not built where its weights do not fit its
    settings. Raises UsageError."""
    if not checkpoints.is_own(path):
        raise UsageError(f"{path.name} is no complete safetensors file of bsrnn.save: save it so")
    try:
        separator = bsrnn.load(path)
    except Exception as error:  # another's file may fail in any way
        raise UsageError(str(error).replace(str(path), path.name)) from None
    if any(type(part.config) is not models.ModelConfig for part in _parts(separator)):
        raise UsageError(f"{path.name} holds no band-split network: choose one")
    return separator


def _parts(separator) -> list:
    """The separators of a bag, or the one."""
    return getattr(separator, "separators", [separator])


def price(configs, channels: int) -> tuple[int, float]:
    """(parameters, multiply-accumulates per second of sound) of networks that run side by side.

    `channels` of the songs: a network with independent channels runs once for each. One pass is
    counted; chunks that overlap cost so much more, for everybody.
    """
    parameters, macs_per_s = 0, 0.0
    for config in configs:
        if config.channel_handling == "independent":
            config = replace(config, channels=channels)
        seconds = config.chunk_samples / config.sample_rate or CHUNK_S
        bill = cost.cost(config, seconds)
        parameters += bill.parameters
        macs_per_s += bill.macs / seconds
    return parameters, macs_per_s


def _outputs(configs, stems, dataset):
    have = [stem for config in configs for stem in config.stems]
    lacking = [stem for stem in stems if stem not in have]
    if lacking:
        only = f"only {', '.join(have)}: the board scores it"
        yield f"no output for {', '.join(lacking)}, {only}"
    for rate in sorted({config.sample_rate for config in configs} - {dataset.sample_rate}):
        fix = f"the songs have {dataset.sample_rate}: train it at that rate"
        yield f"works at {rate} Hz, {fix}"


def _costs(bill, limits):
    most = (limits.parameters, limits.macs_per_s)
    for value, limit, unit in zip(bill, most, ("parameters", "MACs per second"), strict=True):
        if value > limit:
            fix = "fewer features, repeats or bands"
            yield f"{value:,.0f} {unit}, at most {limit:,.0f}: {fix}"


def _sounds(separator, stems, dataset):
    """It separates a generated scene and no stem comes out silent. `bsrnn.separate` itself refuses
    samples that are not finite, and keeps the length."""
    make = toysong.song if set(stems) & set(toysong.STEMS) else toyfilm.scene
    sources = make(SCENE_S, np.random.default_rng(0))[0]
    mixture = audio.to_channels(sum(sources.values()), dataset.channels)  # (C, L)
    try:
        estimates = bsrnn.separate(separator, mixture, dataset.sample_rate, stems=stems)
    except (UsageError, RuntimeError) as error:
        yield f"cannot separate {SCENE_S:g} s of generated sound: {error}"
        return
    floor = 10 ** (SILENT_DB / 20) * _rms(mixture)
    for stem in stems:
        if _rms(estimates[stem]) < floor:
            below = f"below {SILENT_DB:g} dB of the mixture"
            yield f"{stem} is silent, {below}: was its head trained?"


def _rms(x) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def _songs(separator, card, dataset, notes: list):
    """The test songs were kept out of training, as far as the checkpoint's split hash tells.

    With another split of the same songs the card must list it; the list must have that hash.
    """
    facts = [part.passport.get("trained") for part in (separator, *_parts(separator))]
    facts = [fact for fact in facts if isinstance(fact, dict) and fact.get("split_hash")]
    if not facts:
        notes.append("the checkpoint does not say which songs it was trained on: ask its author")
        return
    trained, lines = facts[0], card.get("split")
    known, rungs = trained["split_hash"], {str(trained.get("rung")), dataset.rung}
    if known == dataset.split_hash:
        lines = [f"{song.subset}/{song.name}" for song in dataset]
    elif rungs & set(GENERATED) or not (
        len(rungs) == 1 or "folder" in rungs or rungs <= _OVERLAPPING
    ):  # no songs in common: those of a seed are new in each subset and place
        return
    elif not isinstance(lines, list) or splits.digest("\n".join(sorted(map(str, lines)))) != known:
        fix = "pack it with trained_on=that dataset"
        yield f"card.json does not list the split it was trained on ({known}): {fix}"
        return
    learnt = ("train/", "valid/") if trained.get("valid_songs") else ("train/",)
    seen = {str(line).partition("/")[2] for line in lines if str(line).startswith(learnt)}
    for name in sorted(seen & {song.name for song in dataset})[:1]:
        yield f"{name!r} was learnt from and is scored: keep test songs out of training"


def _claims(card, scores, limits):
    """Every claimed median, ladder included, is the one computed here."""
    claimed, here = card.get("claims"), claims(scores)
    if not isinstance(claimed, dict) or not isinstance(claimed.get("median_usdr_db"), dict):
        yield "none with the ladder beside them: pack the report of evaluation.evaluate"
        return
    if claimed.get("songs_hash") != here["songs_hash"]:
        songs = f"({claimed.get('songs_hash')}, the board's are {here['songs_hash']})"
        yield f"are about other songs {songs}: evaluate on the board's test songs"
        return
    for system, values in here["median_usdr_db"].items():
        told = claimed["median_usdr_db"].get(system)
        for stem, value in values.items():
            median = told.get(stem, "nothing") if isinstance(told, dict) else "nothing"
            if not _same(median, value, limits.tolerance_db):
                both = f"{stem} of {system}: {median!r} claimed, {value} dB computed here"
                yield f"{both}: claim what can be reproduced"


def _same(claimed, computed, tolerance_db: float) -> bool:
    """Both undefined (None), or numbers within the tolerance."""
    if claimed is None or computed is None:
        return claimed is computed
    number = isinstance(claimed, int | float) and not isinstance(claimed, bool)
    return number and abs(claimed) < 1e6 and abs(claimed - computed) <= tolerance_db
