"""How fast separators are on this machine: medians of interleaved runs, and their agreement.

Seconds do not travel to other machines, ratios do: to a matrix product timed in the same run, and
to the same network in its plain form (`bsrnn.py`), band after band, all sequences in one batch, or
in its published package. Every round runs every option once, after a matrix product, so that a load
that comes and goes meets all of them; a ratio is the median over rounds. Lesson 11.

    measure({"bsrnn": options(separator)})    # a pandas frame: python -m bsrnn cost paper --measure
"""

import contextlib
import statistics
import time

import torch
from torch import nn

from bsrnn.common import UsageError
from bsrnn.models import cpu
from bsrnn.models.bsrnn import BandSplitSeparator
from bsrnn.models.config import ModelConfig
from bsrnn.models.cost import cost
from bsrnn.models.precision import PRECISIONS, optimised

PEAK_SIZE = 2048  # rows and columns of the matrix product that is the peak


def options(separator) -> dict:
    """The ways to run `separator` that `measure` compares; a band-split network's plain form comes
    first: the paper's, band after band."""
    ways = {}
    if isinstance(separator, BandSplitSeparator):
        ways["plain"] = cpu.plain(separator)
        cpu.attach(separator)
    ways["fp32"] = separator
    for precision in PRECISIONS[1:]:
        with contextlib.suppress(UsageError):
            ways[precision] = optimised(separator, precision)
    return ways


def measure(
    separators: dict, seconds=6.0, threads=(1, 2), repeats=5, progress=False, channels=None,
    clock=time.perf_counter,
):  # fmt: skip
    """Time separators on one mixture of `seconds`; a pandas frame, one row per thread count.

    separators: name -> a separator, or name -> {option: separator}, whose first option is what the
    others are compared with. A separator is anything with .sample_rate, .config or .channels, and
    a call (B, C, L) -> (B, S, C, L). Those on a GPU are measured there.
    channels: of the mixture; None: 2, or what the network was made for. clock: of the seconds.

    Columns: model, option, threads, input_s, median_s, fastest_s, ratio (time of the first option
    over this one's), real_time (median_s / input_s), gflops and of_peak (where `cost` knows the
    matrix products), peak_gflops, bf16_product (speed of a bfloat16 matrix product over a float32
    one: what bf16 can gain on this machine), agreement_db (with the first option; inf: equal),
    memory_mb (peak of one call beyond what was held before; NaN where the system does not tell).
    """
    import pandas as pd
    from tqdm import tqdm

    if not seconds > 0 or repeats < 1 or not threads or min(threads) < 1:
        raise UsageError("measure needs seconds > 0, repeats >= 1 and thread counts >= 1")
    groups = {n: v if isinstance(v, dict) else {"": v} for n, v in separators.items()}
    rows, before = [], torch.get_num_threads()
    total = sum(len(ways) for ways in groups.values()) * len(threads) * (repeats + 1)
    with torch.inference_mode(), tqdm(total=total, disable=None if progress else True) as bar:
        try:
            for name, ways in groups.items():
                mixture = _mixture(list(ways.values()), seconds, channels)
                for count in threads:
                    torch.set_num_threads(count)
                    bar.set_description(f"{name}, {count} threads")
                    rows += _rounds(name, ways, mixture, seconds, repeats, bar.update, clock)
        finally:
            torch.set_num_threads(before)
    return pd.DataFrame(rows)


