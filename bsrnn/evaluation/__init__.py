"""Evaluation (being built)."""

from bsrnn.evaluation.museval_bridge import benchmark, museval_frames

__all__ = ["benchmark", "museval_frames"]
