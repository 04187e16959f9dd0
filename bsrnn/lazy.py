"""Names that are imported on first use (PEP 562), so that importing their package costs nothing."""

import importlib


def attach(package: str, table: dict, rooms=(), more=()):
    """(__getattr__, __dir__, __all__) of a package.

    table: room -> the names that live in it; `bsrnn.load` is `load` of the room `models`.
    rooms: modules that are names themselves. more: what the package holds without any of this.

    >>> attach("bsrnn", {"errors": ("choose",)})[0]("choose").__name__
    'choose'
    """
    where = {name: room for room, names in table.items() for name in names}
    names = [*where, *rooms, *more]

    def get(name: str):
        if name in where:
            return getattr(importlib.import_module(f"{package}.{where[name]}"), name)
        if name in rooms:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(
            f"module {package!r} has no attribute {name!r}; it has {', '.join(names)}"
        )

    return get, lambda: sorted(names), names
