"""Separators: one band-split network for every publication, and its checkpoints.

config = presets()["tiny"].replace(stems=("drums",), features=32)
separator = build(config)                    # (B, C, L) -> (B, S, C, L)
save(separator, "drums.safetensors"); load("drums.safetensors")
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
