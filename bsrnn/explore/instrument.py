"""The band instrument: schemes side by side over a spectrogram, to see, hear, design and keep.

`instrument.js` computes and draws everything in the browser; here it gets the sound, the tables of
schemes, the price of a band and of a bin, the words about validity. Three hosts: `BandInstrument`
in Jupyter and Colab, `fragment` in any page, `page` as one HTML file. Lesson 04.
"""

import base64
import contextlib
import json
import zlib
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import anywidget
import numpy as np
import pandas as pd
import traitlets

from bsrnn import bands, design, listen, models, plots
from bsrnn.bands.core import WORDS
from bsrnn.common import UsageError, choose
from bsrnn.explore.panel import excerpt
from bsrnn.models.cost import cost

MODULE = Path(__file__).with_suffix(".js")
MAX_S = 6.0
N_FFTS = (2048, 1024, 4096)  # the first one is shown
MODELS = ("tiny", "small", "paper")
STARTS = ("equal", "octave", "bark")  # where an own design may begin, with 2 to 64 bands
COUNTS = range(2, 65)


class BandInstrument(anywidget.AnyWidget):
    """The instrument in a notebook; its settings are in step with Python.

    song: a Song, or (sources name -> (C, L), sample rate in Hz); the first 6 s are used.
    schemes: one to four names or BandSchemes; the first one is active. settings: `stem`, `preset`
    ("tiny", "small", "paper"), `axis` ("linear", "log", "mel", "piano"), other keys of `state`.

    `state` is the whole setting and can be assigned; `scheme` is the BandScheme that is active now.

    >>> from bsrnn import data
    >>> instrument = BandInstrument(data.open("clip")[0], ("v7", "mel48"))
    >>> instrument.scheme == bands.scheme("v7")
    True
    """

    _esm = MODULE
    spec = traitlets.Unicode().tag(sync=True)
    audio = traitlets.Dict().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    design = traitlets.Unicode().tag(sync=True)

    def __init__(self, song, schemes=("v7", "bs-roformer"), n_ffts=N_FFTS, **settings):
        sources, rate = _sound(song)
        scale = max(float(np.abs(x).max(initial=0)) for x in sources.values()) / 32767 or 1.0
        whole = {name: np.rint(x / scale).astype("<i2").tobytes() for name, x in sources.items()}
        spec = _spec(song, schemes, n_ffts, settings)
        spec["song"] |= {"encoding": "pcm16", "scale": scale}
        first = _schemes(schemes, rate, n_ffts[0])[0]
        super().__init__(
            spec=json.dumps(spec), audio=whole, state=spec["state"], design=first.to_json()
        )

    @property
    def scheme(self) -> bands.BandScheme:
        """The scheme that is active; a design with a gap or an overlap raises a UsageError."""
        return bands.BandScheme.from_json(self.design)


def compared(song, schemes=("v7", "bs-roformer"), stem=None, n_fft=2048, preset="small") -> list:
    """The static twin: [Figure of the first two schemes, table (pandas) of all].

    Arguments as of `BandInstrument`; the bound is `masks.band_sdr_db` of the stem (default: the
    last one), the cost that of the preset for 6 s.

    >>> from bsrnn import data
    >>> figure, table = compared(data.open("clip")[0], ("v7", "equal32"))
    >>> table.loc["bands"].tolist()
    ['41', '32']
    """
    sources, rate = _sound(song)
    stem = choose(stem or list(sources)[-1], sources, "stem")
    bound = design.Bound.of(sources, rate, n_fft, (stem,))
    chosen = _schemes(schemes, rate, n_fft)
    shares = [scheme.matrix.astype(float) @ bound.energy_share for scheme in chosen]
    columns = {}
    for scheme, share in zip(chosen, shares, strict=True):
        price = cost(_configured(preset, scheme), MAX_S)
        low, high = scheme.spans_hz[int(share.argmax())]
        columns[scheme.name] = {
            "bands": f"{len(scheme)}",
            "bins per band": f"{min(scheme.widths)}-{max(scheme.widths)}",
            f"parameters of {preset} (M)": f"{price.parameters / 1e6:.3f}",
            f"GMAC of {preset} ({MAX_S:g} s)": f"{price.macs / 1e9:.2f}",
            f"most {stem} in one band": f"{share.max():.0%} ({low:.0f}-{high:.0f} Hz)",
            f"bound on {stem} (dB)": f"{float(bound.sdr_db(scheme)[0]):.2f}",
        }
    pair = [*chosen, *chosen][:2], [*shares, *shares][:2]
    return [plots.face_to_face(*pair[0], *pair[1], stem), pd.DataFrame(columns)]


