"""Faster inference at a stated loss: bfloat16, dynamic int8. The STFT stays float32.

Agreement with float32 depends on weights and input: `python -m bsrnn cost MODEL --measure` tells
it. Seen: bf16 43 to 54 dB, int8 32 to 51 dB (40 dB is a difference of 1 %). The band split stays
float32 in both: its input has the range of a spectrum, and in bf16 it alone would cost 4 to 8 dB.
bf16 is faster only where the processor multiplies it faster (the column `bf16_product`). Lesson 11.
"""

import copy
import functools
import warnings

import torch
from torch import nn

from bsrnn.common import UsageError, choose
from bsrnn.models.bsrnn import BandSplit

PRECISIONS = ("fp32", "bf16", "int8")
PRODUCTS = (nn.Linear, nn.LSTM, nn.GRU, nn.Conv1d, nn.Conv2d)


def optimised(separator, precision: str = "fp32"):
    """A copy of `separator` for inference; the separator itself stays as it is.

    precision: "fp32"; "bf16": matrix products and recurrent layers with bfloat16 weights (half the
    memory), split, norms and the residual stream in float32; "int8": recurrent and linear layers of
    the sequence with 8-bit weights, their inputs quantised as they come; CPU only. Raises
    UsageError for an unknown precision, and for int8 where there is no int8 form.
    """
    choose(precision, PRECISIONS, "precision")
    device = next(separator.parameters()).device.type
    made = copy.deepcopy(separator).eval().requires_grad_(False)
    if precision == "bf16":
        _to_bf16(made, device)
    elif precision == "int8":
        if device != "cpu":
            raise UsageError('int8 runs on a CPU: use precision "bf16", or move the separator')
        for network in getattr(made, "separators", [made]):
            _to_int8(getattr(network, "sequence", network))
    return made


def _to_bf16(separator, device: str) -> None:
    splits = [module for module in separator.modules() if isinstance(module, BandSplit)]
    whole = {module for split in splits for module in split.modules()}
    for module in set(separator.modules()) - whole:
        if isinstance(module, PRODUCTS):
            module.to(torch.bfloat16)
    for module in separator.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()  # for a GPU, in one piece again
    for split in splits:
        split.forward = _autocast(split.forward, device, False)
    for name in {"forward", "estimate"} & set(dir(separator)):
        setattr(separator, name, _autocast(getattr(separator, name), device, True))


def _to_int8(module) -> None:
    if any(isinstance(part, nn.TransformerEncoderLayer) for part in module.modules()):
        raise UsageError('torch\'s transformer layers have no int8 form: use precision "bf16"')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces another home for quantisation
            from torch.ao.quantization import quantize_dynamic

            quantize_dynamic(module, {nn.Linear, nn.LSTM, nn.GRU}, inplace=True)
    except ImportError:
        raise UsageError('this torch has no int8 any more: use precision "bf16"') from None


def _autocast(function, device, enabled):
    """`function` with what is left of its products in bfloat16 (torch keeps FFTs in float32), or
    not."""

    @functools.wraps(function)
    def run(*arguments, **options):
        with torch.autocast(device, torch.bfloat16, enabled):
            return function(*arguments, **options)

    return run
