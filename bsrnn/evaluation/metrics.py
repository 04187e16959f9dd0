"""Metrics of separated sound: every number with its definition, exact and fast. Numpy only.

Waveforms are (C, L), sets of stems (S, C, L), numpy or torch on the CPU; sums run in float64.
Higher is better. A silent reference gives NaN ("undefined") and its residual energy in the note, a
perfect estimate +inf.

References: usdr: Mitsufuji et al. 2022, "Music Demixing Challenge 2021", section 3. csdr: Stöter,
Liutkus and Ito 2018 (SiSEC), museval; its distortion filters split e - s into parts that always
add up to e - s, so the SDR needs none of them (sigsep/sigsep-mus-eval issue 101). si_sdr, sd_sdr:
Le Roux et al. 2019, "SDR - half-baked or well done?", equations 4-5. BandIt: Watcharasupat et al.
2024, OJSP 5, section IV. Lesson 06.
"""

import math
from dataclasses import dataclass

import numpy as np

from bsrnn.audio.arrays import checked_pair
from bsrnn.bands import gram_per_band
from bsrnn.common import UsageError, choose
from bsrnn.evaluation import spectral

CHALLENGE_EPSILON = 1e-7  # added to both sums by the MDX challenges' SDR

DEFINITIONS = {  # s the reference, e the estimate
    "usdr": "10 log10(sum s^2 / sum (e-s)^2) over channels and samples of the whole signal",
    "csdr": "median over frames (window 1 s, hop 1 s) of 10 log10(sum s^2 / sum (e-s)^2); museval",
    "si_sdr": "10 log10(|as|^2 / |as-e|^2), a = <s,e>/<s,s>, channels and samples together",
    "si_snr": "si_sdr after removing each channel's mean",
    "sd_sdr": "10 log10(|as|^2 / |s-e|^2), a = <s,e>/<s,s>",
    "snr": "10 log10(sum s^2 / sum (e-s)^2) of each channel, mean over channels",
}
SPECTRAL = {  # of the community's leaderboards, in `bsrnn.evaluation.spectral`; not in decibels
    "bleedless": "100 / (1 + mean excess in dB of 512 mel bands)",
    "fullness": "100 / (1 + mean lack in dB of 512 mel bands)",
    "l1_freq": "100 / (1 + 10 mean of ||E| - |S||)",
    "mr_stft": "100 / (1 + 10 multi-resolution STFT distance)",
    "log_wmse": "-4 ln(weighted energy of e - s over that of the mixture + 1e-8)",
}
KNOWN = DEFINITIONS | SPECTRAL
UNITS = dict.fromkeys(DEFINITIONS, "dB") | dict.fromkeys(SPECTRAL, "of 100")
UNITS["log_wmse"] = "of 73.7"  # what an exact estimate gets


def usdr(reference, estimate, epsilon: float = 0.0):
    """Signal-to-distortion ratio of whole signals (C, L) in dB (more axes in front: an array).
    `epsilon` is added to both sums, by the MDX challenges `CHALLENGE_EPSILON`.

    >>> float(usdr([[1.0, -1.0]], [[0.5, -0.5]]).round(3))
    6.021
    """
    s, e = checked_pair(reference, estimate)
    return _decibels(_energy(s), _energy(e - s), epsilon)


def si_sdr(reference, estimate, epsilon: float = 0.0, channels: str = "joint"):
    """Scale-invariant SDR in dB. `channels`: "joint" takes channels and samples as one vector,
    "mean" gives each channel its own scale and averages (the convention of torchmetrics)."""
    return _projected(reference, estimate, epsilon, channels)


def si_snr(reference, estimate, epsilon: float = 0.0, channels: str = "joint"):
    """Scale-invariant SNR in dB: `si_sdr` after removing the mean of each channel."""
    s, e = checked_pair(reference, estimate)
    s, e = (x - x.mean(axis=-1, keepdims=True) for x in (s, e))
    return _projected(s, e, epsilon, channels)


def sd_sdr(reference, estimate):
    """Scale-dependent SDR in dB: like `si_sdr`, but a wrong gain counts as an error."""
    return _projected(reference, estimate, 0.0, "joint", scaled_error=False)


