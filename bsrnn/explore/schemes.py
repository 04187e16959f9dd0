"""Two band schemes face to face: what they cut, cost, hold and allow, and how each band sounds.

`schemes_compared` is the static twin: the same pictures, table and players for fixed settings.
Lesson 04.
"""

import contextlib
import json
import os
import re
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd

from bsrnn import bands, design, listen, models, plots
from bsrnn.cost import cost
from bsrnn.errors import UsageError, choose
from bsrnn.explore.panel import Panel
from bsrnn.plots.schemes import AXES

MAX_S = 6.0  # of a song: keeps every change below a second
N_FFTS = (512, 1024, 2048, 4096, 8192)
MODELS = ("tiny", "small", "paper")
OWN_HZ = "100, 200, 400, 800, 1600, 3200, 6400, 12800"


class Excerpt:
    """One song that remembers its `Bound`s and sounds, so that a change costs only what changed."""

    def __init__(self, sources: dict, sample_rate: int):
        if not sources:
            raise UsageError("no stems to compare on: give a dict name -> (C, L)")
        end = round(MAX_S * sample_rate)
        self.sources = {k: np.asarray(x, np.float32)[:, :end] for k, x in sources.items()}
        self.sample_rate = sample_rate
        self._known = OrderedDict()

    def once(self, key, make):
        """make() of the first call with this key; the latest eight results are kept."""
        if key not in self._known:
            self._known[key] = make()
            while len(self._known) > 8:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def bound(self, stem: str, n_fft: int) -> design.Bound:
        """The prepared band oracle of one stem."""
        choose(stem, self.sources, "stem")
        return self.once(
            (stem, n_fft),
            lambda: design.Bound.of(self.sources, self.sample_rate, n_fft, (stem,)),
        )

    def share(self, scheme, stem: str) -> np.ndarray:
        """Share of the stem's energy in each band, (K,)."""
        return scheme.matrix.astype(float) @ self.bound(stem, scheme.n_fft).energy_share


def schemes_compared(
    song, scheme_a="v7", scheme_b="equal32", stem="vocals", n_fft=2048, axis="log", model="small",
    band=0, muted=(), hear="A", sample_rate=44100,
) -> list:  # fmt: skip
    """What `compare_schemes` shows: [Picture, table (pandas), Sounds].

    song: an Excerpt, or sources name -> (C, L) with `sample_rate`; 6 s are used. scheme_a,
    scheme_b: names or BandSchemes. The cost is that of the preset `model` with each scheme; the
    bound is `masks.band_sdr_db` of the stem. The players are the stem, its band `band` of scheme
    `hear` ("A" or "B") alone, and, if any are `muted`, the stem without those.

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
    picture = plots.face_to_face(*pair, *shares, stem, axis, hear, band, muted)
    key = heard, stem, band, tuple(muted)
    sounds = song.once(key, lambda: _sounds(song, *key))
    return [picture, pd.DataFrame(columns), sounds]


def compare_schemes(
    songs, scheme_a="v7", scheme_b="equal32", stem=None, n_fft=2048, out_dir="."
) -> Panel:
    """The comparer as a widget. Every control recomputes pictures, table and players.

    songs: a Dataset, or song name -> (sources name -> (C, L), sample rate in Hz). "own" among the
    schemes is cut at the edges typed in Hz. "save" writes the heard scheme to
    out_dir/<name>.json, which `bsrnn train --scheme` takes. What cannot be is said in one line.
    """
    excerpts, kept = _songs(songs), OrderedDict()

    def excerpt(name) -> Excerpt:
        if name not in kept:
            kept[name] = excerpts[name]()
            while len(kept) > 3:
                kept.popitem(last=False)
        return kept[name]

    first = excerpt(next(iter(excerpts)))
    stems = list(first.sources)
    names = [*bands.names(), "own"]
    drop = widgets.Dropdown
    controls = {
        "scheme_a": drop(options=names, value=scheme_a, description="scheme A"),
        "scheme_b": drop(options=names, value=scheme_b, description="scheme B"),
        "own": widgets.Text(OWN_HZ, description="own edges (Hz)", layout={"width": "30em"}),
        "song": drop(options=list(excerpts), description="song"),
        "stem": drop(options=stems, value=stem or stems[-1], description="stem"),
        "n_fft": drop(options=N_FFTS, value=n_fft, description="n_fft"),
        "axis": drop(options=AXES, value="log", description="axis"),
        "model": drop(options=MODELS, value="small", description="cost of preset"),
        "hear": widgets.ToggleButtons(options=("A", "B"), description="hear scheme"),
        "band": widgets.IntSlider(5, 0, 127, description="band to hear"),
        "muted": widgets.Text("", description="mute bands, such as 0-3, 7"),
    }

    slider = controls["band"]

    def view(own, song, muted, n_fft, scheme_a, scheme_b, hear, band, **values):
        try:
            one = excerpt(song)
            pair = [_chosen(name, own, one.sample_rate, n_fft) for name in (scheme_a, scheme_b)]
            slider.max = len(pair["AB".index(hear)]) - 1
            return schemes_compared(
                one, *pair, n_fft=n_fft, hear=hear, band=min(band, slider.max),
                muted=_numbers(muted), **values,
            )  # fmt: skip
        except UsageError as error:  # typed or chosen by the learner: an answer, not a failure
            return [f"Not possible: {error}"]

    panel = Panel(view, "Two band schemes, face to face", **controls)
    row = lambda *keys: widgets.HBox(  # noqa: E731
        [controls[key] for key in keys], layout=widgets.Layout(flex_flow="row wrap")
    )
    rows = [
        row("scheme_a", "scheme_b", "own"), row("song", "stem", "n_fft", "axis", "model"),
        row("hear", "band", "muted"), _saver(panel, excerpt, out_dir),
    ]  # fmt: skip
    panel.children = (panel.children[0], *rows, panel.output)
    return panel


def save_scheme(scheme, path) -> Path:
    """Write a BandScheme as JSON in one step; `bsrnn train --scheme PATH` takes it."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(json.loads(scheme.to_json()), indent=1) + "\n")
        os.replace(unfinished, path)
    except OSError as error:
        raise UsageError(f"cannot write {path} ({error.strerror}): choose another name") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return path


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
        f"bound on {stem} (dB)": f"{song.bound(stem, n_fft).sdr_db(scheme)[0]:.2f}",
    }


