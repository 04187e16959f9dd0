"""The same sums faster on a processor: `attach` gives a finished separator other ways to do them.

    attach(separator)    # its weights, their names and its output stay as they are
    plain(separator)     # the paper's form again, on the same weights: the baseline of `benchmark`

    bands side by side   bands of equal width share one batched matrix product
    rows in pieces       a layer works on as many rows at a time as fit the cache; an RNN on as many
                         steps, each direction for itself
    threads              torch splits every single product among its threads and waits after each;
                         here whole pieces are dealt out to Python threads with one torch thread
                         each (torch releases Python's lock while it computes)

Pieces and threads are for inference on a CPU: nothing of the kind happens while gradients are
recorded, on a GPU, or while a graph is traced. Lesson 11.
"""

import copy
import functools
import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from bsrnn.models.attention import RoformerBlock
from bsrnn.models.bsrnn import BandSplit, Block, MaskHead, Norm, ResidualRNN
from bsrnn.models.layers import CoupledBlock, OptionHead, SharedSplit

POSITIONS, LEAST_ROWS = 6144, 64  # that a layer works on at a time: the cache, a product


def attach(separator: nn.Module) -> nn.Module:
    """`separator`, whose parts from now on compute in the ways above."""
    for module in separator.modules():
        fast = FAST.get(type(module))
        if fast is not None:
            module.__class__ = fast
            module.prepare()
    return separator


def plain(separator: nn.Module) -> nn.Module:
    """Another separator on the same weights, which computes as the paper writes it."""
    shared = {id(tensor): tensor for tensor in [*separator.parameters(), *separator.buffers()]}
    made = copy.deepcopy(separator, shared)
    for module in made.modules():
        if isinstance(module, (Fast, SideBySide)):
            module.__class__ = type(module).__bases__[-1]
    return made


# ---- Pieces and threads --------------------------------------------------------------------------


def in_pieces(x) -> bool:
    """Whether work on x may be cut: a CPU tensor, no gradients, nothing that records the graph."""
    recorded = torch.jit.is_tracing() or torch.compiler.is_compiling()
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
    lower = torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")

    def run(job):  # these modes belong to a thread
        autocast = torch.autocast("cpu", *lower)
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


# ---- Bands side by side --------------------------------------------------------------------------


class SideBySide(nn.ModuleList):
    """Modules of the bands; `[(3, 4, 5)]` is one callable for those bands side by side.

    It takes x (G, ..., features) of G bands. Without gradients their weights lie side by side in
    one tensor, of which each band's parameter is a part, so nothing is copied; with gradients they
    are put together each time.
    """

    def __getstate__(self):
        return {**self.__dict__, "kept": {}}  # a copy puts its own side by side

    def __getitem__(self, bands):
        if not isinstance(bands, tuple):
            return super().__getitem__(bands)
        modules = [super(SideBySide, self).__getitem__(band) for band in bands]
        if isinstance(modules[0], nn.ModuleList):  # hidden layers of each band
            layers = enumerate(zip(*modules, strict=True))
            return [functools.partial(self.run, (bands, i), layer) for i, layer in layers]
        return functools.partial(self.run, bands, modules)

    def run(self, key, modules, x):
        first = modules[0]
        if isinstance(first, nn.Linear):
            weight = self.whole(key, modules, "weight")  # (G, out, in)
            bias = self.whole(key, modules, "bias")[:, None]  # (G, 1, out)
            rows = torch.baddbmm(bias, x.flatten(1, -2), weight.transpose(1, 2))  # (G, rows, out)
            return rows.unflatten(1, x.shape[1:-1])
        if not isinstance(first, Norm):
            return first(x)  # it has no weights
        gain, offset = self.whole(key, modules, "gain"), None
        shape = (
            len(gain),
            *[1] * (x.dim() - gain.dim()),
            *gain.shape[1:],
        )  # beside x (G, ..., places, N)
        if first.offset is not None:
            offset = self.whole(key, modules, "offset").view(shape)
        return first.scaled(x, gain.view(shape), offset)

    def whole(self, key, modules, name: str):
        """The weights called `name` of modules, side by side: (G, ...)."""
        weights = [getattr(module, name) for module in modules]
        if len(weights) == 1:
            return weights[0][None]
        if torch.is_grad_enabled() or any(weight.is_inference() for weight in weights):
            return torch.stack(weights)
        stack = self.kept.get((key, name))
        places = [weight.data_ptr() for weight in weights]
        kept = [] if stack is None else [part.data_ptr() for part in stack]
        if kept != places or stack.dtype != weights[0].dtype:  # new, or moved since
            with torch.inference_mode(False), torch.no_grad():
                stack = torch.stack(weights)
                for weight, part in zip(weights, stack, strict=True):
                    weight.data = part
            self.kept[key, name] = stack
        return stack


