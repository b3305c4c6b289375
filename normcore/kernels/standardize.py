"""Standardization in place on one buffer, keeping the input, as it came, and its statistics."""

import torch
from torch import Tensor

from normcore.kernels import fused
from normcore.kernels.by_hand import ByHand, sum_over
from normcore.statistics import accumulation_dtype, centre, dimensions, mean_over, mean_square

__all__ = ["Standardize", "StandardizeRMS"]


class Standardize(ByHand):
    """`functional.standardization.standardize_with_statistics`: y, μ and σ².

    With x̂ = (x − μ)/σ, σ = √(var + ε), g = ∂L/∂y, and mean_S over the index set:

        ∂L/∂β = Σ g,   ∂L/∂γ = Σ g x̂,   ∂L/∂x = (gγ − mean_S(gγ) − x̂ · mean_S(gγ x̂)) / σ

    Where γ is one number in each index set, the sums for γ and β are those for x.
    """

    keeps = (1, 2)

    @staticmethod
    def fast(input: Tensor, dim, weight: Tensor | None, bias: Tensor | None, eps: float, dtype: torch.dtype):
        results = fused.standardize(input, dim, weight, bias, eps, dtype)
        if results is not None:
            return results
        mean, centred = centre(input, dim)
        var = mean_square(centred, dim)
        return _scaled(centred, torch.rsqrt(var + eps), weight, bias, dim, dtype), mean, var

    @staticmethod
    def first_order(inputs: tuple, kept: tuple[Tensor, ...], grads: tuple[Tensor | None, ...]):
        input, dim, weight, bias, eps, _ = inputs
        mean, var = kept
        if any(g is not None for g in grads[1:]):
            return None
        if mean.dtype != var.dtype:  # by a kernel
            return fused.differentiate(grads[0], input, dim, weight, bias, mean, var, eps)
        dim = dimensions(dim, input.dim())
        inv_std = torch.rsqrt(var + eps)
        x_hat = input - mean
        x_hat.sub_(mean_over(x_hat, dim)).mul_(inv_std)  # the mean that is kept has been rounded
        g = grads[0].to(x_hat.dtype)
        dx, of_weight, of_one = _backward(g, x_hat, inv_std, weight, dim, shifted=True)
        gradients = [dx.to(input.dtype)]
        if weight is not None:
            gradients.append(of_weight.sum_to_size(weight.shape).to(weight.dtype))
        if bias is not None:
            of_bias = of_one if _constant(bias, x_hat, dim) else g
            gradients.append(of_bias.sum_to_size(bias.shape).to(bias.dtype))
        return gradients


class StandardizeRMS(ByHand):
    """`functional.standardization.standardize_rms_with_statistics`: `Standardize` without the mean."""

    keeps = (1,)

    @staticmethod
    def fast(input: Tensor, dim, weight: Tensor | None, eps: float, dtype: torch.dtype):
        results = fused.standardize(input, dim, weight, None, eps, dtype, centre=False)
        if results is not None:
            y, _, square = results
            return y, square
        x = input.to(accumulation_dtype(input.dtype))
        square = mean_square(x, dim)
        inv_rms = torch.rsqrt(square + eps)
        if _constant(weight, x, dim):
            return (x * (inv_rms if weight is None else inv_rms * weight)).to(dtype), square
        return (x * inv_rms).mul_(weight).to(dtype), square

    @staticmethod
    def first_order(inputs: tuple, kept: tuple[Tensor, ...], grads: tuple[Tensor | None, ...]):
        input, dim, weight, eps, _ = inputs
        (square,) = kept
        if grads[1] is not None:
            return None
        gradients = fused.differentiate(grads[0], input, dim, weight, None, None, square, eps)
        if gradients is not None:
            return gradients
        dim = dimensions(dim, input.dim())
        inv_rms = torch.rsqrt(square + eps)
        x_hat = input * inv_rms
        dx, of_weight, _ = _backward(grads[0].to(x_hat.dtype), x_hat, inv_rms, weight, dim, shifted=False)
        gradients = [dx.to(input.dtype)]
        if weight is not None:
            gradients.append(of_weight.sum_to_size(weight.shape).to(weight.dtype))
        return gradients


def _constant(weight: Tensor | None, x: Tensor, dim) -> bool:
    """Whether γ is one number in each index set."""
    if weight is None:
        return True
    first = x.dim() - weight.dim()  # γ has no dimensions before it
    return all(d < first or weight.shape[d - first] == 1 for d in dimensions(dim, x.dim()))


def _scaled(y: Tensor, inv_std: Tensor, weight, bias, dim, dtype: torch.dtype) -> Tensor:
    """y · inv_std · γ + β on y's own buffer; small factors are multiplied first."""
    if weight is None:
        y.mul_(inv_std)
    elif _constant(weight, y, dim) or weight.shape[-1] == 1:
        y.mul_(inv_std * weight)
    else:
        y.mul_(inv_std).mul_(weight)
    if bias is not None:
        y.add_(bias)
    return y.to(dtype)


def _backward(g: Tensor, x_hat: Tensor, inv_std: Tensor, weight: Tensor | None, dim, shifted: bool):
    """∂L/∂x, and what the gradients of γ and of β are sums of. Writes to x̂, never to g."""
    product = g * x_hat
    if _constant(weight, x_hat, dim):
        m = max(x_hat.numel() // max(inv_std.numel(), 1), 1)
        of_weight, of_one = sum_over(product, dim), sum_over(g, dim) if shifted else g
        dx = torch.sub(g, x_hat.mul_(of_weight / m), out=product)
        if shifted:
            dx.sub_(of_one / m)
        return dx.mul_(inv_std if weight is None else inv_std * weight), of_weight, of_one
    of_weight = product.sum_to_size(weight.shape)
    along_x_hat = mean_over(product.mul_(weight), dim)
    dx = torch.mul(g, weight, out=product)
    if shifted:
        dx.sub_(mean_over(dx, dim))
    return dx.sub_(x_hat.mul_(along_x_hat)).mul_(inv_std), of_weight, g
