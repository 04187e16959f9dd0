"""What a configuration costs before anything is built: parameters, MACs, activation memory.

Closed forms of the layers in `bsrnn.models`, under a millisecond, without torch. All for one
mixture of `seconds` with `config.channels` channels, or for a network's fixed number of frames.

    parameters        equal sum(p.numel()) of the BandSplitSeparator, exactly
    macs              multiply-accumulates by the rule behind BandIt's complexity table: a product
                      of (rows, in) and (in, out) counts rows * in * out; the bias of a linear layer
                      counts once per call; a recurrent layer adds per step its two biases and 7
                      (GRU) or 10 (LSTM) element-wise operations per hidden unit; convolutions count
                      their bias at each position. Norms, activations, STFT and masking count zero.
    matmul_macs       the matrix products and convolutions alone: half of torch's FLOPs
    activation_bytes  4 bytes for each value that a layer with weights or an attention returns in
                      one forward pass: training keeps at least these, an LSTM several times as much

Reference: Watcharasupat et al. 2024, arXiv 2309.02539, table III. Lessons 04 and 11.
"""

from dataclasses import dataclass, field
from itertools import pairwise

GATES = {"gru": (3, 7), "lstm": (4, 10)}  # gates, element-wise operations per unit


@dataclass
class Tally:
    """A running count; each method adds one layer."""

    parameters: int = 0
    macs: int = 0
    matmul_macs: int = 0
    activation_bytes: int = 0

    def add(self, other: "Tally", times: int = 1) -> None:
        self.parameters += times * other.parameters
        self.macs += times * other.macs
        self.matmul_macs += times * other.matmul_macs
        self.activation_bytes += times * other.activation_bytes

    def product(self, macs: int) -> None:
        self.macs += macs
        self.matmul_macs += macs

    def linear(self, size_in, size_out, rows, bias=True) -> None:
        self.parameters += size_in * size_out + bias * size_out
        self.product(rows * size_in * size_out)
        self.macs += bias * size_out
        self.activation_bytes += 4 * rows * size_out

    def norm(self, kind, size, rows, frames=0) -> None:
        gains = size * frames if kind == "frames" else size
        self.parameters += gains if kind == "rms" else 2 * gains
        self.activation_bytes += 4 * rows * size

    def rnn(self, kind, size, units, directions, rows) -> None:
        gates, elementwise = GATES[kind]
        self.parameters += directions * gates * units * (size + units + 2)
        self.product(directions * rows * gates * units * (size + units))
        self.macs += directions * rows * units * (elementwise + 2 * gates)
        self.activation_bytes += 4 * rows * directions * units

    def conv(self, size_in, size_out, kernel, rows) -> None:
        self.parameters += kernel * size_in * size_out + size_out
        self.product(rows * kernel * size_in * size_out)
        self.macs += rows * size_out
        self.activation_bytes += 4 * rows * size_out

    def attend(self, sequences, positions, size_key, size_value) -> None:
        self.product(sequences * positions**2 * (size_key + size_value))

    def multihead(self, size, sequences, positions) -> None:
        """torch's MultiheadAttention: its heads share the features, so their number is free."""
        rows = sequences * positions
        self.linear(size, 3 * size, rows)
        self.attend(sequences, positions, size, size)
        self.linear(size, size, rows)
        self.activation_bytes -= 4 * rows * 3 * size  # inside, not an output of the layer

    def feed_forward(self, norm, size, units, rows) -> None:
        self.norm(norm, size, rows)
        self.linear(size, units, rows)
        self.linear(units, size, rows)


@dataclass
class Cost(Tally):
    """The count of a configuration and of its parts "split", "sequence", "masks" (and "film").

    `band_parameters` and `band_macs` (K,) hold what belongs to one band: its split and its masks.
    """

    parts: dict = field(default_factory=dict)
    band_parameters: tuple = field(repr=False, default=())
    band_macs: tuple = field(repr=False, default=())


def cost(config, seconds: float = 6.0) -> Cost:
    """Cost of a `bsrnn.models.ModelConfig` for one mixture of `seconds`.

    >>> from bsrnn.models.config import ModelConfig
    >>> total = cost(ModelConfig())
    >>> total.parameters == sum(part.parameters for part in total.parts.values())
    True
    """
    frames = config.frames or config.stft.frames(round(seconds * config.sample_rate))
    items = config.channels if config.joint_channels == 1 else 1  # channels as batch items
    heads, widths, rows = len(config.heads), config.bands.widths, items * frames
    split = {w: _split_band(config, w, rows) for w in set(widths)}
    mask = {w: _mask_band(config, w, rows, max(widths)) for w in set(widths)}
    parts = {"split": Tally(), "sequence": _sequence(config, items, frames), "masks": Tally()}
    for width in widths:
        parts["split"].add(split[width])
        parts["masks"].add(mask[width], heads)
    if config.query:
        parts["film"] = _film(config, items, len(widths) * rows)
    total = Cost(
        parts=parts,
        band_parameters=tuple(split[w].parameters + heads * mask[w].parameters for w in widths),
        band_macs=tuple(split[w].macs + heads * mask[w].macs for w in widths),
    )
    for part in parts.values():
        total.add(part)
    return total


