"""Separate an array, or a file from disk to disk. Lesson 08."""

import contextlib
import logging
from pathlib import Path

import numpy as np

from bsrnn import audio
from bsrnn.common import DataError, UsageError, file_name
from bsrnn.separation.engine import Engine, evaluating
from bsrnn.separation.outputs import Outputs

log = logging.getLogger(__name__)
STEM_MP4 = ".stem.mp4"
STEM_STREAMS = ("mixture", "drums", "bass", "other", "vocals")  # as MUSDB18 and stempeg have them


def plan(separator, stems=None, residual=False, sums=None, projection=False, **cutting):
    """What to compute and return, and how; UsageError where that cannot be. Reads no sound."""
    outputs = Outputs(separator.stems, stems, residual, sums, projection)
    return outputs, Engine(separator, outputs.computed, **cutting)


def separate(
    separator,
    mixture,
    sample_rate: int,
    chunk_s: float | None = None,
    overlap: float | None = None,
    progress: bool = False,
    **options,
) -> dict[str, np.ndarray]:
    """Separate a mixture (C, L), numpy or torch, of any length: name -> (C, L) float32 numpy.

    sample_rate: of the mixture in Hz; another rate than the separator's is resampled in and out.
    rule, chunk_s, overlap: how it is cut (`RULES`; None: the rule's own); batch: chunks at a time
    (None: one on a CPU, on a GPU as many as its memory holds).
    stems: only these; the others are not computed where the separator can leave them. residual:
    also the mixture minus the stems returned, as "residual" or under the name given. sums: also
    sums of stems, such as {"karaoke": ("drums", "bass", "other")}. projection: True, "equal" or
    "energy" make all stems add up to the mixture (`project`). shifts: the mean over so many passes,
    each cut up to 0.5 s earlier (demucs' shift trick, evenly spaced instead of random). tta: the
    mean over three passes: as it is, with swapped channels, and upside down (two for mono).
    query: the embedding (Q,) of a network that is asked for a sound, see `embedding`.
    Raises UsageError / DataError of one line: shape, NaN, unknown stem.

    >>> class Half:
    ...     stems, sample_rate = ("half",), 44100
    ...     def __call__(self, mixture):
    ...         return 0.5 * mixture[:, None]
    >>> separate(Half(), np.ones((2, 5), np.float32), 44100)["half"].shape
    (2, 5)
    """
    outputs, engine = plan(separator, chunk_s=chunk_s, overlap=overlap, **options)
    audio.check_rate(sample_rate)
    mixture = audio.waveform(mixture, "the mixture").astype(np.float32, copy=False)
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
    separator, path, out_dir, suffix: str = ".wav", name: str | None = None,
    overwrite: bool = True, progress=False, **options,
) -> dict[str, Path]:  # fmt: skip
    """Separate a file from disk to disk: name -> `out_dir/<name of the file>/<name><suffix>`.

    Equals `separate` of the whole file at the same rate, channels and length, in memory that does
    not grow with the duration; tags are kept. The stems get their names only when all of them are
    complete, so an error or Ctrl-C leaves nothing behind. suffix: any that `bsrnn.audio` writes
    (.wav is float; `audio.fit` says what a format cannot hold), or ".stem.mp4": one file with the
    mixture and the four stems of music. name: of the folder; overwrite: whether stems that are
    there may be replaced; progress: True, or a tqdm bar of seconds; options: as in `separate`.
    Raises DataError for files that cannot be read or written, or that exist.
    """
    outputs, engine = plan(separator, **options)
    folder = Path(out_dir) / file_name(name or song_name(path))
    streams = ("",)
    if suffix == STEM_MP4:
        streams = _stem_streams(outputs)
        paths = dict.fromkeys(outputs.names, folder / f"{folder.name[:200]}{suffix}")
    else:
        paths = {output: folder / f"{output}{suffix}" for output in outputs.names}
    _check_targets(path, paths.values(), overwrite)
    with audio.Reader(path) as source, audio.Reader(path) as again, _own_folder(folder):
        info = source.info
        with contextlib.ExitStack() as files:
            shown = files.enter_context(bar(info.duration_s, progress))
            files.enter_context(evaluating(separator))
            writers = {}
            for target in dict.fromkeys(paths.values()):
                writer = audio.Writer(
                    target, info.sample_rate, info.channels, None, info.samples, source.tags,
                    streams,
                )  # fmt: skip
                writers[target] = files.enter_context(writer)
            blocks = _seconds(source)
            for block in engine.stream(blocks, info.samples, info.channels, info.sample_rate):
                mixture = None
                if outputs.compare or suffix == STEM_MP4:
                    mixture = again.read(block.shape[-1])
                sounds = outputs(block, mixture)
                if suffix == STEM_MP4:
                    writers[target].write(mixture)
                for output, sound in sounds.items():
                    number = streams.index(output) if len(streams) > 1 else 0
                    writers[paths[output]].write(sound, number)
                shown.update(block.shape[-1] / info.sample_rate)
            for writer in writers.values():
                writer.finish()
    for target, writer in writers.items():
        if writer.clips:
            log.warning(
                "%s is clipped, its peak is %.2f of full scale: write .wav to keep it",
                target.name, writer.peak,
            )  # fmt: skip
    return paths


def _stem_streams(outputs) -> tuple[str, ...]:
    """The streams of a `.stem.mp4`, in the order that its readers expect."""
    if set(outputs.names) != set(STEM_STREAMS[1:]):
        raise UsageError(
            f"a {STEM_MP4} holds {', '.join(STEM_STREAMS[1:])}, not {', '.join(outputs.names)}: "
            "choose another format"
        )
    return STEM_STREAMS


def song_name(path) -> str:
    """What a song is called: its file name without the endings."""
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


def bar(seconds: float, progress):
    """A bar over so many seconds of sound with the time that remains; or one given, left open."""
    if hasattr(progress, "update"):
        return contextlib.nullcontext(progress)
    from tqdm import tqdm

    shape = "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
    return tqdm(total=seconds, disable=not progress, leave=False, bar_format=shape)
