"""Run a separator over a dataset, song by song, beside the ladder of references. Lesson 09."""

import hashlib
import json
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import bsrnn
from bsrnn import audio
from bsrnn import metrics as metrics_room
from bsrnn.bands import gram_per_band
from bsrnn.common import DataError, Progress, UsageError, choose, file_name, write_text
from bsrnn.data.splits import digest
from bsrnn.evaluation import ladder as ladder_room
from bsrnn.evaluation.estimates import Estimates
from bsrnn.evaluation.leakage import from_gram
from bsrnn.evaluation.museval_bridge import museval_json
from bsrnn.evaluation.report import COLUMNS, GENERATED, TOY_NOTE, Report
from bsrnn.settings import read_json

log = logging.getLogger(__name__)
DEFAULT_LADDER = ("silence", "mixture", "gain", "ideal ratio mask")
MOST_SONGS = 4  # at a time by default: each takes its memory
DEFAULT_METRICS = ("usdr", "csdr", "si_sdr")


def evaluate(
    separator,
    dataset,
    stems=None,
    out_dir=None,
    progress: bool = True,
    ladder=DEFAULT_LADDER,
    metrics=DEFAULT_METRICS,
    frames: str = "joint",
    name: str = "model",
    separation=None,
    seed: int = 0,
    workers: int | None = None,
    scheme=None,
) -> Report:
    """Score `separator` on every song of `dataset`, beside the ladder of references.

    separator: what `bsrnn.separate` takes (`separation`: a dict of its options), a function
      (mixture (C, L), sample_rate) -> dict stem -> (C, L), a folder of stems that some system made
      (`Estimates`), or None for the ladder alone. `name` is what the table calls it.
    stems: default all that separator and dataset share. metrics: names of `metrics.KNOWN`. frames:
      rule of `metrics.csdr`. scheme: a BandScheme, for error and leakage in each band.
    ladder: names of `ladder.NAMES`. The rung "gain" is learnt on the training songs of `dataset`,
      else it is that of the separator's passport, else it is left out.
    out_dir: finished songs are kept there as JSON, so that an interrupted run continues; also
      report.csv, report.json, and museval/<system>/test/<song>.json in museval's format.
    workers: songs at a time, in threads, each with the memory of a song; by default one for a
      network, which has threads of its own, else up to four. The values do not depend on it.
    Raises UsageError, DataError of one line naming the song.

    >>> from bsrnn import data
    >>> songs = data.open("toy", "test", train=2, test=1, seconds=2.0)
    >>> list(evaluate(None, songs, progress=False).table().index)
    ['silence', 'mixture', 'gain', 'ideal ratio mask']
    """
    songs = list(dataset)
    _refuse(songs, ladder, metrics, name)
    if isinstance(separator, (str, Path)):
        separator = Estimates(separator, songs, stems)
    stems = _stems(separator, songs[0], stems)
    gains = _gains(dataset, separator, stems) if "gain" in ladder else None
    ladder = tuple(rung for rung in ladder if rung != "gain" or gains is not None)
    job = _Job(separator, name, stems, ladder, tuple(metrics), frames, separation, gains, scheme)
    protocol = _protocol(dataset, songs, job)
    model = _identity(job)
    store = _Store(out_dir, {"protocol": protocol, "model": model})
    if workers is None:
        read_only = separator is None or isinstance(separator, Estimates)
        workers = min(MOST_SONGS, os.cpu_count() or 1) if read_only else 1
    results = _all(job, store, songs, workers, progress)
    rows, bands, leakage = (
        pd.DataFrame([row for result in results for row in result.get(part, ())], columns=columns)
        for part, columns in COLUMNS.items()
    )
    report = Report(rows, _card(results, protocol, model, job, seed), bands, leakage)
    if out_dir is not None:
        report.save(out_dir)
    return report


def _refuse(songs, ladder, metrics, name) -> None:
    if not songs:
        raise DataError("the dataset has no songs: choose another subset")
    if len({song.name for song in songs}) < len(songs):
        raise DataError("two songs have the same name: evaluate one subset at a time")
    for rung in ladder:
        choose(rung, ladder_room.NAMES, "ladder rung")
    if name in ladder_room.NAMES:
        raise UsageError(f"the name {name!r} belongs to the ladder: call the system otherwise")
    for metric in metrics:
        choose(metric, metrics_room.KNOWN, "metric")