def counted(separator, seconds: float = 6.0) -> Cost:
    """Cost of any separator: of band-split networks in closed form, of others by running them
    without their numbers (D3Net, the baselines). A method without weights costs nothing.

    Matrix products and convolutions as torch's FLOP counter sees them, LSTMs included, for one
    mixture (1, C, L) of `seconds`, with everything that its forward does (D3Net: overlapping
    patches, each twice). A transposed convolution counts each input once, not its larger output.
    """
    total = Cost()
    for network in getattr(separator, "separators", [separator]):
        config = getattr(network, "config", None)
        total.add(cost(config, seconds) if hasattr(config, "block") else _ran(network, seconds))
    return total


def _ran(separator, seconds: float) -> Tally:
    import copy

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    if not isinstance(separator, torch.nn.Module):
        return Tally()
    ghost = copy.deepcopy(separator).to("meta").eval()
    values, recurrent = [], []

    def count(module, inputs, output):
        values.append((output[0] if isinstance(output, tuple) else output).numel())

    for module in ghost.modules():
        if isinstance(module, torch.nn.LSTM):  # step by step it would take minutes
            module.forward = _counting_lstm(module, recurrent)
        if not list(module.children()) and list(module.parameters(recurse=False)):
            module.register_forward_hook(count)
    samples = round(seconds * separator.sample_rate)
    mixture = torch.empty(1, separator.channels, samples, device="meta")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        ghost(mixture)
    macs = counter.get_total_flops() // 2 + sum(recurrent)
    parameters = sum(weight.numel() for weight in separator.parameters())
    return Tally(parameters, macs, macs, 4 * sum(values))


def _counting_lstm(module, products: list):
    """What an LSTM returns, without numbers; its multiplications go to `products`."""
    units, directions = module.hidden_size, 1 + module.bidirectional

    def forward(x, state=None):
        rows = x.numel() // x.shape[-1]
        for layer in range(module.num_layers):
            size = directions * units if layer else module.input_size
            products.append(directions * 4 * units * (size + units) * rows)
        return x.new_empty(*x.shape[:-1], directions * units), None

    return forward


# ---- The parts of a band-split network: rows are positions that a layer works on -----------------


