"""ModelConfig: the settings that make one band-split network out of the one definition.

A published architecture is a row of `presets()`; every field says why it exists and who uses which
value. What a block does stands in a small dataclass for each kind of block; the defaults of all are
the BSRNN of the paper. A size is a number or a multiple of the features N: "2N".

Abbreviations: BSRNN = Luo and Yu 2022 (arXiv 2209.15174); magronp = github magronp/bsrnn;
amanteur, crlandsc = github amanteur/BandSplitRNN-Pytorch and its fork; Refined = github
sahandevs/Refined-BSRNN; BandIt = Watcharasupat et al. 2024 (arXiv 2309.02539), BandIt v2 and
Banquet its successors; BS-/Mel-RoFormer = Lu et al. 2023 (arXiv 2309.02612), Wang et al. 2023
(arXiv 2310.01809) in the checkpoint-compatible open code. Lessons 05, 06, 14.
"""

import dataclasses
import json
import re
import textwrap
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from bsrnn.audio.stft import StftConfig
from bsrnn.common import UsageError, changed, choose

NORMS = ("group", "layer", "frames", "rms", "none")


def units_of(size: int | str, features: int) -> int:
    """Units that `size` means where a layer sees N = `features`.

    >>> units_of("2N", 64), units_of(256, 64)
    (128, 256)
    """
    if isinstance(size, int):
        return size
    return int(size.removesuffix("N") or 1) * features


class Settings:
    """What the groups of settings share: words are checked, sizes are read from text.

    choices: field -> its allowed words; sizes: the fields that are sizes.
    """

    choices: ClassVar[dict] = {}
    sizes: ClassVar[tuple] = ()

    def __post_init__(self):
        for name, allowed in self.choices.items():
            choose(getattr(self, name), allowed, name)
        for name in self.sizes:
            text = str(getattr(self, name))
            if not re.fullmatch(r"\d*N|[1-9]\d*", text):
                raise UsageError(f'{name} is {text}: give a number, or a multiple of N like "2N"')
            object.__setattr__(self, name, text if text.endswith("N") else int(text))


# ---- The split and the masks ---------------------------------------------------------------------


@dataclass(frozen=True)
class SplitConfig(Settings):
    """From the bins of a band to N features.

    Norms are over a band's features. "group": with all frames together (BSRNN, magronp); "layer":
    each frame alone (BandIt); "frames": with all frames, and one gain for each place, which ties
    the network to `frames` (amanteur, Refined); "rms": L2 norm of each frame only (RoFormers).
    """

    norm: str = "group"
    standardise: bool = False  # the spectrum, by its complex mean and deviation: amanteur, Refined

    choices = {"norm": NORMS[:4]}


@dataclass(frozen=True)
class MaskConfig(Settings):
    """The head of a stem: norm, hidden layers, gated output; then what its values mean."""

    norm: str = "group"  # as in SplitConfig, or "none" (RoFormers)
    hidden: int | str = "4N"  # units of a hidden layer
    hidden_layers: int = 1  # magronp 2; RoFormers 0 to 3
    activation: str = "tanh"
    slope: float = 0.01  # of "leaky-relu"
    width: str = "fixed"  # "narrow-for-wide": 3 (widest - W + 1) units (Refined's reduce_size)
    bottleneck: bool = False  # a linear layer of the output's size before the gate: amanteur
    order: str = "plain"  # "scrambled": memory re-read without the transpose (crlandsc)
    parts: str = "complex"  # "real": one gain per bin (BandIt option)
    context: int = 0  # sum masked bins within +-this inside the band (magronp's mask_ctxt)
    output: str = "mask"  # "spectrum": the head's output is the estimate itself (Refined)
    overlap: str = "weights"  # of overlapping bands: the scheme's weights (BandIt), "sum", or
    # "mean" (Mel-RoFormer); disjoint bands do not care
    zero_dc: bool = False  # silence bin 0 of the estimates (RoFormers)

    sizes = ("hidden",)
    choices = {
        "norm": ("group", "layer", "frames", "none"),
        "activation": ("tanh", "relu", "elu", "gelu", "leaky-relu"),
        "width": ("fixed", "narrow-for-wide"),
        "order": ("plain", "scrambled"),
        "parts": ("complex", "real"),
        "output": ("mask", "spectrum"),
        "overlap": ("weights", "sum", "mean"),
    }

    @property
    def numbers(self) -> int:
        """Numbers for a bin: real and imaginary part, or one gain."""
        return 2 if self.parts == "complex" else 1

    @property
    def form(self) -> str:
        """ "paper" for the head of the paper, "options" if its layers are others."""
        same = ("hidden_layers", "activation", "width", "bottleneck", "order", "parts")
        differs = any(getattr(self, name) != getattr(MaskConfig(), name) for name in same)
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

    rnn: str = "lstm"
    hidden: int | str = "2N"  # units in one direction; Refined N; BandIt 256
    bidirectional: bool = True
    heads: int = 1  # groups of features that share one layer (magronp's multi-head)
    norm: str = "group"  # over features and sequence; "layer": over features (BandIt)
    norm_groups: int | str = 1  # of "group"; "N": one per feature (amanteur, Refined)

    kind = "rnn"
    sizes = ("hidden", "norm_groups")
    choices = {"rnn": ("lstm", "gru"), "norm": NORMS[:2]}


