"""A data set that can be used whole, made of one with odd songs: padded, resampled, converted.

What is fine is linked (copied where a file system cannot link). Lesson 01.
"""

import contextlib
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np

from bsrnn import audio
from bsrnn.common import DataError, choose, file_name, vacant, whole
from bsrnn.data import layouts
from bsrnn.data.layouts import MIXTURE
from bsrnn.data.stems import MISSING, ORDERS

SEEKABLE = (".wav", ".flac")


def repair(root, out, missing: str = "leave out"):
    """Write the songs of `root` into the new folder `out` as `[subset/]<song>/<stem>.wav`, all at
    the rate that most have, stems of one song as long as the longest; a kill leaves whole songs.

    missing: as in `bsrnn.data.open`. Returns a pandas frame: song, file, action. Raises UsageError
    (`out` is there already), DataError (nothing to repair).
    """
    import pandas as pd

    root, out = Path(root).expanduser(), vacant(out)
    choose(missing, MISSING, "rule for missing stems")
    inventory = layouts.inventory(root)
    stems, _ = layouts.common_stems(inventory.songs, ORDERS)
    if not stems:
        raise DataError(f"{root}: no songs with stems found: check the folder")
    infos = [_infos(song, stems) for song in inventory.songs]
    rates = Counter(info.sample_rate for known in infos for info in known.values() if info)
    rate = max(rates, key=rates.get)
    rows = [("", what, f"not used: {why}") for what, why in inventory.unused]
    for song, known in zip(inventory.songs, infos, strict=True):
        rows += [(song.name, *row) for row in _song(song, known, stems, rate, out, missing)]
    return pd.DataFrame(rows, columns=["song", "file", "action"])


def _infos(song: layouts.Found, stems) -> dict:
    """stem -> AudioInfo, or None for a file that cannot be read."""
    result = dict.fromkeys(stem for stem in (*stems, MIXTURE) if stem in song.files)
    for stem in result:
        with contextlib.suppress(DataError):
            result[stem] = audio.info(*song.files[stem])
    return result


def _song(song: layouts.Found, infos: dict, stems, rate: int, out: Path, missing: str):
    """Write one song, whole or not at all; rows (file, action)."""
    absent = [stem for stem in stems if not infos.get(stem)]
    there = {stem: info for stem, info in infos.items() if info}
    if not set(there) - {MIXTURE} or (absent and missing == "leave out"):
        return [("", f"left out: {', '.join(absent)} missing or damaged")]
    lengths = {s: round(i.samples * rate / i.sample_rate) for s, i in there.items() if s != MIXTURE}
    length, rows = max(lengths.values()), []
    with whole(out / song.subset / file_name(song.name)) as part:
        part.mkdir()
        for stem, info in there.items():
            rows.append(_file(song.files[stem], info, stem, rate, length, part))
        for stem in absent:
            audio.write(part / f"{stem}.wav", np.zeros((1, length), np.float32), rate)
            rows.append((f"{stem}.wav", "missing: written as silence"))
    return rows


def _file(source, info, stem: str, rate: int, length: int, folder: Path) -> tuple[str, str]:
    """Link or write one file of a song; (its name, what was done)."""
    path, stream = source
    suffix = path.suffix.lower()
    if (info.sample_rate, info.samples, stream) == (rate, length, 0) and suffix in SEEKABLE:
        target = folder / f"{stem}{suffix}"
        try:
            os.link(path, target)
        except OSError:  # another disk, or a file system without links
            shutil.copy2(path, target)
        return target.name, "linked"
    waveform, _ = audio.read(path, stream=stream)  # (C, L)
    actions = [] if suffix in SEEKABLE else [f"converted from {suffix}"]
    if info.sample_rate != rate:
        waveform = audio.resample(waveform, info.sample_rate, rate)
        actions.append(f"resampled from {info.sample_rate} Hz")
    difference = length - waveform.shape[1]
    if difference:
        actions.append(f"padded by {difference} samples" if difference > 0 else "cut at the end")
        waveform = np.pad(waveform[:, :length], ((0, 0), (0, max(difference, 0))))
    subtype = "PCM_24" if np.abs(waveform).max(initial=0) < 1 else "FLOAT"
    audio.write(folder / f"{stem}.wav", waveform, rate, subtype)
    return f"{stem}.wav", ", ".join(actions) or "converted"
