"""The command line: `python -m bsrnn COMMAND`. Thin: every command calls one public function.

Exit code 0 if all went well, 1 if something failed (data, a lesson, a check), 2 if the command
was misused, 130 after Ctrl-C. An error is one line; BSRNN_DEBUG=1 shows where it came from.
Rooms are imported inside the commands, so `--help` answers at once.
"""

import argparse
import os
import sys
from pathlib import Path

from bsrnn.errors import DataError, UsageError, choose
from bsrnn.options import added, configured, listed, once, typed

_COMMANDS = []  # (name, help, example, add_arguments, run), filled by @command
_GROUPS = {"course": "run, check and stamp the lessons, grade assignments"}


def command(name: str, summary: str, example: str, add=lambda parser: None):
    """Register a function (args) -> exit code as the command `name`."""

    def register(function):
        _COMMANDS.append((name, summary, example, add, function))
        return function

    return register


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(f"{message} (see {self.prog} --help)")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    shape = argparse.RawDescriptionHelpFormatter
    top = _Parser(
        prog="bsrnn",
        formatter_class=shape,
        description="Band-split source separation: run the course, train, evaluate, separate.",
        epilog="example: python -m bsrnn course run 04",
    )
    places = {"": top.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)}
    for group, summary in _GROUPS.items():
        inner = places[""].add_parser(
            group, help=summary, description=summary, formatter_class=shape,
            epilog=f"example: python -m bsrnn {group} run",
        )  # fmt: skip
        places[group] = inner.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for name, summary, example, add, function in _COMMANDS:
        group, _, last = name.rpartition(" ")
        own = places[group].add_parser(
            last, help=summary, description=summary, formatter_class=shape,
            epilog=f"example: python -m bsrnn {example}",
        )  # fmt: skip
        add(own)
        own.set_defaults(run=function)
    return top


def main(argv=None) -> int:
    """Run the command line; returns the exit code."""
    try:
        args = parser().parse_args(argv)
        return args.run(args) or 0
    except SystemExit as stop:  # --help, a signal
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # `... | head` closed our output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("BSRNN_DEBUG"):
            raise
        if isinstance(error, UsageError):
            return _fail(error, 1 if isinstance(error, DataError) else 2)
        return _fail(f"{type(error).__name__}: {error} (BSRNN_DEBUG=1 shows where)", 1)


def _fail(words, code: int) -> int:
    print(f"bsrnn: {' '.join(str(words).split())}", file=sys.stderr)
    return code


# Arguments that several commands share


def _dataset(own):
    own.add_argument("--dataset", default="toy", help="toy, clip, musdb7, or a folder of songs")


def _stems(own):
    own.add_argument("--stems", help="comma-separated; default: all of the model or dataset")


def _device(own):
    own.add_argument("--device", default="auto", help="auto, cpu or cuda")


def _parameters(own):
    own.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters",
        help="set one parameter; may be repeated",
    )  # fmt: skip


def _file(path: str) -> Path:
    if not Path(path).is_file():
        raise UsageError(f"no file {path}: check the path")
    return Path(path)


