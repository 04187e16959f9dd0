"""The ladder of references: what silence, the mixture, a classical method and oracles score.

Rungs above a model know the answer. The rung "gain" is what a volume knob reaches: the mixture
times one constant per stem, learnt on the training songs. A network that does not beat it has
learnt a level. Lessons 03 and 07.
"""

import json

import numpy as np

from bsrnn.audio.stft import StftConfig
from bsrnn.common import UsageError, choose, write_text
from bsrnn.data import home
from bsrnn.data.splits import digest
from bsrnn.evaluation.masks import KINDS, oracle_estimates
from bsrnn.settings import read_json

ORACLE_STFT = StftConfig(4096, 1024)  # as in SiSEC 2018 (Stöter, Liutkus and Ito), 44.1 kHz
BELOW = ("silence", "mixture", "gain", "HPSS")
ABOVE = tuple(f"ideal {kind.replace('_', ' ')} mask" for kind in KINDS)
NAMES = (*BELOW, *ABOVE)
PERCUSSIVE = ("drums",)  # HPSS says nothing about any other stem


def reference_estimates(name: str, references: dict, mixture, gains: dict | None = None) -> dict:
    """Estimates stem -> (C, L) of one rung; HPSS gives drums only, "gain" the stems of `gains`
    (stem -> constant, of `learnt_gains`)."""
    choose(name, NAMES, "ladder rung")
    if name == "gain":
        if gains is None:
            raise UsageError("the rung gain needs gains: pass gains=learnt_gains(training songs)")
        return {stem: np.float32(gains[stem]) * mixture for stem in references if stem in gains}
    if name == "silence":
        return {stem: np.zeros_like(mixture) for stem in references}
    if name == "mixture":
        return dict.fromkeys(references, mixture)
    if name == "HPSS":
        return _hpss(references, mixture)
    kind = list(KINDS)[ABOVE.index(name)]
    stacked = np.stack(list(references.values()))  # S x (C, L) -> (S, C, L)
    return dict(zip(references, oracle_estimates(kind, stacked, ORACLE_STFT, mixture), strict=True))


def learnt_gains(songs) -> dict[str, float]:
    """stem -> the constant g that minimises the sum of (stem - g mixture)^2 over all `songs`.

    songs: a Dataset of training songs, read once; the result is kept in `data.home()`.

    >>> from bsrnn import data
    >>> gains = learnt_gains(data.open("toy", "train", train=2, test=1, seconds=2.0))
    >>> list(gains), round(sum(gains.values()), 6)  # stems sum to the mixture
    (['drums', 'bass', 'other', 'vocals'], 1.0)
    """
    root = getattr(songs, "root", None)  # without one nobody knows whether it is the same sound
    names = [f"{song.name} {getattr(song, 'first', 0)} {song.samples}" for song in songs]
    key = digest("\n".join([str(root), songs.split_hash, *songs.stems, *names]), 16)
    kept = home() / "gains" / f"{key}.json"
    if root and kept.exists():
        return read_json(kept)
    energy, cross = 0.0, dict.fromkeys(songs.stems, 0.0)
    for song in songs:
        sources = song.sources()
        mixture = sum(sources.values()).astype(np.float64)  # (C, L)
        energy += float(np.square(mixture).sum())
        for stem, source in sources.items():
            cross[stem] += float((source * mixture).sum())
    gains = {stem: product / energy if energy else 0.0 for stem, product in cross.items()}
    if root:
        write_text(kept, json.dumps(gains))
    return gains


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
