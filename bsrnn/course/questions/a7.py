"""a7, inference: chunks, joins, overlap-add, channels, karaoke (lesson 08)."""

import numpy as np

from bsrnn.course.questions import excerpts, numbers, same, several


def starts_of(ask, rng):
    """First samples of chunks: rising, a hop apart, the last ends with the sound."""
    for _ in range(12):
        chunk = int(rng.integers(2, 40))
        hop, samples = int(rng.integers(1, chunk + 1)), int(rng.integers(1, 200))
        for length in (samples, chunk, chunk + 2 * hop, max(1, chunk - 1)):
            what = f"starts_of({length}, {chunk}, {hop})"
            with ask.part("ends"):
                got = [int(start) for start in ask(length, chunk, hop)]
                assert got and got[0] == 0, f"{what}: the first chunk begins at 0"
                last = max(0, length - chunk)
                assert got[-1] == last, f"{what}: the last chunk ends with the sound"
            with ask.part("steps"):
                assert got == sorted(set(got)), f"{what}: no chunk twice, in rising order"
                steps = np.diff(got[:-1])
                assert (steps == hop).all(), f"{what}: a chunk every {hop} samples, yours {got}"
                left = np.any(np.diff(got[-2:]) > hop)
                assert not left, f"{what}: samples are left out, yours {got}"


def join(ask, rng):
    """(S, C, L1) and (S, C, L2) crossfaded linearly over `fade` samples, also over none."""
    for fade in (0, 1, int(rng.integers(2, 9)), int(rng.integers(9, 12))):
        shape = tuple(rng.integers(1, 4, 2))
        first = rng.standard_normal((*shape, int(rng.integers(12, 20))))
        second = rng.standard_normal((*shape, int(rng.integers(20, 30))))
        length = first.shape[-1] + second.shape[-1] - fade
        up = np.interp(np.arange(length), [first.shape[-1] - fade - 1, first.shape[-1]], [0, 1])
        early, late = np.zeros((2, *shape, length))
        early[..., : first.shape[-1]], late[..., -second.shape[-1] :] = first, second
        with ask.part("length"):
            got = numbers(ask(first, second, fade))
            assert got.shape == (*shape, length), f"{length} samples wanted, yours {got.shape}"
        with ask.part("fade"):
            hints = {"the fades are swapped": early * up + late * (1 - up)}
            same(got, early * (1 - up) + late * up, hints, what=f"over {fade} samples")


def separate_long(ask, rng):
    """(C, L) to (S, C, L) for songs of several chunks, and for one shorter than a chunk."""
    for _ in range(3):
        chunk = int(rng.integers(8, 20))
        samples = int(rng.integers(1, 6)) * chunk + int(rng.integers(1, chunk))
        hop = int(rng.integers(2, chunk))
        starts = [*range(0, samples - chunk, hop), samples - chunk]
        _separate_once(ask, rng, samples, starts, chunk)
    _separate_once(ask, rng, chunk - 3, [0], chunk)


def _separate_once(ask, rng, samples, starts, chunk):
    """One song: what the model is given, then what is made of its answers."""
    x = rng.standard_normal((2, samples))
    gains = rng.standard_normal((3, 1, 1))
    bumps = rng.standard_normal((3, 2, chunk))
    calls = []

    def model(piece):
        calls.append(np.array(piece))
        return gains * piece + bumps[..., : piece.shape[-1]]  # worse than linear: places matter

    with ask.part("calls"):
        got = numbers(ask(model, x, starts, chunk))
        assert len(calls) == len(starts), f"{len(starts)} calls of the model, yours {len(calls)}"
        for start, piece in zip(starts, calls, strict=True):
            same(piece, x[:, start : start + chunk], what="what the model is given")
    with ask.part("level"):
        assert got.shape == (3, 2, samples), f"(S, C, L), yours {got.shape}"
        assert abs(got - gains * x).max() < 10 * abs(bumps).max(), "the level is wrong"
    with ask.part("overlap"):
        size = min(chunk, samples)
        triangle = np.minimum(np.arange(size), np.arange(size)[::-1]) + 1.0
        want, even = (_overlap(bumps, starts, w, samples) for w in (triangle, np.ones(size)))
        hints = {"the middle of a chunk counts more: weight by the triangle": even}
        same(got - gains * x, want, hints, 1e-7, "the overlap")


