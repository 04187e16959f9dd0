"""Separate a mixture of any length: chunks in, overlap-add, stems out; in memory or disk to disk.

A separator is anything with `.stems`, `.sample_rate` and a call (B, C, L) -> (B, S, C, L). Long
mixtures are cut into overlapping chunks. Where two chunks meet, the outer part of each is context:
it is computed and thrown away, because a network guesses badly beside a cut; between the two
contexts one estimate is faded into the other with gains that add up to 1. So the length and the
level of the output are those of the input, and memory depends on the chunk, not on the duration.

Rules for cutting: "context" (this project's); "magronp", the linear fader of github magronp/bsrnn
(no context, later chunks longer than the first, the last one short). Lesson 08.
"""

import contextlib
import inspect
import itertools
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bsrnn import audio
from bsrnn.errors import DataError, UsageError, choose

log = logging.getLogger(__name__)
RESIDUAL = "residual"


@dataclass(frozen=True)
class Piece:
    """Samples [start, stop) of the mixture; its estimate fades in over [rise, risen)."""

    start: int
    stop: int
    rise: int
    risen: int


def context_pieces(samples: int, chunk: int, overlap: float):
    """Chunks of equal length, `overlap` (0 ... <1) of each shared with the next.

    Half of the shared part is faded, or at most one hop; the rest is context. The last chunk is
    moved back to end with the mixture, so no chunk is padded unless the mixture is shorter.
    """
    shared = min(round(overlap * chunk), chunk - 1)
    hop = chunk - shared
    fade = min(shared - 2 * (shared // 4), hop)
    context = (shared - fade) // 2
    start, stop, previous = 0, min(chunk, samples), 0
    while True:
        risen = previous - context if start else 0
        yield Piece(start, stop, risen - fade if start else 0, risen)
        if stop >= samples:
            return
        previous = stop
        stop = min(stop + hop, samples)
        start = stop - chunk


def magronp_pieces(samples: int, segment: int, overlap: float):
    """Chunks of (1 + overlap) segments, each beginning `overlap` segments before the last one's
    end and reaching (1 + overlap) segments beyond it; all that is shared is faded."""
    shared, chunk = int(overlap * segment), int(segment * (1 + overlap))
    start, stop, rise, risen = 0, min(chunk, samples), 0, 0
    while True:
        yield Piece(start, stop, rise, risen)
        if stop >= samples:
            return
        start, rise, risen = stop - shared, stop - shared, stop
        stop = min(stop + chunk, samples)


RULES = {"context": context_pieces, "magronp": magronp_pieces}


class _Engine:
    """What to run on each chunk: the separator with its channel, length and stem policy."""

    def __init__(self, separator, stems, chunk_s: float, overlap: float, rule: str, batch: int):
        self.separator, self.batch = separator, batch
        known = tuple(separator.stems)
        self.stems = known if stems is None else tuple(choose(s, known, "stem") for s in stems)
        self.rows = [known.index(stem) for stem in self.stems]
        forward = getattr(separator, "forward", separator)
        # Heads that were not asked for need not run, where the separator knows how to leave them.
        self.selects = "stems" in inspect.signature(forward).parameters
        config = getattr(separator, "config", None)
        stft, frames = getattr(config, "stft", None), getattr(config, "frames", 0)
        self.shortest = stft.shortest if stft else 1
        chunk = round(chunk_s * separator.sample_rate)
        if frames:  # normalisation tied to a number of frames: all chunks must have it
            chunk = self.shortest = (frames - 1) * stft.hop
        if chunk < 1 or not 0 <= overlap < 1 or batch < 1:
            raise UsageError(
                f"chunk_s {chunk_s}, overlap {overlap}, batch {batch}: "
                "need chunk_s > 0, 0 <= overlap < 1, batch >= 1"
            )
        self.pieces = RULES[choose(rule, RULES, "chunking rule")]
        self.chunk, self.overlap = max(chunk, self.shortest), overlap
        self.channels = getattr(separator, "channels", None)
        if getattr(config, "channel_handling", "independent") != "independent":
            self.channels = config.channels
        parameters = getattr(separator, "parameters", lambda: iter(()))
        self.device = next((p.device for p in parameters()), torch.device("cpu"))

    def __call__(self, chunks: np.ndarray) -> np.ndarray:
        """Chunks (P, C, L) to estimates (P, S, C, L).

        A separator made for another number of channels gets every channel on its own, copied to
        the channels it wants, and the mean of what it returns: mono into a stereo network, stereo
        into a mono one, 5.1 into either.
        """
        count, channels, samples = chunks.shape
        missing = max(0, self.shortest - samples)
        batch = torch.from_numpy(np.pad(chunks, ((0, 0), (0, 0), (0, missing)))).to(self.device)
        single = self.channels not in (None, channels)
        if single:
            batch = batch.flatten(0, 1)[:, None].expand(-1, self.channels, -1)  # (P C, C', L)
        with torch.inference_mode():
            if self.selects:
                found = self.separator(batch, stems=self.stems)  # (P, S, C, L)
            else:
                found = self.separator(batch)[:, self.rows]
        if single:
            found = found.mean(2).unflatten(0, (count, channels)).transpose(1, 2)  # (P, S, C, L)
        found = found[..., :samples].float().cpu().numpy()
        if not np.isfinite(found).all():
            raise UsageError(
                "the separator returned NaN or infinite samples: its weights are damaged, "
                "or it overflows on this level: load another checkpoint or lower the input"
            )
        return found

    def overlap_add(self, blocks, samples: int):
        """Mixture blocks (C, n), `samples` in all -> estimate blocks (S, C, m), as many in all."""
        blocks, first, held = iter(blocks), 0, None  # held: mixture from sample `first` on
        previous, previous_start, sent = None, 0, 0
        pieces = self.pieces(samples, self.chunk, self.overlap)
        for group in _batches(pieces, self.batch):
            parts = [] if held is None else [held]
            have = first + sum(part.shape[-1] for part in parts)
            while have < group[-1].stop:
                parts.append(next(blocks))
                have += parts[-1].shape[-1]
            held = np.concatenate(parts, axis=-1)  # (C, n)
            chunks = np.stack([held[:, p.start - first : p.stop - first] for p in group])
            for piece, estimate in zip(group, self(chunks), strict=True):  # estimate (S, C, L)
                fade = piece.risen - piece.rise
                if previous is not None:
                    yield previous[..., sent - previous_start : piece.rise - previous_start]
                    up = np.linspace(0, 1, fade, dtype=np.float32)
                    old = previous[..., piece.rise - previous_start :][..., :fade]
                    new = estimate[..., piece.rise - piece.start :][..., :fade]
                    yield old * (1 - up) + new * up
                previous, previous_start, sent = estimate, piece.start, piece.risen
            held, first = held[:, group[-1].start - first :], group[-1].start
        yield previous[..., sent - previous_start :]

    def stream(self, blocks, samples: int, channels: int, rate: int):
        """As `overlap_add`, but with blocks at any sample rate, in and out."""
        model_rate = self.separator.sample_rate
        if rate == model_rate:
            yield from self.overlap_add(blocks, samples)
            return
        note = f"resampling {rate} Hz to the separator's {model_rate} Hz and back"
        if rate > model_rate:
            note += f": its stems hold nothing above {model_rate // 2} Hz"
        log.log(logging.WARNING if rate > model_rate else logging.INFO, note)
        inside = _resampled(blocks, rate, model_rate, channels)
        found = self.overlap_add(inside, audio.resampled_length(samples, rate, model_rate))
        flat = (block.reshape(-1, block.shape[-1]) for block in found)  # (S, C, m) -> (S C, m)
        left, rows = samples, len(self.stems) * channels
        for block in _resampled(flat, model_rate, rate, rows):
            block = block[:, :left]
            left -= block.shape[-1]
            yield block.reshape(len(self.stems), channels, -1)  # (S C, m) -> (S, C, m)


def _batches(pieces, count: int):
    """Groups of at most `count` successive pieces of equal length."""
    for _, equal in itertools.groupby(pieces, key=lambda piece: piece.stop - piece.start):
        while group := list(itertools.islice(equal, count)):
            yield group


def _resampled(blocks, from_hz: int, to_hz: int, channels: int):
    resampler = audio.Resampler(from_hz, to_hz, channels)
    for block in blocks:
        yield resampler.push(block)
    yield resampler.finish()


@contextlib.contextmanager
def evaluating(separator):
    """Dropout and the like off while separating, as they were afterwards."""
    training = getattr(separator, "training", False)
    if training:
        separator.eval()
    try:
        yield
    finally:
        if training:
            separator.train()


def separate(
    separator,
    mixture,
    sample_rate: int,
    chunk_s: float = 10.0,
    overlap: float = 0.1,
    stems=None,
    residual: bool = False,
    batch: int = 1,
    rule: str = "context",
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Separate a mixture (C, L), numpy or torch, of any length: stem -> (C, L) float32 numpy.

    sample_rate: of the mixture in Hz; another rate than the separator's is resampled in and out.
    chunk_s, overlap, rule: how it is cut (module docstring); batch: chunks at a time.
    stems: only these. residual: also "residual", the mixture minus the stems returned.
    Raises UsageError / DataError of one line: shape, NaN, unknown stem.

    >>> class Half:
    ...     stems, sample_rate = ("half",), 44100
    ...     def __call__(self, mixture):
    ...         return 0.5 * mixture[:, None]
    >>> separate(Half(), np.ones((2, 5), np.float32), 44100)["half"].shape
    (2, 5)
    """
    engine = _Engine(separator, stems, chunk_s, overlap, rule, batch)
    mixture = _checked(mixture, sample_rate)
    channels, samples = mixture.shape
    found = np.zeros((len(engine.stems), channels, samples), np.float32)  # (S, C, L)
    position = 0
    with evaluating(separator), _bar(samples, sample_rate, progress) as bar:
        for block in engine.stream([mixture], samples, channels, sample_rate) if samples else ():
            found[..., position : position + block.shape[-1]] = block
            position += block.shape[-1]
            bar.update(block.shape[-1] / sample_rate)
    result = dict(zip(engine.stems, found, strict=True))
    if residual:
        result[RESIDUAL] = mixture - found.sum(axis=0)  # (C, L)
    return result


def separate_file(
    separator,
    path,
    out_dir,
    chunk_s: float = 10.0,
    overlap: float = 0.1,
    stems=None,
    residual: bool = False,
    batch: int = 1,
    rule: str = "context",
    progress: bool = False,
    suffix: str = ".wav",
) -> dict[str, Path]:
    """Separate a file from disk to disk: stem -> `out_dir/<name of the file>/<stem><suffix>`.

    Equals `separate` of the whole file at the same rate, channels and length, in memory that does
    not grow with the duration. The stems get their names only when all of them are complete, so an
    error or Ctrl-C leaves nothing behind. suffix: any that `bsrnn.audio` writes (.wav is float);
    the other arguments as in `separate`. Raises DataError for files that cannot be read or written.
    """
    engine = _Engine(separator, stems, chunk_s, overlap, rule, batch)
    info = audio.info(path)
    folder = Path(out_dir) / Path(path).stem.removesuffix(".stem")
    names = (*engine.stems, RESIDUAL) if residual else engine.stems
    rate, channels = info.sample_rate, info.channels
    existed = folder.exists()
    try:
        with contextlib.ExitStack() as files:
            source, again = (files.enter_context(audio.Reader(path)) for _ in range(2))
            bar = files.enter_context(_bar(info.samples, rate, progress))
            files.enter_context(evaluating(separator))
            writers = {
                name: files.enter_context(
                    audio.Writer(folder / f"{name}{suffix}", rate, channels, samples=info.samples)
                )
                for name in names
            }
            blocks = _seconds(source)
            for block in engine.stream(blocks, info.samples, channels, rate):
                for stem, estimate in zip(engine.stems, block, strict=True):
                    writers[stem].write(estimate)
                if residual:
                    writers[RESIDUAL].write(again.read(block.shape[-1]) - block.sum(axis=0))
                bar.update(block.shape[-1] / rate)
    except BaseException:
        if folder.is_dir() and not existed and not any(folder.iterdir()):
            folder.rmdir()
        raise
    for name, writer in writers.items():
        if writer.clips:
            log.warning(
                "%s%s is clipped, its peak is %.2f of full scale: write .wav to keep it",
                name, suffix, writer.peak,
            )  # fmt: skip
    return {name: writer.path for name, writer in writers.items()}


def _seconds(file: audio.Reader):
    while (block := file.read(file.info.sample_rate)).shape[-1]:
        yield block  # (C, n)


def _checked(mixture, sample_rate: int) -> np.ndarray:
    if isinstance(mixture, torch.Tensor):
        mixture = mixture.detach().cpu().numpy()
    mixture = np.asarray(mixture, np.float32)
    if mixture.ndim != 2 or not 1 <= mixture.shape[0] <= 64:
        hint = ": transpose it" if mixture.ndim == 2 and mixture.shape[1] <= 64 else ""
        raise UsageError(f"the mixture must be (C, L), channels first, not {mixture.shape}{hint}")
    if not np.isfinite(mixture).all():
        bad = int(np.argmin(np.isfinite(mixture).all(axis=0)))
        raise DataError(
            f"the mixture has NaN or infinite samples, the first at {bad / sample_rate:.3f} s: "
            "repair it first"
        )
    return mixture


def _bar(samples: int, rate: int, progress: bool):
    from tqdm import tqdm

    shape = "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
    return tqdm(total=samples / rate, disable=not progress, leave=False, bar_format=shape)
