"""museval (Stöter, Liutkus and Ito 2018, SiSEC): its frame values, its JSON files, and the race
against `metrics.csdr`. It needs ffmpeg at import, so it is imported inside functions."""

import json
import time
from unittest.mock import patch

import numpy as np

import bsrnn
from bsrnn import metrics
from bsrnn.common import UsageError


def museval_frames(references, estimates, sample_rate, window_s=1.0, hop_s=1.0, taps=512) -> dict:
    """SDR, ISR, SIR, SAR in dB (S, T) of (S, C, L) stems from museval itself.

    Slow (seconds per second of audio) and strict: museval raises ValueError for a silent stem.
    `taps`: length of its distortion filters; SDR does not depend on it, the others do.
    """
    try:
        from museval.metrics import bss_eval
    except (ImportError, RuntimeError) as error:  # museval raises RuntimeError without ffmpeg
        raise UsageError("museval needs ffmpeg and ffprobe: install ffmpeg") from error
    s, e = (np.moveaxis(np.asarray(x, np.float64), 1, 2) for x in (references, estimates))
    # museval 0.4.1 catches np.linalg.linalg.LinAlgError, a name that numpy 2 no longer has: without
    # it, references that depend on each other (a mono stem on two channels) end in AttributeError.
    with patch.object(np.linalg, "linalg", np.linalg, create=True):
        sdr, isr, sir, sar, _ = bss_eval(  # s, e: (S, L, C)
            np.ascontiguousarray(s),
            np.ascontiguousarray(e),
            window=int(window_s * sample_rate),
            hop=int(hop_s * sample_rate),
            filters_len=taps,
        )
    return {"SDR": sdr, "ISR": isr, "SIR": sir, "SAR": sar}


def benchmark(seconds: float = 30.0, stems: int = 4, sample_rate: int = 44100) -> dict:
    """Time `csdr` against museval on one random stereo song; `text` is the line to print."""
    rng = np.random.default_rng(0)
    s = rng.standard_normal((stems, 2, int(seconds * sample_rate)), dtype=np.float32)
    e = s + np.float32(0.3) * rng.standard_normal(s.shape, dtype=np.float32)
    started = time.perf_counter()
    ours = metrics.csdr(s, e, sample_rate).frames_db
    between = time.perf_counter()
    theirs = museval_frames(s, e, sample_rate)["SDR"]
    ours_s, museval_s = between - started, time.perf_counter() - between
    difference_db = float(np.abs(ours - theirs).max())
    text = (
        f"cSDR of {stems} stereo stems of {seconds:g} s: {ours_s:.3f} s, museval {museval_s:.1f} s "
        f"({museval_s / ours_s:.0f} times slower), largest difference {difference_db:.0e} dB"
    )
    times = {"csdr_s": ours_s, "museval_s": museval_s}
    return times | {"difference_db": difference_db, "text": text}


def museval_json(frames: dict) -> str:
    """cSDR frames of 1 s, stem -> values in dB, in museval's JSON schema: infinite becomes NaN,
    values are rounded to 1e-5 dB. SIR, SAR and ISR, which need its filters, are NaN."""
    targets = []
    for stem, values in frames.items():
        rows = []
        for t, value in enumerate(values):
            row = dict.fromkeys(("SDR", "SIR", "SAR", "ISR"), float("nan"))
            if np.isfinite(value):
                row["SDR"] = round(value, 5)
            rows.append({"time": float(t), "duration": 1.0, "metrics": row})
        targets.append({"name": stem, "frames": rows})
    return json.dumps({"targets": targets, "museval_version": f"bsrnn {bsrnn.__version__}"})
