"""The desk for one's own song in a real JupyterLab page: upload, faders, downloads."""

import io

import browser
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    bool(browser.MISSING), reason=f"{browser.MISSING} not installed: see `python -m bsrnn doctor`"
)
RATE = 8000
MODEL = f"""
import numpy as np
from bsrnn import explore

class Split:  # a stand-in: two stems that are a fixed part of the mixture each
    stems, sample_rate = ("vocals", "bass"), {RATE}

    def __call__(self, mixture):
        return mixture[:, None] * mixture.new_tensor([0.3, 0.6])[:, None, None]

class Halves(Split):
    def __call__(self, mixture):
        return mixture[:, None] * mixture.new_tensor([0.5, 0.5])[:, None, None]

time_s = np.arange(9 * {RATE}) / {RATE}
songs = {{
    "chirp": (0.4 * np.sin(2 * np.pi * (200 + 20 * time_s) * time_s)[None], {RATE}),
    "tone": (0.4 * np.sin(2 * np.pi * 300 * time_s)[None], {RATE}),
}}
"""
DESK = 'explore.song_desk({"split": Split(), "halves": Halves()}, songs, max_s=9.0)'


def test_song_goes_up_and_its_mix_comes_down(tmp_path, write_notebook):
    import soundfile

    folder = tmp_path / "lab"
    folder.mkdir()
    write_notebook(folder / "desk.ipynb", [("", MODEL), ("", DESK)])
    with (
        browser.lab(folder) as address,
        browser.page(address, "desk.ipynb", tmp_path / "shots") as tab,
    ):
        tab.run_all()
        assert tab.assert_sound(2) == pytest.approx([6, 6], abs=0.1)
        for number in range(tab.controls("checkbox").count()):  # solo and mute of each stem
            tab.change("checkbox", number)
            tab.change("checkbox", number)
        for number in range(1, tab.controls("slider").count()):  # where to listen, gains
            tab.change("slider", number)
        tab.change("dropdown", 0, "tone")
        tab.change("dropdown", 1, "halves")
        tab.change("dropdown", 2, "spectra")

        whole, song = io.BytesIO(), 0.1 * np.sin(np.arange(7 * RATE) / 3)
        soundfile.write(whole, song, RATE, format="WAV", subtype="FLOAT")
        _upload(tab, "mine.wav", whole.getvalue())
        assert "7.0 of 7.0 s" in _words(tab), "the upload should be the song now"
        tab.change("dropdown", 3, "mix and stems")
        tab.change("dropdown", 4, "wav")
        links = tab.tab.locator("a[download]")
        assert links.all_inner_texts() == ["mix.wav", "vocals.wav", "bass.wav"]
        with tab.tab.expect_download() as started:
            links.nth(1).click()
        found, rate = soundfile.read(started.value.path())
        assert rate == RATE and np.allclose(found, song / 2, atol=1e-6)

        _upload(tab, "notes.wav", b"these are words")
        tab.shoot("refused")
        assert "notes.wav: not audio" in _words(tab)


def _upload(tab, name: str, data: bytes):
    with tab.tab.expect_file_chooser() as chooser:
        tab.controls("button").first.click()
    chooser.value.set_files({"name": name, "mimeType": "audio/wav", "buffer": data})
    tab.tab.wait_for_timeout(1500)
    tab.idle()
    tab.shoot(name)


def _words(tab) -> str:
    return tab.tab.locator(".jp-Notebook").inner_text()
