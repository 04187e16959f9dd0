"""a5, metrics: uSDR, SI-SDR, cSDR with the joint rule, known scores, errors to order (06, 09)."""

import math

import numpy as np

from bsrnn import metrics
from bsrnn.course.questions import excerpts, numbers, same


def _pair(rng, channels: int = 2):
    """Reference with channels of unequal level, and an estimate with another balance."""
    s, noise = rng.standard_normal((2, channels, int(rng.integers(40, 200))))
    s = s * rng.uniform(0.1, 2, (channels, 1)) + 0.2
    return s, rng.uniform(0.4, 1.6, (channels, 1)) * s + 10 ** rng.uniform(-1.5, 0.3) * noise


def usdr(answer, rng, part):
    """dB of (C, L), channels and samples together; no epsilon, inf if perfect, NaN if silent."""
    for channels in (1, 2, 3):
        s, e = _pair(rng, channels)
        want = 20 * math.log10(np.linalg.norm(s) / np.linalg.norm(e - s))
        each = np.mean([metrics.usdr(a[None], b[None]) for a, b in zip(s, e, strict=True)])
        hints = [(2 * want, "10 log10 of energies"), (-want, "upside down: signal over error")]
        hints.append((each, "channels and samples together, not a mean over channels"))
        with part("value"):
            same(answer(s.copy(), e.copy()), want, "usdr", 1e-9, hints)
    soft = 1e-6 * s
    with part("limits"):
        same(answer(soft, 1.1 * soft), 20.0, "usdr of a soft pair (is there an epsilon?)", 1e-6)
        same(answer(s.copy(), s.copy()), math.inf, "usdr of a perfect estimate")
        same(answer(0 * s, e.copy()), math.nan, "usdr of a silent reference")
        same(answer(0 * s, 0 * s), math.nan, "usdr of a silent pair")


def si_sdr(answer, rng, part):
    """dB of (C, L) by the angle between the two, whatever the gain; NaN where one is silent."""
    for channels in (1, 2, 3):
        s, e = _pair(rng, channels)
        cosine = np.sum(s * e) / np.linalg.norm(s) / np.linalg.norm(e)
        want = 10 * math.log10(cosine**2 / (1 - cosine**2))
        each = metrics.si_sdr(s, e, channels="mean")
        hints = [
            (each, "one alpha for all channels"),
            (metrics.sd_sdr(s, e), "the error is alpha s - e, not s - e"),
            (metrics.si_snr(s, e), "do not remove the mean"),
        ]
        gain = -float(rng.uniform(0.1, 9))
        with part("value"):
            same(answer(s.copy(), e.copy()), want, "si_sdr", 1e-8, hints)
            same(answer(s.copy(), gain * e), want, "si_sdr of a scaled estimate", 1e-8)
    with part("limits"):
        same(answer(s.copy(), 0 * e), math.nan, "si_sdr of a silent estimate")
        same(answer(0 * s, e.copy()), math.nan, "si_sdr of a silent reference")


