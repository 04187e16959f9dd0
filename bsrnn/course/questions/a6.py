"""a6, training: five bugs of a loop, each by what it does, and a schedule (lesson 07).

Each check chooses a case in which the other bugs change nothing: a huge clip norm, one batch per
step, a single step, a model without dropout.
"""

import numpy as np

from bsrnn.course.questions import same

HUGE = 1e9


def _run(answer, rng, sizes, valid, epochs=1, clip_norm=HUGE, accumulate=1, lr=1e-6):
    """(result, gain at the end, calls, gradients at each step): targets are 0, so the gradient is
    the size. A call is (training, gradients recorded, gain). The loop runs on the student's side,
    on a witness (`course.world`), since gradients do not travel."""
    return answer.train(
        gain=float(rng.uniform(0.85, 0.95)), lr=lr, shape=rng.integers(2, 5, 2).tolist(),
        sizes=[float(size) for size in sizes], valid=[float(value) for value in valid],
        epochs=epochs, clip_norm=float(clip_norm), accumulate=accumulate,
    )  # fmt: skip


def train_clears(answer, rng, part):
    """The gradient of every step is that of its own batch."""
    with part("clears"):
        sizes = rng.uniform(1, 9, 4)
        for epochs in (1, 2):
            seen = _run(answer, rng, sizes, [0], epochs)[3]
            assert len(seen) == 4 * epochs, f"train: {4 * epochs} steps wanted, yours {len(seen)}"
            added = np.allclose(seen, np.cumsum(np.tile(sizes, epochs)), rtol=1e-4)
            assert not added, "train: old gradients add to new ones"
            same(seen, np.tile(sizes, epochs), "train: the gradient of each step", 1e-4)


def train_clips(answer, rng, part):
    """The norm of the gradient at a step is at most clip_norm; a smaller one stays."""
    with part("clips"):
        size, limit = float(rng.uniform(5, 9)), float(rng.uniform(0.5, 2))
        (gradient,) = _run(answer, rng, [size], [0], clip_norm=limit)[3]
        assert gradient < 1.01 * limit, "train: clip the gradient before the step"
        same(gradient, limit, "train: the norm of a clipped gradient", 1e-3)
        (gradient,) = _run(answer, rng, [size], [0], clip_norm=2 * size)[3]
        same(gradient, size, "train: a gradient below the norm stays", 1e-4)


def train_averages(answer, rng, part):
    """One step for `accumulate` batches, with the mean of their gradients."""
    with part("averages"):
        for accumulate in (2, 3):
            sizes = rng.uniform(1, 9, accumulate)
            seen = _run(answer, rng, sizes, [0], accumulate=accumulate)[3]
            assert len(seen) == 1, f"train: one step for {accumulate} batches, yours {len(seen)}"
            hints = [(sizes.sum(), "divide the losses by the number of accumulated batches")]
            hints.append((sizes[-1], "the gradients of earlier batches are lost"))
            same(seen[0], sizes.mean(), "train: the gradient of accumulated batches", 1e-4, hints)


def train_evaluates(answer, rng, part):
    """Validation runs in evaluation mode without gradients, training in its own again."""
    with part("evaluates"):
        valid = rng.uniform(2, 3, int(rng.integers(2, 5)))
        (error, _), gain, calls, _ = _run(answer, rng, [1.0, 2.0], valid, epochs=2, lr=0.0)
        assert len(calls) == 2 * (2 + len(valid)), "train: every batch and pair once per epoch"
        training = [call[0] for call in calls]
        epoch = [True] * 2 + [False] * len(valid)
        assert training[: len(epoch)] == epoch, "train: validate in evaluation mode"
        assert training == 2 * epoch, "train: the second epoch must train in training mode again"
        graded = [call[1] for call in calls]
        assert not any(graded[2 : len(epoch)]), "train: validate without gradients"
        same(error, np.mean(valid - gain), "train: the validation error", 1e-5)


def train_remembers(answer, rng, part):
    """Smallest validation error of seven epochs, with the weights of that epoch."""
    with part("remembers"):
        goal = float(rng.uniform(0.35, 0.6))  # on its way down to 0.2 the gain passes the best one
        (error, state), gain, calls, _ = _run(answer, rng, [1.0], [goal], epochs=7, lr=0.1)
        gains = [call[2] for call in calls[1::2]]  # at each validation
        errors = np.abs(np.array(gains) - goal)
        assert len(gains) == 7, "train: one training batch and one validation per epoch"
        same(error, errors.min(), "train: the smallest validation error", 1e-4)
        last = abs(float(state["gain"]) - gain) < 1e-7
        assert not last, "train: state_dict() holds the live weights: keep a copy"
        same(state["gain"], gains[errors.argmin()], "train: the state of the best epoch", 1e-6)


def lr_at(answer, rng, part):
    """The rate at every step: linear up to `warmup`, then stairs of `factor`."""
    for warmup in (0, 1, int(rng.integers(3, 20))):
        lr, factor = 10 ** rng.uniform(-5, -2), float(rng.uniform(0.5, 0.99))
        every = int(rng.integers(2, 9))
        want = [lr * (i + 1) / warmup for i in range(warmup)]
        while len(want) < warmup + 5 * every:
            want += [lr if len(want) == warmup else want[-1] * factor] * every
        with part("warm-up"):
            got = [answer(step, lr, warmup, factor, every) for step in range(len(want))]
        late = [lr * i / max(warmup, 1) for i in range(warmup)] + want[warmup:]
        smooth = want[:warmup]
        smooth += [lr * factor ** (i / every) for i in range(len(want) - warmup)]
        hints = [(late, "step 0 already has lr / warmup"), (smooth, "in stairs, not smoothly")]
        words = f"lr_at with a warm-up of {warmup}"
        with part("warm-up"):
            rise = slice(0, warmup + 1)
            same(got[rise], want[rise], words, 1e-9, [(late[rise], hints[0][1])])
        with part("stairs"):
            same(got[warmup:], want[warmup:], words, 1e-9, [(smooth[warmup:], hints[1][1])])


def diagnose(answer, rng, part):
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
        with part("word"):
            got = answer(train.copy(), valid.copy())
            assert isinstance(got, (tuple, list)) and len(got) == 2, "diagnose: (word, epoch)"
            assert got[0] == kind, f"diagnose: this one {kind}, yours says {got[0]}"
        with part("epoch"):
            best = int(np.nanargmin(valid))
            assert got[1] != best + 1, "diagnose: epochs count from 0"
            assert got[1] == best, f"diagnose: keep the weights of epoch {best}, yours {got[1]}"