def equal_widths(ranges) -> list[tuple[int, ...]]:
    """Numbers of the bands of each width, in order of first appearance."""
    groups: dict[int, list[int]] = {}
    for band, (lo, hi) in enumerate(ranges):
        groups.setdefault(hi - lo, []).append(band)
    return [tuple(bands) for bands in groups.values()]


class Fast:
    """What the faster forms share; each is a subclass of it and, last, of the plain form."""

    def prepare(self) -> None:
        """After the plain form has become this one."""

    def by_width(self, *lists) -> None:
        """Lay bands of equal width side by side; `lists` hold their modules."""
        for modules in lists:
            modules.__class__ = SideBySide
            modules.kept = {}
        self.groups = equal_widths(self.ranges)
        self.register_buffer("index", torch.empty(0, dtype=torch.long), persistent=False)


class FastSplit(Fast):
    def prepare(self):
        self.by_width(self.norms, self.linears)
        order = [band for bands in self.groups for band in bands]
        self.index = torch.tensor(order).argsort()  # features stand by width; bands by frequency
        for number, bands in enumerate(self.groups):
            bins = torch.tensor([range(*self.ranges[band]) for band in bands])  # (G, W)
            self.register_buffer(f"bins{number}", bins, persistent=False)

    def forward(self, spectrum):
        x = torch.view_as_real(spectrum.mT) if spectrum.is_complex() else spectrum

        def of_group(number, bands):
            part = x[..., getattr(self, f"bins{number}"), :]  # (B, C, T, G, W, 2)
            part = part.permute(3, 0, 2, 1, 5, 4).flatten(-3)  # (G, B, T, C 2 W)
            return self.features(bands, part)  # (G, B, T, N)

        z = torch.cat(each(of_group, enumerate(self.groups), x))  # (all G, B, T, N)
        return z.index_select(0, self.index).transpose(0, 1)  # (B, K, T, N)


class FastHead(Fast):
    def prepare(self):
        lists = [self.norms, self.hidden, self.out, getattr(self, "bottleneck", None)]
        self.by_width(*(modules for modules in lists if modules is not None))
        order = [band for bands in self.groups for band in bands]
        bins = np.concatenate([np.arange(*self.ranges[band]) for band in order])
        self.disjoint = len(bins) == self.bins == len(set(bins))
        self.index = torch.tensor(bins.argsort() if self.disjoint else bins)
        weights = None
        if self.shares is not None:
            weights = torch.tensor(np.concatenate([self.shares[band] for band in order])).float()
        self.register_buffer("weights", weights, persistent=False)
        for number, bands in enumerate(self.groups):
            self.register_buffer(f"bands{number}", torch.tensor(bands), persistent=False)

    def parts(self, z):
        def of_group(number, bands):
            part = z.transpose(0, 1)[getattr(self, f"bands{number}")]  # (G, B, T, N)
            part = self.values(bands, part)  # (G, B, T, C P W)
            part = part.unflatten(-1, (self.channels, self.numbers, -1))  # (G, B, T, C, P, W)
            return part.permute(1, 2, 3, 4, 0, 5).flatten(-2)  # (B, T, C, P, G W)

        mask = torch.cat(each(of_group, enumerate(self.groups), z), dim=-1)  # (B, T, C, P, all W)
        mask = mask.to(torch.promote_types(mask.dtype, torch.float32))
        if self.weights is not None:
            mask = mask * self.weights
        if self.disjoint:
            mask = mask.index_select(-1, self.index)  # (B, T, C, P, F)
        else:
            empty = mask.new_zeros(*mask.shape[:-1], self.bins)
            mask = empty.index_add(-1, self.index, mask)  # (B, T, C, P, F)
        return mask.permute(3, 0, 2, 4, 1)  # (P, B, C, F, T)


# ---- Rows and steps in pieces --------------------------------------------------------------------