def csdr(answer, rng, part):
    """(S, C, L) to (S,) dB equals `metrics.csdr` with silent frames and a silent stem."""
    for frames in (5, 6, 7):
        window, stems = int(rng.integers(10, 20)), int(rng.integers(2, 4))
        samples = frames * window + int(rng.integers(1, window))
        s, noise = rng.standard_normal((2, stems, 2, samples))
        e = (
            s
            + noise
            * 10
            ** rng.uniform(-1, 1, (1, 1, samples // window + 1)).repeat(window, -1)[..., :samples]
        )
        s[0, :, window : 2 * window] = 0  # a pause of the first stem costs the others, too
        e[-1, 0, 2 * window : 3 * window] = -e[-1, 1, 2 * window : 3 * window]  # left = -right
        want = metrics.csdr(s, e, 1, window_s=window, hop_s=window).value_db
        own = metrics.csdr(s, e, 1, window_s=window, hop_s=window, frames="own").value_db
        parts = np.stack([_frames(s, e, t, window) for t in (0, *range(3, frames))])  # (T, S)
        lower = np.sort(parts, axis=0)[(len(parts) - 1) // 2]
        hints = [
            (own, "a silent frame of one stem is dropped for all stems"),
            (parts.mean(axis=0), "the median over frames, not the mean"),
            (lower, "average the two middle values"),
        ]
        with part("frames"):
            got = numbers(answer(s.copy(), e.copy(), window), "csdr")
            same(got, want, f"csdr of {frames} frames", 1e-8, hints)
    s[0] = 0
    with part("no frame left"):
        got = answer(s, e, window)
        same(got, np.full(stems, math.nan), "csdr where no frame is left")


def _frames(s, e, t, window):
    """SDR of every stem in frame t: (S,)."""
    part = slice(t * window, (t + 1) * window)
    return metrics.usdr(s[..., part], e[..., part])


def usdr_of_gain(answer, rng, part):
    """dB of the estimate g s for gains g of both signs; inf for g = 1."""
    s = rng.standard_normal((2, 50))
    for g in (0.5, 2.0, -1.0, float(rng.uniform(-5, 0)), float(rng.uniform(1.1, 4))):
        want = metrics.usdr(s, g * s)
        hints = [(want / 2, "20 log10 of an amplitude"), (-want, "the sign")]
        with part("gains"):
            same(answer(g), want, f"usdr_of_gain({g:.3g})", 1e-6, hints)
    with part("no change"):
        same(answer(1.0), math.inf, "usdr_of_gain(1)")


def add_error(answer, rng, part):
    """(C, L) with the uSDR wanted in dB, its error orthogonal to s, made of s and error only."""
    for sdr_db in (0.0, float(rng.uniform(3, 30)), float(rng.uniform(-20, -3))):
        s, error = _pair(rng, int(rng.integers(1, 4)))
        with part("score"):
            got = numbers(answer(s.copy(), error.copy(), sdr_db), "add_error")
            assert got.shape == s.shape, f"add_error: shape {s.shape} expected, yours {got.shape}"
            same(metrics.usdr(s, got), sdr_db, "add_error: its uSDR", 1e-6)
        with part("orthogonal"):
            _orthogonal(s, error, got)
        with part("made of both"):
            plane = np.stack([s.ravel(), error.ravel()], axis=1)
            outside = np.linalg.lstsq(plane, got.ravel(), rcond=None)[1]
            tiny = np.all(outside < 1e-12 * np.sum(got**2))
            assert tiny, "add_error: made of s and error only"


def _orthogonal(s, error, got):
    alike = abs(np.sum((got - s) * s)) / np.linalg.norm(s) / np.linalg.norm(got - s)
    assert alike < 1e-6, "add_error: the error still has something in common with s"
    assert np.sum((got - s) * error) > 0, "add_error: g > 0 was asked for"


def two_boards(answer, rng, part):
    """(order by uSDR, order by SI-SDR, who moved) of systems on real stems: names, best first."""
    for _ in range(2):
        references = np.stack(list(excerpts.stems(rng, 22050).values()))  # (S, C, L)
        leak = references.sum(axis=0) - references
        noise = 0.02 * rng.standard_normal(references.shape)
        systems = {
            "quiet": float(rng.uniform(0.2, 0.35)) * (references + 0.05 * leak),
            "leaky": references + float(rng.uniform(0.2, 0.3)) * leak,
            "noisy": references + noise,
            "upside down": -references + 0.01 * leak,
        }
        boards = []
        for score in (metrics.usdr, metrics.si_sdr):
            means = {n: np.mean([score(s, e) for s, e in zip(references, x, strict=True)])
                     for n, x in systems.items()}  # fmt: skip
            boards.append(sorted(means, key=lambda n, means=means: -means[n]))
        moved = sorted(n for n in systems if boards[0].index(n) != boards[1].index(n))
        with part("orders"):
            got = answer(references.copy(), {n: x.copy() for n, x in systems.items()})
            assert isinstance(got, (tuple, list)) and len(got) == 3, "two_boards: three lists"
            for name, mine, want in zip(("uSDR", "SI-SDR"), got, boards, strict=False):
                turned = list(mine) == want[::-1]
                assert not turned, f"two_boards: the best one of {name} first"
                assert list(mine) == want, f"two_boards by {name}: {want}, yours {list(mine)}"
        with part("moved"):
            assert sorted(got[2]) == moved, f"two_boards: {moved} moved, yours {list(got[2])}"
