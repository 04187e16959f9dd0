"""The examples of a run: drawn from songs, dealt out to processes, prepared by workers."""

import contextlib
import traceback
from multiprocessing import resource_sharer

import torch

from bsrnn.common import DataError, UsageError
from bsrnn.data import mixing


def mixer_for(model, config, train) -> mixing.RandomMixer:
    """The examples that a model (ModelConfig) is trained on: what `fit` draws from `train`."""
    if train.sample_rate != model.sample_rate:
        raise UsageError(
            f"the songs have {train.sample_rate} Hz, the model {model.sample_rate}: "
            "set sample_rate of the model to that of the songs"
        )
    return mixing.RandomMixer(
        train,
        model.stems,
        model.chunk_samples or round(config.seconds_per_segment * train.sample_rate),
        mixing.recipe(config.recipe),
        config.seed,
        channels=1 if config.one_channel(model) else None,
        distinct=config.distinct_items,
        cache_bytes=config.cache_gb * 1e9 / max(1, config.workers),  # each has its own
    )


@contextlib.contextmanager
def batches(run, fabric):
    """An iterator over what this process learns from, a pass at a time: of each batch every
    `world`-th example. Its workers end with it."""
    config, world = run.config, fabric.world_size
    first, end = run.step * config.batch, config.steps * config.batch
    indices = range(first + fabric.global_rank, end, world)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.Subset(run.mixer, indices),
        batch_size=config.batch // (world * config.accumulate),
        num_workers=config.workers,
        generator=torch.Generator(),  # so that the loader draws nothing from the global one
        pin_memory=fabric.device.type != "cpu",
    )
    try:
        yield map(fabric.to_device, loader)
    except (UsageError, RuntimeError, OSError, EOFError) as error:
        try:
            told = _of_a_worker(error)
        except RuntimeError as late:  # its death is signalled while we look at its broken pipe
            told = _of_a_worker(late)
        raise told from error


def _of_a_worker(error: Exception) -> Exception:
    """What went wrong in a loader's worker process, as the line it would be without workers."""
    text = str(error)
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    handing_over = any(frame.f_code.co_filename == resource_sharer.__file__ for frame in frames)
    if handing_over or ("DataLoader worker" in text and isinstance(error, RuntimeError)):
        return DataError(
            "a worker process died, most likely for lack of memory: lower workers or cache_gb, "
            "then resume from the last state"
        )
    if isinstance(error, UsageError) and "Original Traceback" in text:
        return type(error)(text.strip().splitlines()[-1].partition(": ")[2])
    return error
