"""Where the named rungs of the data ladder lie on disk: generated, bundled or downloaded."""

import contextlib
import inspect
import io
import os
from importlib.util import find_spec
from pathlib import Path

from bsrnn.common import CHECKOUT, ROOT, DataError, choose

_CLIP = "The Easton Ellises - Falcon 69.stem.mp4"
_PREVIEWS = "MUSDB18-7-STEMS.zip from https://zenodo.org/records/3270814"


def home() -> Path:
    """Folder for generated and decoded data: $BSRNN_DATA, else data/generated of the checkout this
    package runs from, else the user's cache folder."""
    if os.environ.get("BSRNN_DATA"):
        return Path(os.environ["BSRNN_DATA"])
    if CHECKOUT and os.access(ROOT, os.W_OK):
        return ROOT / "data" / "generated"
    import pooch

    return Path(pooch.os_cache("bsrnn"))


def generated(name: str, seed: int, options: dict) -> Path:
    """The toy set or scenes with these options, made now unless they are there."""
    from bsrnn.data import toyband

    make = toyband.make if name == "toy" else toyband.scenes
    known = [key for key in inspect.signature(make).parameters if key not in ("root", "seed")]
    for key in options:
        choose(key, known, f"option of {name!r}")
    shape = "-".join(f"{key}{options[key]}" for key in sorted(options))
    parts = filter(None, [name, shape, f"seed{seed}", f"v{toyband.VERSION}"])
    return make(home() / "-".join(parts), seed=seed, **options)


def clip() -> Path:
    """stempeg's bundled excerpt of a real, professionally mixed song of MUSDB18's test set."""
    spec = find_spec("stempeg")  # located, not imported: importing it needs ffmpeg
    path = Path(spec.origin).parent / "data" / _CLIP if spec else None
    if path is None or not path.exists():
        raise DataError("the real excerpt is part of stempeg, not installed: pip install stempeg")
    return path


def previews() -> Path:
    """MUSDB18's 7-second previews in home()/musdb7, through musdb's own download."""
    root = home() / "musdb7"
    if (root / "train").is_dir():
        return root
    try:
        import musdb

        root.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(io.StringIO()):
            musdb.DB(root=str(root), download=True)
    except Exception as error:  # musdb raises plain RuntimeError, URLError, BadZipFile, ...
        if root.is_dir() and not any(root.iterdir()):
            root.rmdir()
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"no previews ({reason}): unpack {_PREVIEWS} into {root}") from error
    return root