def _sounds(song, heard, stem, band, muted):
    waveform = song.sources[stem]
    low, high = heard.spans_hz[band]
    sounds = {
        f"all of {stem}": waveform,
        f"band {band} of {heard.name}, {low:.0f}-{high:.0f} Hz": listen.band_sound(
            waveform, heard, band
        ),
    }
    if muted:
        rest = [k for k in range(len(heard)) if k not in muted]
        sounds[f"{stem} without {_listed(muted)}"] = listen.band_sound(waveform, heard, rest)
    return listen.players(sounds, song.sample_rate, max_s=MAX_S)


def _listed(numbers) -> str:
    if len(numbers) > 5:
        return f"{len(numbers)} bands"
    return "band " + ", ".join(str(number) for number in numbers)


def _scheme(scheme, sample_rate, n_fft):
    if isinstance(scheme, bands.BandScheme):
        return scheme.project(sample_rate, n_fft)
    return bands.scheme(scheme, sample_rate, n_fft)


def _chosen(name, own, sample_rate, n_fft):
    """The BandScheme of a name; of the typed edges if it is "own"."""
    if name == "own":
        return bands.from_edges_hz(_edges(own), sample_rate, n_fft)
    return bands.scheme(name, sample_rate, n_fft)


def _edges(text: str) -> list:
    parts = [part for part in re.split(r"[,;\s]+", text) if part]
    try:
        return [float(part) for part in parts]
    except ValueError:
        raise UsageError(f"own edges {text!r}: give numbers in Hz, such as {OWN_HZ}") from None


def _numbers(text: str) -> tuple:
    """Band numbers of "0-3, 7".

    >>> _numbers("0-3, 7")
    (0, 1, 2, 3, 7)
    """
    found = []
    for part in filter(None, re.split(r"[,;\s]+", text.strip())):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        if not match:
            raise UsageError(f"muted bands {text!r}: give numbers such as 0-3, 7")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(sorted(set(found)))


def _songs(songs) -> dict:
    """name -> function that gives its Excerpt."""
    if not isinstance(songs, dict):
        songs = {song.name: song for song in songs}
    if not songs:
        raise UsageError("no songs to compare on: give a dataset, or a dict of sources")
    made = {}
    for name, song in songs.items():
        if isinstance(song, tuple):
            made[name] = lambda pair=song: Excerpt(*pair)
        else:
            made[name] = lambda song=song: Excerpt(
                song.sources(0, min(song.samples, round(MAX_S * song.sample_rate))),
                song.sample_rate,
            )
    return made


def _saver(panel, excerpt, out_dir):
    """Name, button and answer line that write the heard scheme to a file."""
    name = widgets.Text("my-bands", description="file name")
    button = widgets.Button(description="save as JSON")
    said = widgets.HTML()

    def save(_):
        v = panel.values
        try:
            if not re.fullmatch(r"[\w.-]+", name.value) or name.value.startswith("."):
                raise UsageError(f"file name {name.value!r}: use letters, digits, - and _")
            chosen = v["scheme_a"] if v["hear"] == "A" else v["scheme_b"]
            made = _chosen(chosen, v["own"], excerpt(v["song"]).sample_rate, v["n_fft"])
            path = save_scheme(made, Path(out_dir) / f"{name.value}.json")
            said.value = f"{len(made)} bands saved: python -m bsrnn train small --scheme {path}"
        except UsageError as error:
            said.value = f"Not possible: {error}"

    button.on_click(save)
    panel.save_name, panel.save_button, panel.saved = name, button, said
    return widgets.HBox([name, button, said], layout=widgets.Layout(flex_flow="row wrap"))
