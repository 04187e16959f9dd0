"""Files are written whole or not at all, whoever writes them."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from bsrnn.common import UsageError, whole, writable, write_text


def test_a_file_is_replaced_at_the_end_and_only_then(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "old ü\n")
    with whole(path) as part:
        part.write_text("new")
        assert path.read_bytes() == "old ü\n".encode() and part.parent == path.parent
    assert path.read_text() == "new" and os.listdir(path.parent) == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), whole(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_two_writers_of_one_process_do_not_meet(tmp_path):
    with whole(tmp_path / "a") as one, whole(tmp_path / "a") as two:
        one.write_text("1")
        two.write_text("2")
    assert (tmp_path / "a").read_text() == "1"


def test_processes_that_look_at_one_folder_do_not_meet(tmp_path):
    """Of a run with several: whoever comes second must not find the first one's probe gone."""
    folder = tmp_path / "run"
    with ThreadPoolExecutor(4) as pool:
        looks = pool.map(lambda _: writable(folder, "another"), range(1600))
        assert set(looks) == {folder}
    assert not os.listdir(folder)


def test_a_folder_that_cannot_be_written_names_the_fix(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"cannot write to .*run \(.*\): choose --out"):
        writable(tmp_path / "file" / "run", "--out")
