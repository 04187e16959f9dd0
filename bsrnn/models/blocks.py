"""The groups of settings of a network: its split, its masks, its kinds of blocks (see `config`)."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from bsrnn.common import UsageError, choose
from bsrnn.settings import checked

Size = int | str  # a number, or a multiple of the features N: "2N"
BlockNorm = Literal["group", "layer"]
Few = Annotated[int, 256]  # of layers, heads, blocks


def units_of(size: Size, features: int) -> int:
    """Units that `size` means where a layer sees N = `features`.

    >>> units_of("2N", 64), units_of(256, 64)
    (128, 256)
    """
    if isinstance(size, int):
        return size
    return int(size.removesuffix("N") or 1) * features


class Settings:
    """What the groups of settings share: values are checked against the annotations, sizes (a
    number or a text) are read."""

    def __post_init__(self):
        checked(self)
        for name in [field.name for field in dataclasses.fields(self) if field.type == Size]:
            text = str(getattr(self, name))
            if not re.fullmatch(r"\d{0,3}N|[1-9]\d{0,5}", text):
                words = 'give a number, or a multiple of N like "2N"'
                raise UsageError(f"{name} is {text[:40]}: {words}")
            object.__setattr__(self, name, text if text.endswith("N") else int(text))


# ---- The split and the masks ---------------------------------------------------------------------


@dataclass(frozen=True)
class SplitConfig(Settings):
    """From the bins of a band to N features.

    Norms are over a band's features. "group": with all frames together (BSRNN, magronp); "layer":
    each frame alone (BandIt); "frames": with all frames, and one gain for each place, which ties
    the network to `frames` (amanteur, Refined); "rms": L2 norm of each frame only (RoFormers).
    """

    norm: Literal["group", "layer", "frames", "rms"] = "group"
    standardise: bool = False  # the spectrum, by its complex mean and deviation: amanteur, Refined


@dataclass(frozen=True)
class MaskConfig(Settings):
    """The head of a stem: norm, hidden layers, gated output; then what its values mean."""

    norm: Literal["group", "layer", "frames", "none"] = "group"  # as the split's; "none": RoFormers
    hidden: Size = "4N"  # units of a hidden layer
    hidden_layers: Few = 1  # magronp 2; RoFormers 0 to 3
    activation: Literal["tanh", "relu", "elu", "gelu", "leaky-relu"] = "tanh"
    slope: float = 0.01  # of "leaky-relu"
    alpha: float = dataclasses.field(default=1.0, repr=False)  # of "elu"
    width: Literal["fixed", "narrow-for-wide"] = "fixed"  # or 3 (widest - W + 1) units: Refined
    bottleneck: bool = False  # a linear layer of the output's size before the gate: amanteur
    order: Literal["plain", "scrambled"] = "plain"  # or read without the transpose: crlandsc
    parts: Literal["complex", "real"] = "complex"  # "real": one gain per bin (BandIt option)
    context: Few = 0  # sum masked bins within +-this inside the band (magronp's mask_ctxt)
    output: Literal["mask", "spectrum"] = "mask"  # "spectrum": the estimate itself (Refined)
    overlap: Literal["weights", "sum", "mean"] = "weights"  # of bands: the scheme's; Mel "mean"
    zero_dc: bool = False  # silence bin 0 of the estimates (RoFormers)

    @property
    def numbers(self) -> int:
        """Numbers for a bin: real and imaginary part, or one gain."""
        return 2 if self.parts == "complex" else 1

    @property
    def form(self) -> str:
        """ "paper" for the head of the paper, "options" if its layers are others."""
        same = ("hidden_layers", "activation", "width", "bottleneck", "order", "parts")
        differs = any(getattr(self, name) != getattr(MaskConfig, name) for name in same)
        return "options" if differs else "paper"

    def units(self, features: int, narrower_bins: int = 0) -> int:
        """Hidden units of the head of a band so many bins narrower than the widest."""
        if self.width == "narrow-for-wide":
            return 3 * (narrower_bins + 1)
        return units_of(self.hidden, features)


# ---- The kinds of blocks -------------------------------------------------------------------------


class Layers(Settings):
    """A kind of block: the settings of its layer along time and of its layer across bands."""

    kind: ClassVar[str]
    heads = 1
    mixes = True  # it can stand along one axis only

    @property
    def time(self):
        return self

    @property
    def band(self):
        return self

    @property
    def name(self) -> str:
        """What people call it: "lstm", "gru", "conv" ..."""
        return getattr(self, "rnn", self.kind)

    def units(self, features: int) -> int:
        """Hidden units of a layer (in one direction), for one of its heads of features."""
        return units_of(self.hidden, features // self.heads)


@dataclass(frozen=True)
class RNNBlock(Layers):
    """x + linear(RNN(norm(x))): BSRNN, magronp, amanteur, Refined; BandIt with "gru"."""

    rnn: Literal["lstm", "gru"] = "lstm"
    hidden: Size = "2N"  # units in one direction; Refined N; BandIt 256
    bidirectional: bool = True
    heads: Few = 1  # groups of features that share one layer (magronp's multi-head)
    norm: BlockNorm = "group"  # over features and sequence; "layer": over features (BandIt)
    norm_groups: Size = 1  # of "group"; "N": one per feature (amanteur, Refined)
    kind = "rnn"


@dataclass(frozen=True)
class ConvBlock(Layers):
    """x + linear(relu(conv(norm(x)))): magronp's `conv` layers."""

    hidden: Size = "4N"
    heads: Few = 1
    norm: BlockNorm = "group"
    norm_groups: Size = 1
    kind = "conv"


