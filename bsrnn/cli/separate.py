"""`bsrnn separate`: songs into stems."""

import os
import sys
from pathlib import Path

from bsrnn.cli.shared import command, device_argument, fail, pick_device, stems_argument
from bsrnn.common import UsageError, added, choose, listed


def _separate_arguments(own):
    from bsrnn.audio.formats import FORMATS, SUFFIXES

    own.add_argument("songs", nargs="+", help=f"folders, globs, or files: {', '.join(SUFFIXES)}")
    own.add_argument("--model", default="music", help="model file or name (see `models`) [music]")
    own.add_argument("--config", help="YAML file of the settings that a model file does not tell")
    own.add_argument("--family", help="whose network a model file holds, such as bs-roformer")
    own.add_argument("-o", "--out", default="stems", help="to OUT/<song>/<stem>.wav [stems]")
    own.add_argument("--precision", default="fp32", help="fp32 (default), bf16 or int8: faster")
    stems_argument(own)
    own.add_argument("--two-stems", metavar="STEM", help="this stem, and the rest as no_STEM")
    own.add_argument("--residual", action="store_true", help="also what the stems leave over")
    own.add_argument(
        "--sum", action="append", default=[], metavar="NAME=A+B", dest="sums",
        help="also a sum of stems, such as karaoke=drums+bass+other; may be repeated",
    )  # fmt: skip
    own.add_argument("--project", action="store_true", help="make the stems add up to the song")
    own.add_argument("--shifts", type=int, default=1, help="mean over so many passes [1]")
    formats = ", ".join(suffix.removeprefix(".") for suffix in FORMATS)
    own.add_argument("--format", default="wav", help=f"{formats} or stem.mp4 [wav, float]")
    own.add_argument("--overwrite", action="store_true", help="replace stems that are there")
    own.add_argument("--backend", default="torch", help="torch (default), openvino or onnx")
    own.add_argument("--threads", type=int, default=0, help="of the CPU [all]")
    device_argument(own)


def _separator(args):
    """The model of `separate` on its device, or through another backend on the CPU."""
    import torch

    import bsrnn
    from bsrnn import models

    backend, precision = args.backend, args.precision
    choose(backend, ("torch", "openvino", "onnx"), "backend")
    choose(precision, models.PRECISIONS, "precision")
    if args.threads < 0:
        raise UsageError(f"--threads is {args.threads}: give 0 (all) or more")
    exported = Path(args.model).suffix in (".xml", ".onnx")
    if exported or backend != "torch":
        if exported:
            return bsrnn.deploy.load(args.model, args.threads, precision)
        loaded = bsrnn.load(args.model, config=args.config, family=args.family)
        return bsrnn.deploy.deployed(loaded, backend, args.threads, precision=precision)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    separator = bsrnn.load(args.model, device, args.config, family=args.family)
    return separator if precision == "fp32" else models.optimised(separator, precision)


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
        "suffix": f".{args.format.removeprefix('.')}",
    }  # fmt: skip
    if args.two_stems:
        if args.stems or args.residual:
            raise UsageError("--two-stems says which stems: leave out --stems and --residual")
        options.update(stems=(args.two_stems,), residual=f"no_{args.two_stems}")
    songs = separation.find(args.songs, args.out)
    separation.foresee(songs, options["suffix"])
    separator = _separator(args)
    if args.model in registry.EMBEDDED:
        print(f"{args.model}: a small model to learn with, not for production", file=sys.stderr)
    bar = sys.stderr.isatty()
    return _report(songs, separation.separate_files(separator, songs, args.out, bar, **options))


def _report(songs, results) -> int:
    """Print what was made, song by song, and the failures at the end; the exit code."""
    from tqdm import tqdm

    failed = []
    for song, made in results:
        if not isinstance(made, Exception):
            tqdm.write("\n".join(map(str, made.values())))  # beside a bar that may be there
        elif os.environ.get("BSRNN_DEBUG"):
            raise made
        else:
            words = str(made) if isinstance(made, UsageError) else repr(made)
            words = words if str(song) in words else f"{song}: {words}"
            failed.append(" ".join(words.split()))
    if len(songs) > 1 and failed:
        print(*failed, sep="\n", file=sys.stderr)
        failed = [f"{len(failed)} of {len(songs)} songs failed, see above"]
    return fail(failed[0], 1) if failed else 0
