"""Which songs train, which validate: the official MUSDB18 list, and a rule where it is not."""

import hashlib

# MUSDB18's 14 validation songs (of 100 training songs), as the musdb package lists them. The
# official split keeps songs of one artist on both sides; it is used as it is.
MUSDB_VALIDATION = (
    "Actions - One Minute Smile",
    "Clara Berry And Wooldog - Waltz For My Victims",
    "Johnny Lokke - Promises & Lies",
    "Patrick Talbot - A Reason To Leave",
    "Triviul - Angelsaint",
    "Alexander Ross - Goodbye Bolero",
    "Fergessen - Nos Palpitants",
    "Leaf - Summerghost",
    "Skelpolu - Human Mistakes",
    "Young Griffo - Pennies",
    "ANiMAL - Rockshow",
    "James May - On The Line",
    "Meaxic - Take A Step",
    "Traffic Experiment - Sirens",
)


def digest(text: str, length: int = 12) -> str:
    """The first `length` hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def artist(name: str) -> str:
    """The part before " - ", else the whole name: every such song is its own artist.

    >>> artist("Meaxic - Take A Step")
    'Meaxic'
    """
    return name.split(" - ")[0]


def validation(names) -> set[str]:
    """The validation songs among the training songs `names`.

    Where at least half of the official 14 are there, these. Otherwise a fifth of the songs
    (rounded; at least one of two), artist by artist (with fewer than three, song by song): first
    artists of official songs, then the others in the order of the SHA-256 of their names, each
    taken if it does not overshoot the fifth.

    >>> sorted(validation(["A - 1", "A - 2", "B - 1", "C - 1", "D - 1"]))
    ['D - 1']
    """
    names = sorted(names)
    official = [name for name in names if name in MUSDB_VALIDATION]
    if 2 * len(official) >= len(MUSDB_VALIDATION):
        return set(official)
    if len(names) < 2:
        return set()
    wanted = max(1, round(len(names) / 5))
    several = len({artist(name) for name in names}) >= 3
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(artist(name) if several else name, []).append(name)
    first = {artist(name) if several else name for name in official}
    chosen: list[str] = []
    for group in sorted(groups, key=lambda key: (key not in first, digest(key))):
        if group in first or len(chosen) + len(groups[group]) <= wanted:
            chosen += groups[group]
    return set(chosen) or set(groups[min(groups, key=lambda key: (len(groups[key]), digest(key)))])
