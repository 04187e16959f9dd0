"""What travels between the two worlds: a frame of JSON and raw arrays that runs nothing."""

import json
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

    def pack(value, depth):
        budget[0] -= 1
        if depth > DEPTH or budget[0] < 0:
            return {"opaque": "nested too deep, or too long"}
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int):
            return value if value.bit_length() < 64 else {"opaque": "int of more than 64 bits"}
        if isinstance(value, str):
            return value[:10_000]
        if isinstance(value, complex):
            return pack(np.complex128(value), depth)
        if isinstance(value, dict):
            pairs = [[pack(k, depth + 1), pack(v, depth + 1)] for k, v in value.items()]
            return {"dict": pairs}
        if isinstance(value, (list, tuple, set, frozenset, range)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [pack(item, depth + 1) for item in value]}
        if isinstance(value, Opaque):
            return {"opaque": value.kind}
        if type(value).__module__ == "torch" and hasattr(value, "detach"):
            return {"tensor": pack(value.detach().cpu().resolve_conj().numpy(), depth)}
        if isinstance(value, (np.ndarray, np.generic)):
            return array(np.asarray(value))
        if callable(value) and functions is not None:
            functions.append(value)
            return {"function": len(functions) - 1}
        return {"opaque": type(value).__name__}

    def array(value):
        if value.dtype.kind not in NUMBERS:
            return {"opaque": f"array of {value.dtype}"}
        value = np.array(value, order="C", copy=True)
        buffers.append(value)
        return {"array": [value.dtype.str, list(value.shape)]}

    return pack(value, 0), buffers


def unpacked(data, blob: bytes, call=None):
    """The value of `packed`. `call(place)`: stands for a function. Raises Faulty."""
    place = 0

    def unpack(data, depth):
        nonlocal place
        if depth > 2 * DEPTH:
            raise Faulty("nested too deep")
        if not isinstance(data, dict):
            if isinstance(data, list):
                raise Faulty("a bare list")
            return data
        ((kind, inner),) = data.items()
        if kind == "list":
            return [unpack(item, depth + 1) for item in inner]
        if kind == "tuple":
            return tuple(unpack(item, depth + 1) for item in inner)
        if kind == "dict":
            return {unpack(k, depth + 1): unpack(v, depth + 1) for k, v in inner}
        if kind == "opaque":
            return Opaque(str(inner)[:100])
        if kind == "function" and call is not None:
            return call(int(inner))
        if kind == "tensor":
            import torch

            return torch.from_numpy(np.array(unpack(inner, depth + 1)))
        if kind != "array":
            raise Faulty(f"a {kind}"[:50])
        dtype, shape = np.dtype(str(inner[0])), tuple(int(n) for n in inner[1])
        if dtype.kind not in NUMBERS or any(n < 0 for n in shape) or len(shape) > 32:
            raise Faulty("no array of numbers")
        count = 1
        for n in shape:
            count *= n
        size = count * dtype.itemsize
        if place + size > len(blob):
            raise Faulty("an array that is longer than what came")
        value = np.frombuffer(blob, dtype, count, place).reshape(shape)
        place += size
        return value.copy() if shape else value.copy()[()]

    try:
        return unpack(data, 0)
    except (ValueError, TypeError, KeyError, RecursionError, IndexError, OverflowError) as error:
        raise Faulty(str(error)[:100]) from None


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


def parsed(text: bytes) -> dict:
    """The JSON of a frame. Raises Faulty."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError, MemoryError):
        raise Faulty("no JSON") from None
    if not isinstance(message, dict) or "value" not in message:
        raise Faulty("no message")
    return message


def receive(stream, call=None):
    """(message, value) of the next frame of a trusted stream; None at its end."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    text, blob = (stream.read(size) for size in HEADER.unpack(header))
    message = parsed(text)
    return message, unpacked(message.pop("value"), blob, call)
