"""How fast separators are on this machine: medians of interleaved runs, and their agreement.

Seconds do not travel to other machines, ratios do: to a matrix product timed in the same run, and
to the same network in its `plain` form, computed as the public implementations do: band after band
in a loop, a copy for each change of axes, all sequences of a layer in one batch.

    measure({"bsrnn": options(separator)})    # a pandas frame: python -m bsrnn cost paper --measure
    measure({"d3net": one, "demucs": other})  # any separators, beside the same peak

How a run is timed: every round runs every option once, after one matrix product, so that a load
that comes and goes meets all of them; a ratio is the median over rounds of the ratio in a round.
Lesson 11.
"""

import contextlib
import copy
import statistics
import time
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from bsrnn.common import UsageError, whole
from bsrnn.models.bandsplit import BandSplitSeparator, equal_widths
from bsrnn.models.optimised import PRECISIONS, optimised

PEAK_SIZE = 2048  # rows and columns of the matrix product that is the peak


# The plain form: the baseline


def plain(separator: BandSplitSeparator) -> BandSplitSeparator:
    """The same network and weights in plain form, for inference: the baseline of `measure`.

    BSRNN with LSTM or GRU (magronp, BandIt) and the RoFormers; a UsageError for other options.
    """
    config = separator.config
    coupled = config.tac or config.attention_heads or config.linear_depth or config.skip
    if config.rnn not in ("lstm", "gru", "roformer") or config.band_rnn or config.heads > 1:
        raise UsageError(f"no plain form for rnn {config.rnn!r}: choose lstm, gru or roformer")
    if coupled or config.channel_handling == "shared" or config.mask_order != "plain":
        raise UsageError("no plain form for TAC, attention, skip, shared channels, scrambled masks")
    made = copy.copy(separator)
    made._modules = dict(separator._modules)
    made.split = PlainSplit(separator.split, config)
    made.sequence = PlainSequence(separator.sequence, config)
    made.masks = nn.ModuleDict({s: PlainMask(m, config) for s, m in separator.masks.items()})
    return made


def _norm(norm, x, band=None):
    """`norm` on x (B, S, N), by torch's functions; `band`: its gain of that band."""
    gain, offset = norm.weight, norm.bias
    if band is not None:
        gain, offset = gain[band], None if offset is None else offset[band]
    if norm.kind == "rms":
        return F.normalize(x, dim=-1) * x.shape[-1] ** 0.5 * gain
    if norm.kind == "layer":
        return F.layer_norm(x, x.shape[-1:], gain, offset, norm.eps)
    if norm.kind == "frames":
        return F.layer_norm(x, x.shape[-2:], gain, offset, norm.eps)
    y = F.group_norm(x.transpose(1, 2), norm.groups, gain, offset, norm.eps)  # (B, N, S)
    return y.transpose(1, 2)


def _by_band(part, config):
    """(group, place in the group) of each band."""
    places = {}
    for group, (_, bands) in zip(part.groups, equal_widths(config.bands), strict=True):
        places.update((band, (group, place)) for place, band in enumerate(bands))
    return [places[band] for band in range(len(places))]


class PlainSplit(nn.Module):
    """(B, C, F, T) -> (B, K, T, N), band after band."""

    def __init__(self, part, config):
        super().__init__()
        self.bands = list(zip(config.bands.ranges, _by_band(part, config), strict=True))

    def forward(self, spectrum):
        found = []
        for (lo, hi), (group, place) in self.bands:
            x = torch.view_as_real(spectrum[:, :, lo:hi])  # (B, C, W, T, 2)
            x = x.permute(0, 3, 1, 4, 2).flatten(2)  # (B, T, C 2 W)
            x = _norm(group.norm, x, place)
            found.append(F.linear(x, group.linear.weight[place], group.linear.bias[place]))
        return torch.stack(found, dim=1)  # (B, K, T, N)


