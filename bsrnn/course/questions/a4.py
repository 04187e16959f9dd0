"""a4, model: norm, split, rows of recurrent layers, gate, overlapping masks (lesson 05)."""

import numpy as np
import torch
from torch.nn import functional as F

from bsrnn.course.questions import excerpts, same, several


def _normal(rng, *shape) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(shape)).float()


def _complex(rng, *shape) -> torch.Tensor:
    return torch.complex(_normal(rng, *shape), _normal(rng, *shape))


def norm(ask, rng):
    """(M, S, N) equals torch's group norm over S and N together, for small and large eps."""
    for eps in (1e-7, 1e-2, float(rng.uniform(0.1, 1))):
        rows, steps, features = (int(n) for n in rng.integers(2, 9, 3))
        x = _normal(rng, rows, steps, features) * _normal(rng, features).exp() + 2
        gain, offset = _normal(rng, 2, features)
        want = F.group_norm(x.transpose(1, 2), 1, gain, offset, eps).transpose(1, 2)
        centred = x - x.mean(dim=(1, 2), keepdim=True)
        n, power = steps * features, (centred**2).mean(dim=(1, 2), keepdim=True)
        each = F.layer_norm(x, (features,), gain, offset, eps)
        unbiased = gain * centred / (power * n / (n - 1) + eps).sqrt() + offset
        hints = {
            "over the sequence, too, not over the features alone": each,
            "the variance is the mean of squares, not divided by n - 1": unbiased,
            "epsilon belongs under the root": gain * centred / (power.sqrt() + eps) + offset,
        }
        ask.same("values", [x, gain, offset, eps], want, hints, 2e-5)


def band_input(ask, rng):
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
        hints = {
            "all real parts first, then all imaginary parts": woven,
            "(B, T, 2 W): frames before numbers": want.swapaxes(1, 2),
            "transpose, do not reshape": want.swapaxes(1, 2).reshape(want.shape),
        }
        ask.same("numbers", [spectrum, lo, lo + width], want, hints, 1e-6)


def along(ask, rng):
    """(B, K, T, N): the layer sees rows (M, S, N) along the axis; what it returns is added to z."""
    for axis in ("time", "bands"):
        items, bands, frames, features = (int(n) for n in rng.permutation([2, 3, 4, 5]))
        z = _normal(rng, items, bands, frames, features)
        place, steps = (2, frames) if axis == "time" else (1, bands)
        wanted = (items * bands * frames // steps, steps, features)
        shapes, scale = [], torch.arange(1.0, steps + 1)[:, None]

        def layer(x, shapes=shapes, scale=scale):
            shapes.append(tuple(x.shape))
            return x.cumsum(1) * scale + x[:, :1]  # every place hears those before it

        with ask.part("rows"):
            got = ask(z, layer, axis)
            assert shapes == [wanted], f"along {axis}: the layer wants {wanted}, saw {shapes}"
        heard = z.movedim(place, 2)  # the sequence third
        added = (heard.cumsum(2) * scale + heard[:, :, :1]).movedim(2, place)
        hints = {"the layer returns what is to be added: add z": added}
        with ask.part(axis):
            same(got, z + added, hints, 1e-5, f"along {axis}")


def gated_mask(ask, rng):
    """(B, T, 4 W) to complex (B, W, T): values times the sigmoid of gates."""
    for _ in range(3):
        items, frames, width = (int(n) for n in rng.integers(2, 7, 3))
        y = 2 * _normal(rng, items, frames, 4 * width)
        parts = y.unflatten(-1, (2, 2, width))  # value or gate, real or imaginary
        want, swapped = (
            torch.complex(*(value * gate.sigmoid()).unbind(2)).transpose(1, 2)
            for value, gate in (parts.unbind(2), parts.flip(2).unbind(2))
        )
        hints = {
            "values first, gates second": swapped,
            "(B, W, T): bins before frames": want.transpose(1, 2),
            "the imaginary part has the wrong sign": want.conj().resolve_conj(),
        }
        ask.same("mask", [y], want, hints, 1e-5)


def apply_bands(ask, rng):
    """Masks (B, W, T) of bands apart and overlapping, weighted, added, times (B, F, T)."""
    for overlapping in (False, True, True):
        items, frames, bins = (int(n) for n in rng.integers(2, 5, 3) * [1, 1, 8])
        edges = [1, *sorted(rng.choice(np.arange(2, bins - 2), 3, replace=False).tolist())]
        reach = 2 if overlapping else 0
        ranges = [(lo, hi + reach) for lo, hi in zip(edges, edges[1:], strict=False)]
        weights = [torch.from_numpy(rng.uniform(0.2, 1, hi - lo)).float() for lo, hi in ranges]
        masks = [_complex(rng, items, hi - lo, frames) for lo, hi in ranges]
        x = _complex(rng, items, bins, frames)
        want, last, plain = torch.zeros(3, items, bins, frames, dtype=torch.complex64)
        for mask, (lo, hi), weight in zip(masks, ranges, weights, strict=True):
            want[:, lo:hi] += mask * weight[:, None]
            last[:, lo:hi] = mask * weight[:, None]
            plain[:, lo:hi] += mask
        hints = {
            "bands that overlap add up": last * x,
            "the weights are not applied": plain * x,
            "that is the mask: multiply the spectrum by it": want,
        }
        part = "overlap" if overlapping else "apart"
        ask.same(part, [masks, ranges, weights, x], want * x, hints, 1e-5)


def faulty_band(ask, rng):
    """(band, word): what was done to one band of the spectrum of a real excerpt (C, F, T)."""
    for kind in ("silent", "mirrored", "late", "mirrored"):
        before = excerpts.spectrum(sum(excerpts.stems(rng, 16384).values()), 512, 256)
        edges = [0, *np.sort(rng.choice(np.arange(2, 60), 5, replace=False)).tolist(), 100]
        ranges, place = list(zip(edges, edges[1:], strict=False)), int(rng.integers(1, 5))
        rows = slice(*ranges[place])
        done = {"silent": lambda z: 0 * z, "mirrored": np.conj, "late": lambda z: np.roll(z, 1, -1)}
        after = 0.7 * before
        after[:, rows] = done[kind](after[:, rows])
        with ask.part("where"):
            pair = (torch.from_numpy(z).to(torch.complex64) for z in (before, after))
            got = several(ask(*pair, ranges), "band", "word")
            assert got[0] == place, f"band {place} (from 0), yours says {got[0]}"
        with ask.part("what"):
            assert got[1] == kind, f"it is {kind}, yours says {got[1]}"
