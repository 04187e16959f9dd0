"""`bsrnn course ...`: lessons and assignments."""

import sys

from bsrnn import common
from bsrnn.cli.shared import (
    SEED,
    command,
    dataset_argument,
    fail,
    listed,
    new_file,
    number,
    parameter_arguments,
    say,
    stems_argument,
    timeout_argument,
)
from bsrnn.common import Progress, choose, csv_text, write_text
from bsrnn.settings import once


class Bars:
    """A bar over lessons and one over the cells of the current one; a line per lesson elsewhere.

    Told about a run as `experiments.runner.Watch` says.
    """

    def start(self, lessons) -> None:
        self.lessons = Progress(len(lessons), "lessons", "lesson", say)
        self.cells = Progress(1, unit="cell", position=1, leave=False)

    def lesson(self, name: str, cells: int) -> None:
        self.cells.restart(name, cells)

    def cell(self, index: int) -> None:
        self.cells.bar.update(index - self.cells.bar.n)

    def done(self, result) -> None:
        error = f"  {result.error}" if result.error else ""
        state = "FAIL" if result.error else "ok  "
        line = f"{state}  {result.lesson}{error}  {result.seconds:.0f} s  {result.note}"
        self.lessons.step(line.rstrip())

    def close(self) -> None:
        self.cells.close()
        self.lessons.close()


def _run_arguments(own):
    own.add_argument("lessons", nargs="*", help="numbers, names or paths; none: all lessons")
    parameter_arguments(own)
    own.add_argument("--profile", help="smoke (default), small or full")
    own.add_argument("--out", help="folder for notebooks, pages and results [runs/course]")
    timeout_argument(own)


@command(
    "course run",
    "execute lessons strictly; notebooks and pages go to runs/course",
    "course run 04 07 -p seed 1 --profile small",
    _run_arguments,
)
def _course_run(args):
    from bsrnn.experiments import runner

    given = once(args.parameters + ([["profile", args.profile]] if args.profile else []))
    results = runner.run(args.lessons, given, args.out, args.timeout, Bars())
    failed = [result.lesson for result in results if result.error]
    seconds, where = sum(result.seconds for result in results), results[0].page.parent
    say(f"{len(results) - len(failed)} of {len(results)} lessons ran in {seconds:.0f} s: {where}")
    return fail(f"failed: {', '.join(failed)} (their pages show where)", 1) if failed else 0


def _site_arguments(own):
    own.add_argument("executed", nargs="?", help="folder of executed lessons [runs/course]")
    own.add_argument("--out", help="folder of the site [runs/site]")


@command(
    "course site",
    "build one folder of pages from executed lessons: opens from disk, needs no network",
    "course site --out public",
    _site_arguments,
)
def _course_site(args):
    from bsrnn.course import site

    say(f"open {site.build(args.executed, args.out)}")


def _copy_arguments(own):
    own.add_argument("folder", help="new folder for the lessons and the released assignments")


@command(
    "course copy",
    "copy the lessons of an installed package into a folder of your own, to run and change them",
    "course copy my-course",
    _copy_arguments,
)
def _course_copy(args):
    from bsrnn.course import release

    folder = release.copy_course(args.folder)
    say(f"{folder}: open it with `jupyter lab {folder}`")


def _check_arguments(own):
    own.add_argument("lessons", nargs="*", help="numbers, names or paths; none: all lessons")
    own.add_argument("--update", action="store_true", help="re-run in smoke, store the outputs")


@command(
    "course check",
    "check that the stored outputs of lessons are light and fresh",
    "course check --update 04",
    _check_arguments,
)
def _course_check(args):
    from bsrnn.course import outputs
    from bsrnn.experiments import runner

    problems = outputs.check(args.lessons, args.update, Bars())
    count = len(runner.select(args.lessons))
    say(*problems or [f"{count} lessons are fresh"], sep="\n")
    return fail(f"{len(problems)} problems in {count} lessons", 1) if problems else 0


@command(
    "course badge",
    "stamp another repository address everywhere (for a fork)",
    "course badge --repository owner/name",
    lambda own: own.add_argument("--repository", required=True, help="owner/name on GitHub"),
)
def _course_badge(args):
    from bsrnn.course import stamp

    changed = [str(path.relative_to(common.ROOT)) for path in stamp.restamp(args.repository)]
    say(*changed, f"{len(changed)} files stamped with {stamp.repository()}", sep="\n")


def _grade_arguments(own):
    own.add_argument("submissions", nargs="+", help="notebooks, or folders of them")
    own.add_argument("--assignment", help="such as a1; default: told by the functions defined")
    own.add_argument("--seed", type=SEED, default=0, help="of the hidden tests' inputs [0]")
    own.add_argument("--roster", help="a CSV with the columns id, name, email")
    own.add_argument("--by-hand", help="a CSV with the columns id, B1 to B4: points of a8's report")
    own.add_argument("--form", default="csv", help="csv [default], students, moodle, canvas")
    own.add_argument("--feedback", help="new folder for a page per student and one of the class")
    own.add_argument("--out", help="also write the marks: a .csv or .json file")


