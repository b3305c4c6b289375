"""The one idea: average over an index set, then scale and shift. Every method is made of these."""

import math

import torch
from torch import Tensor

from normcore.functional._by_hand import in_place
from normcore.functional._checks import check_floating
from normcore.statistics import accumulation_dtype, centre, dimensions, mean_over, mean_square


def standardize(
    input: Tensor,
    dim: int | tuple[int, ...],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """The one idea: average over an index set, then scale and shift.

        y = (x − mean_S) / √(var_S + ε) · γ + β,        S: the positions along `dim`

    Args:
        input: x, any shape, floating point.
        dim: the dimensions averaged over.
        weight, bias: γ and β, broadcast against the input; None leaves the step out.
        eps: ε, added to the variance under the root.

    Returns:
        y, in the shape, dtype and memory format of the input. float16 and bfloat16 are computed in
        float32 and rounded once, at the end.

    Source: Ioffe and Szegedy (2015), Algorithm 1; the axes as a choice: Wu and He (2018), section 3.1.
    """
    check_floating(input)
    y, _, _ = normalize_with_statistics(input, dim, weight, bias, eps)
    return y


def normalize_rms(
    input: Tensor, dim: int | tuple[int, ...], weight: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Scale by the root mean square over an index set; nothing is subtracted.

        y = x / √((1/m) Σ_{i∈S} x_i² + ε) · γ

    Arguments, result and dtypes as `standardize`.

    Source: Zhang and Sennrich (2019), equation 4.
    """
    check_floating(input)
    x = input.to(accumulation_dtype(input.dtype))
    dims = dimensions(dim, input.dim())
    return scale_and_shift(standardize_rms(x, dims, eps), weight, None, input.dtype)


def normalize_with_statistics(
    input: Tensor, dim: int | tuple[int, ...], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`standardize`, with the mean and the biased variance that it used (size 1 in `dim`)."""
    x = input.to(accumulation_dtype(input.dtype))
    dims = dimensions(dim, input.dim())
    # a compiler fuses the formula itself better than a function that it cannot see into
    standardize = _formula if torch.compiler.is_compiling() else _Standardize.apply
    x_hat, mean, var = standardize(x, dims, eps)
    return scale_and_shift(x_hat, weight, bias, input.dtype), mean, var


def _formula(x: Tensor, dim: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """x̂, μ and σ²."""
    mean, centred = centre(x, dim)
    var = mean_over(centred.square(), dim)
    return centred * torch.rsqrt(var + eps), mean, var


class _Standardize(torch.autograd.Function):
    """`_formula`, in place on its own buffers, keeping x̂ alone for the backward pass.

    What is saved are outputs, so that a second derivative goes through them.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, dim: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean, centred = centre(x, dim)
        var = mean_square(centred, dim)
        return centred.mul_(torch.rsqrt(var + eps)), mean, var

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, ctx.dim, ctx.eps = inputs
        x_hat, _, var = output
        ctx.save_for_backward(x_hat, var)
        ctx.save_for_forward(x_hat, var)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, g: Tensor | None, g_mean: Tensor | None, g_var: Tensor | None):
        x_hat, var = ctx.saved_tensors
        inv_std = torch.rsqrt(var + ctx.eps)
        dx = None if g is None else through_normalization(g, x_hat, inv_std, ctx.dim)
        m = max(x_hat.numel() // max(var.numel(), 1), 1)  # an empty input has an empty gradient
        if g_mean is not None:
            dx = (g_mean / m).expand_as(x_hat) if dx is None else dx + g_mean / m
        if g_var is not None:
            of_var = g_var * (2 / m) * x_hat / inv_std
            dx = of_var if dx is None else dx + of_var
        return dx, None, None

    @staticmethod
    def jvp(ctx, tangent: Tensor, *_):
        x_hat, var = ctx.saved_tensors
        inv_std = torch.rsqrt(var + ctx.eps)
        of_var = 2 * mean_over(x_hat * tangent, ctx.dim) / inv_std
        # the Jacobian of x̂ is symmetric: forward and backward are one formula
        return (
            through_normalization(tangent, x_hat, inv_std, ctx.dim),
            mean_over(tangent, ctx.dim),
            of_var,
        )


def centre_instances(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x − μ, μ and the biased σ² of each example's channels, over the positions of (N, C, *).

    Methods that mix index sets are made of these: the statistics of a batch or of a layer are pooled
    from the instances', and what follows is one scale and shift of x − μ for each example and channel.
    """
    space = tuple(range(2, x.dim()))
    if not space:  # one position each
        return torch.zeros_like(x), x, torch.zeros_like(x)
    if torch.compiler.is_compiling():
        mean, centred = centre(x, space)
        return centred, mean, centred.square().mean(space, keepdim=True)
    return _Centre.apply(x, space)


class _Centre(torch.autograd.Function):
    """x − μ, μ and σ², keeping x − μ alone for the backward pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, dim: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        mean, centred = centre(x, dim)
        return centred, mean, mean_square(centred, dim)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.dim = inputs[1]
        ctx.m = max(math.prod(inputs[0].shape[d] for d in ctx.dim), 1)
        ctx.save_for_backward(output[0])
        ctx.save_for_forward(output[0])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, g: Tensor | None, g_mean: Tensor | None, g_var: Tensor | None):
        (centred,) = ctx.saved_tensors
        # ∂L/∂x = 2 g_var (x − μ)/m + g + (g_mean/m − mean_S(g))
        terms = [] if g_var is None else [centred * (g_var * (2 / ctx.m))]
        if g is not None:
            terms += [g, -mean_over(g, ctx.dim)]
        if g_mean is not None:
            terms.append((g_mean / ctx.m).expand_as(centred))
        if not terms:
            return None, None
        dx, *rest = terms
        reuse = g_var is not None and in_place(*(t for t in (g, g_mean, g_var) if t is not None))
        for term in rest:
            dx = dx.add_(term) if reuse else dx + term
        return dx, None

    @staticmethod
    def jvp(ctx, tangent: Tensor, _):
        (centred,) = ctx.saved_tensors
        mean = mean_over(tangent, ctx.dim)
        return tangent - mean, mean, 2 * mean_over(centred * tangent, ctx.dim)


def standardize_rms(x: Tensor, dim: tuple[int, ...], eps: float) -> Tensor:
    """x̂ = x / √(mean_S(x²) + ε), keeping x̂ alone for the backward pass."""
    if torch.compiler.is_compiling():
        return x * torch.rsqrt(mean_square(x, dim) + eps)
    return _StandardizeRMS.apply(x, dim, eps)[0]


class _StandardizeRMS(torch.autograd.Function):
    """∂L/∂x = (g − x̂ · mean_S(g x̂)) / ρ, with x̂ = x/ρ: `_Standardize` without the mean."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, dim: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
        inv_rms = torch.rsqrt(mean_square(x, dim) + eps)
        return x * inv_rms, inv_rms

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, ctx.dim, _ = inputs
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, g: Tensor | None, g_inv: Tensor | None):
        x_hat, inv_rms = ctx.saved_tensors
        dx = None if g is None else inv_rms * (g - x_hat * mean_over(g * x_hat, ctx.dim))
        if g_inv is not None:  # of a second derivative: d(1/ρ) = −(1/ρ²) x̂·dx / m
            m = max(x_hat.numel() // max(inv_rms.numel(), 1), 1)
            of_inv = -g_inv * inv_rms.square() * x_hat / m
            dx = of_inv if dx is None else dx + of_inv
        return dx, None, None

    @staticmethod
    def jvp(ctx, tangent: Tensor, *_):
        x_hat, inv_rms = ctx.saved_tensors
        along = mean_over(tangent * x_hat, ctx.dim)
        return inv_rms * (tangent - x_hat * along), -inv_rms.square() * along


def through_normalization(g: Tensor, x_hat: Tensor, inv_std: Tensor, dim: tuple[int, ...]) -> Tensor:
    """∂L/∂x from g = ∂L/∂x̂: (g − mean_S(g) − x̂ · mean_S(g x̂)) · inv_std, S along `dim`.

    The gradient loses its component along 1 (a change of the mean) and along x̂ (a change of the
    scale), since neither would change x̂.

    Source: Ioffe and Szegedy (2015), section 3, simplified.
    """
    product = g * x_hat
    along_x_hat = mean_over(product, dim)
    along_one = mean_over(g, dim)
    if not in_place(g):
        return inv_std * (g - along_one - x_hat * along_x_hat)
    torch.mul(x_hat, along_x_hat, out=product)
    return torch.sub(g, product, out=product).sub_(along_one).mul_(inv_std)


def normalize_with(
    input: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Normalize each channel with statistics that are given, as in evaluation."""
    dtype = accumulation_dtype(input.dtype)
    mean, var = (per_channel(s, input).to(dtype) for s in (mean, var))
    y = (input.to(dtype) - mean) * torch.rsqrt(var + eps)
    return scale_and_shift(y, per_channel(weight, input), per_channel(bias, input), input.dtype)


def scale_and_shift(y: Tensor, weight: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    if weight is None and bias is None and y.dtype == dtype:
        # autograd keeps x̂ itself; the caller may write to what it gets, as ReLU(inplace=True) does
        return y.clone() if y.requires_grad else y
    if weight is not None:
        y = y * weight
    if bias is not None:
        # in place on the product just made, which no derivative needs
        y = y + bias if weight is None or bias.shape != weight.shape else y.add_(bias)
    return y.to(dtype)


def affine(
    centred: Tensor, scale: Tensor, shift: Tensor, weight: Tensor | None, bias: Tensor | None, input: Tensor
) -> Tensor:
    """(centred · scale + shift) · γ + β in one pass: the products of small tensors are taken first."""
    if weight is not None:
        gamma = per_channel(weight, input)
        scale, shift = scale * gamma, shift * gamma
    if bias is not None:
        shift = shift + per_channel(bias, input)
    return scale_and_shift(centred, scale, shift.expand_as(scale), input.dtype)


def per_channel(vector: Tensor | None, input: Tensor) -> Tensor | None:
    """(C,) as (C, 1, …, 1): broadcasts against (N, C, *)."""
    return None if vector is None else vector.view(-1, *[1] * (input.dim() - 2))
