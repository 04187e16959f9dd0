"""What `bsrnn.models` offers: loaded on first use, read by editors and type checkers."""

from . import benchmark as benchmark
from . import config as config
from . import cost as cost
from . import cpu as cpu
from . import layers as layers
from .bsrnn import BandSplitSeparator as BandSplitSeparator, Estimate as Estimate
from .config import ModelConfig as ModelConfig
from .presets import presets as presets
from .precision import PRECISIONS as PRECISIONS, optimised as optimised
from .zoo import (
    baselines as baselines,
    checkpoints as checkpoints,
    deploy as deploy,
    published as published,
    registry as registry,
)
from .zoo.bag import SeparatorBag as SeparatorBag
from .zoo.checkpoints import build as build, save as save
from .zoo.d3net import D3NetSeparator as D3NetSeparator
from .zoo.d3net_config import D3NetConfig as D3NetConfig
from .zoo.published import (
    from_state_dict as from_state_dict,
    load as load,
    to_published as to_published,
)
