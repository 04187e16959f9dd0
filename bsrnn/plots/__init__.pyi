"""What `bsrnn.plots` offers: loaded on first use, read by editors and type checkers."""

from . import diagrams as diagrams
from . import ledger as ledger
from . import models as models
from . import page as page
from . import results as results
from . import schemes as schemes
from . import signals as signals
from . import style as style
from . import tracks as tracks
from .diagrams import diagram as diagram
from .ledger import (
    leaderboard as leaderboard,
    pareto as pareto,
    sdr_over_cost as sdr_over_cost,
    sdr_over_years as sdr_over_years,
)
from .models import (
    draw_mask as draw_mask,
    influence as influence,
    masks as masks,
    tensors as tensors,
)
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
    bound_curves as bound_curves,
    cost_per_band as cost_per_band,
    coverage as coverage,
    energy_per_band as energy_per_band,
    face_to_face as face_to_face,
    gallery as gallery,
)
from .signals import (
    levels as levels,
    loudness_over_time as loudness_over_time,
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
