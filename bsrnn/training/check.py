"""Overfit one batch: the check before any long job (lesson 07).

One target that silently learns nothing is the field's most common training bug: a head without a
gradient, stems in another order, a loss that averages it away. So every stem is judged on its own.
"""

import copy
import dataclasses

import torch

from bsrnn import losses, metrics, models
from bsrnn.common import UsageError
from bsrnn.training import machine
from bsrnn.training.examples import mixer_for

WANTED_DB = 3.0  # half the error energy of silence
EXAMPLES = 2
STEPS = 200  # at most; a sound network needs a few dozen
LR = 1e-2  # of small networks
SEARCHED = 200  # examples looked through for some in which every target is heard


@dataclasses.dataclass(frozen=True)
class Overfit:
    """What `overfit` found: uSDR in dB per stem before and after, and parts without a gradient."""

    steps: int
    before_db: dict
    after_db: dict
    dead: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.dead and all(value >= WANTED_DB for value in self.after_db.values())

    def require(self) -> "Overfit":
        """Itself, or a UsageError that names the stem that does not learn."""
        if self.dead:
            raise UsageError(
                f"check: no gradient reaches {self.dead[0]} ({len(self.dead)} weights in all): "
                "freeze it or repair the network"
            )
        if not self.passed:
            stem = min(self.after_db, key=self.after_db.get)
            raise UsageError(
                f"check: {stem} reaches {self.after_db[stem]:.1f} dB on one batch after "
                f"{self.steps} steps, not {WANTED_DB:g}: check loss, lr and heads, or skip this "
                "check (check=False)"
            )
        return self


def overfit(model_config, train_config, dataset, device="auto") -> Overfit:
    """Train a new separator on two examples for up to 200 updates, until every stem has 3 dB uSDR;
    `fit(..., check=True)` does this before it starts."""
    torch.manual_seed(train_config.seed)
    separator = models.build(model_config)
    mixer = mixer_for(model_config, train_config, dataset.subset("train"))
    return overfit_separator(separator, train_config, mixer, machine.find(device).torch_device)


def overfit_separator(separator, config, mixer, device="cpu") -> Overfit:
    """`overfit` for a copy of this separator; the generator of random numbers is left as it was."""
    with machine.forked(device):
        copied = copy.deepcopy(separator).to(device).train()
        return _learn(copied, config, *_heard_batch(mixer, device))


def _heard_batch(mixer, device):
    """Mixtures (B, C, L), targets (B, S, C, L): the first examples with sound in each target."""
    heard = []
    for index in range(SEARCHED):
        example = mixer[index]
        if all(abs(target).max() > 1e-3 for target in example["targets"]):
            heard.append(example)
        if len(heard) == EXAMPLES:
            break
    if not heard:
        raise UsageError(f"check: no example with every target among {SEARCHED}: skip this check")
    batch = torch.utils.data.default_collate(heard)
    return batch["mixture"].to(device), batch["targets"].to(device)


def _learn(separator, config, mixture, targets) -> Overfit:
    weights = {n: w for n, w in separator.named_parameters() if w.requires_grad}
    count = sum(weight.numel() for weight in separator.parameters())
    small = LR * min(1.0, (1e5 / count) ** 0.5)  # 1e-3 at 10 million parameters
    optimizer = torch.optim.Adam(weights.values(), lr=max(config.lr, small))
    before = {}
    for step in range(1, STEPS + 1):
        waveforms, spectra = separator.estimate(mixture)
        usdr_db = metrics.usdr(*map(_by_stem, (targets, waveforms)))  # (S,)
        after = dict(zip(separator.stems, usdr_db.tolist(), strict=True))
        loss = losses.loss(config.loss, waveforms, spectra, targets, separator.config.stft)
        before = before or after
        if step > 1 and all(value >= WANTED_DB for value in after.values()):
            break
        optimizer.zero_grad()
        loss.backward()
        dead = tuple(n for n, w in weights.items() if w.grad is None or not w.grad.any())
        if dead:
            return Overfit(step, before, after, dead)
        torch.nn.utils.clip_grad_norm_(weights.values(), config.clip_norm)
        optimizer.step()
    return Overfit(step, before, after)


def _by_stem(waveforms):
    """(B, S, C, L) -> (S, B C, L), for numpy."""
    return waveforms.detach().cpu().transpose(0, 1).flatten(1, 2).numpy()
