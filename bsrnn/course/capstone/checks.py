"""`validate`: every fault of a submission at once, without running anything that was submitted.

The weights run in this package's own network; a configuration over the limits is never built. This
finds mistakes. It is no lie detector: a checkpoint says what its author let it say. Lesson 15.
"""

import json
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


LINE = 300  # characters of a fault that are shown


def one_line(words) -> str:
    """Words as one printable line: a fault may quote names and values from a stranger's file.

    >>> one_line("two" + chr(10) + "lines" + chr(27) + "[2J")
    'two lines [2J'
    """
    text = "".join(c if c.isprintable() else " " for c in str(words))
    return " ".join(text.split())[:LINE]


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
    there = _files(folder, faults)
    card = _card(folder / CARD_FILE, faults) if CARD_FILE in there else {}
    for name, headings in TEXTS.items():
        if name in there:
            _sections(folder / name, headings, faults)
    digests = {name: digest(folder / name) for name in ("plan.md", MODEL) if name in there}
    price = separator = scores = None
    if MODEL in there:
        price, separator = _model(folder / MODEL, limits, stems, dataset, faults)
    if separator is not None:
        _songs(separator, card, dataset, faults, notes)
        if _sounds(separator, stems, dataset, faults):
            try:
                scores = score(separator, dataset, stems, cache, digests[MODEL])
                _claims(card, scores, limits, faults)
            except UsageError as error:  # it overflows on one of the songs
                faults.append(Fault("sound", str(error)))
    clean = tuple(Fault(check, one_line(words)) for check, words in faults)
    return Verdict(one_line(folder.name), clean, tuple(notes), price, digests, scores)


def _files(folder: Path, faults: list) -> set[str]:
    """Names of the files of a submission that are there and may be read."""
    there = set()
    for path in sorted(folder.iterdir()):
        name = path.name
        if name.startswith("."):  # what file managers leave: not looked at
            continue
        if path.is_symlink() or not path.is_file():
            faults.append(Fault("files", f"{name} is a link or a folder: put plain files here"))
        elif name in (MODEL, CARD_FILE, *TEXTS):
            small = name == MODEL or path.stat().st_size <= TEXT_BYTES
            if small:
                there.add(name)
            else:
                words = f"{name} has more than {TEXT_BYTES:,} bytes: shorten it"
                faults.append(Fault("files", words))
        elif path.suffix.lower() not in ATTACHMENTS:
            words = f"{name} is no part of a submission: weights go into {MODEL}, remove the rest"
            faults.append(Fault("files", words))
    seen = {path.name for path in folder.iterdir()}
    for name in (MODEL, CARD_FILE, *TEXTS):
        if name not in seen:
            faults.append(Fault("files", f"no {name}: capstone.pack writes it"))
    return there


def _card(path: Path, faults: list) -> dict:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        faults.append(Fault("card", f"{CARD_FILE} is no JSON ({error}): pack it again"))
        return {}
    if not isinstance(card, dict):
        faults.append(Fault("card", f"{CARD_FILE} holds no fields by name: pack it again"))
        return {}
    for name, meaning in CARD.items():
        if not isinstance(card.get(name), str) or not card[name].strip():
            faults.append(Fault("card", f"no {name} ({meaning}): add a text"))
    return card


def _sections(path: Path, headings, faults: list) -> None:
    """Each heading stands there, with words below it."""
    text = path.read_text(encoding="utf-8", errors="replace")
    parts = re.split(r"(?m)^#+[ \t]*(.*?)[ \t]*$", text)[1:]
    words = dict(zip(map(str.lower, parts[::2]), map(str.split, parts[1::2]), strict=True))
    for heading in headings:
        if heading.lower() not in words:
            faults.append(Fault("texts", f"{path.name} has no heading `## {heading}`: add it"))
        elif len(words[heading.lower()]) < LEAST_WORDS:
            few = f"fewer than {LEAST_WORDS} words below `{heading}`"
            faults.append(Fault("texts", f"{path.name} has {few}: write it out"))