@dataclass(frozen=True)
class _Job:
    """What to do with one song."""

    separator: object
    name: str
    stems: tuple
    ladder: tuple
    metrics: tuple
    frames: str
    separation: dict | None
    gains: dict | None
    scheme: object

    def song(self, song) -> dict:
        """Rows, cSDR frames per system and stem, and seconds spent per system."""
        sources, rate = song.sources(), song.sample_rate
        mixture = sum(sources.values())
        references = {stem: sources[stem] for stem in self.stems}
        result = {"song": song.name, "subset": song.subset, "audio_seconds": song.duration_s}
        result |= {"seconds": {}, "rows": [], "frames": {}}
        separator = self.separator
        if isinstance(separator, Estimates):
            separator = separator.of(song)
        for system in (*self.ladder, *([self.name] if separator is not None else [])):
            started = time.perf_counter()
            made = estimates(
                separator, system, references, mixture, rate, self.separation, self.gains
            )
            result["seconds"][system] = time.perf_counter() - started
            if not made:  # HPSS of a song without drums
                continue
            wanted = dict.fromkeys((*self.metrics, "csdr"))  # its frames are museval's files
            rows, frames_db = metrics_room.score_frames(
                references, made, rate, wanted, self.frames, mixture
            )
            rows = [row for row in rows if row["metric"] in self.metrics]
            result["rows"] += [{"song": song.name, "system": system, **row} for row in rows]
            result["frames"][system] = {stem: row.tolist() for stem, row in frames_db.items()}
            if self.scheme is not None and system == self.name:
                result |= _details(song.name, sources, made, self.scheme)
        return result


def _details(song: str, sources: dict, estimates: dict, scheme) -> dict:
    """Energies of reference and error in each band, and what each estimate is made of."""
    named = [*sources.values(), *(estimates[stem] for stem in estimates)]
    within, outside = gram_per_band(scheme, np.stack(named))  # (K, S + E, S + E)
    leak = from_gram(within, outside, tuple(sources), tuple(estimates))
    bands, leakage = [], []
    for i, (stem, shares) in enumerate(zip(estimates, leak.shares, strict=True)):
        s, e = list(sources).index(stem), len(sources) + i
        error = within[:, s, s] - 2 * within[:, s, e] + within[:, e, e]  # (K,)
        bands += [
            {"song": song, "stem": stem, "band": k, "reference": float(within[k, s, s]),
             "error": float(max(error[k], 0.0))}
            for k in range(len(within))
        ]  # fmt: skip
        leakage += [
            {"song": song, "estimate": stem, "source": source, "share": float(share)}
            for source, share in zip((*sources, "rest"), shares, strict=True)
        ]
    return {"bands": bands, "leakage": leakage}


def _all(job, store, songs, workers: int, progress: bool) -> list:
    """Results of all songs in their order; those in the store are not made again."""
    from bsrnn.separation import evaluating

    def scored(song) -> dict:
        result = store.read(song)
        if result is None:
            try:
                result = job.song(song)
            except UsageError as error:
                raise type(error)(f"song {song.name!r}: {error}") from error
            store.write(song, result)
        return result

    if workers < 1:
        raise UsageError(f"{workers} workers: give at least 1")
    pool, results = ThreadPoolExecutor(workers), []
    bar = Progress(len(songs) if progress else 0, "evaluate", "song", log.info)
    try:
        with evaluating(job.separator):  # here: threads must not switch each other's mode
            for song, result in zip(songs, pool.map(scored, songs), strict=True):
                results.append(result)
                if progress:
                    bar.step(f"evaluated song {len(results)} of {len(songs)}: {song.name}")
            return results
    finally:
        bar.close()
        pool.shutdown(cancel_futures=True)


def estimates(
    separator, system, references, mixture, sample_rate, separation=None, gains=None
) -> dict:
    """What `evaluate` scores: stem -> (C, L) float32 of one system, a rung of the ladder or else
    `separator` (as `evaluate` takes it). references: stem -> (C, L); HPSS may lack stems."""
    if system in ladder_room.NAMES:
        return ladder_room.reference_estimates(system, references, mixture, gains)
    if not hasattr(separator, "stems"):
        made = separator(mixture, sample_rate)
    else:
        from bsrnn.separation import separate

        stems = list(references)
        made = separate(separator, mixture, sample_rate, stems=stems, **(separation or {}))
    missing = [stem for stem in references if stem not in made]
    if missing:
        raise UsageError(f"the separator returned no {', '.join(missing)}: pass stems=...")
    return {stem: audio.sound(made[stem], stem).astype(np.float32) for stem in references}


