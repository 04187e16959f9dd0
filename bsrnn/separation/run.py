"""Separate an array, or a file from disk to disk. Lesson 08."""

import contextlib
import logging
from pathlib import Path

import numpy as np
import torch

from bsrnn import audio
from bsrnn.common import DataError, UsageError
from bsrnn.separation.engine import Engine, evaluating
from bsrnn.separation.outputs import Outputs

log = logging.getLogger(__name__)


def plan(
    separator, chunk_s=None, overlap=None, stems=None, residual=False, batch=1, rule="context",
    sums=None, projection=False, shifts=1,
):  # fmt: skip
    """What to compute and return, and how; UsageError where that cannot be. Reads no sound."""
    outputs = Outputs(separator.stems, stems, residual, sums, projection)
    return outputs, Engine(separator, outputs.computed, chunk_s, overlap, rule, batch, shifts)


def separate(
    separator,
    mixture,
    sample_rate: int,
    chunk_s: float | None = None,
    overlap: float | None = None,
    stems=None,
    residual: bool | str = False,
    batch: int = 1,
    rule: str = "context",
    progress: bool = False,
    sums: dict | None = None,
    projection: bool | str = False,
    shifts: int = 1,
) -> dict[str, np.ndarray]:
    """Separate a mixture (C, L), numpy or torch, of any length: name -> (C, L) float32 numpy.

    sample_rate: of the mixture in Hz; another rate than the separator's is resampled in and out.
    rule, chunk_s, overlap: how it is cut (`RULES`; None: the rule's own); batch: chunks at a time.
    stems: only these; the others are not computed where the separator can leave them. residual:
    also the mixture minus the stems returned, as "residual" or under the name given. sums: also
    sums of stems, such as {"karaoke": ("drums", "bass", "other")}. projection: True, "equal" or
    "energy" make all stems add up to the mixture (`project`). shifts: the mean over so many passes,
    each cut up to 0.5 s earlier (demucs' shift trick, evenly spaced instead of random).
    Raises UsageError / DataError of one line: shape, NaN, unknown stem.

    >>> class Half:
    ...     stems, sample_rate = ("half",), 44100
    ...     def __call__(self, mixture):
    ...         return 0.5 * mixture[:, None]
    >>> separate(Half(), np.ones((2, 5), np.float32), 44100)["half"].shape
    (2, 5)
    """
    outputs, engine = plan(
        separator, chunk_s, overlap, stems, residual, batch, rule, sums, projection, shifts
    )
    mixture = _checked(mixture, sample_rate)
    channels, samples = mixture.shape
    result = {name: np.zeros((channels, samples), np.float32) for name in outputs.names}
    position = 0
    with evaluating(separator), bar(samples / sample_rate, progress) as shown:
        for block in engine.stream([mixture], samples, channels, sample_rate) if samples else ():
            here = slice(position, position + block.shape[-1])
            for name, found in outputs(block, mixture[:, here]).items():
                result[name][:, here] = found
            position = here.stop
            shown.update(block.shape[-1] / sample_rate)
    return result


def separate_file(
    separator,
    path,
    out_dir,
    chunk_s: float | None = None,
    overlap: float | None = None,
    stems=None,
    residual: bool | str = False,
    batch: int = 1,
    rule: str = "context",
    progress=False,
    suffix: str = ".wav",
    sums: dict | None = None,
    projection: bool | str = False,
    shifts: int = 1,
    name: str | None = None,
    overwrite: bool = True,
) -> dict[str, Path]:
    """Separate a file from disk to disk: name -> `out_dir/<name of the file>/<name><suffix>`.

    Equals `separate` of the whole file at the same rate, channels and length, in memory that does
    not grow with the duration; tags are kept. The stems get their names only when all of them are
    complete, so an error or Ctrl-C leaves nothing behind. suffix: any that `bsrnn.audio` writes
    (.wav is float); name: of the folder; overwrite: whether stems that are there may be replaced;
    progress: True, or a tqdm bar of seconds; the other arguments as in `separate`.
    Raises DataError for files that cannot be read or written, or that exist.
    """
    outputs, engine = plan(
        separator, chunk_s, overlap, stems, residual, batch, rule, sums, projection, shifts
    )
    folder = Path(out_dir) / (name or folder_name(path))
    paths = {output: folder / f"{output}{suffix}" for output in outputs.names}
    _check_targets(path, paths.values(), overwrite)
    with audio.Reader(path) as source, audio.Reader(path) as again, _own_folder(folder):
        info = source.info
        with contextlib.ExitStack() as files:
            shown = files.enter_context(bar(info.duration_s, progress))
            files.enter_context(evaluating(separator))
            writers = {}
            for output, target in paths.items():
                writer = audio.Writer(
                    target, info.sample_rate, info.channels, None, info.samples, source.tags
                )
                writers[output] = files.enter_context(writer)
            blocks = _seconds(source)
            for block in engine.stream(blocks, info.samples, info.channels, info.sample_rate):
                mixture = again.read(block.shape[-1]) if outputs.compare else None
                for output, found in outputs(block, mixture).items():
                    writers[output].write(found)
                shown.update(block.shape[-1] / info.sample_rate)
            for writer in writers.values():
                writer.finish()
    for output, writer in writers.items():
        if writer.clips:
            log.warning(
                "%s%s is clipped, its peak is %.2f of full scale: write .wav to keep it",
                output, suffix, writer.peak,
            )  # fmt: skip
    return paths


def folder_name(path) -> str:
    """What the folder of a song's stems is called: its file name without the endings."""
    return Path(path).stem.removesuffix(".stem")


def _check_targets(path, targets, overwrite: bool):
    for target in targets:
        if target.exists() and (not overwrite or target.samefile(path)):
            fix = "choose another folder" if overwrite else "overwrite it, or choose another folder"
            raise DataError(f"{target} is there already: {fix}")


@contextlib.contextmanager
def _own_folder(folder: Path):
    """After a failure, removes the folder (and those above it) if it was not there before."""
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        yield
    except BaseException:
        for parent in made:
            with contextlib.suppress(OSError):  # not made, or not empty
                parent.rmdir()
        raise


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


def bar(seconds: float, progress):
    """A bar over so many seconds of sound with the time that remains; or one given, left open."""
    if hasattr(progress, "update"):
        return contextlib.nullcontext(progress)
    from tqdm import tqdm

    shape = "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
    return tqdm(total=seconds, disable=not progress, leave=False, bar_format=shape)
