"""Evaluation: a separator on a dataset, beside the ladder of references, with its protocol.

    report = evaluation.evaluate(separator, data.open("toy", "test"), out_dir="runs/toy")
    report.shown()                          # median (mean) SDR in dB, silence ... oracle
    evaluation.paired(report, "mixture", "model")
    evaluation.compare([report, another])   # refuses to mix protocols

Lesson 09.
"""

from bsrnn.evaluation.ladder import NAMES as LADDER
from bsrnn.evaluation.ladder import learnt_gains, reference_estimates
from bsrnn.evaluation.leaderboard import COSTS, leaderboard, pareto, readable
from bsrnn.evaluation.museval_bridge import benchmark, museval_frames, museval_json
from bsrnn.evaluation.report import Report, bootstrap_interval, compare, paired, student_interval
from bsrnn.evaluation.run import estimates, evaluate

__all__ = [
    "COSTS", "LADDER", "Report", "benchmark", "bootstrap_interval", "compare", "estimates",
    "evaluate", "leaderboard", "learnt_gains", "museval_frames", "museval_json", "paired", "pareto",
    "readable", "reference_estimates", "student_interval",
]  # fmt: skip
