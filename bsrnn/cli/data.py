"""`bsrnn toy`, `bsrnn activity`, `bsrnn doctor`: data, and the state of this machine."""

from pathlib import Path

from bsrnn.cli.shared import command, dataset_argument, parameter_arguments, stems_argument
from bsrnn.common import UsageError, choose, listed, once, typed


def _activity_arguments(own):
    dataset_argument(own)
    own.add_argument("--rule", default="paper", help="paper (default), repositories ...")
    own.add_argument("--form", default="text", help="text (default) or csv")
    stems_argument(own)
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
    parameter_arguments(own)


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
    from bsrnn.cli import doctor

    lines, sound = doctor.examine()
    print(*lines, sep="\n")
    return 0 if sound else 1
