"""Two band schemes face to face: what they cut, cost, hold and allow, and how each band sounds.

`schemes_compared` is the static twin: the same pictures, table and players for fixed settings.
Lesson 04.
"""

import contextlib
import json
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd

from bsrnn import bands, design, listen, models, plots
from bsrnn.common import UsageError, choose, write_text
from bsrnn.explore.edges import OWN_HZ, EdgeEditor, parsed
from bsrnn.explore.panel import Panel, choice, excerpt, slider
from bsrnn.models.cost import cost
from bsrnn.plots.schemes import AXES

MAX_S = 6.0  # of a song: keeps every change below a second
N_FFTS = (512, 1024, 2048, 4096, 8192)
MODELS = ("tiny", "small", "paper")


class Excerpt:
    """One song that remembers what it was asked, so that a change costs only what changed.

    bound(stem, n_fft): the prepared band oracle of a stem; bound_db(scheme, stem): its value;
    sounds(scheme, stem, band, muted): players of a stem whole, of one band, and without some.
    """

    def __init__(self, sources: dict, sample_rate: int):
        self.sources = excerpt(sources, round(MAX_S * sample_rate))
        self.sample_rate = sample_rate
        self.bound = lru_cache(maxsize=6)(self._bound)  # about 25 MB each
        self.bound_db = lru_cache(maxsize=256)(self._bound_db)
        self.sounds = lru_cache(maxsize=16)(self._sounds)

    def _bound(self, stem, n_fft) -> design.Bound:
        choose(stem, self.sources, "stem")
        return design.Bound.of(self.sources, self.sample_rate, n_fft, (stem,))

    def _bound_db(self, scheme, stem) -> float:
        return float(self.bound(stem, scheme.n_fft).sdr_db(scheme)[0])

    def share(self, scheme, stem: str) -> np.ndarray:
        """Share of the stem's energy in each band, (K,)."""
        return scheme.matrix.astype(float) @ self.bound(stem, scheme.n_fft).energy_share

    def _sounds(self, scheme, stem, band, muted) -> listen.Sounds:
        waveform = self.sources[stem]
        low, high = scheme.spans_hz[band]
        label = f"band {band} of {scheme.name}, {low:.0f}-{high:.0f} Hz"
        sounds = {f"all of {stem}": waveform, label: listen.band_sound(waveform, scheme, band)}
        if muted:
            rest = [k for k in range(len(scheme)) if k not in muted]
            label = f"{stem} without {_listed(muted)}"
            sounds[label] = listen.band_sound(waveform, scheme, rest)
        return listen.players(sounds, self.sample_rate, max_s=MAX_S)


def schemes_compared(
    song, scheme_a="v7", scheme_b="equal32", stem="vocals", n_fft=2048, axis="log", model="small",
    band=0, muted=(), hear="A", edge_hz=None, sample_rate=44100,
) -> list:  # fmt: skip
    """What `compare_schemes` shows: [Picture, table (pandas), Sounds].

    song: an Excerpt, or sources name -> (C, L) with `sample_rate`; 6 s are used. scheme_a,
    scheme_b: names or BandSchemes. The cost is that of the preset `model` with each scheme; the
    bound is `masks.band_sdr_db` of the stem. The players are the stem, its band `band` of scheme
    `hear` ("A" or "B") alone, and, if any are `muted`, the stem without those. A dotted line in
    the picture marks `edge_hz`.

    Raises UsageError for unknown names, a scheme that does not fit, bands that are not there.
    """
    song = song if isinstance(song, Excerpt) else Excerpt(song, sample_rate)
    choose(hear, ("A", "B"), "scheme to hear")
    pair = [_scheme(s, song.sample_rate, n_fft) for s in (scheme_a, scheme_b)]
    heard = pair["AB".index(hear)]
    shares = [song.share(scheme, stem) for scheme in pair]
    for number in (band, *muted):
        if not 0 <= number < len(heard):
            raise UsageError(f"no band {number}: {heard.name} has bands 0 to {len(heard) - 1}")
    columns = {
        f"{side}: {scheme.name}": _facts(song, scheme, share, stem, model)
        for side, scheme, share in zip("AB", pair, shares, strict=True)
    }
    picture = plots.face_to_face(*pair, *shares, stem, axis, hear, band, muted, edge_hz)
    sounds = song.sounds(heard, stem, band, tuple(muted))
    return [picture, pd.DataFrame(columns), sounds]