def _split_band(config, width, rows) -> Tally:
    band, channels = Tally(), config.joint_channels
    size = 2 * channels * width
    band.norm(config.split.norm, size, rows, config.frames)
    if config.channel_handling == "shared":
        band.linear(2 * width, config.features // channels, rows * channels)
    else:
        band.linear(size, config.features, rows)
    return band


def _mask_band(config, width, rows, widest) -> Tally:
    band, mask = Tally(), config.mask
    size = config.joint_channels * mask.numbers * width
    sizes = [config.features]
    sizes += [mask.units(config.features, widest - width)] * mask.hidden_layers
    sizes += [size] if mask.bottleneck else []
    sizes += [2 * size]
    if mask.norm != "none":
        band.norm(mask.norm, config.features, rows, config.frames)
    for size_in, size_out in pairwise(sizes):
        band.linear(size_in, size_out, rows)
    return band


def _film(config, items, rows) -> Tally:
    film, size = Tally(), config.features
    film.norm("group", size, rows)
    for _ in range(1 if config.film else 2):
        film.linear(config.query, size, items)
        film.linear(size, size, items)
    return film


def _sequence(config, items, frames) -> Tally:
    bands, size = len(config.bands), config.features
    rows, settings = items * bands * frames, config.block
    block, whole = Tally(), Tally()
    for axis, positions in (("time", frames), ("band", bands)):
        layer = getattr(settings, axis)
        if layer is not None:
            depth = getattr(settings, f"{axis}_depth", None)
            LAYERS[layer.kind](block, config, layer, rows // positions, positions, depth)
    if config.tac:
        units = size * config.tac.factor
        block.linear(size, units, rows)
        block.linear(units, units, rows // config.channels)
        block.linear(2 * units, size, rows)
        block.parameters += config.tac.activation == "prelu"
    if config.attention:
        _frame_attention(block, config, items, bands, frames)
    if settings.kind == "roformer":
        for _ in range(settings.linear_depth):
            _linear_attention(block, size, settings, items, bands * frames)
        if settings.linear_depth and settings.axis_norm:
            block.norm("rms", size, rows)
        if settings.last_norm:
            whole.norm("rms", size, rows)
        if settings.position == "pope":
            whole.parameters += 2 * settings.transformer_heads * settings.head_features
    if settings.kind == "transformer":
        whole.norm("layer", size, rows)
    whole.add(block, config.repeats)
    return whole


# ---- The kinds of layers, on sequences of positions ----------------------------------------------


def _rnn(block, config, settings, sequences, positions, depth) -> None:
    size, units = config.features // settings.heads, settings.units(config.features)
    rows, directions = settings.heads * sequences * positions, 1 + settings.bidirectional
    block.norm(settings.norm, size, rows)
    block.rnn(settings.rnn, size, units, directions, rows)
    block.linear(directions * units, size, rows)


def _conv(block, config, settings, sequences, positions, depth) -> None:
    size, units = config.features // settings.heads, settings.units(config.features)
    rows = settings.heads * sequences * positions
    block.norm(settings.norm, size, rows)
    block.conv(size, units, 3, rows)
    block.linear(units, size, rows)


def _dilated(block, config, settings, sequences, positions, depth) -> None:
    size, units, series = config.features, settings.units(config.features), settings.dilations
    joined = [units * (min(l + 2, series) - max(l - 1, 0)) for l in range(series)]
    into = [size, *[units] * series, *joined, units * max(series, 1)]
    out_of = [units] * (2 * series + 1) + [size]
    for size_in, size_out in zip(into, out_of, strict=True):
        block.norm("group", size_in, sequences * positions)
        block.conv(size_in, size_out, settings.kernel, sequences * positions)


def _attention_lstm(block, config, settings, sequences, positions, depth) -> None:
    size, units = config.features, settings.units(config.features)
    rows, directions = sequences * positions, 1 + settings.bidirectional
    block.parameters += 2 * size  # a norm that is kept but not used
    block.multihead(size, sequences, positions)
    block.rnn("lstm", size, units, directions, rows)
    block.linear(directions * units, size, rows)


def _transformer(block, config, settings, sequences, positions, depth) -> None:
    size, rows = config.features, sequences * positions
    block.multihead(size, sequences, positions)
    block.feed_forward("layer", size, settings.units(size), rows)
    block.norm("layer", size, rows)


def _plane_conv(block, config, settings, sequences, positions, depth) -> None:
    size, units = config.features, settings.units(config.features)
    rows = sequences * positions
    block.norm("group", size, rows)
    block.conv(size, units, 9, rows)
    block.conv(units, size, 1, rows)


def _roformer(block, config, settings, sequences, positions, depth) -> None:
    size, heads, each = config.features, settings.transformer_heads, settings.head_features
    rows = sequences * positions
    turned = each * (2 if settings.position == "pope" else 1)
    for _ in range(settings.time_depth if depth is None else depth):
        block.norm("rms", size, rows)
        block.linear(size, 3 * heads * each, rows, bias=False)
        block.linear(size, heads, rows)
        block.attend(sequences * heads, positions, turned, each)
        block.linear(heads * each, size, rows, bias=False)
        block.feed_forward("rms", size, 4 * size, rows)
    if settings.axis_norm:
        block.norm("rms", size, rows)


LAYERS = {
    "rnn": _rnn,
    "conv": _conv,
    "dilated": _dilated,
    "attention-lstm": _attention_lstm,
    "transformer": _transformer,
    "plane-conv": _plane_conv,
    "roformer": _roformer,
}


def _linear_attention(block, size, settings, items, positions) -> None:
    heads, each = settings.transformer_heads, settings.head_features
    rows = items * positions
    block.norm("rms", size, rows)
    block.linear(size, 3 * heads * each, rows, bias=False)
    block.parameters += heads
    block.attend(items * heads, each, positions, positions)  # features attend to features
    block.linear(heads * each, size, rows, bias=False)
    block.feed_forward("rms", size, 4 * size, rows)


def _frame_attention(block, config, items, bands, frames) -> None:
    size, heads, wanted = config.features, config.attention.heads, config.attention.features
    rows, value = items * bands * frames, size // heads
    for parts, each in ((heads, wanted), (heads, wanted), (heads, value), (1, size)):
        block.linear(size, parts * each, rows)
        block.parameters += parts + 2 * parts * bands * each  # slopes; gain and offset
        block.activation_bytes += 4 * rows * parts * each
    block.attend(items * heads, frames, bands * wanted, bands * value)
