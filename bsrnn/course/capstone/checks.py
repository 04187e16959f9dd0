"""`validate`: every fault of a submission at once, without running anything that was submitted.

The weights run in this package's own network; a configuration over the limits is never built. This
finds mistakes. It is no lie detector: a checkpoint says what its author let it say. Lesson 15.
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
from bsrnn.common import DataError, UsageError
from bsrnn.course.capstone.scoring import score
from bsrnn.course.capstone.submission import (
    ATTACHMENTS,
    CARD,
    CARD_FILE,
    MODEL,
    TEXTS,
    Limits,
    claims,
    digest,
)  # fmt: skip
from bsrnn.course.sandbox import clean
from bsrnn.data import splits, toyfilm, toysong
from bsrnn.evaluation.report import GENERATED

TEXT_BYTES = 1_000_000  # a longer card, plan or report is not read
LEAST_WORDS = 8  # below a heading
SCENE_S = 3.0  # of generated sound that a submission must separate
SILENT_DB = -80.0  # level below that of the mixture, under which an output counts as silent
CHUNK_S = 6.0  # sound for which the cost is counted, as in BandIt's table (lesson 11)
N_FFT = 2**16  # the largest transform that is looked at: a configuration is input, too
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

    def tell(check: str, words) -> None:
        faults.append(Fault(check, clean(words)))

    there = _files(folder, tell)
    card = _card(folder / CARD_FILE, tell) if CARD_FILE in there else {}
    for name, headings in TEXTS.items():
        if name in there:
            _sections(folder / name, headings, tell)
    digests = {name: digest(folder / name) for name in ("plan.md", MODEL) if name in there}
    price = separator = scores = None
    if MODEL in there:
        price, separator = _model(folder / MODEL, limits, stems, dataset, tell)
    if separator is not None:
        _songs(separator, card, dataset, tell, notes)
        if _sounds(separator, stems, dataset, tell):
            try:
                scores = score(separator, dataset, stems, cache, digests[MODEL])
                _claims(card, scores, limits, tell)
            except UsageError as error:  # it overflows on one of the songs
                tell("sound", error)
    return Verdict(clean(folder.name), tuple(faults), tuple(notes), price, digests, scores)


def _files(folder: Path, tell) -> set[str]:
    """Names of the files of a submission that are there and may be read."""
    there = set()
    wanted = (MODEL, CARD_FILE, *TEXTS)
    for path in sorted(folder.iterdir()):
        name = path.name
        if name.startswith("."):  # what file managers leave: not looked at
            continue
        if path.is_symlink() or not path.is_file():
            tell("files", f"{name} is a link or a folder: put plain files here")
        elif name in wanted and name != MODEL and path.stat().st_size > TEXT_BYTES:
            tell("files", f"{name} has more than {TEXT_BYTES:,} bytes: shorten it")
        elif name in wanted:
            there.add(name)
        elif path.suffix.lower() not in ATTACHMENTS:
            fix = f"weights go into {MODEL}, remove the rest"
            tell("files", f"{name} is no part of a submission: {fix}")
    for name in wanted:
        if not os.path.lexists(folder / name):
            tell("files", f"no {name}: capstone.pack writes it")
    return there


def _card(path: Path, tell) -> dict:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        tell("card", f"{CARD_FILE} is no JSON ({error}): pack it again")
        return {}
    if not isinstance(card, dict):
        tell("card", f"{CARD_FILE} holds no fields by name: pack it again")
        return {}
    for name, meaning in CARD.items():
        if not isinstance(card.get(name), str) or not card[name].strip():
            tell("card", f"no {name} ({meaning}): add a text")
    return card


def _sections(path: Path, headings, tell) -> None:
    """Each heading stands there, with words below it."""
    text = path.read_text(encoding="utf-8", errors="replace")
    parts = re.split(r"(?m)^#+[ \t]*(.*?)[ \t]*$", text)[1:]
    words = dict(zip(map(str.lower, parts[::2]), map(str.split, parts[1::2]), strict=True))
    for heading in headings:
        if heading.lower() not in words:
            tell("texts", f"{path.name} has no heading `## {heading}`: add it")
        elif len(words[heading.lower()]) < LEAST_WORDS:
            few = f"fewer than {LEAST_WORDS} words below `{heading}`"
            tell("texts", f"{path.name} has {few}: write it out")


def _configs(path: Path) -> list[models.ModelConfig]:
    """Configurations of the networks in a file of `bsrnn.save`, without reading a weight."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path.name} is no complete safetensors file ({error}): only bsrnn.save's are read"
        ) from None
    texts = json.loads(metadata.get("configs", "[]"))
    settings = [json.loads(text) for text in texts]
    if not settings or any(values.get("model") == "d3net" for values in settings):
        raise DataError(f"{path.name} holds no band-split network of bsrnn.save: save it so")
    for values in settings:
        n_fft, hop = values["stft"]["n_fft"], values["stft"]["hop"]
        if not 2 <= n_fft <= N_FFT or 64 * hop < n_fft:
            fix = f"choose 2 to {N_FFT}, and a hop of n_fft / 64 or more"
            raise DataError(f"{path.name} has the n_fft {n_fft} and the hop {hop}: {fix}")
    return [models.ModelConfig.from_json(text) for text in texts]


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


