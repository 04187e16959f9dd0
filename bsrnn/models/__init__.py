"""Separators: one band-split network for every publication, and its checkpoints.

config = dataclasses.replace(presets()["tiny"], stems=("drums",))
separator = BandSplitSeparator(config)       # (B, C, L) -> (B, S, C, L)
save(separator, "drums.safetensors"); load("drums.safetensors")
"""

from bsrnn.models.bandsplit import BandSplitSeparator, Estimate
from bsrnn.models.checkpoints import load, save
from bsrnn.models.config import ModelConfig, presets

__all__ = ["BandSplitSeparator", "Estimate", "ModelConfig", "load", "presets", "save"]