def _overlap(bumps, starts, weights, samples):
    """What the same answer (S, C, chunk) at each of the starts adds up to, by its weights."""
    share = np.zeros((len(starts), samples))
    for row, start in zip(share, starts, strict=True):
        row[start : start + len(weights)] = weights
    total = np.zeros((*bumps.shape[:2], samples))
    for row, start in zip(share / share.sum(axis=0), starts, strict=True):
        place = slice(start, start + len(weights))
        total[..., place] += row[place] * bumps[..., : len(weights)]
    return total


def any_channels(ask, rng):
    """(C, L) to (S, C, L): one call of the model with (1, L) per channel, none mixed."""
    for channels in (1, 2, 6):
        x = rng.standard_normal((channels, int(rng.integers(4, 30))))
        gains = rng.standard_normal((int(rng.integers(1, 5)), 1, 1))
        calls = []

        def model(piece, gains=gains, calls=calls):
            piece = np.array(piece)
            assert piece.ndim == 2 and len(piece) == 1, "the model takes (1, L)"
            calls.append(piece)
            return gains * np.cumsum(piece, axis=-1)

        with ask.part("calls"):
            got = ask(model, x)
            assert len(calls) == channels, f"{channels} calls of the model, yours {len(calls)}"
        want = gains * np.cumsum(x, axis=-1)  # (S, C, L)
        with ask.part("values"):
            hints = {"(S, C, L): stems first": want.swapaxes(0, 1)}
            same(got, want, hints, what=f"{channels} channels")


def karaoke(ask, rng):
    """(C, L) minus vocals at three levels: scaled by its peak only where that is above 1."""
    for level in (0.05, 1.0, 3.0):
        mixture, vocals = rng.uniform(-1, 1, (2, 2, int(rng.integers(30, 90)))) * [[[1.0], [0.3]]]
        mixture, vocals = level * mixture, level * vocals
        mixture[0, 3] = -level  # the peak is negative
        vocals[0, 3] = level
        rest = mixture - vocals
        peak = np.abs(rest).max()
        hints = {
            "leave the level alone if it does not clip": rest / peak,
            "scale, do not cut the peaks off": np.clip(rest, -1, 1),
            "the peak is above 1": rest,
            "minus the vocals": mixture + vocals,
        }
        part, want = ("loud", rest / peak) if peak > 1 else ("quiet", rest)
        ask.same(part, [mixture, vocals], want, hints)


def choose_chunk(ask, rng):
    """(chunk, dB of each): a separator by the band of the voice, on real excerpts in chunks."""
    for loss_db in (0.1, 1.0):
        piece = excerpts.stems(rng, 16384)
        x, s = sum(piece.values()), piece["vocals"]
        chunks = [128, 512, 2048, 8192]

        def model(part):
            spectrum = np.fft.rfft(part)
            hz = np.arange(spectrum.shape[-1]) * excerpts.RATE / np.shape(part)[-1]
            return np.fft.irfft(spectrum * ((hz > 200) & (hz < 5000)), np.shape(part)[-1])

        want = []
        for chunk in chunks:
            parts = [model(x[:, i : i + chunk]) for i in range(0, x.shape[1], chunk)]
            error = np.linalg.norm(np.concatenate(parts, axis=1) - s)
            want.append(20 * np.log10(np.linalg.norm(s) / error))
        with ask.part("curve"):
            got = several(ask(model, x, s, chunks, loss_db), "chunk", "dB of each")
            hints = {"10 log10 of energies": 2 * np.array(want)}
            same(got[1], want, hints, 1e-6, "uSDR of each length")
        with ask.part("choice"):
            best = next(c for c, db in zip(chunks, want, strict=True) if db >= max(want) - loss_db)
            assert got[0] == best, f"{best} is enough, yours says {got[0]}"
