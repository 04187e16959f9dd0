"""Networks for machines without torch's speed: OpenVINO and ONNX, the STFT left outside.

    export(separator, "vocals.xml", seconds=6)     # or "vocals.onnx"
    deployed = load("vocals.xml", threads=4)       # the same interface: `bsrnn.separate` takes it

What is exported has real tensors only: for a band-split network the spectrum in and the masks out,
for D3Net magnitudes. Configuration and passport travel inside the file. Several networks (a bag,
D3Net's targets) become a folder with a file each.

Conventions
    The graph has a fixed size: one chunk of `seconds` (D3Net: its patch) of one mixture. Other
    lengths are cut by `bsrnn.separation`. OpenVINO computes in bf16 where the CPU has it unless it
    is told not to; here float32 is pinned and "bf16" is an option. D3Net magnifies rounding about a
    hundred times: listen before you use bf16 there.
"""

import copy
import json
import math
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bsrnn.common import DataError, UsageError, choose, optional
from bsrnn.models.bsrnn import BandSplitSeparator
from bsrnn.models.config import ModelConfig
from bsrnn.models.zoo import checkpoints
from bsrnn.models.zoo.bag import SeparatorBag
from bsrnn.models.zoo.d3net import D3NetSeparator
from bsrnn.models.zoo.d3net_config import D3NetConfig

FORMATS = {"openvino": ".xml", "onnx": ".onnx"}
PRECISIONS = {"fp32": "f32", "bf16": "bf16"}  # ours -> OpenVINO's
OPSET = 18  # of ONNX
KEY = "bsrnn"  # of our record in a file's metadata


class _Masks(nn.Module):
    """Real spectrum (B, C, T, F, 2) -> masks (P, B, S, C, F, T), P = real and imaginary part."""

    def __init__(self, separator):
        super().__init__()
        self.split, self.sequence = separator.split, separator.sequence
        self.masks = nn.ModuleList(separator.masks.values())

    def forward(self, x):
        z = self.sequence(self.split(x))
        return torch.stack([head.parts(z) for head in self.masks], dim=2)