class PlainSequence(nn.Module):
    """Time, then bands, each as one batch of rows; features before positions where the norm wants
    it so (magronp), else after (BandIt, RoFormers)."""

    def __init__(self, part, config):
        super().__init__()
        self.layers = [along.layer for block in part.blocks for along in (block.time, block.band)]
        self.positions = [part.positions["time"], part.positions["band"]] * config.repeats
        self.last = part.last_norm
        self.step = {"roformer": self._transform, "lstm": self._group}.get(config.rnn, self._layer)
        if config.rnn in ("lstm", "gru"):
            self.step = self._group if config.block_norm == "group" else self._layer

    def forward(self, z):  # (B, K, T, N)
        features_first = self.step == self._group
        if features_first:
            z = z.transpose(2, 3).contiguous()  # (B, K, N, T)
        for layer, position in zip(self.layers, self.positions, strict=True):
            z = self.step(layer, position, z)
            z = z.permute(0, 3, 2, 1) if features_first else z.transpose(1, 2)  # the other axis
        if features_first:
            z = z.transpose(2, 3)  # (B, K, T, N)
        return z if self.last is None else _norm(self.last, z)

    def _group(self, layer, _, z):  # (B, K, N, T)
        x = z.contiguous().flatten(0, 1)  # (M, N, S)
        norm = layer.norm
        y = F.group_norm(x, norm.groups, norm.weight, norm.bias, norm.eps)
        y = y.transpose(1, 2).contiguous()  # (M, S, N)
        y = layer.project(layer.rnn(y.transpose(0, 1))[0].transpose(0, 1))
        return (x + y.transpose(1, 2)).unflatten(0, z.shape[:2])

    def _layer(self, layer, _, z):  # (B, K, T, N)
        x = _norm(layer.norm, z).flatten(0, 1)  # (M, S, N)
        y = layer.project(layer.rnn(x.transpose(0, 1))[0].transpose(0, 1))
        return y.unflatten(0, z.shape[:2]) + z

    def _transform(self, layer, position, z):  # (B, K, T, N)
        x = z.contiguous().flatten(0, 1)  # (M, S, N)
        for attention, forward in zip(layer.steps[::2], layer.steps[1::2], strict=True):
            x = _attend(attention, position, x) + x
            y = _norm(forward[0], x)
            for module in list(forward)[1:]:
                y = module(y)
            x = y + x
        x = x if layer.norm is None else _norm(layer.norm, x)
        return x.unflatten(0, z.shape[:2])


def _attend(part, position, x):
    """Gated attention with rotary positions on rows (M, S, N)."""
    x = _norm(part.norm, x)
    qkv = part.qkv(x).unflatten(-1, (3, part.heads, -1))  # (M, S, 3, heads, E)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (M, heads, S, E) each
    place = torch.arange(x.shape[1], dtype=x.dtype, device=x.device)
    turn = (place[:, None] * position.frequencies).repeat_interleave(2, dim=-1)  # (S, E)
    query, key = (y * turn.cos() + _half_turn(y) * turn.sin() for y in (query, key))
    y = F.scaled_dot_product_attention(query, key, value)
    y = y * part.gate(x).transpose(1, 2).unsqueeze(-1).sigmoid()  # (M, heads, S, E)
    return part.out(y.transpose(1, 2).flatten(-2))


def _half_turn(x):
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([-odd, even], dim=-1).flatten(-2)


