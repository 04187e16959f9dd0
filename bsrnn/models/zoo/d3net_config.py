"""The settings of D3Net: what the published yaml files say, under names of this repository."""

from dataclasses import dataclass, field
from operator import mul

from bsrnn.audio.stft import StftConfig
from bsrnn.common import UsageError, choose
from bsrnn.models.blocks import group
from bsrnn.settings import Json


def _put(config, **values) -> None:
    """Values in their final form into a frozen dataclass that is being made."""
    for name, value in values.items():
        object.__setattr__(config, name, value)


@dataclass(frozen=True)
class StackConfig:
    """A ladder of 2 D + 1 D3 blocks: D down, one at the bottom, D up."""

    first: int  # channels of the 3x3 convolution before it
    growth: tuple[int, ...]  # channels that each D3 block returns
    layers: tuple[int, ...]  # convolutions in each D2 block: dilations 1, 2, 4 ...
    blocks: tuple[int, ...] = ()  # D2 blocks in each D3; the way up reads one place too early
    compression: tuple[float, ...] = ()  # channels kept by each upsampling, from place D on

    def __post_init__(self):
        count = len(self.growth)
        blocks, kept = self.blocks or (2,) * count, self.compression or (1.0,) * count
        _put(self, growth=tuple(self.growth), layers=tuple(self.layers))
        _put(self, blocks=tuple(blocks), compression=tuple(kept))
        if count % 2 == 0 or len(self.layers) != count or len(self.blocks) < count - self.depth:
            raise UsageError(f"growth {self.growth}, layers {self.layers}: equal, odd lengths")

    @property
    def depth(self) -> int:
        """Number D of halvings."""
        return len(self.growth) // 2


@dataclass(frozen=True)
class TargetConfig:
    """The network of one target; see `TARGETS` for the published ones."""

    edges: tuple[int, ...]  # first bin after each band; above the last one the mixture is kept
    bands: tuple[StackConfig, ...]  # one stack per band
    full: StackConfig  # and one for all of them together
    last_growth: int = 12  # of the D2 block that joins the stacks
    last_layers: int = 3
    patch: int = 256  # frames seen at a time when separating
    shift: int = 128  # frames from patch to patch

    def __post_init__(self):
        bands = tuple(group(StackConfig, stack) for stack in self.bands)
        full = group(StackConfig, self.full)
        _put(self, bands=bands, full=full, edges=tuple(self.edges))
        if len(self.edges) != len(self.bands):
            raise UsageError(f"{len(self.bands)} bands need as many edges, not {self.edges}")
        if self.patch % self.shift or self.patch % self.step:
            raise UsageError(f"patch {self.patch}: a multiple of shift {self.shift}, {self.step}")

    @property
    def step(self) -> int:
        """The number of frames must be a multiple of this."""
        return 2 ** max(stack.depth for stack in (*self.bands, self.full))


def _published(split, low, high_stages, full, patch=256) -> TargetConfig:
    """The parts that the four published configurations do not share."""
    high = StackConfig(8, (2,) * high_stages, (1,) * high_stages, (1,) * high_stages)
    bands = (StackConfig(32, *low), high)
    return TargetConfig((split, 1600), bands, StackConfig(32, *full), patch=patch, shift=patch // 2)


_GROWTH = (16, 18, 20, 22, 20, 18, 16)
_VOCALS = _published(
    256, (_GROWTH, (5, 5, 5, 5, 4, 4, 4)), 5,
    ((13, 14, 15, 16, 17, 16, 14, 12, 11), (4, 5, 6, 7, 8, 6, 5, 4, 4)),
)  # fmt: skip
TARGETS = {
    "vocals": _VOCALS,
    "drums": _published(
        128, (_GROWTH, (5, 5, 5, 4, 4, 4, 4)), 5,
        ((13, 14, 15, 16, 16, 16, 14, 12, 11), (4, 5, 6, 7, 8, 6, 6, 4, 4)),
    ),
    "bass": _published(
        192, ((16, 18, 18, 20, 18, 16, 16), (5, 5, 5, 5, 4, 4, 4)), 7,
        ((10, 10, 12, 14, 16, 14, 12, 8, 8), (4, 5, 6, 7, 8, 6, 6, 4, 4)), patch=384,
    ),
    "other": _VOCALS,
}  # fmt: skip
OVERLAPS = ("covered", "published")


@dataclass(frozen=True)
class D3NetConfig(Json):
    """A separator of one network per stem; the defaults are the published one.

    >>> config = D3NetConfig(stems=("drums",))
    >>> D3NetConfig.from_json(config.to_json()) == config
    True
    """

    stems: tuple[str, ...] = tuple(TARGETS)
    targets: tuple[TargetConfig, ...] = ()  # one for each stem; empty: the published ones
    stft: StftConfig = StftConfig(4096, 1024)  # while separating, zeros pad the ends as in librosa
    sample_rate: int = 44100
    channels: int = 2
    flip: bool = True  # average with the estimate for exchanged channels
    wiener: bool = True  # filter the targets jointly; one target alone is left as it is
    overlap: str = "covered"  # mean of the patches over a frame. "published" divides by patch/shift
    # also where fewer patches lie: the last frames fade when the frames do not fit the patches
    model: str = field(default="d3net", repr=False)  # so that its JSON tells which model it is of

    def __post_init__(self):
        stems = tuple(self.stems)
        targets = self.targets or [TARGETS[choose(s, TARGETS, "D3Net target")] for s in stems]
        targets = tuple(group(TargetConfig, target) for target in targets)
        _put(self, stems=stems, targets=targets, stft=group(StftConfig, self.stft))
        choose(self.overlap, OVERLAPS, "overlap")
        if not stems or len(set(stems)) < len(stems) or len(stems) != len(targets):
            raise UsageError(f"{len(targets)} targets for the stems {stems}: one each, each once")
        if self.channels not in (1, 2):
            raise UsageError(f"channels is {self.channels}: D3Net takes 1 or 2")

    @property
    def convolutions(self) -> int:
        """Of its D3 blocks: how large it is to build."""
        stacks = [stack for target in self.targets for stack in (*target.bands, target.full)]
        return sum(sum(map(mul, stack.layers, stack.blocks)) for stack in stacks)

    channel_handling = "joint"  # the network hears all channels at once
    joint_channels = property(lambda self: self.channels)
    chunk_samples = 0  # any length
    tac = None

    @classmethod
    def from_original(cls, settings: dict, stems) -> "D3NetConfig":
        """From the original's yaml, as a dictionary; the same network for each of `stems`."""
        lists = [settings[name] for name in _STACK_LISTS]
        full = [settings[name] for name in _FULL_LISTS]
        target = TargetConfig(
            (*settings["band_split_idxs"], settings["valid_signal_idx"]),
            tuple(StackConfig(*values) for values in zip(*lists, strict=True)),
            StackConfig(*full),
            settings["ttl_dens_k"],
            settings["ttl_num_layer_block"],
            settings["test_patch_len"],
            settings["out_shift"],
        )
        return cls(
            tuple(stems),
            (target,) * len(stems),
            StftConfig(settings["fft_size"], settings["hop_size"]),
            settings["fs"],
            settings["n_channels"],
        )


_STACK_LISTS = ("num_init_features", "dens_k", "num_layer_blocks", "b_n_blocks", "comp_rates")
_FULL_LISTS = ("f_num_init_features", "f_dens_k", "f_num_layer_block", "f_n_blocks", "f_comp_rates")
