"""Published weights by name: their passports as data, and the download into the user's cache.

A passport says what the weights were trained on, whether they saw the test songs, and under which
licence the *weights* are (often another than the code's, often none). The table is
`data/published/weights.csv`; its rows and sources are the ledger's business. Lesson 11.

Two names mean small files of this repository, `data/checkpoints`: they work offline, and teach.
"""

import csv
import hashlib
import os
import shutil
from pathlib import Path

from bsrnn.common import ROOT, DataError, UsageError, choose

# What neither the file nor its shapes tell, by name: the family, or settings in its words.
_HOP_441, _HOP_512 = {"stft_hop_length": 441}, {"stft_hop_length": 512}
SETTINGS = {
    "bs-roformer-viperx-vocals": _HOP_441,
    "bs-roformer-viperx-other": _HOP_512,
    "bs-roformer-musdb-msst": _HOP_441,
    "bs-roformer-sw": _HOP_512,
    "bs-roformer-dereverb-anvuew": _HOP_512,
    "mel-roformer-viperx-vocals": _HOP_441,
    "mel-roformer-kim-vocals": _HOP_441,
    "bsrnn-amanteur-vocals-prefix": {"family": "crlandsc"},
    **{f"bsrnn-crlandsc-{stem}": {"family": "crlandsc"} for stem in ("vocals", "bass", "drums")},
    "bsrnn-crlandsc-other": {"family": "crlandsc"},
}

CHECKPOINTS = ROOT / "data" / "checkpoints"
EMBEDDED = {  # name -> stems
    "music": ("vocals", "drums", "bass", "other"),
    "scenes": ("speech", "music", "sfx"),
}


LICENCES = {  # kinds of licence that `listing` knows beside the names in the table
    "permissive": ("MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0"),
    "share-alike": ("GPL-3.0", "CC-BY-SA-4.0"),
    "non-commercial": ("CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"),
    "unknown": ("not stated", ""),
}


def embedded(name: str) -> Path:
    """The file of the embedded checkpoint `name`; DataError where this installation lacks it."""
    path = CHECKPOINTS / f"{name}.safetensors"
    if not path.is_file():
        raise DataError(
            f"the embedded model {name!r} is not here ({path}): install bsrnn again, or name a "
            "checkpoint file"
        )
    return path


