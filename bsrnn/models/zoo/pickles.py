"""Torch's zip files read without running anything: tensors, plain values, stand-ins for the rest.

torch's weights-only reader refuses a file for any class that it does not know, though the weights
seldom depend on one. Here a class of somebody else's becomes a stand-in that runs nothing; only
what rebuilds tensors is real, and no tensor is larger than what the file holds of it.
"""

import collections
import pickle
import zipfile

import torch

from bsrnn.common import DataError

# Modules that no settings and no progress need: a file that names one was made to attack.
HOSTILE = {"os", "posix", "nt", "subprocess", "socket", "shutil", "runpy", "ctypes", "webbrowser"}
RUNNING = {"eval", "exec", "compile", "__import__", "open", "getattr", "setattr", "breakpoint"}
_PLAIN = {
    "dict": dict, "list": list, "int": int, "str": str, "float": float, "bool": bool, "set": set,
    "tuple": tuple, "complex": complex,
}  # fmt: skip
_DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool, "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}  # fmt: skip


class StandIn:
    """In the place of a class, a function or an object of theirs: keeps its state, runs nothing."""

    name = "an object"

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        self.state = state

    def __call__(self, *args, **kwargs):
        return StandIn()

    def __setitem__(self, key, value):
        self.__dict__.setdefault("items", {})[key] = value

    def append(self, value):
        self.__dict__.setdefault("values", []).append(value)

    def extend(self, values):
        for value in values:
            self.append(value)

    add = append


class _Mapping(dict):
    """A dictionary with something more (a default, an order): its entries count."""

    def __init__(self, *args, **kwargs):
        super().__init__()


def read(path):
    """The object in a torch zip file. Raises DataError."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(path, archive).load()
    except DataError:
        raise
    except Exception as error:  # a broken file makes the reader fail in any way
        words = " ".join(str(error).split())[:80] or type(error).__name__
        raise DataError(f"{path}: not a readable torch file ({words})") from None


class _Reader(pickle.Unpickler):
    def __init__(self, path, archive: zipfile.ZipFile):
        self.path, self.archive, self.storages = path, archive, {}
        entries = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if not entries:
            raise DataError(f"{path}: a zip file, but no torch file: unpack it first")
        self.root = entries[0].removesuffix("data.pkl")
        super().__init__(archive.open(entries[0]))

    def find_class(self, module: str, name: str):
        if module.split(".")[0] in HOSTILE or (module == "builtins" and name in RUNNING):
            words = f"refused, because it wants to run {module}.{name}; get another file"
            raise DataError(f"{self.path}: {words}")
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return _tensor
        if module == "torch._utils" and name.startswith("_rebuild_parameter"):
            return lambda data, *_: data
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if (module, name) == ("torch", "Size"):
            return torch.Size
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) in (("collections", "defaultdict"), ("collections", "Counter")):
            return _Mapping
        if module == "builtins" and name in _PLAIN:
            return _PLAIN[name]
        return type("StandIn", (StandIn,), {"name": f"{module}.{name}"})

    def persistent_load(self, key):
        _, dtype, name, _, count = key
        if not isinstance(dtype, torch.dtype):
            raise DataError(f"{self.path}: a weight depends on {getattr(dtype, 'name', dtype)}")
        if name not in self.storages:
            entry = self.archive.getinfo(f"{self.root}data/{name}")
            if entry.file_size != count * dtype.itemsize:
                raise DataError(
                    f"{self.path}: declares {count * dtype.itemsize} bytes of weights where it "
                    f"holds {entry.file_size}: download it again"
                )
            if entry.compress_type != zipfile.ZIP_STORED:
                raise DataError(f"{self.path}: compressed weights: save it again with torch")
            data = bytearray(self.archive.read(entry))
            empty = torch.empty(0, dtype=dtype)
            self.storages[name] = torch.frombuffer(data, dtype=dtype) if data else empty
        return self.storages[name]


def _tensor(storage, offset, size, stride, *_):
    """A view of a storage, which bounds it: torch refuses what lies outside."""
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)
