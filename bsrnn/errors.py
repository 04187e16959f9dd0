"""The one error that a user is meant to read: a single line that says what is wrong and the fix."""


class UsageError(ValueError):
    """Bad input or a wrong argument. The command line prints it as one line and exits with 2.

    Raise it wherever the caller can fix the cause: unknown names, empty folders, unequal lengths.
    """


class DataError(UsageError):
    """Bad data: a missing root, a broken file, unequal stems. Exit code 1, like any other failure
    that was not a misuse of the command line."""


def choose(name: str, options, what: str) -> str:
    """Return `name` if it is one of `options`, else raise a UsageError naming the nearest ones.

    >>> choose("v7", ["v6", "v7"], "scheme")
    'v7'
    """
    import difflib

    options = [str(option) for option in options]
    if name in options:
        return name
    near = difflib.get_close_matches(str(name), options, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(options)}"
    raise UsageError(f"unknown {what} {name!r}: {hint}")


def optional(module: str):
    """Import a package that only some uses need; a UsageError says how to install it.

    >>> optional("json").dumps([1])
    '[1]'
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.split(".")[0]
        raise UsageError(f"{package} is not installed: pip install {package}") from None
