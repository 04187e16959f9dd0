"""The ladder of references: what silence, the mixture, a classical method and oracles score.

No SDR stands alone: 3 dB mean nothing until one knows that the mixture has -6 and an ideal mask 8.
Rungs below the model need no training; rungs above it know the answer. Lesson 03.
"""

import numpy as np

from bsrnn.audio.stft import StftConfig
from bsrnn.common import choose
from bsrnn.evaluation.masks import KINDS, oracle_estimates

ORACLE_STFT = StftConfig(4096, 1024)  # as in SiSEC 2018 (Stöter, Liutkus and Ito), 44.1 kHz
BELOW = ("silence", "mixture", "HPSS")
ABOVE = tuple(f"ideal {kind.replace('_', ' ')} mask" for kind in KINDS)
NAMES = (*BELOW, *ABOVE)
PERCUSSIVE = ("drums",)  # HPSS says nothing about any other stem


def reference_estimates(name: str, references: dict, mixture) -> dict:
    """Estimates stem -> (C, L) of one rung; HPSS gives drums only, and nothing without drums."""
    choose(name, NAMES, "ladder rung")
    if name == "silence":
        return {stem: np.zeros_like(mixture) for stem in references}
    if name == "mixture":
        return dict.fromkeys(references, mixture)
    if name == "HPSS":
        return _hpss(references, mixture)
    kind = list(KINDS)[ABOVE.index(name)]
    stacked = np.stack(list(references.values()))  # S x (C, L) -> (S, C, L)
    return dict(zip(references, oracle_estimates(kind, stacked, ORACLE_STFT, mixture), strict=True))


def _hpss(references, mixture):
    """Percussive part by median filtering (Fitzgerald 2010, DAFx), librosa's defaults."""
    stems = [stem for stem in references if stem in PERCUSSIVE]
    if not stems:
        return {}
    import librosa

    percussive = librosa.effects.percussive(mixture)
    return dict.fromkeys(stems, percussive.astype(np.float32))


def in_order(systems) -> list:
    """Systems sorted as a ladder: rungs below, then models as given, then oracles."""
    systems = list(systems)
    models = [name for name in systems if name not in NAMES]
    return [s for s in (*BELOW, *models, *ABOVE) if s in systems]
