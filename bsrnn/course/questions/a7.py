"""a7, inference: chunks, joins, overlap-add, channels, karaoke (lesson 08)."""

import numpy as np

from bsrnn.course.questions import excerpts, numbers, same


def starts_of(answer, rng, part):
    """First samples of chunks: rising, a hop apart, the last ends with the sound."""
    for _ in range(12):
        chunk = int(rng.integers(2, 40))
        hop, samples = int(rng.integers(1, chunk + 1)), int(rng.integers(1, 200))
        for length in (samples, chunk, chunk + 2 * hop, max(1, chunk - 1)):
            what = f"starts_of({length}, {chunk}, {hop})"
            with part("ends"):
                got = [int(start) for start in answer(length, chunk, hop)]
                assert got and got[0] == 0, f"{what}: the first chunk begins at 0"
                last = max(0, length - chunk)
                assert got[-1] == last, f"{what}: the last chunk ends with the sound"
            with part("steps"):
                assert got == sorted(set(got)), f"{what}: no chunk twice, in rising order"
                steps = np.diff(got[:-1])
                assert (steps == hop).all(), f"{what}: a chunk every {hop} samples, yours {got}"
                left = np.any(np.diff(got[-2:]) > hop)
                assert not left, f"{what}: samples are left out, yours {got}"


def join(answer, rng, part):
    """(S, C, L1) and (S, C, L2) crossfaded linearly over `fade` samples, also over none."""
    for fade in (0, 1, int(rng.integers(2, 9)), int(rng.integers(9, 12))):
        shape = tuple(rng.integers(1, 4, 2))
        first = rng.standard_normal((*shape, int(rng.integers(12, 20))))
        second = rng.standard_normal((*shape, int(rng.integers(20, 30))))
        length = first.shape[-1] + second.shape[-1] - fade
        up = np.interp(np.arange(length), [first.shape[-1] - fade - 1, first.shape[-1]], [0, 1])
        early, late = np.zeros((2, *shape, length))
        early[..., : first.shape[-1]], late[..., -second.shape[-1] :] = first, second
        swapped = early * up + late * (1 - up)
        want = early * (1 - up) + late * up
        with part("length"):
            got = numbers(answer(first.copy(), second.copy(), fade), "join")
            right = got.shape == (*shape, length)
            assert right, f"join: {length} samples wanted, yours {got.shape}"
        with part("fade"):
            hints = [(swapped, "the fades are swapped")]
            same(got, want, f"join over {fade} samples", 1e-9, hints)


def separate_long(answer, rng, part):
    """(C, L) to (S, C, L) for songs of several chunks, and for one shorter than a chunk."""
    for _ in range(3):
        chunk = int(rng.integers(8, 20))
        samples = int(rng.integers(1, 6)) * chunk + int(rng.integers(1, chunk))
        hop = int(rng.integers(2, chunk))
        starts = [*range(0, samples - chunk, hop), samples - chunk]
        _separate_once(answer, rng, part, samples, starts, chunk)
    _separate_once(answer, rng, part, chunk - 3, [0], chunk)


def _separate_once(answer, rng, part, samples, starts, chunk):
    """One song: what the model is given, then what is made of its answers."""
    x = rng.standard_normal((2, samples))
    gains = rng.standard_normal((3, 1, 1))
    bumps = rng.standard_normal((3, 2, chunk))
    calls = []

    def model(piece):
        calls.append(np.array(piece))
        return gains * piece + bumps[..., : piece.shape[-1]]  # worse than linear: places matter

    with part("calls"):
        got = numbers(answer(model, x.copy(), list(starts), chunk), "separate_long")
        assert len(calls) == len(starts), f"separate_long: {len(starts)} calls, yours {len(calls)}"
        for start, piece in zip(starts, calls, strict=True):
            same(piece, x[:, start : start + chunk], "separate_long: what the model is given")
    with part("level"):
        assert got.shape == (3, 2, samples), f"separate_long: (S, C, L), yours {got.shape}"
        loudest = abs(got - gains * x).max()
        assert loudest < 10 * abs(bumps).max(), "separate_long: the level is wrong"
    with part("overlap"):
        _overlap(got, x, gains, bumps, starts, chunk)


