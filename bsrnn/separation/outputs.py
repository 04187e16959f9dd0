"""From what a separator computes to what was asked for, block by block. Lesson 08."""

import numpy as np

from bsrnn.common import UsageError, choose, file_name

RESIDUAL = "residual"
PROJECTIONS = ("equal", "energy")


def project(estimates: np.ndarray, mixture: np.ndarray, how: str = "equal") -> np.ndarray:
    """Estimates (S, C, L) changed so that they add up to the mixture (C, L).

    how: "equal" gives every stem the same part of what is missing, the nearest point at which they
    add up (mixture consistency, Wisdom et al. 2019); "energy" gives it in proportion to the squared
    samples, so that a silent stem stays silent (equal parts where all are silent).

    >>> project(np.array([[[1.0]], [[2.0]]]), np.array([[6.0]])).tolist()
    [[[2.5]], [[3.5]]]
    """
    missing = mixture - estimates.sum(axis=0)  # (C, L)
    if choose(how, PROJECTIONS, "projection") == "equal":
        return estimates + missing / len(estimates)
    energy = np.square(estimates)
    total = energy.sum(axis=0)  # (C, L)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(total > 0, energy / total, np.float32(1 / len(estimates)))  # (S, C, L)
    return estimates + share * missing


class Outputs:
    """What to compute (stems `.computed`), and what to return under which `.names`.

    known: the separator's stems. stems: those to return (None: all, (): none). residual: also the
    mixture minus these, under that name (True: "residual"). sums: name -> stems that are added up.
    projection: False, or True ("equal") or a name for `project`: all stems are computed and add up.
    Raises UsageError for unknown stems, names given twice, and nothing to return.
    """

    def __init__(self, known, stems=None, residual=False, sums=None, projection=False):
        self.returned = _chosen(known if stems is None else stems, known)
        self.sums = {name: _chosen(parts, known) for name, parts in (sums or {}).items()}
        self.residual = RESIDUAL if residual is True else residual or None
        self.projection = "equal" if projection is True else projection or None
        if self.projection:
            choose(self.projection, PROJECTIONS, "projection")
            if len(known) < 2:
                raise UsageError("one stem that adds up to the mixture is the mixture: leave it")
        self.compare = bool(self.residual or self.projection)  # with the mixture
        parts = [*self.returned, *(part for parts in self.sums.values() for part in parts)]
        self.computed = tuple(known) if self.projection else tuple(dict.fromkeys(parts))
        self.names = (*self.returned, *self.sums, *([self.residual] if self.residual else ()))
        for name in self.names:
            if self.names.count(name) > 1:
                raise UsageError(f"two outputs are called {name!r}: give the sum another name")
            if file_name(name) != name:
                raise UsageError(f"an output cannot be called {name!r}: it names a file")
        if not self.computed:
            raise UsageError("no stem is asked for: name at least one, or a sum of some")
        if self.residual and not self.returned:
            raise UsageError("the residual is what the stems leave: ask for at least one stem")

    def __call__(self, estimates: np.ndarray, mixture: np.ndarray) -> dict[str, np.ndarray]:
        """Estimates (S, C, L) of `.computed`, mixture (C, L) for `.compare` -> name -> (C, L)."""
        if self.projection:
            estimates = project(estimates, mixture, self.projection)
        stem = dict(zip(self.computed, estimates, strict=True))
        found = {name: stem[name] for name in self.returned}
        for name, parts in self.sums.items():
            found[name] = sum(stem[part] for part in parts)
        if self.residual:
            found[self.residual] = mixture - sum(stem[name] for name in self.returned)
        return found


def _chosen(stems, known) -> tuple[str, ...]:
    stems = (stems,) if isinstance(stems, str) else stems
    return tuple(dict.fromkeys(choose(stem, known, "stem") for stem in stems))
