"""Separators: one band-split network for every publication, and its checkpoints.

config = dataclasses.replace(presets()["tiny"], stems=("drums",))
separator = BandSplitSeparator(config)       # (B, C, L) -> (B, S, C, L)
save(separator, "drums.safetensors"); load("drums.safetensors")
"""

from bsrnn.models.bandsplit import BandSplitSeparator, Estimate
from bsrnn.models.config import ModelConfig, presets
from bsrnn.models.optimised import PRECISIONS, optimised
from bsrnn.models.zoo.bag import SeparatorBag
from bsrnn.models.zoo.checkpoints import build, save
from bsrnn.models.zoo.d3net import D3NetSeparator
from bsrnn.models.zoo.d3net_config import D3NetConfig
from bsrnn.models.zoo.published import from_state_dict, load, to_published

__all__ = [
    "PRECISIONS", "BandSplitSeparator", "D3NetConfig", "D3NetSeparator", "Estimate", "ModelConfig",
    "SeparatorBag", "build", "from_state_dict", "load", "optimised", "presets", "save",
    "to_published",
]  # fmt: skip
