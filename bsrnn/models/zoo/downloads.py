"""Files from the network in the user's cache: whole, checked and resumed, or not there at all.

    fetch("https://.../model.ckpt", folder() / "model.ckpt")      # once; goes on where it stopped
    at_address("hf://owner/repository/model.ckpt")                # with the settings beside it

pooch keeps the cache and compares checksums; what it downloads with is `Resuming`.
"""

import contextlib
import hashlib
import json
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from safetensors import SafetensorError, safe_open

from bsrnn.common import DataError, UsageError, another_kind, file_name, write_text

SUFFIXES = (".ckpt", ".pt", ".pth", ".chpt", ".safetensors", ".h5")  # of checkpoint files
SETTINGS = ("{stem}.yaml", "config.yaml", "hparams.yaml")  # that may lie beside one
TRIES = 20  # that bring more, one after the other
_SUMS = {32: "md5", 40: "sha1", 64: "sha256"}  # digits of a checksum -> its kind


@dataclass(frozen=True)
class Record:
    """What is known of a file before it comes; a shorter checksum is the beginning of a SHA-256."""

    size_bytes: int = 0
    checksum: str = ""
    by_hand: str = "check the address and the network"


def folder() -> Path:
    """The cache for weights: $BSRNN_WEIGHTS, else the user's cache folder."""
    import pooch

    return Path(os.environ.get("BSRNN_WEIGHTS") or pooch.os_cache("bsrnn") / "weights")


def fetch(url: str, target: Path, record: Record = Record(), progress=True) -> Path:
    """The file of `url` at `target`, downloaded if it is not there.

    Raises DataError if there is no network, or what came is not what the record says.
    """
    import pooch
    from filelock import FileLock

    if target.is_file():
        return target
    kind = _SUMS.get(len(record.checksum))
    known = f"{kind}:{record.checksum}" if kind else None
    download = Resuming(target, record, progress)
    pooch.get_logger().setLevel("ERROR")  # it announces each download
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):  # another process may load the same
            pooch.retrieve(url, known, target.name, target.parent, downloader=download)
    except OSError as error:
        words = f"cannot write {target} ({error.strerror}): set BSRNN_WEIGHTS"
        raise UsageError(words) from None
    except UsageError:
        raise
    except ValueError:
        raise DataError(download.differs) from None
    return target


class Resuming:
    """A downloader for pooch that goes on where an earlier try, of this call or before, stopped."""

    def __init__(self, target: Path, record: Record, progress: bool):
        self.part = target.with_name(f"{target.name}.part")
        self.name, self.record, self.progress = target.name, record, progress
        self.told = record  # by the server; its own word where nothing was known
        self.differs = f"{self.name}: its checksum differs from the published: try again"

    def __call__(self, url, output_file, _):
        import requests
        from urllib3.exceptions import HTTPError

        for _ in range(TRIES):
            before = self.held
            try:
                self.attempt(url)
                break
            except (requests.RequestException, HTTPError) as error:
                if self.held <= before:
                    reason = f"cannot download {url} ({type(error).__name__})"
                    raise DataError(f"{reason}: {self.record.by_hand}") from None
        try:
            self.check()
        except DataError:
            self.part.unlink()
            raise
        os.replace(self.part, output_file)

    @property
    def held(self) -> int:
        """Bytes that are here."""
        return self.part.stat().st_size if self.part.exists() else 0

    def attempt(self, url) -> None:
        """Bytes of `url` behind those that are here."""
        import requests
        from tqdm.auto import tqdm

        done = self.held
        headers = {"Accept-Encoding": "identity"}
        headers |= {"Range": f"bytes={done}-"} if done else {}
        with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
            if answer.status_code == 416:  # nothing after the last byte: complete, or another file
                total = answer.headers.get("Content-Range", "").rpartition("/")[2]
                if total.isdecimal() and int(total) != done:
                    self.part.unlink()
                    self.attempt(url)
                return
            answer.raise_for_status()
            if "text/html" in answer.headers.get("Content-Type", ""):
                raise DataError(f"{url} is a web page, not the file: {self.record.by_hand}")
            self.listen([*answer.history, answer])
            done *= answer.status_code == 206  # else it comes from its beginning
            size = int(answer.headers.get("Content-Length", 0)) + done
            bar = {"total": size or None, "initial": done, "desc": self.name}
            bar |= {"unit": "B", "unit_scale": True, "disable": None if self.progress else True}
            with open(self.part, "ab" if done else "wb") as file, tqdm(**bar) as shown:
                while block := answer.raw.read1(1 << 16):  # what has come before it breaks off
                    file.write(block)
                    shown.update(len(block))

    def listen(self, answers) -> None:
        """Size and SHA-256 as the Hugging Face hub tells them, where no record does."""
        for answer in answers:
            digest = answer.headers.get("X-Linked-Etag", "").strip('"')
            if re.fullmatch(r"[0-9a-f]{64}", digest) and not self.record.checksum:
                self.told = Record(int(answer.headers.get("X-Linked-Size", 0)), digest)

    def check(self) -> None:
        """DataError if what is here is not the whole file, as told or as its own directory says."""
        expected, size, known = self.told.size_bytes, self.held, self.told.checksum
        if expected and size != expected:
            raise DataError(f"{self.name}: {size} bytes came, {expected} are published: try again")
        if len(known) not in (32, 40) and not sha256(self.part).startswith(known):
            raise DataError(self.differs)
        with open(self.part, "rb") as file:
            start = file.read(512)
        zipped = start.startswith(b"PK")
        whole = zipfile.is_zipfile(self.part) if zipped else True
        if self.name.endswith(".safetensors"):
            try:
                with safe_open(self.part, "pt"):
                    pass
            except SafetensorError:
                whole = False
        if not whole:
            raise DataError(f"{self.name} is incomplete: try again")
        if not zipped and (what := another_kind(start)):
            raise DataError(f"{self.name} {what}")


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- Doors ---------------------------------------------------------------------------------------


