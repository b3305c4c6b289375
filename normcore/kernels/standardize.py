"""Standardization in place, piece by piece, keeping the input, as it came, and its statistics."""

import torch
from torch import Tensor

from normcore.kernels import fused
from normcore.kernels.by_hand import ByHand, sum_over
from normcore.kernels.parts import (
    Place,
    added,
    blank,
    cut,
    is_long,
    joined,
    piece,
    workspace,
)
from normcore.statistics import (
    accumulation_dtype,
    centre,
    dimensions,
    mean_over,
    mean_square,
    reciprocal_root,
)

__all__ = ["Standardize", "StandardizeRMS"]


class Standardize(ByHand):
    """`functional.standardization.standardize_with_statistics`: y, μ and σ².

    With c = x − μ, σ = √(var + ε), g = ∂L/∂y, and means over the index set S:

        ∂L/∂β = Σ g,   ∂L/∂γ = Σ g c/σ,   ∂L/∂x = (gγ − mean_S(gγ) − c/σ · mean_S(gγ c/σ)) / σ
    """

    keeps = (1, 2)

    @staticmethod
    def fast(input: Tensor, dim, weight: Tensor | None, bias: Tensor | None, eps: float, dtype: torch.dtype):
        results = fused.standardize(input, dim, weight, bias, eps, dtype)
        if results is not None:
            return results
        dims = dimensions(dim, input.dim())
        if not is_long(input):
            return _standardized(input, dims, weight, bias, eps, dtype)
        exact = accumulation_dtype(input.dtype)
        y, give = torch.empty_like(input, dtype=dtype), workspace(input, exact)
        places = _places(input, dims, weight, bias)
        if _are_cut(dims, places, input):
            mean, rounding, var = _moments_of_pieces(input, dims, places, give)
            scale = reciprocal_root(var, eps) if weight is None else reciprocal_root(var, eps) * weight
            shift = -rounding * scale if bias is None else bias - rounding * scale
            for place in places:
                x, out = piece(input, place), piece(y, place)
                centred = torch.sub(x, mean, out=out if dtype == exact else give("centred", x.shape))
                _put(centred.mul_(scale).add_(shift), out, dtype)
            return y, mean, var
        means, variances = [], []
        for place in places:
            x, gamma, beta, out = (piece(t, place) for t in (input, weight, bias, y))
            at = out if dtype == exact else give("centred", x.shape)
            _, mean, var = _standardized(x, dims, gamma, beta, eps, dtype, at, out)
            means.append(mean)
            variances.append(var)
        return y, joined(means, place), joined(variances, place)

    @staticmethod
    def first_order(inputs: tuple, kept: tuple[Tensor, ...], grads: tuple[Tensor | None, ...]):
        input, dim, weight, bias, eps, _ = inputs
        mean, var = kept
        if any(g is not None for g in grads[1:]):
            return None
        if mean.dtype != var.dtype:  # by a kernel
            return fused.differentiate(grads[0], input, dim, weight, bias, mean, var, eps)
        return _gradients(grads[0], input, dim, weight, bias, mean, reciprocal_root(var, eps))


class StandardizeRMS(ByHand):
    """`functional.standardization.standardize_rms_with_statistics`: `Standardize` without the mean."""

    keeps = (1,)

    @staticmethod
    def fast(input: Tensor, dim, weight: Tensor | None, eps: float, dtype: torch.dtype):
        results = fused.standardize(input, dim, weight, None, eps, dtype, centre=False)
        if results is not None:
            y, _, square = results
            return y, square
        dims = dimensions(dim, input.dim())
        if not is_long(input):
            return _standardized_rms(input, dims, weight, eps, dtype)
        exact = accumulation_dtype(input.dtype)
        y, give = torch.empty_like(input, dtype=dtype), workspace(input, exact)
        places, within = cut(input, dims)
        squares = []
        for place in [None] if within else places:
            x, gamma, out = (piece(t, place) for t in (input, weight, y))
            at = out if dtype == exact else give("scaled", x.shape)
            squares.append(_standardized_rms(x, dims, gamma, eps, dtype, at, out)[1])
        return y, squares[0] if within else joined(squares, place)

    @staticmethod
    def first_order(inputs: tuple, kept: tuple[Tensor, ...], grads: tuple[Tensor | None, ...]):
        input, dim, weight, eps, _ = inputs
        (square,) = kept
        if grads[1] is not None:
            return None
        gradients = fused.differentiate(grads[0], input, dim, weight, None, None, square, eps)
        if gradients is not None:
            return gradients
        return _gradients(grads[0], input, dim, weight, None, None, reciprocal_root(square, eps))