@command(
    "course grade",
    "grade submitted assignments by function name, each question in a process with limits",
    "course grade submitted/ --assignment a1 --seed 2024 --out marks.csv",
    _grade_arguments,
)
def _course_grade(args):
    from bsrnn.course import gradebook, grading

    choose(args.form, gradebook.FORMS, "form of the marks")
    out = new_file(args.out, (".csv", ".json"))
    form = "json" if out and out.suffix == ".json" else args.form
    roster = gradebook.read_roster(args.roster) if args.roster else None
    by_hand = gradebook.read_by_hand(args.by_hand) if args.by_hand else None
    sheets = []

    def watch(sheet):  # marks are written as they come
        sheets.append(sheet)
        say(sheet.text())
        if out:
            write_text(out, gradebook.table(sheets, form))

    grading.grade_all(args.submissions, args.assignment, args.seed, watch, roster, by_hand)
    if args.feedback:
        gradebook.write_feedback(sheets, args.feedback)
    strangers = sorted({sheet.student for sheet in sheets} - set(roster or {}))
    if roster and strangers:
        fail(f"not in the roster, so no gradebook will know them: {', '.join(strangers)}", 0)
    failed = [sheet.submission for sheet in sheets if sheet.error]
    return fail(f"not graded: {', '.join(failed)}", 1) if failed else 0


def _release_arguments(own):
    own.add_argument("assignments", nargs="*", help="such as a1; none: all")
    own.add_argument("--check", action="store_true", help="only say which are stale")
    own.add_argument("--class-repo", help="new folder: the repository for students, nothing else")


@command(
    "course release",
    "make the students' notebooks: without solutions and hidden tests; needs nbgrader",
    "course release a1",
    _release_arguments,
)
def _course_release(args):
    from bsrnn.course import release

    if args.class_repo:
        say(f"{release.class_repository(args.class_repo)}: for students")
        return 0
    stale = release.release(args.assignments, args.check)
    for path in stale:
        say("stale:" if args.check else "written:", path.relative_to(release.ASSIGNMENTS))
    if args.check and stale:
        return fail(f"{len(stale)} stale: run `course release`", 1)
    say(f"{len(set(args.assignments)) or len(release.sources())} assignments released and fresh")
    return 0


def _limits_arguments(own):
    dataset_argument(own)
    own.add_argument("--subset", default="test", help="songs of the claims [test]")
    stems_argument(own)
    size, gap_db = number(1.0, 1e18), number(1e-9, 1e3)
    own.add_argument("--max-parameters", type=size, default=1e6, help="of a submission [1e6]")
    own.add_argument("--max-macs", type=size, default=5e9, help="per second of sound [5e9]")
    own.add_argument("--tolerance", type=gap_db, default=0.05, help="of a claim, in dB [0.05]")


def _rules(args):
    """(limits, public songs) of the arguments above."""
    from bsrnn import data
    from bsrnn.course import capstone

    limits = capstone.Limits(
        tuple(listed(args.stems) or ()), args.max_parameters, args.max_macs,
        tolerance_db=args.tolerance,
    )  # fmt: skip
    return limits, data.open(args.dataset, args.subset)


def _submit_arguments(own):
    own.add_argument("submission", help="folder of one submission")
    _limits_arguments(own)


@command(
    "course submit",
    "validate a capstone submission; runs nothing that is in it, lists every fault with its fix",
    "course submit submissions/anna --stems vocals --max-parameters 5e5",
    _submit_arguments,
)
def _course_submit(args):
    from bsrnn.course import capstone

    verdict = capstone.validate(args.submission, *_rules(args))
    say(verdict.text())
    return 0 if verdict.valid else fail(f"{verdict.submission} is not valid (reasons above)", 1)


def _board_arguments(own):
    own.add_argument("submissions", help="folder with a folder for each submission")
    _limits_arguments(own)
    own.add_argument(
        "--hidden", help="songs that decide: a folder, or a whole number: toy songs of that seed"
    )
    own.add_argument("--out", help="also write the board: a .csv file")


@command(
    "course board",
    "put valid submissions on a local board, with cost limits and the ladder beside them",
    "course board submissions --stems vocals --hidden 2024 --max-parameters 5e5 --out board.csv",
    _board_arguments,
)
def _course_board(args):
    from bsrnn import data
    from bsrnn.course import capstone

    out = new_file(args.out, (".csv",))
    limits, songs = _rules(args)
    hidden = args.hidden
    if hidden:
        seed = {"seed": int(hidden)} if hidden.isdecimal() else {}
        hidden = data.open("toy" if seed else hidden, args.subset, **seed)
    watch = lambda v: print(f"{v.submission}: looked at", file=sys.stderr)  # noqa: E731
    board = capstone.rank(args.submissions, songs, limits, hidden, watch=watch)
    if out:
        write_text(out, csv_text(board.frame))
    say(board.text())
    missing = ", ".join(board.refused)
    return fail(f"not on the board: {missing} (reasons above)", 1) if missing else 0
