"""Band schemes: every published way to cut a spectrogram into bands, and tools for one's own.

    >>> v7 = scheme("v7")                     # the paper's vocals bands at 44.1 kHz, n_fft 2048
    >>> len(v7), v7.widths[:3], v7.bins
    (41, (5, 5, 4), 1025)
    >>> BandScheme.from_json(v7.to_json()) == v7
    True

Needs only numpy. `core` holds the value object, `families` the rules from Hz to bins and the names,
`perceptual` the overlapping filterbanks, `energy` what bands hold, `oracle` what they allow,
`design` schemes from data. Lesson 04.
"""

from bsrnn.bands.core import BandScheme, merge, split
from bsrnn.bands.energy import energy_per_band, gram_per_band
from bsrnn.bands.families import (
    equal,
    equal_energy,
    from_edges_hz,
    from_regions,
    names,
    octave,
    read,
    scheme,
)  # fmt: skip

__all__ = [
    "BandScheme", "scheme", "names", "from_edges_hz", "from_regions", "equal", "octave",
    "equal_energy", "read", "energy_per_band", "gram_per_band", "split", "merge",
]  # fmt: skip