def page(song, schemes=("v7", "bs-roformer"), n_ffts=N_FFTS, **settings) -> str:
    """One HTML page with the instrument, its sound and its tables: to mail, or to open from disk.

    Arguments as of `BandInstrument`. The sound is MP3; with the clip the page has about 1.3 MB.
    """
    inside = fragment(song, schemes, n_ffts, **settings)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>Band instrument</title>\n<style>body{margin:0 auto;max-width:1240px;"
        "font-family:system-ui,sans-serif}h1{font-size:22px;margin:12px 10px 0}</style></head>\n"
        f"<body><h1>Band schemes: see, hear, design</h1>\n{inside}\n</body></html>\n"
    )


def fragment(song, schemes=("v7", "bs-roformer"), n_ffts=N_FFTS, **settings) -> str:
    """The instrument as HTML to put into a page; several may stand in one."""
    sources, rate = _sound(song)
    spec = _spec(song, schemes, n_ffts, settings)
    whole = {name: base64.b64encode(listen.mp3(x, rate)).decode() for name, x in sources.items()}
    data = json.dumps([spec, whole], separators=(",", ":")).replace("</", "<\\/")
    key = f"bands-{zlib.crc32(data.encode()):x}"
    return (
        f'<div id="{key}"><noscript>The band instrument needs JavaScript.</noscript></div>\n'
        f'<script type="application/json" id="{key}-data">{data}</script>\n'
        f'<script type="module">\n{MODULE.read_text(encoding="utf-8")}\n'
        f'mount(document.getElementById("{key}"), '
        f'...JSON.parse(document.getElementById("{key}-data").textContent));\n</script>'
    )


def _sound(song) -> tuple:
    """({stem: (C, L)}, sample rate in Hz) of at most MAX_S."""
    if not isinstance(song, tuple):
        stop = min(song.samples, round(MAX_S * song.sample_rate))
        song = song.sources(0, stop), song.sample_rate
    sources, rate = song
    return {name: x[:2] for name, x in excerpt(sources, round(MAX_S * rate)).items()}, rate


def _schemes(schemes, rate, n_fft) -> list:
    schemes = [schemes] if isinstance(schemes, (str, bands.BandScheme)) else list(schemes)
    if not 1 <= len(schemes) <= 4:
        raise UsageError(f"{len(schemes)} schemes: give one to four to compare")
    return [
        s.project(rate, n_fft) if isinstance(s, bands.BandScheme) else bands.scheme(s, rate, n_fft)
        for s in schemes
    ]


def _spec(song, schemes, n_ffts, settings) -> dict:
    sources, rate = _sound(song)
    if "stem" in settings:
        choose(settings["stem"], sources, "stem")
    lanes = [
        scheme.name if scheme.name in bands.names() else json.loads(scheme.to_json())
        for scheme in _schemes(schemes, rate, n_ffts[0])
    ]
    channels, samples = next(iter(sources.values())).shape
    return {
        "song": {
            "name": getattr(song, "name", "song"), "sample_rate": rate, "stems": list(sources),
            "samples": samples, "channels": channels, "encoding": "mp3",
        },
        "grids": [_grid(rate, n_fft) for n_fft in n_ffts],
        "words": WORDS,
        "state": {"lanes": lanes, **settings},
    }  # fmt: skip


