"""a1, STFT: grids, frames, transform, inverse, reconstruction (lesson 02)."""

import numpy as np

from bsrnn.course.questions import excerpts, numbers, same, several


def _window(n_fft: int, cosines: int) -> np.ndarray:
    """Periodic windows by number of cosines: 0 rectangular, 1 Hann, 2 Blackman."""
    phase = 2 * np.pi * np.arange(n_fft) / n_fft
    a = ([1.0], [0.5, -0.5], [0.42, -0.5, 0.08])[cosines]
    return sum(value * np.cos(k * phase) for k, value in enumerate(a))


def _spectrum(x, window, hop, mirrored=True):
    """The definition of lesson 02, a sum per frame: (L,) -> (F, T); or with zeros at the ends."""
    n_fft = len(window)
    bins, n = np.arange(n_fft // 2 + 1), np.arange(n_fft)
    wave = np.exp(-2j * np.pi * np.outer(bins, n) / n_fft)  # (F, n_fft)
    frames = []
    for t in range(1 + len(x) // hop):
        plain = n + t * hop - n_fft // 2
        place = np.abs(plain)  # mirrored at sample 0 ...
        place = len(x) - 1 - np.abs(len(x) - 1 - place)  # ... and at the last one
        frames.append(wave @ (window * x[place] * (mirrored | (place == plain))))
    return np.stack(frames, axis=1)


def _sizes(rng):
    """An even n_fft, a hop of at most a quarter of it, and a length for more than three frames."""
    n_fft = 2 * int(rng.integers(6, 20))
    hop = int(rng.integers(2, n_fft // 4 + 1))
    return n_fft, hop, int(rng.integers(3, 8)) * n_fft + int(rng.integers(1, hop))


def grid(ask, rng):
    """Bin in Hz, frame and step in ms, for random rates and hops."""
    for n_fft in (512, 2048, 3000):
        rate, hop = int(rng.integers(8000, 96000)), int(rng.integers(100, 500))
        want = np.array([rate / n_fft, 1000 * n_fft / rate, 1000 * hop / rate])
        hints = {"frame and step are wanted in ms, not in s": want / [1, 1000, 1000]}
        ask.same("units", [rate, n_fft, hop], want, hints)


def frames_of(ask, rng):
    """Frames (T, n_fft) equal slices of the signal (L,) between zeros, every hop samples."""
    for _ in range(5):
        n_fft, hop, length = _sizes(rng)
        x = rng.standard_normal(length)
        padded = np.concatenate([np.zeros(n_fft // 2), x, np.zeros(n_fft)])  # (L + 1.5 n_fft,)
        starts = [t * hop for t in range(1 + length // hop)]
        want = np.stack([padded[s : s + n_fft] for s in starts])  # (T, n_fft)
        late = padded[n_fft // 2 :]  # as if frame t began at sample t * hop
        hints = {
            "(T, n_fft): each row one frame": want.T,
            "frame t is centred at sample t * hop": np.stack([late[s : s + n_fft] for s in starts]),
        }
        ask.same("frames", [x, n_fft, hop], want, hints)


def my_stft(ask, rng):
    """(L,) to (F, T) equals a sum per frame, for windows that are not symmetric."""
    for cosines in (0, 1, 2):
        n_fft, hop, length = _sizes(rng)
        window = _window(n_fft, cosines) + min(cosines, 1) * 0.1 * rng.random(n_fft)
        x = rng.standard_normal(length)
        want = _spectrum(x, window, hop)  # (F, T)
        hints = {
            "the window is not applied": _spectrum(x, np.ones(n_fft), hop),
            "mirror the ends, do not fill with zeros": _spectrum(x, window, hop, False),
            "the window is applied backwards": _spectrum(x, window[::-1], hop),
            "(F, T): bins first": want.T,
            "the conjugate: the exponent is -2 pi i f n / N": want.conj(),
        }
        ask.same("windows" if cosines else "transform", [x, window, hop], want, hints, 1e-8)


def my_istft(ask, rng):
    """The round trip of (L,), and the least-squares signal of an (F, T) that is no STFT."""
    for cosines in (1, 2, 1):
        n_fft, hop, length = _sizes(rng)
        window = _window(n_fft, cosines) + 0.1 * rng.random(n_fft)
        x = rng.standard_normal(length)
        spectrum = _spectrum(x, window, hop)
        inner = slice(0, hop * (length // hop))
        with ask.part("round trip"):
            got = numbers(ask(spectrum, window, hop, length))
            assert got.shape == (length,), f"{length} samples wanted, yours {got.shape}"
            same(got[inner], x[inner], {}, 1e-7, "the round trip")
        shape = spectrum.shape
        changed = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)  # of no signal
        changed[[0, -1]] = changed[[0, -1]].real
        want = _nearest(changed, window, hop, length)
        words = "a spectrogram that was changed (window twice, then divide by sum w^2)"
        hints = {"divide by the sum of w^2, not of w": _nearest(changed, window, hop, length, 1)}
        ask.same("least squares", [changed, window, hop, length], want, hints, 1e-7, words)


def _nearest(spectrum, window, hop, length, power=2):
    """The waveform (L,) with the nearest STFT, ends included, as a least-squares problem."""
    n_fft, frames = len(window), spectrum.shape[1]
    signal, weight = np.zeros((2, hop * frames + 2 * n_fft + length))
    for t, column in enumerate(np.fft.irfft(spectrum.T, n_fft)):  # (T, n_fft)
        signal[t * hop : t * hop + n_fft] += window * column
        weight[t * hop : t * hop + n_fft] += window**power
    part = slice(n_fft // 2, n_fft // 2 + length)
    return signal[part] / np.where(weight[part] > 1e-10, weight[part], 1)


def is_cola(ask, rng):
    """Sums of w^2 of cosine windows: constant from a known overlap on, not if shuffled."""
    cases = [(0, 1), (0, 2), (1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (2, 5), (2, 6)]
    for cosines, share in rng.permutation(cases):
        n_fft = 60 * int(rng.integers(1, 6))
        window = rng.uniform(0.2, 3) * _window(n_fft, cosines)
        constant = share > 2 * cosines
        words = f"{('rectangular', 'Hann', 'Blackman')[cosines]}, hop N/{share}"
        with ask.part("cosine windows"):
            got = _truth(ask(window, n_fft // share))
            assert got == constant, f"{words} is {constant}: do you add w or w ** 2?"
    window = rng.permutation(_window(60, 1))
    with ask.part("other windows"):
        assert not _truth(ask(window, 15)), "samples of Hann in random order are not COLA"


def _truth(got) -> bool:
    value = numbers(got)
    assert value.ndim == 0, "one True or False is wanted"
    return bool(value)


def sharpest(ask, rng):
    """(n_fft, sharpness of each): the picture of a real stem in which fewest bins hold it."""
    for stem in ("bass", "drums", "vocals"):
        x = excerpts.stems(rng)[stem][0]
        sizes = [256, 1024, 4096]
        want = []
        for n_fft in sizes:
            size = np.abs(excerpts.spectrum(x[None], n_fft, n_fft // 4)[0])
            want.append(size.sum() / np.sqrt(size.size * np.sum(size**2)))
        hints = {"the root of the sum of squares": np.square(want), "in order": want[::-1]}
        with ask.part("sharpness"):
            got = several(ask(x, sizes), "n_fft", "sharpness of each")
            same(got[1], want, hints, 1e-6, f"the values of {stem}")
        with ask.part("choice"):
            best = sizes[int(np.argmin(want))]
            assert got[0] == best, f"{best} shows {stem} best, yours says {got[0]}"