def compare_schemes(songs, scheme_a="v7", scheme_b="equal32", stem=None, out_dir=".") -> Panel:
    """The comparer as a widget. Every control recomputes pictures, table and players.

    songs: a Dataset, or song name -> (sources name -> (C, L), sample rate in Hz). "own" among the
    schemes is cut at edges in Hz: typed, or chosen, dragged, added and removed. "save" writes the
    heard scheme to out_dir/<name>.json, which `bsrnn train --scheme` takes. What cannot be is said
    in one line.
    """
    songs = songs if isinstance(songs, dict) else {song.name: song for song in songs}
    if not songs:
        raise UsageError("no songs to compare on: give a dataset, or a dict of sources")
    heard_of = lru_cache(maxsize=3)(lambda name: _excerpt(songs[name]))
    stems = list(heard_of(next(iter(songs))).sources)
    names = [*bands.names(), "own"]
    controls = {
        "scheme_a": choice("scheme A", names, scheme_a),
        "scheme_b": choice("scheme B", names, scheme_b),
        "own": widgets.Text(OWN_HZ, description="own edges (Hz)", layout={"width": "30em"}),
        "edge": slider("own edge", 1, 0, 8),
        "song": choice("song", songs),
        "stem": choice("stem", stems, stem or stems[-1]),
        "n_fft": choice("n_fft", N_FFTS, 2048),
        "axis": choice("axis", AXES, "log"),
        "model": choice("cost of preset", MODELS, "small"),
        "hear": widgets.ToggleButtons(options=("A", "B"), description="hear scheme"),
        "band": slider("band to hear", 5, 0, 127),
        "muted": widgets.Text("", description="mute bands, such as 0-3, 7"),
    }

    def grid():
        """(sample rate, n_fft) while one of the schemes is one's own, else None."""
        value = {name: control.value for name, control in controls.items()}
        rate = heard_of(value["song"]).sample_rate
        return (rate, value["n_fft"]) if "own" in (value["scheme_a"], value["scheme_b"]) else None

    def chosen(side) -> bands.BandScheme:
        """The BandScheme of side "A" or "B" as the controls stand."""
        name, n_fft = controls[f"scheme_{side.lower()}"].value, controls["n_fft"].value
        rate = heard_of(controls["song"].value).sample_rate
        if name == "own":
            return bands.from_edges_hz(parsed(controls["own"].value), rate, n_fft)
        return bands.scheme(name, rate, n_fft)

    def prepare():
        editor.follow()
        with contextlib.suppress(UsageError):  # the view says it
            controls["band"].max = max(1, len(chosen(controls["hear"].value)) - 1)

    def view(own, song, muted, edge, scheme_a, scheme_b, hear, band, **values):
        try:
            pair = chosen("A"), chosen("B")
            edges = parsed(own)[edge - 1 : edge] if grid() and edge else [None]
            return schemes_compared(
                heard_of(song), *pair, hear=hear, muted=_numbers(muted), edge_hz=edges[0],
                band=min(band, len(pair["AB".index(hear)]) - 1), **values,
            )  # fmt: skip
        except UsageError as error:  # typed or chosen by the learner: an answer, not a failure
            return [f"Not possible: {error}"]

    editor = EdgeEditor(
        controls["own"], controls["edge"], grid, lambda **values: panel.set(**values)
    )
    saver = SchemeSaver(lambda: chosen(controls["hear"].value), out_dir)
    rows = [
        ["scheme_a", "scheme_b", "own"], editor, ["song", "stem", "n_fft", "axis", "model"],
        ["hear", "band", "muted"], saver,
    ]  # fmt: skip
    panel = Panel(view, "Two band schemes, face to face", prepare, rows=rows, **controls)
    panel.editor, panel.saver = editor, saver
    return panel


