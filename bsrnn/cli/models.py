"""`bsrnn models`, `bsrnn cost`, `bsrnn bands`: what there is, and what it costs."""

import contextlib
from pathlib import Path

from bsrnn.audio.formats import RATES_HZ
from bsrnn.cli.shared import (
    COUNT,
    SECONDS,
    command,
    listed,
    model_config,
    number,
    parameter_arguments,
    pick_device,
    say,
)
from bsrnn.common import UsageError, alike, whole
from bsrnn.settings import configured, in_range, once, typed


def _models_arguments(own):
    own.add_argument("name", nargs="?", help="of weights, or a model file: show the passport")
    own.add_argument("--card", action="store_true", help="the passport as a model card (Markdown)")
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
    from bsrnn.models.zoo import registry

    if args.name:
        return _passport(args.name, args.card)
    if not (args.licence or args.task):
        say(f"{'preset':24}{'scheme':10}{'N':>5}{'R':>4}  stems")
        for name, config in models.presets().items():
            size = f"{config.features:5}{config.repeats:4}"
            say(f"{name:24}{config.scheme[:9]:10}{size}  {', '.join(config.stems)}")
        say("\nembedded weights, small, to learn with")
        for name, stems in registry.EMBEDDED.items():
            say(f"{name:45}{', '.join(stems)}")
        say()
    say(*registry.lines(registry.listing(args.licence, args.task)), sep="\n")
    return 0


def _passport(name: str, as_card: bool):
    import bsrnn
    from bsrnn.models.zoo import registry

    known = registry.passports()
    name, stems, separator = alike(name, known), (), None
    passport = known.get(name)
    if passport is None:  # a file, an address, an embedded model
        separator = bsrnn.load(name)
        passport, stems = separator.passport, separator.stems
    if as_card:
        say(registry.card(name, passport, stems))
        return 0
    for column, value in passport.items():
        say(f"{column:15} {value or 'unknown'}")
    if separator is not None:
        with contextlib.suppress(UsageError):  # it needs a query
            factor = bsrnn.separation.forecast_s(separator, 60) / 60
            say(f"{'here':16}{factor:.2g} s for a second of sound")
    return 0


def _cost_arguments(own):
    own.add_argument(
        "model", nargs="*", help="presets (see `models`), JSON files of them, d3net, hdemucs ..."
    )
    own.add_argument("--table", action="store_true", help="BandIt's table: 15 published systems")
    own.add_argument("--seconds", type=SECONDS, default=6.0, help="length of the input [6]")
    parameter_arguments(own)
    own.add_argument("--measure", action="store_true", help="time it, plain and fast, here")
    own.add_argument("--threads", help="of --measure [1,2; with a GPU 1]")
    own.add_argument("--device", default="cpu", help="of --measure: cpu, cuda or auto [cpu]")
    own.add_argument("--repeats", type=COUNT, default=5, help="rounds of --measure [5]")
    own.add_argument("--csv", "--out", help="file for the table of --table or --measure")


@command(
    "cost",
    "parameters, multiply-accumulates and activation memory of a model, or its measured speed",
    "cost small -p scheme tet24 -p features 64",
    _cost_arguments,
)
def _cost(args):
    given = once(args.parameters)
    if args.table == bool(args.model) or (args.table and given):
        raise UsageError("cost needs models, or --table alone: cost small, or cost --table")
    if args.table:
        return _table(args)
    if args.measure:
        return _measure(args, given)
    for model in args.model:
        total = _whole_cost(model, given, args.seconds)
        say(f"{model if len(args.model) > 1 else 'part':12}"
              f"{'parameters':>14}{'GMAC':>10}{'activations MB':>16}")  # fmt: skip
        for name, part in [*total.parts.items(), ("all", total)]:
            sizes = f"{part.macs / 1e9:10.3f}{part.activation_bytes / 1e6:16.1f}"
            say(f"{name:12}{part.parameters:14,}{sizes}")
    return 0


def _whole_cost(model, given, seconds):
    """In closed form, or counted for the systems that are compared with."""
    from bsrnn.models import build
    from bsrnn.models.cost import cost, counted
    from bsrnn.models.zoo import baselines

    if model.lower() in ("d3net", *baselines.NAMES) and not given:
        return counted(build(model), seconds)
    (config,) = configured([model_config(model)], given)
    return cost(config, seconds)


