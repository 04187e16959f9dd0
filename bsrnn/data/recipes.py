"""How training examples are mixed: a Recipe, and one for each published training (lesson 07).

Differences, on purpose: the repositories walk through their lists in shuffled order, here each
example draws from them; amanteur crops and scales a whole batch alike and adds others when the
*target* is heard, here each example has its own crop and gain, others come from their own list, and
the finished example is normalised; BandIt's rooms are Freeverb, here `bsrnn.data.augment.reverb`.
"""

import dataclasses
from typing import Annotated

from bsrnn.common import UsageError, choose
from bsrnn.data import activity
from bsrnn.settings import Json, checked

Share = Annotated[float, (0.0, 1.0)]
Gain = Annotated[float, (-200.0, 200.0)]
Level = Annotated[float, (0.0, 200.0)]


@dataclasses.dataclass(frozen=True)
class Recipe(Json):
    """How one training example is drawn. All probabilities are per example or per source.

    >>> from bsrnn.data.recipes import recipe
    >>> Recipe.from_json(recipe("paper").to_json()) == recipe("paper")
    True
    """

    # Which moments
    remix: Share = 1.0  # probability of stems from different songs, else one moment of one song
    others: Annotated[int, (0, 64)] = 0  # at most so many stems that are no target, 1 or more, in
    # a remixed example; 0: all of them. amanteur adds 1 to 3
    active_share: Share = 0.5  # wanted share of heard chunks in a segment; 0 takes any segment
    segments: str = ""  # draw inside the segments that this rule of bsrnn.data.activity keeps;
    # they are listed when training starts. Empty: draw anywhere, judged by active_share

    # What happens to a source
    gain_low: Gain = -10.0  # lower end of the gain of each source, in gain_unit
    gain_high: Gain = 10.0  # upper end
    gain_unit: str = "db"  # "db": uniform in decibel; "linear": uniform factor
    gain_share: Share = 1.0  # probability of a gain (BandIt: one half)
    channel_swap: Share = 0.0  # probability of exchanging left and right of a source
    polarity: Share = 0.0  # probability of flipping the sign of a source
    silence: Share = 0.1  # probability of dropping a source (targets too: silence must be learnt)
    noise: Share = 0.0  # probability of coloured noise on the stem named next
    noise_stem: str = "sfx"
    noise_snr_db: Level = 24.0  # the noise lies up to this above or below the stem
    reverb: Share = 0.0  # probability of a random room around the stem named next
    reverb_stem: str = "speech"

    # What happens to the example
    silence_targets: Share = 0.0  # probability of dropping all targets at once (amanteur)
    normalise: bool = False  # divide mixture and targets by the larger of their peaks
    limit: bool = False  # the same, only where a peak exceeds 1 (BandIt)
    whole_gain_db: Level = 0.0  # then a gain for all, uniform from minus to plus this
    whole_gain_share: Share = 1.0  # probability of it

    def __post_init__(self):
        checked(self)
        choose(self.gain_unit, ("db", "linear"), "gain_unit")
        if self.segments:
            activity.rule(self.segments)
        if self.gain_low > self.gain_high:
            raise UsageError(
                f"gain_low {self.gain_low} exceeds gain_high {self.gain_high}: swap them"
            )


_PLAIN = Recipe(remix=0.0, gain_low=0.0, gain_high=0.0, silence=0.0, active_share=0.0)
_FREE = Recipe(  # any segment of any song, a linear gain, sides exchanged half of the time
    gain_low=0.25,
    gain_high=1.25,
    gain_unit="linear",
    channel_swap=0.5,
    silence=0.0,
    active_share=0.0,
)
_RECIPES = {
    "plain": _PLAIN,  # nobody's: one moment of one song, untouched
    "paper": Recipe(),  # Luo & Yu 2022; segments that are heard are drawn
    "paper-lists": Recipe(segments="paper"),  # listed by the paper's own activity rule
    "magronp": Recipe(segments="repositories", normalise=True),  # magronp/bsrnn, default
    "magronp-nosad": _FREE,  # its published models
    # sony/ai-research-code; its text promises balanced tracks, its code draws them freely
    "d3net": dataclasses.replace(_FREE, gain_low=0.75),
    "amanteur": dataclasses.replace(  # BandSplitRNN-Pytorch: a quarter of real mixtures remixed
        _PLAIN,
        remix=0.25,
        others=3,
        segments="repositories",
        silence_targets=0.1,
        normalise=True,
        whole_gain_db=10.0,
        whole_gain_share=0.5,
    ),
    "bandit": _PLAIN,  # kwatcharasupat/bandit, published models
    "bandit-augment": dataclasses.replace(  # its preset `bgn`
        _PLAIN, gain_low=-6.0, gain_high=6.0, gain_share=0.5, polarity=0.5, noise=0.5, limit=True
    ),
    "bandit-reverb": dataclasses.replace(_PLAIN, reverb=1.0),  # its reverberant speech
    # ours, for a handful of songs: all augmentations, and real combinations half of the time,
    # because only they have one key, one tempo and a producer's balance
    "few-songs": Recipe(remix=0.5, gain_low=-6.0, gain_high=6.0, channel_swap=0.5, polarity=0.5),
}


def recipes() -> dict[str, Recipe]:
    """Every built-in recipe by name."""
    return dict(_RECIPES)


def recipe(name: str) -> Recipe:
    """The built-in recipe `name`, or the one that is written as JSON; UsageError with the nearest
    names otherwise."""
    if isinstance(name, str) and name.startswith("{"):
        return Recipe.from_json(name)
    return _RECIPES[choose(name, _RECIPES, "mixing recipe")]