def passports() -> dict[str, dict]:
    """name -> passport of every published set of weights; an empty string means unknown."""
    with open(ROOT / "data" / "published" / "weights.csv", newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def passport(name: str) -> dict:
    """The passport of the weights `name`; a UsageError names the nearest ones."""
    found = passports()
    choose(name, [*EMBEDDED, *found], "checkpoint file or published weights")
    return found[name]


def listing(licence: str | None = None, task: str | None = None) -> list[dict]:
    """Passports of one kind of licence of the weights ("permissive", "MIT" ...) and one task.

    A name that fits no row raises a UsageError with the nearest one.
    """
    rows = list(passports().values())
    if task is not None:
        choose(task, sorted({row["task"] for row in rows}), "task of published weights")
        rows = [row for row in rows if row["task"] == task]
    if licence is not None:
        known = [*LICENCES, *sorted({row["weight_licence"] for row in passports().values()} - {""})]
        choose(licence, known, "licence of weights")
        wanted = LICENCES.get(licence, (licence,))
        rows = [row for row in rows if row["weight_licence"] in wanted]
    return rows


def lines(rows) -> list[str]:
    """Passports as a table of text; `passport` has the rest: address, checksum, source."""
    head = ("weights", "task", "MB", "licence", "saw test", "score", "trained on")
    cells = [head]
    for row in rows:
        score = f"{row['score_db']} dB {row['score_metric']} {row['score_stem']}"
        cells.append((
            row["name"], row["task"], f"{float(row['bytes']) / 1e6:.0f}" if row["bytes"] else "?",
            row["weight_licence"] or "?", row["saw_test"] or "?",
            f"{score}, {row['score_test_set'] or '?'}" if row["score_db"] else "?",
            row["training_data"] or "?",
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    pairs = ([c.ljust(w) for c, w in zip(row, widths, strict=True)] for row in cells)
    return ["  ".join(padded).rstrip() for padded in pairs]


def settings(name: str) -> dict:
    """Settings for `from_state_dict` that the file of the weights `name` may not tell."""
    return {"expected_stems": passport(name)["stems"].split(";"), **SETTINGS.get(name, {})}


def address(known: dict) -> str | None:
    """Where the file itself lies, or None if only a page for people is known."""
    url, file = known["url"], known["file"]
    if not file or "<" in file:
        return None
    if "zenodo.org/records/" in url:
        return f"{url}/files/{file}"
    if "huggingface.co/" in url:
        return f"{url}/resolve/main/{file}"
    if "/releases/tag/" in url:
        return f"{url.replace('/releases/tag/', '/releases/download/')}/{file}"
    return url if url.endswith(file) else None


def folder() -> Path:
    """The cache for weights: $BSRNN_WEIGHTS, else the user's cache folder."""
    import pooch

    return Path(os.environ.get("BSRNN_WEIGHTS") or pooch.os_cache("bsrnn") / "weights")


def fetch(name: str, progress: bool = True) -> Path:
    """The file, or for an archive the folder, of the weights `name`; downloaded once.

    An interrupted download goes on where it stopped and is checked against the published checksum.
    A file put there by hand is taken as it is. Raises UsageError for an unknown name, DataError if
    there is no network, no direct address, or the checksum differs.
    """
    known = passport(name)
    target = folder() / name / (known["file"] or f"{name}.ckpt")
    if not target.is_file():
        url = address(known)
        by_hand = f"get the file from {known['url']} and put it at {target}"
        if url is None:
            raise DataError(f"{name} has no direct address: {by_hand}")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        _download(url, part, progress, by_hand)
        _verify(part, known)
        os.replace(part, target)
    if target.suffix != ".zip":
        return target
    unpacked = target.with_suffix("")
    if not unpacked.is_dir():
        _unpack(target, unpacked)
    return unpacked


def _download(url: str, part: Path, progress: bool, by_hand: str) -> None:
    """Bytes of `url` into `part`, from where an earlier try has stopped."""
    import requests
    from tqdm.auto import tqdm

    done = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
            if answer.status_code == 416:  # nothing after the last byte: complete
                return
            answer.raise_for_status()
            resumed = answer.status_code == 206
            size = int(answer.headers.get("Content-Length", 0)) + done * resumed
            with (
                open(part, "ab" if resumed else "wb") as file,
                tqdm(
                    total=size or None, initial=done * resumed, unit="B", unit_scale=True,
                    desc=part.stem, disable=None if progress else True,
                ) as bar,
            ):  # fmt: skip
                for block in answer.iter_content(1 << 20):
                    file.write(block)
                    bar.update(len(block))
    except requests.RequestException as error:
        raise DataError(f"cannot download {url} ({type(error).__name__}): {by_hand}") from None
    except OSError as error:
        raise UsageError(f"cannot write {part}: {error.strerror}; set BSRNN_WEIGHTS") from None


def _verify(path: Path, known: dict) -> None:
    """Compare with the published size and checksum (md5, sha256, or a beginning of sha256)."""
    kind = known["checksum_kind"].split()[0] if known["checksum_kind"] else ""
    wrong = known["bytes"] and path.stat().st_size != int(float(known["bytes"]))
    if not wrong and kind in ("md5", "sha256"):
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        wrong = not found.startswith(known["checksum"])
    if wrong:
        path.unlink()
        raise DataError(f"{known['name']}: size or checksum differ from the published: try again")


def _unpack(archive: Path, target: Path) -> None:
    """The checkpoint files of a zip, all in one folder; whole or not at all."""
    import zipfile

    from bsrnn.models.zoo.checkpoints import SUFFIXES

    temporary = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with zipfile.ZipFile(archive) as found:
            for member in found.namelist():
                if member.endswith(SUFFIXES):  # only the last part of its path: no way out
                    with (
                        found.open(member) as old,
                        open(temporary / Path(member).name, "wb") as new,
                    ):
                        shutil.copyfileobj(old, new)
        os.replace(temporary, target)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{archive}: cannot unpack it ({error}); delete it and try again") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
