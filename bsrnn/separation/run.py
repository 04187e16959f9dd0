"""Separate an array, or a file from disk to disk. Lesson 08."""

import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
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
    stems, residual, sums, projection: what is returned, see `Outputs`. shifts: the mean over so
    many passes, each cut up to 0.5 s earlier (demucs' shift trick, evenly spaced). tta: the mean
    over three passes: as it is, with swapped channels, and upside down (two for mono).
    query: the embedding (Q,) of a network that is asked for a sound, see `embedding`.
    Raises UsageError / DataError: shape, NaN, unknown stem.

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
    complete, so an error or Ctrl-C leaves nothing behind. suffix: any that `bsrnn.audio` writes, or
    ".stem.mp4": the mixture and the four stems of music in one file. name: of the folder;
    overwrite: whether stems that are there may be replaced; progress: True, or a tqdm bar of
    seconds; options: as in `separate`.
    Raises DataError for files that cannot be read or written, or that exist.
    """
    outputs, engine = plan(separator, **options)
    folder = Path(out_dir) / file_name(name or song_name(path))
    paths = {output: folder / f"{output}{suffix}" for output in outputs.names}
    streams = {path: (output,) for output, path in paths.items()}
    if suffix == STEM_MP4:
        _check_stems(outputs.names)
        paths = dict.fromkeys(outputs.names, folder / f"{folder.name[:200]}{suffix}")
        streams = {paths["vocals"]: STEM_STREAMS}
    _check_targets(path, streams, overwrite)
    with audio.Reader(path) as source, audio.Reader(path) as again, _own_folder(folder):
        info, writers = source.info, []
        sound_of = (info.sample_rate, info.channels, None, info.samples, source.tags)
        with contextlib.ExitStack() as files:
            shown = files.enter_context(bar(info.duration_s, progress))
            files.enter_context(evaluating(separator))
            for target, held in streams.items():
                writer = audio.Writer(target, *sound_of, held if len(held) > 1 else ("",))
                writers.append(files.enter_context(writer))
            pool, written = files.enter_context(ThreadPoolExecutor(len(writers))), []
            blocks = engine.stream(_seconds(source), info.samples, info.channels, info.sample_rate)
            for block in blocks:
                sounds = {}
                if outputs.compare or suffix == STEM_MP4:
                    sounds["mixture"] = again.read(block.shape[-1])
                sounds |= outputs(block, sounds.get("mixture"))
                _all(written)
                written = [pool.submit(_write, w, streams[w.path], sounds) for w in writers]
                shown.update(block.shape[-1] / info.sample_rate)
            _all(written)
            _all([pool.submit(writer.finish) for writer in writers])
    for writer in writers:
        if writer.clips:
            words = "%s is clipped, its peak is %.2f of full scale: write .wav to keep it"
            log.warning(words, writer.path.name, writer.peak)
    return paths


def _write(writer, outputs, sounds):
    """In a thread of each file, while the network works on the next block."""
    for number, output in enumerate(outputs):
        writer.write(sounds[output], number)


def _all(futures):
    """Wait for them, and raise what one of them raised."""
    for future in futures:
        future.result()


def _check_stems(names):
    """UsageError unless a `.stem.mp4` is made for these."""
    if set(names) != set(STEM_STREAMS[1:]):
        held = ", ".join(STEM_STREAMS[1:])
        raise UsageError(
            f"a {STEM_MP4} holds {held}, not {', '.join(names)}: choose another format"
        )


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
