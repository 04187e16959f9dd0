"""BandIt's complexity table: 13 rows exactly, the other two built and counted, measuring."""

import csv

import pandas as pd
import pytest
import torch

from bsrnn import cli, complexity, ledger
from bsrnn.models.cost import counted


@pytest.fixture(scope="module")
def rows():
    return complexity.table()


def test_thirteen_rows_equal_the_published_counts_to_the_integer(rows):
    published = ledger.complexity()
    exact = published["macs_6s"].notna()
    assert len(rows) == 15 and exact.sum() == 13
    ours = [(int(r.parameters), int(r.macs)) for r in rows[exact].itertuples()]
    theirs = [(int(r.parameters), int(r.macs_6s)) for r in published[exact].itertuples()]
    assert ours == theirs
    for row in rows[exact].itertuples():  # as printed, with one digit
        assert f"{row.parameters / 1e6:.1f}" == f"{row.published_parameters_m:.1f}"
        assert f"{row.macs / 1e9:.1f}" == f"{row.published_gmac_6s:.1f}"


def test_the_other_two_are_counted_in_the_built_network(rows):
    two = rows.set_index("model").loc[["Hybrid Demucs", "Open-Unmix"]]
    assert list(two["parameters"]) == [83_632_441, 22_103_058]
    built = complexity.separator("Open-Unmix", "", 3)
    assert sum(p.numel() for p in built.parameters()) == two.loc["Open-Unmix", "parameters"]
    assert round(two.loc["Open-Unmix", "macs"] / 1e9, 1) == 5.7
    hybrid = two.loc["Hybrid Demucs", "macs"] / 1e9
    assert 59 < hybrid < 60
    assert 84.5 < hybrid + more_at_the_output() < 85.1  # printed 85.0, with biases and norms


def more_at_the_output():
    """GMAC that Hybrid Demucs has more if a transposed convolution counts at its output size."""
    more = []

    def add(layer, given, made):
        more.append(layer.weight.numel() * (made[0, 0].numel() - given[0][0, 0].numel()))

    with torch.device("meta"):
        network = complexity.separator("Hybrid Demucs", "")
    for layer in network.modules():
        if isinstance(layer, (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d)):
            layer.register_forward_hook(add)
    counted(network, 6.0)
    return sum(more) / 1e9


def test_six_quantities_stand_beside_the_published_ones():
    both = complexity.compared()
    assert list(both.columns.get_level_values(0)[::2]) == [
        "parameters (M)", "MACs (G)", "peak memory (MB)", "batches/s, CPU", "batches/s, GPU",
        "speedup",
    ]  # fmt: skip
    apart = both["parameters (M)"]["ours"] - both["parameters (M)"]["published"]
    assert len(both) == 15 and apart.abs().max() < 0.0501
    assert both.loc["BandIt Bark 48", ("speedup", "published")] == pytest.approx(26.2, abs=0.05)
    speed = both["batches/s, CPU"]["ours"]
    assert (speed > 0).all() and speed.idxmax() == "Open-Unmix"
    for measured_on in both.attrs.values():
        assert all(measured_on.values())


def test_measuring_one_row_gives_speed_memory_and_peak(rows):
    one = rows[rows["model"] == "Open-Unmix"]
    one = pd.concat([one, one])  # the second must not profit from what the first has freed
    both = complexity.measured(one, seconds=3.0, repeats=1)
    assert "of_peak" in complexity.text(both)
    first, second = both["memory_mb"]
    assert first != first or (first > 5 and 0.5 < second / first < 2)  # NaN: not told
    found = both.iloc[0]
    assert found["chunks_per_s"] == pytest.approx(1 / found["median_s"])
    assert found["gflops"] > 0 and 0 < found["of_peak"] < 10 and found["input_s"] == 3
    made = complexity.separator("Open-Unmix", "", 3)
    assert made(torch.zeros(1, 1, 9000)).shape == (1, 3, 1, 9000)


def test_command_prints_the_table_and_writes_the_file(capsys, tmp_path):
    path = tmp_path / "new" / "table.csv"
    assert cli.main(["cost", "--table", "--out", str(path)]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert len(lines) == 17 and "15,767,432" in lines[1] and "kwatcharasupat" in lines[-1]
    with open(path, newline="") as file:
        (first, *_) = table = list(csv.DictReader(file))
    assert len(table) == 15 and first["macs"] == "238154354820" and first["source"]
    for wrong in (["cost"], ["cost", "tiny", "--table"], ["cost", "--table", "--seconds", "0"]):
        assert cli.main(wrong) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