@dataclass(frozen=True)
class ConvBlock(Layers):
    """x + linear(relu(conv(norm(x)))): magronp's `conv` layers."""

    hidden: int | str = "4N"
    heads: int = 1
    norm: str = "group"
    norm_groups: int | str = 1

    kind = "conv"
    sizes = ("hidden", "norm_groups")
    choices = {"norm": NORMS[:2]}


@dataclass(frozen=True)
class DilatedBlock(Layers):
    """Dilated convolutions in series, each joined with its neighbours: magronp's BSCNN."""

    hidden: int | str = "2N"
    dilations: int = 3  # convolutions in series
    kernel: int = 3

    kind = "dilated"
    sizes = ("hidden",)


@dataclass(frozen=True)
class AttentionLSTMBlock(Layers):
    """x + attention(x), then x + linear(LSTM(x)): amanteur's `att` bottleneck, 4 heads."""

    hidden: int | str = "2N"
    bidirectional: bool = True
    norm: str = "group"
    norm_groups: int | str = 1

    kind = "attention-lstm"
    sizes = ("hidden", "norm_groups")
    choices = {"norm": NORMS[:2]}


@dataclass(frozen=True)
class TransformerBlock(Layers):
    """torch's transformer layers: BandIt. its heads share the features."""

    hidden: int | str = "2N"  # units of the feed-forward part
    transformer_heads: int = 4

    kind = "transformer"
    sizes = ("hidden",)


@dataclass(frozen=True)
class PlaneConvBlock(Layers):
    """Convolutions over the plane of bands and frames: BandIt's conv core."""

    hidden: int | str = "2N"

    kind = "plane-conv"
    mixes = False
    sizes = ("hidden",)


@dataclass(frozen=True)
class RoformerBlock(Layers):
    """Gated attention with rotary positions and feed-forward: BS- and Mel-RoFormer."""

    transformer_heads: int = 8
    head_features: int = 64
    time_depth: int = 1  # layers of the time transformer of a block
    band_depth: int = 1
    linear_depth: int = 0  # layers of linear attention over all frames and bands
    position: str = "rotary"  # or "pope" (BS-PolarFormer)
    skip: bool = False  # each block also hears the sum of the outputs of all earlier blocks
    axis_norm: bool = False  # RMS norm after each transformer (Mel)
    last_norm: bool = False  # RMS norm after the last block (BS)

    kind = "roformer"
    choices = {"position": ("rotary", "pope")}

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
            layer = _read(BLOCKS, getattr(self, axis))
            object.__setattr__(self, axis, layer)
            if layer is not None and not layer.mixes:
                raise UsageError(f"{layer}: such a block has no other kind beside it")


BLOCKS = {
    kind.kind: kind
    for kind in (
        RNNBlock,
        ConvBlock,
        DilatedBlock,
        AttentionLSTMBlock,
        TransformerBlock,
        PlaneConvBlock,
        RoformerBlock,
        MixedBlock,
    )
}


