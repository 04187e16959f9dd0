"""What a configuration costs before anything is built: parameters, MACs, activation memory.

Closed forms of the layers in `bsrnn.models`, under a millisecond, without torch.

Conventions
    parameters        equal sum(p.numel()) of the BandSplitSeparator, exactly
    macs              multiply-accumulates by the rule behind BandIt's complexity table: a product
                      of (rows, in) and (in, out) counts rows * in * out; the bias of a linear layer
                      counts once per call; a recurrent layer adds per step its two biases and 7
                      (GRU) or 10 (LSTM) element-wise operations per hidden unit; convolutions count
                      their bias at each position. Norms, activations, STFT and masking count zero.
    matmul_macs       the matrix products and convolutions alone: twice this are the FLOPs that
                      torch.utils.flop_counter sees
    activation_bytes  4 bytes for each value that a linear, recurrent, convolution, attention or
                      norm layer returns in one forward pass: training keeps at least these; an
                      LSTM its gates and states, too, several times as much
    All for one mixture of `seconds` with `config.channels` channels; a network made for a fixed
    number of frames is counted for those.

Reference: Watcharasupat et al. 2024, arXiv 2309.02539, table III. Lessons 04 and 11.
"""

from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Cost:
    """The count of a configuration and of its parts "split", "sequence", "masks" (and "film").

    `band_parameters` and `band_macs` (K,) hold what belongs to one band: its split and its masks.
    """

    parameters: int
    macs: int
    matmul_macs: int
    activation_bytes: int
    parts: dict
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
    heads = len(config.stems) - config.residual_last
    widths = config.bands.widths
    split = {w: _split_band(config, w, items, frames) for w in set(widths)}
    mask = {w: _mask_band(config, w, items, frames, max(widths)) for w in set(widths)}
    parts = {"split": Tally(), "sequence": _sequence(config, items, frames), "masks": Tally()}
    for width in widths:
        parts["split"].add(split[width])
        parts["masks"].add(mask[width], heads)
    if config.query:
        parts["film"] = _film(config, items, items * len(widths) * frames)
    total = Tally()
    for part in parts.values():
        total.add(part)
    return Cost(
        total.parameters,
        total.macs,
        total.matmul_macs,
        total.activation_bytes,
        parts,
        tuple(split[w].parameters + heads * mask[w].parameters for w in widths),
        tuple(split[w].macs + heads * mask[w].macs for w in widths),
    )


def counted(separator, seconds: float = 6.0) -> Cost:
    """Cost of any separator by running it, without its numbers: for baselines and D3Net.

    Matrix products and convolutions as torch's FLOP counter sees them, LSTMs included, for one
    mixture (1, C, L) of `seconds`, with everything that its forward does (D3Net: overlapping
    patches, each twice). A transposed convolution counts each input once, not its larger output.
    A method without weights counts nothing.
    """
    import copy

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    if not isinstance(separator, torch.nn.Module):
        return Cost(0, 0, 0, 0, {})
    ghost = copy.deepcopy(separator).to("meta").eval()
    values, recurrent = [], []
    for module in ghost.modules():
        if isinstance(module, torch.nn.LSTM):  # step by step it would take minutes
            module.forward = _counting_lstm(module, recurrent)
        if not list(module.children()) and list(module.parameters(recurse=False)):
            module.register_forward_hook(lambda _, __, y: values.append(_numel(y)))
    channels = getattr(separator, "channels", None) or separator.config.channels
    mixture = torch.empty(1, channels, round(seconds * separator.sample_rate), device="meta")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        ghost(mixture)
    macs = counter.get_total_flops() // 2 + sum(recurrent)
    parameters = sum(weight.numel() for weight in separator.parameters())
    return Cost(parameters, macs, macs, 4 * sum(values), {})


def _counting_lstm(module, found: list):
    """What an LSTM returns, without numbers; its products go to `found`."""
    units, directions = module.hidden_size, 1 + module.bidirectional

    def forward(x, state=None):
        rows = x.numel() // x.shape[-1]
        for layer in range(module.num_layers):
            size = directions * units if layer else module.input_size
            found.append(directions * 4 * units * (size + units) * rows)
        return x.new_empty(*x.shape[:-1], directions * units), None

    return forward


def _numel(output) -> int:
    return (output[0] if isinstance(output, tuple) else output).numel()


