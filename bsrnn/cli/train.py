"""`bsrnn train`: models on datasets."""

import argparse

from bsrnn.cli.shared import (
    SEED,
    command,
    dataset_argument,
    device_argument,
    listed,
    model_config,
    number,
    parameter_arguments,
    say,
    stems_argument,
)
from bsrnn.common import choose
from bsrnn.settings import once


def _train_arguments(own):
    own.add_argument("model", help="preset (see `models`) or a JSON file of a ModelConfig")
    own.add_argument("--train", default="smoke", help="preset: smoke (default), small, paper ...")
    dataset_argument(own)
    stems_argument(own)
    own.add_argument("--scheme", help="band scheme (see `bands`), or a .json or .csv file of one")
    own.add_argument("--steps", type=number(1, 10**12), help="optimiser updates")
    own.add_argument("--minutes", type=number(1e-3, 1e6), help="stop after so many CPU minutes")
    own.add_argument("--seed", type=SEED, help="of weights and examples")
    own.add_argument("--out", default="runs/train", help="run folder [runs/train]")
    share, memory_gb = number(1e-6, 1.0), number(1e-3, 1e6)
    own.add_argument("--share", type=share, default=1.0, help="of the training seconds [1]")
    own.add_argument("--resume", action="store_true", help="go on from the state in --out")
    own.add_argument("--overwrite", action="store_true", help="replace the run that --out holds")
    own.add_argument("--initial", help="model file to start from")
    own.add_argument("--unlabelled", help="folder of songs without stems; --initial labels them")
    own.add_argument("--freeze", help="parts that stay as they are: split,sequence,masks")
    own.add_argument(
        "--check", action=argparse.BooleanOptionalAction,
        help="overfit one batch first; default: before 20,000 steps and more",
    )  # fmt: skip
    own.add_argument("--plan", action="store_true", help="only say what it will cost, what fits")
    own.add_argument("--memory-gb", type=memory_gb, default=16.0, help="of a process, for --plan")
    own.add_argument("--tensorboard", action="store_true", help="log to OUT/tensorboard too")
    own.add_argument(
        "--devices", default="auto",
        help="processes of this machine: a number, all (GPUs), or auto (torchrun, SLURM; else one)",
    )  # fmt: skip
    device_argument(own)
    parameter_arguments(own)


@command(
    "train",
    "train a separator; checkpoints, log and card go to --out, Ctrl-C keeps the state",
    "train small --dataset ~/musdb18hq --stems vocals --scheme v7 --minutes 60 --out runs/vocals",
    _train_arguments,
)
def _train(args):
    from bsrnn import bands, data, training
    from bsrnn.experiments import words

    model = model_config(args.model)
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
    model, train = words.settle(model, train, once(given + args.parameters))
    if args.plan:
        channels = data.open(args.dataset).channels
        say(training.plan(model, args.memory_gb, train, args.device, channels).text())
        return
    for note in model.bands.notes:
        say(f"bands {model.bands.name}: {note}")
    result = training.fit(
        model,
        train,
        data.open(args.dataset).portion(args.share),
        args.out,
        initial=args.initial,
        freeze=listed(args.freeze) or (),
        unlabelled=args.unlabelled,
        resume=args.resume,
        overwrite=args.overwrite,
        check=args.check,
        device=args.device,
        devices=args.devices,
        tensorboard=args.tensorboard,
    )
    if training.machine.rank() == 0:
        say(f"best model: {result.best_path} ({result.seconds:.0f} s)")