def _table(args):
    from bsrnn import complexity

    rows = complexity.table(args.seconds)
    if args.measure:
        from bsrnn.training.machine import device_name

        device, threads = pick_device(args.device), _threads(args.threads or "1")[0]
        rows = complexity.measured(rows, args.seconds, threads, args.repeats, device, progress=True)
        rows["device"] = device_name(device)
    if args.csv:
        _write(rows, args.csv)
    say(complexity.text(rows))
    return 0


def _write(frame, path) -> None:
    """A table as CSV, whole or not at all."""
    with whole(path) as part:
        frame.to_csv(part, index=False, float_format="%.6g")


def _threads(text: str) -> list[int]:
    return [in_range("--threads", typed("threads", each, 1), 1, 256) for each in listed(text)]


def _measure(args, given):
    import torch

    import bsrnn
    from bsrnn import benchmark, models
    from bsrnn.models.zoo import baselines, peers
    from bsrnn.training.machine import device_name

    device = pick_device(args.device)
    threads = _threads(args.threads or ("1,2" if device == "cpu" else "1"))
    separators = {}
    for name in args.model:
        file = Path(name).is_file() and not name.endswith(".json")
        if file or name in models.registry.EMBEDDED:
            separator = bsrnn.load(name)
        else:
            torch.manual_seed(0)
            network = name in ("d3net", *baselines.WEIGHTS) and not given
            config = name if network else configured([model_config(name)], given)[0]
            separator = models.build(config).eval()
        ways = benchmark.options(separator.to(device))
        try:
            ways |= peers.peer(separator)
        except UsageError as error:
            say(f"{name}: {error}")
        separators[Path(name).name] = ways
    rows = benchmark.measure(separators, args.seconds, threads, args.repeats, progress=True)
    rows.insert(5, "processor", device_name(device))
    if args.csv:
        _write(rows, args.csv)
    say(rows.round(2).to_string(index=False))
    return 0


def _bands_arguments(own):
    own.add_argument("scheme", nargs="?", help="name, .json or .csv file; none: list all names")
    own.add_argument("--sample-rate", type=number(*RATES_HZ), default=44100, help="Hz [44100]")
    own.add_argument("--n-fft", type=number(2, 2**16), default=2048, help="window length [2048]")
    own.add_argument("--json", action="store_true", help="print the scheme as JSON")
    own.add_argument("--page", metavar="HTML", help="write the band instrument as one file")
    own.add_argument("--dataset", default="clip", help="its first song is in the page [clip]")


@command("bands", "list the band schemes, or show the bands of one", "bands v7", _bands_arguments)
def _bands(args):
    from bsrnn import bands

    if args.page:
        _bands_page(args)
        return
    if args.json and not args.scheme:
        raise UsageError("--json needs a scheme: bands v7 --json")
    if not args.scheme:
        for name in bands.names():
            one = bands.scheme(name)
            kind = "overlapping" if one.overlapping else ""
            say(f"{name:20}{len(one):4} bands  {kind:12} {one.source}".rstrip())
        return
    find = bands.read if args.scheme.endswith((".json", ".csv")) else bands.scheme
    one = find(args.scheme, args.sample_rate, args.n_fft)
    if args.json:
        say(one.to_json())
        return
    say(f"{'band':>4} {'bins':>13} {'width':>6} {'from Hz':>9} {'to Hz':>9}")
    rows = zip(one.ranges, one.spans_hz, strict=True)
    for band, ((lo, hi), (low_hz, high_hz)) in enumerate(rows):
        say(f"{band:4} {f'[{lo}, {hi})':>13} {hi - lo:6} {low_hz:9.1f} {high_hz:9.1f}")
    for note in one.notes:  # what the projection to this grid changed
        say(f"note: {note}")


def _bands_page(args):
    from bsrnn import bands, data
    from bsrnn.common import write_text
    from bsrnn.explore import instrument

    given = args.scheme or "v7"
    first = bands.read(given) if given.endswith((".json", ".csv")) else given
    songs = data.open(args.dataset)
    write_text(args.page, instrument.page(songs[0], (first, "bs-roformer")))
    say(f"{args.page}: open it in a browser; it needs no network")
