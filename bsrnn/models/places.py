"""Which class stands at which place of a band-split network: the paper's, or a publication's.

norm, split, layer (along one axis), block, sequence, head, merge, film
"""

PLACES: dict[tuple[str, str], type] = {}  # (place, name in a ModelConfig) -> its class


def stands(place: str, *names: str):
    """Class decorator: at `place`, these names of a ModelConfig mean this class."""

    def enter(kind):
        PLACES.update({(place, name): kind for name in names})
        return kind

    return enter


def at(place: str, name: str):
    """The class that `name` means at `place`; the paper's if no other is registered."""
    from bsrnn.models import bsrnn, layers  # noqa: F401  they register what they hold

    return PLACES.get((place, name)) or PLACES[place, "paper"]