class PlainMask(nn.Module):
    """(B, K, T, N) -> (B, C, F, T), band after band."""

    def __init__(self, part, config):
        super().__init__()
        self.config = config
        self.bands = list(zip(config.bands.ranges, _by_band(part, config), strict=True))
        self.weights = config.bands.weights if config.overlap == "weights" else None
        self.counts = None
        if config.overlap == "mean":
            self.counts = torch.zeros(config.stft.bins, 1)
            for lo, hi in config.bands.ranges:
                self.counts[lo:hi] += 1

    def forward(self, z):
        found = [self._mask(z[:, band], *place) for band, (_, place) in enumerate(self.bands)]
        config = self.config
        if not config.bands.overlapping:
            return torch.cat(found, dim=2)  # (B, C, F, T)
        mask = found[0].new_zeros(*found[0].shape[:2], config.stft.bins, z.shape[2])
        for band, ((lo, hi), _) in enumerate(self.bands):
            part = found[band]
            if self.weights is not None:
                part = part * z.new_tensor(self.weights[band])[:, None]
            mask[:, :, lo:hi] += part
        return mask if self.counts is None else mask / self.counts.to(mask.device)

    def _mask(self, x, group, place):  # (B, T, N)
        if group.norm is not None:
            x = _norm(group.norm, x, place)
        for linear in group.hidden:
            x = group.activation(F.linear(x, linear.weight[place], linear.bias[place]))
        if group.bottleneck is not None:
            x = F.linear(x, group.bottleneck.weight[place], group.bottleneck.bias[place])
        x = F.glu(F.linear(x, group.out.weight[place], group.out.bias[place]))  # (B, T, C P W)
        parts = 2 if self.config.mask_parts == "complex" else 1
        x = x.unflatten(-1, (self.config.joint_channels, parts, -1))  # (B, T, C, P, W)
        x = x.permute(0, 2, 4, 1, 3)  # (B, C, W, T, P)
        return torch.view_as_complex(x.contiguous()) if parts == 2 else x[..., 0]


# Measuring


def options(separator, compile: bool = False) -> dict:
    """The ways to run `separator` that `measure` compares: plain (if it has that form) first."""
    found = {}
    if isinstance(separator, BandSplitSeparator):
        with contextlib.suppress(UsageError):
            found["plain"] = plain(separator)
    found["fp32"] = separator
    for precision in PRECISIONS[1:]:
        with contextlib.suppress(UsageError):
            found[precision] = optimised(separator, precision)
    if compile:
        found["compiled"] = optimised(separator, compile=True)
    return found


def measure(
    separators: dict, seconds=6.0, threads=(1, 2), repeats=5, progress=False, channels=None
):
    """Time separators on one mixture of `seconds`; a pandas frame, one row per thread count.

    separators: name -> a separator, or name -> {option: separator}, whose first option is what the
    others are compared with. A separator is anything with .sample_rate, .config or .channels, and
    a call (B, C, L) -> (B, S, C, L).
    channels: of the mixture; None: 2, or what the network was made for.

    Columns: model, option, threads, input_s, median_s, fastest_s, ratio (time of the first option
    over this one's), real_time (median_s / input_s), gflops and of_peak (where `cost` knows the
    matrix products), peak_gflops, bf16_product (speed of a bfloat16 matrix product over a float32
    one: what bf16 can gain on this machine), agreement_db (with the first option; inf: equal),
    memory_mb (peak of one call beyond what was held before; NaN where the system does not tell).

    Separators on a GPU are measured there: products, memory and the end of a call are the GPU's.
    """
    import pandas as pd
    from tqdm import tqdm

    if not seconds > 0 or repeats < 1 or not threads or min(threads) < 1:
        raise UsageError("measure needs seconds > 0, repeats >= 1 and thread counts >= 1")
    groups = {n: v if isinstance(v, dict) else {"": v} for n, v in separators.items()}
    rows, before = [], torch.get_num_threads()
    total = sum(len(options) for options in groups.values()) * len(threads) * (repeats + 1)
    with torch.inference_mode(), tqdm(total=total, disable=None if progress else True) as bar:
        try:
            for name, options in groups.items():
                first = next(iter(options.values()))
                mixture = _mixture(first, seconds, channels).to(_device(options.values()))
                for count in threads:
                    torch.set_num_threads(count)
                    bar.set_description(f"{name}, {count} threads")
                    rows += _rounds(name, options, mixture, seconds, repeats, bar.update)
        finally:
            torch.set_num_threads(before)
    return pd.DataFrame(rows)


def write(frame, path) -> None:
    """The table of `measure` as CSV, whole or not at all."""
    with whole(path) as part:
        frame.to_csv(part, index=False, float_format="%.6g")