def export(separator, path, format: str | None = None, seconds: float = 6.0) -> Path:
    """Write the network(s) of `separator` to `path`: a .xml (with its .bin) or .onnx file, or for
    several networks a folder of them. Returns the path.

    format: "openvino" or "onnx"; default: by the suffix of `path`. seconds: length of a chunk.
    Raises UsageError for networks that take a query, and naming the pip command of what is missing.
    """
    path = Path(path)
    kinds = {suffix: name for name, suffix in FORMATS.items()}
    format = choose(format or kinds.get(path.suffix, path.suffix), FORMATS, "deployment format")
    parts = _single(separator)
    if len(parts) == 1:
        if path.suffix != FORMATS[format]:
            raise UsageError(f"{path.name}: the file of {format} ends in {FORMATS[format]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(parts[0], path, format, seconds, separator.stems)
        return path
    if path.suffix:
        raise UsageError(f"{path.name}: {len(parts)} networks need a folder, without a suffix")
    path.mkdir(parents=True, exist_ok=True)
    for one in parts:
        _write(one, path / f"{one.stems[0]}{FORMATS[format]}", format, seconds, separator.stems)
    return path


def _single(separator) -> list:
    """Separators of one network each."""
    if isinstance(separator, SeparatorBag):
        return [one for part in separator.separators for one in _single(part)]
    if isinstance(separator, D3NetSeparator):
        return [separator.alone(stem) for stem in separator.stems]
    if not isinstance(separator, BandSplitSeparator) or separator.film is not None:
        raise UsageError("only band-split networks without a query and D3Net can be exported")
    return [separator]


def _graph(separator, seconds):
    """(module, example input, configuration) of one network, on the CPU in evaluation mode."""
    config = separator.config
    if isinstance(separator, D3NetSeparator):
        items = 2 if config.flip and config.channels == 2 else 1
        shape = items, config.channels, config.targets[0].patch, config.stft.bins
        return separator.networks[config.stems[0]], torch.rand(shape), config
    frames = config.frames or max(2, math.ceil(seconds * config.sample_rate / config.stft.hop) + 1)
    items = config.channels if config.channel_handling == "independent" else 1
    shape = items, config.joint_channels, frames, config.stft.bins, 2
    return _Masks(separator), torch.randn(shape), replace(config, frames=frames)


def _write(separator, path: Path, format: str, seconds: float, stems) -> None:
    """One network; the file gets its name when it is complete."""
    module, example, config = _graph(copy.deepcopy(separator).cpu().eval(), seconds)
    record = {
        "config": config.to_json(),
        "batch": len(example),
        "order": list(stems),  # of all networks in the folder
        "passport": separator.passport,
    }
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")  # advice of the tracers
            _WRITERS[format](module, example, Path(folder) / path.name, json.dumps(record))
        for file in sorted(Path(folder).iterdir()):  # .bin before .xml
            file.replace(path.parent / file.name)


def _write_openvino(module, example, path, record):
    openvino = optional("openvino")
    # Convert with free sizes and fix them afterwards: with sizes given at once an LSTM becomes a
    # loop that is slower than torch, and torch.export unrolls it step by step.
    traced = torch.jit.trace(module, example, check_trace=False)
    model = openvino.convert_model(traced, example_input=example)
    model.reshape(openvino.PartialShape(list(example.shape)))
    model.set_rt_info(record, [KEY])
    openvino.save_model(model, path, compress_to_fp16=False)


def _write_onnx(module, example, path, record):
    onnx = optional("onnx")
    torch.onnx.register_custom_op_symbolic("aten::index_add", _index_add, OPSET)
    torch.onnx.export(
        module, (example,), path, input_names=["x"], output_names=["y"], dynamo=False,
        opset_version=OPSET,
    )  # fmt: skip
    model = onnx.load(path)
    model.metadata_props.add(key=KEY, value=record)
    onnx.save(model, path)


def _index_add(graph, x, dim, index, source, alpha=None):
    """index_add along the last axis for the exporter, whose own refuses an index that repeats."""
    everywhere = graph.op("Expand", index, graph.op("Shape", source))
    return graph.op("ScatterElements", x, everywhere, source, axis_i=-1, reduction_s="add")


_WRITERS = {"openvino": _write_openvino, "onnx": _write_onnx}


class _Runner:
    """A compiled network: tensor (n, ...) -> tensor (m, ...), `batch` items at a time."""

    def __init__(self, call, batch: int, axis: int):
        self.call, self.batch, self.axis = call, batch, axis  # axis of the items in the output

    def __call__(self, x):
        found = []
        for part in x.detach().float().cpu().split(self.batch):
            missing = self.batch - len(part)
            array = np.pad(part.numpy(), [(0, missing)] + [(0, 0)] * (part.dim() - 1))
            y = torch.from_numpy(self.call(array))
            found.append(y.narrow(self.axis, 0, len(part)))
        return torch.cat(found, dim=self.axis)


class DeployedBandSplit(BandSplitSeparator):
    """A BandSplitSeparator whose network is a compiled graph; it takes chunks of one length."""

    def __init__(self, config: ModelConfig, runner, passport):
        nn.Module.__init__(self)
        self.config, self.passport, self.film = config, passport, None
        self.split = lambda spectrum: runner(torch.view_as_real(spectrum.transpose(-1, -2)))
        self.sequence = lambda masks: masks  # (P, B, S, C, F, T)
        self.masks = {stem: _Head(row) for row, stem in enumerate(config.heads)}
        self.eval()


class _Head:
    """Picks the mask of one stem from all of them: (P, B, S, C, F, T) -> (B, C, F, T)."""

    def __init__(self, row: int):
        self.row = row

    def __call__(self, masks):
        parts = masks[:, :, self.row]  # (P, B, C, F, T)
        return torch.complex(*parts) if len(parts) == 2 else parts[0]


class DeployedD3Net(D3NetSeparator):
    """A D3NetSeparator whose networks are compiled graphs."""

    def __init__(self, config: D3NetConfig, runners: dict, passport):
        nn.Module.__init__(self)
        self.config, self.networks, self.passport = config, runners, passport
        self.eval()


def load(path, threads: int = 0, precision: str = "fp32"):
    """A separator from an exported file or folder; runs on the CPU in `threads` threads (0: all).

    precision "bf16" (OpenVINO only) is faster where the CPU has it and less exact. Raises
    UsageError naming the pip command if openvino or onnxruntime is absent, DataError for others'
    files.
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix in FORMATS.values())
    if not files or not files[0].is_file():
        raise UsageError(f"{path}: no exported network: write one with bsrnn.deploy.export")
    choose(precision, PRECISIONS, "precision")
    parts = [_read(file, threads, precision) for file in files]
    parts.sort(key=lambda one: one.order.index(one.stems[0]))
    if all(isinstance(one, DeployedD3Net) for one in parts):
        return _joined(parts)
    return parts[0] if len(parts) == 1 else SeparatorBag(parts)


def _joined(parts) -> DeployedD3Net:
    """All targets share one Wiener filter."""
    runners = {stem: runner for one in parts for stem, runner in one.networks.items()}
    targets = tuple(one.config.targets[0] for one in parts)
    config = replace(parts[0].config, stems=tuple(runners), targets=targets)
    return DeployedD3Net(config, runners, parts[0].passport)


def _read(path: Path, threads: int, precision: str):
    if path.suffix == FORMATS["openvino"]:
        call, record = _read_openvino(path, threads, precision)
    elif path.suffix == FORMATS["onnx"]:
        call, record = _read_onnx(path, threads, precision)
    else:
        raise UsageError(f"{path.name}: exported networks end in {', '.join(FORMATS.values())}")
    try:
        record = json.loads(record)
        config = checkpoints.read_config(record["config"])
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path.name}: not written by bsrnn.deploy.export") from None
    passport = {**record["passport"], "file": path.name}
    d3net = isinstance(config, D3NetConfig)
    runner = _Runner(call, record["batch"], 0 if d3net else 1)
    if d3net:
        separator = DeployedD3Net(config, {config.stems[0]: runner}, passport)
    else:
        separator = DeployedBandSplit(config, runner, passport)
    separator.order = record["order"]
    return separator


def _read_openvino(path, threads, precision):
    openvino = optional("openvino")
    core = openvino.Core()
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:80]
        raise DataError(f"{path.name}: OpenVINO cannot read it ({reason})") from None
    record = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else "null"
    settings = {"INFERENCE_PRECISION_HINT": PRECISIONS[precision]}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = core.compile_model(model, "CPU", settings)

    def call(array):  # a request of its own: songs may be separated in several threads
        return compiled.create_infer_request().infer([array])[0]

    return call, record


def _read_onnx(path, threads, precision):
    onnxruntime = optional("onnxruntime")
    if precision != "fp32":
        raise UsageError("the ONNX runtime computes in fp32 here: use OpenVINO for bf16")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no class
        reason = str(error).splitlines()[0][:80]
        raise DataError(f"{path.name}: ONNX Runtime cannot read it ({reason})") from None
    record = session.get_modelmeta().custom_metadata_map.get(KEY, "null")
    return lambda array: session.run(None, {"x": array})[0], record


def deployed(separator, backend="openvino", threads: int = 0, seconds=6.0, precision="fp32"):
    """`separator` through `backend` at once: `export` to a temporary place, then `load`."""
    choose(backend, FORMATS, "backend")
    single = len(_single(separator)) == 1
    with tempfile.TemporaryDirectory() as folder:
        name = f"network{FORMATS[backend]}" if single else "networks"
        path = export(separator, Path(folder) / name, backend, seconds)
        return load(path, threads, precision)
