"""A tensor taken piece by piece: what is made on the way stays in the cache, and needs no fresh memory."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Place", "added", "blank", "cut", "is_long", "joined", "piece", "workspace"]

SIZE = 2**20  # values held at once, 4 MB in float32: small pieces cost calls, large ones leave the cache

# a dimension, counted from the last; where a piece starts in it; its length. None: all of it
Place = tuple[int, int, int] | None


def is_long(x: Tensor, held: int = 1) -> bool:
    """Whether x is taken in pieces at all, when `held` tensors of a piece's size are held at once."""
    return held * x.numel() > SIZE and x.device.type == "cpu" and _is_plain(x)


def cut(x: Tensor, dims: tuple[int, ...], held: int = 1) -> tuple[list[Place], bool]:
    """Where x is cut for averages along `dims`, and whether index sets are cut too.

    Memory is walked through in order: where an index set's values lie side by side, another dimension is
    cut, and each piece has its index sets whole; where they lie apart, as the columns of a table, they are
    cut themselves.
    """
    if not is_long(x, held):
        return [None], False
    sizes = [d for d in range(x.dim()) if x.shape[d] > 1]
    fastest = min(sizes, key=x.stride, default=None)
    within = fastest not in dims and len(dims) > 0
    cuts = [d for d in sizes if (d in dims) == within]
    if not cuts:
        return [None], False
    d = max(cuts, key=x.stride) if within else cuts[0]
    along = x.shape[d]
    length = max(SIZE // held * along // x.numel(), 1)
    return [(d - x.dim(), start, min(length, along - start)) for start in range(0, along, length)], within


def piece(t: Tensor | None, place: Place) -> Tensor | None:
    """The piece of t, which broadcasts against the tensor that is cut."""
    return t if t is None or not _is_cut(t, place) else t.narrow(*place)


def joined(found: list[Tensor], place: Place) -> Tensor:
    """What was found for each piece side by side."""
    return found[0] if place is None else torch.cat(found, place[0])


def added(found: list[Tensor], like: Tensor, place: Place) -> Tensor:
    """Sums to the shape of `like`, found piece by piece: side by side where it is cut too, else added up."""
    if len(found) == 1:
        return found[0].view(like.shape)
    return joined(found, place) if _is_cut(like, place) else torch.stack(found).sum(0)


def blank(x: Tensor, dtype: torch.dtype) -> Tensor | None:
    """Memory for a result as large as x; None for a subclass (DTensor), which knows its own."""
    return torch.empty_like(x, dtype=dtype) if _is_plain(x) else None


def workspace(x: Tensor, dtype: torch.dtype) -> Callable[[str, torch.Size], Tensor | None]:
    """Gives `out=` by its name and shape, on the memory of the last one of that name; None for a subclass."""
    kept: dict[str, Tensor] = {}

    def give(name: str, shape: torch.Size) -> Tensor:
        found = kept.get(name)
        if found is None or found.numel() < shape.numel():
            kept[name] = torch.empty(shape, dtype=dtype, device=x.device)
            return kept[name]
        return found if found.shape == shape else found.view(-1)[: shape.numel()].view(shape)

    return give if _is_plain(x) else lambda name, shape: None


def _is_plain(x: Tensor) -> bool:
    return type(x) in (Tensor, torch.nn.Parameter)


def _is_cut(t: Tensor, place: Place) -> bool:
    return place is not None and t.dim() >= -place[0] and t.shape[place[0]] > 1