@lru_cache(maxsize=8)
def _grid(rate: int, n_fft: int) -> dict:
    """Everything that belongs to one n_fft: schemes, designs to begin with, prices."""
    schemes = _fitting(bands.names(), rate, n_fft)
    starts = {}
    for family in STARTS:
        made = _fitting([f"{family}{k}" for k in COUNTS], rate, n_fft)
        cuts = {name.removeprefix(family): touching(scheme) for name, scheme in made.items()}
        starts[family] = {k: x for k, x in cuts.items() if len(x) == int(k) + 1}
    return {
        "n_fft": n_fft,
        "seconds": MAX_S,
        "schemes": [_row(scheme) for scheme in schemes.values()],
        "starts": starts,
        "cost": {name: _prices(name, rate, n_fft) for name in MODELS},
    }


def _fitting(names, rate, n_fft) -> dict:
    """name -> scheme, of those that have bands on this grid."""
    made = {}
    for name in names:
        with contextlib.suppress(UsageError):
            made[name] = bands.scheme(name, rate, n_fft)
    return made


def _row(scheme) -> dict:
    """What the page needs of a scheme: touching bands as cuts, weights as bytes, edges in Hz only
    where they are not those of the bins."""
    row = {"name": scheme.name, "source": scheme.source, "rounding": scheme.rounding}
    if scheme.overlapping:
        weights = np.concatenate(scheme.weights)
        row |= {"ranges": scheme.ranges, "weights": base64.b64encode(weights.tobytes()).decode()}
    else:
        row["cuts"] = touching(scheme)
    if scheme.edges_hz != scheme.actual_edges_hz:
        row["edges_hz"] = [float(f"{hz:.12g}") for hz in scheme.edges_hz]
    if scheme.uncovered:
        row["uncovered"] = scheme.uncovered
    if scheme.notes:
        row["notes"] = scheme.notes
    return row


def touching(scheme) -> list:
    """Borders (bins) of bands that touch: where bands overlap, half way between their centres.

    >>> touching(bands.equal(2, 8000, 16)), len(touching(bands.scheme("mel48")))
    ([0, 4, 9], 49)
    """
    if not scheme.overlapping:
        return [0, *(hi for _, hi in scheme.ranges)]
    matrix = scheme.matrix.astype(float)  # (K, F)
    centres = matrix @ (np.arange(scheme.bins) + 0.5) / matrix.sum(axis=1)  # (K,)
    middles = [round((low + high) / 2) for low, high in pairwise(centres)]
    return sorted({0, *middles, scheme.bins})


def _configured(preset, scheme):
    """The preset on the grid of a scheme, hop n_fft / 4."""
    config = models.presets()[choose(preset, MODELS, "preset")]
    stft = replace(config.stft, n_fft=scheme.n_fft, hop=scheme.n_fft // 4)
    return replace(config, sample_rate=scheme.sample_rate, stft=stft, scheme=scheme.to_json())


def _prices(name, rate, n_fft) -> dict:
    """[fixed, per band, per bin of a band] for parameters and MACs of a preset: they are linear in
    both, so three schemes give them exactly."""
    bins = n_fft // 2 + 1
    half = np.full(bins, 0.5)
    schemes = (
        bands.BandScheme("whole", [(0, bins)], rate, n_fft),
        bands.BandScheme("two", [(0, 8), (8, bins)], rate, n_fft),
        bands.BandScheme("twice", [(0, bins)] * 2, rate, n_fft, weights=[half, half]),
    )
    costs = [cost(_configured(name, scheme), MAX_S) for scheme in schemes]
    prices = {}
    for what in ("parameters", "macs"):
        whole, two, twice = (getattr(price, what) for price in costs)
        per_band, per_bin = two - whole, (twice - two) // bins
        prices[what] = [whole - per_band - per_bin * bins, per_band, per_bin]
    return prices
