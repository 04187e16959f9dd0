"""Named configurations: networks that learn on a CPU, and published ones at their published size.

The publications are those of `config`. Lessons 05, 06, 14.
"""

from bsrnn.models.blocks import AttentionConfig, DilatedBlock, RoformerBlock
from bsrnn.models.config import ModelConfig

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