def _overlap(got, x, gains, bumps, starts, chunk):
    """The estimates (S, C, L) are added up with a triangle's weights."""
    samples = x.shape[1]
    offset = got - gains * x
    size = min(chunk, samples)
    triangle = np.concatenate([np.arange(size)[: (size + 1) // 2], np.arange(size // 2)[::-1]]) + 1
    share = np.zeros((len(starts), samples))
    for row, start in zip(share, starts, strict=True):
        row[start : start + size] = triangle
    flat, share = (share > 0) / (share > 0).sum(axis=0), share / share.sum(axis=0)
    want, even = np.zeros((2, 3, 2, samples))
    for start, row, equal in zip(starts, share, flat, strict=True):
        place = slice(start, start + size)
        want[..., place] += row[place] * bumps[..., :size]
        even[..., place] += equal[place] * bumps[..., :size]
    hints = [(even, "the middle of a chunk counts more: weight by the triangle")]
    same(offset, want, "separate_long: the overlap", 1e-7, hints)


def any_channels(answer, rng, part):
    """(C, L) to (S, C, L): one call of the model with (1, L) per channel, none mixed."""
    for channels in (1, 2, 6):
        x = rng.standard_normal((channels, int(rng.integers(4, 30))))
        gains = rng.standard_normal((int(rng.integers(1, 5)), 1, 1))
        calls = []

        def model(piece, gains=gains, calls=calls):
            piece = np.array(piece)
            assert piece.ndim == 2 and len(piece) == 1, "any_channels: the model takes (1, L)"
            calls.append(piece)
            return gains * np.cumsum(piece, axis=-1)

        with part("calls"):
            got = answer(model, x.copy())
            assert len(calls) == channels, f"any_channels: {channels} calls, yours {len(calls)}"
        want = gains * np.cumsum(x, axis=-1)  # (S, C, L)
        hints = [(want.swapaxes(0, 1), "(S, C, L): stems first")]
        with part("values"):
            same(got, want, f"any_channels of {channels}", 1e-9, hints)


def karaoke(answer, rng, part):
    """(C, L) minus vocals at three levels: scaled by its peak only where that is above 1."""
    for level in (0.05, 1.0, 3.0):
        mixture, vocals = rng.uniform(-1, 1, (2, 2, int(rng.integers(30, 90)))) * [[[1.0], [0.3]]]
        mixture, vocals = level * mixture, level * vocals
        mixture[0, 3] = -level  # the peak is negative
        vocals[0, 3] = level
        rest = mixture - vocals
        peak = max(rest.max(), -rest.min())
        want = rest if peak <= 1 else rest / peak
        hints = [
            (rest / peak, "leave the level alone if it does not clip"),
            (np.maximum(np.minimum(rest, 1), -1), "scale, do not cut the peaks off"),
            (rest, "the peak is above 1"),
            (mixture + vocals, "minus the vocals"),
        ]
        with part("loud" if peak > 1 else "quiet"):
            same(answer(mixture.copy(), vocals.copy()), want, "karaoke", 1e-9, hints)


def choose_chunk(answer, rng, part):
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
        with part("curve"):
            got = answer(model, x.copy(), s.copy(), list(chunks), loss_db)
            assert isinstance(got, (tuple, list)) and len(got) == 2, "choose_chunk: (chunk, dB)"
            hints = [(np.array(want) * 2, "10 log10 of energies")]
            same(got[1], want, "choose_chunk: uSDR of each length", 1e-6, hints)
        with part("choice"):
            best = next(c for c, db in zip(chunks, want, strict=True) if db >= max(want) - loss_db)
            assert got[0] == best, f"choose_chunk: {best} is enough, yours says {got[0]}"
