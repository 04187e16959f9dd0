"""Files of D3Net: the official NNabla weights, `<target>.h5`, one target or four to a file.

An .h5 of NNabla is plain HDF5: the path of a group is the name of a parameter, the leaf a float32
array; everything stands below the target's name. It is read with h5py; NNabla is not needed.
"""

from pathlib import Path

import torch

from bsrnn.common import DataError, UsageError, optional
from bsrnn.models.zoo.checkpoints import bounded, guarded, load_strictly, settings_beside
from bsrnn.models.zoo.d3net import D3NetSeparator
from bsrnn.models.zoo.d3net_config import TARGETS, D3NetConfig
from bsrnn.models.zoo.layouts import renamed

# Our names -> the original's, applied in this order.
_NAMES = [
    (r"^offset$", "in_offset"),
    (r"^scale$", "in_scale"),
    (r"^out_(scale|bias)$", r"decode_\1"),
    (r"^first_full\.", "features_init_full/conv/"),
    (r"^first\.(\d+)\.", r"features_init/\1/conv/"),
    (r"^stacks\.(\d+)\.", r"dense_band/\1/"),
    (r"^full\.", "dense_full/"),
    (r"^match\.(\d+)\.0\.", r"match_fm_conv/\1/norm/bn/"),
    (r"^match\.(\d+)\.1\.", r"match_fm_conv/\1/conv/conv/"),
    (r"^gate_norm\.", "out_gate/bn/bn/"),
    (r"^gate\.", "out_gate/conv_gate/conv/conv/"),
    (r"^filter\.", "out_gate/conv_filt/conv/conv/"),
    (r"^last\.layers\.(\d+)\.", r"final_dense/layers/layer\1/bottleneck/"),
    (r"/down\.(\d+)\.", r"/ds_layers/dense_block\1/"),
    (r"/up\.(\d+)\.", r"/us_layers/dense_block\1/"),
    (r"/bottom\.", "/bottleneck_block/"),
    (r"/upsample\.(\d+)\.norm\.", r"/us_layers/upsample\1/upsample/norm/bn/"),
    (r"/upsample\.(\d+)\.conv\.", r"/us_layers/upsample\1/upsample/transconv/deconv/"),
    (r"/layers\.(\d+)\.layers\.(\d+)\.", r"/layers/layer\1/layers/layer\2/bottleneck/"),
    (r"(/|^)layers/layer0/bottleneck/", r"\1initial_layer/bottleneck/"),
    (r"(/|^)layers/layer0/", r"\1initial_block/"),
    (r"norm\.(?=\w+$)", "norm1/bn/"),
    (r"(/|^)conv\.(?=\w+$)", r"\1conv1/conv/"),
    (r"bn/weight$", "bn/gamma"),
    (r"bn/bias$", "bn/beta"),
    (r"bn/running_(mean|var)$", r"bn/\1"),
    (r"/weight$", "/W"),
    (r"/bias$", "/b"),
]


def theirs(name: str) -> str | None:
    """The original's name of one of our parameters; None for a counter that it lacks.

    >>> theirs("full.up.5.layers.1.layers.0.conv.weight")
    'dense_full/us_layers/dense_block5/layers/layer1/initial_layer/bottleneck/conv1/conv/W'
    """
    if name.endswith("num_batches_tracked"):
        return None
    (other,), _ = renamed(name, _NAMES)
    return other


def from_nnabla(found: dict, config: D3NetConfig, what="the D3Net file") -> D3NetSeparator:
    """A separator in evaluation mode from target -> {NNabla's name: array}; strict."""
    separator = D3NetSeparator(config, {"family": "d3net"})
    for stem in config.stems:
        network, arrays = separator.networks[stem], dict(found[stem])
        state = network.state_dict()
        for name, own in state.items():
            other = theirs(name)
            if other is None:
                continue
            if other not in arrays:
                raise DataError(f"{what} misses {stem}/{other}")
            tensor = torch.as_tensor(arrays.pop(other))
            flat = own.dim() == 1 and tensor.dim() == 4  # (1, c, 1, 1) -> (c,)
            state[name] = tensor.flatten() if flat else tensor
        if arrays:
            raise DataError(f"{what} has {len(arrays)} unknown tensors, such as {min(arrays)}")
        load_strictly(network, state, what)
    return separator.eval()


def read_h5(path) -> dict:
    """target -> {NNabla's name: float32 array} of an .h5 file.

    Only arrays in the file itself are read, and no more numbers than it has bytes for: a file may
    name other files, or declare what it does not hold.
    """
    h5py, path = optional("h5py"), Path(path)
    targets: dict[str, dict] = {}
    left = path.stat().st_size
    try:
        with h5py.File(path, "r") as file:
            for stem in file:
                if not isinstance(file.get(stem, getlink=True), h5py.HardLink):
                    raise DataError(f"{path}: {stem} lies in another file: get the whole file")
                arrays = []
                file[stem].visititems(lambda name, item, to=arrays: to.append((name, item)))
                arrays = [(n, item) for n, item in arrays if isinstance(item, h5py.Dataset)]
                left -= sum(_bytes(item, path) for _, item in arrays)
                if left < 0:
                    raise DataError(f"{path}: declares more numbers than it holds: get it again")
                targets[stem] = {name: item[()] for name, item in arrays}
    except (OSError, AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise DataError(f"{path}: not a readable HDF5 file ({str(error)[:60]})") from None
    return targets


def _bytes(item, path) -> int:
    """What an array takes in memory; a DataError if it lies in another file or is no numbers."""
    if item.external or item.is_virtual:
        raise DataError(f"{path}: {item.name} lies in another file: get the whole file")
    if item.dtype.kind != "f":
        raise DataError(f"{path}: {item.name} holds no numbers")
    return item.nbytes


def load_h5(path, settings: dict) -> D3NetSeparator:
    """One separator in evaluation mode for all targets in the file `path`.

    settings: the original's yaml as a dictionary; empty: from a YAML file beside it, else the
    published ones of each target.
    """
    targets, path = read_h5(path), Path(path)
    settings = settings or settings_beside(path)
    with guarded(path.name):
        stems = tuple(sorted(targets, key=lambda stem: ([*TARGETS, stem].index(stem), stem)))
        if not stems:
            raise DataError("holds no weights")
        config = D3NetConfig(stems)
        try:
            config = D3NetConfig.from_original(settings, stems) if settings else config
        except KeyError as error:
            raise UsageError(f"its settings lack {error.args[0]}") from None
        arrays = {f"{s}/{n}": torch.as_tensor(x) for s in stems for n, x in targets[s].items()}
        bounded([config], arrays)
    separator = from_nnabla(targets, config, path.name)
    separator.passport["file"] = path.name
    return separator