@dataclass(frozen=True)
class TacConfig(Settings):
    """Transform, average, concatenate across channels (oBSRNN: "prelu")."""

    activation: str = "tanh"
    factor: int = 3  # hidden units in N

    choices = {"activation": ("tanh", "prelu")}


@dataclass(frozen=True)
class AttentionConfig(Settings):
    """Full-band attention over frames (oBSRNN)."""

    heads: int = 2
    features: int = 16  # of its queries and keys


# ---- The whole -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes a network; the defaults are the BSRNN of the paper.

    Change it with `replace`, which finds a setting by its dotted name, by that name with "_" for
    the dots, or by its last part alone ("hidden" is the block's):

    >>> config = ModelConfig(stems=("drums",), scheme="drums").replace(features=64, hidden="3N")
    >>> config.block.hidden, config.replace(mask_hidden=10).mask.hidden
    ('3N', 10)
    >>> ModelConfig.from_json(config.to_json()) == config
    True
    """

    # What it hears and says
    stems: tuple[str, ...] = ("vocals",)  # one mask head each, in this order
    scheme: str = "v7"  # a name of bsrnn.bands, or the JSON text of a BandScheme
    sample_rate: int = 44100  # Hz; BandIt v2: 48000
    channels: int = 2  # of the audio it was made for; "independent" networks take any number
    stft: StftConfig = StftConfig()

    # How channels meet. "independent": each its own batch item (BSRNN, magronp, BandIt);
    # "joint": all in the features of a band (amanteur, crlandsc, Banquet, RoFormers, magronp's
    # naive stereo); "shared": normalised together, then one projection used for each channel
    # (BandIt's treat_channel_as_feature: False).
    channel_handling: str = "independent"

    features: int = 128  # N
    repeats: int = 12  # R blocks
    norm_eps: float = 1e-7  # magronp; 1e-5 in all others; quiet input shows the difference
    frames: int | None = None  # T of "frames" norms (amanteur 263, Refined 87); None: any length
    split: SplitConfig = SplitConfig()
    block: Layers | MixedBlock = RNNBlock()
    tac: TacConfig | None = None  # in every block, after its layers
    attention: AttentionConfig | None = None
    mask: MaskConfig = MaskConfig()
    residual_last: bool = False  # last stem = mixture - the others, no head (magronp SIMO)
    query: int | None = None  # size of an embedding that conditions the masks (Banquet 768)

    first = "block"  # where a name that several groups have is looked for
    optional = {"tac": TacConfig, "attention": AttentionConfig}
    sizes = ("hidden", "norm_groups")  # names of settings that are sizes

    def __post_init__(self):
        scheme = self.scheme
        if not isinstance(scheme, str):  # a BandScheme or its dictionary
            scheme = json.dumps(scheme) if isinstance(scheme, dict) else scheme.to_json()
        made = {
            "stems": tuple(self.stems),
            "scheme": scheme,
            "stft": _group(StftConfig, self.stft),
            "split": _group(SplitConfig, self.split),
            "block": _read(BLOCKS, self.block),
            "tac": _group(TacConfig, self.tac),
            "attention": _group(AttentionConfig, self.attention),
            "mask": _group(MaskConfig, self.mask),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)
        choose(self.channel_handling, ("independent", "joint", "shared"), "channel_handling")
        self._check()

    def _check(self):
        if not self.stems or len(set(self.stems)) != len(self.stems):
            raise UsageError(f"stems {self.stems}: name at least one, each once")
        if self.residual_last and len(self.stems) < 2:
            raise UsageError("residual_last needs at least two stems")
        if "frames" in (self.split.norm, self.mask.norm) and not self.frames:
            raise UsageError('norm "frames" needs the number of frames: set `frames`')
        if self.features < 1 or self.repeats < 0 or self.channels < 1:
            raise UsageError("features and channels must be at least 1, repeats at least 0")
        parts = {"heads": self.block.time.heads}
        if self.attention:
            parts["attention_heads"] = self.attention.heads
        if self.channel_handling == "shared":
            parts["channels"] = self.channels
        for name, count in parts.items():
            if self.features % count:
                raise UsageError(f"{self.features} features do not divide into {count} {name}")
        if self.tac and self.channel_handling != "independent":
            raise UsageError(
                'tac joins channels that are apart: set channel_handling "independent"'
            )

    def __str__(self):
        """One setting a line; what is None is left out."""
        values = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        lines = [
            textwrap.fill(f"  {name}={value!r},", 99, subsequent_indent="    ")
            for name, value in values
            if value is not None
        ]
        return "\n".join(["ModelConfig(", *lines, ")"])

    def replace(self, **changes) -> "ModelConfig":
        """A copy with other settings, by their dotted or short names; see the class."""
        return changed(self, changes)

    def to_json(self) -> str:
        return json.dumps(_written(self))

    @classmethod
    def from_json(cls, text: str) -> "ModelConfig":
        """Inverse of to_json, also for the flat files of before; UsageError for an unknown
        field."""
        values = json.loads(text)
        known = [field.name for field in dataclasses.fields(cls)]
        if not {"split", "block", "mask"} & set(values) and set(values) - set(known):
            from bsrnn.models.zoo.older import nested

            values = nested(values)
        for name in values:
            choose(name, known, "field of ModelConfig")
        return cls(**values)

    @property
    def bands(self):
        """The BandScheme at this sample rate and n_fft."""
        return _bands(self.scheme, self.sample_rate, self.stft.n_fft)

    @property
    def heads(self) -> tuple[str, ...]:
        """The stems that have a mask head."""
        return self.stems[:-1] if self.residual_last else self.stems

    @property
    def shares(self) -> tuple | None:
        """What a band's values count for at its bins (W,), for each band; None: all of them 1."""
        bands = self.bands
        if self.mask.overlap == "mean" and bands.overlapping:
            return tuple(1 / bands.coverage[lo:hi] for lo, hi in bands.ranges)
        return bands.weights if self.mask.overlap == "weights" else None

    @property
    def block_kind(self) -> str:
        """The block of the paper, with what couples channels or frames, or of another kind."""
        coupled = self.tac or self.attention or self.block.band is None
        return "coupled" if coupled else self.block.kind

    @property
    def joint_channels(self) -> int:
        """Channels that share the features of a band: 1 if they are separate batch items."""
        return 1 if self.channel_handling == "independent" else self.channels

    @property
    def chunk_samples(self) -> int:
        """The only input length of a network with "frames" norms, else 0."""
        return self.stft.hop * (self.frames - 1) if self.frames else 0

    def check_input(self, mixture, stems, query) -> None:
        """UsageError for a mixture, stems or a query that this network does not take."""
        for stem in stems:
            choose(stem, self.stems, "stem of this separator")
        if not stems:
            raise UsageError(f"no stems asked for: name some of {', '.join(self.stems)}")
        if mixture.dim() != 3:
            raise UsageError(f"mixture has shape {tuple(mixture.shape)}: give (B, C, L)")
        count, samples = mixture.shape[1:]
        if count != self.channels and (self.joint_channels > 1 or self.tac):
            raise UsageError(f"mixture has {count} channels: this separator needs {self.channels}")
        if self.frames and self.stft.frames(samples) != self.frames:
            raise UsageError(
                f"{samples} samples: this separator takes chunks of {self.chunk_samples} only"
            )
        if bool(self.query) != (query is not None):
            wants = f"needs a query (B, {self.query})" if self.query else "takes no query"
            raise UsageError(f"this separator {wants}")


def _group(kind, value):
    """Settings of one `kind`: as they are, from a dictionary of JSON, or from their first word."""
    if isinstance(value, dict):
        for name in value:
            choose(name, [field.name for field in dataclasses.fields(kind)], kind.__name__)
        return kind(**value)
    return kind(value) if isinstance(value, str) else value


def _read(kinds: dict, value):
    """Settings of one of several `kinds`: as they are, from JSON, or the defaults of a name."""
    if isinstance(value, str):
        return kinds[choose(value, kinds, "block")]()
    if isinstance(value, dict):
        kind = kinds[choose(value["kind"], kinds, "block")]
        return _group(kind, {name: x for name, x in value.items() if name != "kind"})
    return value


def _written(settings):
    """Settings as dictionaries for JSON; a block says its kind."""
    if not dataclasses.is_dataclass(settings):
        return settings
    values = {f.name: _written(getattr(settings, f.name)) for f in dataclasses.fields(settings)}
    return {"kind": settings.kind, **values} if hasattr(settings, "kind") else values


@lru_cache(maxsize=64)
def _bands(scheme: str, sample_rate: int, n_fft: int):
    from bsrnn import bands

    if scheme.lstrip().startswith("{"):
        made = bands.BandScheme.from_json(scheme)
        fits = (made.sample_rate, made.n_fft) == (sample_rate, n_fft)
        return made if fits else made.project(sample_rate, n_fft)
    return bands.scheme(scheme, sample_rate, n_fft)


# name: (the preset it starts from, what differs). The published ones have their published size.
PRESETS = {
    "paper": ("", {}),
    "tiny": ("paper", {
        "scheme": "v4", "hop": 1024, "features": 16, "repeats": 1, "hidden": 16, "mask_hidden": 10,
    }),
    "compact": ("paper", {
        "scheme": "v6", "hop": 1024, "features": 32, "repeats": 2, "hidden": 32, "mask_hidden": 64,
    }),
    "small": ("paper", {"features": 32, "repeats": 4, "mask_hidden": 64}),
    "magronp": ("paper", {
        "scheme": "v7-magronp", "features": 64, "repeats": 8, "hidden_layers": 2,
    }),
    "magronp-large": ("magronp", {"features": 128, "repeats": 12}),
    "obsrnn": ("magronp-large", {"tac": "prelu", "attention": AttentionConfig(heads=2)}),
    "obsrnn-simo": ("obsrnn", {
        "scheme": "joint-magronp", "stems": ("vocals", "bass", "drums", "other"),
    }),
    "bscnn": ("magronp", {"scheme": "joint-magronp", "block": DilatedBlock(hidden=64)}),
    "amanteur": ("paper", {
        "channel_handling": "joint", "standardise": True, "split_norm": "frames",
        "mask_norm": "frames", "norm_groups": "N", "norm_eps": 1e-5, "frames": 263,
        "bottleneck": True,
    }),
    "crlandsc": ("amanteur", {"order": "scrambled"}),
    "refined": ("amanteur", {
        "stems": ("drums",), "channels": 1, "channel_handling": "independent", "frames": 87,
        "window": "hamming", "features": 32, "hidden": 32, "output": "spectrum",
        "bottleneck": False, "mask_width": "narrow-for-wide",
    }),
    "refined-24tet": ("refined", {"scheme": "tet24"}),
    "bandit": ("paper", {
        "stems": ("speech", "music", "effects"), "scheme": "musical64", "channels": 1,
        "padding": "constant", "scale": "window", "rnn": "gru", "repeats": 8,
        "split_norm": "layer", "block_norm": "layer", "mask_norm": "layer", "norm_eps": 1e-5,
    }),
    "bandit-v7": ("bandit", {"scheme": "v7-bandit"}),
    "bandit-v2": ("bandit", {
        "stems": ("speech", "music", "sfx"), "sample_rate": 48000, "padding": "reflect",
    }),
    "banquet": ("bandit", {
        "stems": ("target",), "channels": 2, "channel_handling": "joint", "query": 768,
        "padding": "reflect",
    }),
    "bs-roformer": ("paper", {
        "scheme": "bs-roformer", "hop": 441, "channel_handling": "joint", "split_norm": "rms",
        "mask_norm": "none", "norm_eps": 1e-12, "features": 512,
        "block": RoformerBlock(last_norm=True), "zero_dc": True,
    }),
    "mel-roformer": ("bs-roformer", {
        "scheme": "mel-roformer60", "features": 384, "repeats": 6, "hidden_layers": 2,
        "block": RoformerBlock(axis_norm=True), "overlap": "mean",
    }),
}  # fmt: skip


def presets() -> dict[str, ModelConfig]:
    """Named configurations. "tiny" (under 100 k parameters), "compact" (real music in 20 CPU
    minutes) and "small" learn on a CPU; "paper" is the BSRNN of Luo and Yu; the others are
    published networks at their published size.

    >>> presets()["tiny"].replace(stems=("drums",), scheme="drums", hidden=32).stems
    ('drums',)
    """
    made: dict[str, ModelConfig] = {}
    for name, (base, changes) in PRESETS.items():
        made[name] = made[base].replace(**changes) if base else ModelConfig()
    return made