def _split_band(config, width, items, frames) -> Tally:
    band, channels, rows = Tally(), config.joint_channels, items * frames
    size = 2 * channels * width
    band.norm(config.split_norm, size, rows, config.frames)
    if config.channel_handling == "shared":
        band.linear(2 * width, config.features // channels, rows * channels)
    else:
        band.linear(size, config.features, rows)
    return band


def _mask_band(config, width, items, frames, widest) -> Tally:
    band, rows = Tally(), items * frames
    size = config.joint_channels * (2 if config.mask_parts == "complex" else 1) * width
    hidden = config.mask_units
    if config.mask_width == "narrow-for-wide":
        hidden = 3 * (widest - width + 1)
    if config.mask_norm != "none":
        band.norm(config.mask_norm, config.features, rows, config.frames)
    last = config.features
    for _ in range(config.mask_hidden_layers):
        band.linear(last, hidden, rows)
        last = hidden
    if config.mask_bottleneck:
        band.linear(last, size, rows)
        last = size
    band.linear(last, 2 * size, rows)
    return band


def _film(config, items, rows) -> Tally:
    film, size = Tally(), config.features
    film.norm("group", size, rows)
    for _ in range(2):
        film.linear(config.query, size, items)
        film.linear(size, size, items)
    return film


def _sequence(config, items, frames) -> Tally:
    bands, size = len(config.bands), config.features
    rows = items * bands * frames
    block = Tally()
    if config.rnn == "plane-conv":
        for _ in range(2):
            block.norm("group", size, rows)
            block.conv(size, config.units(), 9, rows)
            block.conv(config.units(), size, 1, rows)
    else:
        _layer(block, config, "time", items * bands, frames)
        if config.band_rnn != "none":
            _layer(block, config, "band", items * frames, bands)
    if config.rnn == "roformer":
        for _ in range(config.linear_depth):
            _linear_attention(block, config, items, bands * frames)
        if config.linear_depth and config.axis_norm:
            block.norm("rms", size, rows)
    if config.tac:
        units = size * config.tac_factor
        block.linear(size, units, rows)
        block.linear(units, units, rows // config.channels)
        block.linear(2 * units, size, rows)
        block.parameters += config.tac == "prelu"
    if config.attention_heads:
        _frame_attention(block, config, items, bands, frames)
    whole = Tally()
    whole.add(block, config.repeats)
    if config.rnn == "transformer":
        whole.norm("layer", size, rows)
    if config.last_norm:
        whole.norm("rms", size, rows)
    if config.rnn == "roformer" and config.position == "pope":
        whole.parameters += 2 * config.transformer_heads * config.head_features
    return whole


def _layer(block, config, axis, sequences, positions) -> None:
    """One layer on `sequences` rows of `positions`; feature heads are rows of their own."""
    kind = config.rnn if axis == "time" else config.band_rnn or config.rnn
    size, units = config.features // config.heads, config.units(axis)
    sequences *= config.heads
    rows, directions = sequences * positions, 1 + config.bidirectional
    if kind in GATES:
        block.norm(config.block_norm, size, rows)
        block.rnn(kind, size, units, directions, rows)
        block.linear(directions * units, size, rows)
    elif kind == "conv":
        block.norm(config.block_norm, size, rows)
        block.conv(size, directions * units, 3, rows)
        block.linear(directions * units, size, rows)
    elif kind == "dilated":
        depth = (config.band_dilations if axis == "band" else 0) or config.dilations
        joined = [units * (min(l + 2, depth) - max(l - 1, 0)) for l in range(depth)]
        into = [size, *[units] * depth, *joined, units * max(depth, 1)]
        for size_in, size_out in zip(into, [*[units] * (2 * depth + 1), size], strict=True):
            block.norm("group", size_in, rows)
            block.conv(size_in, size_out, config.kernel, rows)
    elif kind == "attention-lstm":
        block.parameters += 2 * size  # a norm that is kept but not used
        block.multihead(size, sequences, positions)
        block.rnn("lstm", size, units, directions, rows)
        block.linear(directions * units, size, rows)
    elif kind == "transformer":
        block.multihead(size, sequences, positions)
        block.linear(size, units, rows)
        block.linear(units, size, rows)
        block.norm("layer", size, rows)
        block.norm("layer", size, rows)
    else:
        for _ in range(config.time_depth if axis == "time" else config.band_depth):
            _rotary_attention(block, config, sequences, positions)
        if config.axis_norm:
            block.norm("rms", size, rows)


def _rotary_attention(block, config, sequences, positions) -> None:
    size, heads, each = config.features, config.transformer_heads, config.head_features
    rows = sequences * positions
    block.norm("rms", size, rows)
    block.linear(size, 3 * heads * each, rows, bias=False)
    block.linear(size, heads, rows)
    turned = each * (2 if config.position == "pope" else 1)
    block.attend(sequences * heads, positions, turned, each)
    block.linear(heads * each, size, rows, bias=False)
    _feed_forward(block, size, rows)


def _linear_attention(block, config, sequences, positions) -> None:
    size, heads, each = config.features, config.transformer_heads, config.head_features
    rows = sequences * positions
    block.norm("rms", size, rows)
    block.linear(size, 3 * heads * each, rows, bias=False)
    block.parameters += heads
    block.attend(sequences * heads, each, positions, positions)  # features attend to features
    block.linear(heads * each, size, rows, bias=False)
    _feed_forward(block, size, rows)


def _feed_forward(block, size, rows) -> None:
    block.norm("rms", size, rows)
    block.linear(size, 4 * size, rows)
    block.linear(4 * size, size, rows)


def _frame_attention(block, config, items, bands, frames) -> None:
    size, heads = config.features, config.attention_heads
    rows = items * bands * frames
    value = size // heads
    wanted = config.attention_features
    for parts, each in ((heads, wanted), (heads, wanted), (heads, value), (1, size)):
        block.linear(size, parts * each, rows)
        block.parameters += parts + 2 * parts * bands * each  # slopes; gain and offset
        block.activation_bytes += 4 * rows * parts * each
    block.attend(items * heads, frames, bands * wanted, bands * value)
