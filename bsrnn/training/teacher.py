"""Learning from songs without stems: a teacher labels them, a student trains on both (lesson 10).

Luo & Yu 2022 (arXiv 2209.15174), section IV: the trained model is the first teacher and the first
student. Where target or residual lies more than 30 dB below an unlabelled mixture, the other *is*
the mixture: a clean label, better than any estimate. Elsewhere the teacher's estimate is the label.
The student becomes the teacher whenever its validation improves.

    fit(None, presets()["finetune"], songs, out_dir, initial=base, unlabelled="~/more_songs")
"""

import copy
from pathlib import Path

import numpy as np
import torch

from bsrnn import audio
from bsrnn.common import DataError
from bsrnn.data import stems
from bsrnn.data.mixing import Pick
from bsrnn.settings import in_range

CLEAN_DB = 30.0
PSEUDO, CLEAN_RESIDUAL, CLEAN_TARGET = range(3)
_SILENT = 1e-10  # energy that stands for silence


def label(mixture, estimates):
    """Labels for mixtures (B, C, L) of which a teacher estimated stems (B, S, C, L).

    Returns targets (B, S, C, L) and kinds (B, S): PSEUDO, the estimate itself; CLEAN_RESIDUAL, the
    stem is silent: zeros; CLEAN_TARGET, there is nothing but the stem: the mixture.
    """
    whole = mixture[:, None].expand_as(estimates)  # (B, S, C, L)
    level = _energy_db(whole)  # (B, S)
    kinds = torch.full_like(level, PSEUDO, dtype=torch.long)
    kinds[level - _energy_db(whole - estimates) > CLEAN_DB] = CLEAN_TARGET
    kinds[level - _energy_db(estimates) > CLEAN_DB] = CLEAN_RESIDUAL
    chosen = kinds[:, :, None, None]  # (B, S, 1, 1)
    targets = torch.where(chosen == CLEAN_TARGET, whole, estimates)
    return torch.where(chosen == CLEAN_RESIDUAL, torch.zeros_like(targets), targets), kinds


def _energy_db(waveforms):
    """(B, S, C, L) -> (B, S)."""
    return 10 * torch.log10(waveforms.double().square().sum(dim=(-2, -1)) + _SILENT)


class Teacher:
    """A frozen copy of the best separator so far."""

    def __init__(self, separator):
        self.separator = copy.deepcopy(separator).eval().requires_grad_(False)

    def learn_from(self, student) -> None:
        self.separator.load_state_dict(student.state_dict())

    def complete(self, batch):
        """The targets of a batch (B, S, C, L), with labels where the example came without."""
        missing = batch["unlabelled"]  # (B,) bool
        if not missing.any():
            return batch["targets"]
        targets = batch["targets"].clone()
        mixture = batch["mixture"][missing]  # (B', C, L)
        with torch.no_grad():
            targets[missing], _ = label(mixture, self.separator(mixture))
        return targets


class HalfLabelled:
    """Examples of a RandomMixer, and a share of excerpts from songs without stems, whose targets
    are zeros until the teacher fills them in. As stateless as the mixer: example `index` is a
    function of seed and index."""

    def __init__(self, mixer, files, share: float = 0.5):
        """mixer: a RandomMixer; files: a folder of audio files, or their paths."""
        self.mixer, self.songs = mixer, mixer.songs
        self.share = in_range("share", share, 0.01, 0.99)
        self.rate = mixer.songs[0].sample_rate
        self.files = _usable(files, self.rate, mixer.samples)  # path -> samples

    def __getitem__(self, index: int) -> dict:
        pick = self._unlabelled(index)
        if pick is None:
            return self.mixer[index] | {"unlabelled": False}
        mixture = self._read(pick)  # (C, L)
        targets = np.zeros((len(self.mixer.targets), *mixture.shape), np.float32)
        return {"mixture": mixture, "targets": targets, "index": index, "unlabelled": True}

    def picks(self, index: int) -> list[Pick]:
        """As `RandomMixer.picks`; a single one of an example without stems."""
        pick = self._unlabelled(index)
        return self.mixer.picks(index) if pick is None else [pick]

    def blame(self, indices) -> str | None:
        """As `RandomMixer.blame`."""
        for index in map(int, indices):
            pick = self._unlabelled(index)
            if pick is not None and not np.isfinite(self._read(pick)).all():
                return self.describe(pick)
            if pick is None and (place := self.mixer.blame([index])):
                return place
        return None

    def describe(self, pick: Pick) -> str:
        """As `RandomMixer.describe`."""
        if pick.stem != "mixture":
            return self.mixer.describe(pick)
        return f"{list(self.files)[pick.song]}, from {pick.start / self.rate:.2f} s"

    def _unlabelled(self, index: int) -> Pick | None:
        index = index % self.mixer.distinct if self.mixer.distinct else index
        rng = np.random.default_rng([self.mixer.seed, index, 2])
        if rng.random() >= self.share:
            return None
        number = int(rng.integers(len(self.files)))
        samples = list(self.files.values())[number]
        start = int(rng.integers(samples - self.mixer.samples + 1))
        return Pick("mixture", number, start, 1.0, bool(rng.random() < 0.5))

    def _read(self, pick: Pick) -> np.ndarray:
        path = stems.seekable(list(self.files)[pick.song])
        waveform, _ = audio.read(path, pick.start, self.mixer.samples)
        waveform = audio.to_channels(waveform, self.songs[0].channels)  # (C, L)
        if self.mixer.channels == 1:
            waveform = waveform[int(pick.swap) % len(waveform)][None]  # one channel: (1, L)
        return waveform


def _usable(files, rate: int, samples: int) -> dict[Path, int]:
    """The files long enough for an example, and their lengths in samples."""
    if isinstance(files, (str, Path)):
        root = Path(files).expanduser()
        files = [path for path in sorted(root.rglob("*")) if path.suffix in audio.SUFFIXES]
        if not files:
            raise DataError(f"{root}: no audio files in it: give a folder of songs")
    usable = {}
    for path in files:
        info = audio.info(path)
        if info.sample_rate != rate:
            raise DataError(f"{path}: {info.sample_rate} Hz, not {rate}: resample it")
        if info.samples >= samples:
            usable[Path(path)] = info.samples
    if not usable:
        raise DataError(f"every unlabelled song is shorter than {samples / rate:.2f} s: add some")
    return usable
