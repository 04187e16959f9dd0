"""The catalogue of published weights: their passports as data, and what `load` does with a name.

A passport says what the weights were trained on, whether they saw the test songs, and under which
licence the *weights* are (often another than the code's, often none). `heads` is the order of a
file's numbered outputs; `loads` what the name is good for: "name": `load(name)` downloads the file,
and `settings` hold what its shapes do not tell; "file": it must be got by hand; "reference": no
network here reads it. The table is `data/published/weights.csv`. Lesson 11.
"""

import csv
import os
import shutil
from pathlib import Path

import yaml

from bsrnn.common import ROOT, DataError, UsageError, choose
from bsrnn.models.zoo import downloads

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


def listing(licence: str | None = None, task: str | None = None) -> list[dict]:
    """Passports of weights that load by name: of one kind of licence ("permissive", "MIT" ...), of
    one task. A name that fits no row raises a UsageError with the nearest one."""
    rows = [row for row in passports().values() if row["loads"] == "name"]
    licences = {row["weight_licence"] for row in rows} - {""}
    if task is not None:
        choose(task, sorted({row["task"] for row in rows}), "task of published weights")
        rows = [row for row in rows if row["task"] == task]
    if licence is not None:
        choose(licence, [*LICENCES, *sorted(licences)], "licence of weights")
        wanted = LICENCES.get(licence, (licence,))
        rows = [row for row in rows if row["weight_licence"] in wanted]
    return rows


def lines(rows) -> list[str]:
    """Passports as a table of text, without address, checksum, source."""
    cells = [("weights", "task", "MB", "licence", "saw test", "score", "trained on")]
    for row in rows:
        size = f"{float(row['bytes']) / 1e6:.0f}" if row["bytes"] else ""
        score = f"{row['score_db']} dB {row['score_metric']} {row['score_stem']}"
        score += f", {row['score_test_set'] or '?'}"
        score = score if row["score_db"] else ""
        about = row["weight_licence"], row["saw_test"], score, row["training_data"]
        cells.append(tuple(cell or "?" for cell in (row["name"], row["task"], size, *about)))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    pairs = ([c.ljust(w) for c, w in zip(row, widths, strict=True)] for row in cells)
    return ["  ".join(padded).rstrip() for padded in pairs]


def card(name: str, passport: dict, stems=()) -> str:
    """A model card in Markdown: what is known of some weights, and in words what is not."""
    known = {key: value for key, value in passport.items() if value not in ("", None, {}, [])}
    stems = ", ".join(stems or known.get("stems", "").split(";"))
    licence = known.get("weight_licence") or known.get("licence_of_weights")
    saw = known.get("saw_test", "not known")
    rows = "\n".join(f"- {key.replace('_', ' ')}: {value}" for key, value in known.items())
    return f"""# {name}

Separates {stems or "what its settings say"}.

- licence of the weights: {licence or "not known: ask before use"}
- trained on: {known.get("training_data", "not known")}
- heard the test songs: {"yes: no score on them counts" if saw == "yes" else saw}

    python -m bsrnn separate song.mp3 --model {name}

## Passport

{rows}"""


# ---- From a name to a file -----------------------------------------------------------------------


def require(name: str) -> dict:
    """The passport of weights that load by name; a UsageError says what else can be done."""
    published = passports()
    choose(name, [*EMBEDDED, *published], "checkpoint file or published weights")
    known = published[name]
    if known["loads"] == "reference":
        raise UsageError(f"{name} is listed for reference only: {known['note'] or 'not built'}")
    if known["loads"] == "file":
        family = f" --family {known['family']}" if known["family"] else ""
        raise UsageError(
            f"{name} must be got by hand from {known['url']} ({known['note']}), then: "
            f"--model FILE{family}"
        )
    return known


def settings(known: dict) -> dict:
    """What `from_state_dict` needs beside the file: `settings`, which may lie at an address, and
    the stems; DataError where the publisher's order of heads is another than the catalogue's."""
    given, heads = known["settings"], known["heads"].split(";")
    if not downloads.is_address(given):
        given = yaml.safe_load(given) or {}
    else:
        from bsrnn.models.zoo.checkpoints import read_settings

        given = read_settings(downloads.fetch(given, _place(known, "settings.yaml")))
        named = [str(x).lower() for x in given.get("training", {}).get("instruments") or ()]
        if len(heads) > 1 and set(named) == set(heads) and named != heads:
            words = f"{known['name']}: its settings order its heads {named}, the catalogue {heads}"
            raise DataError(f"{words}: report it, and load the file by its path")
    stems = {"stems": heads} if heads[0] else {"expected_stems": known["stems"].split(";")}
    return {**given, **stems}


def address(known: dict) -> str:
    """Where the file itself lies."""
    url, file = known["url"], known["file"]
    if url.endswith(file):
        return url
    if "zenodo.org/records/" in url:
        return f"{url}/files/{file}"
    if "huggingface.co/" in url:
        return f"{url}/resolve/main/{file}"
    return f"{url.replace('/releases/tag/', '/releases/download/')}/{file}"


def _place(known: dict, file: str) -> Path:
    return downloads.folder() / known["name"] / file


def fetch(known: dict, progress: bool = True) -> Path:
    """The file, or for an archive the folder, of the weights with the passport `known`.

    Downloaded once and checked against the published size and checksum; a file put there by hand
    is taken as it is. Raises DataError if there is no network, or another file came.
    """
    target = _place(known, known["file"])
    checked = known["checksum_kind"].split()[:1] in (["md5"], ["sha1"], ["sha256"])
    record = downloads.Record(
        int(float(known["bytes"] or 0)),
        known["checksum"] if checked else "",
        f"get the file from {known['url']} and put it at {target}",
    )
    downloads.fetch(address(known), target, record, progress)
    if target.suffix != ".zip":
        return target
    unpacked = target.with_suffix("")
    if not unpacked.is_dir():
        _unpack(target, unpacked)
    return unpacked


def _unpack(archive: Path, target: Path) -> None:
    """The checkpoint files of a zip, all in one folder; whole or not at all."""
    import zipfile

    part = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        with zipfile.ZipFile(archive) as files:
            for entry in files.infolist():
                if entry.filename.endswith(downloads.SUFFIXES):
                    entry.filename = Path(entry.filename).name  # no folders: no way out
                    files.extract(entry, part)
        os.replace(part, target)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{archive}: cannot unpack it ({error}); delete it and try again") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