def _standardized(
    x, dims, gamma, beta, eps: float, dtype, at: Tensor | None = None, out: Tensor | None = None
):
    """y, μ and σ² of a piece, or of all: computed in the memory `at`, and put into `out`."""
    mean, centred = centre(x, dims, at)
    var = mean_square(centred, dims)
    inv_std = reciprocal_root(var, eps)
    if gamma is None:
        centred.mul_(inv_std)
    elif gamma.shape[-1] == 1 or _constant(gamma, x, dims):
        centred.mul_(inv_std * gamma)
    else:
        centred.mul_(inv_std).mul_(gamma)
    return _put(centred if beta is None else centred.add_(beta), out, dtype), mean, var


def _standardized_rms(x, dims, gamma, eps: float, dtype, at: Tensor | None = None, out: Tensor | None = None):
    """y and the mean square, as `_standardized`."""
    x = x.to(accumulation_dtype(x.dtype))
    square = mean_square(x, dims)
    inv_rms = reciprocal_root(square, eps)
    if gamma is None:
        scaled = torch.mul(x, inv_rms, out=at)
    elif _constant(gamma, x, dims):
        scaled = torch.mul(x, inv_rms * gamma, out=at)
    else:
        scaled = torch.mul(x, inv_rms, out=at).mul_(gamma)
    return _put(scaled, out, dtype), square


def _put(computed: Tensor, out: Tensor | None, dtype: torch.dtype) -> Tensor:
    if computed is out:
        return out
    return computed.to(dtype) if out is None else out.copy_(computed)


def _inner(weight: Tensor | None, x: Tensor, dims: tuple[int, ...]) -> tuple[int, ...]:
    """Those of `dims` along which γ is one number."""
    if weight is None:
        return dims
    first = x.dim() - weight.dim()  # γ has no dimensions before it
    return tuple(d for d in dims if d < first or weight.shape[d - first] == 1)


def _constant(weight: Tensor | None, x: Tensor, dims: tuple[int, ...]) -> bool:
    """Whether γ is one number in each index set."""
    return weight is None or _inner(weight, x, dims) == dims


def _places(
    x: Tensor, dims: tuple[int, ...], weight: Tensor | None, bias: Tensor | None, held: int = 1
) -> list[Place]:
    """Where x is cut; index sets are only where γ and β are one number in each."""
    places, within = cut(x, dims, held)
    return [None] if within and not (_constant(weight, x, dims) and _constant(bias, x, dims)) else places


def _are_cut(dims: tuple[int, ...], places: list[Place], x: Tensor) -> bool:
    """Whether index sets lie in several pieces."""
    return places[0] is not None and places[0][0] + x.dim() in dims


def _moments_of_pieces(x: Tensor, dims: tuple[int, ...], places: list[Place], give):
    """Mean, what rounding took from it, and variance of index sets that lie in several pieces.

    All are centred at the mean of the first piece, which lies within √k deviations of the whole mean, k the
    number of pieces: σ² = mean(c²) − mean(c)² takes little away.
    """
    pivot = mean_over(piece(x, places[0]).to(accumulation_dtype(x.dtype)), dims)
    means, squares = [], []
    for place in places:
        part = piece(x, place)
        centred = torch.sub(part, pivot, out=give("centred", part.shape))
        means.append(mean_over(centred, dims))
        squares.append(mean_square(centred, dims))
    lengths = torch.tensor([place[2] for place in places], dtype=torch.float64)
    share = (lengths / lengths.sum()).view(-1, *[1] * x.dim())
    apart, square = ((share * torch.stack(found)).sum(0) for found in (means, squares))
    var = (square - apart.square()).clamp_min(0).to(pivot.dtype)
    moved = torch.where(pivot.isinf(), 0.0, apart)  # an infinite mean stays so
    mean = (pivot + moved).to(pivot.dtype)
    return mean, (pivot - mean + apart).to(pivot.dtype), var


