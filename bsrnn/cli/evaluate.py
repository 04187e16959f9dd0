"""`bsrnn evaluate`: models, and anybody's stems, on data sets."""

from pathlib import Path

from bsrnn.cli.shared import (
    COUNT,
    command,
    dataset_argument,
    device_argument,
    listed,
    pick_device,
    say,
    stems_argument,
)
from bsrnn.common import UsageError, choose, file_names


def _evaluate_arguments(own):
    own.add_argument("model", nargs="*", help="model files or names (see `models`)")
    own.add_argument(
        "--estimates", action="append", default=[], metavar="FOLDER",
        help="stems that some system made, <song>/<stem>.wav and the like; may be repeated",
    )  # fmt: skip
    dataset_argument(own)
    own.add_argument("--subset", default="test", help="train, valid, test (default) or all")
    stems_argument(own)
    own.add_argument(
        "--metrics", default="usdr,csdr,si_sdr",
        help="also bleedless, fullness, l1_freq, mr_stft, log_wmse ... [usdr,csdr,si_sdr]",
    )  # fmt: skip
    own.add_argument("--out", help="folder for the report: HTML, CSV, JSON, museval's JSON")
    own.add_argument("--workers", type=COUNT, help="songs at a time [folders: up to 4; models: 1]")
    device_argument(own)


@command(
    "evaluate",
    "score models or folders of stems, beside silence, mixture, gain and an oracle",
    "evaluate --estimates separated/htdemucs --estimates stems --dataset ~/musdb18hq --out report",
    _evaluate_arguments,
)
def _evaluate(args):
    import itertools
    import logging

    from bsrnn import data, evaluation

    logging.basicConfig(format="%(message)s")
    logging.getLogger("bsrnn").setLevel(logging.INFO)  # a line per song where no bar can be drawn
    paths = [*args.model, *args.estimates]
    if not paths:
        raise UsageError("nothing to evaluate: name a model, or --estimates FOLDER")
    names = ["model"]
    if args.estimates or len(paths) > 1:
        names = file_names([Path(path).resolve().name for path in paths])
    device = pick_device(args.device)
    songs = data.open(args.dataset)
    songs = songs if args.subset == "all" else songs.subset(args.subset)
    for stem in listed(args.stems) or ():
        choose(stem, songs.stems, "stem")
    reports = {}
    for place, name in enumerate(names):
        reports[name] = _report(args, place, name, songs, paths, device)
    for first, second in itertools.combinations(names, 2):
        say(f"\n{second} against {first}, song by song (uSDR):")
        table = evaluation.paired(reports[first], first, second, reports[second])
        say(table.round(3).to_string(index=False))


def _report(args, place: int, name: str, songs, paths, device):
    """The report of one system, printed and written."""
    import bsrnn
    from bsrnn import bands, evaluation, plots

    system = paths[place]
    if place < len(args.model):
        system = bsrnn.load(system, device=device)
    out = args.out if args.out is None or len(paths) == 1 else Path(args.out) / name
    metrics = listed(args.metrics)
    report = evaluation.evaluate(
        system, songs, stems=listed(args.stems), out_dir=out, workers=args.workers, name=name,
        metrics=metrics, scheme=bands.scheme("v7", songs.sample_rate) if out else None,
    )  # fmt: skip
    for metric in metrics:
        say(report.shown(metric).to_string())
    if out:
        page = plots.report_page(report, Path(out) / "report.html", songs, system)
        say(f"report: {page}")
    return report
