"""Filter response norm and EvoNorm-B0: factors of size 1 along the positions, and a maximum."""

import torch
from torch import Tensor

from normcore.kernels.by_hand import ByHand, sum_over

__all__ = ["Quotient", "Thresholded"]


class Quotient(ByHand):
    """`functional.response.quotient`: y = f x / max(v x + a, b)."""

    @staticmethod
    def fast(x: Tensor, f: Tensor, v: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.maximum((v * x).add_(a), b).reciprocal_().mul_(x).mul_(f)

    @staticmethod
    def first_order(inputs: tuple, kept: tuple[Tensor, ...], grads: tuple):
        (x, f, v, a, b), (g,) = inputs, grads
        space = tuple(range(2, x.dim()))
        line = (v * x).add_(a)
        by_line = line > b
        largest = torch.maximum(line, b, out=line)
        h = g / largest
        k = h * x
        df = _sum(k, space, f.shape)
        k.div_(largest)  # −∂L/∂max over f
        of_both = _sum(k, space, x.shape[:2] + a.shape[2:], f)
        k.mul_(by_line)
        of_line = _sum(k, space, of_both.shape, f)
        db = (of_line - of_both).sum_to_size(b.shape)
        dv = -_sum(torch.mul(k, x, out=largest), space, v.shape, f)
        dx = h.sub_(k.mul_(v)).mul_(f)
        return dx, df, dv, -of_line.sum_to_size(a.shape), db


class Thresholded(ByHand):
    """`functional.response.thresholded`: y = max(r x + β, τ)."""

    @staticmethod
    def fast(x: Tensor, r: Tensor, beta: Tensor, tau: Tensor) -> Tensor:
        return (r * x).add_(beta).clamp_(min=tau)

    @staticmethod
    def first_order(inputs: tuple, kept: tuple[Tensor, ...], grads: tuple):
        (x, r, beta, tau), (g,) = inputs, grads
        space = tuple(range(2, x.dim()))
        h = (r * x).add_(beta)
        torch.mul(g, h > tau, out=h)
        of_line = _sum(h, space, r.shape)
        rest = g - h  # not a difference of sums, which may be nearly the same
        dtau = _sum(rest, space, r.shape).sum_to_size(tau.shape)
        dr = _sum(torch.mul(h, x, out=rest), space, r.shape)
        return h.mul_(r), dr, of_line.sum_to_size(beta.shape), dtau


def _sum(full: Tensor, space: tuple[int, ...], shape: torch.Size, times: Tensor | None = None) -> Tensor:
    """Summed to a shape that broadcasts against `full`: over the positions first, which are many."""
    small = sum_over(full, space)
    return (small if times is None else small * times).sum_to_size(shape)
