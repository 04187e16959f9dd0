"""a6, training: five bugs of a loop, each by what it does, and a schedule (lesson 07).

Each check chooses a case in which the other bugs change nothing: a huge clip norm, one batch per
step, a single step, a model without dropout.
"""

import numpy as np

from bsrnn.course.questions import same, several

HUGE = 1e9


def _run(ask, rng, sizes, valid, epochs=1, clip_norm=HUGE, accumulate=1, lr=1e-6):
    """(result, gain at the end, calls, gradients at each step): targets are 0, so the gradient is
    the size. A call is (training, gradients recorded, gain). The loop runs on the student's side,
    on a witness (`course.world`), since gradients do not travel."""
    return ask.train(
        gain=float(rng.uniform(0.85, 0.95)), lr=lr, shape=rng.integers(2, 5, 2).tolist(),
        sizes=[float(size) for size in sizes], valid=[float(value) for value in valid],
        epochs=epochs, clip_norm=float(clip_norm), accumulate=accumulate,
    )  # fmt: skip


def train_clears(ask, rng):
    """The gradient of every step is that of its own batch."""
    with ask.part("clears"):
        sizes = rng.uniform(1, 9, 4)
        for epochs in (1, 2):
            seen, want = _run(ask, rng, sizes, [0], epochs)[3], np.tile(sizes, epochs)
            assert len(seen) == len(want), f"{len(want)} steps wanted, yours {len(seen)}"
            hints = {"old gradients add to new ones": np.cumsum(want)}
            same(seen, want, hints, 1e-4, "the gradient of each step")


def train_clips(ask, rng):
    """The norm of the gradient at a step is at most clip_norm; a smaller one stays."""
    with ask.part("clips"):
        size, limit = float(rng.uniform(5, 9)), float(rng.uniform(0.5, 2))
        (gradient,) = _run(ask, rng, [size], [0], clip_norm=limit)[3]
        assert gradient < 1.01 * limit, "clip the gradient before the step"
        same(gradient, limit, {}, 1e-3, "the norm of a clipped gradient")
        (gradient,) = _run(ask, rng, [size], [0], clip_norm=2 * size)[3]
        same(gradient, size, {}, 1e-4, "a gradient below the norm stays")


def train_averages(ask, rng):
    """One step for `accumulate` batches, with the mean of their gradients."""
    with ask.part("averages"):
        for accumulate in (2, 3):
            sizes = rng.uniform(1, 9, accumulate)
            seen = _run(ask, rng, sizes, [0], accumulate=accumulate)[3]
            assert len(seen) == 1, f"one step for {accumulate} batches, yours {len(seen)}"
            hints = {
                "divide the losses by the number of accumulated batches": sizes.sum(),
                "the gradients of earlier batches are lost": sizes[-1],
            }
            same(seen[0], sizes.mean(), hints, 1e-4, "the gradient of accumulated batches")


def train_evaluates(ask, rng):
    """Validation runs in evaluation mode without gradients, training in its own again."""
    with ask.part("evaluates"):
        valid = rng.uniform(2, 3, int(rng.integers(2, 5)))
        (error, _), gain, calls, _ = _run(ask, rng, [1.0, 2.0], valid, epochs=2, lr=0.0)
        assert len(calls) == 2 * (2 + len(valid)), "every batch and pair once per epoch"
        training = [call[0] for call in calls]
        epoch = [True] * 2 + [False] * len(valid)
        assert training[: len(epoch)] == epoch, "validate in evaluation mode"
        assert training == 2 * epoch, "the second epoch must train in training mode again"
        graded = [call[1] for call in calls]
        assert not any(graded[2 : len(epoch)]), "validate without gradients"
        same(error, np.mean(valid - gain), {}, 1e-5, "the validation error")


def train_remembers(ask, rng):
    """Smallest validation error of seven epochs, with the weights of that epoch."""
    with ask.part("remembers"):
        goal = float(rng.uniform(0.35, 0.6))  # on its way down to 0.2 the gain passes the best one
        (error, state), gain, calls, _ = _run(ask, rng, [1.0], [goal], epochs=7, lr=0.1)
        gains = [call[2] for call in calls[1::2]]  # at each validation
        errors = np.abs(np.array(gains) - goal)
        assert len(gains) == 7, "one training batch and one validation per epoch"
        same(error, errors.min(), {}, 1e-4, "the smallest validation error")
        hints = {"state_dict() holds the live weights: keep a copy": gain}
        same(state["gain"], gains[errors.argmin()], hints, 1e-6, "the state of the best epoch")


def lr_at(ask, rng):
    """The rate at every step: linear up to `warmup`, then stairs of `factor`."""
    for warmup in (0, 1, int(rng.integers(3, 20))):
        lr, factor = 10 ** rng.uniform(-5, -2), float(rng.uniform(0.5, 0.99))
        every = int(rng.integers(2, 9))
        rise = [lr * (i + 1) / warmup for i in range(warmup)] + [lr]
        late = [lr * i / max(warmup, 1) for i in range(warmup)] + [lr]
        stairs = [lr * factor ** (i // every) for i in range(5 * every)]
        smooth = [lr * factor ** (i / every) for i in range(5 * every)]
        what = f"with a warm-up of {warmup}"
        with ask.part("warm-up"):
            got = [ask(step, lr, warmup, factor, every) for step in range(warmup + 5 * every)]
            hints = {"step 0 already has lr / warmup": late}
            same(got[: warmup + 1], rise, hints, what=what)
        with ask.part("stairs"):
            same(got[warmup:], stairs, {"in stairs, not smoothly": smooth}, what=what)


def diagnose(ask, rng):
    """(word, epoch) of the curves of a training and a validation loss, with their noise."""
    for kind in ("overfits", "diverges", "learns", "overfits", "learns"):
        epochs = np.arange(int(rng.integers(24, 60)))
        fall = 0.2 + np.exp(-epochs / rng.uniform(10, 14))
        train, valid = fall.copy(), fall + 0.1
        turn = len(epochs) // 2
        if kind == "overfits":
            valid[turn:] = valid[turn] + 0.05 * (epochs[turn:] - turn)
        if kind == "diverges":
            train[turn:] = 3.0 ** (epochs[turn:] - turn + 1)
            valid[turn:] = np.nan if rng.random() < 0.5 else train[turn:]
        train, valid = (y * (1 + 0.001 * rng.standard_normal(len(y))) for y in (train, valid))
        with ask.part("word"):
            got = several(ask(train, valid), "word", "epoch")
            assert got[0] == kind, f"this one {kind}, yours says {got[0]}"
        with ask.part("epoch"):
            best = int(np.nanargmin(valid))
            assert got[1] != best + 1, "epochs count from 0"
            assert got[1] == best, f"keep the weights of epoch {best}, yours {got[1]}"
