"""Separate a mixture of any length: chunks in, overlap-add, stems out; in memory or disk to disk.

A separator is anything with `.stems`, `.sample_rate` and a call (B, C, L) -> (B, S, C, L). Long
mixtures are cut into overlapping chunks (`cutting`); this project's rule, "context", throws away
what a network says beside a cut and fades between what is left, with gains that add up to 1. So
length and level are those of the input, and memory depends on the chunk only. Lesson 08.
"""

from bsrnn.separation.batch import find, foresee, seconds, separate_files
from bsrnn.separation.blending import Blend, embedding
from bsrnn.separation.cutting import RULES, Piece, Rule, context_pieces, magronp_pieces
from bsrnn.separation.engine import evaluating
from bsrnn.separation.outputs import PROJECTIONS, RESIDUAL, Outputs, project
from bsrnn.separation.probing import faster, forecast_s
from bsrnn.separation.run import separate, separate_file

__all__ = [
    "PROJECTIONS", "RESIDUAL", "RULES", "Blend", "Outputs", "Piece", "Rule", "context_pieces",
    "embedding", "evaluating", "faster", "find", "forecast_s", "foresee", "magronp_pieces",
    "project", "seconds", "separate", "separate_file", "separate_files",
]  # fmt: skip
