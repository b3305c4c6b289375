"""A measurement repeated over settings and seeds, with its axes' names and values."""

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import Any

import numpy as np
import torch

__all__ = ["Grid", "grid"]


@dataclass(frozen=True, eq=False)
class Grid(Mapping[Any, Any]):  # of grids down to arrays: what a name leads to, its axes say
    """Measurements with named axes: those whose values are words, then the seeds, then the others.

    Axes of words are looked up as in a dict of dicts, down to an array over the rest:

        results["batch norm"]["loss"]  # (seeds, steps)

    NumPy's functions take a whole grid for its array.

    Attributes:
        array: one axis for each of `axes`, in their order.
        axes: by name, the values along it.
        settings: what was the same everywhere.
        made: with what, when and in how many seconds.
    """

    array: np.ndarray
    axes: dict[str, tuple]
    settings: dict[str, Any]
    made: dict[str, Any]

    def at(self, **where: object) -> "Grid":
        """The part at one value of each of these axes, which disappear.

        Raises:
            KeyError: no such axis or value; says which there are.
        """
        for name, value in where.items():
            if name not in self.axes:
                raise KeyError(f"no axis {name!r}; there are {', '.join(self.axes)}")
            if value not in self.axes[name]:
                raise KeyError(f"{name} has no {value!r}; there are {', '.join(map(repr, self.axes[name]))}")
        index = [self.axes[n].index(where[n]) if n in where else slice(None) for n in self.axes]
        rest = {name: values for name, values in self.axes.items() if name not in where}
        return replace(self, array=self.array[tuple(index)], axes=rest)

    def __getitem__(self, value: object) -> Any:
        part = self.at(**{next(iter(self.axes)): value})
        return part if any(map(_of_words, part.axes.values())) else part.array

    def __iter__(self) -> Iterator:
        return iter(next(iter(self.axes.values())))

    def __len__(self) -> int:
        return len(self.array)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self.array, dtype, copy=copy)


def grid(
    one: Callable[..., object],
    axes: Mapping[str, Iterable],
    along: Mapping[str, Iterable] | None = None,
    **settings: object,
) -> Grid:
    """`one` at every combination of the axes' values.

    Args:
        one: gets a value of each axis by its name; returns a number, or an array over the axes `along`.
        axes: by name, their values.
        along: axes of what `one` returns, in order: by name, the values; of an endless iterable, such as
            `itertools.count(1)`, as many as are needed.
        settings: to be kept with the results.

    Raises:
        ValueError: an axis without values, or of another length than what `one` returns.
    """
    listed = {name: tuple(values) for name, values in axes.items()}
    if empty := [name for name, values in listed.items() if not values]:
        raise ValueError(f"axes must each have a value, but {empty[0]!r} has none")
    start = time.perf_counter()
    found = [one(**dict(zip(listed, point, strict=True))) for point in product(*listed.values())]
    made = _circumstances() | {"seconds": round(time.perf_counter() - start)}
    array = np.array(found, float)
    array = array.reshape(*map(len, listed.values()), *array.shape[1:])
    own = along or {}
    if array.ndim != len(listed) + len(own):
        raise ValueError(f"along must name {array.ndim - len(listed)} axes, but names {len(own)}")
    for (name, values), length in zip(own.items(), array.shape[len(listed) :], strict=True):
        listed[name] = tuple(values if isinstance(values, Sized) else islice(values, length))
        if len(listed[name]) != length:
            raise ValueError(f"along: {name!r} must have {length} values, but has {len(listed[name])}")
    names = sorted(listed, key=lambda name: 0 if _of_words(listed[name]) else 1 if name == "seed" else 2)
    array = array.transpose([list(listed).index(name) for name in names])
    return Grid(array, {name: listed[name] for name in names}, settings, made)


def _of_words(values: tuple) -> bool:
    return isinstance(values[0], str)


def _circumstances() -> dict[str, object]:
    return {
        "device": f"CPU, {platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "date": time.strftime("%Y-%m-%d"),
    }
