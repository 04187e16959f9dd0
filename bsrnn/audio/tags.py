"""Title, artist and so on: the same names for every format."""

# As libsndfile calls them. "software" is left out: it would name who wrote the original.
TAGS = (
    "title", "artist", "album", "date", "genre", "tracknumber", "comment", "copyright", "license",
)  # fmt: skip
_AV = {"track": "tracknumber"}  # FFmpeg's names, where they differ


def known(found: dict) -> dict[str, str]:
    """The entries of `found` that are `TAGS`, under those names; empty ones left out."""
    named = {_AV.get(key.lower(), key.lower()): value.strip() for key, value in found.items()}
    return {name: named[name] for name in TAGS if named.get(name)}


def for_av(tags: dict[str, str]) -> dict[str, str]:
    """`tags` under FFmpeg's names."""
    back = {ours: theirs for theirs, ours in _AV.items()}
    return {back.get(name, name): value for name, value in tags.items()}
