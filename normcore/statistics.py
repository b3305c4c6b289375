"""Mean and variance over an index set, and their running averages.

Notation, as in the book: S is the set of positions that are averaged over, m = |S| their number.
"""

import math

import torch
from torch import Tensor

__all__ = [
    "accumulation_dtype",
    "centre",
    "mean_square",
    "merge",
    "moments",
    "pooled",
    "update_running",
    "update_running_moments",
]


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that statistics of `dtype` are computed in: float32 for float16 and bfloat16."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def centre(input: Tensor, dim: int | tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean over an index set, and the input with that mean removed.

        mean_S = (1/m) Σ_{i∈S} x_i,        centred_i = x_i − mean_S

    Safe for means that are large beside the deviation. A mean of M is itself rounded, by about u·|M|
    (u: unit roundoff), and the whole centred tensor is off by that much. What is left is the mean of
    the centred values, so it is measured and removed once more. It is zero in exact arithmetic
    whatever the input, so it carries no gradient and is taken out of the graph.

    Args:
        input: any shape, floating point. float16 and bfloat16 are computed in float32.
        dim: the dimensions averaged over.

    Returns:
        mean (size 1 in `dim`) and centred (shape of input), in the accumulation dtype.

    Source: Chan, Golub and LeVeque (1983), "Algorithms for Computing the Sample Variance", section 3
    (the corrected two-pass algorithm).
    """
    x = input.to(accumulation_dtype(input.dtype))
    mean = x.mean(dim, keepdim=True)
    centred = x - mean
    residual = centred.detach().mean(dim, keepdim=True)
    return mean + residual, centred.sub_(residual)


def mean_square(x: Tensor, dim: tuple[int, ...]) -> Tensor:
    """(1/m) Σ_{i∈S} x_i², size 1 in `dim`.

    Outside a graph the trailing dimensions are reduced by a vector norm, which writes no tensor of
    squares: on a CPU, up to ten times faster. Its second derivative at 0 is not a number, so it is not
    used where there is a gradient.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        return x.square().mean(dim, keepdim=True)
    dims = {d % x.dim() for d in dim}
    trailing = [d for d in range(x.dim()) if all(later in dims for later in range(d, x.dim()))]
    if not trailing:
        return x.square().mean(dim, keepdim=True)
    count = x.shape[trailing[0] :].numel()
    square = torch.linalg.vector_norm(x, dim=trailing, keepdim=True).square() / count
    rest = tuple(dims.difference(trailing))
    return square.mean(rest, keepdim=True) if rest else square


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
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    # a compiler fuses the formula itself better than a function that it cannot see into
    both = _moments if torch.compiler.is_compiling() else _Moments.apply
    mean, var = both(input.to(accumulation_dtype(input.dtype)), dims)
    return (mean, var) if keepdim else (mean.squeeze(dims), var.squeeze(dims))


def _moments(x: Tensor, dim: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    mean, centred = centre(x, dim)
    return mean, mean_square(centred, dim)


class _Moments(torch.autograd.Function):
    """`_moments`, keeping nothing but x for the backward pass.

    ∂L/∂x = (g_mean + 2 g_var (x − mean)) / m
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, dim: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        return _moments(x, dim)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        x, ctx.dim = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, g_mean: Tensor | None, g_var: Tensor | None):
        (x,) = ctx.saved_tensors
        m = max(_count(x, ctx.dim), 1)  # an empty input has an empty gradient
        if g_var is None:
            return None if g_mean is None else (g_mean / m).expand_as(x), None
        _, centred = centre(x, ctx.dim)
        dx = centred * (g_var * (2 / m))
        return dx if g_mean is None else dx + g_mean / m, None

    @staticmethod
    def jvp(ctx, tangent: Tensor, _):
        (x,) = ctx.saved_tensors
        _, centred = centre(x, ctx.dim)
        return tangent.mean(ctx.dim, keepdim=True), 2 * (centred * tangent).mean(ctx.dim, keepdim=True)


def _count(x: Tensor, dim: tuple[int, ...]) -> int:
    """m, the positions along `dim`."""
    return math.prod(x.shape[d] for d in dim)


def update_running(running: Tensor, batch: Tensor, momentum: float | Tensor) -> None:
    """Move a running average towards a batch's value, in place and outside the graph.

        running ← (1 − momentum)·running + momentum·batch

    `momentum` is the weight of the new value (PyTorch's convention; Keras's momentum is one minus it).

    Source: Ioffe and Szegedy (2015), section 3.1.
    """
    if isinstance(momentum, Tensor):
        momentum = momentum.to(running.dtype)
    with torch.no_grad():
        running.lerp_(batch.detach().to(running.dtype), momentum)


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

    Source: Chan, Golub and LeVeque (1983), section 2 (pairwise merging).
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

    Source: Chan, Golub and LeVeque (1983), section 2, for k sets.
    """
    together, apart = centre(mean, dim)
    return together, (var + apart.square()).mean(dim, keepdim=True)
