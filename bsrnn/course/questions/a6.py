"""a6, training: five bugs of a loop, each by what it does, and a schedule (lesson 07).

Each check chooses a case in which the other bugs change nothing: a huge clip norm, one batch per
step, a single step, a model without dropout.
"""

import numpy as np
import torch

from bsrnn.course.questions import same

HUGE = 1e9
# torch imports its compiler with the first optimiser: once here, or again in every child.
torch.optim.SGD([torch.zeros(1)], lr=1.0)


class _Witness(torch.nn.Module):
    """gain * mixture; notes at each call whether it was training and what its gain was."""

    def __init__(self, gain: float):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))
        self.calls = []

    def forward(self, mixture):
        self.calls.append((self.training, torch.is_grad_enabled(), self.gain.item()))
        return self.gain * mixture


class _Steps(torch.optim.SGD):
    """Plain gradient descent that notes the gradient of every step."""

    def __init__(self, model, lr: float):
        super().__init__(model.parameters(), lr=lr)
        self.model, self.seen = model, []

    def step(self, closure=None):
        self.seen.append(self.model.gain.grad.item())
        return super().step(closure)


def _run(answer, rng, sizes, valid, epochs=1, clip_norm=HUGE, accumulate=1, lr=1e-6):
    """(result, model, gradients at each step): targets are 0, so the gradient is the size."""
    model = _Witness(float(rng.uniform(0.85, 0.95)))
    optimizer = _Steps(model, lr)
    shape = tuple(rng.integers(2, 5, 2).tolist())
    batches = [(torch.full(shape, float(size)), torch.zeros(shape)) for size in sizes]
    pairs = [(torch.ones(shape), torch.full(shape, float(value))) for value in valid]
    result = answer(model, batches, pairs, optimizer, epochs, clip_norm, accumulate)
    return result, model, optimizer.seen


def train_clears(answer, rng):
    """The gradient of every step is that of its own batch."""
    sizes = rng.uniform(1, 9, 4)
    for epochs in (1, 2):
        seen = _run(answer, rng, sizes, [0], epochs)[2]
        assert len(seen) == 4 * epochs, f"train: {4 * epochs} steps wanted, yours {len(seen)}"
        added = np.allclose(seen, np.cumsum(np.tile(sizes, epochs)), rtol=1e-4)
        assert not added, "train: old gradients add to new ones"
        same(seen, np.tile(sizes, epochs), "train: the gradient of each step", 1e-4)


def train_clips(answer, rng):
    """The norm of the gradient at a step is at most clip_norm; a smaller one stays."""
    size, limit = float(rng.uniform(5, 9)), float(rng.uniform(0.5, 2))
    (gradient,) = _run(answer, rng, [size], [0], clip_norm=limit)[2]
    assert gradient < 1.01 * limit, "train: clip the gradient before the step"
    same(gradient, limit, "train: the norm of a clipped gradient", 1e-3)
    (gradient,) = _run(answer, rng, [size], [0], clip_norm=2 * size)[2]
    same(gradient, size, "train: a gradient below the norm stays", 1e-4)


def train_averages(answer, rng):
    """One step for `accumulate` batches, with the mean of their gradients."""
    for accumulate in (2, 3):
        sizes = rng.uniform(1, 9, accumulate)
        seen = _run(answer, rng, sizes, [0], accumulate=accumulate)[2]
        assert len(seen) == 1, f"train: one step for {accumulate} batches, yours {len(seen)}"
        hints = [(sizes.sum(), "divide the losses by the number of accumulated batches")]
        hints.append((sizes[-1], "the gradients of earlier batches are lost"))
        same(seen[0], sizes.mean(), "train: the gradient of accumulated batches", 1e-4, hints)


def train_evaluates(answer, rng):
    """Validation runs in evaluation mode without gradients, training in its own again."""
    valid = rng.uniform(2, 3, int(rng.integers(2, 5)))
    (error, _), model, _ = _run(answer, rng, [1.0, 2.0], valid, epochs=2, lr=0.0)
    assert len(model.calls) == 2 * (2 + len(valid)), "train: every batch and pair once per epoch"
    training = [call[0] for call in model.calls]
    epoch = [True] * 2 + [False] * len(valid)
    assert training[: len(epoch)] == epoch, "train: validate in evaluation mode"
    assert training == 2 * epoch, "train: the second epoch must train in training mode again"
    graded = [call[1] for call in model.calls]
    assert not any(graded[2 : len(epoch)]), "train: validate without gradients"
    same(error, np.mean(valid - model.gain.item()), "train: the validation error", 1e-5)


def train_remembers(answer, rng):
    """Smallest validation error of seven epochs, with the weights of that epoch."""
    goal = float(rng.uniform(0.35, 0.6))  # on its way down to 0.2 the gain passes the best one
    (error, state), model, _ = _run(answer, rng, [1.0], [goal], epochs=7, lr=0.1)
    gains = [call[2] for call in model.calls[1::2]]  # at each validation
    errors = np.abs(np.array(gains) - goal)
    assert len(gains) == 7, "train: one training batch and one validation per epoch"
    same(error, errors.min(), "train: the smallest validation error", 1e-4)
    last = abs(state["gain"].item() - model.gain.item()) < 1e-7
    assert not last, "train: state_dict() holds the live weights: keep a copy"
    same(state["gain"], gains[errors.argmin()], "train: the state of the best epoch", 1e-6)


def lr_at(answer, rng):
    """The rate at every step: linear up to `warmup`, then stairs of `factor`."""
    for warmup in (0, 1, int(rng.integers(3, 20))):
        lr, factor = 10 ** rng.uniform(-5, -2), float(rng.uniform(0.5, 0.99))
        every = int(rng.integers(2, 9))
        want = [lr * (i + 1) / warmup for i in range(warmup)]
        while len(want) < warmup + 5 * every:
            want += [lr if len(want) == warmup else want[-1] * factor] * every
        got = [answer(step, lr, warmup, factor, every) for step in range(len(want))]
        late = [lr * i / max(warmup, 1) for i in range(warmup)] + want[warmup:]
        smooth = want[:warmup]
        smooth += [lr * factor ** (i / every) for i in range(len(want) - warmup)]
        hints = [(late, "step 0 already has lr / warmup"), (smooth, "in stairs, not smoothly")]
        same(got, want, f"lr_at with a warm-up of {warmup}", 1e-9, hints)
