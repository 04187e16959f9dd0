"""`bsrnn separate`: songs into stems."""

import contextlib
import os
import sys
from pathlib import Path

from bsrnn.cli.shared import (
    COUNT,
    THREADS,
    added,
    command,
    device_argument,
    fail,
    file,
    listed,
    pick_device,
    stems_argument,
)
from bsrnn.common import DataError, UsageError, choose, printable

WORTH_TELLING_S = 60.0  # of sound; shorter songs are done before a trial is


def _separate_arguments(own):
    from bsrnn.audio.formats import FORMATS, SUFFIXES

    own.add_argument("songs", nargs="+", help=f"folders, globs, or files: {', '.join(SUFFIXES)}")
    own.add_argument(
        "--model", action="append",
        help="model file, name (see `models`), https:// or hf:// [music]; several are averaged",
    )  # fmt: skip
    own.add_argument(
        "--blend", action="append", default=[], metavar="[STEM=]2,1",
        help="weights of several models, for all stems or for one; may be repeated [equal]",
    )  # fmt: skip
    own.add_argument("--config", help="YAML file (or address) of settings that a model file lacks")
    own.add_argument("--family", help="whose network a model file holds, such as bs-roformer")
    own.add_argument("-o", "--out", default="stems", help="to OUT/<song>/<stem>.wav [stems]")
    own.add_argument(
        "--precision", default="fp32",
        help="fp32 (default), bf16 or int8: faster; auto: bf16 where it is faster and agrees",
    )  # fmt: skip
    own.add_argument("--query", help="clip of the sound wanted, or .npy embedding (Banquet)")
    stems_argument(own)
    own.add_argument("--two-stems", metavar="STEM", help="this stem, and the rest as no_STEM")
    own.add_argument("--residual", action="store_true", help="also what the stems leave over")
    own.add_argument(
        "--sum", action="append", default=[], metavar="NAME=A+B", dest="sums",
        help="also a sum of stems, such as karaoke=drums+bass+other; may be repeated",
    )  # fmt: skip
    own.add_argument("--project", action="store_true", help="make the stems add up to the song")
    own.add_argument("--shifts", type=COUNT, default=1, help="mean over so many passes [1]")
    own.add_argument("--tta", action="store_true", help="mean also over swapped and turned passes")
    formats = ", ".join(suffix.removeprefix(".") for suffix in FORMATS)
    own.add_argument("--format", default="wav", help=f"{formats} or stem.mp4 [wav, float]")
    own.add_argument("--overwrite", action="store_true", help="replace stems that are there")
    own.add_argument("--backend", default="torch", help="torch (default), openvino or onnx")
    own.add_argument("--threads", type=THREADS, default=0, help="of the CPU [all]")
    device_argument(own)


def _separator(args, songs):
    """The models of `separate`, one or blended."""
    from bsrnn import models, separation

    choose(args.backend, ("torch", "openvino", "onnx"), "backend")
    choose(args.precision, (*models.PRECISIONS, "auto"), "precision")
    weights = _weights(args.blend)
    if args.blend and len(args.model) < 2:
        raise UsageError("--blend weighs several models: give --model twice or more")
    separators = [_loaded(args, model, songs) for model in args.model]
    return separators[0] if len(separators) == 1 else separation.Blend(separators, weights)


def _loaded(args, model: str, songs):
    """One model on its device, or through another backend on the CPU."""
    import torch

    import bsrnn
    from bsrnn import models, separation

    backend, precision = args.backend, args.precision
    exported = Path(model).suffix in (".xml", ".onnx")
    if exported or backend != "torch":
        if precision == "auto":
            raise UsageError("--precision auto is for the backend torch: leave --backend")
        if exported:
            return bsrnn.deploy.load(model, args.threads, precision)
        loaded = bsrnn.load(model, config=args.config, family=args.family)
        return bsrnn.deploy.deployed(loaded, backend, args.threads, precision=precision)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    separator = bsrnn.load(model, device, args.config, family=args.family)
    if precision == "auto":
        second = _second(songs, separator.sample_rate)
        separator, why = separation.faster(separator, second, _query(args.query))
        print(f"{model}: {why}", file=sys.stderr)
        return separator
    return separator if precision == "fp32" else models.optimised(separator, precision)


