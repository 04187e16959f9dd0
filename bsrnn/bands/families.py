"""Bands defined in Hz, the named rules that bring them to bins, and every scheme by its name.

Publications give the same Hz and disagree about bins; the rules are therefore named:
    "ceil"         a border at f Hz is the first bin not below f, ceil(f * n_fft / sample_rate). The
                   default, and what amanteur, crlandsc and Refined BSRNN do with V7, bass, drums.
    "round"        a border is the nearest bin (halves go to the even one).
    "floor-width"  magronp: a width of b Hz is floor(b * F / (sample_rate / 2)) bins, repeated: the
                   borders drift below their Hz, V7's "1 kHz" lies at 861 Hz.
    "round-width"  BandIt: a width is round(b * n_fft / sample_rate) bins, repeated up to the
                   rounded end of its region, where a short band is left over.
    "filterbank"   overlapping bands, see `perceptual`.

Sources: Luo and Yu, arXiv 2209.15174, section V-A; Magron et al. (SIMO-BSRNN, 57 joint bands,
github.com/magronp/bsrnn); Refined BSRNN (24-TET, github.com/sahandevs/Refined-BSRNN). Lesson 04.
"""

import itertools
import json
import math
import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from bsrnn.bands import perceptual
from bsrnn.bands.core import LARGEST_FFT, BandScheme, check_count, unsound
from bsrnn.common import UsageError, choose

MOST_BANDS = 4096
PAPER = "BSRNN (arXiv 2209.15174, V-A)"
V7 = ((1000, 100), (4000, 250), (8000, 500), (16000, 1000), (20000, 2000))
REGIONS = {  # (up to Hz, width in Hz); one more band reaches from the last edge to Nyquist
    "v1": ((math.inf, 1000),),  # the paper merges what is left below Nyquist into the last band
    "v2": ((16000, 1000), (20000, 2000)),
    "v3": ((8000, 1000), (16000, 2000), (20000, 4000)),
    "v4": ((1000, 100), (8000, 1000), (16000, 2000), (20000, 4000)),
    "v5": ((1000, 100), (16000, 1000), (20000, 2000)),
    "v6": ((1000, 100), (4000, 500), (8000, 1000), (16000, 2000), (20000, 4000)),
    "v7": V7,
    "bass": ((500, 50), (1000, 100), (4000, 500), (8000, 1000), (16000, 2000)),
    "drums": ((1000, 50), (2000, 100), (4000, 250), (8000, 500), (16000, 1000)),
    "other": V7,
    "joint": ((1000, 50), (2000, 100), (4000, 250), (8000, 500), (16000, 1000), (20000, 2000)),
}
SUFFIXES = {"magronp": "floor-width", "bandit": "round-width"}
PUBLISHED = {  # who has published which of them
    "magronp": ("v7", "bass", "drums", "other", "joint"),
    "bandit": ("v1", "v2", "v3", "v4", "v5", "v6", "v7", "bass", "drums", "other"),
}
BS_ROFORMER = (2,) * 24 + (4,) * 12 + (12,) * 8 + (24,) * 8 + (48,) * 8 + (128, 129)
ANY_K = ("equal", "octave", *perceptual.FAMILIES)


def names() -> list:
    """Names of the built-in schemes. "equal", "octave", "bark", "erb", "mel", "musical", "tribark",
    "minibark" and "mel-roformer" take any number of bands: `scheme("mel40")`."""
    roundings = [f"{name}-{who}" for who, theirs in PUBLISHED.items() for name in theirs]
    bandit = [f"{f}{k}" for f in ("bark", "erb", "mel", "musical", "tribark") for k in (48, 64)]
    plain = [f"{family}{k}" for family in ("equal", "octave") for k in (16, 32, 64)]
    return [*REGIONS, "tet24", *roundings, *bandit, "bs-roformer", "mel-roformer60", *plain]


