"""`bsrnn sweep ...`: a grid of experiments, planned, run and compared."""

from pathlib import Path

from bsrnn.cli.shared import (
    GROUPS,
    command,
    fail,
    file,
    parameter_arguments,
    say,
    timeout_argument,
)
from bsrnn.common import Progress, UsageError, once

GROUPS["sweep"] = "run a grid of experiments by papermill, compare them with intervals and cost"


def _run_arguments(own):
    own.add_argument(
        "plan", nargs="?",
        help='JSON file: {"grid": {"scheme": ["v7", "tet24"], "seed": [0, 1]}, "question": ...}',
    )  # fmt: skip
    parameter_arguments(own)
    own.epilog += (
        "\n\n-p NAME V1,V2 makes NAME an axis of the grid; without commas all cells share it"
    )
    own.add_argument("--question", default="", help="what the sweep is to answer")
    own.add_argument("--hypothesis", default="", help="what you expect; without: exploratory")
    own.add_argument("--metric", help="primary metric [usdr]")
    own.add_argument("--baseline", help="value of the first axis that others must beat [its first]")
    own.add_argument("--margin-db", type=float, help="smallest gain worth having [0]")
    own.add_argument("--leaf", help="notebook of one experiment [sweep]")
    own.add_argument("--out", default="runs/sweep", help="folder of plan and cards [runs/sweep]")
    own.add_argument("--workers", type=int, help="experiments at a time [one per CPU core]")
    own.add_argument("--threads", type=int, default=1, help="of each experiment [1]")
    own.add_argument("--scheduler", default="", help="dask scheduler, such as tcp://host:8786")
    timeout_argument(own)


@command(
    "sweep run",
    "run what is not finished of a plan; the plan is fixed by its first run",
    "sweep run -p scheme v7,tet24 -p seed 0,1,2 -p steps 200 --out runs/bands --workers 2",
    _run_arguments,
)
def _sweep_run(args):
    from bsrnn import experiments

    plan = _plan(args)
    names, count = list(plan.grid), len(plan.cells())
    progress = Progress(count, "sweep", "cell", say)
    outcomes = experiments.run(
        plan, args.out, args.workers, args.threads, args.scheduler, args.timeout,
        watch=lambda outcome: progress.step(outcome.line(names)),
    )  # fmt: skip
    progress.close()
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    print(f"{count - len(failed)} of {count} cells are finished: {args.out}")
    return fail(f"{len(failed)} cells failed, see above; run again to retry", 1) if failed else 0


def _plan(args):
    """The plan of a file, or of -p and the options; not of both."""
    from bsrnn.experiments import Sweep

    options = {
        "question": args.question, "hypothesis": args.hypothesis, "metric": args.metric,
        "margin_db": args.margin_db, "leaf": args.leaf,
    }  # fmt: skip
    options = {name: value for name, value in options.items() if value not in (None, "")}
    if args.plan:
        if args.parameters or options or args.baseline:
            raise UsageError("the plan file says it all: leave out -p and the options of the plan")
        return Sweep.from_json(file(args.plan).read_text(encoding="utf-8"))
    given = once(args.parameters)
    grid = {name: text.split(",") for name, text in given.items() if "," in text}
    if not grid:
        raise UsageError("nothing to sweep: give a plan file, or -p scheme v7,tet24 -p seed 0,1")
    fixed = {name: text for name, text in given.items() if name not in grid}
    baseline = {"baseline": {next(iter(grid)): args.baseline}} if args.baseline else {}
    return Sweep(grid, fixed, **options, **baseline)


def _board_arguments(own):
    own.add_argument("folder", nargs="?", default="runs/sweep", help="of the sweep [runs/sweep]")
    own.add_argument("--metric", default="", help="another than the plan's")
    own.add_argument("--stem", default="", help="another than the plan's")
    own.add_argument("--out", help="also write all scores and costs: a .csv file")


@command(
    "sweep board",
    "leaderboard of a sweep: mean and interval over seeds, paired gains, cost, the ladder",
    "sweep board runs/bands --metric csdr",
    _board_arguments,
)
def _sweep_board(args):
    from bsrnn import experiments
    from bsrnn.common import write_text

    board = experiments.leaderboard(args.folder)
    print(board.readable(args.metric, args.stem).to_string())
    if board.plan.comparisons:
        print(f"\n{board.gains(args.metric, args.stem).round(3).to_string()}")
    print(f"\n{board.plan.rule}")
    if board.missing:
        print(f"{len(board.missing)} of {len(board.plan.cells())} cells are not finished")
    if args.out:
        write_text(Path(args.out), board.frame.to_csv(index=False))