def _second(songs, rate: int):
    """A second of the middle of the first song that can be read, (C, L) at the rate of a model."""
    import numpy as np

    from bsrnn import audio

    for song in songs:
        with contextlib.suppress(DataError):  # which its turn will tell
            info = audio.info(song)
            start = max(0, (info.samples - info.sample_rate) // 2)
            return audio.read(song, start, info.sample_rate, rate)[0]
    return np.zeros((2, rate), np.float32)


def _weights(texts):
    """Weights of `Blend` from `2,1` or `vocals=2,1`."""
    by_stem = {}
    for text in texts:
        stem, _, numbers = text.rpartition("=")
        try:
            by_stem[stem] = tuple(float(number) for number in numbers.split(","))
        except ValueError:
            raise UsageError(f"--blend {text}: write 2,1 or vocals=2,1") from None
    if "" in by_stem and len(by_stem) > 1:
        raise UsageError("--blend weighs all stems, or each by its name: write one of the two")
    return by_stem.get("", by_stem or None)


def _query(path):
    """The embedding in a .npy file, or that of a clip."""
    import numpy as np

    from bsrnn import audio, separation

    if not path or Path(path).suffix != ".npy":
        return separation.embedding(*audio.read(path)) if path else None
    try:
        return np.load(file(path), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path} holds no array ({error}): write it with numpy.save") from None


@command(
    "separate",
    "separate songs into stems, in memory that does not grow with their length",
    "separate song.mp3 albums/ --out stems --two-stems vocals --format flac",
    _separate_arguments,
)
def _separate(args):
    from bsrnn import separation
    from bsrnn.models.zoo import registry

    options = {
        "stems": listed(args.stems), "residual": args.residual, "sums": added(args.sums),
        "projection": args.project, "shifts": args.shifts, "overwrite": args.overwrite,
        "suffix": f".{args.format.removeprefix('.')}", "tta": args.tta, "query": _query(args.query),
    }  # fmt: skip
    args.model = args.model or ["music"]
    if args.two_stems:
        if args.stems or args.residual:
            raise UsageError("--two-stems says which stems: leave out --stems and --residual")
        options.update(stems=(args.two_stems,), residual=f"no_{args.two_stems}")
    songs = separation.find(args.songs, args.out)
    separation.foresee(songs, options["suffix"])
    separator, bar = _separator(args, songs), sys.stderr.isatty()
    results = separation.separate_files(separator, songs, args.out, bar, **options)
    for model in args.model:
        if model in registry.EMBEDDED:
            print(f"{model}: a small model to learn with, not for production", file=sys.stderr)
    if bar:
        _foretell(separator, songs, {name: options[name] for name in ("shifts", "tta", "query")})
    return _report(songs, results)


def _foretell(separator, songs, cutting):
    """Say how long it will take, where that is worth a trial."""
    from bsrnn import separation

    seconds = separation.seconds(songs)
    if seconds < WORTH_TELLING_S:
        return
    wait = separation.forecast_s(separator, seconds, **cutting)
    print(f"about {wait / 60:.1f} min for {seconds / 60:.1f} min of sound "
          f"({wait / seconds:.2f} s a second)", file=sys.stderr)  # fmt: skip


def _report(songs, results) -> int:
    """Print what was made, song by song, and the failures at the end; the exit code."""
    from tqdm import tqdm

    failed = []
    for song, made in results:
        if not isinstance(made, Exception):
            lines = "\n".join(map(str, made.values()))
            tqdm.write(printable(lines))  # beside a bar that may be there
        elif os.environ.get("BSRNN_DEBUG"):
            raise made
        else:
            words = str(made) if isinstance(made, UsageError) else repr(made)
            words = words if str(song) in words else f"{song}: {words}"
            failed.append(" ".join(words.split()))
    if len(songs) > 1 and failed:
        print(printable("\n".join(failed)), file=sys.stderr)
        failed = [f"{len(failed)} of {len(songs)} songs failed, see above"]
    return fail(failed[0], 1) if failed else 0
