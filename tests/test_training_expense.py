"""What a run spends is in its card: device, MACs, and energy only where it was asked for."""

import dataclasses
import json
import sys
import types

import pytest
from test_training import QUICK, TINY, songs, train

from bsrnn.common import UsageError
from bsrnn.models.cost import cost
from bsrnn.models.zoo.d3net_config import D3NetConfig
from bsrnn.training import expense


def card(folder):
    return json.loads((folder / "card.json").read_text())


class FakeTracker:
    """Counts one kWh per look; at 1000 g per kWh codecarbon's kilograms are kWh."""

    made = []

    def __init__(self, **options):
        self.options, self.kg, self.state = options, 0.0, "made"
        FakeTracker.made.append(self)

    def start(self):
        self.state = "started"

    def flush(self):
        assert self.state == "started"
        self.kg += 1.0
        return self.kg

    def stop(self):
        self.state = "stopped"
        return self.kg


@pytest.fixture
def codecarbon(monkeypatch):
    FakeTracker.made = []
    module = types.SimpleNamespace(OfflineEmissionsTracker=FakeTracker)
    monkeypatch.setitem(sys.modules, "codecarbon", module)


def test_device_and_macs_are_those_of_the_run(tmp_path):
    result = train(tmp_path)
    found = card(tmp_path)
    example = cost(TINY, QUICK.seconds_per_segment).macs
    assert found["training_macs"] == example * QUICK.batch * QUICK.steps
    assert found["macs_per_second"] == round(cost(TINY, 6.0).macs / 6)
    assert found["device"] == expense.device_name("cpu") != ""
    assert "energy_kwh" not in found and result.card["device"] == found["device"]
    mono = expense.work(TINY, dataclasses.replace(QUICK, mono=True), QUICK.steps)
    assert mono["training_macs"] == found["training_macs"] // 2  # one of two channels
    joint = dataclasses.replace(TINY, channel_handling="joint")
    both = expense.work(joint, dataclasses.replace(QUICK, mono=True), 1)["training_macs"]
    assert both == cost(joint, QUICK.seconds_per_segment).macs * QUICK.batch
    assert expense.work(D3NetConfig(), QUICK, 4) == {}


def test_energy_is_counted_offline_where_it_is_asked_for(tmp_path, codecarbon):
    result = train(tmp_path, energy=True)
    (tracker,) = FakeTracker.made
    assert tracker.state == "stopped" and tracker.options["save_to_file"] is False
    assert tracker.options["force_carbon_intensity_g_co2e_kwh"] == 1000.0
    assert result.card["energy_kwh"] == tracker.kg >= card(tmp_path)["energy_kwh"] > 0
    assert "codecarbon" in result.card["energy_method"]
    train(tmp_path / "plain")
    assert len(FakeTracker.made) == 1 and "energy_kwh" not in card(tmp_path / "plain")


def test_energy_of_a_resumed_run_is_that_of_all_sessions_or_absent(tmp_path, codecarbon):
    longer = dataclasses.replace(QUICK, steps=8)
    first = train(tmp_path / "a", energy=True).card["energy_kwh"]
    both = train(tmp_path / "a", longer, resume=True, energy=True).card["energy_kwh"]
    assert both > first
    again = train(tmp_path / "a", longer, resume=True).card  # nothing left to do
    assert again["energy_kwh"] <= both and again["device"]
    train(tmp_path / "b", energy=True)
    assert "energy_kwh" not in train(tmp_path / "b", longer, resume=True).card
    train(tmp_path / "c")
    assert "energy_kwh" not in train(tmp_path / "c", longer, resume=True, energy=True).card


def test_energy_stops_with_a_run_that_fails(tmp_path, codecarbon):
    broken = songs(valid=0)
    for song in broken:
        song.spoil = "vocals"
    with pytest.raises(UsageError):
        train(tmp_path, data=broken, energy=True)
    assert [tracker.state for tracker in FakeTracker.made] in ([], ["stopped"])


def test_energy_refuses_what_it_cannot_count(tmp_path, monkeypatch, codecarbon):
    with pytest.raises(UsageError, match="energy is measured for one process"):
        expense.Meter(processes=2)
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with pytest.raises(UsageError, match="codecarbon is not installed: pip install codecarbon"):
        train(tmp_path, energy=True)


def test_codecarbon_itself_counts_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("codecarbon", reason="pip install codecarbon")
    import socket

    def offline(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            raise AssertionError(f"connected to {address}")
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", offline)
    meter = expense.Meter()
    sum(number * number for number in range(3_000_000))
    before = meter.kwh()
    meter.stop()
    assert 0 < before <= meter.kwh() < 0.01
