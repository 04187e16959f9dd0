"""a4, model: norm, split, rows of recurrent layers, gate, overlapping masks (lesson 05)."""

import numpy as np
import torch
from torch.nn import functional as F

from bsrnn.course.questions import excerpts, same


def _normal(rng, *shape) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(shape)).float()


def _complex(rng, *shape) -> torch.Tensor:
    return torch.complex(_normal(rng, *shape), _normal(rng, *shape))


def norm(answer, rng, part):
    """(M, S, N) equals torch's group norm over S and N together, for small and large eps."""
    for eps in (1e-7, 1e-2, float(rng.uniform(0.1, 1))):
        rows, steps, features = (int(n) for n in rng.integers(2, 9, 3))
        x = _normal(rng, rows, steps, features) * _normal(rng, features).exp() + 2
        gain, offset = _normal(rng, 2, features)
        want = F.group_norm(x.transpose(1, 2), 1, gain, offset, eps).transpose(1, 2)
        each = F.layer_norm(x, (features,), gain, offset, eps)
        spread = x.std(dim=(1, 2), keepdim=True)  # the unbiased one
        unbiased = (x - x.mean(dim=(1, 2), keepdim=True)) / (spread**2 + eps).sqrt() * gain + offset
        outside = (x - x.mean(dim=(1, 2), keepdim=True)) / (
            x.var(dim=(1, 2), keepdim=True, correction=0).sqrt() + eps
        )
        hints = [
            (each, "over the sequence, too, not over the features alone"),
            (unbiased, "the variance is the mean of squares, not divided by n - 1"),
            (outside * gain + offset, "epsilon belongs under the root"),
        ]
        with part("values"):
            same(answer(x.clone(), gain, offset, eps), want, "norm", 2e-5, hints)


def band_input(answer, rng, part):
    """(B, F, T) complex to (B, T, 2 W) real, number by number."""
    for _ in range(3):
        items, frames = (int(n) for n in rng.integers(2, 6, 2))
        bins = int(rng.integers(12, 30))
        lo, width = int(rng.integers(0, 5)), int(rng.integers(2, 7))
        spectrum = _complex(rng, items, bins, frames)
        want = np.zeros((items, frames, 2 * width), np.float32)
        for b, t, w in np.ndindex(items, frames, width):
            value = spectrum[b, lo + w, t].item()
            want[b, t, w], want[b, t, width + w] = value.real, value.imag
        woven = want.reshape(items, frames, 2, width).swapaxes(2, 3).reshape(want.shape)
        scrambled = want.swapaxes(1, 2).reshape(want.shape)
        hints = [
            (woven, "all real parts first, then all imaginary parts"),
            (want.swapaxes(1, 2), "(B, T, 2 W): frames before numbers"),
            (scrambled, "transpose, do not reshape"),
        ]
        with part("numbers"):
            same(answer(spectrum.clone(), lo, lo + width), want, "band_input", 1e-6, hints)


def along(answer, rng, part):
    """(B, K, T, N): the layer sees rows (M, S, N) along the axis; what it returns is added to z."""
    for axis in ("time", "bands"):
        items, bands, frames, features = (int(n) for n in rng.permutation([2, 3, 4, 5]))
        z = _normal(rng, items, bands, frames, features)
        steps = frames if axis == "time" else bands
        rows = items * bands * frames // steps
        shapes, scale = [], torch.arange(1.0, steps + 1)[:, None]

        def layer(x, shapes=shapes, scale=scale):
            shapes.append(tuple(x.shape))
            return x.cumsum(1) * scale + x[:, :1]  # every place hears those before it

        wanted = [(rows, steps, features)]
        with part("rows"):
            got = answer(z.clone(), layer, axis)
            assert shapes == wanted, f"along {axis}: the layer wants rows {wanted[0]}, saw {shapes}"
        place = 2 if axis == "time" else 1
        heard = z.movedim(place, 2)  # the sequence third
        added = (heard.cumsum(2) * scale + heard[:, :, :1]).movedim(2, place)
        hints = [(added, "the layer returns what is to be added: add z")]
        with part(axis):
            same(got, z + added, f"along {axis}", 1e-5, hints)


