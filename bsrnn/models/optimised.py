"""Faster inference at a stated loss: bfloat16, dynamic int8, torch.compile. The STFT stays float32.

Agreement with float32 depends on the weights and the input: measure it with
`bsrnn.benchmark.agreement_db`, or `python -m bsrnn cost MODEL --measure`. Seen with new weights:
bf16 40 to 46 dB, int8 36 to 51 dB (40 dB is a difference of 1 %). bf16 is faster only where the
processor multiplies bfloat16 faster than float32 (the column `bf16_product` of the measurement):
many with AVX-512 but without AMX do not. Lesson 11.
"""

import copy
import functools
import warnings

import torch
from torch import nn

from bsrnn.errors import UsageError, choose
from bsrnn.models.bandsplit import BandLinear

PRECISIONS = ("fp32", "bf16", "int8")
PRODUCTS = (nn.Linear, nn.LSTM, nn.GRU, nn.Conv1d, nn.Conv2d, BandLinear)


def optimised(separator, precision: str = "fp32", compile: bool | str = False):
    """A copy of `separator` for inference on a CPU; the separator itself stays as it is.

    precision: "fp32"; "bf16": matrix products and recurrent layers with bfloat16 weights (half the
    memory), norms and the residual stream in float32; "int8": recurrent and linear layers with
    8-bit weights, their inputs quantised as they come (the split and the mask heads, whose bands
    share one product, stay float32).
    compile: torch.compile what stands between STFT and masks; the first call takes minutes. A text
    names another backend than torch's own. Raises UsageError for an unknown precision or GPU.
    """
    choose(precision, PRECISIONS, "precision")
    if any(tensor.is_cuda for tensor in separator.parameters()):
        raise UsageError("optimised separators run on a CPU: load with device='cpu'")
    made = copy.deepcopy(separator).eval().requires_grad_(False)
    if precision == "bf16":
        for module in made.modules():
            if isinstance(module, PRODUCTS):
                module.to(torch.bfloat16)
        for name in {"forward", "estimate"} & set(dir(made)):
            setattr(made, name, _in_bfloat16(getattr(made, name)))
    elif precision == "int8":
        if any(isinstance(module, nn.TransformerEncoderLayer) for module in made.modules()):
            raise UsageError('torch\'s transformer layers have no int8 form: use precision "bf16"')
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces another home for quantisation
            torch.ao.quantization.quantize_dynamic(made, {nn.Linear, nn.LSTM, nn.GRU}, inplace=True)
    if compile:
        inner = [getattr(part, "sequence", part) for part in getattr(made, "separators", [made])]
        for part in inner:
            part.compile(backend=compile if isinstance(compile, str) else "inductor")
    return made


def _in_bfloat16(function):
    """`function` with what is left of its products in bfloat16 (torch keeps FFTs in float32)."""

    @functools.wraps(function)
    def run(*arguments, **options):
        with torch.autocast("cpu", torch.bfloat16):
            return function(*arguments, **options)

    return run