def _gradients(grad, input, dim, weight, bias, mean: Tensor | None, inv_std: Tensor) -> list[Tensor]:
    """Gradients to the input and to those of γ and β that there are; without a mean, nothing was centred."""
    dims = dimensions(dim, input.dim())
    exact, m = inv_std.dtype, max(input.numel() // max(inv_std.numel(), 1), 1)
    dx, give = blank(input, input.dtype), workspace(input, exact)
    places, inner = _places(input, dims, weight, bias, held=2), _inner(weight, input, dims)

    def begin(place: Place) -> tuple[Tensor, Tensor]:
        """g and x − μ of a piece."""
        x, mu = piece(input, place), piece(mean, place)
        return piece(grad, place).to(exact), x if mu is None else torch.sub(
            x, mu, out=give("centred", x.shape)
        )

    of_all = None
    if _are_cut(dims, places, input):  # every sum first
        sums = zip(*(_sums(*begin(place), mean, inner, dims, give) for place in places), strict=True)
        of_all = _factors([torch.stack(s).sum(0) for s in sums], weight, inv_std, inner, dims, m)
    of_weight, of_bias = [], []
    for place in places:
        gamma, beta, inv, out = (piece(t, place) for t in (weight, bias, inv_std, dx))
        g, centred = begin(place)
        if inner or not dims:
            factors, scaled, of_one = of_all or _factors(
                _sums(g, centred, mean, inner, dims, give), gamma, inv, inner, dims, m
            )
            last = _combine(g, centred, factors, give, out)
        else:
            (last, scaled), of_one = _by_products(g, centred, gamma, mean, inv, dims, give, out), g
        if gamma is not None:
            of_weight.append(scaled.sum_to_size(gamma.shape))
        if beta is not None:
            of_bias.append((of_one if _constant(beta, g, inner) else g).sum_to_size(beta.shape))
        if of_all:
            del of_weight[1:], of_bias[1:]  # they are sums over all pieces already
    pairs = ((of_weight, weight), (of_bias, bias))
    dx = last.to(input.dtype) if dx is None else dx
    return [dx, *(added(found, like, place).to(like.dtype) for found, like in pairs if like is not None)]


def _sums(g: Tensor, c: Tensor, mean: Tensor | None, inner, dims, give) -> tuple[Tensor, ...]:
    """Σ g c and, where there is a mean, Σ g over `inner`, and Σ c, which is what rounding took from it."""
    of_c = sum_over(torch.mul(g, c, out=give("product", c.shape)), inner)
    return (of_c,) if mean is None else (of_c, sum_over(g, inner), sum_over(c, dims))


def _factors(sums, gamma: Tensor | None, inv_std: Tensor, inner, dims, m: int):
    """(A, B, C), small tensors, of ∂L/∂x = A g + B c + C; what the gradients of γ and of β are sums of.

        A = γ/σ,        B = −mean_S(gγ c)/σ³,        C = −mean_S(gγ)/σ

    Along `inner`, where γ is one number, g and g c are summed already: γ comes to the sums.
    """
    of_c, *rest = sums
    outer = tuple(d for d in dims if d not in inner)
    a = inv_std if gamma is None else inv_std * gamma
    share = a / -m
    if rest:
        of_one, of_centred = rest
        rounding = of_centred / m
        of_c = of_c.addcmul_(rounding, of_one, value=-1)
    b = _summed(of_c * share, outer).mul_(inv_std).mul_(inv_std)
    c = _summed(of_one * share, outer).addcmul_(b, rounding, value=-1) if rest else None
    return (a, b, c), of_c * inv_std, of_one if rest else None


def _combine(g: Tensor, centred: Tensor, factors, give, out: Tensor | None) -> Tensor:
    """A g + B c + C. Of a centred input the memory is ours."""
    a, b, c = factors
    if c is None:
        centred = torch.mul(centred, b, out=give("centred", centred.shape))
    else:
        centred.mul_(b).add_(c)
    return torch.add(centred, torch.mul(g, a, out=give("product", g.shape)), out=out)


def _by_products(g, centred, gamma, mean, inv_std, dims, give, out: Tensor | None) -> tuple[Tensor, Tensor]:
    """∂L/∂x where γ differs along all dimensions of the index set; what its gradient is a sum of."""
    if mean is None:
        x_hat = torch.mul(centred, inv_std, out=give("centred", centred.shape))
    else:
        x_hat = centred.sub_(mean_over(centred, dims)).mul_(inv_std)  # the mean that is kept is rounded
    product = torch.mul(g, x_hat, out=give("product", g.shape))
    of_weight = product.sum_to_size(gamma.shape)
    if of_weight.shape == product.shape:  # then it is the product itself, which is written to
        of_weight = of_weight.clone()
    along = mean_over(product.mul_(gamma), dims)
    torch.mul(g, gamma, out=product)
    x_hat.mul_(along)
    if mean is not None:
        x_hat.add_(mean_over(product, dims))
    return torch.mul(product.sub_(x_hat), inv_std, out=out), of_weight


def _summed(x: Tensor, dim: tuple[int, ...]) -> Tensor:
    return x.sum(dim, keepdim=True) if dim else x
