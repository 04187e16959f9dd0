"""The folder of a run: for this run alone, files whole or not at all (lesson 07).

All files of a checkpoint reach the disk first; then they take their places, the state last. So a
kill at any moment leaves the old state or the new one, and what another run left stays until the
first state of this one is whole.
"""

import contextlib
import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

import filelock
import torch
from safetensors import SafetensorError

from bsrnn.common import DataError, UsageError, synced, writable

BEST, LAST, STATE = "best.safetensors", "last.safetensors", "state.pt"
ORPHANS_S = 6  # workers of a process that was killed hold its lock until they notice, up to 5 s
FILES = (BEST, LAST, "history.csv", "card.json", "bad_batch.pt", STATE)


@dataclasses.dataclass
class RunFolder:
    """Where a run writes."""

    path: Path
    replaces: bool = False  # what is there belongs to another run and is not yet removed

    def write(self, writers: dict) -> None:
        """Call writers, file name -> function of a path; then put all files in their places."""
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.path) as new:
            for name, write in writers.items():
                with _named(self.path / name):
                    write(Path(new, name))
                    synced(Path(new, name))
            if self.replaces and STATE in writers:
                for name in reversed(FILES):  # the state goes first: it speaks of the others
                    (self.path / name).unlink(missing_ok=True)
                self.replaces = False
            for name in writers:
                os.replace(Path(new, name), self.path / name)

    def read_state(self) -> dict:
        """The content of state.pt."""
        with self.reading():
            return dict(torch.load(self.path / STATE, map_location="cpu", weights_only=True))

    @contextlib.contextmanager
    def reading(self):
        """Whatever a damaged or foreign state makes fail in here becomes one line."""
        try:
            yield
        except UsageError:
            raise
        except Exception as error:
            raise DataError(
                f"{self.path / STATE} is damaged or no state of a training: put a copy of it back, "
                "or begin anew with overwrite"
            ) from error


@contextlib.contextmanager
def claim(path, resume: bool = False, overwrite: bool = False, first: bool = True):
    """A RunFolder that no other training writes to meanwhile; nothing in it is removed yet.
    `first` is False for the further processes of the same run: they do not look."""
    path = writable(path, "another out_dir")
    if not first:
        yield RunFolder(path)
        return
    try:
        lock = filelock.FileLock(path / ".lock").acquire(timeout=ORPHANS_S)
    except filelock.Timeout:
        raise UsageError(f"another training writes to {path}: choose another out_dir") from None
    with lock:
        for stale in path.glob(".new-*"):  # of a process that was killed
            shutil.rmtree(stale, ignore_errors=True)
        _require_consent(path, resume, overwrite)
        yield RunFolder(path, replaces=not resume)


def _require_consent(path: Path, resume: bool, overwrite: bool) -> None:
    there = [name for name in FILES if (path / name).exists()]
    if resume and STATE not in there and not overwrite:
        raise UsageError(f"no {STATE} in {path} to resume: check the folder, or leave resume out")
    if there and not resume and not overwrite:
        raise UsageError(
            f"{path} holds a run ({there[0]}): go on with resume, replace it with overwrite, or "
            "choose another out_dir"
        )


@contextlib.contextmanager
def _named(path):
    """What a disk refuses becomes one line."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if "DataLoader worker" in str(error):
            raise  # its death interrupts whatever runs: the disk is sound, the loop names it
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        if isinstance(error, RuntimeError):  # torch.save's, which does not say why
            free = shutil.disk_usage(path.parent).free
            reason = f"only a part of it was taken; {free / 1e6:.0f} MB are free"
        raise DataError(
            f"cannot write {path} ({reason}): make room, then resume from the last state"
        ) from None