def gated_mask(answer, rng, part):
    """(B, T, 4 W) to complex (B, W, T): values times the sigmoid of gates."""
    for _ in range(3):
        items, frames, width = (int(n) for n in rng.integers(2, 7, 3))
        y = 2 * _normal(rng, items, frames, 4 * width)
        parts = y.unflatten(-1, (2, 2, width))  # value or gate, real or imaginary
        numbers = parts[:, :, 0] / (1 + (-parts[:, :, 1]).exp())
        want = torch.complex(numbers[:, :, 0], numbers[:, :, 1]).transpose(1, 2)
        numbers = parts[:, :, 1] / (1 + (-parts[:, :, 0]).exp())
        swapped = torch.complex(numbers[:, :, 0], numbers[:, :, 1]).transpose(1, 2)
        hints = [
            (swapped, "values first, gates second"),
            (want.transpose(1, 2), "(B, W, T): bins before frames"),
            (want.conj().resolve_conj(), "the imaginary part has the wrong sign"),
        ]
        with part("mask"):
            same(answer(y.clone()), want, "gated_mask", 1e-5, hints)


def apply_bands(answer, rng, part):
    """Masks (B, W, T) of bands apart and overlapping, weighted, added, times (B, F, T)."""
    for overlapping in (False, True, True):
        items, frames, bins = (int(n) for n in rng.integers(2, 5, 3) * [1, 1, 8])
        edges = [1, *sorted(rng.choice(np.arange(2, bins - 2), 3, replace=False).tolist())]
        reach = 2 if overlapping else 0
        ranges = [(lo, hi + reach) for lo, hi in zip(edges, edges[1:], strict=False)]
        weights = [torch.from_numpy(rng.uniform(0.2, 1, hi - lo)).float() for lo, hi in ranges]
        masks = [_complex(rng, items, hi - lo, frames) for lo, hi in ranges]
        spectrum = _complex(rng, items, bins, frames)
        want, last, plain = np.zeros((3, items, bins, frames), np.complex64)
        for mask, (lo, hi), weight in zip(masks, ranges, weights, strict=True):
            weighted = (mask * weight[:, None]).numpy()
            want[:, lo:hi] += weighted
            last[:, lo:hi] = weighted
            plain[:, lo:hi] += mask.numpy()
        x = spectrum.numpy()
        hints = [
            (last * x, "bands that overlap add up"),
            (plain * x, "the weights are not applied"),
            (want, "that is the mask: multiply the spectrum by it"),
        ]
        arguments = ([m.clone() for m in masks], ranges, weights, spectrum.clone())
        with part("overlap" if overlapping else "apart"):
            same(answer(*arguments), want * x, "apply_bands", 1e-5, hints)


def faulty_band(answer, rng, part):
    """(band, word): what was done to one band of the spectrum of a real excerpt (C, F, T)."""
    for kind in ("silent", "mirrored", "late", "mirrored"):
        x = excerpts.spectrum(sum(excerpts.stems(rng, 16384).values()), 512, 256)
        edges = [0, *np.sort(rng.choice(np.arange(2, 60), 5, replace=False)).tolist(), 100]
        ranges, place = list(zip(edges, edges[1:], strict=False)), int(rng.integers(1, 5))
        rows = slice(*ranges[place])
        done = {"silent": lambda z: 0 * z, "mirrored": np.conj, "late": lambda z: np.roll(z, 1, -1)}
        after = 0.7 * x
        after[:, rows] = done[kind](after[:, rows])
        with part("where"):
            before, after = (torch.from_numpy(z).to(torch.complex64) for z in (x, after))
            got = answer(before.clone(), after.clone(), list(ranges))
            assert isinstance(got, (tuple, list)) and len(got) == 2, "faulty_band: (band, word)"
            assert got[0] == place, f"faulty_band: band {place} (from 0), yours says {got[0]}"
        with part("what"):
            assert got[1] == kind, f"faulty_band: it is {kind}, yours says {got[1]}"
