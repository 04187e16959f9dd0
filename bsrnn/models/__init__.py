"""Separators: one band-split network for every publication, and its checkpoints.

config = dataclasses.replace(presets()["tiny"], stems=("drums",))
separator = BandSplitSeparator(config)       # (B, C, L) -> (B, S, C, L)
save(separator, "drums.safetensors"); load("drums.safetensors")
"""

from bsrnn.models.bandsplit import BandSplitSeparator, Estimate, SeparatorBag
from bsrnn.models.checkpoints import save
from bsrnn.models.config import ModelConfig, presets
from bsrnn.models.published import from_state_dict, load, to_published

__all__ = [
    "BandSplitSeparator", "Estimate", "ModelConfig", "SeparatorBag", "from_state_dict", "load",
    "presets", "save", "to_published",
]  # fmt: skip
