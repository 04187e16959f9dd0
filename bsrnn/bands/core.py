"""BandScheme: an immutable description of how F bins are cut into K bands, with its proof.

Conventions
    Bands are half-open bin ranges [lo, hi); bin i lies at i * sample_rate / n_fft Hz.
    Without weights a scheme is a partition. With weights its bands may overlap; on every covered
    bin they sum to one, so that split and merge give the input back. Bins that a publication leaves
    out (BandIt's Bark, ERB and Mel miss Nyquist) must be declared in `uncovered`. Lesson 04.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np

from bsrnn.common import UsageError, choose
from bsrnn.settings import checked, from_json

WORDS = {  # what makes a scheme unsound, and the fix; the band instrument says the same
    "none": "{name}: no bands: give at least one",
    "empty": "{name}: band {k} [{lo}, {hi}) is empty: merge it or widen it",
    "outside": (
        "{name}: band {k} [{lo}, {hi}) leaves the {bins} bins of n_fft {n_fft}: "
        "keep 0 <= lo < hi <= {bins}"
    ),
    "order": "{name}: bands are out of order: sort them by their first bin",
    "short": "{name}: bands cover {covered} of {bins} bins: add {missing} bins to the last band",
    "gap": (
        "{name}: bands cover {covered} of {bins} bins: no band holds bin {first}: "
        "widen its neighbour"
    ),
    "overlap": (
        "{name}: bands {before} and {k} overlap: end band {before} at bin {lo}, or give weights "
        "that sum to one"
    ),
    "sum": (
        "{name}: weights sum to {total:.6g} on bin {bin}, not to 1: divide the weights of that "
        "bin by {total:.6g}"
    ),
    "edge_outside": (
        "{name}: edge {f:g} Hz is not between 0 and Nyquist ({nyquist:g} Hz): remove it"
    ),
    "edge_order": "{name}: edge {high:g} Hz follows {low:g} Hz: sort them, each once",
    "edge_no_bin": (
        "{name}: no bin between {low:g} and {high:g} Hz (a bin is {step:.1f} Hz): merge the two "
        "edges or raise n_fft"
    ),
}
LARGEST_FFT = 2**16  # samples: beyond all use, still small in memory
JSON_KEYS = (
    "name", "sample_rate", "n_fft", "ranges", "weights", "edges_hz", "rounding", "uncovered",
    "source", "notes",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class BandScheme:
    """K bands over the bins of one STFT. Frozen, hashable, JSON round trip.

    ranges       K pairs (lo, hi) of bins, hi exclusive
    sample_rate  Hz; n_fft: samples
    weights      None, or K float32 arrays (W,): the share of each bin that belongs to the band
    edges_hz     K + 1 borders in Hz as the publication asks for them; where it speaks in bins only,
                 and where bands overlap, those of the bins (starts, then the end of the last band)
    rounding     the named rule that brought Hz to bins
    uncovered    bins that belong to no band, declared
    source       publication; `notes` says what a projection to this rate and n_fft changed

    >>> halves = BandScheme("halves", ((0, 2), (2, 5)), sample_rate=8000, n_fft=8)
    >>> len(halves), halves.widths, halves.edges_hz
    (2, (2, 3), (0.0, 2000.0, 4000.0))
    """

    name: str
    ranges: tuple
    sample_rate: Annotated[int, (1, 10**6)]
    n_fft: Annotated[int, (2, LARGEST_FFT)]
    weights: tuple | None = None
    edges_hz: tuple | None = None
    rounding: str = "ceil"
    uncovered: tuple = ()
    source: str = "own"
    notes: tuple = ()
    _project: ClassVar[Callable]  # set by `families`, which knows the built-in schemes by name

    def __post_init__(self):
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 (frozen)
        put("ranges", tuple((int(lo), int(hi)) for lo, hi in self.ranges))
        put("uncovered", tuple(int(i) for i in self.uncovered))
        put("notes", tuple(self.notes))
        if self.weights is not None:
            with np.errstate(over="ignore"):  # to infinite ones, which `validate` refuses
                frozen = tuple(np.array(w, dtype=np.float32) for w in self.weights)
            for w in frozen:
                w.flags.writeable = False
            put("weights", frozen)
        edges = self.actual_edges_hz if self.edges_hz is None else self.edges_hz
        put("edges_hz", tuple(float(f) for f in edges))
        checked(self)

    def _key(self):
        return (self.name, self.ranges, self.sample_rate, self.n_fft, self.edges_hz, self.rounding)

    def __eq__(self, other):
        if not isinstance(other, BandScheme):
            return NotImplemented
        same = self._key() == other._key() and self.overlapping == other.overlapping
        return same and all(map(np.array_equal, self.weights or (), other.weights or ()))

    def __hash__(self):
        return hash(self._key())

    def __len__(self):
        return len(self.ranges)

    @property
    def bins(self) -> int:
        """Number of bins F."""
        return self.n_fft // 2 + 1

    @property
    def overlapping(self) -> bool:
        """True if the scheme has weights, which declares that its bands may share bins."""
        return self.weights is not None

    @property
    def widths(self) -> tuple:
        """Bins per band."""
        return tuple(hi - lo for lo, hi in self.ranges)

    @property
    def spans_hz(self) -> tuple:
        """(low, high) in Hz per band, where the bins really begin and end; never above Nyquist."""
        step, top = self.sample_rate / self.n_fft, self.sample_rate / 2
        return tuple((lo * step, min(hi * step, top)) for lo, hi in self.ranges)

    @property
    def actual_edges_hz(self) -> tuple:
        """Starts of the bands and the end of the last: `edges_hz` shows how far they drifted."""
        return (*(lo for lo, _ in self.spans_hz), *(hi for _, hi in self.spans_hz[-1:]))

    @property
    def semitones(self) -> tuple:
        """Width of each band in semitones; a band that begins at 0 Hz is measured from bin 1/2."""
        half_bin = self.sample_rate / self.n_fft / 2
        return tuple(float(12 * np.log2(hi / max(lo, half_bin))) for lo, hi in self.spans_hz)

    @cached_property
    def matrix(self) -> np.ndarray:
        """Membership (K, F) float32: the weights, or ones where a band has the bin to itself."""
        matrix = np.zeros((len(self), self.bins), np.float32)  # (K, F)
        for k, (lo, hi) in enumerate(self.ranges):
            matrix[k, lo:hi] = 1 if self.weights is None else self.weights[k]
        matrix.flags.writeable = False
        return matrix

    @cached_property
    def coverage(self) -> np.ndarray:
        """How many bands hold each bin, (F,) integers."""
        count = np.zeros(self.bins, int)  # (F,)
        for lo, hi in self.ranges:
            count[lo:hi] += 1
        return count

    def validate(self) -> "BandScheme":
        """Return self if the scheme is sound, else raise a UsageError that says the fix (`WORDS`).

        Proves: every band has bins and lies below Nyquist, bands are in order, every bin is covered
        unless declared, no undeclared overlap, weights lie in [0, 1] and sum to one.
        """
        _check_ranges(self)
        _check_cover(self)
        if self.overlapping:
            _check_weights(self)
            return self
        for k, ((_, hi), (lo, _)) in enumerate(itertools.pairwise(self.ranges)):
            if lo < hi:
                raise unsound("overlap", self.name, before=k, k=k + 1, lo=lo)
        return self

    def to_json(self) -> str:
        """One JSON object; weights as the shortest decimals that give the same float32 back."""
        fields = {key: getattr(self, key) for key in JSON_KEYS}
        if self.weights is not None:
            fields["weights"] = [[float(str(x)) for x in w] for w in self.weights]
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> "BandScheme":
        """The validated scheme of a `to_json` text."""
        fields = from_json(text, "a band scheme")
        for name in fields:
            choose(name, JSON_KEYS, "key of a band scheme")
        try:
            return cls(**fields).validate()
        except Exception as error:  # whatever the values of a stranger's file make of it
            words = " ".join(str(error).split())  # its name may hold line feeds
            if not isinstance(error, UsageError):
                words = f"no band scheme ({words}): give name, ranges, sample_rate, n_fft"
            raise UsageError(words) from error

    def project(self, sample_rate: int, n_fft: int) -> "BandScheme":
        """The same scheme for another rate and n_fft: a built-in one by its rule, another one from
        its edges in Hz (edges above Nyquist dropped, empty bands merged; see `notes`)."""
        return self._project(sample_rate, n_fft)


def unsound(key: str, name: str, **values) -> UsageError:
    """The error of `WORDS[key]`."""
    return UsageError(WORDS[key].format(name=name, **values))


def _check_ranges(scheme: BandScheme) -> None:
    name, bins, n_fft = scheme.name, scheme.bins, scheme.n_fft
    if not scheme.ranges:
        raise unsound("none", name)
    for k, (lo, hi) in enumerate(scheme.ranges):
        if hi <= lo:
            raise unsound("empty", name, k=k, lo=lo, hi=hi)
        if lo < 0 or hi > bins:
            raise unsound("outside", name, k=k, lo=lo, hi=hi, bins=bins, n_fft=n_fft)
    if any(before > after for (before, _), (after, _) in itertools.pairwise(scheme.ranges)):
        raise unsound("order", name)
    if len(scheme.edges_hz) != len(scheme) + 1:
        raise UsageError(f"{name}: {len(scheme)} bands need {len(scheme) + 1} edges_hz")


def _check_cover(scheme: BandScheme) -> None:
    missing = np.flatnonzero(scheme.coverage == 0)
    if tuple(missing) == scheme.uncovered:
        return
    first = set(missing.tolist()) - set(scheme.uncovered)
    if not first:
        raise UsageError(f"{scheme.name}: `uncovered` names covered bins: give {tuple(missing)}")
    raise unsound(
        "short" if missing[0] >= scheme.ranges[-1][1] else "gap",
        scheme.name, covered=scheme.bins - len(missing), bins=scheme.bins, missing=len(missing),
        first=min(first),
    )  # fmt: skip


def _check_weights(scheme: BandScheme) -> None:
    if len(scheme.weights) != len(scheme):
        raise UsageError(f"{scheme.name}: {len(scheme.weights)} weights for {len(scheme)} bands")
    for k, (w, width) in enumerate(zip(scheme.weights, scheme.widths, strict=True)):
        if w.shape != (width,):
            raise UsageError(f"{scheme.name}: band {k} has {width} bins: give as many weights")
        if not (np.all(np.isfinite(w)) and w.min() >= 0 and w.max() <= 1 + 1e-6):
            raise UsageError(f"{scheme.name}: weights of band {k} must lie between 0 and 1")
    total = scheme.matrix.sum(axis=0, dtype=np.float64)  # (K, F) -> (F,)
    wrong = np.flatnonzero((scheme.coverage > 0) & (np.abs(total - 1) > 1e-5))
    if len(wrong):
        raise unsound("sum", scheme.name, total=total[wrong[0]], bin=wrong[0])


def split(scheme: BandScheme, spectrum: np.ndarray) -> list:
    """Cut a spectrum (..., F, T) into K views (..., W, T). Lesson 04."""
    check_bins(scheme, spectrum)
    return [spectrum[..., lo:hi, :] for lo, hi in scheme.ranges]  # (..., F, T) -> K x (..., W, T)


def merge(scheme: BandScheme, bands: list) -> np.ndarray:
    """Inverse of `split`: K parts (..., W, T) to (..., F, T), the weighted sum where bands overlap;
    bins of no band come out as zero."""
    whole = np.zeros((*bands[0].shape[:-2], scheme.bins, bands[0].shape[-1]), bands[0].dtype)
    for k, (lo, hi) in enumerate(scheme.ranges):
        weight = 1 if scheme.weights is None else scheme.weights[k][:, None]  # (W, 1)
        whole[..., lo:hi, :] += bands[k] * weight  # (..., W, T)
    return whole  # (..., F, T)


def check_count(name: str, k: int, n_fft: int, least: int = 1) -> None:
    """UsageError unless the bins of an n_fft can be cut into `k` bands."""
    bins = n_fft // 2 + 1
    if not least <= k <= bins:
        raise UsageError(f"{name}: n_fft {n_fft} has {bins} bins: choose {least} to {bins} bands")


def check_bins(scheme: BandScheme, spectrum: np.ndarray) -> None:
    """Raise a UsageError unless the spectrum is (..., F, T) with the F of the scheme."""
    if spectrum.ndim < 2 or spectrum.shape[-2] != scheme.bins:
        raise UsageError(
            f"spectrum {spectrum.shape} does not fit the {scheme.bins} bins of {scheme.name}: give "
            f"(..., F, T), or scheme.project(sample_rate, n_fft) for another n_fft"
        )