class _Store:
    """Finished songs as JSON in `out_dir`, bound to one protocol and one model."""

    def __init__(self, out_dir, identity):
        self.folder = None if out_dir is None else Path(out_dir)
        if self.folder is None:
            return
        path, text = self.folder / "evaluation.json", json.dumps(identity, indent=1)
        known = read_json(path) if path.exists() else {}
        for part, now in json.loads(text).items() if known else ():
            for key in now:
                if dict(known.get(part) or {}).get(key) != now[key]:
                    raise UsageError(
                        f"{self.folder} holds an evaluation with another {part} ({key}): "
                        "choose an empty out_dir"
                    )
        try:
            write_text(path, text)
        except OSError as error:
            raise DataError(
                f"cannot write to {self.folder} ({error.strerror}): choose another out_dir"
            ) from error

    def _path(self, song):
        return self.folder / "songs" / (song.subset or "test") / f"{file_name(song.name)}.json"

    def read(self, song):
        """The finished result of `song`, or None."""
        if self.folder is None or not self._path(song).exists():
            return None
        return read_json(self._path(song))

    def write(self, song, result) -> None:
        if self.folder is None:
            return
        for system, frames in result["frames"].items():
            path = self.folder / "museval" / system / "test"  # all that museval's readers look at
            write_text(path / f"{file_name(song.name)}.json", museval_json(frames))
        write_text(self._path(song), json.dumps(result))


def _stems(separator, song, stems) -> tuple:
    have = getattr(separator, "stems", None) or song.stems
    if stems is None:
        stems = [stem for stem in song.stems if stem in have]
        if not stems:
            raise UsageError(
                f"no stem in common: the separator gives {', '.join(have)}, "
                f"the songs have {', '.join(song.stems)}"
            )
    for stem in stems:
        choose(choose(stem, song.stems, "stem"), have, "stem of the separator")
    return tuple(stems)


def _gains(dataset, separator, stems) -> dict | None:
    """The constants of the rung "gain", None if nothing tells them."""
    training = getattr(dataset, "training", None)
    if training is not None:
        return ladder_room.learnt_gains(training)
    known = (getattr(separator, "passport", None) or {}).get("gain_per_stem", {})
    return known if set(stems) <= set(known) else None


def _protocol(dataset, songs, job) -> dict:
    names = "\n".join(
        f"{song.subset}/{song.name} {getattr(song, 'first', 0)} {song.duration_s:.4f}"
        for song in songs  # an excerpt is another test than the whole song
    )
    return {
        "rung": getattr(dataset, "rung", "folder"),
        "split_hash": getattr(dataset, "split_hash", ""),
        "subset": ", ".join(sorted({song.subset or "all" for song in songs})),
        "songs": len(songs),
        "songs_hash": digest(names, 16),
        "stems": list(job.stems),
        "sample_rate": songs[0].sample_rate,
        "metrics": {metric: metrics_room.KNOWN[metric] for metric in job.metrics},
        "frames": job.frames,
        "ladder": list(job.ladder),
        "aggregation": "median over songs, undefined values left out",
    }


def _identity(job) -> dict:
    """What tells one model from another: its weights if it has any, else its name in the code."""
    separator = job.separator
    kind = separator if isinstance(separator, type) or callable(separator) else type(separator)
    identity = {
        "name": job.name,
        "code": getattr(kind, "__qualname__", type(kind).__qualname__),
        "separation": job.separation or {},
        "passport": getattr(separator, "passport", None) or {},
    }
    if isinstance(separator, Estimates):
        identity["weights"] = separator.digest()
    if hasattr(separator, "state_dict"):
        weights = hashlib.sha256()
        for key, tensor in separator.state_dict().items():
            weights.update(key.encode())
            weights.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
        identity["weights"] = weights.hexdigest()[:16]
        identity["parameters"] = sum(p.numel() for p in separator.parameters())
    return identity if job.scheme is None else identity | {"scheme": job.scheme.name}


def _card(results, protocol, model, job, seed) -> dict:
    audio_s = sum(result["audio_seconds"] for result in results)
    systems = results[0]["seconds"]
    spent = {s: sum(result["seconds"].get(s, 0.0) for result in results) for s in systems}
    card = {
        "kind": "evaluation",
        "name": job.name,
        "note": TOY_NOTE if protocol["rung"] in GENERATED else "",
        "protocol": protocol,
        "model": model,
        "seed": seed,
        "version": bsrnn.__version__,
        "audio_seconds": audio_s,
        "seconds": sum(spent.values()),
        "seconds_per_minute": {s: 60 * value / audio_s for s, value in spent.items()},
    }
    return card if job.scheme is None else card | {"scheme": json.loads(job.scheme.to_json())}
