"""Mean and variance over an index set, and their running averages.

Notation, as in the book: S is the set of positions that are averaged over, m = |S| their number.
"""

import torch
from torch import Tensor

__all__ = [
    "accumulation_dtype",
    "centre",
    "dimensions",
    "mean_over",
    "mean_square",
    "merge",
    "moments",
    "pooled",
    "reciprocal_root",
    "traced",
    "update_running",
    "update_running_moments",
    "widest",
]

# Values that are added one after the other; blocks of them are added pairwise.
BLOCK = 1024
# Values whose squares stay in the cache, 1 MB in float32.
IN_CACHE = 2**18


def traced() -> bool:
    """Whether operators are being recorded, by torch.compile, torch.export, torch.jit.trace or ONNX.

    What is recorded must be the formula itself: a recorder fuses it better than a function that it cannot
    see into, or drops that function without a word.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export()


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that statistics of `dtype` are computed in: float32 for float16 and bfloat16."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def widest(x: Tensor) -> torch.dtype:
    """The dtype for the few numbers that many depend on: float64 where the device has it."""
    return x.dtype if x.device.type == "mps" else torch.float64


def reciprocal_root(square: Tensor, eps: float) -> Tensor:
    """1/√(square + ε), rounded once: outside a graph."""
    return (square.to(widest(square)) + eps).rsqrt_().to(square.dtype)


def dimensions(dim: int | tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """`dim` in order, none of them negative.

    Raises:
        IndexError: a dimension that a tensor of `ndim` dimensions does not have.
        RuntimeError: a dimension named twice.
    """
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    for d in dims:
        if not -ndim <= d < ndim:
            raise IndexError(f"dim must be between {-ndim} and {ndim - 1}, but got {d}")
    ordered = sorted(d % ndim for d in dims)
    if len(set(ordered)) < len(ordered):
        raise RuntimeError(f"dim must name each dimension once, but got {dims}")
    return tuple(ordered)


def mean_over(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """(1/m) Σ_{i∈S} x_i, size 1 in `dim`. Over no dimension it is x itself, where torch takes all."""
    return x if dim == () else x.mean(dim, keepdim=True)


def centre(input: Tensor, dim: int | tuple[int, ...], out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean over an index set, and the input with that mean removed.

        mean_S = (1/m) Σ_{i∈S} x_i,        centred_i = x_i − mean_S

    Safe for means that are large beside the deviation. A mean of M is itself rounded, by about u·|M|
    (u: unit roundoff), and the whole centred tensor is off by that much. What is left is the mean of
    the centred values, so it is measured and removed once more. It is zero in exact arithmetic
    whatever the input, so it carries no gradient and is taken out of the graph.

    Args:
        input: any shape, floating point. float16 and bfloat16 are computed in float32.
        dim: the dimensions averaged over; of none, each value is an index set of its own.
        out: where the centred values are written, outside a graph; None for a new tensor.

    Returns:
        mean (size 1 in `dim`) and centred (shape of input), in the accumulation dtype.

    Source: Chan, Golub and LeVeque (1983), "Algorithms for Computing the Sample Variance", equation
    1.7 (the corrected two-pass algorithm).
    """
    x = input.to(accumulation_dtype(input.dtype))
    first = mean_over(x, dim)
    centred = x - first if out is None else torch.sub(x, first, out=out)
    residual = mean_over(centred.detach(), dim)
    # inf − inf: a mean that is infinite stays so
    return first + residual.nan_to_num(0.0), centred.sub_(residual)