@dataclass(frozen=True)
class DilatedBlock(Layers):
    """Dilated convolutions in series, each joined with its neighbours: magronp's BSCNN."""

    hidden: Size = "2N"
    dilations: Few = 3  # convolutions in series
    kernel: Few = 3
    kind = "dilated"


@dataclass(frozen=True)
class AttentionLSTMBlock(Layers):
    """x + attention(x), then x + linear(LSTM(x)): amanteur's `att` bottleneck, 4 heads."""

    hidden: Size = "2N"
    bidirectional: bool = True
    norm: BlockNorm = "group"
    norm_groups: Size = 1
    kind = "attention-lstm"


@dataclass(frozen=True)
class TransformerBlock(Layers):
    """torch's transformer layers, whose heads share the features: BandIt."""

    hidden: Size = "2N"  # units of the feed-forward part
    transformer_heads: Few = 4
    kind = "transformer"


@dataclass(frozen=True)
class PlaneConvBlock(Layers):
    """Convolutions over the plane of bands and frames: BandIt's conv core."""

    hidden: Size = "2N"
    kind = "plane-conv"
    mixes = False


@dataclass(frozen=True)
class RoformerBlock(Layers):
    """Gated attention with rotary positions and feed-forward: BS- and Mel-RoFormer."""

    transformer_heads: Few = 8
    head_features: int = 64
    time_depth: Few = 1  # layers of the time transformer of a block
    band_depth: Few = 1
    linear_depth: Few = 0  # layers of linear attention over all frames and bands
    position: Literal["rotary", "pope"] = "rotary"  # "pope": BS-PolarFormer)
    skip: bool = False  # each block also hears the sum of the outputs of all earlier blocks
    axis_norm: bool = False  # RMS norm after each transformer (Mel)
    last_norm: bool = False  # RMS norm after the last block (BS)
    kind = "roformer"

    @property
    def mixes(self) -> bool:
        whole = self.linear_depth or self.skip or self.last_norm
        return not whole and self.position == "rotary"


@dataclass(frozen=True)
class MixedBlock(Settings):
    """One kind of layer along time, another across bands, or None: no layer joins bands (BSCNN)."""

    time: Layers = RNNBlock()
    band: Layers | None = None
    kind = "mixed"

    def __post_init__(self):
        for axis in ("time", "band"):
            layer = read_block(getattr(self, axis))
            object.__setattr__(self, axis, layer)
            if layer is not None and not layer.mixes:
                raise UsageError(f"{layer}: such a block has no other kind beside it")


BLOCKS = {kind.kind: kind for kind in (*Layers.__subclasses__(), MixedBlock)}


@dataclass(frozen=True)
class TacConfig(Settings):
    """Transform, average, concatenate across channels (oBSRNN: "prelu")."""

    activation: Literal["tanh", "prelu"] = "tanh"
    factor: Few = 3  # hidden units in N


@dataclass(frozen=True)
class AttentionConfig(Settings):
    """Full-band attention over frames (oBSRNN)."""

    heads: Few = 2
    features: int = 16  # of its queries and keys


def group(kind, value):
    """Settings of one `kind`: as they are, from a dictionary of JSON, or from their first word."""
    if isinstance(value, dict):
        for name in value:
            choose(name, [field.name for field in dataclasses.fields(kind)], kind.__name__)
        return kind(**value)
    return kind(value) if isinstance(value, str) else value


def read_block(value):
    """Settings of a kind of block: as they are, from JSON, or the defaults of a name."""
    if isinstance(value, str):
        return BLOCKS[choose(value, BLOCKS, "block")]()
    if isinstance(value, dict):
        kind = BLOCKS[choose(value["kind"], BLOCKS, "block")]
        return group(kind, {name: x for name, x in value.items() if name != "kind"})
    return value