def _configs(path: Path) -> list[models.ModelConfig]:
    """Configurations of the networks in a file of `bsrnn.save`, without reading a weight."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        texts = json.loads(metadata.get("configs", "[]"))
        settings = [json.loads(text) for text in texts]
        if not settings or any(one.get("model") == "d3net" for one in settings):
            raise DataError(f"{path.name} holds no band-split network of bsrnn.save: save it so")
        if any(not 2 <= one["stft"]["n_fft"] <= N_FFT for one in settings):
            raise DataError(f"{path.name} has an n_fft outside 2 to {N_FFT}: choose another")
        return [models.ModelConfig.from_json(text) for text in texts]
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path.name} is no complete safetensors file ({error}): only bsrnn.save's are read"
        ) from None


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
        found = cost.cost(config, seconds)
        parameters += found.parameters
        macs_per_s += found.macs / seconds
    return parameters, macs_per_s


def _model(path: Path, limits, stems, dataset, faults: list):
    """(price, separator); the network is built only if its configuration keeps the limits."""
    try:
        configs = _configs(path)
        found = price(configs, dataset.channels)
    except UsageError as error:
        faults.append(Fault("model", str(error)))
        return None, None
    except Exception as error:  # values that no configuration has make the formulas fail in any way
        words = f"{path.name} has a damaged configuration ({error}): save it again"
        faults.append(Fault("model", words))
        return None, None
    have = [stem for config in configs for stem in config.stems]
    lacking = [stem for stem in stems if stem not in have]
    if lacking:
        words = f"no output for {', '.join(lacking)}, only {', '.join(have)}: the board scores it"
        faults.append(Fault("stems", words))
    for rate in sorted({config.sample_rate for config in configs} - {dataset.sample_rate}):
        words = f"works at {rate} Hz, the songs have {dataset.sample_rate}: train it at that rate"
        faults.append(Fault("stems", words))
    affordable = True
    for name, value, unit in (
        ("parameters", found[0], "parameters"), ("macs_per_s", found[1], "MACs per second"),
    ):  # fmt: skip
        limit = getattr(limits, name)
        if value > limit:
            affordable = False
            words = f"{value:,.0f} {unit}, at most {limit:,.0f}: fewer features, repeats or bands"
            faults.append(Fault("cost", words))
    if not affordable:
        return found, None
    try:
        separator = bsrnn.load(path)
    except Exception as error:  # so does a passport that is none
        words = str(error).replace(str(path), path.name)
        faults.append(Fault("model", f"cannot be loaded: {words}"))
        return found, None
    usable = not lacking and separator.sample_rate == dataset.sample_rate
    return found, separator if usable else None


def _sounds(separator, stems, dataset, faults: list) -> bool:
    """Whether it separates a generated scene and no stem comes out silent. `bsrnn.separate` itself
    refuses samples that are not finite, and keeps the length."""
    make = toysong.song if set(stems) & set(toysong.STEMS) else toyfilm.scene
    sources = make(SCENE_S, np.random.default_rng(0))[0]
    mixture = audio.to_channels(sum(sources.values()), dataset.channels)  # (C, L)
    try:
        found = bsrnn.separate(separator, mixture, dataset.sample_rate, stems=stems)
    except (UsageError, RuntimeError) as error:
        faults.append(Fault("sound", f"cannot separate {SCENE_S:g} s of generated sound: {error}"))
        return False
    floor = 10 ** (SILENT_DB / 20) * _rms(mixture)
    silent = [stem for stem in stems if _rms(found[stem]) < floor]
    for stem in silent:
        words = f"{stem} is silent, below {SILENT_DB:g} dB of the mixture: was its head trained?"
        faults.append(Fault("sound", words))
    return not silent


def _rms(x) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def _songs(separator, card, dataset, faults: list, notes: list) -> None:
    """Were the test songs kept out of training, as far as the checkpoint's split hash tells?

    With another split of the same songs the card must list it; the list must have that hash.
    """
    parts = getattr(separator, "separators", [separator])
    known = [one.passport.get("trained") for one in (separator, *parts)]
    known = [one for one in known if isinstance(one, dict) and one.get("split_hash")]
    trained = known[0] if known else None
    if trained is None:
        notes.append("the checkpoint does not say which songs it was trained on: ask its author")
        return
    known, lines = trained["split_hash"], card.get("split")
    if known == dataset.split_hash:
        lines = [f"{song.subset}/{song.name}" for song in dataset]
    elif not _may_share(str(trained.get("rung")), dataset.rung):
        return
    elif not isinstance(lines, list) or splits.digest("\n".join(sorted(map(str, lines)))) != known:
        words = f"card.json does not list the split it was trained on ({known})"
        faults.append(Fault("songs", f"{words}: pack it with trained_on=that dataset"))
        return
    learnt = ("train/", "valid/") if trained.get("valid_songs") else ("train/",)
    seen = {str(line).partition("/")[2] for line in lines if str(line).startswith(learnt)}
    for name in sorted(seen & {song.name for song in dataset})[:1]:
        words = f"{name!r} was learnt from and is scored: keep test songs out of training"
        faults.append(Fault("songs", words))


def _may_share(one, other) -> bool:
    """Whether datasets of these rungs can hold the same songs in different subsets. A generated
    song depends on its seed, subset and place: a test song is never a training song elsewhere."""
    if {one, other} & set(GENERATED):
        return False
    return one == other or "folder" in (one, other) or {one, other} <= _OVERLAPPING


def _claims(card, scores, limits, faults: list) -> None:
    """Every claimed median, ladder included, against the one computed here."""
    claimed, here = card.get("claims"), scores.card["protocol"]["songs_hash"]
    if not isinstance(claimed, dict) or not isinstance(claimed.get("median_usdr_db"), dict):
        words = "none with the ladder beside them: pack the report of evaluation.evaluate"
        faults.append(Fault("claims", words))
    elif claimed.get("songs_hash") != here:
        words = f"are about other songs ({claimed.get('songs_hash')}, the board's are {here})"
        faults.append(Fault("claims", f"{words}: evaluate on the board's test songs"))
    else:
        for system, values in claims(scores)["median_usdr_db"].items():
            said = claimed["median_usdr_db"].get(system)
            for stem, value in values.items():
                one = said.get(stem, "nothing") if isinstance(said, dict) else "nothing"
                if not _same(one, value, limits.tolerance_db):
                    words = f"{stem} of {system}: {one!r} claimed, {value} dB computed here"
                    faults.append(Fault("claims", f"{words}: claim what can be reproduced"))


def _same(claimed, computed, tolerance_db: float) -> bool:
    """Both undefined (None), or numbers within the tolerance."""
    if claimed is None or computed is None:
        return claimed is computed
    number = isinstance(claimed, int | float) and not isinstance(claimed, bool)
    return number and abs(claimed - computed) <= tolerance_db
