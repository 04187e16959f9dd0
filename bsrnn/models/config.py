"""ModelConfig: the row of options that makes one band-split network out of the one definition.

A published architecture is a ModelConfig; every field says why it exists and who uses which value.
Abbreviations: BSRNN = Luo and Yu 2022 (arXiv 2209.15174); magronp = github magronp/bsrnn;
amanteur, crlandsc = github amanteur/BandSplitRNN-Pytorch and its fork; Refined = github
sahandevs/Refined-BSRNN; BandIt = Watcharasupat et al. 2024 (arXiv 2309.02539), BandIt v2 and
Banquet its successors; BS-/Mel-RoFormer = Lu et al. 2023 (arXiv 2309.02612), Wang et al. 2023
(arXiv 2310.01809) in the checkpoint-compatible open code. Lessons 05, 06, 14.
"""

import json
from dataclasses import dataclass, replace
from functools import lru_cache

from bsrnn.audio.stft import StftConfig
from bsrnn.common import Json, UsageError, choose

OPTIONS = {
    "channel_handling": ("independent", "joint", "shared"),
    "split_norm": ("group", "layer", "frames", "rms"),
    "block_norm": ("group", "layer"),
    "mask_norm": ("group", "layer", "frames", "none"),
    "rnn": (
        "lstm", "gru", "conv", "dilated", "attention-lstm", "transformer", "plane-conv", "roformer",
    ),
    "band_rnn": ("", "lstm", "gru", "conv", "dilated", "none"),
    "tac": ("", "tanh", "prelu"),
    "position": ("rotary", "pope"),
    "mask_activation": ("tanh", "relu", "elu", "gelu", "leaky-relu"),
    "mask_width": ("fixed", "narrow-for-wide"),
    "mask_order": ("plain", "scrambled"),
    "mask_parts": ("complex", "real"),
    "output": ("mask", "spectrum"),
    "overlap": ("weights", "sum", "mean"),
}  # fmt: skip


