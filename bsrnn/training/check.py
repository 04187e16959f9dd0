"""Overfit one batch: the check before any long job (lesson 07).

A network that cannot learn two excerpts by heart will not learn music. One target that silently
learns nothing is the field's most common training bug: a head without a gradient, stems in another
order, a loss that averages it away. So every stem is judged on its own.
"""

import copy
import dataclasses

import torch

from bsrnn import losses, metrics
from bsrnn.common import UsageError

WANTED_DB = 3.0  # half the error energy of silence
EXAMPLES = 2
STEPS = 200  # at most; a sound network needs a few dozen
LR = 1e-2  # of small networks, see `_rate`
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


def overfit(model_config, train_config, dataset, steps=None, device="auto") -> Overfit:
    """Train a new separator on two examples and say how well each stem is learnt.

    Up to `steps` (200) updates; it stops as soon as every stem has 3 dB uSDR.
    `fit(..., check=True)` does this before it starts.
    """
    from bsrnn import models
    from bsrnn.training import job, machine

    torch.manual_seed(train_config.seed)
    separator = models.build(model_config)
    mixer = job.mixer_for(model_config, train_config, dataset.subset("train"))
    place = machine.find(device)
    return overfit_separator(separator, train_config, mixer, place.accelerator, steps)


def overfit_separator(separator, config, mixer, accelerator="cpu", steps=None) -> Overfit:
    """`overfit` for a copy of this separator; the generator of random numbers is left as it was."""
    device = "cuda" if accelerator == "gpu" else "cpu"
    with torch.random.fork_rng(devices=[0] if device == "cuda" else []):
        copied = copy.deepcopy(separator).to(device).train()
        return _learn(copied, config, *_heard_batch(mixer, device), steps or STEPS)


def _heard_batch(mixer, device):
    """Mixtures (B, C, L), targets (B, S, C, L): the first examples with sound in each target."""
    found = []
    for index in range(SEARCHED):
        example = mixer[index]
        if all(abs(target).max() > 1e-3 for target in example["targets"]):
            found.append(example)
        if len(found) == EXAMPLES:
            break
    if not found:
        raise UsageError(f"check: no example with every target among {SEARCHED}: skip this check")
    return tuple(
        torch.stack([torch.from_numpy(example[name]) for example in found]).to(device)
        for name in ("mixture", "targets")
    )


def _learn(separator, config, mixture, targets, steps) -> Overfit:
    weights = {n: w for n, w in separator.named_parameters() if w.requires_grad}
    optimizer = torch.optim.Adam(weights.values(), lr=max(config.lr, _rate(separator)))
    before, after = None, None
    for step in range(1, steps + 1):
        waveforms, spectra = separator.estimate(mixture)
        stft = separator.config.stft
        loss = losses.loss(config.loss, waveforms, spectra, targets, stft)
        after = _scores(separator.stems, targets, waveforms)
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


def _rate(separator) -> float:
    """1e-2 up to 100,000 parameters, then falling with their root: 1e-3 at 10 million."""
    count = sum(weight.numel() for weight in separator.parameters())
    return LR * min(1.0, (1e5 / count) ** 0.5)


def _scores(stems, targets, waveforms) -> dict[str, float]:
    """uSDR of each stem over the whole batch."""
    pairs = zip(targets.unbind(1), waveforms.detach().unbind(1), strict=True)  # (B, C, L)
    return {
        stem: float(metrics.usdr(*(x.flatten(0, 1).cpu().numpy() for x in pair)))
        for stem, pair in zip(stems, pairs, strict=True)
    }
