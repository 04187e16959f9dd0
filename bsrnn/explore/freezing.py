"""A freeze board: what trains, what stays and what is new when a base model is transferred.

`freeze_plan` sorts the tensors, `freeze_view` is the static twin of the widget `freeze_board`.

Conventions
    A part is *frozen* (copied from the base and kept), *trained* (copied and trained on) or
    *replaced* (new random weights, trained). What does not fit the base is new in any case.
    One step costs the MACs of the forward pass; twice more for a part that learns (gradients of its
    weights and inputs); once more for a frozen part after a learning one, as gradients pass through
    it. What stands before the first learning part keeps no activations.
    Memory, in float32: 4 bytes for a weight, 4 for a gradient, 8 for the two moments of Adam.

Reference: the part-wise transfer of Refined BSRNN (github sahandevs/BandSplit-RNN). Lesson 10.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import pandas
import torch

from bsrnn import bands, cost
from bsrnn.common import UsageError, choose
from bsrnn.explore.panel import Panel, choice, slider
from bsrnn.models import BandSplitSeparator
from bsrnn.plots import style

STATES = ("frozen", "trained", "replaced")
PARTS = ("split", "sequence", "masks")
FOUR_STEMS = ("vocals", "drums", "bass", "other")
SCHEMES = ("v7", "tet24", "v4", "v1", "bass", "drums", "joint", "equal32")
COLOURS = {"frozen": "#bbbbbb", "trained": style.PALETTE[0], "new": style.PALETTE[1]}


@dataclass(frozen=True)
class FreezePlan:
    """What a transfer trains.

    tensors: a row per tensor (tensor, part, shape, parameters, state "frozen|trained|new");
    forward, backward: MACs of one step by part; activation_bytes: kept for the backward pass.
    """

    tensors: pandas.DataFrame
    forward: dict
    backward: dict
    activation_bytes: int

    def parameters(self, *states) -> int:
        """How many weights are in one of `states` (all of them without an argument)."""
        rows = self.tensors
        return int(rows[rows["state"].isin(states or COLOURS)]["parameters"].sum())

    @property
    def learning(self) -> int:
        """Weights that carry gradients."""
        return self.parameters("trained", "new")

    @property
    def optimiser_bytes(self) -> int:
        return 8 * self.learning

    @property
    def step_macs(self) -> int:
        return sum(self.forward.values()) + sum(self.backward.values())

    @property
    def full_step_macs(self) -> int:
        """The step of the same network with every part trained."""
        return 3 * sum(self.forward.values())


def freeze_plan(base, config, split="frozen", sequence="frozen", masks="frozen", seconds=1.0):
    """The FreezePlan of a network `config` that starts from a network `base` (two ModelConfigs).

    seconds: length of one mixture, for MACs and activations. Raises UsageError for a state that is
    not one of `STATES`.

    >>> from bsrnn.models import presets
    >>> base = presets()["tiny"]
    >>> plan = freeze_plan(base, replace(base, stems=("drums",)))  # the drums head is new
    >>> plan.learning == cost.cost(base).parts["masks"].parameters
    True
    """
    wanted = {"split": split, "sequence": sequence, "masks": masks}
    for part, state in wanted.items():
        choose(state, STATES, f"state of {part}")
    before, shapes, rows = _shapes(base), _shapes(config), []
    unlike = {_unit(name) for name, shape in shapes.items() if before.get(name) != shape}
    for name, shape in shapes.items():
        part = name.split(".")[0]
        state = wanted.get(part, "trained")
        state = "new" if state == "replaced" or _unit(name) in unlike else state
        rows.append((name, part, shape, math.prod(shape), state))
    columns = ["tensor", "part", "shape", "parameters", "state"]
    tensors = pandas.DataFrame(rows, columns=columns)
    parts = cost.cost(config, seconds).parts
    forward = {name: tally.macs for name, tally in parts.items()}
    backward, kept, after = {}, 0, False
    for name, tally in parts.items():
        mine = tensors[tensors["part"] == name]
        share = mine[mine["state"] != "frozen"]["parameters"].sum() / max(tally.parameters, 1)
        backward[name] = round(tally.macs * (2 * share + after * (1 - share)))
        kept += round(tally.activation_bytes * (1 if after else share))
        after = after or share > 0
    return FreezePlan(tensors, forward, backward, kept)


def freeze_view(
    config, split="frozen", sequence="frozen", masks="replaced", scheme=None, stems=1, seconds=1.0
) -> list:
    """[Picture, table of the layers] of one setting of the board: what `freeze_board` shows.

    config: ModelConfig of the base. split, sequence, masks: "frozen", "trained" or "replaced".
    scheme: bands of the network that is trained (default: those of the base). stems: how many heads
    it has; the first are those of the base. Raises UsageError.
    """
    if not 1 <= stems <= len(_names(config)):
        raise UsageError(f"{stems} stems: choose 1 to {len(_names(config))}")
    scheme = config.scheme if scheme is None else scheme
    if scheme != config.scheme:
        choose(scheme, bands.names(), "band scheme")
    made = replace(config, scheme=scheme, stems=_names(config)[:stems], residual_last=False)
    plan = freeze_plan(config, made, split, sequence, masks, seconds)
    return [_picture(plan, seconds), _table(plan)]


def freeze_board(config, seconds: float = 1.0) -> Panel:
    """The board as a widget: the state of each part, the band scheme and the number of stems.

    config: ModelConfig of the base; seconds: length of a training example, for costs.

    >>> from bsrnn.models import presets
    >>> sorted(freeze_board(presets()["tiny"]).controls)
    ['masks', 'scheme', 'sequence', 'split', 'stems']
    """
    scheme = config.scheme
    name = scheme if scheme in bands.names() else config.bands.name
    schemes = [(f"{name} (the base's)", scheme), *((other, other) for other in SCHEMES)]
    return Panel(
        partial(freeze_view, config, seconds=seconds),
        "Freeze board",
        split=choice("split", STATES),
        sequence=choice("sequence", STATES),
        masks=choice("masks", STATES, "replaced"),
        scheme=choice("scheme", [item for item in schemes if item != (scheme, scheme)]),
        stems=slider("stems", 1, 1, len(_names(config))),
    )


def _names(config) -> tuple:
    """The stems of the base, then the usual ones that it lacks."""
    return (*config.stems, *(stem for stem in FOUR_STEMS if stem not in config.stems))


def _shapes(config) -> dict:
    """Name and shape of every weight, without memory for them."""
    with torch.device("meta"):
        network = BandSplitSeparator(config)
    return {name: tuple(weight.shape) for name, weight in network.named_parameters()}


def _unit(name: str) -> str:
    """What is copied as a whole: a part, or the head of one stem."""
    part, rest = name.split(".", 1)
    return f"masks.{rest.split('.')[0]}" if part == "masks" else part


def _table(plan) -> pandas.DataFrame:
    """Layers of equal names (but for their numbers) and equal state in one row."""
    layers = plan.tensors["tensor"].str.rpartition(".")[0].str.replace(r"\d+", "*", regex=True)
    grouped = plan.tensors.assign(layers=layers).groupby(["layers", "state"], sort=False)
    return grouped["parameters"].agg(tensors="size", parameters="sum").reset_index()


def _picture(plan, seconds):
    title, size = "What learns, what it costs", {"width": 10, "height": 3.2}
    picture, axes = style.figure(title, 1, 3, **size, width_ratios=(3, 3, 2))
    order = list(plan.forward)[::-1]
    sizes = plan.tensors.pivot_table("parameters", "part", "state", "sum", fill_value=0) / 1e3
    sizes = sizes.reindex(order, columns=list(COLOURS), fill_value=0)
    left = sizes.cumsum(axis=1) - sizes
    for state, colour in COLOURS.items():
        axes[0].barh(order, sizes[state], left=left[state], color=colour, label=state)
    axes[0].set(title="weights", xlabel="parameters (thousands)")
    style.legend(axes[0])
    forward = [plan.forward[part] / 1e6 for part in order]
    backward = [plan.backward[part] / 1e6 for part in order]
    axes[1].barh(order, forward, color="#555555", label="forward")
    axes[1].barh(order, backward, left=forward, color=style.PALETTE[2], label="backward")
    axes[1].set(title=f"one step, {seconds:g} s of audio", xlabel="multiply-accumulates (millions)")
    style.legend(axes[1])
    memory = {
        "weights": 4 * plan.parameters(),
        "gradients": 4 * plan.learning,
        "optimiser": plan.optimiser_bytes,
        "activations": plan.activation_bytes,
    }
    values = [number / 1e6 for number in memory.values()]
    drawn = axes[2].barh(list(memory), values, color=style.PALETTE[4])
    axes[2].bar_label(drawn, [f"{value:.2g}" for value in values], fontsize=8, padding=2)
    axes[2].set(title="memory", xlabel="MB")
    axes[2].invert_yaxis()
    axes[2].margins(x=0.2)
    return style.describe(picture, _words(plan))


def _words(plan) -> str:
    total, learning = plan.parameters(), plan.learning
    states = ", ".join(f"{plan.parameters(state):,} {state}" for state in COLOURS)
    if not learning:
        return f"Nothing learns: all {total:,} parameters are frozen; training refuses this."
    return (
        f"{learning:,} of {total:,} parameters carry gradients ({100 * learning / total:.0f} %): "
        f"{states}. A step costs {plan.step_macs / 1e6:.0f} million MACs, "
        f"{100 * plan.step_macs / plan.full_step_macs:.0f} % of training every part; Adam keeps "
        f"{plan.optimiser_bytes / 1e6:.2g} MB beside {4 * learning / 1e6:.2g} MB of gradients."
    )