def snr(reference, estimate, epsilon: float = 0.0):
    """Signal-to-noise ratio in dB, each channel for itself, mean over channels (torchmetrics)."""
    s, e = checked_pair(reference, estimate)
    s, e = s[..., None, :], e[..., None, :]  # (..., C, L) -> (..., C, 1, L)
    return _decibels(_energy(s), _energy(e - s), epsilon).mean(axis=-1)


def residual_db(estimate) -> float:
    """Mean power of (C, L) in dB of full scale: what is left where there should be silence."""
    power = float(np.mean(np.square(np.asarray(estimate, dtype=np.float64))))
    return 10 * math.log10(power) if power > 0 else -math.inf


@dataclass(frozen=True)
class FrameScores:
    """Result of `csdr`. As an array it is `value_db`."""

    value_db: np.ndarray  # (S,) median over used frames, NaN: undefined
    frames_db: np.ndarray  # (S, T), NaN: dropped
    frames_used: np.ndarray  # (S,)
    frames_total: int
    notes: tuple  # for each stem the reason for what was dropped

    def __array__(self, dtype=None, copy=None):
        return np.array(self.value_db, dtype=dtype)

    def __len__(self):
        return len(self.value_db)

    def __getitem__(self, stem):
        return self.value_db[stem]


def csdr(
    references,
    estimates,
    sample_rate: int,
    window_s: float = 1.0,
    hop_s: float = 1.0,
    frames: str = "joint",
    names=None,
) -> FrameScores:
    """Chunk-level SDR of (S, C, L) stems: museval's SDR, without its 512-tap filters.

    Frames start every `hop_s`; a last incomplete one is dropped; a signal not longer than
    `window_s` is one frame. Silent: the sum over channels is exactly zero at every sample.
    frames="joint": a frame is dropped for *all* stems if any reference or estimate is silent in it
    (museval given all stems at once); "own": for the stem that is silent (museval given one stem at
    a time). A stem that is silent throughout, where museval raises, is undefined, the others are
    scored without it. A perfect frame is +inf (museval: some hundred dB). Raises UsageError.
    """
    choose(frames, ("joint", "own"), "frames rule")
    s, e = checked_pair(references, estimates, float64=False)
    if s.ndim != 3:
        raise UsageError(f"csdr wants (stems, channels, samples), got {s.shape}: add the stem axis")
    window, hop = _samples(window_s, sample_rate, "window"), _samples(hop_s, sample_rate, "hop")
    names = [f"stem {i}" for i in range(len(s))] if names is None else list(names)
    values, silent = _frame_values(s, e, window, hop)
    gone = np.array([[_silent(a), _silent(b)] for a, b in zip(s, e, strict=True)])  # (S, 2)
    kept = np.flatnonzero(~gone.any(axis=1))  # the stems that museval would accept
    joint = silent[kept].any(axis=(0, 1))  # (S, 2, T) -> (T,)
    notes = []
    for i in range(len(s)):
        if i not in kept:
            values[i] = math.nan
            notes.append(_undefined_note(gone[i, 0], gone[i, 1], e[i]))
            continue
        dropped = joint if frames == "joint" else silent[i].any(axis=0)
        values[i, dropped] = math.nan
        notes.append(_dropped_note(dropped, silent, kept if frames == "joint" else [i], names))
    used = ~np.isnan(values)  # (S, T)
    medians = np.full(len(s), math.nan)
    for i in np.flatnonzero(used.any(axis=1)):
        medians[i] = np.median(values[i, used[i]])
    return FrameScores(medians, values, used.sum(axis=1), values.shape[1], tuple(notes))


