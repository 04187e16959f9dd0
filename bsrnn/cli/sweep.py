"""`bsrnn sweep ...`: a grid of experiments, planned, run and compared."""

import shlex
import sys
from pathlib import Path

from bsrnn.cli.shared import (
    COUNT,
    GROUPS,
    command,
    fail,
    file,
    number,
    parameter_arguments,
    say,
    timeout_argument,
)
from bsrnn.common import Progress, UsageError, csv_text, write_text
from bsrnn.settings import once

GROUPS["sweep"] = "run a grid of experiments by papermill, compare them with intervals and cost"


def _run_arguments(own):
    own.add_argument(
        "plan", nargs="?",
        help='JSON file: {"grid": {"scheme": ["v7", "tet24"], "seed": [0, 1]}, "question": ...}',
    )  # fmt: skip
    parameter_arguments(own)
    own.epilog += (
        "\n\n-p NAME V1,V2 makes NAME an axis of the grid, so do 0..4 and `1e-4..1e-2 log 5`;\n"
        "`;` parts values that hold commas; a single value is shared by all cells. NAME is a\n"
        "parameter of the notebook, or any setting: model.features, train.lr, data.recipe ..."
    )
    own.add_argument("--question", default="", help="what the sweep is to answer")
    own.add_argument("--hypothesis", default="", help="what you expect; without: exploratory")
    own.add_argument("--metric", help="primary metric [usdr]")
    own.add_argument("--baseline", help="value of the first axis that others must beat [its first]")
    own.add_argument("--margin-db", type=number(0.0, 1e3), help="smallest gain worth having [0]")
    own.add_argument("--notebook", "--leaf", help="that runs one experiment [sweep]")
    own.add_argument("--out", default="runs/sweep", help="folder of plan and cards [runs/sweep]")
    own.add_argument("--workers", type=COUNT, help="experiments at a time [one per CPU core]")
    own.add_argument("--threads", type=COUNT, default=1, help="of each experiment [1]")
    own.add_argument("--scheduler", default="", help="dask scheduler, such as tcp://host:8786")
    own.add_argument("--slurm", action="store_true", help="only print the script of a job array")
    own.add_argument("--extend", action="store_true", help="add -p values to the plan in --out")
    own.add_argument("--adopt", help="folder with cards made elsewhere: take those that fit")
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
    if args.slurm:
        say(_script(experiments.checked(plan), args))
        return 0
    say(f"{count} cells; {plan.shows}")
    progress = Progress(count, "sweep", "cell", say)
    outcomes = experiments.run(
        plan, args.out, args.workers, args.threads, args.scheduler, args.timeout,
        watch=lambda outcome: progress.step(outcome.line(names)), adopt=args.adopt,
    )  # fmt: skip
    progress.close()
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    say(f"{count - len(failed)} of {count} cells are finished: {args.out}")
    return fail(f"{len(failed)} cells failed, see above; run again to retry", 1) if failed else 0


def _script(plan, args) -> str:
    """A job array for sbatch, a task for each cell; the plan is registered now."""
    from bsrnn.experiments import register

    register(plan, args.out)
    python, out = shlex.quote(sys.executable), shlex.quote(str(Path(args.out).resolve()))
    return f"""#!/bin/bash
#SBATCH --job-name=sweep
#SBATCH --array=0-{len(plan.cells()) - 1}
#SBATCH --cpus-per-task={args.threads}
#SBATCH --output={Path(args.out).resolve()}/slurm-%a.log
{python} -m bsrnn sweep cell {out} "$SLURM_ARRAY_TASK_ID" --threads {args.threads}"""


def _cell_arguments(own):
    own.add_argument("folder", help="of a registered plan")
    own.add_argument("number", type=int, help="of the cell, from 0")
    own.add_argument("--threads", type=int, default=1, help="of the experiment [1]")


@command(
    "sweep cell",
    "run one cell of a registered plan: a task of a job array",
    "sweep cell runs/bands 3",
    _cell_arguments,
)
def _sweep_cell(args):
    from bsrnn import experiments

    outcome = experiments.run_cell(args.folder, args.number, args.threads)
    say(outcome.line(outcome.parameters))
    return int(outcome.state == "failed")


def _plan(args):
    """The plan of a file, or of -p and the options; not of both."""
    from bsrnn.experiments import Sweep, extend, words

    options = {
        "question": args.question, "hypothesis": args.hypothesis, "metric": args.metric,
        "margin_db": args.margin_db, "notebook": args.notebook,
    }  # fmt: skip
    options = {name: value for name, value in options.items() if value not in (None, "")}
    if args.plan:
        if args.parameters or options or args.baseline:
            raise UsageError("the plan file says it all: leave out -p and the options of the plan")
        return Sweep.from_json(file(args.plan).read_text(encoding="utf-8"))
    given = {name: words.values(text) for name, text in once(args.parameters).items()}
    if args.extend:
        if options or args.baseline:
            raise UsageError("--extend adds values of -p only: leave out the options of the plan")
        return extend(args.out, given)
    if all(len(values) < 2 for values in given.values()):
        raise UsageError("nothing to sweep: give a plan file, or -p scheme v7,tet24 -p seed 0,1")
    grid = {name: values for name, values in given.items() if len(values) > 1 or name == "seed"}
    fixed = {name: values[0] for name, values in given.items() if name not in grid}
    first = next((name for name in grid if name != "seed"), "seed")  # seeds may be added later
    baseline = {"baseline": {first: args.baseline}} if args.baseline else {}
    return Sweep(grid, fixed, **options, **baseline)


def _board_arguments(own):
    own.add_argument("folder", nargs="?", default="runs/sweep", help="of the sweep [runs/sweep]")
    own.add_argument("--metric", default="", help="another than the plan's")
    own.add_argument("--stem", default="", help="another than the plan's")
    own.add_argument("--test", action="store_true", help="of the test songs: closes the plan")
    own.add_argument("--out", help="also write all scores and costs: a .csv file")


@command(
    "sweep board",
    "leaderboard of a sweep: mean and interval over seeds, paired gains, cost, the ladder",
    "sweep board runs/bands --metric csdr",
    _board_arguments,
)
def _sweep_board(args):
    from bsrnn import experiments

    board = experiments.leaderboard(args.folder, args.test)
    say(board.readable(args.metric, args.stem).to_string())
    if board.plan.comparisons:
        say(f"\n{board.gains(args.metric, args.stem).round(3).to_string()}")
    say(f"\n{board.plan.rule}", f"{board.plan.shows}.", *board.remarks, sep="\n")
    if args.out:
        write_text(Path(args.out), csv_text(board.frame, index=False))
