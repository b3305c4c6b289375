"""Plain arrays and numbers as bytes, and back, without pickle: nothing is executed on reading."""

import io
import json
import zipfile
from collections.abc import Mapping

import numpy as np

__all__ = ["decode", "encode"]

PLAIN = "plain.json"


def encode(values: Mapping[str, object]) -> bytes:
    """Arrays and plain values by name, as the bytes of an npz archive.

    Raises:
        TypeError: a value that is neither a numeric array nor plain (number, flag, str, None, tuple).
    """
    buffer = io.BytesIO()
    arrays = {k: v for k, v in values.items() if isinstance(v, np.ndarray)}
    plain = {k: v for k, v in values.items() if not isinstance(v, np.ndarray)}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name}: arrays must be numeric, but it is {array.dtype}")
    np.savez(buffer, **{f"array/{k}": v for k, v in arrays.items()})
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(PLAIN, json.dumps(plain))
    return buffer.getvalue()


def decode(data: bytes) -> dict[str, object]:
    """What `encode` was given; tuples come back as tuples.

    Raises:
        ValueError: bytes that are no such archive, or that hold objects instead of numbers.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            plain = json.loads(archive.read(PLAIN))
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {k.removeprefix("array/"): archive[k] for k in archive.files if k.startswith("array/")}
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError, ValueError) as error:
        raise ValueError(f"not an archive of plain arrays: {error}") from None
    return {**{k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}, **arrays}