def mean_square(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """(1/m) Σ_{i∈S} x_i², size 1 in `dim`.

    Outside a graph the trailing dimensions of what leaves the cache are reduced by vector norms, which
    write no tensor of squares: on a CPU, up to ten times faster. A vector norm adds one value after the
    other, so it is taken of blocks, and what it loses stays below one rounding. Its second derivative at
    0 is not a number, so it is not used where there is a gradient.
    """
    dims = dimensions(dim, x.dim())
    if traced() or x.numel() <= IN_CACHE:
        return mean_over(x.square(), dims)
    trailing = 0
    while trailing < len(dims) and dims[-1 - trailing] == x.dim() - 1 - trailing:
        trailing += 1
    if not trailing or (torch.is_grad_enabled() and x.requires_grad):
        return mean_over(x.square(), dims)
    flat = x.flatten(-trailing)
    m = flat.shape[-1]
    whole = m - m % BLOCK
    lengths = []
    if m % BLOCK or not m:
        lengths.append(torch.linalg.vector_norm(flat[..., whole:], dim=-1, keepdim=True))
    if whole:
        blocks = flat[..., :whole].unflatten(-1, (-1, BLOCK))
        lengths.append(torch.linalg.vector_norm(blocks, dim=-1))
    # they are few
    first, *others = (length.to(widest(x)).square_().sum(-1) for length in lengths)
    square = sum(others, first) / m
    return mean_over(square.view(*square.shape, *[1] * trailing), dims[:-trailing]).to(x.dtype)


def moments(input: Tensor, dim: int | tuple[int, ...], keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over an index set.

        mean_S = (1/m) Σ_{i∈S} x_i,        var_S = (1/m) Σ_{i∈S} (x_i − mean_S)²

    The division is by m, not m − 1: a batch is normalized by its own second moment.

    Args:
        input: any shape, floating point. float16 and bfloat16 are computed in float32.
        dim: the dimensions averaged over.
        keepdim: keep those dimensions, with size 1.

    Returns:
        mean and var, in the accumulation dtype. Both are NaN where the index set is empty.

    Source: Ioffe and Szegedy (2015), Algorithm 1.
    """
    dims = dimensions(dim, input.dim())
    mean, centred = centre(input, dims)
    var = mean_square(centred, dims)
    return (mean, var) if keepdim else (mean.squeeze(dims), var.squeeze(dims))


def update_running(running: Tensor, batch: Tensor, momentum: float | Tensor) -> None:
    """Move a running average towards a batch's value, in place and outside the graph.

        running ← (1 − momentum)·running + momentum·batch

    `momentum` is the weight of the new value (PyTorch's convention; Keras's momentum is one minus it).

    Source: Ioffe and Szegedy (2015), section 3.1.
    """
    with torch.no_grad():
        batch = batch.to(running.dtype)
        # not lerp_, which makes inf − inf of an infinite mean
        if isinstance(momentum, Tensor):
            momentum = momentum.to(running.dtype)
            running.mul_(1 - momentum).add_(batch * momentum)
        else:
            running.mul_(1 - momentum).add_(batch, alpha=momentum)


def update_running_moments(
    running_mean: Tensor | None,
    running_var: Tensor | None,
    mean: Tensor,
    var: Tensor,
    count: int,
    momentum: float | Tensor,
) -> None:
    """Move running averages towards a batch's mean and unbiased variance, var·m/(m − 1).

    An empty batch moves nothing.

    Args:
        running_mean, running_var: changed in place; None is passed over.
        mean, var: of the batch, var biased; in any shape with as many entries.
        count: m, the values in each statistic.
        momentum: weight of the new value.

    Raises:
        ValueError: a running variance to be updated from one value.

    Source: Ioffe and Szegedy (2015), Algorithm 2.
    """
    if count == 0:
        return
    if running_mean is not None:
        update_running(running_mean, mean.view_as(running_mean), momentum)
    if running_var is not None:
        if count == 1:
            raise ValueError(
                "expected more than 1 value per channel when training, got one: it has no variance"
            )
        update_running(running_var, var.view_as(running_var) * (count / (count - 1)), momentum)


def merge(
    count_a: int, mean_a: Tensor, var_a: Tensor, count_b: int, mean_b: Tensor, var_b: Tensor
) -> tuple[int, Tensor, Tensor]:
    """Mean and biased variance of two disjoint index sets taken together.

        m = m_a + m_b,        δ = mean_b − mean_a
        mean = mean_a + δ·m_b/m
        var = (m_a·var_a + m_b·var_b)/m + δ²·m_a·m_b/m²

    Args:
        count_a, count_b: m_a and m_b, at least 0, not both.
        mean_a, var_a, mean_b, var_b: of each set; broadcast.

    Source: Chan, Golub and LeVeque (1983), equations 1.5a and 1.5b.
    """
    count = count_a + count_b
    delta = mean_b - mean_a
    mean = mean_a + delta * (count_b / count)
    within = (var_a * count_a + var_b * count_b) / count
    return count, mean, within + delta.square() * (count_a * count_b / count**2)


def pooled(mean: Tensor, var: Tensor, dim: int | tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of the union of disjoint index sets of one size.

        mean = (1/k) Σ_j mean_j,        var = (1/k) Σ_j [var_j + (mean_j − mean)²]

    Args:
        mean, var: of each of the k sets, which lie along `dim`.
        dim: the dimensions that become one set; kept, with size 1.

    Source: Chan, Golub and LeVeque (1983), equations 1.5a and 1.5b, for k sets.
    """
    together, apart = centre(mean, dim)
    return together, mean_over(var + apart.square(), dim)
