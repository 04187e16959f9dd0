"""BandIt's complexity table again: 15 systems, our numbers beside the published ones. Lesson 11.

Thirteen are band-split networks, whose parameters and MACs follow from `bsrnn.cost`; Hybrid Demucs
and Open-Unmix are built and counted. All hear one channel at 44.1 kHz.

    compared()                               # six quantities, ours and published
    rows = measured(table(), repeats=5)      # python -m bsrnn cost --table --measure

Reference: Watcharasupat et al. 2024, arXiv 2309.02539, table III, and the README of its code. Its
"GFlops" are multiply-accumulates.
"""

import time
from dataclasses import replace

import pandas as pd

from bsrnn import ledger
from bsrnn.common import ROOT, UsageError, optional
from bsrnn.models.cost import cost, counted
from bsrnn.models.presets import presets

SECONDS = 6.0  # of the published table
PUBLISHED = ("parameters_m", "gmac_6s", "peak_memory_mb", "batch_per_s_cpu", "batch_per_s_gpu")
DEVICES = {"CPU": "Intel Core i9-11900K", "GPU": "NVIDIA RTX 3090"}  # of the published table
SCHEMES = {"Vocals V7": "v7-bandit", "Music 48": "musical48", "Music 64": "musical64"}
UNMIX_BINS = 2049
STEMS = ("speech", "music", "effects")


def config(model: str, bands: str, stems: int = 3):
    """The ModelConfig of a row of the table; None for a network that has no bands.

    >>> config("BandIt", "Bark 48").scheme
    'bark48'
    """
    if not bands:
        return None
    scheme = SCHEMES.get(bands, bands.lower().replace(" ", ""))
    bandit = replace(presets()["bandit"], stems=STEMS[:stems], scheme=scheme)
    return bandit.replace(rnn="lstm", repeats=12) if model.startswith("BSRNN-LSTM12") else bandit


def separator(model: str, bands: str, stems: int = 3):
    """The network of a row with untrained weights, for inference: (B, 1, L) -> (B, S, 1, L). As in
    the table Open-Unmix hears all bins and has no Wiener filter."""
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
    """The 15 rows: ours first (parameters, macs, matmul_macs for `seconds`; of the last two rows
    the matrix products alone), then the published, of 6 s, on `DEVICES`."""
    if not seconds > 0:
        raise UsageError(f"{seconds} seconds: give a number above 0")
    published = ledger.complexity()
    rows = published[["model", "bands"]].assign(stems=published["stems"].astype(int))
    counts = [_cost(*row, seconds) for row in rows.itertuples(index=False)]
    for name in ("parameters", "macs", "matmul_macs"):
        rows[name] = [getattr(count, name) for count in counts]
    theirs = published[list(PUBLISHED)].add_prefix("published_")
    return pd.concat([rows, theirs, published["source"]], axis=1)


def _cost(model, bands, stems, seconds):
    import torch

    row = config(model, bands, stems)
    if row:
        return cost(row, seconds)
    with torch.device("meta"):  # no memory for the weights
        return counted(separator(model, bands, stems), seconds)


def measured(
    rows, seconds=SECONDS, threads=1, repeats=5, device="cpu", progress=False
) -> pd.DataFrame:
    """`rows` of `table` with what this machine needs: median_s, chunks_per_s, memory_mb (of one
    call, without the weights), gflops, peak_gflops and of_peak (see `bsrnn.benchmark.measure`).

    One thread of a CPU is timed in CPU seconds, so that other work does not count. Each row has a
    process of its own, so that no memory is used again unseen, and takes `repeats` + 1 calls.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from tqdm import tqdm

    timings = []
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1)
    with pool, tqdm(total=len(rows), disable=None if progress else True) as bar:
        for row in rows.itertuples():
            bar.set_description(f"{row.model} {row.bands}".strip())
            of = (row.model, row.bands, row.stems)
            timed = pool.submit(_timed, of, seconds, threads, repeats, device).result()
            gflops = 2e-9 * row.matmul_macs / timed["median_s"]
            speed = {"gflops": gflops, "of_peak": gflops / timed["peak_gflops"]}
            timings.append({"threads": threads, "input_s": seconds} | timed | speed)
            bar.update()
    return pd.concat([rows.reset_index(drop=True), pd.DataFrame(timings)], axis=1)


def _timed(of, seconds, threads, repeats, device) -> dict:
    """Time, memory and peak of the row `of` = (model, bands, stems)."""
    import torch

    from bsrnn import benchmark

    torch.manual_seed(0)
    network = {of[0]: separator(*of).to(device)}
    alone = threads == 1 and device == "cpu"
    clock = time.process_time if alone else time.perf_counter
    row = benchmark.measure(network, seconds, (threads,), repeats, channels=1, clock=clock)
    kept = ("median_s", "fastest_s", "real_time", "memory_mb", "peak_gflops")
    timings = {name: float(row[name].iloc[0]) for name in kept}
    return timings | {"chunks_per_s": 1 / timings["median_s"]}


def compared() -> pd.DataFrame:
    """The published table, ours beside it: a row per system, columns (quantity, "ours" or
    "published").

    Millions of parameters, MACs of 6 s, peak memory of a call with the weights (ours: on the CPU),
    batches of one 6 s chunk per second on CPU and GPU, and their ratio. NaN: not measured. Speed
    and memory are those of `data/measured`; `.attrs` names the devices.
    """
    rows, folder = table(), ROOT / "data" / "measured"
    kept = {kind: folder / f"complexity_{kind.lower()}.csv" for kind in DEVICES}
    runs = {kind: pd.read_csv(path) for kind, path in kept.items() if path.exists()}
    cpu, gpu = (runs.get(kind, pd.DataFrame(columns=["chunks_per_s"])) for kind in ("CPU", "GPU"))
    ours = {
        "parameters (M)": rows["parameters"] / 1e6,
        "MACs (G)": rows["macs"] / 1e9,
        "peak memory (MB)": cpu["memory_mb"] + 4e-6 * rows["parameters"],
        "batches/s, CPU": cpu["chunks_per_s"],
        "batches/s, GPU": gpu["chunks_per_s"],
    }
    theirs = dict(zip(ours, (rows[f"published_{column}"] for column in PUBLISHED), strict=True))
    columns = {}
    for who, of in (("ours", ours), ("published", theirs)):
        of["speedup"] = of["batches/s, GPU"] / of["batches/s, CPU"]
        columns |= {(quantity, who): values for quantity, values in of.items()}
    both = pd.DataFrame(columns, dtype=float).set_index(_systems(rows))
    both = both.reindex(columns=list(ours), level=0)
    both.attrs = {"published": DEVICES, "ours": {k: run["device"][0] for k, run in runs.items()}}
    return both


def _systems(rows) -> pd.Series:
    return (rows["model"] + " " + rows["bands"]).str.strip().rename("system")


def text(rows) -> str:
    """The table of `table` or `measured` as text for a terminal, with its source below it."""
    shown = pd.DataFrame({
        "model": _systems(rows),
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
