"""Sweeps: one experiment is one run of a notebook; many, planned before they are run (lesson 13).

    plan = experiments.Sweep(
        grid={"scheme": ["v7", "tet24"], "seed": [0, 1, 2]},
        fixed={"steps": 200},
        question="Do finer bands help at equal steps?",
        hypothesis="tet24 scores at least 0.2 dB more than v7",
        margin_db=0.2,
    )
    experiments.run(plan, "runs/bands", workers=2)     # again: only what has no card yet
    experiments.leaderboard("runs/bands").gains()      # paired, and the verdict

A *cell* is one point of the grid, an *arm* all cells that differ only in the seed. The notebook
that runs a cell is `notebooks/sweep.ipynb`, or another with typed parameters and a card. The folder
of a sweep holds plan.json, written and hashed before anything runs, and cells/<name>/results.json.
A cell is finished when its card is there: the notebook writes it last and in one step.

Nosek, Ebersole, DeHaven and Mellor 2018, The preregistration revolution, PNAS 115(11).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
