"""What `bsrnn` offers: loaded on first use, read by editors and type checkers."""

from . import audio as audio
from . import bands as bands
from . import cli as cli
from . import course as course
from . import data as data
from . import evaluation as evaluation
from . import experiments as experiments
from . import explore as explore
from . import models as models
from . import plots as plots
from . import separation as separation
from . import training as training
from .audio import distort as distort, listen as listen, loudness as loudness, stft as stft
from .bands import design as design
from .evaluation import (
    complexity as complexity,
    leakage as leakage,
    ledger as ledger,
    masks as masks,
    metrics as metrics,
)
from .models import benchmark as benchmark, cost as cost, load as load, save as save
from .models.zoo import deploy as deploy
from .separation import separate as separate, separate_file as separate_file
from .training import losses as losses

ROOMS: tuple[str, ...]
DOORS: dict[str, str]
__version__: str
