"""Inference on a CPU in pieces: each fits the cache, and each thread works on pieces of its own.

torch splits every single product among its threads and waits after each; a layer of a band-split
network has hundreds of independent rows, so whole rows are dealt out instead, to Python threads
that compute with one torch thread each (torch releases Python's lock while it computes). Measured
on two cores with the BSRNN of the paper: `python -m bsrnn cost paper --measure`.

Nothing here is used while gradients are recorded, on a GPU, or while a graph is traced.
"""

import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import torch


def in_pieces(x) -> bool:
    """Whether work on x may be cut: a CPU tensor, no gradients, nothing that records the graph or
    watches its operations (torch's FLOP counter does, in its own thread only)."""
    recorded = torch.jit.is_tracing() or torch.compiler.is_compiling()
    recorded = recorded or torch._C._len_torch_dispatch_stack() > 0
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not recorded


def each(function, jobs, x) -> list:
    """[function(*job) for job in jobs], which work on parts of the tensor x.

    If x may be cut: by as many Python threads as torch has threads, with one torch thread each.
    Results stand in the order of the jobs; the first exception is raised after all have ended.
    """
    jobs, count = list(jobs), torch.get_num_threads()
    if count == 1 or len(jobs) == 1 or not in_pieces(x):
        return [function(*job) for job in jobs]
    mode = torch.is_inference_mode_enabled()
    lower = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def run(job):  # these modes belong to a thread
        enabled, dtype = lower
        autocast = torch.autocast("cpu", dtype, enabled)
        with torch.inference_mode(mode), torch.no_grad(), autocast:
            return function(*job)

    futures = [_pool(count).submit(run, job) for job in jobs]
    wait(futures)
    return [future.result() for future in futures]


@functools.lru_cache(maxsize=4)
def _pool(count: int) -> ThreadPoolExecutor:
    """`count` threads; all are started here, because their setting is also the one that later
    threads begin with, and has to be put back."""
    pool, together = ThreadPoolExecutor(count, "bsrnn"), threading.Barrier(count)

    def start():
        torch.get_num_threads()  # the first use in a thread would set it to the common number
        torch.set_num_threads(1)
        together.wait()

    wait([pool.submit(start) for _ in range(count)])
    torch.set_num_threads(count)
    return pool


os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of these threads
