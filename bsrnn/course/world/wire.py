"""What travels between the two worlds: a frame of JSON and raw arrays that runs nothing."""

import json
import math
import struct
from dataclasses import dataclass

import numpy as np

HEADER = struct.Struct("<II")  # bytes of JSON, bytes of arrays
JSON_BYTES, ARRAY_BYTES = 2**21, 2**28
ITEMS, DEPTH = 100_000, 12
NUMBERS = "biufc"


@dataclass(frozen=True)
class Opaque:
    """A value that does not travel; `kind` names its type."""

    kind: str


class Faulty(Exception):
    """What came through the pipe is no frame."""


def packed(value, functions=None):
    """(JSON, arrays) of a value. `functions`: a list that takes callables, known by their place."""
    buffers: list[np.ndarray] = []
    budget = [ITEMS]

    def pack(value, depth=0):
        budget[0] -= 1
        if depth > DEPTH or budget[0] < 0:
            return {"opaque": "nested too deep, or too long"}
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int):
            return value if value.bit_length() < 64 else {"opaque": "int of more than 64 bits"}
        if isinstance(value, str):
            return value[:10_000]
        if isinstance(value, dict):
            return {"dict": [[pack(part, depth + 1) for part in pair] for pair in value.items()]}
        if isinstance(value, (list, tuple, set, frozenset, range)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [pack(item, depth + 1) for item in value]}
        if type(value).__module__ == "torch" and hasattr(value, "detach"):
            return {"tensor": pack(value.detach().cpu().resolve_conj().numpy(), depth)}
        if isinstance(value, (np.ndarray, np.generic, complex)):
            array = np.array(value, order="C", copy=True)
            if array.dtype.kind not in NUMBERS:
                return {"opaque": f"array of {array.dtype}"}
            buffers.append(array)
            return {"array": [array.dtype.str, list(array.shape)]}
        if callable(value) and functions is not None:
            functions.append(value)
            return {"function": len(functions) - 1}
        return {"opaque": value.kind if type(value) is Opaque else type(value).__name__}

    return pack(value), buffers


def unpacked(data, blob: bytes, call=None):
    """The value of `packed`. `call(place)`: stands for a function. Raises Faulty."""
    place = 0

    def array(dtype, shape):
        nonlocal place
        dtype, shape = np.dtype(str(dtype)), tuple(int(n) for n in shape)
        if dtype.kind not in NUMBERS or any(n < 0 for n in shape) or len(shape) > 32:
            raise Faulty("no array of numbers")
        count = math.prod(shape)
        if place + count * dtype.itemsize > len(blob):
            raise Faulty("an array that is longer than what came")
        value = np.frombuffer(blob, dtype, count, place).reshape(shape)
        place += value.nbytes
        return value.copy() if shape else value.copy()[()]

    def tensor(inner, depth):
        import torch

        return torch.from_numpy(np.array(unpack(inner, depth)))

    kinds = {
        "list": lambda inner, depth: [unpack(item, depth) for item in inner],
        "tuple": lambda inner, depth: tuple(unpack(item, depth) for item in inner),
        "dict": lambda inner, depth: {unpack(k, depth): unpack(v, depth) for k, v in inner},
        "opaque": lambda inner, depth: Opaque(str(inner)[:100]),
        "array": lambda inner, depth: array(*inner),
        "tensor": tensor,
    }
    if call is not None:
        kinds["function"] = lambda inner, depth: call(int(inner))

    def unpack(data, depth=0):
        if depth > 2 * DEPTH:
            raise Faulty("nested too deep")
        if not isinstance(data, (dict, list)):
            return data
        ((kind, inner),) = data.items()
        return kinds[kind](inner, depth + 1)

    try:
        return unpack(data)
    except (AttributeError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise Faulty(str(error)[:100]) from None
    except RecursionError:
        raise Faulty("nested too deep") from None


def frame(message: dict, value=None, functions=None) -> bytes:
    """A message with a value as bytes."""
    data, buffers = packed(value, functions)
    blob = b"".join(buffer.tobytes() for buffer in buffers)
    if len(blob) > ARRAY_BYTES:
        data, blob = {"opaque": f"{len(blob) >> 20} MB of numbers"}, b""
    text = json.dumps({**message, "value": data}).encode()
    if len(text) > JSON_BYTES:
        text, blob = json.dumps({**message, "value": {"opaque": "too long a value"}}).encode(), b""
    return HEADER.pack(len(text), len(blob)) + text + blob


def receive(read, call=None):
    """(message, value) of the next frame; `read(size)` gives so many bytes. Raises Faulty."""
    text, blob = HEADER.unpack(read(HEADER.size))
    if text > JSON_BYTES or blob > ARRAY_BYTES:
        raise Faulty("more than an answer may hold")
    try:
        message = json.loads(read(text))
    except (ValueError, RecursionError, MemoryError):
        raise Faulty("no JSON") from None
    if not isinstance(message, dict) or "value" not in message:
        raise Faulty("no message")
    return message, unpacked(message.pop("value"), read(blob), call)
