"""Short trials before a long run: which precision is faster here, and how long it will take.

A trial costs about what two seconds of sound cost. Lessons 08 and 11.
"""

import torch

from bsrnn.models.benchmark import agreement_db, timed
from bsrnn.models.cost import cost
from bsrnn.models.precision import optimised
from bsrnn.separation.engine import Engine, estimate, evaluating

AGREEMENT_DB = 45.0  # with float32, or the faster form is not taken
WORTH = 1.15  # times as fast, or it is not taken
PRODUCT = 1024  # size of the matrix product that tells how fast bfloat16 is


def faster(separator, sound):
    """(separator, why): its bfloat16 form where that is faster here and says the same, else itself.

    sound: a second of what is to be separated, (C, L) at its rate. Three conditions, the
    cheapest first: this processor or GPU multiplies bfloat16 faster; on this second the estimates
    agree to 45 dB with float32; and they come at least 1.15 times as fast.
    """
    device = next(separator.parameters()).device
    gain = product_gain(device)
    if gain < WORTH:
        return separator, f"fp32: bf16 products are {gain:.2f} times as fast here"
    made = optimised(separator, "bf16")
    plain, low = (_run(each, sound) for each in (separator, made))
    agreement = agreement_db(plain, low)
    if not agreement >= AGREEMENT_DB:
        return separator, f"fp32: bf16 agrees to {agreement:.0f} dB only on this song"
    times = [min(timed(_run, each, sound) for _ in range(2)) for each in (separator, made)]
    ratio = times[0] / times[1]
    if ratio < WORTH:
        return separator, f"fp32: bf16 is {ratio:.2f} times as fast here"
    return made, f"bf16: {ratio:.1f} times as fast as fp32 here, {agreement:.0f} dB agreement"


def product_gain(device) -> float:
    """How many times as fast a matrix product is in bfloat16 as in float32 on this device."""
    pair = [torch.ones(PRODUCT, PRODUCT, device=device, dtype=d)
            for d in (torch.float32, torch.bfloat16)]  # fmt: skip
    with torch.inference_mode():
        seconds = [min(timed(torch.mm, x, x) for _ in range(4)) for x in pair]
    return seconds[0] / seconds[1]


def forecast_s(separator, seconds: float, channels: int = 2, **cutting) -> float:
    """Seconds that `separate` will take for so much sound here: the time of a short chunk, times
    the multiply-accumulates of a whole one over those of the short one (`bsrnn.cost`; where it
    does not know the network, their lengths), times the chunks. Reading and writing come on top."""
    engine = Engine(separator, separator.stems, **cutting)
    rate = separator.sample_rate
    short = min(engine.chunk, max(rate, engine.shortest))
    sound = torch.zeros(channels, short)
    with evaluating(separator):
        once = min(timed(_run, separator, sound, engine.query) for _ in range(2))
    hop = engine.chunk * (1 - engine.overlap)
    chunks = max(1.0, (seconds * rate - engine.chunk) / hop + 1)
    if seconds * rate < engine.chunk:
        chunks = seconds * rate / engine.chunk
    try:
        whole, part = (cost(separator.config, n / rate).macs for n in (engine.chunk, short))
    except (AttributeError, TypeError, ValueError):
        whole, part = engine.chunk, short
    passes = len(engine.offsets) * (1 + engine.tta * min(2, channels))
    return once * whole / part * chunks * passes


def _run(separator, sound, query=None):
    parameters = getattr(separator, "parameters", lambda: iter(()))
    device = next((p.device for p in parameters()), torch.device("cpu"))
    sound = torch.as_tensor(sound, dtype=torch.float32, device=device)
    with torch.inference_mode():
        return estimate(separator, sound[None], separator.stems, query)
