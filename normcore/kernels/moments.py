"""Mean and variance, with gradients: autograd would keep the centred values, and their squares."""

import math

import torch
from torch import Tensor

from normcore import statistics
from normcore.kernels.by_hand import ByHand
from normcore.statistics import centre, dimensions, mean_over

__all__ = ["CentredMoments", "mean_square", "moments"]


class _Moments(ByHand):
    """∂L/∂x = (g_mean + 2 g_var (x − mean)) / m"""

    @staticmethod
    def fast(x: Tensor, dim) -> tuple[Tensor, Tensor]:
        return statistics.moments(x, dim, keepdim=True)

    @staticmethod
    def first_order(inputs: tuple, kept: tuple[Tensor, ...], grads: tuple):
        (x, dim), (g_mean, g_var) = inputs, grads
        m = _count(x, dim)
        if g_var is None:
            return [None if g_mean is None else (g_mean / m).to(x.dtype).expand_as(x)]
        dx = centre(x, dim)[1].mul_(g_var * (2 / m))
        return [(dx if g_mean is None else dx.add_(g_mean / m)).to(x.dtype)]


@_Moments.runs
def moments(input: Tensor, dim: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """`statistics.moments` with size 1 in `dim`, keeping nothing but the input for the backward pass."""
    return statistics.moments(input, dim, keepdim=True)


class _MeanSquare(ByHand):
    """∂L/∂x = 2 g x / m"""

    @staticmethod
    def fast(x: Tensor, dim) -> Tensor:
        return statistics.mean_square(x, dim)

    @staticmethod
    def first_order(inputs: tuple, kept: tuple[Tensor, ...], grads: tuple):
        (x, dim), (g,) = inputs, grads
        return [x * (g * (2 / _count(x, dim)))]


@_MeanSquare.runs
def mean_square(x: Tensor, dim: tuple[int, ...]) -> Tensor:
    """`statistics.mean_square`, keeping nothing but x for the backward pass."""
    return statistics.mean_square(x, dim)


class CentredMoments(ByHand):
    """`functional.mixed.centred_moments`: x − μ, μ and σ², keeping x and μ.

    ∂L/∂x = 2 g_var (x − μ)/m + g + (g_mean/m − mean_S(g))
    """

    keeps = (1,)

    @staticmethod
    def fast(input: Tensor, dim) -> tuple[Tensor, Tensor, Tensor]:
        mean, centred = centre(input, dim)
        return centred, mean, statistics.mean_square(centred, dim)

    @staticmethod
    def first_order(inputs: tuple, kept: tuple[Tensor, ...], grads: tuple):
        (input, dim), (mean,), (g, g_mean, g_var) = inputs, kept, grads
        m = _count(input, dim)
        if g_var is None:
            dx = torch.zeros_like(input, dtype=mean.dtype)
        else:
            dx = input - mean
            dx.sub_(mean_over(dx, dim)).mul_(g_var * (2 / m))  # the mean that is kept has been rounded
        if g is not None:
            dx.add_(g).sub_(mean_over(g, dim))
        if g_mean is not None:
            dx.add_(g_mean / m)
        return [dx.to(input.dtype)]


def _count(x: Tensor, dim) -> int:
    """m, the positions along `dim`; 1 where there is none, for an empty gradient."""
    return max(math.prod(x.shape[d] for d in dimensions(dim, x.dim())), 1)
