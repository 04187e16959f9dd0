"""The ledger: every number has its source and protocol, and a faulty row is found by name."""

import csv
import shutil

import ledger_rules
import pytest

from bsrnn import ledger
from bsrnn.common import DataError, UsageError
from bsrnn.plots import ledger as figures


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(ledger.folder(), tmp_path / "published")


def change(path, row_number, **cells):
    """Overwrite cells of one row (row 2 follows the header) and return the file's name."""
    with open(path, newline="") as handle:
        rows = list(csv.DictReader(handle))
    rows[row_number - 2].update(cells)
    with open(path, "w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path.name


def test_the_ledger_is_sound_and_every_row_has_its_source():
    assert ledger_rules.faults() == []
    tables = [ledger.results(), ledger.weights(), ledger.complexity(), ledger.own_runs()]
    assert len(tables[0]) > 600 and len(tables[1]) > 70 and len(tables[2]) == 15
    for table in tables:
        assert not table["source"].str.strip().eq("").any()


@pytest.mark.parametrize(
    "file, row, cells, words",
    [
        ("bsrnn_paper", 3, {"source": " "}, "no source"),
        ("weights", 5, {"source": ""}, "no source"),
        ("complexity", 2, {"source": ""}, "no source"),
        ("d3net", 4, {"metric": "SDR"}, "unknown metric 'SDR'"),
        ("d3net", 4, {"test_set": "MUSDB"}, "unknown test_set"),
        ("dnr", 2, {"value_db": "15,64"}, "not a number"),
        ("dnr", 2, {"value_db": "nan"}, "not a number"),
        ("bsrnn_paper", 2, {"value_db": "10.44"}, "average 7.94 but its stems give"),
        ("musdb18_table", 6, {"note": "second-hand"}, "average 9.2 but its stems give"),
        ("bsrnn_paper", 2, {"aggregation": "median over songs"}, "mixed protocol: aggregation"),
        ("obsrnn", 3, {"stem": "vocals"}, "stands twice"),
        ("weights", 3, {"name": "obsrnn"}, "name stands twice"),
        ("weights", 2, {"checksum_kind": ""}, "belong together"),
        ("weights", 2, {"saw_test": "maybe"}, "unknown saw_test"),
    ],
)
def test_a_falsified_row_is_named(copy, file, row, cells, words):
    name = change(copy / f"{file}.csv", row, **cells)
    (fault,) = ledger_rules.faults(copy)
    assert fault.startswith(f"{name} row ") and words in fault


def test_weights_keep_the_name_of_their_file():
    table = ledger.weights(name="obsrnn")
    assert list(table["file"]) == ["bsrnn-opt.zip"]
    assert set(ledger.results(system="BSRNN")["file"]) >= {"bsrnn_paper"}


def test_a_package_without_its_ledger_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "ROOT", tmp_path)
    with pytest.raises(DataError, match="no ledger at .*: install bsrnn again"):
        ledger.folder()


def test_broken_files_are_one_line(copy):
    with open(copy / "dnr.csv", "a") as handle:
        handle.write("BandIt,too,short\n")
    assert ledger_rules.faults(copy) == ["dnr.csv row 17: 3 cells, not 15"]
    (copy / "dnr.csv").write_text("system,value\nBandIt,1\n")
    assert "dnr.csv row 1: columns must be system,setting" in ledger_rules.faults(copy)[0]


def test_the_paper_s_numbers():
    """The values that the issue and the lessons quote (Luo and Yu 2022; magronp/bsrnn)."""

    def average(**filters):
        return ledger.results(stem="average", test_set="MUSDB18-HQ test", **filters)["value_db"]

    assert list(average(system="BSRNN", metric="csdr")) == [8.24]
    assert list(average(system="BSRNN", metric="usdr")) == [7.94]
    assert list(average(system="oBSRNN-SIMO", metric="csdr")) == [9.79]
    schemes = ledger.results(file="bsrnn_paper_ablation")["value_db"]
    assert list(schemes[:7]) == [8.15, 8.21, 8.06, 9.51, 9.57, 9.78, 10.04]
    table = ledger.results(file="musdb18_table")
    assert table["system"].nunique() == 25
    assert table["note"].str.contains(ledger_rules.UNEQUAL_AVERAGE).sum() == 4


def test_leaderboard_refuses_mixtures():
    board = ledger.leaderboard("csdr", "MUSDB18-HQ test")
    told = board[board["extra_data"] != ""]
    assert list(told.index) == list(range(len(told))), "unknown training data leads no board"
    assert told["value_db"].is_monotonic_decreasing and board["second_hand"].any()
    assert "Moises-Light" not in set(told["system"]) and "Moises-Light" in set(board["system"])
    with pytest.raises(UsageError, match="mix metric: 'usdr' .* and 'csdr'"):
        ledger.leaderboard(test_set="MUSDB18-HQ test")
    with pytest.raises(UsageError, match="mix metric"):
        ledger.leaderboard(["csdr", "usdr"], "MUSDB18-HQ test")
    with pytest.raises(UsageError, match="mix test_set"):
        ledger.leaderboard("csdr")
    with pytest.raises(UsageError, match="mix aggregation: .*'not stated'"):
        ledger.leaderboard("csdr", "MUSDB18-HQ test", stem="vocals")
    with pytest.raises(UsageError, match="mix stem"):
        ledger.leaderboard("csdr", "MUSDB18-HQ test", stem=None, system="oBSRNN")


def test_scores_in_file_names_were_chosen_on_the_test_songs():
    rows = ledger.results(test_set="MUSDB18-HQ test", metric="usdr", stem="average")
    community = rows[rows["system"].str.contains("(community)", regex=False)]
    assert len(community) == 7 and (community["selected_on_test"] == "yes").all()


def test_filters_name_the_nearest():
    with pytest.raises(UsageError, match="did you mean .*oBSRNN"):
        ledger.results(system="oBSRN")
    with pytest.raises(UsageError, match="unknown column"):
        ledger.weights(licence="MIT")
    assert set(ledger.results(stem=["bass", "drums"])["stem"]) == {"bass", "drums"}
    assert list(ledger.weights(saw_test="yes")["name"]) == ["hdemucs-musdb-plus"]


def test_figures_are_drawn_small_and_described(tmp_path):
    paths = figures.save_published(tmp_path)
    assert len(paths) == 3
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size < 150_000
    with pytest.raises(UsageError, match="rows mix metric"):
        figures.sdr_over_years(ledger.results(stem="average"))
