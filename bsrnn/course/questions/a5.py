"""a5, metrics: uSDR, SI-SDR, cSDR with the joint rule, known scores, errors to order (06, 09)."""

import math

import numpy as np

from bsrnn import metrics
from bsrnn.course.questions import excerpts, numbers, same, several


def _pair(rng, channels: int = 2):
    """Reference with channels of unequal level, and an estimate with another balance."""
    s, noise = rng.standard_normal((2, channels, int(rng.integers(40, 200))))
    s = s * rng.uniform(0.1, 2, (channels, 1)) + 0.2
    return s, rng.uniform(0.4, 1.6, (channels, 1)) * s + 10 ** rng.uniform(-1.5, 0.3) * noise


def usdr(ask, rng):
    """dB of (C, L), channels and samples together; no epsilon, inf if perfect, NaN if silent."""
    for channels in (1, 2, 3):
        s, e = _pair(rng, channels)
        want = 20 * math.log10(np.linalg.norm(s) / np.linalg.norm(e - s))
        each = np.mean([metrics.usdr(a[None], b[None]) for a, b in zip(s, e, strict=True)])
        hints = {
            "10 log10 of energies": 2 * want,
            "upside down: signal over error": -want,
            "channels and samples together, not a mean over channels": each,
        }
        ask.same("value", [s, e], want, hints)
    for reference, estimate, want, words in (
        (1e-6 * s, 1.1e-6 * s, 20.0, "a soft pair (is there an epsilon?)"),
        (s, s, math.inf, "a perfect estimate"),
        (0 * s, e, math.nan, "a silent reference"),
        (0 * s, 0 * s, math.nan, "a silent pair"),
    ):
        ask.same("limits", [reference, estimate], want, {}, 1e-6, words)


def si_sdr(ask, rng):
    """dB of (C, L) by the angle between the two, whatever the gain; NaN where one is silent."""
    for channels in (1, 2, 3):
        s, e = _pair(rng, channels)
        cosine = np.sum(s * e) / np.linalg.norm(s) / np.linalg.norm(e)
        want = 10 * math.log10(cosine**2 / (1 - cosine**2))
        hints = {
            "one alpha for all channels": metrics.si_sdr(s, e, channels="mean"),
            "the error is alpha s - e, not s - e": metrics.sd_sdr(s, e),
            "do not remove the mean": metrics.si_snr(s, e),
        }
        gain = -float(rng.uniform(0.1, 9))
        ask.same("value", [s, e], want, hints, 1e-8)
        ask.same("value", [s, gain * e], want, {}, 1e-8, "a scaled estimate")
    ask.same("limits", [s, 0 * e], math.nan, what="a silent estimate")
    ask.same("limits", [0 * s, e], math.nan, what="a silent reference")


def csdr(ask, rng):
    """(S, C, L) to (S,) dB equals `metrics.csdr` with silent frames and a silent stem."""
    for frames in (5, 6, 7):
        window, stems = int(rng.integers(10, 20)), int(rng.integers(2, 4))
        samples = frames * window + int(rng.integers(1, window))
        s, noise = rng.standard_normal((2, stems, 2, samples))
        levels = 10 ** rng.uniform(-1, 1, (1, 1, samples // window + 1))  # one for each frame
        e = s + noise * levels.repeat(window, -1)[..., :samples]
        s[0, :, window : 2 * window] = 0  # a pause of the first stem costs the others, too
        e[-1, 0, 2 * window : 3 * window] = -e[-1, 1, 2 * window : 3 * window]  # left = -right
        want = metrics.csdr(s, e, 1, window_s=window, hop_s=window).value_db
        own = metrics.csdr(s, e, 1, window_s=window, hop_s=window, frames="own").value_db
        places = [slice(t * window, (t + 1) * window) for t in (0, *range(3, frames))]
        parts = np.sort([metrics.usdr(s[..., p], e[..., p]) for p in places], axis=0)  # (T, S)
        hints = {
            "a silent frame of one stem is dropped for all stems": own,
            "the median over frames, not the mean": parts.mean(axis=0),
            "average the two middle values": parts[(len(parts) - 1) // 2],
        }
        ask.same("frames", [s, e, window], want, hints, 1e-8, f"{frames} frames")
    s[0] = 0
    nothing = np.full(stems, math.nan)
    ask.same("no frame left", [s, e, window], nothing, what="where no frame is left")


def usdr_of_gain(ask, rng):
    """dB of the estimate g s for gains g of both signs; inf for g = 1."""
    s = rng.standard_normal((2, 50))
    for g in (0.5, 2.0, -1.0, float(rng.uniform(-5, 0)), float(rng.uniform(1.1, 4))):
        want = metrics.usdr(s, g * s)
        hints = {"20 log10 of an amplitude": want / 2, "the sign": -want}
        ask.same("gains", [g], want, hints, 1e-6, f"g = {g:.3g}")
    ask.same("no change", [1.0], math.inf, what="g = 1")


def add_error(ask, rng):
    """(C, L) with the uSDR wanted in dB, its error orthogonal to s, made of s and error only."""
    for sdr_db in (0.0, float(rng.uniform(3, 30)), float(rng.uniform(-20, -3))):
        s, error = _pair(rng, int(rng.integers(1, 4)))
        with ask.part("score"):
            got = numbers(ask(s, error, sdr_db))
            assert got.shape == s.shape, f"shape {s.shape} expected, yours {got.shape}"
            same(metrics.usdr(s, got), sdr_db, {}, 1e-6, "its uSDR")
        with ask.part("orthogonal"):
            added = got - s
            alike = abs(np.sum(added * s)) / np.linalg.norm(s) / np.linalg.norm(added)
            assert alike < 1e-6, "the error still has something in common with s"
            assert np.sum(added * error) > 0, "g > 0 was asked for"
        with ask.part("made of both"):
            plane = np.stack([s.ravel(), error.ravel()], axis=1)
            outside = np.linalg.lstsq(plane, got.ravel(), rcond=None)[1]
            assert np.all(outside < 1e-12 * np.sum(got**2)), "made of s and error only"


def two_boards(ask, rng):
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
        boards = {"uSDR": metrics.usdr, "SI-SDR": metrics.si_sdr}
        for name, score in boards.items():
            means = {n: np.mean(list(map(score, references, x))) for n, x in systems.items()}
            boards[name] = sorted(means, key=means.get, reverse=True)
        with ask.part("orders"):
            got = several(ask(references, systems), *boards, "who moved")
            for name, mine in zip(boards, got, strict=False):
                assert list(mine) != boards[name][::-1], f"the best one of {name} first"
                assert list(mine) == boards[name], f"by {name}: {boards[name]}, yours {list(mine)}"
        moved = sorted({a for a, b in zip(*boards.values(), strict=True) if a != b})
        with ask.part("moved"):
            assert sorted(got[2]) == moved, f"{moved} moved, yours {list(got[2])}"