def _rounds(name, options, mixture, seconds, repeats, tick) -> list[dict]:
    """Rows of one group at the present number of threads."""
    found, memory = {}, {}
    for option, separator in options.items():  # warms up, too
        with _peak_memory(mixture.device) as used:
            found[option] = separator(mixture)
        memory[option] = used()
        tick()
    left, right = torch.randn(2, PEAK_SIZE, PEAK_SIZE, device=mixture.device)
    low_left, low_right = left.bfloat16(), right.bfloat16()
    left @ right, low_left @ low_right
    spent = {option: [] for option in options}
    products, low_products = [], []
    for _ in range(repeats):
        products += [_seconds(torch.mm, left, right) for _ in range(3)]
        low_products.append(_seconds(torch.mm, low_left, low_right))
        for option, separator in options.items():
            spent[option].append(_seconds(separator, mixture))
            tick()
    peak = 2 * PEAK_SIZE**3 / statistics.median(products) / 1e9
    first = next(iter(options))
    rows = []
    for option, separator in options.items():
        times = spent[option]
        median = statistics.median(times)
        gflop = _gflop(separator, seconds, mixture.shape[1])
        rows.append({
            "model": name, "option": option, "threads": torch.get_num_threads(),
            "input_s": seconds, "median_s": median, "fastest_s": min(times),
            "ratio": statistics.median(a / b for a, b in zip(spent[first], times, strict=True)),
            "real_time": median / seconds, "gflops": gflop / median,
            "of_peak": gflop / median / peak, "peak_gflops": peak,
            "bf16_product": statistics.median(products) / statistics.median(low_products),
            "agreement_db": agreement_db(found[first], found[option]),
            "memory_mb": memory[option],
        })  # fmt: skip
    return rows


def agreement_db(reference, estimate) -> float:
    """Power of `reference` over power of the difference in dB (any shape): 40 dB is a difference
    of 1 %, about 125 dB float32 rounding, inf is equal."""
    from bsrnn.evaluation.metrics import usdr

    pair = (torch.as_tensor(x).detach().cpu().double() for x in (reference, estimate))
    one, two = (x.reshape(1, -1) for x in pair)
    return float("inf") if torch.equal(one, two) else float(usdr(one.numpy(), two.numpy()))


def _device(separators):
    """Where the weights of separators lie; the CPU if they have none."""
    modules = [module for module in separators if isinstance(module, nn.Module)]
    found = (weight.device for module in modules for weight in module.parameters())
    return next(found, torch.device("cpu"))


def _seconds(function, *arguments) -> float:
    """Of one call, to the end of what it starts on the GPU."""
    wait = torch.cuda.synchronize if arguments[-1].is_cuda else lambda: None
    wait()
    start = time.perf_counter()
    function(*arguments)
    wait()
    return time.perf_counter() - start


def _mixture(separator, seconds: float, wanted=None):
    """Seeded (1, C, L): a chord that decays in each channel, and noise."""
    config = getattr(separator, "config", None)
    rate = separator.sample_rate
    channels = getattr(separator, "channels", 2)
    samples = round(seconds * rate)
    if config is not None:
        joint = getattr(config, "channel_handling", "independent") != "independent"
        channels = config.channels if joint else wanted or 2
        samples = getattr(config, "chunk_samples", 0) or samples
    time_s = torch.arange(samples) / rate
    pitches_hz = 55.0 * 2 ** (torch.arange(24) / 4)[:, None]
    chord = torch.sin(2 * torch.pi * pitches_hz * time_s).mean(0) * torch.exp(-(time_s % 0.5) * 6)
    noise = torch.randn((channels, samples), generator=torch.Generator().manual_seed(0))
    pan = torch.linspace(0.3, 0.7, channels)[:, None]
    return (pan * chord + 0.02 * noise)[None]


def _gflop(separator, seconds: float, channels: int = 2) -> float:
    """Floating-point operations of the matrix products of one call in 1e9; NaN if unknown."""
    from bsrnn.models import ModelConfig
    from bsrnn.models.cost import cost

    config = getattr(separator, "config", None)
    if not isinstance(config, ModelConfig):
        return float("nan")
    return 2e-9 * cost(replace(config, channels=channels), seconds).matmul_macs


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