def _rounds(name, ways, mixture, seconds, repeats, tick, clock) -> list[dict]:
    """Rows of one group at the present number of threads."""
    outputs, memory = {}, {}
    for option, separator in ways.items():  # warms up, too
        with _peak_memory(mixture.device) as used:
            outputs[option] = separator(mixture)
        memory[option] = used()
        tick()
    pair = torch.randn(2, PEAK_SIZE, PEAK_SIZE, device=mixture.device)
    products = {"product": (torch.mm, *pair), "bf16 product": (torch.mm, *pair.bfloat16())}
    interleaved(products, 1)
    calls = {option: (separator, mixture) for option, separator in ways.items()}
    spent = interleaved({**products, **calls}, repeats, clock)
    tick(len(ways) * repeats)
    product_s, low_product_s = (statistics.median(spent[product]) for product in products)
    peak = 2 * PEAK_SIZE**3 / product_s / 1e9
    first = next(iter(ways))
    rows = []
    for option, separator in ways.items():
        median = statistics.median(spent[option])
        gflops = _gflop(separator, seconds, mixture.shape[1]) / median
        row = {
            "model": name,
            "option": option,
            "threads": torch.get_num_threads(),
            "input_s": seconds,
            "median_s": median,
            "fastest_s": min(spent[option]),
            "ratio": ratio(spent[first], spent[option]),
            "real_time": median / seconds,
            "gflops": gflops,
            "of_peak": gflops / peak,
            "peak_gflops": peak,
            "bf16_product": product_s / low_product_s,
            "agreement_db": agreement_db(outputs[first], outputs[option]),
            "memory_mb": memory[option],
        }
        rows.append(row)
    return rows


def agreement_db(reference, estimate) -> float:
    """Power of `reference` over power of the difference in dB (any shape): 40 dB is a difference
    of 1 %, about 125 dB float32 rounding, inf is equal."""
    pair = (torch.as_tensor(x).detach().cpu().double() for x in (reference, estimate))
    left, right = (x.flatten() for x in pair)
    error = (left - right).square().sum()
    return float(10 * torch.log10(left.square().sum() / error)) if error else float("inf")


def timed(function, *arguments, clock=time.perf_counter) -> float:
    """Seconds of one call, to the end of what it starts on a GPU."""
    gpu = any(getattr(argument, "is_cuda", False) for argument in arguments)
    wait = torch.cuda.synchronize if gpu else lambda: None
    wait()
    start = clock()
    function(*arguments)
    wait()
    return clock() - start


def interleaved(calls: dict, repeats: int, clock=time.perf_counter) -> dict:
    """Seconds of each call, name -> list: every round makes every call once, so that a load that
    comes and goes meets all of them. `calls`: name -> (function, *arguments), warmed up before."""
    spent = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            spent[name].append(timed(*call, clock=clock))
    return spent


def ratio(slower, faster) -> float:
    """How many times as long, the median over rounds."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))


def _mixture(separators, seconds: float, wanted=None):
    """Seeded (1, C, L), where their weights lie: a chord that decays in each channel, and noise."""
    first = separators[0]
    config = getattr(first, "config", None)
    channels, samples = getattr(first, "channels", 2), round(seconds * first.sample_rate)
    if config is not None:
        joint = getattr(config, "channel_handling", "independent") != "independent"
        channels = config.channels if joint else wanted or 2
        samples = getattr(config, "chunk_samples", 0) or samples
    time_s = torch.arange(samples) / first.sample_rate
    pitches_hz = 55.0 * 2 ** (torch.arange(24) / 4)[:, None]
    chord = torch.sin(2 * torch.pi * pitches_hz * time_s).mean(0) * torch.exp(-(time_s % 0.5) * 6)
    noise = torch.randn((channels, samples), generator=torch.Generator().manual_seed(0))
    pan = torch.linspace(0.3, 0.7, channels)[:, None]
    modules = (module for module in separators if isinstance(module, nn.Module))
    devices = (weight.device for module in modules for weight in module.parameters())
    return (pan * chord + 0.02 * noise)[None].to(next(devices, torch.device("cpu")))


def _gflop(separator, seconds: float, channels: int = 2) -> float:
    """Floating-point operations of the matrix products of one call in 1e9, of all its networks;
    NaN if unknown."""
    total = 0.0
    for network in getattr(separator, "separators", [separator]):
        config = getattr(network, "config", None)
        if not isinstance(config, ModelConfig):
            return float("nan")
        total += 2e-9 * cost(config.replace(channels=channels), seconds).matmul_macs
    return total


@contextlib.contextmanager
def _peak_memory(device):
    """Yields a function: MB that the process has needed on `device` beyond what it held, once it is
    over."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield lambda: (torch.cuda.max_memory_allocated(device) - before) / 1e6
        return
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # Linux: forget the peak so far
        before = _status_mb("VmRSS")
    except OSError:
        before = float("nan")
    yield lambda: _status_mb("VmHWM") - before if before == before else before


def _status_mb(name: str) -> float:
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024