def _pick_device(name: str) -> str:
    """'auto' resolved; refuses CUDA where there is none."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device here: use --device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


# The course


def _run_arguments(own):
    own.add_argument("lessons", nargs="*", help="numbers, names or paths; none: all lessons")
    _parameters(own)
    own.add_argument("--profile", help="smoke (default), small or full")
    own.add_argument("--out", help="folder for notebooks, pages and results [runs/course]")
    own.add_argument("--timeout", type=float, default=3600, help="seconds for one cell [3600]")


@command(
    "course run",
    "execute lessons strictly; notebooks and pages go to runs/course",
    "course run 04 07 -p seed 1 --profile small",
    _run_arguments,
)
def _course_run(args):
    from bsrnn.course import progress, runner

    given = once(args.parameters + ([["profile", args.profile]] if args.profile else []))
    results = runner.run(args.lessons, given, args.out, args.timeout, progress.watcher())
    failed = [result.lesson for result in results if result.error]
    seconds, where = sum(result.seconds for result in results), results[0].page.parent
    print(f"{len(results) - len(failed)} of {len(results)} lessons ran in {seconds:.0f} s: {where}")
    return _fail(f"failed: {', '.join(failed)} (their pages show where)", 1) if failed else 0


def _check_arguments(own):
    own.add_argument("lessons", nargs="*", help="numbers, names or paths; none: all lessons")
    own.add_argument("--update", action="store_true", help="re-run in smoke, store the outputs")


@command(
    "course check",
    "check the grammar of lessons and that their stored outputs are fresh",
    "course check --update 04",
    _check_arguments,
)
def _course_check(args):
    from bsrnn.course import outputs, progress, runner

    problems = outputs.check(args.lessons, args.update, progress.watcher())
    count = len(runner.select(args.lessons))
    print(*problems or [f"{count} lessons are sound and fresh"], sep="\n")
    return _fail(f"{len(problems)} problems in {count} lessons", 1) if problems else 0


@command(
    "course badge",
    "stamp another repository address everywhere (for a fork)",
    "course badge --repository owner/name",
    lambda own: own.add_argument("--repository", required=True, help="owner/name on GitHub"),
)
def _course_badge(args):
    from bsrnn.course import stamp

    changed = [str(path.relative_to(stamp.ROOT)) for path in stamp.restamp(args.repository)]
    print(*changed, f"{len(changed)} files stamped with {stamp.repository()}", sep="\n")


def _grade_arguments(own):
    own.add_argument("submissions", nargs="+", help="notebooks, or folders of them")
    own.add_argument("--assignment", help="such as a1; default: told by the functions defined")
    own.add_argument("--seed", type=int, default=0, help="of the hidden tests' inputs [0]")
    own.add_argument("--out", help="also write the marks: a .csv or .json file")


@command(
    "course grade",
    "grade submitted assignments by function name, each question in a process with limits",
    "course grade submitted/ --assignment a1 --seed 2024 --out marks.csv",
    _grade_arguments,
)
def _course_grade(args):
    from bsrnn.course import grading, stamp

    out = Path(args.out) if args.out else None
    if out:
        choose(out.suffix, (".csv", ".json"), "ending of --out")
        if not out.parent.is_dir():
            raise UsageError(f"no folder {out.parent}: make it first")
    watch = lambda sheet: print(sheet.text(), flush=True)  # noqa: E731
    sheets = grading.grade_all(args.submissions, args.assignment, args.seed, watch)
    if out:
        stamp.write_text(out, grading.table(sheets, out.suffix[1:]))
    failed = [sheet.submission for sheet in sheets if sheet.error]
    return _fail(f"not graded: {', '.join(failed)}", 1) if failed else 0


def _release_arguments(own):
    own.add_argument("assignments", nargs="*", help="such as a1; none: all")
    own.add_argument("--check", action="store_true", help="only say which are stale")


@command(
    "course release",
    "make the students' notebooks: without solutions and hidden tests",
    "course release a1",
    _release_arguments,
)
def _course_release(args):
    from bsrnn.course import release

    stale = release.release(args.assignments, args.check)
    for path in stale:
        print("stale:" if args.check else "written:", path.relative_to(release.ASSIGNMENTS))
    if args.check and stale:
        return _fail(f"{len(stale)} stale: run `course release`", 1)
    print(f"{len(set(args.assignments)) or len(release.sources())} assignments released and fresh")
    return 0


# Models


def _train_arguments(own):
    own.add_argument("model", help="preset (see `models`) or a JSON file of a ModelConfig")
    own.add_argument("--train", default="smoke", help="preset: smoke (default), small, paper ...")
    _dataset(own)
    _stems(own)
    own.add_argument("--scheme", help="band scheme (see `bands`), or a .json or .csv file of one")
    own.add_argument("--steps", type=int, help="optimiser updates")
    own.add_argument("--minutes", type=float, help="stop after so many CPU minutes")
    own.add_argument("--seed", type=int, help="of weights and examples")
    own.add_argument("--out", default="runs/train", help="run folder [runs/train]")
    own.add_argument("--resume", action="store_true", help="go on from the state in --out")
    own.add_argument("--initial", help="model file to start from")
    own.add_argument("--unlabelled", help="folder of songs without stems; --initial labels them")
    own.add_argument("--freeze", help="parts that stay as they are: split,sequence,masks")
    own.add_argument(
        "--check", action=argparse.BooleanOptionalAction,
        help="overfit one batch first; default: before 20,000 steps and more",
    )  # fmt: skip
    own.add_argument("--plan", action="store_true", help="only say what it will cost, what fits")
    own.add_argument("--memory-gb", type=float, default=16.0, help="for --plan, per process [16]")
    own.add_argument("--tensorboard", action="store_true", help="log to OUT/tensorboard too")
    own.add_argument(
        "--devices", default="auto",
        help="processes of this machine: a number, all (GPUs), or auto (torchrun, SLURM; else one)",
    )  # fmt: skip
    _device(own)
    _parameters(own)


def _model_config(name: str):
    """A preset, or the ModelConfig in a JSON file."""
    from bsrnn import models

    if name.endswith(".json"):
        return models.ModelConfig.from_json(_file(name).read_text(encoding="utf-8"))
    return models.presets()[choose(name, models.presets(), "model preset")]


@command(
    "train",
    "train a separator; checkpoints, log and card go to --out, Ctrl-C keeps the state",
    "train small --dataset ~/musdb18hq --stems vocals --scheme v7 --minutes 60 --out runs/vocals",
    _train_arguments,
)
def _train(args):
    from bsrnn import bands, data, training

    model = _model_config(args.model)
    if (args.scheme or "").endswith((".json", ".csv")):  # own bands, such as the explorer saves
        own = bands.read(args.scheme, model.sample_rate, model.stft.n_fft)
        args.scheme = own.to_json()
    train = training.presets()[choose(args.train, training.presets(), "training preset")]
    named = {
        "stems": listed(args.stems), "scheme": args.scheme, "steps": args.steps,
        "max_minutes": args.minutes, "seed": args.seed,
    }  # fmt: skip
    if args.minutes and args.steps is None:
        named["steps"] = 10**9  # the minutes decide
    given = [(name, value) for name, value in named.items() if value is not None]
    model, train = configured([model, train], once(given + args.parameters))
    if args.plan:
        print(training.plan(model, args.memory_gb, train, args.device).text())
        return
    for note in model.bands.notes:
        print(f"bands {model.bands.name}: {note}")
    result = training.fit(
        model,
        train,
        data.open(args.dataset),
        args.out,
        initial=args.initial,
        freeze=listed(args.freeze) or (),
        resume=args.resume,
        device=args.device,
        devices=args.devices,
        check=args.check,
        tensorboard=args.tensorboard,
        unlabelled=args.unlabelled,
    )
    if training.machine.rank() == 0:
        print(f"best model: {result.best_path} ({result.seconds:.0f} s)")


def _evaluate_arguments(own):
    own.add_argument("model", help="model file or name (see `models`)")
    _dataset(own)
    own.add_argument("--subset", default="test", help="train, valid, test (default) or all")
    _stems(own)
    own.add_argument("--out", help="folder for the report: HTML, CSV, JSON, museval's JSON")
    own.add_argument("--workers", type=int, default=1, help="songs at a time [1]")
    _device(own)


@command(
    "evaluate",
    "score a model on a dataset, beside silence, the mixture and an oracle",
    "evaluate runs/vocals/best.safetensors --dataset ~/musdb18hq --out runs/vocals/report",
    _evaluate_arguments,
)
def _evaluate(args):
    import logging

    import bsrnn
    from bsrnn import data, evaluation, explore

    logging.basicConfig(format="%(message)s")
    logging.getLogger("bsrnn").setLevel(logging.INFO)  # a line per song where no bar can be drawn
    separator = bsrnn.load(args.model, device=_pick_device(args.device))
    songs = data.open(args.dataset)
    songs = songs if args.subset == "all" else songs.subset(args.subset)
    report = evaluation.evaluate(
        separator, songs, stems=listed(args.stems), out_dir=args.out, workers=args.workers
    )
    print(report.table().round(2).to_string())
    if args.out:
        page = explore.report_page(report, Path(args.out) / "report.html", songs, separator)
        print(f"report: {page}")


def _separate_arguments(own):
    own.add_argument("songs", nargs="+", help="audio files, folders or globs: wav, mp3, m4a ...")
    own.add_argument("--model", default="music", help="model file or name (see `models`) [music]")
    own.add_argument("-o", "--out", default="stems", help="to OUT/<song>/<stem>.wav [stems]")
    own.add_argument("--precision", default="fp32", help="fp32 (default), bf16 or int8: faster")
    _stems(own)
    own.add_argument("--two-stems", metavar="STEM", help="this stem, and the rest as no_STEM")
    own.add_argument("--residual", action="store_true", help="also what the stems leave over")
    own.add_argument(
        "--sum", action="append", default=[], metavar="NAME=A+B", dest="sums",
        help="also a sum of stems, such as karaoke=drums+bass+other; may be repeated",
    )  # fmt: skip
    own.add_argument("--project", action="store_true", help="make the stems add up to the song")
    own.add_argument("--shifts", type=int, default=1, help="mean over so many passes [1]")
    own.add_argument("--format", default="wav", help="wav (float, default), flac, mp3, m4a ...")
    own.add_argument("--overwrite", action="store_true", help="replace stems that are there")
    own.add_argument("--backend", default="torch", help="torch (default), openvino or onnx")
    own.add_argument("--threads", type=int, default=0, help="of the CPU [all]")
    _device(own)


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
        number = precision.replace("fp32", "f32")
        if exported:
            return bsrnn.deploy.load(args.model, args.threads, number)
        loaded = bsrnn.load(args.model)
        return bsrnn.deploy.deployed(loaded, backend, args.threads, precision=number)
    if args.threads:
        torch.set_num_threads(args.threads)
    separator = bsrnn.load(args.model, device=_pick_device(args.device))
    return separator if precision == "fp32" else models.optimised(separator, precision)


@command(
    "separate",
    "separate songs into stems, in memory that does not grow with their length",
    "separate song.mp3 albums/ --out stems --two-stems vocals --format flac",
    _separate_arguments,
)
def _separate(args):
    from bsrnn import separation
    from bsrnn.models import registry

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
            words = str(made) if isinstance(made, UsageError) else f"{song}: {made!r}"
            failed.append(" ".join(words.split()))
    if len(songs) > 1 and failed:
        print(*failed, sep="\n", file=sys.stderr)
        failed = [f"{len(failed)} of {len(songs)} songs failed, see above"]
    return _fail(failed[0], 1) if failed else 0


def _models_arguments(own):
    own.add_argument("name", nargs="?", help="published weights: show their whole passport")
    own.add_argument("--licence", help="of the weights: permissive, non-commercial, MIT ...")
    own.add_argument("--task", help="music, cinematic ...")


@command(
    "models",
    "list the model presets for `train` and the published weights for `separate`",
    "models --licence permissive --task music",
    _models_arguments,
)
def _models(args):
    from bsrnn import models
    from bsrnn.models import registry

    if args.name:
        choose(args.name, registry.passports(), "published weights")
        for column, value in registry.passport(args.name).items():
            print(f"{column:16}{value or 'unknown'}")
        return
    if not (args.licence or args.task):
        print(f"{'preset':24}{'scheme':10}{'N':>5}{'R':>4}  stems")
        for name, config in models.presets().items():
            size = f"{config.features:5}{config.repeats:4}"
            print(f"{name:24}{config.scheme[:9]:10}{size}  {', '.join(config.stems)}")
        print("\nembedded weights, small, to learn with")
        for name, stems in registry.EMBEDDED.items():
            print(f"{name:45}{', '.join(stems)}")
        print()
    print(*registry.lines(registry.listing(args.licence, args.task)), sep="\n")


def _cost_arguments(own):
    own.add_argument(
        "model", nargs="*", help="presets (see `models`), JSON files of them, d3net, hdemucs ..."
    )
    own.add_argument("--table", action="store_true", help="BandIt's table: 15 published systems")
    own.add_argument("--seconds", type=float, default=6.0, help="length of the input [6]")
    _parameters(own)
    own.add_argument("--measure", action="store_true", help="time it here; also weights")
    own.add_argument("--threads", default="1,2", help="of --measure [1,2]")
    own.add_argument("--repeats", type=int, default=5, help="rounds of --measure [5]")
    own.add_argument("--compile", action="store_true", help="measure torch.compile, too")
    own.add_argument("--csv", "--out", help="file for the table of --table or --measure")


@command(
    "cost",
    "parameters, multiply-accumulates and activation memory of a model, or its measured speed",
    "cost small -p scheme tet24 -p features 64",
    _cost_arguments,
)
def _cost(args):
    if not args.seconds > 0:
        raise UsageError(f"--seconds is {args.seconds}: give a number above 0")
    given = once(args.parameters)
    if args.table == bool(args.model) or (args.table and given):
        raise UsageError("cost needs models, or --table alone: cost small, or cost --table")
    if args.table:
        return _table(args)
    if args.measure:
        return _measure(args, given)
    for model in args.model:
        whole = _whole_cost(model, given, args.seconds)
        print(f"{model if len(args.model) > 1 else 'part':12}"
              f"{'parameters':>14}{'GMAC':>10}{'activations MB':>16}")  # fmt: skip
        for name, part in [*whole.parts.items(), ("all", whole)]:
            sizes = f"{part.macs / 1e9:10.3f}{part.activation_bytes / 1e6:16.1f}"
            print(f"{name:12}{part.parameters:14,}{sizes}")
    return 0


def _whole_cost(model, given, seconds):
    """In closed form, or counted for the systems that are compared with."""
    from bsrnn.cost import cost, counted
    from bsrnn.models import D3NetConfig, baselines, build

    if model in ("d3net", *baselines.NAMES) and not given:
        separator = build(D3NetConfig()) if model == "d3net" else baselines.untrained(model)
        return counted(separator, seconds)
    (config,) = configured([_model_config(model)], given)
    return cost(config, seconds)


def _table(args):
    from bsrnn import benchmark, complexity

    rows = complexity.table(args.seconds)
    if args.measure:
        threads = typed("threads", listed(args.threads)[0], 1)
        rows = complexity.measured(rows, args.seconds, threads, args.repeats, progress=True)
    if args.csv:
        benchmark.write(rows, args.csv)
    print(complexity.text(rows))
    return 0


def _measure(args, given):
    import torch

    import bsrnn
    from bsrnn import benchmark, models

    threads = [typed("threads", count, 1) for count in listed(args.threads) or ()]
    separators = {}
    for name in args.model:
        file = Path(name).is_file() and not name.endswith(".json")
        if file or name in models.registry.EMBEDDED:
            separator = bsrnn.load(name)
        else:
            (config,) = configured([_model_config(name)], given)
            torch.manual_seed(0)
            separator = models.build(config).eval()
        separators[Path(name).name] = benchmark.options(separator, args.compile)
    found = benchmark.measure(separators, args.seconds, threads, args.repeats, progress=True)
    if args.csv:
        benchmark.write(found, args.csv)
    print(found.round(2).to_string(index=False))
    return 0


def _bands_arguments(own):
    own.add_argument("scheme", nargs="?", help="name, .json or .csv file; none: list all names")
    own.add_argument("--sample-rate", type=int, default=44100, help="Hz [44100]")
    own.add_argument("--n-fft", type=int, default=2048, help="window length [2048]")
    own.add_argument("--json", action="store_true", help="print the scheme as JSON")


@command("bands", "list the band schemes, or show the bands of one", "bands v7", _bands_arguments)
def _bands(args):
    from bsrnn import bands

    if args.json and not args.scheme:
        raise UsageError("--json needs a scheme: bands v7 --json")
    if not args.scheme:
        for name in bands.names():
            one = bands.scheme(name)
            kind = "overlapping" if one.overlapping else ""
            print(f"{name:20}{len(one):4} bands  {kind:12} {one.source}".rstrip())
        return
    find = bands.read if args.scheme.endswith((".json", ".csv")) else bands.scheme
    one = find(args.scheme, args.sample_rate, args.n_fft)
    if args.json:
        print(one.to_json())
        return
    print(f"{'band':>4} {'bins':>13} {'width':>6} {'from Hz':>9} {'to Hz':>9}")
    rows = zip(one.ranges, one.spans_hz, strict=True)
    for band, ((lo, hi), (low_hz, high_hz)) in enumerate(rows):
        print(f"{band:4} {f'[{lo}, {hi})':>13} {hi - lo:6} {low_hz:9.1f} {high_hz:9.1f}")
    for note in one.notes:  # what the projection to this grid changed
        print(f"note: {note}")


def _activity_arguments(own):
    _dataset(own)
    own.add_argument("--rule", default="paper", help="paper (default), repositories ...")
    own.add_argument("--form", default="text", help="text (default) or csv")
    _stems(own)
    own.add_argument("--out", default="runs/activity", help="folder of the lists [runs/activity]")


@command(
    "activity",
    "list the segments in which each stem is heard, by the rule of a published recipe",
    "activity --dataset ~/musdb18hq --rule repositories --form csv --out lists",
    _activity_arguments,
)
def _activity(args):
    from bsrnn import data
    from bsrnn.data import activity

    choose(args.rule, activity.rules(), "activity rule")
    frame = activity.table(data.open(args.dataset), args.rule, listed(args.stems))
    print(*activity.write(frame, args.out, args.form), sep="\n")


def _toy_arguments(own):
    own.add_argument("folder", help="new folder for the songs")
    own.add_argument("--film", action="store_true", help="film scenes (dialogue, music, effects)")
    own.add_argument("--seed", type=int, default=0, help="of everything [0]")
    _parameters(own)


@command(
    "toy",
    "generate toy songs (MUSDB-HQ layout) or film scenes (DnR layout)",
    "toy songs --seed 1 -p seconds 8",
    _toy_arguments,
)
def _toy(args):
    import inspect

    from bsrnn.data import toyband

    folder = Path(args.folder)
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: give a new folder")
    make = toyband.scenes if args.film else toyband.make
    known = {n: p.default for n, p in inspect.signature(make).parameters.items()}
    given = once(args.parameters)
    for name in given:
        choose(name, [n for n in known if n not in ("root", "seed")], "option")
    make(folder, seed=args.seed, **{n: typed(n, v, known[n]) for n, v in given.items()})
    print(folder)


@command("doctor", "say what is missing here and the one command that fixes it", "doctor")
def _doctor(args):
    from bsrnn import doctor

    lines, sound = doctor.examine()
    print(*lines, sep="\n")
    return 0 if sound else 1