@dataclass(frozen=True)
class ModelConfig(Json):
    """Everything that fixes a network; the defaults are the BSRNN of the paper.

    >>> config = ModelConfig(stems=("drums",), scheme="drums", features=64, repeats=8)
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
    standardise: bool = False  # the spectrum, by its complex mean and deviation: amanteur, Refined

    # Normalisation of the split (over a band's features), the blocks and the masks (over N).
    # "group": over features and sequence together (BSRNN, magronp); "layer": over the features of
    # one position (BandIt); "frames": over features and frames with one gain for each of them,
    # which ties the network to `frames` (amanteur, Refined); "rms": L2 norm only (RoFormers).
    split_norm: str = "group"
    block_norm: str = "group"
    mask_norm: str = "group"
    norm_groups: int = 1  # groups of block_norm "group"; 0 = one per feature (amanteur, Refined)
    norm_eps: float = 1e-7  # magronp; 1e-5 in all others; quiet input shows the difference
    frames: int = 0  # T of "frames" norms (amanteur 263, Refined 87); 0 = any length

    # The sequence blocks: R times [time, band, TAC, attention]
    features: int = 128  # N
    repeats: int = 12  # R
    rnn: str = "lstm"  # along time; BandIt "gru"; "conv" and "dilated" (BSCNN): magronp;
    # "attention-lstm": amanteur's att; "transformer", "plane-conv": BandIt; "roformer"
    band_rnn: str = ""  # across bands, empty = same as rnn; "none" = no such layer (BSCNN)
    hidden: int = 0  # units in one direction; 0 = 2N (BSRNN); Refined N; BandIt 256
    bidirectional: bool = True
    heads: int = 1  # groups of features that share one layer (magronp's multi-head)
    dilations: int = 3  # convolutions in series of "dilated"
    band_hidden: int = 0  # units and dilations across bands; 0 = same as along time (BSCNN differs)
    band_dilations: int = 0
    kernel: int = 3  # of "dilated"
    tac: str = ""  # transform-average-concatenate across channels: activation (oBSRNN "prelu")
    tac_factor: int = 3  # its hidden size in N
    attention_heads: int = 0  # full-band attention over frames (oBSRNN 2); 0 = none
    attention_features: int = 16  # of its queries and keys

    # "transformer" and "roformer" only (BandIt: 4 heads, feed-forward of `hidden`)
    transformer_heads: int = 8
    head_features: int = 64
    time_depth: int = 1  # layers of the time transformer of a block
    band_depth: int = 1
    linear_depth: int = 0  # layers of linear attention over all frames and bands
    position: str = "rotary"  # or "pope" (BS-PolarFormer)
    skip: bool = False  # each block also hears the sum of the outputs of all earlier blocks
    axis_norm: bool = False  # RMS norm after each transformer (Mel)
    last_norm: bool = False  # RMS norm after the last block (BS)

    # The mask heads: norm, hidden layers, gated output
    mask_hidden: int = 0  # units; 0 = 4N (BSRNN); BandIt 512
    mask_hidden_layers: int = 1  # magronp 2; RoFormers 0 to 3
    mask_activation: str = "tanh"
    mask_slope: float = 0.01  # of "leaky-relu"
    mask_width: str = "fixed"  # "narrow-for-wide": 3 (widest - w + 1) units (Refined's reduce_size)
    mask_bottleneck: bool = False  # a linear layer of the output's size before the gate: amanteur
    mask_order: str = "plain"  # "scrambled": memory re-read without the transpose (crlandsc)
    mask_parts: str = "complex"  # "real": one gain per bin (BandIt option)
    mask_context: int = 0  # sum masked bins within +-this inside the band (magronp's mask_ctxt)
    output: str = "mask"  # "spectrum": the head's output is the estimate itself (Refined)
    overlap: str = "weights"  # of overlapping bands: the scheme's weights (BandIt), plain "sum",
    # or "mean" (Mel-RoFormer); disjoint bands do not care
    residual_last: bool = False  # last stem = mixture - the others, no head (magronp SIMO)
    zero_dc: bool = False  # silence bin 0 of the estimates (RoFormers)
    query: int = 0  # size of an embedding that conditions the masks by FiLM (Banquet 768)

    def __post_init__(self):
        object.__setattr__(self, "stems", tuple(self.stems))
        if isinstance(self.stft, dict):
            object.__setattr__(self, "stft", StftConfig(**self.stft))
        if not isinstance(self.scheme, str):  # a BandScheme or its dictionary
            text = self.scheme.to_json() if hasattr(self.scheme, "to_json") else self.scheme
            text = text if isinstance(text, str) else json.dumps(text)
            object.__setattr__(self, "scheme", text)
        for name, allowed in OPTIONS.items():
            choose(getattr(self, name), allowed, name)
        if not self.stems or len(set(self.stems)) != len(self.stems):
            raise UsageError(f"stems {self.stems}: name at least one, each once")
        if self.residual_last and len(self.stems) < 2:
            raise UsageError("residual_last needs at least two stems")
        if "frames" in (self.split_norm, self.mask_norm) and not self.frames:
            raise UsageError('norm "frames" needs the number of frames: set `frames`')
        if self.features < 1 or self.repeats < 0 or self.channels < 1:
            raise UsageError("features and channels must be at least 1, repeats at least 0")
        parts = {"heads": self.heads, "attention_heads": self.attention_heads or 1}
        if self.channel_handling == "shared":
            parts["channels"] = self.channels
        for name, count in parts.items():
            if self.features % count:
                raise UsageError(f"{self.features} features do not divide into {count} {name}")
        if self.tac and self.channel_handling != "independent":
            raise UsageError(
                'tac joins channels that are apart: set channel_handling "independent"'
            )

    @property
    def bands(self):
        """The BandScheme at this sample rate and n_fft."""
        return _bands(self.scheme, self.sample_rate, self.stft.n_fft)

    def units(self, axis: str = "time") -> int:
        """Hidden units of a layer along "time" or "band", in one direction, for one head."""
        hidden = self.hidden or 2 * self.features // self.heads
        return self.band_hidden or hidden if axis == "band" else hidden

    @property
    def mask_units(self) -> int:
        """Hidden units of a mask head."""
        return self.mask_hidden or 4 * self.features

    @property
    def joint_channels(self) -> int:
        """Channels that share the features of a band: 1 if they are separate batch items."""
        return 1 if self.channel_handling == "independent" else self.channels

    @property
    def chunk_samples(self) -> int:
        """The only input length of a network with "frames" norms, else 0."""
        return self.stft.hop * (self.frames - 1) if self.frames else 0


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
        "scheme": "v4", "stft": StftConfig(hop=1024), "features": 16, "repeats": 1, "hidden": 16,
        "mask_hidden": 10,
    }),
    "compact": ("paper", {
        "scheme": "v6", "stft": StftConfig(hop=1024), "features": 32, "repeats": 2, "hidden": 32,
        "mask_hidden": 64,
    }),
    "small": ("paper", {"features": 32, "repeats": 4, "mask_hidden": 64}),
    "magronp": ("paper", {
        "scheme": "v7-magronp", "features": 64, "repeats": 8, "mask_hidden_layers": 2,
    }),
    "magronp-large": ("magronp", {"features": 128, "repeats": 12}),
    "obsrnn": ("magronp-large", {"tac": "prelu", "attention_heads": 2}),
    "obsrnn-simo": ("obsrnn", {
        "scheme": "joint-magronp", "stems": ("vocals", "bass", "drums", "other"),
    }),
    "bscnn": ("magronp", {"scheme": "joint-magronp", "rnn": "dilated", "hidden": 64}),
    "amanteur": ("paper", {
        "channel_handling": "joint", "standardise": True, "split_norm": "frames",
        "mask_norm": "frames", "norm_groups": 0, "norm_eps": 1e-5, "frames": 263,
        "mask_bottleneck": True,
    }),
    "crlandsc": ("amanteur", {"mask_order": "scrambled"}),
    "refined": ("amanteur", {
        "stems": ("drums",), "channels": 1, "channel_handling": "independent", "frames": 87,
        "stft": StftConfig(window="hamming"), "features": 32, "hidden": 32, "output": "spectrum",
        "mask_bottleneck": False, "mask_width": "narrow-for-wide",
    }),
    "refined-24tet": ("refined", {"scheme": "tet24"}),
    "bandit": ("paper", {
        "stems": ("speech", "music", "effects"), "scheme": "musical64", "channels": 1,
        "stft": StftConfig(padding="constant", scale="window"), "rnn": "gru", "repeats": 8,
        "split_norm": "layer", "block_norm": "layer", "mask_norm": "layer", "norm_eps": 1e-5,
    }),
    "bandit-v7": ("bandit", {"scheme": "v7-bandit"}),
    "bandit-v2": ("bandit", {
        "stems": ("speech", "music", "sfx"), "sample_rate": 48000,
        "stft": StftConfig(scale="window"),
    }),
    "banquet": ("bandit", {
        "stems": ("target",), "channels": 2, "channel_handling": "joint", "query": 768,
        "stft": StftConfig(scale="window"),
    }),
    "bs-roformer": ("paper", {
        "scheme": "bs-roformer", "stft": StftConfig(hop=441), "channel_handling": "joint",
        "split_norm": "rms", "mask_norm": "none", "norm_eps": 1e-12, "rnn": "roformer",
        "features": 512, "last_norm": True, "zero_dc": True,
    }),
    "mel-roformer": ("bs-roformer", {
        "scheme": "mel-roformer60", "features": 384, "repeats": 6, "mask_hidden_layers": 2,
        "last_norm": False, "axis_norm": True, "overlap": "mean",
    }),
}  # fmt: skip


def presets() -> dict[str, ModelConfig]:
    """Named configurations. "tiny" (under 100 k parameters), "compact" (real music in 20 CPU
    minutes) and "small" learn on a CPU; "paper" is the BSRNN of Luo and Yu; the others are
    published networks at their published size. Change stems, scheme or anything else with
    dataclasses.replace.

    >>> replace(presets()["tiny"], stems=("drums",), scheme="drums").stems
    ('drums',)
    """
    found: dict[str, ModelConfig] = {}
    for name, (base, changes) in PRESETS.items():
        found[name] = replace(found[base], **changes) if base else ModelConfig(**changes)
    return found
