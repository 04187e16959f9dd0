"""Short trials before a long run: which precision is faster here, and how long it will take.
Lessons 08 and 11.
"""

import numpy as np
import torch

from bsrnn.models.benchmark import agreement_db, timed
from bsrnn.models.cost import cost
from bsrnn.models.precision import optimised
from bsrnn.separation.engine import Engine, evaluating

AGREEMENT_DB = 45.0  # with float32, or the faster form is not taken
WORTH = 1.15  # times as fast, or it is not taken
PRODUCT = 1024  # size of the matrix product that tells how fast bfloat16 is


def faster(separator, sound, query=None):
    """(separator, why): its bfloat16 form where that is at least 1.15 times as fast here and agrees
    to 45 dB with float32, else itself. sound: a second of what is to be separated, (C, L)."""
    gain = product_gain(next(separator.parameters()).device)
    if gain < WORTH:
        return separator, f"fp32: bf16 products are {gain:.2f} times as fast here"
    made, sound = optimised(separator, "bf16"), np.asarray(sound, np.float32)[None]  # (1, C, L)
    engines = [Engine(each, separator.stems, query=query) for each in (separator, made)]
    agreement = agreement_db(*(engine(sound) for engine in engines))
    if not agreement >= AGREEMENT_DB:
        return separator, f"fp32: bf16 agrees to {agreement:.0f} dB only on this song"
    times = [min(timed(engine, sound) for _ in range(2)) for engine in engines]
    ratio = times[0] / times[1]
    if ratio < WORTH:
        return separator, f"fp32: bf16 is {ratio:.2f} times as fast here"
    return made, f"bf16: {ratio:.1f} times as fast as fp32 here, {agreement:.0f} dB agreement"


def product_gain(device) -> float:
    """How many times as fast a matrix product is in bfloat16 as in float32 on this device."""
    single = torch.ones(PRODUCT, PRODUCT, device=device)
    with torch.inference_mode():
        seconds = [
            min(timed(torch.mm, x, x) for _ in range(4)) for x in (single, single.bfloat16())
        ]
    return seconds[0] / seconds[1]


def forecast_s(separator, seconds: float, channels: int = 2, **cutting) -> float:
    """Seconds that `separate` will take for so much sound here: the time of a short chunk, times
    the multiply-accumulates of a whole one over those of the short one (`bsrnn.cost`; where it
    does not know the network, their lengths), times the chunks. Reading and writing come on top."""
    engine, rate = Engine(separator, separator.stems, **cutting), separator.sample_rate
    short = min(engine.chunk, max(rate, engine.shortest))
    sound = np.zeros((1, channels, short + engine.offsets[-1]), np.float32)
    with evaluating(separator):
        once = min(timed(engine, sound) for _ in range(2))
    try:
        whole, part = (cost(separator.config, n / rate).macs for n in (engine.chunk, short))
    except (AttributeError, TypeError, ValueError):
        whole, part = engine.chunk, short
    samples, hop = seconds * rate, engine.chunk * (1 - engine.overlap)
    chunks = min(samples / engine.chunk, 1) + max(samples - engine.chunk, 0) / hop
    return once * whole / part * chunks
