"""Does a mixture file belong to its stems? How far it is from their sum, and the likely cause."""

import numpy as np

AGREES_DB = 15.0  # AAC stem files reach 21 dB and more, another song about -3 dB
LONGEST_SHIFT_S = 0.5


def agreement_db(mixture: np.ndarray, total: np.ndarray) -> float:
    """Energy of `mixture` (C, L) over that of its difference to `total` in dB; inf: equal."""
    rest = float(np.square(mixture - total, dtype=np.float64).sum())
    energy = float(np.square(mixture, dtype=np.float64).sum())
    if not rest:
        return float("inf")
    return 10 * float(np.log10(max(energy, 1e-30) / rest))


def disagreement(mixture: np.ndarray, total: np.ndarray, sample_rate: int) -> tuple[float, str]:
    """(agreement in dB, "" or one line on how mixture (C, L) differs from the sum of its stems).

    >>> noise = np.random.default_rng(0).standard_normal((1, 4000))
    >>> disagreement(noise, np.roll(noise, 7), 8000)[1]
    'the mixture file is the sum of the stems, 7 samples earlier'
    """
    level_db = agreement_db(mixture, total)
    if level_db >= AGREES_DB:
        return level_db, ""
    what = "the mixture file is "
    shift = _shift(mixture, total, round(LONGEST_SHIFT_S * sample_rate))
    mixture, total = mixture[:, max(shift, 0) :], total[:, max(-shift, 0) :]
    length = min(mixture.shape[1], total.shape[1])
    mixture, total = mixture[:, :length], total[:, :length]  # (C, L) each, of the same moments
    gain = float((mixture * total).sum() / max(float(np.square(total).sum()), 1e-30))
    differences = []
    if shift:
        when = "later" if shift > 0 else "earlier"
        differences.append(f"{abs(shift)} samples {when}")
    if abs(gain - 1) > 0.02:
        differences.append(f"times {gain:.2f}")
    if agreement_db(mixture, gain * total) >= AGREES_DB:
        return level_db, f"{what}the sum of the stems, {' and '.join(differences)}"
    power = float(np.square(mixture).sum()) * float(np.square(total).sum())
    correlation = abs(float((mixture * total).sum())) / max(power, 1e-30) ** 0.5
    close = " but close to it: mastered, or a stem is missing"
    cause = close if correlation > 0.7 else ": another song?"
    return level_db, f"{what}not the sum of the stems ({level_db:.0f} dB){cause}"


def sums(sources: dict) -> dict[str, list[str]]:
    """Stems that are sums of two or more others: stem -> those. sources: stem -> (C, L).

    >>> a, b, c = np.random.default_rng(0).standard_normal((3, 1, 4000))
    >>> sums({"drums": a, "bass": b, "vocals": c, "band": a + b})
    {'band': ['bass', 'drums']}
    """
    names = [name for name, waveform in sources.items() if waveform.any()]
    gram = np.array([[float((sources[a] * sources[b]).sum()) for b in names] for a in names])
    result = {}
    for place, name in enumerate(names if len(names) > 2 else []):
        others = [i for i in range(len(names)) if i != place]
        weights = np.linalg.lstsq(gram[np.ix_(others, others)], gram[others, place], rcond=1e-9)[0]
        rest = gram[place, place] - weights @ gram[others, place]
        parts = [names[i] for i, weight in zip(others, weights, strict=True) if weight > 0.5]
        explained = rest < 10 ** (-AGREES_DB / 10) * gram[place, place]
        plain = all(abs(weight) < 0.1 or abs(weight - 1) < 0.1 for weight in weights)
        if explained and plain and len(parts) > 1:
            result[name] = sorted(parts)
    return result


def _shift(mixture: np.ndarray, total: np.ndarray, longest: int) -> int:
    """By how many samples `total` must be delayed to be most like `mixture`."""
    a, b = mixture.mean(0), total.mean(0)
    size = 2 ** int(np.ceil(np.log2(len(a) + len(b))))
    product = np.fft.irfft(np.fft.rfft(a, size) * np.fft.rfft(b, size).conj(), size)
    lags = np.r_[0 : longest + 1, -longest:0]
    lags = lags[np.abs(lags) < len(a)]
    return int(lags[np.argmax(np.abs(product[lags]))])
