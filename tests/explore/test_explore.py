"""Widgets in the kernel: controls change what is shown, and errors are never swallowed."""

import pytest

widgets = pytest.importorskip("ipywidgets")

from bsrnn.common import UsageError  # noqa: E402
from bsrnn.explore import Panel  # noqa: E402
from bsrnn.plots import style  # noqa: E402


def number(low=0, high=9):
    return widgets.IntSlider(low, low, high, description="number")


def test_a_control_changes_text_and_picture():
    def view(k):
        picture, axes = style.figure("k")
        axes.bar([0], [k])
        return [style.describe(picture, f"A bar of {k}."), f"k is {k}"]

    panel = Panel(view, "Bars", k=number())
    before = panel.output.outputs
    panel.controls["k"].value = 5
    after = panel.output.outputs
    assert panel.text == "A bar of 5.\nk is 5"
    assert before[0]["data"]["text/html"] != after[0]["data"]["text/html"]
    assert 'alt="A bar of 5."' in after[0]["data"]["text/html"]


def test_an_error_in_the_view_reaches_whoever_moved_the_control():
    panel = Panel(lambda k: str(1 // (3 - k)), "Broken at three", k=number())
    with pytest.raises(ZeroDivisionError):
        panel.controls["k"].value = 3


def test_a_control_without_words_is_refused():
    with pytest.raises(UsageError, match="no description"):
        Panel(str, "Silent", k=widgets.IntSlider())
