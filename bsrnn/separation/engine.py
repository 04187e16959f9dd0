"""One pass of a separator over a stream of blocks: cut, run, add up. Lesson 08."""

import contextlib
import inspect
import itertools
import logging

import numpy as np
import torch

from bsrnn import audio
from bsrnn.audio.arrays import sound
from bsrnn.common import UsageError, choose
from bsrnn.separation.cutting import RULES

log = logging.getLogger(__name__)
MOST_CHUNKS = 32  # at a time on a GPU; fewer where its memory ends
SHIFT_S = 0.5  # largest time shift of `shifts`, as in github facebookresearch/demucs


def estimate(separator, chunks, stems, query=None):
    """Chunks (P, C, L) to estimates (P, S, C, L) of `stems`, whatever channels it is made for: else
    it gets every channel on its own, copied to those it wants, and the mean of its answers counts.
    """
    count, wanted = chunks.shape[:2], getattr(separator, "channels", None)
    config = getattr(separator, "config", None)
    if getattr(config, "channel_handling", "independent") != "independent":
        wanted = config.channels
    single = wanted not in (None, count[1])
    if single:
        chunks = chunks.flatten(0, 1)[:, None].expand(-1, wanted, -1)  # (P C, C', L)
    known = inspect.signature(getattr(separator, "forward", separator)).parameters
    options = {} if query is None else {"query": query.expand(len(chunks), -1)}
    if "stems" in known:  # heads that were not asked for need not run
        found = torch.as_tensor(separator(chunks, stems=tuple(stems), **options))
    else:
        found = torch.as_tensor(separator(chunks, **options))
        found = found[:, [tuple(separator.stems).index(stem) for stem in stems]]
    return found.mean(2).unflatten(0, count).transpose(1, 2) if single else found


