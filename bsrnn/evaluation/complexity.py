"""BandIt's complexity table again: 15 systems, our counts beside the published ones.

Thirteen rows are band-split networks, whose parameters and MACs follow from `bsrnn.cost`; the
other two, Hybrid Demucs and Open-Unmix, are built and counted without memory for their weights.
All hear one channel at 44.1 kHz and give one stem or three (`stems`).

    rows = table(); measured(rows, repeats=5)      # python -m bsrnn cost --table --measure

Reference: Watcharasupat et al. 2024, arXiv 2309.02539, table III, and the README of its code; the
published numbers lie in `data/published/complexity.csv`. Its "GFlops" are multiply-accumulates.
Lesson 11.
"""

from dataclasses import replace

import pandas as pd

from bsrnn import ledger
from bsrnn.common import UsageError, optional
from bsrnn.models.cost import cost, counted
from bsrnn.models.presets import presets

SECONDS = 6.0  # of the published table
PUBLISHED = ("parameters_m", "gmac_6s", "peak_memory_mb", "batch_per_s_gpu", "batch_per_s_cpu")
UNMIX_BINS = 2049
STEMS = ("speech", "music", "effects")


def config(model: str, bands: str, stems: int = 3):
    """The ModelConfig of a row of the table; None for a network that has no bands.

    >>> config("BandIt", "Bark 48").scheme
    'bark48'
    """
    if not bands:
        return None
    found = replace(presets()["bandit"], stems=STEMS[:stems], scheme=_scheme(bands))
    if model.startswith("BSRNN-LSTM12"):
        return found.replace(rnn="lstm", repeats=12)
    return found


def _scheme(bands: str) -> str:
    family, size = bands.split()
    if size == "V7":
        return "v7-bandit"
    return {"Music": "musical"}.get(family, family.lower()) + size


def separator(model: str, bands: str, stems: int = 3):
    """The network of a row with untrained weights, for inference: (B, 1, L) -> (B, S, 1, L).

    Open-Unmix hears all bins, as in the table, and without its Wiener filter, which the table
    does not count.
    """
    from bsrnn import models
    from bsrnn.models.zoo import baselines

    row = config(model, bands, stems)
    if row is not None:
        return models.build(row).eval()
    if model == "Open-Unmix":
        networks = {s: baselines.OpenUnmix(channels=1, bins_in=UNMIX_BINS) for s in STEMS[:stems]}
        made = baselines.OpenUnmixSeparator(networks, filtered=False)
        made.channels = 1
        return made.eval()
    demucs = optional("torchaudio.models").HDemucs
    network = demucs(list(STEMS[:stems]), audio_channels=1, nfft=4096, depth=6)
    return baselines.HybridDemucs(network).eval()


def table(seconds: float = SECONDS) -> pd.DataFrame:
    """The 15 rows: ours first (parameters, macs, matmul_macs for `seconds`), then the published.

    MACs of the last two rows are their matrix products alone. Published MACs, memory and speed are
    those of 6 s, on an RTX 3090 and an i9-11900K.
    """
    if not seconds > 0:
        raise UsageError(f"{seconds} seconds: give a number above 0")
    published = ledger.complexity()
    rows = [
        {"model": row.model, "bands": row.bands, "stems": int(row.stems)}
        | _ours(row.model, row.bands, int(row.stems), seconds)
        for row in published.itertuples()
    ]
    theirs = published[list(PUBLISHED)].add_prefix("published_")
    return pd.concat([pd.DataFrame(rows), theirs, published["source"]], axis=1)


def _ours(model, bands, stems, seconds) -> dict:
    row = config(model, bands, stems)
    found = cost(row, seconds) if row else counted(_ghost(model, bands, stems), seconds)
    return {"parameters": found.parameters, "macs": found.macs, "matmul_macs": found.matmul_macs}


def _ghost(model, bands, stems):
    """The network of a row without memory for its weights."""
    import torch

    with torch.device("meta"):
        return separator(model, bands, stems)


def measured(rows, seconds=SECONDS, threads=1, repeats=5, progress=False) -> pd.DataFrame:
    """`rows` of `table` with what this machine's CPU needs: median_s, chunks_per_s, memory_mb,
    gflops, peak_gflops and of_peak (see `bsrnn.benchmark.measure`).

    Each row has a process of its own: memory that another network has freed would otherwise be
    used again and not be seen. A row takes `repeats` + 1 calls: minutes for 6 s.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from tqdm import tqdm

    found = []
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1)
    with pool, tqdm(total=len(rows), disable=None if progress else True) as bar:
        for row in rows.itertuples():
            bar.set_description(f"{row.model} {row.bands}".strip())
            of = (row.model, row.bands, row.stems)
            timed = pool.submit(_timed, of, seconds, threads, repeats).result()
            gflops = 2e-9 * row.matmul_macs / timed["median_s"]
            speed = {"gflops": gflops, "of_peak": gflops / timed["peak_gflops"]}
            found.append({"threads": threads, "input_s": seconds} | timed | speed)
            bar.update()
    return pd.concat([rows.reset_index(drop=True), pd.DataFrame(found)], axis=1)


def _timed(of, seconds, threads, repeats) -> dict:
    """Time, memory and peak of the row `of` = (model, bands, stems)."""
    import torch

    from bsrnn import benchmark

    torch.manual_seed(0)
    row = benchmark.measure({of[0]: separator(*of)}, seconds, (threads,), repeats, channels=1)
    kept = ("median_s", "fastest_s", "real_time", "memory_mb", "peak_gflops")
    found = {name: float(row[name].iloc[0]) for name in kept}
    return found | {"chunks_per_s": 1 / found["median_s"]}


def text(rows) -> str:
    """The table of `table` or `measured` as text for a terminal, with its source below it."""
    shown = pd.DataFrame({
        "model": (rows["model"] + " " + rows["bands"]).str.strip(),
        "stems": rows["stems"],
        "parameters": rows["parameters"].map("{:,}".format),
        "M publ.": rows["published_parameters_m"],
        "GMAC": (rows["macs"] / 1e9).map("{:.1f}".format),
        "GMAC publ.": rows["published_gmac_6s"],
        "MB publ.": rows["published_peak_memory_mb"],
        "GPU/s publ.": rows["published_batch_per_s_gpu"],
        "CPU/s publ.": rows["published_batch_per_s_cpu"],
    })  # fmt: skip
    for name, digits in (("memory_mb", 0), ("chunks_per_s", 3), ("real_time", 3), ("of_peak", 2)):
        if name in rows:
            shown[name] = rows[name].map(lambda x, d=digits: f"{x:.{d}f}")
    return f"{shown.to_string(index=False)}\npubl.: {'; '.join(rows['source'].unique())}"
