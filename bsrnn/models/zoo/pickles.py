"""Torch's files read without running anything: tensors, plain values, stand-ins for the rest.

torch's weights-only reader refuses a file for any class that it does not know. Here a class of
somebody else's becomes a stand-in that runs nothing; only what rebuilds tensors is real, and no
tensor is larger than what the file holds of it.
"""

import collections
import contextlib
import math
import pickle
import struct
import zipfile
from pathlib import Path

import torch

from bsrnn.common import DataError

MAGIC = 0x1950A86A20F9469CFC6C  # how torch files from before zip begin
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
    with _one_line(path), zipfile.ZipFile(path) as archive:
        return _ZipReader(path, archive).load()


def read_old(path):
    """The object in a torch file from before zip: three pickles ahead of it, its weights behind.
    Raises DataError."""
    with _one_line(path), open(path, "rb") as file:
        magic, *_ = (_Reader(path, file).load() for _ in range(3))
        if magic != MAGIC:
            raise DataError(f"{path}: it is no plain torch file; get another file")
        reader = _Reader(path, file)
        content, order = reader.load(), _Reader(path, file).load()
        for key in order:
            storage = reader.storages[key]
            (count,) = struct.unpack("<q", file.read(8))
            data = file.read(count * storage.itemsize) if count == len(storage) else b""
            if len(data) != storage.nbytes:
                raise DataError(f"{path}: incomplete: download it again")
            if data:
                storage.copy_(torch.frombuffer(bytearray(data), dtype=storage.dtype))
        return content


@contextlib.contextmanager
def _one_line(path):
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # a broken file makes the reader fail in any way
        words = " ".join(str(error).split())[:80] or type(error).__name__
        raise DataError(f"{path}: not a readable torch file ({words})") from None


class _Reader(pickle.Unpickler):
    """Reads a pickle of torch; its weights are made here, as many as the file can hold."""

    def __init__(self, path, file):
        self.path, self.storages = path, {}
        self.left = Path(path).stat().st_size  # bytes that weights may still take
        super().__init__(file)

    def find_class(self, module: str, name: str):
        if module.split(".")[0] in HOSTILE or (module == "builtins" and name in RUNNING):
            words = f"refused, because it wants to run {module}.{name}; get another file"
            raise DataError(f"{self.path}: {words}")
        if module == "torch._utils" and name.startswith("_rebuild_parameter"):
            return lambda data, *_: data
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        stand_in = type("StandIn", (StandIn,), {"name": f"{module}.{name}"})
        return KNOWN.get(module, {}).get(name, stand_in)

    def persistent_load(self, key):
        _, dtype, name, _, count = key[:5]
        if not isinstance(dtype, torch.dtype):
            raise DataError(f"{self.path}: a weight depends on {getattr(dtype, 'name', dtype)}")
        if name not in self.storages:
            wanted, held = count * dtype.itemsize, self.held(name)
            if wanted != held if held is not None else not 0 <= wanted <= self.left:
                there = self.left if held is None else held
                raise DataError(
                    f"{self.path}: declares {wanted} bytes of weights where it holds {there}: "
                    "download it again"
                )
            self.left -= wanted
            self.storages[name] = self.storage(name, dtype, count)
        return self.storages[name]

    def held(self, name) -> int | None:
        """Bytes of the weights `name`, where the file tells before they are read."""
        return None

    def storage(self, name, dtype, count):
        return torch.empty(count, dtype=dtype)


class _ZipReader(_Reader):
    def __init__(self, path, archive: zipfile.ZipFile):
        self.archive = archive
        entries = [entry for entry in archive.infolist() if entry.filename.endswith("data.pkl")]
        if not entries:
            raise DataError(f"{path}: a zip file, but no torch file: unpack it first")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise DataError(f"{path}: compressed weights: save it again with torch")
        self.root = entries[0].filename.removesuffix("data.pkl")
        super().__init__(path, archive.open(entries[0]))

    def held(self, name) -> int:
        return min(self.archive.getinfo(f"{self.root}data/{name}").file_size, self.left)

    def storage(self, name, dtype, count):
        data = bytearray(self.archive.read(f"{self.root}data/{name}"))
        return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)


def _tensor(storage, offset, size, stride, *_):
    """A view of a storage, which bounds it: torch refuses what lies outside."""
    if math.prod(size) > len(storage):
        raise ValueError(f"a tensor of shape {tuple(size)} in {len(storage)} numbers")
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


KNOWN = {  # module -> what is read as it is
    "torch._utils": {"_rebuild_tensor": _tensor, "_rebuild_tensor_v2": _tensor},
    "torch": {"Size": torch.Size, **_DTYPES},
    "collections": {
        "OrderedDict": collections.OrderedDict, "defaultdict": _Mapping, "Counter": _Mapping,
    },
    "builtins": _PLAIN,
}  # fmt: skip
