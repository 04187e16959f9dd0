"""`bsrnn toy`, `data`, `activity`, `doctor`: data, and the state of this machine."""

from bsrnn.cli.shared import (
    SEED,
    command,
    dataset_argument,
    listed,
    new_file,
    parameter_arguments,
    say,
    stems_argument,
)
from bsrnn.common import choose, csv_text, vacant, write_text
from bsrnn.settings import once, typed


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
    say(*activity.write(frame, args.out, args.form), sep="\n")


def _check_arguments(own):
    own.add_argument("root", help="folder of songs, a CSV of paths, or a name such as toy")
    own.add_argument("--out", help="write the table as CSV")


@command(
    "data check",
    "list every song of a data set, what is odd in it and what is not used",
    "data check ~/songs",
    _check_arguments,
)
def _check(args):
    from bsrnn import data

    out = new_file(args.out, (".csv",))
    songs = data.open(args.root)
    table = songs.table()
    if out:
        write_text(out, csv_text(table, index=False))
    say(repr(songs))
    for what, why in songs.unused:
        say(f"not used: {what}: {why}")
    odd = table[table["note"] != ""]
    say(table.drop(columns="note").to_string(index=False))
    for row in odd.itertuples():
        say(f"{row.song}: {row.note}")
    say(f"{len(odd)} of {len(table)} songs are odd, {len(songs.unused)} things are not used")
    return 1 if len(odd) or songs.unused else 0


def _repair_arguments(own):
    own.add_argument("root", help="folder of songs, or a CSV of paths")
    own.add_argument("out", help="new folder for the songs")
    own.add_argument("--missing", default="leave out", help='"leave out" (default) or "silence"')


@command(
    "data repair",
    "make a data set that can be used whole: pad, resample, convert, link what is fine",
    "data repair ~/songs ~/songs-mended",
    _repair_arguments,
)
def _repair(args):
    from bsrnn.data import repairing

    frame = repairing.repair(args.root, args.out, args.missing)
    odd = frame[frame["action"] != "linked"]
    for row in odd.itertuples():
        say(f"{row.song}/{row.file}: {row.action}")
    say(f"{args.out}: {len(frame) - len(odd)} files linked, {len(odd)} others, see above")


def _toy_arguments(own):
    own.add_argument("folder", help="new folder for the songs")
    own.add_argument("--film", action="store_true", help="film scenes (dialogue, music, effects)")
    own.add_argument("--seed", type=SEED, default=0, help="of everything [0]")
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

    folder = vacant(args.folder)
    make = toyband.scenes if args.film else toyband.make
    known = {n: p.default for n, p in inspect.signature(make).parameters.items()}
    given = once(args.parameters)
    for name in given:
        choose(name, [n for n in known if n not in ("root", "seed")], "option")
    make(folder, seed=args.seed, **{n: typed(n, v, known[n]) for n, v in given.items()})
    say(folder)


@command("doctor", "say what is missing here and the one command that fixes it", "doctor")
def _doctor(args):
    from bsrnn.cli import doctor

    lines, sound = doctor.examine()
    say(*lines, sep="\n")
    return 0 if sound else 1