@lru_cache(maxsize=256)
def scheme(name: str, sample_rate: int = 44100, n_fft: int = 2048) -> BandScheme:
    """The built-in scheme `name`, validated, for a sample rate in Hz and an n_fft. Lesson 04.

    Edges at or above Nyquist are dropped, bands that hold no bin are merged into the next one, and
    the last band reaches up to Nyquist; `.notes` says so.

    >>> len(scheme("v7")), scheme("v7").ranges[9:11], len(scheme("musical64"))
    (41, ((42, 47), (47, 59)), 64)
    >>> scheme("v7-magronp").actual_edges_hz[10]
    861.328125
    """
    _check_grid(sample_rate, n_fft)
    name = str(name).lower()
    counted = re.fullmatch(r"([a-z-]+?)(\d+)", name)
    if counted and counted[1] in ANY_K and not counted[2].startswith("0"):
        family, k = counted[1], int(counted[2][:5])
        if k > MOST_BANDS:
            raise UsageError(f"{name}: choose at most {MOST_BANDS} bands")
        if family in perceptual.FAMILIES:
            return perceptual.build(family, k, sample_rate, n_fft)
        return {"equal": equal, "octave": octave}[family](k, sample_rate, n_fft)
    choose(name, names(), "band scheme")
    if name == "tet24":
        return _tet24(sample_rate, n_fft)
    if name == "bs-roformer":
        edges = np.cumsum(BS_ROFORMER)[:-1] * 44100 / 2048  # published in bins of this grid
        source = "BS-RoFormer (arXiv 2309.02612), a table in bins at 44.1 kHz and n_fft 2048"
        return _merged(name, edges, sample_rate, n_fft, "ceil", source)
    base, _, who = name.partition("-")
    return from_regions(
        REGIONS[base], sample_rate, n_fft, name, SUFFIXES.get(who, "ceil"),
        source=PAPER + (f", bins as in {who}'s code" if who else ""),
    )  # fmt: skip


def project(old: BandScheme, sample_rate: int, n_fft: int) -> BandScheme:
    """See `BandScheme.project`."""
    if (old.sample_rate, old.n_fft) == (sample_rate, n_fft):
        return old
    try:
        built_in = scheme(old.name, old.sample_rate, old.n_fft).ranges == old.ranges
    except UsageError:
        built_in = False
    if built_in:
        return scheme(old.name, sample_rate, n_fft)
    if old.overlapping:
        raise UsageError(f"{old.name}: overlapping bands have no rule for another n_fft or rate")
    _check_grid(sample_rate, n_fft)
    rule = old.rounding if old.rounding in ("ceil", "round") else "ceil"
    return _merged(old.name, old.edges_hz[1:-1], sample_rate, n_fft, rule, old.source)


BandScheme._project = project


