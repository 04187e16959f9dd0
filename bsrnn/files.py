"""Folders that can be written to, files that are written whole or not at all."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from bsrnn.errors import UsageError


def writable(folder, name: str) -> Path:
    """`folder`, made if need be; UsageError, which says to choose another `name`, where nothing can
    be written. Processes may look at one folder at the same time: the file of each has no name."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(f"cannot write to {folder} ({error.strerror}): choose {name}") from None
    return Path(folder)


@contextlib.contextmanager
def whole(path):
    """A path beside `path` to write to; it takes the place of `path` when the block ends well.

    A reader or a kill meets the old file or the new one, never a half. Folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole(path) as part:
        part.write_bytes(text.encode())
