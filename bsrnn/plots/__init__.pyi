"""What `bsrnn.plots` offers: loaded on first use, read by editors and type checkers."""

from . import bounds as bounds
from . import diagrams as diagrams
from . import ledger as ledger
from . import loudness as loudness
from . import models as models
from . import oracles as oracles
from . import page as page
from . import results as results
from . import schemes as schemes
from . import signals as signals
from . import style as style
from . import tracks as tracks
from .bounds import bound_curves as bound_curves, face_to_face as face_to_face, gallery as gallery
from .diagrams import diagram as diagram
from .ledger import (
    leaderboard as leaderboard,
    pareto as pareto,
    schemes_ablation as schemes_ablation,
    sdr_over_cost as sdr_over_cost,
    sdr_over_years as sdr_over_years,
)
from .loudness import loudness_over_time as loudness_over_time
from .models import influence as influence, tensor_step as tensor_step, tensors as tensors
from .oracles import draw_mask as draw_mask, masks as masks
from .page import report_page as report_page
from .results import (
    error_per_band as error_per_band,
    ladder as ladder,
    paired as paired,
    per_song as per_song,
    score_over_cost as score_over_cost,
    training_curves as training_curves,
    transfer_curves as transfer_curves,
)
from .schemes import (
    band_owners as band_owners,
    bands_over_spectrogram as bands_over_spectrogram,
    cost_per_band as cost_per_band,
    coverage as coverage,
    energy_per_band as energy_per_band,
    leakage as leakage,
)
from .signals import (
    levels as levels,
    spectra as spectra,
    spectrogram as spectrogram,
    spectrograms as spectrograms,
    stem_correlation as stem_correlation,
    stereo as stereo,
    waveforms as waveforms,
)
from .style import (
    PALETTE as PALETTE,
    STEM_COLOURS as STEM_COLOURS,
    describe as describe,
    figure as figure,
    stem_colour as stem_colour,
)
from .tracks import track_view as track_view
