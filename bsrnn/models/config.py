"""ModelConfig: the settings that make one band-split network out of the one definition.

A published architecture is a row of `presets()`; every field says who uses which value. What a
block does stands in a small dataclass for each kind of block (`blocks`).

Abbreviations: BSRNN = Luo and Yu 2022 (arXiv 2209.15174); magronp = github magronp/bsrnn;
amanteur, crlandsc = github amanteur/BandSplitRNN-Pytorch and its fork; Refined = github
sahandevs/Refined-BSRNN; BandIt = Watcharasupat et al. 2024 (arXiv 2309.02539), BandIt v2 and
Banquet its successors; BS-/Mel-RoFormer = Lu et al. 2023 (arXiv 2309.02612), Wang et al. 2023
(arXiv 2310.01809) in the checkpoint-compatible open code. Lessons 05, 06, 14.
"""

import dataclasses
import json
import textwrap
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from bsrnn.audio.formats import RATES_HZ
from bsrnn.audio.stft import StftConfig
from bsrnn.common import UsageError, choose
from bsrnn.models.blocks import (
    AttentionConfig,
    Few,
    Layers,
    MaskConfig,
    MixedBlock,
    RNNBlock,
    SplitConfig,
    TacConfig,
    group,
    read_block,
)
from bsrnn.settings import changed, checked, from_json

LONGEST_S = 600  # of sound in the only input that a network with "frames" norms takes


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
    sample_rate: Annotated[int, RATES_HZ] = 44100  # Hz; BandIt v2: 48000
    channels: Few = 2  # of the audio it was made for; "independent" networks take any number
    stft: StftConfig = StftConfig()

    # How channels meet. "independent": each its own batch item (BSRNN, magronp, BandIt);
    # "joint": all in the features of a band (amanteur, crlandsc, Banquet, RoFormers, magronp's
    # naive stereo); "shared": normalised together, then one projection used for each channel
    # (BandIt's treat_channel_as_feature: False).
    channel_handling: Literal["independent", "joint", "shared"] = "independent"

    features: int = 128  # N
    repeats: Few = 12  # R blocks
    norm_eps: float = 1e-7  # magronp; 1e-5 in all others; quiet input shows the difference
    frames: int | None = None  # T of "frames" norms (amanteur 263, Refined 87); None: any length
    split: SplitConfig = SplitConfig()
    block: Layers | MixedBlock = RNNBlock()
    tac: TacConfig | None = None  # in every block, after its layers
    attention: AttentionConfig | None = None
    mask: MaskConfig = MaskConfig()
    residual_last: bool = False  # last stem = mixture - the others, no head (magronp SIMO)
    query: int | None = None  # size of an embedding that conditions the masks (Banquet 768)
    film: Literal["gain", "offset"] | None = None  # what it gives alone; None: both

    first = "block"  # where a name that several groups have is looked for
    optional = {"tac": TacConfig, "attention": AttentionConfig}
    sizes = ("hidden", "norm_groups")  # settings that are numbers or texts

    def __post_init__(self):
        scheme, stems = self.scheme, self.stems
        if hasattr(scheme, "to_json"):  # a BandScheme, or its dictionary
            scheme = scheme.to_json()
        made = {
            "stems": tuple(stems) if isinstance(stems, list) else stems,
            "scheme": json.dumps(scheme) if isinstance(scheme, dict) else scheme,
            "block": read_block(self.block),
        }
        groups = {"stft": StftConfig, "split": SplitConfig, "mask": MaskConfig, **self.optional}
        made |= {name: group(kind, getattr(self, name)) for name, kind in groups.items()}
        for name, value in made.items():
            object.__setattr__(self, name, value)
        checked(self)
        for wrong, words in self._faults():
            if wrong:
                raise UsageError(words)

    def _faults(self):
        """(whether it is so, what is wrong) of settings that do not go together."""
        stems, frames, features = self.stems, self.frames, self.features
        twice = not stems or len(set(stems)) != len(stems)
        yield twice, f"stems {stems}: name at least one, each once"
        dotted = not all(stems) or any("." in stem for stem in stems)
        yield dotted, f"stems {stems}: give names without a dot"
        yield self.residual_last and len(stems) < 2, "residual_last needs at least two stems"
        fixed = "frames" in (self.split.norm, self.mask.norm)
        yield fixed and not frames, 'norm "frames" needs the number of frames: set `frames`'
        small = features < 1 or self.repeats < 0 or self.channels < 1
        yield small, "features and channels must be at least 1, repeats at least 0"
        long = self.chunk_samples > LONGEST_S * self.sample_rate
        yield long, f"{frames} frames are more than {LONGEST_S} s: give fewer"
        shared = self.channel_handling == "shared"
        parts = {
            "heads": self.block.time.heads,
            "attention_heads": self.attention.heads if self.attention else 1,
            "channels": self.channels if shared else 1,
        }
        for name, count in parts.items():
            yield features % count, f"{features} features do not divide into {count} {name}"
        apart = self.channel_handling == "independent"
        words = 'tac joins channels that are apart: set channel_handling "independent"'
        yield self.tac and not apart, words

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
        """Inverse of to_json, also for flat files of before; UsageError for an unknown field."""
        values = from_json(text, cls.__name__)
        known = [field.name for field in dataclasses.fields(cls)]
        try:
            if not {"split", "block", "mask"} & set(values) and set(values) - set(known):
                from bsrnn.models.zoo.older import nested

                values = nested(values)
            for name in values:
                choose(name, known, "field of ModelConfig")
            return cls(**values)
        except UsageError:
            raise
        except Exception as error:  # whatever the values of a stranger's file make of it
            what = f"{type(error).__name__}: {error}"
            raise UsageError(f"damaged settings of a model ({what}): write them anew") from error

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