class FastBlock(Fast):
    def rows(self, layer, z):  # (B, rows, places, N)
        if not in_pieces(z):
            return super().rows(layer, z)
        items, rows, positions = z.shape[:3]
        size = max(POSITIONS // positions, LEAST_ROWS)
        threads = torch.get_num_threads() // math.gcd(items, torch.get_num_threads())
        count = min(-(-rows // (size * threads)) * threads, rows)  # as many for each thread
        out = torch.empty_like(z)
        pieces = [
            pair
            for item in zip(z, out, strict=True)
            for pair in zip(*(x.tensor_split(count) for x in item), strict=True)
        ]
        each(lambda x, y: y.copy_(layer(x)), pieces, z)
        return out


class FastRNN(Fast):
    def prepare(self):
        suffixes = ("", "_reverse")[: 1 + self.rnn.bidirectional]
        self.directions = [_Direction(self.rnn, suffix) for suffix in suffixes]

    def forward(self, x):
        y = (
            self.norm(x).transpose(0, 1).contiguous()
        )  # (places, rows, N): torch's RNN works on it so
        if type(self.rnn) in _Direction.KINDS and in_pieces(x):
            y = self.by_steps(y)
        else:
            hidden, _ = self.rnn(y.transpose(0, 1))
            y = self.linear(hidden.transpose(0, 1))
        return x + y.transpose(0, 1)  # (rows, places, N)

    def by_steps(self, y):
        """Some steps at a time in each direction: what the gates and the hidden units
        (places, rows, 10N in an LSTM) need then stays in the cache."""
        count = -(-y.shape[0] * y.shape[1] // POSITIONS)
        out = self.linear.bias.to(y.dtype).expand_as(y).clone()  # (places, rows, N)
        y = y.to(self.linear.weight.dtype)
        pieces = list(zip(y.tensor_split(count), out.tensor_split(count), strict=True))
        parts = self.linear.weight.chunk(len(self.directions), dim=1)  # (N, units) each
        for direction, part in zip(self.directions, parts, strict=True):
            state = None
            for piece, sum_piece in reversed(pieces) if direction.backward else pieces:
                hidden, state = direction(piece, state)
                sum_piece += F.linear(hidden, part)
        return out


class _Direction:
    """One direction of a torch RNN, on its weights: (places, rows, N) -> (places, rows, units)."""

    NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")

    def __init__(self, rnn, suffix: str):
        self.backward = bool(suffix)
        self.weights = [getattr(rnn, name + suffix) for name in self.NAMES]
        self.call = self.KINDS[type(rnn)]
        self.alone = nn.LSTM(rnn.input_size, rnn.hidden_size, device="meta")
        if isinstance(rnn, nn.LSTM):
            for name, weight in zip(self.NAMES, self.weights, strict=True):
                setattr(self.alone, name, weight)

    def __call__(self, x, state):
        return self.call(self, x, state)

    def lstm(self, x, state):
        x = x.flip(0) if self.backward else x
        hidden, state = self.alone(x, state)
        return hidden.flip(0) if self.backward else hidden, state

    def gru(self, x, h):
        """Fewer passes over memory than torch's, which has no kernel for a whole GRU on a CPU."""
        w_in, w_hidden, b_in, b_hidden = self.weights
        units = w_hidden.shape[1]
        inside = F.linear(x, w_in, b_in)  # (places, rows, 3 units): reset, update, new
        hidden = x.new_empty(*x.shape[:2], units)
        h = x.new_zeros(x.shape[1], units) if h is None else h
        turned, again = w_hidden.t(), x.new_empty(x.shape[1], 3 * units)
        order = range(len(x) - 1, -1, -1) if self.backward else range(len(x))
        for step in order:
            torch.addmm(b_hidden, h, turned, out=again)
            gates = again[:, : 2 * units].add_(inside[step, :, : 2 * units]).sigmoid_()
            reset, update = gates.chunk(2, dim=1)
            new = again[:, 2 * units :].mul_(reset).add_(inside[step, :, 2 * units :]).tanh_()
            h = torch.lerp(new, h, update, out=hidden[step])
        return hidden, h

    KINDS = {nn.LSTM: lstm, nn.GRU: gru}


FORMS = {  # faster form -> what it is a form of
    FastSplit: (BandSplit, SharedSplit),
    FastHead: (MaskHead, OptionHead),
    FastBlock: (Block, CoupledBlock, RoformerBlock),
    FastRNN: (ResidualRNN,),
}
FAST = {
    kind: type(f"Fast{kind.__name__}", (fast, kind), {})
    for fast, kinds in FORMS.items()
    for kind in kinds
}