def frame_starts(samples: int, window: int, hop: int) -> range:
    """First sample of each frame, by museval's count: floor((L - window + hop) / hop), at least 1.

    >>> list(frame_starts(10, window=4, hop=3))
    [0, 3, 6]
    """
    if window >= samples:
        return range(1)
    return range(0, (samples - window) // hop * hop + 1, hop)


def _frame_values(s, e, window, hop):
    """SDR of each frame (S, T), and where reference or estimate is silent (S, 2, T)."""
    starts = frame_starts(s.shape[-1], window, hop)
    values = np.full((len(s), len(starts)), math.nan)
    silent = np.zeros((len(s), 2, len(starts)), dtype=bool)
    for stem in range(len(s)):
        for t, start in enumerate(starts):  # frame by frame: memory stays at one frame
            part = slice(start, start + window)
            a, b = (x[stem, :, part].astype(np.float64) for x in (s, e))
            silent[stem, :, t] = _silent(a), _silent(b)
            values[stem, t] = _decibels(_energy(a), _energy(b - a))
    return values, silent


def _silent(waveform) -> bool:
    """museval's silence: the sum over channels is exactly zero at every sample."""
    return not waveform.sum(axis=0, dtype=np.float64).any()


def _dropped_note(dropped, silent, stems, names) -> str:
    if not dropped.any():
        return ""
    causes = [
        f"{what} {names[j]} silent in {silent[j, k].sum()}"
        for j in stems
        for k, what in enumerate(("reference", "estimate"))
        if silent[j, k].any()
    ]
    return f"dropped {dropped.sum()} of {len(dropped)} frames: " + ", ".join(causes)


def _undefined_note(silent_reference: bool, silent_estimate: bool, estimate) -> str:
    if silent_reference:
        return f"undefined: silent reference, residual {residual_db(estimate):.1f} dBFS"
    return "undefined: silent estimate" if silent_estimate else "undefined: silent channel"


def _samples(seconds: float, sample_rate: int, what: str) -> int:
    """int(seconds x rate) as museval rounds it; infinity is the whole signal."""
    samples = seconds * sample_rate
    if not samples >= 1:
        raise UsageError(f"{what} of {seconds} s is less than a sample: give more seconds")
    return int(min(samples, 2**62))


_WHOLE = {"usdr": usdr, "si_sdr": si_sdr, "si_snr": si_snr, "sd_sdr": sd_sdr, "snr": snr}


def score(
    references, estimates, sample_rate, metrics=("usdr", "csdr", "si_sdr"), frames="joint",
    mixture=None,
):  # fmt: skip
    """Rows (dicts) for a table: stem, metric, value_db, frames_used, frames_total, note.

    references, estimates: stem -> (C, L); stems without an estimate are skipped. metrics: names of
    `KNOWN`, in `UNITS`. mixture (C, L), for log_wmse: by default the sum of the references. An
    undefined value is NaN and its note says why.
    """
    return score_frames(references, estimates, sample_rate, metrics, frames, mixture)[0]


def score_frames(references, estimates, sample_rate, metrics, frames="joint", mixture=None):
    """The rows of `score`, and of csdr, if asked for, the frames: stem -> (T,) dB."""
    stems = [stem for stem in references if stem in estimates]
    if not stems:
        raise UsageError(
            f"no stem in common: references have {', '.join(references)}; "
            f"estimates have {', '.join(estimates)}"
        )
    pairs = {stem: checked_pair(references[stem], estimates[stem], stem, False) for stem in stems}
    mixture = sum(references.values()) if mixture is None else mixture
    rows, frames_db = [], {}
    for metric in metrics:
        if choose(metric, KNOWN, "metric") == "csdr":
            s, e = map(np.stack, zip(*pairs.values(), strict=True))  # S x (C, L) -> (S, C, L)
            framed = csdr(s, e, sample_rate, frames=frames, names=stems)
            frames_db = dict(zip(stems, framed.frames_db, strict=True))
            totals = [framed.frames_total] * len(stems)
            columns = (framed.value_db, framed.frames_used, totals, framed.notes)
            values = dict(zip(stems, zip(*columns, strict=True), strict=True))
        else:
            values = {stem: _whole(metric, *pairs[stem], mixture, sample_rate) for stem in stems}
        for stem, (value_db, used, total, note) in values.items():
            row = {"stem": stem, "metric": metric, "value_db": float(value_db)}
            rows.append(row | {"frames_used": int(used), "frames_total": total, "note": note})
    return rows, frames_db


def _whole(metric, s, e, mixture, sample_rate) -> tuple:
    """(value, frames used, frames in all, note) of a metric that has no frames."""
    if metric in _WHOLE:
        value = _WHOLE[metric](s, e)
    elif metric == "l1_freq":
        value = spectral.l1_freq(s, e)
    elif metric == "log_wmse":
        value = spectral.log_wmse(s, e, mixture, sample_rate)
    else:
        value = getattr(spectral, metric)(s, e, sample_rate)
    if np.isnan(value):
        return value, 0, 1, _undefined_note(not s.any(), not e.any(), e)
    return value, 1, 1, ""


def filtered_sdr(reference, estimate, taps: int = 512) -> float:
    """SDR after the best filter of `taps` taps on the reference, mean over channels, in dB.

    With r the autocorrelation of s and b its cross-correlation with e (both of unit norm), c =
    b' R^-1 b is the explained share of energy, and SDR = 10 log10(c / (1 - c)).
    """
    s, e = checked_pair(reference, estimate)
    values = []
    n_fft = 1 << int(s.shape[-1] + taps - 1).bit_length()
    lag = np.abs(np.arange(taps)[:, None] - np.arange(taps))  # (taps, taps) Toeplitz index
    for a, b in zip(s.reshape(-1, s.shape[-1]), e.reshape(-1, s.shape[-1]), strict=True):
        if not a.any() or not b.any():
            return math.nan
        fa, fb = (np.fft.rfft(x / np.linalg.norm(x), n_fft) for x in (a, b))
        auto = np.fft.irfft(np.abs(fa) ** 2, n_fft)[:taps]
        cross = np.fft.irfft(fa.conj() * fb, n_fft)[:taps]
        share = float(cross @ np.linalg.lstsq(auto[lag], cross, rcond=None)[0])
        values.append(float(_decibels(max(share, 0.0), max(1 - share, 0.0))))
    return float(np.mean(values))


@dataclass(frozen=True)
class BandError:
    """Energies (K,) per band of reference and error; `outside`: (reference, error) energy in bins
    that no band covers. Bands and outside add up to the energies of the waveforms."""

    reference: np.ndarray
    error: np.ndarray
    outside: tuple

    @property
    def sdr_db(self) -> np.ndarray:
        """SDR inside each band, NaN where the reference has no energy."""
        return _decibels(self.reference, self.error)


def band_error(reference, estimate, scheme) -> BandError:
    """Where in frequency the error sits: sum (e - s)^2 split over the bands of a `BandScheme` (see
    `bands.gram_per_band`). A bin that several bands share is divided by their weights. Lesson 09.
    """
    s, e = checked_pair(reference, estimate)
    within, outside = gram_per_band(scheme, np.stack((s, e - s)))  # (K, 2, 2), (2, 2)
    return BandError(within[:, 0, 0], within[:, 1, 1], tuple(map(float, np.diagonal(outside))))


def _energy(x):
    return np.einsum("...cl,...cl->...", x, x)  # (..., C, L) -> (...)


def _decibels(signal, error, epsilon: float = 0.0):
    """10 log10((signal + epsilon) / (error + epsilon)). No signal: NaN; no error: +inf."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = 10 * np.log10(np.float64(signal + epsilon) / np.float64(error + epsilon))
    return np.where(np.asarray(signal) > 0, value, math.nan)[()]


def _projected(reference, estimate, epsilon, channels, scaled_error=True):
    """The scale-invariant family: project the estimate on the reference, then a ratio. An
    orthogonal estimate is -inf, a silent one NaN."""
    choose(channels, ("joint", "mean"), "channels rule")
    s, e = checked_pair(reference, estimate)
    if channels == "mean":
        s, e = s[..., None, :], e[..., None, :]  # (..., C, L) -> (..., C, 1, L)
    power = _energy(s)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = (np.einsum("...cl,...cl->...", s, e) + epsilon) / (power + epsilon)
        target = scale[..., None, None] * s
        error = target - e if scaled_error else s - e
        value = 10 * np.log10((_energy(target) + epsilon) / (_energy(error) + epsilon))
    value = np.where((power > 0) & (_energy(e) > 0), value, math.nan)[()]
    return value.mean(axis=-1) if channels == "mean" else value