def is_address(text) -> bool:
    """True for http://, https:// and hf://."""
    return re.match(r"(https?|hf)://", str(text)) is not None


def url_of(text: str) -> str:
    """The URL of an address; hf://owner/repository[@revision]/file is one of the Hugging Face hub.

    >>> url_of("hf://me/models/vocals/a.ckpt")
    'https://huggingface.co/me/models/resolve/main/vocals/a.ckpt'
    """
    if not text.startswith("hf://"):
        return text
    parts = re.fullmatch(r"hf://([^/]+)/([^/@]+)(?:@([^/]+))?/(.+)", text)
    if parts is None:
        raise UsageError(f"{text}: write hf://owner/repository/file")
    owner, name, revision, path = parts.groups()
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    return f"{hub}/{owner}/{name}/resolve/{revision or 'main'}/{path}"


def place_of(url: str) -> Path:
    """Where the file of `url` lies in the cache."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    return folder() / "addresses" / digest / file_name(name)


def settings_at(text: str) -> Path:
    """The settings file of an address."""
    return fetch(url_of(text), place_of(url_of(text)))


def at_address(text: str, settings=True, check=lambda path: None) -> tuple[Path, dict]:
    """(checkpoint file, passport) of an address.

    settings: first look for a YAML file beside it, which `check` may refuse before the checkpoint
    comes. The passport holds address, size and SHA-256, recorded when the file came; a file that
    has another size now is refused.
    """
    url = url_of(text)
    target = place_of(url)
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{text}: name a file that ends in {', '.join(SUFFIXES)}")
    if settings and not target.is_file():
        _settings_beside(url, target, check)
    note = target.with_name(f"{target.name}.json")
    fetch(url, target)
    if not note.is_file():
        passport = {"url": url, "bytes": target.stat().st_size, "checksum": sha256(target)}
        write_text(note, json.dumps({**passport, "checksum_kind": "sha256"}))
    passport = json.loads(note.read_text(encoding="utf-8"))
    if target.stat().st_size != passport["bytes"]:
        raise DataError(f"{target}: not as it came: delete it and try again")
    return target, passport


def _settings_beside(url: str, target: Path, check) -> None:
    before, _, name = url.partition("?")[0].rpartition("/")
    for pattern in SETTINGS:
        beside = f"{before}/{pattern.format(stem=name.rpartition('.')[0])}"
        with contextlib.suppress(DataError):  # it is not there
            path = fetch(beside, target.with_suffix(".yaml"), progress=False)
            break
    else:
        return
    check(path)