class Engine:
    """What to run on each chunk: the separator with its length and stem policy."""

    def __init__(
        self, separator, stems, chunk_s=None, overlap=None, rule: str = "context",
        batch: int | None = None, shifts: int = 1, tta: bool = False, query=None,
    ):  # fmt: skip
        self.separator, self.stems, self.batch = separator, tuple(stems), batch
        self.tta = tta
        self.rule = RULES[choose(rule, RULES, "chunking rule")]
        chunk_s = self.rule.chunk_s if chunk_s is None else chunk_s
        self.overlap = self.rule.overlap if overlap is None else overlap
        chunk = round(chunk_s * separator.sample_rate)
        if chunk < 1 or not 0 <= self.overlap < 1 or (batch or 1) < 1 or shifts < 1:
            raise UsageError(
                f"chunk_s {chunk_s}, overlap {overlap}, batch {batch}, shifts {shifts}: "
                "need chunk_s > 0, 0 <= overlap < 1, batch >= 1, shifts >= 1"
            )
        step = SHIFT_S * separator.sample_rate / shifts
        self.offsets = [round(shift * step) for shift in range(shifts)]
        self._fit(chunk)
        parameters = getattr(separator, "parameters", lambda: iter(()))
        self.device = next((p.device for p in parameters()), torch.device("cpu"))
        if batch is None:
            self.batch = MOST_CHUNKS if self.device.type == "cuda" else 1
        self.query = query
        if query is not None:
            query = torch.as_tensor(sound(query, "the query"), dtype=torch.float32)
            self.query = query.reshape(1, -1).to(self.device)  # (1, Q)

    def _fit(self, chunk: int):
        """The chunk, and the shortest input, that the separator can take."""
        config = getattr(self.separator, "config", None)
        self.stft = getattr(config, "stft", None)
        self.shortest = self.stft.shortest if self.stft else 1
        self.chunk = max(chunk, self.shortest)
        if not getattr(config, "chunk_samples", 0):
            return
        self.shortest = config.chunk_samples  # normalisation tied to it: no other length will do
        lead = self.offsets[-1]
        if self._longest() + lead != self.shortest:
            self.chunk, self.stft = self.shortest - lead, None
        if self._longest() + lead > self.shortest:
            only = f"this separator takes chunks of {self.shortest} samples only"
            raise UsageError(f"{only}: use rule 'context'")

    def _longest(self) -> int:
        """Samples of the longest chunk of this rule: some have a shorter first one."""
        pieces = self.rule.pieces(4 * self.chunk, self.chunk, self.overlap, self.stft)
        return max(piece.stop - piece.start for piece in itertools.islice(pieces, 2))

    def __call__(self, chunks: np.ndarray) -> np.ndarray:
        """Chunks (P, C, D + L), D the longest time shift, to their estimates (P, S, C, L): the mean
        over the shifts, each of which begins a little earlier, and over `tta`'s passes."""
        lead, mirrored = self.offsets[-1], self.tta and chunks.shape[1] > 1
        turns = [(1, 1), *([(1, -1)] if mirrored else []), *([(-1, 1)] if self.tta else [])]
        found = [
            sign * self._run(sign * chunks[:, ::step, lead - offset :])[:, :, ::step, offset:]
            for offset in self.offsets
            for sign, step in turns
        ]
        return found[0] if len(found) == 1 else np.mean(found, axis=0)

    def _run(self, chunks: np.ndarray) -> np.ndarray:
        """Chunks (P, C, L) to estimates (P, S, C, L); in halves where a GPU cannot hold them."""
        samples = chunks.shape[-1]
        missing = max(0, self.shortest - samples)
        batch = torch.from_numpy(np.pad(chunks, ((0, 0), (0, 0), (0, missing)))).to(self.device)
        try:
            with torch.inference_mode(), _whole_floats():
                found = estimate(self.separator, batch, self.stems, self.query)  # (P, S, C, L)
        except torch.OutOfMemoryError:
            if len(chunks) == 1:
                raise
            self.batch = len(chunks) // 2
            torch.cuda.empty_cache()
            return np.concatenate([self._run(half) for half in np.array_split(chunks, 2)])
        found = found[..., :samples].float().cpu().numpy()
        if not np.isfinite(found).all():
            raise UsageError(
                "the separator returned NaN or infinite samples: its weights are damaged, "
                "or it overflows on this level: load another checkpoint or lower the input"
            )
        return found

    def overlap_add(self, blocks, samples: int):
        """Mixture blocks (C, n), `samples` in all -> estimate blocks (S, C, m), as many in all."""
        pieces = self.rule.pieces(samples, self.chunk, self.overlap, self.stft)
        first = next(pieces)
        lead = self.offsets[-1]
        begin = first.start - lead  # of the padded mixture
        length = first.stop - first.start
        blocks, held = _padded(blocks, -begin, length, self.rule.padding), None
        total, base = None, first.start  # sum of weighted estimates from sample `base` on
        for group in self._batches(itertools.chain([first], pieces)):
            parts = [] if held is None else [held]
            have = begin + sum(part.shape[-1] for part in parts)
            while have < group[-1].stop:
                parts.append(next(blocks))
                have += parts[-1].shape[-1]
            held = np.concatenate(parts, axis=-1)  # (C, n)
            chunks = np.stack([held[:, p.start - lead - begin : p.stop - begin] for p in group])
            for piece, estimate in zip(group, self(chunks), strict=True):  # estimate (S, C, L)
                if total is None:
                    total = np.zeros((*estimate.shape[:-1], 0), np.float32)
                yield total[..., max(0, -base) : max(0, piece.start - base)]
                total = total[..., piece.start - base :]
                base = piece.start
                new = max(0, len(piece.weight) - total.shape[-1])
                total = np.pad(total, ((0, 0), (0, 0), (0, new)))
                total[..., : len(piece.weight)] += estimate * piece.weight
            held, begin = held[:, group[-1].start - lead - begin :], group[-1].start - lead
        yield total[..., max(0, -base) : samples - base]

    def _batches(self, pieces):
        """Groups of at most `batch` successive pieces of equal length."""
        for _, equal in itertools.groupby(pieces, key=lambda piece: piece.stop - piece.start):
            while group := list(itertools.islice(equal, self.batch)):
                yield group

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
        left, rows = samples, len(self.stems) * channels
        flat = (block.reshape(rows, block.shape[-1]) for block in found)  # (S, C, m) -> (S C, m)
        for block in _resampled(flat, model_rate, rate, rows):
            block = block[:, :left]
            left -= block.shape[-1]
            yield block.reshape(len(self.stems), channels, -1)  # (S C, m) -> (S, C, m)


def _padded(blocks, before: int, after: int, padding: str):
    """The blocks (C, n) with `before` and `after` samples more, zeros or reflected."""
    blocks = iter(blocks)
    tail = next(blocks)  # (C, n)
    if padding == "zeros":
        yield np.pad(tail, ((0, 0), (before, 0)))
        yield from blocks
        yield np.zeros((len(tail), after), np.float32)
        return
    while tail.shape[-1] <= before and (block := next(blocks, None)) is not None:
        tail = np.concatenate([tail, block], axis=-1)
    yield np.pad(tail, ((0, 0), (before, 0)), mode="reflect")
    for block in blocks:
        yield block
        tail = np.concatenate([tail, block], axis=-1)[:, -after - 1 :]
    yield np.pad(tail, ((0, 0), (0, after)), mode="reflect")[:, tail.shape[-1] :]


def _resampled(blocks, from_hz: int, to_hz: int, channels: int):
    resampler = audio.Resampler(from_hz, to_hz, channels)
    for block in blocks:
        yield resampler.push(block)
    yield resampler.finish()


@contextlib.contextmanager
def evaluating(separator):
    """Dropout and the like off while separating, as they were afterwards."""
    members = getattr(separator, "members", [separator])
    trained = [member for member in members if getattr(member, "training", False)]
    for member in trained:
        member.eval()
    try:
        yield
    finally:
        for member in trained:
            member.train()


@contextlib.contextmanager
def _whole_floats():
    """cuDNN may cut what it multiplies to 10 bits (TF32): torch's default, 76 dB beside a CPU. Not
    here."""
    cudnn = torch.backends.cudnn
    before, cudnn.allow_tf32 = cudnn.allow_tf32, False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before