def _model(path: Path, limits, stems, dataset, tell):
    """(price, separator); the network is built only if its configuration keeps the limits."""
    try:
        configs = _configs(path)
        bill = price(configs, dataset.channels)
    except UsageError as error:
        tell("model", error)
        return None, None
    except Exception as error:  # values that no configuration has make the formulas fail in any way
        tell("model", f"{path.name} has a damaged configuration ({error}): save it again")
        return None, None
    have = [stem for config in configs for stem in config.stems]
    lacking = [stem for stem in stems if stem not in have]
    if lacking:
        only = f"only {', '.join(have)}: the board scores it"
        tell("stems", f"no output for {', '.join(lacking)}, {only}")
    for rate in sorted({config.sample_rate for config in configs} - {dataset.sample_rate}):
        fix = f"the songs have {dataset.sample_rate}: train it at that rate"
        tell("stems", f"works at {rate} Hz, {fix}")
    units = ("parameters", "MACs per second")
    most = (limits.parameters, limits.macs_per_s)
    for value, limit, unit in zip(bill, most, units, strict=True):
        if value > limit:
            fix = "fewer features, repeats or bands"
            tell("cost", f"{value:,.0f} {unit}, at most {limit:,.0f}: {fix}")
    if bill[0] > most[0] or bill[1] > most[1]:
        return bill, None
    try:
        separator = bsrnn.load(path)
    except Exception as error:  # so does a passport that is none
        tell("model", f"cannot be loaded: {str(error).replace(str(path), path.name)}")
        return bill, None
    usable = not lacking and separator.sample_rate == dataset.sample_rate
    return bill, separator if usable else None


def _sounds(separator, stems, dataset, tell) -> bool:
    """Whether it separates a generated scene and no stem comes out silent. `bsrnn.separate` itself
    refuses samples that are not finite, and keeps the length."""
    make = toysong.song if set(stems) & set(toysong.STEMS) else toyfilm.scene
    sources = make(SCENE_S, np.random.default_rng(0))[0]
    mixture = audio.to_channels(sum(sources.values()), dataset.channels)  # (C, L)
    try:
        estimates = bsrnn.separate(separator, mixture, dataset.sample_rate, stems=stems)
    except (UsageError, RuntimeError) as error:
        tell("sound", f"cannot separate {SCENE_S:g} s of generated sound: {error}")
        return False
    floor = 10 ** (SILENT_DB / 20) * _rms(mixture)
    silent = [stem for stem in stems if _rms(estimates[stem]) < floor]
    for stem in silent:
        below = f"below {SILENT_DB:g} dB of the mixture"
        tell("sound", f"{stem} is silent, {below}: was its head trained?")
    return not silent


def _rms(x) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def _songs(separator, card, dataset, tell, notes: list) -> None:
    """Were the test songs kept out of training, as far as the checkpoint's split hash tells?

    With another split of the same songs the card must list it; the list must have that hash.
    """
    parts = getattr(separator, "separators", [separator])
    facts = [part.passport.get("trained") for part in (separator, *parts)]
    facts = [fact for fact in facts if isinstance(fact, dict) and fact.get("split_hash")]
    if not facts:
        notes.append("the checkpoint does not say which songs it was trained on: ask its author")
        return
    trained, lines = facts[0], card.get("split")
    known, rungs = trained["split_hash"], {str(trained.get("rung")), dataset.rung}
    if known == dataset.split_hash:
        lines = [f"{song.subset}/{song.name}" for song in dataset]
    elif not _may_share(rungs):
        return
    elif not isinstance(lines, list) or splits.digest("\n".join(sorted(map(str, lines)))) != known:
        fix = "pack it with trained_on=that dataset"
        tell("songs", f"card.json does not list the split it was trained on ({known}): {fix}")
        return
    learnt = ("train/", "valid/") if trained.get("valid_songs") else ("train/",)
    seen = {str(line).partition("/")[2] for line in lines if str(line).startswith(learnt)}
    for name in sorted(seen & {song.name for song in dataset})[:1]:
        tell("songs", f"{name!r} was learnt from and is scored: keep test songs out of training")


def _may_share(rungs: set) -> bool:
    """Whether datasets of these rungs can hold the same songs in different subsets. A generated
    song depends on its seed, subset and place: a test song is never a training song elsewhere."""
    if rungs & set(GENERATED):
        return False
    return len(rungs) == 1 or "folder" in rungs or rungs <= _OVERLAPPING


def _claims(card, scores, limits, tell) -> None:
    """Every claimed median, ladder included, against the one computed here."""
    claimed, here = card.get("claims"), claims(scores)
    if not isinstance(claimed, dict) or not isinstance(claimed.get("median_usdr_db"), dict):
        tell("claims", "none with the ladder beside them: pack the report of evaluation.evaluate")
        return
    if claimed.get("songs_hash") != here["songs_hash"]:
        songs = f"({claimed.get('songs_hash')}, the board's are {here['songs_hash']})"
        tell("claims", f"are about other songs {songs}: evaluate on the board's test songs")
        return
    for system, values in here["median_usdr_db"].items():
        told = claimed["median_usdr_db"].get(system)
        for stem, value in values.items():
            median = told.get(stem, "nothing") if isinstance(told, dict) else "nothing"
            if not _same(median, value, limits.tolerance_db):
                both = f"{stem} of {system}: {median!r} claimed, {value} dB computed here"
                tell("claims", f"{both}: claim what can be reproduced")


def _same(claimed, computed, tolerance_db: float) -> bool:
    """Both undefined (None), or numbers within the tolerance."""
    if claimed is None or computed is None:
        return claimed is computed
    number = isinstance(claimed, int | float) and not isinstance(claimed, bool)
    return number and abs(claimed) < 1e6 and abs(claimed - computed) <= tolerance_db