def save_scheme(scheme, path) -> Path:
    """Write a BandScheme as JSON in one step; `bsrnn train --scheme PATH` takes it."""
    try:
        write_text(path, json.dumps(json.loads(scheme.to_json()), indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"cannot write {path} ({error.strerror}): choose another name") from error
    return Path(path)


def _facts(song, scheme, share, stem, model) -> dict:
    """The column of one scheme."""
    preset = models.presets()[choose(model, MODELS, "preset")]
    n_fft, rate = scheme.n_fft, song.sample_rate
    config = replace(
        preset, scheme=scheme.to_json(), sample_rate=rate,
        stft=replace(preset.stft, n_fft=n_fft, hop=n_fft // 4),
    )  # fmt: skip
    price = cost(config, MAX_S)
    widest = int(share.argmax())
    low, high = scheme.spans_hz[widest]
    part = f"{share[widest]:.0%} ({low:.0f}-{high:.0f} Hz)" if share.any() else "silent"
    return {
        "bands": f"{len(scheme)}",
        "bins per band": f"{min(scheme.widths)}-{max(scheme.widths)}",
        "semitones per band": f"{min(scheme.semitones):.1f}-{max(scheme.semitones):.1f}",
        f"parameters of {model} (M)": f"{price.parameters / 1e6:.3f}",
        f"GMAC of {model} ({MAX_S:g} s)": f"{price.macs / 1e9:.2f}",
        f"most {stem} in one band": part,
        f"bound on {stem} (dB)": f"{song.bound_db(scheme, stem):.2f}",
    }


def _listed(numbers) -> str:
    if len(numbers) > 5:
        return f"{len(numbers)} bands"
    return "band " + ", ".join(str(number) for number in numbers)


def _scheme(scheme, sample_rate, n_fft):
    if isinstance(scheme, bands.BandScheme):
        return scheme.project(sample_rate, n_fft)
    return bands.scheme(scheme, sample_rate, n_fft)


def _numbers(text: str) -> tuple:
    """Band numbers of "0-3, 7".

    >>> _numbers("0-3, 7")
    (0, 1, 2, 3, 7)
    """
    numbers = []
    for part in filter(None, re.split(r"[,;\s]+", text.strip())):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        if not match:
            raise UsageError(f"muted bands {text!r}: give numbers such as 0-3, 7")
        numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(sorted(set(numbers)))


def _excerpt(song) -> Excerpt:
    """Of a Song, or of (sources, sample rate)."""
    if isinstance(song, tuple):
        return Excerpt(*song)
    samples = min(song.samples, round(MAX_S * song.sample_rate))
    return Excerpt(song.sources(0, samples), song.sample_rate)


class SchemeSaver(widgets.HBox):
    """Name, button and answer line that write the scheme `heard()` to out_dir/<name>.json."""

    def __init__(self, heard, out_dir):
        self.heard, self.out_dir = heard, Path(out_dir)
        self.name = widgets.Text("my-bands", description="file name")
        self.button = widgets.Button(description="save as JSON")
        self.answer = widgets.HTML()
        self.button.on_click(self._save)
        super().__init__([self.name, self.button, self.answer])

    def _save(self, _button):
        name = self.name.value
        try:
            if not re.fullmatch(r"[\w-][\w.-]*", name):
                raise UsageError(f"file name {name!r}: use letters, digits, - and _")
            scheme = self.heard()
            path = save_scheme(scheme, self.out_dir / f"{name}.json")
            words = f"{len(scheme)} bands saved: python -m bsrnn train small --scheme {path}"
        except UsageError as error:
            words = f"Not possible: {error}"
        self.answer.value = words
