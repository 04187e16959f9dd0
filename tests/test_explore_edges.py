"""Own edges: every band keeps a bin, and the editor keeps text and sliders in step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

widgets = pytest.importorskip("ipywidgets")

from bsrnn import bands, explore  # noqa: E402
from bsrnn.common import UsageError  # noqa: E402
from bsrnn.explore import edges as edit  # noqa: E402

GRIDS = st.sampled_from([(8000, 256), (44100, 512), (44100, 2048), (96000, 4096)])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 120), max_size=9, unique=True), GRIDS, st.integers(0, 9))
def test_add_and_remove_are_inverse_and_every_band_keeps_a_bin(bins, grid, number):
    rate, n_fft = grid
    edges = [k * rate / n_fft for k in sorted(bins)]
    number = min(number, len(edges))
    assert edit.parsed(edit.written(edges)) == pytest.approx(edges, abs=0.1)
    before = bands.from_edges_hz(edges, rate, n_fft)
    typed = edit.parsed(edit.written(edges))  # rounding to 0.1 Hz keeps every bin
    assert bands.from_edges_hz(typed, rate, n_fft).ranges == before.ranges
    try:
        more = edit.added(edges, number, rate, n_fft)
    except UsageError as error:
        assert "one bin" in str(error) and before.widths[number] <= 2
        return
    after = bands.from_edges_hz(more, rate, n_fft)
    assert len(after) == len(before) + 1
    low, high = before.ranges[number]
    assert after.ranges[number][0] == low and after.ranges[number + 1][1] == high
    assert edit.replaced(more, number + 1) == edges


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 127), min_size=1, max_size=9, unique=True), GRIDS, st.integers(1, 9))
def test_an_edge_moves_up_to_its_neighbours_and_no_further(bins, grid, number):
    rate, n_fft = grid
    edges = [k * rate / n_fft for k in sorted(bins)]
    number = min(number, len(edges))
    low, high = edit.span_hz(edges, number, rate, n_fft)
    for hz in (low, high):
        text = edit.written(edit.replaced(edges, number, hz))
        moved = bands.from_edges_hz(edit.parsed(text), rate, n_fft)
        assert len(moved) == len(edges) + 1 and min(moved.widths) >= 1
        assert moved.ranges[number][0] == round(hz * n_fft / rate)
    step = rate / n_fft
    for hz in (low - step, high + step):
        beyond = edit.replaced(edges, number, hz)
        with pytest.raises(UsageError):
            if len(bands.from_edges_hz(beyond, rate, n_fft)) <= len(edges):
                raise UsageError("an edge fell on 0 Hz or Nyquist: one band less")


def test_text_of_edges():
    assert edit.parsed("0, 100;200.5\n300") == [100, 200.5, 300] and edit.parsed("") == []
    assert edit.written([]) == "" and edit.written([100, 12800.55, 43.06640625]) == (
        "100, 12800.5, 43"
    )
    with pytest.raises(UsageError, match="give numbers in Hz"):
        edit.parsed("100, x")


@pytest.fixture(scope="module")
def songs():
    noise = np.random.default_rng(0).standard_normal((2, 2, 22050)).astype(np.float32)
    parts = dict(zip(("bass", "vocals"), 0.1 * noise, strict=True))
    return {"one": (parts, 44100), "slow": (parts, 22050)}


@pytest.fixture
def panel(songs):
    shown = explore.compare_schemes(songs, "own", "v7")
    shown.controls["own"].value = "200, 1000, 5000"
    return shown


def test_dragging_adding_and_removing_change_text_picture_and_bands(panel):
    editor, own, edge = panel.editor, panel.controls["own"], panel.controls["edge"]
    edge.value = 2
    assert editor.place.value == 1000 and "Dotted: 1000 Hz" in panel.text
    editor.place.value = editor.place.max
    assert own.value == "200, 4995.7, 5000" and "Dotted: 4995.7 Hz" in panel.text
    editor.place.value = editor.place.min
    assert own.value == "200, 236.8, 5000"  # the neighbour's first band keeps one bin
    edge.value = 3
    editor.add.click()
    assert edge.value == 4 and len(edit.parsed(own.value)) == 4
    assert "5 bands of" in panel.text and "own: 5 bands" in panel.text
    editor.remove.click()
    assert own.value == "200, 236.8, 5000" and edge.value == 3
    edge.value = 0
    assert editor.place.disabled and editor.remove.disabled and not editor.add.disabled
    editor.add.click()
    assert edit.parsed(own.value)[0] < 200 and edge.value == 1


def test_every_action_is_shown_once(panel, monkeypatch):
    calls = []
    real = panel.view
    monkeypatch.setattr(panel, "view", lambda **values: calls.append(values) or real(**values))
    for action in (
        lambda: panel.editor.add.click(),
        lambda: panel.editor.remove.click(),
        lambda: setattr(panel.editor.place, "value", 500.0),
        lambda: setattr(panel.controls["own"], "value", "300"),
        lambda: setattr(panel.controls["edge"], "value", 0),
    ):
        calls.clear()
        before = panel.output.outputs
        action()
        assert len(calls) == 1 and panel.output.outputs != before


def test_all_edges_can_go_and_come_back(panel):
    for _ in range(3):
        panel.controls["edge"].value = 1
        panel.editor.remove.click()
    assert panel.controls["own"].value == "" and panel.editor.remove.disabled
    assert "own: 1 bands" in panel.text and panel.controls["edge"].value == 0
    panel.editor.add.click()
    assert "own: 2 bands" in panel.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("100, x", "give numbers in Hz"),
        ("300, 200", "edge 200 Hz follows 300 Hz"),
        ("100, 30000", "not between 0 and Nyquist"),
        (", ".join(str(20 * k) for k in range(1, 1100)), "no bin between"),
    ],
)
def test_what_cannot_be_is_one_line_and_can_be_repaired(panel, text, words):
    panel.controls["own"].value = text
    assert panel.text.startswith("Not possible") and words in panel.text and "\n" not in panel.text
    assert words in panel.editor.answer.value and panel.editor.place.disabled
    if "x" not in text:  # the wrong edge may be removed without typing
        edges = edit.parsed(text)
        assert panel.controls["edge"].max == len(edges)
        if len(edges) == 2:
            panel.controls["edge"].value = 2
            panel.editor.remove.click()
            assert not panel.text.startswith("Not possible")
    panel.controls["own"].value = "500"
    assert not panel.editor.place.disabled and "Not possible" not in panel.editor.answer.value


def test_a_band_of_one_bin_cannot_be_split(panel):
    panel.controls["own"].value = "43.1, 64.6"
    panel.controls["edge"].value = 1
    before = panel.controls["own"].value
    panel.editor.add.click()
    assert "has one bin" in panel.editor.answer.value and panel.controls["own"].value == before


def test_the_editor_follows_rate_and_n_fft_and_rests_without_own(panel):
    panel.controls["edge"].value = 1
    step = panel.editor.place.step
    panel.controls["n_fft"].value = 4096
    assert panel.editor.place.step == pytest.approx(step / 2)
    panel.controls["song"].value = "slow"
    assert panel.editor.place.step == pytest.approx(step / 4)
    panel.controls["scheme_a"].value = "equal16"
    assert panel.editor.add.disabled and panel.controls["own"].disabled
    assert "own" in panel.editor.answer.value and "Dotted" not in panel.text