def from_edges_hz(edges, sample_rate=44100, n_fft=2048, name="own", rounding="ceil") -> BandScheme:
    """Bands between one's own borders in Hz: K + 1 values, 0 Hz and Nyquist may be left out; or
    K pairs (low, high) that touch. Strict: what does not fit this n_fft is an error. Lesson 04.

    >>> from_edges_hz([500, 4000], 16000, 512).ranges
    ((0, 16), (16, 128), (128, 257))
    """
    _check_grid(sample_rate, n_fft)
    choose(rounding, ("ceil", "round"), "rounding rule")
    nyquist = sample_rate / 2
    try:
        edges = np.asarray(list(edges), dtype=float)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: edges must be numbers in Hz: {error}") from error
    if edges.shape[1:] not in ((), (2,)):
        raise UsageError(f"{name}: give edges, or pairs (low, high), in Hz")
    edges = _touching(edges.tolist()) if edges.ndim == 2 else edges.tolist()
    for f in edges:
        if not 0 <= f <= nyquist:
            raise unsound("edge_outside", name, f=f, nyquist=nyquist)
    for low, high in itertools.pairwise(edges):
        if high <= low:
            raise unsound("edge_order", name, low=low, high=high)
    inner = [f for f in edges if 0 < f < nyquist]
    cuts = [0, *(_to_bin(f, sample_rate, n_fft, rounding) for f in inner), n_fft // 2 + 1]
    whole = [0.0, *inner, nyquist]
    for i, (lo, hi) in enumerate(itertools.pairwise(cuts)):
        if hi <= lo:
            step = sample_rate / n_fft
            raise unsound("edge_no_bin", name, low=whole[i], high=whole[i + 1], step=step)
    return _cut(name, cuts, sample_rate, n_fft, edges_hz=whole, rounding=rounding)


def from_regions(
    regions, sample_rate=44100, n_fft=2048, name="own", rounding="ceil", source="own"
) -> BandScheme:
    """Bands from ((up to Hz, width in Hz), ...) plus one up to Nyquist, by a named rule."""
    _check_grid(sample_rate, n_fft)
    choose(rounding, ("ceil", "round", "floor-width", "round-width"), "rounding rule")
    if rounding in ("ceil", "round"):
        edges = _region_edges(regions, sample_rate / 2)
        return _merged(name, edges, sample_rate, n_fft, rounding, source)
    rule = _floor_widths if rounding == "floor-width" else _round_widths
    cuts = rule(regions, sample_rate, n_fft)
    if any(hi <= lo for lo, hi in itertools.pairwise(cuts)):
        raise UsageError(
            f"{name} does not fit {sample_rate} Hz with n_fft {n_fft}: its {rounding} rule gives a "
            f"band without bins: use rounding 'ceil' (the scheme without suffix)"
        )
    return _cut(name, cuts, sample_rate, n_fft, rounding=rounding, source=source)


def equal(k: int, sample_rate: int = 44100, n_fft: int = 2048) -> BandScheme:
    """K bands of the same width in Hz; the last one also holds the Nyquist bin."""
    check_count(f"equal{k}", k, n_fft)
    edges = [i * sample_rate / 2 / k for i in range(1, k)]
    return _merged(f"equal{k}", edges, sample_rate, n_fft, "ceil", "equal width in Hz")


def octave(k: int, sample_rate: int = 44100, n_fft: int = 2048) -> BandScheme:
    """K bands of the same musical interval from bin 1 to Nyquist; low down, where the interval is
    less than a bin, one bin each, and the rest is shared out again. 0 Hz is in the first band."""
    check_count(f"octave{k}", k, n_fft)
    bins, cuts = n_fft // 2 + 1, [0]
    for left in range(k, 1, -1):
        low = max(1, cuts[-1])
        cuts.append(max(cuts[-1] + 1, round(low * (bins / low) ** (1 / left))))
    cuts.append(bins)
    return _cut(f"octave{k}", cuts, sample_rate, n_fft, rounding="round", source="equal octave")


def equal_energy(
    spectrum, k: int, sample_rate: int = 44100, name: str | None = None, exponent: float = 2.0
) -> BandScheme:
    """K bands that hold the same energy of `spectrum` (..., F, T), each at least one bin wide.

    No publication has such a scheme. `exponent` 2 is energy, 1 magnitude (flatter). Lesson 04.

    >>> equal_energy(np.ones((513, 4)), 4).widths
    (128, 128, 129, 128)
    """
    spectrum = np.abs(np.asarray(spectrum))
    bins = spectrum.shape[-2]
    n_fft, name = 2 * (bins - 1), name or f"equal-energy{k}"
    check_count(name, k, n_fft)
    share = (spectrum.astype(np.float64) ** exponent).sum(axis=-1).reshape(-1, bins).sum(axis=0)
    total = share.sum()  # share is (F,)
    if not (np.isfinite(total) and total > 0):
        raise UsageError(f"{name}: the spectrum is silent or not finite: give a sounding one")
    below = np.cumsum(share) / total  # (F,)
    cuts = [0]
    for i in range(1, k):
        wanted = int(np.argmin(np.abs(below - i / k))) + 1  # the border nearest to i / K
        cuts.append(min(max(wanted, cuts[-1] + 1), bins - (k - i)))
    cuts.append(bins)
    return _cut(name, cuts, sample_rate, n_fft, source=f"equal sums of |X|^{exponent:g}")


def read(path, sample_rate: int = 44100, n_fft: int = 2048) -> BandScheme:
    """One's own scheme from a file: `.json` (a scheme, projected if need be, or a list of edges in
    Hz) or `.csv` (an edge in Hz, or low,high, on each line; a heading is allowed)."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            edges = json.loads(text)
        else:
            lines = text.split("\n")
            heading = not re.match(r"\s*[-+.\d]", lines[0])
            rows = [re.split("[,;]", line) for line in lines[heading:] if line.strip()]
            cells = [[float(cell) for cell in row] for row in rows]
            edges = [row[0] if len(row) == 1 else row for row in cells]
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read the bands in {path} ({error}): repair it") from error
    if isinstance(edges, dict):
        return BandScheme.from_json(text).project(sample_rate, n_fft)
    if not isinstance(edges, list) or not edges:
        raise UsageError(f"{path} is no scheme: give an object, or a list of edges in Hz")
    return from_edges_hz(edges, sample_rate, n_fft, name=path.stem)


def _check_grid(sample_rate, n_fft) -> None:
    fits = 16 <= n_fft <= LARGEST_FFT and n_fft % 2 == 0
    if not (sample_rate > 0 and fits):
        raise UsageError(
            f"sample rate {sample_rate} Hz with n_fft {n_fft}: give a positive rate and an even "
            f"n_fft of at least 16, at most {LARGEST_FFT}"
        )


def _to_bin(f: float, sample_rate: int, n_fft: int, rounding: str) -> int:
    x = f * n_fft / sample_rate
    if abs(x - round(x)) < 1e-6:  # on a bin, up to the error of the product
        return round(x)
    return math.ceil(x) if rounding == "ceil" else round(x)


def _cut(name, cuts, sample_rate, n_fft, **fields) -> BandScheme:
    ranges = itertools.pairwise(cuts)
    return BandScheme(name, ranges, sample_rate, n_fft, **fields).validate()


def _merged(name, edges, sample_rate, n_fft, rounding, source) -> BandScheme:
    """Cut at inner `edges` (Hz, ascending): drop those at or above Nyquist, merge empty bands."""
    nyquist, bins = sample_rate / 2, n_fft // 2 + 1
    below = [float(f) for f in edges if f < nyquist]
    cuts, kept, merged = [0], [0.0], 0
    for f in below:
        at = _to_bin(f, sample_rate, n_fft, rounding)
        if cuts[-1] < at < bins:
            cuts.append(at)
            kept.append(f)
        else:
            merged += 1
    notes = []
    if len(below) < len(edges):
        notes.append(f"{len(edges) - len(below)} edges at or above {nyquist:g} Hz dropped")
    if merged:
        notes.append(f"{merged} bands without a bin at n_fft {n_fft} merged into the next")
    if 0 < 2 * kept[-1] < nyquist:
        notes.append(f"the last band reaches from {kept[-1]:g} to {nyquist:g} Hz")
    return _cut(
        name, [*cuts, bins], sample_rate, n_fft, edges_hz=[*kept, nyquist], rounding=rounding,
        source=source, notes=notes,
    )  # fmt: skip


def _region_edges(regions, nyquist: float) -> list:
    """All borders of the regions in Hz, exact; an endless region keeps only whole bands."""
    edges, low = [], 0
    for upper, width in regions:
        last = (nyquist // width - 1) * width if math.isinf(upper) else upper
        while low + width <= last:
            low += width
            edges.append(low)
    return edges


def _floor_widths(regions, sample_rate, n_fft) -> list:
    bins, low, cuts = n_fft // 2 + 1, 0, [0]
    for upper, width in regions:
        step = math.floor(width * bins / (sample_rate / 2))
        for _ in range(round((upper - low) / width)):
            cuts.append(cuts[-1] + step)
        low = upper
    return [*cuts, bins]


def _round_widths(regions, sample_rate, n_fft) -> list:
    bins, cuts = n_fft // 2 + 1, [0]
    for upper, width in regions:
        end = bins if math.isinf(upper) else round(upper * n_fft / sample_rate)
        step = max(1, round(width * n_fft / sample_rate))
        if end <= cuts[-1] or end > bins:
            return [0, 0]  # a region without bins: no such scheme on this grid
        while cuts[-1] < end:
            cuts.append(min(cuts[-1] + step, end))
    return cuts if cuts[-1] == bins else [*cuts, bins]


def _touching(pairs) -> list:
    """The K + 1 borders of K pairs (low, high) in Hz."""
    for k, ((_, high), (low, _)) in enumerate(itertools.pairwise(pairs)):
        if high != low:
            what = "overlap" if high > low else "leave a gap"
            raise UsageError(
                f"bands {k} and {k + 1} {what} between {low:g} and {high:g} Hz: "
                f"end band {k} where band {k + 1} begins"
            )
    return [low for low, _ in pairs] + [pairs[-1][1]]


def _tet24(sample_rate: int, n_fft: int) -> BandScheme:
    """Quarter tones of the 24-tone scale from 20 Hz to 20 kHz, thinned to 41 borders.

    The publication walks each border as a floating-point range; where the quotient of two equal
    differences is 1 + 1 ulp, a second border appears one step above (9988 and 19977 Hz show it).
    """
    notes, f = [], 20.0
    while f <= 20000:
        m = round(math.log2(f / 440) * 24)
        note = 440 * 2 ** (m / 24)
        if m % 2 == 1 and note <= 20000:  # odd: the quarter tones between the semitones
            notes.append(note)
        f = 440 * 2 ** ((m + 1) / 24)
    chosen = [notes[i * len(notes) // 41] for i in range(41)]
    edges, before = [], 0.0
    for f in chosen:
        step = f - before
        start, stop = before + step, f + step
        edges += [start + j * step for j in range(math.ceil((stop - start) / step))]
        before = f
    source = "Refined BSRNN, generic 24-TET bands"
    return _merged("tet24", sorted(edges), sample_rate, n_fft, "ceil", source)
