"""What `bsrnn.explore` offers: loaded on first use, read by editors and type checkers."""

from .costs import cost_calculator as cost_calculator, cost_view as cost_view
from .distortion import distortion_lab as distortion_lab, distortion_view as distortion_view
from .forward import (
    forward_steps as forward_steps,
    forward_trace as forward_trace,
    forward_view as forward_view,
)
from .freezing import (
    freeze_board as freeze_board,
    freeze_plan as freeze_plan,
    freeze_view as freeze_view,
)
from .instrument import BandInstrument as BandInstrument, compared as compared
from .layers import (
    influence as influence,
    layer_swapper as layer_swapper,
    layers_view as layers_view,
)
from .losses import Listening as Listening, loss_board as loss_board, loss_view as loss_view
from .masks import mask_threshold as mask_threshold, mask_view as mask_view
from .mixer import stem_mix as stem_mix, stem_mixer as stem_mixer
from .panel import Panel as Panel
from .remix import remix_desk as remix_desk, remix_view as remix_view
from .results import result_explorer as result_explorer, results_view as results_view
from .songs import song_desk as song_desk, song_stems as song_stems, song_view as song_view
from .tracks import track_browser as track_browser, track_view as track_view
from .windows import window_lab as window_lab, window_view as window_view
