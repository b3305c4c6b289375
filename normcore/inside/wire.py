"""What crosses the sandbox's wall, in which form, for both sides.

A frame is 4 bytes with the length of a JSON header, the header, and as many bytes as its "bytes" says:
arrays in NumPy's format 1.0, one after the other.

    in    the job      {"steps", "tasks", "seed", "limits"}          all inputs
    out   an answer    {"task", "seen" | "error" | "late" | "ended"}  the outputs, case by case
    out   a call       {"call", "task", "given", "named"}            its arguments
    in    its reply    {"returned"} or {"error"}                     what the function returned

A call asks the outside to run a function that the sandbox must not see. What comes out may be anything: it is
read as numbers or not at all, in no more memory than was sent.
"""

import io
import json
import math
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

__all__ = [
    "MAX_ARRAY_HEADER", "MAX_HEADER", "Arrays", "Frame", "Frames", "WireError", "frame", "pack", "read",
    "read_outputs", "receive", "unpack", "write", "write_array",
]  # fmt: skip

MAX_HEADER = 65_536  # bytes of a header from inside
MAX_ARRAY_HEADER = 1000  # characters of an array's
OUTPUTS = ("float64", "bool")
NUMBERS = ("float32", "float64", "int64", "bool")

Frame = tuple[dict, bytes]


class WireError(ValueError):
    """What came out of the sandbox is not what it should be."""


def frame(header: Mapping[str, object], body: bytes = b"") -> bytes:
    """One frame."""
    text = json.dumps({**header, "bytes": len(body)}).encode()
    return struct.pack(">I", len(text)) + text + body


def read(data: bytes) -> Frame:
    """One whole frame of our own: header and body."""
    (length,) = struct.unpack_from(">I", data)
    return json.loads(data[4 : 4 + length]), data[4 + length :]


class Frames:
    """Frames from inside, as their bytes arrive; after something unreadable nothing is read any more."""

    def __init__(self) -> None:
        self._left = bytearray()
        self._broken = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Those that are whole now."""
        if self._broken:
            return
        self._left += data
        while (found := self._first()) is not None:
            header, start, end = found
            body = bytes(self._left[start:end])
            del self._left[:end]
            yield header, body

    def _first(self) -> tuple[dict, int, int] | None:
        if self._broken or len(self._left) < 4:
            return None
        (length,) = struct.unpack_from(">I", self._left)
        start = 4 + length
        self._broken = length > MAX_HEADER
        if self._broken or len(self._left) < start:
            return None
        try:
            header = json.loads(self._left[4:start])
            size = header["bytes"]
            self._broken = not isinstance(header["task"], str) or type(size) is not int or size < 0
        except (ValueError, KeyError, TypeError, RecursionError):
            self._broken = True
        if self._broken or len(self._left) < start + size:
            return None
        return header, start, start + size


class Arrays(io.BytesIO):
    """A frame's body, to be read from; the arrays that are read from it lie where it lies."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


def pack(value: object, body: io.BytesIO, functions: Sequence[Callable] = ()) -> object:
    """A value as JSON; its arrays go to `body`, and for a function stands its place in `functions`."""
    if isinstance(value, np.ndarray):
        write_array(body, value)
        return {"array": True}
    if isinstance(value, np.generic):
        return value.item()  # a number of numpy's is a number: an array of it would become a tensor
    if isinstance(value, tuple):
        return {"tuple": [pack(v, body, functions) for v in value]}
    if isinstance(value, list):
        return [pack(v, body, functions) for v in value]
    if callable(value):
        return {"function": next(i for i, f in enumerate(functions) if f is value)}
    return value


def unpack(
    described: object, body: Arrays, function: Callable[[int], Callable] | None = None, depth: int = 0
) -> object:
    """What `pack` was given; where it came from inside, numbers and nothing else.

    Args:
        described: as `pack` returned it.
        body: the arrays, read from where it stands.
        function: what a function's place stands for; without it none may come.

    Raises:
        WireError: it cannot be read.
    """
    if depth > 4:
        raise WireError("it cannot be read")
    if isinstance(described, list):
        return [unpack(v, body, function, depth + 1) for v in described]
    if isinstance(described, dict):
        if described == {"array": True}:
            return _read_array("it", body, NUMBERS)
        if described.keys() == {"tuple"} and isinstance(described["tuple"], list):
            return tuple(unpack(v, body, function, depth + 1) for v in described["tuple"])
        if function and described.keys() == {"function"}:
            return function(described["function"])
        raise WireError("it cannot be read")
    return described


def write_array(body: io.BytesIO, array: np.ndarray) -> None:
    """Append an array."""
    np.lib.format.write_array(body, array, version=(1, 0), allow_pickle=False)


def read_outputs(names: Sequence[str], count: int, data: bytes) -> list[dict[str, np.ndarray]]:
    """Of each of `count` cases its outputs by name, and nothing else.

    Raises:
        WireError: anything else; says what.
    """
    body = Arrays(data)
    outputs = [{name: _read_array(name, body, OUTPUTS) for name in names} for _ in range(count)]
    if body.tell() != len(data):
        raise WireError("it returned more than it should")
    return outputs


def _read_array(name: str, body: Arrays, dtypes: Sequence[str]) -> np.ndarray:
    try:
        version = np.lib.format.read_magic(body)
        head = np.lib.format.read_array_header_1_0(body, MAX_ARRAY_HEADER) if version == (1, 0) else None
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError):
        head = None
    if head is None:
        raise WireError("what it returned cannot be read")
    shape, fortran_order, dtype = head
    if dtype not in [np.dtype(d) for d in dtypes]:
        raise WireError(f"{name} is no array of numbers")
    size, start = math.prod(shape), body.tell()
    if min(shape, default=0) < 0 or len(shape) > 64 or size * dtype.itemsize > len(body.data) - start:
        raise WireError("what it returned cannot be read")
    body.seek(size * dtype.itemsize, io.SEEK_CUR)
    array = np.frombuffer(body.data, dtype, size, start) if size else np.empty(0, dtype)
    return array.reshape(shape, order="F" if fortran_order else "C")


def write(descriptor: int, data: bytes) -> None:
    """All of it, however long the other side takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def receive(descriptor: int) -> Frame:
    """One frame of ours, waited for.

    Raises:
        EOFError: the other side has ended.
    """
    (length,) = struct.unpack(">I", _exactly(descriptor, 4))
    header = json.loads(_exactly(descriptor, length))
    return header, _exactly(descriptor, header["bytes"])


def _exactly(descriptor: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(descriptor, min(size - len(data), 65_536))
        if not chunk:
            raise EOFError("the grader has ended")
        data += chunk
    return bytes(data)
