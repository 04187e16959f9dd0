"""What `bsrnn.models.zoo` offers: loaded on first use, read by editors and type checkers."""

from . import baselines as baselines
from . import checkpoints as checkpoints
from . import deploy as deploy
from . import published as published
from . import registry as registry
