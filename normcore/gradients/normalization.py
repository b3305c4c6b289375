"""Each method's backward pass, derived by hand, in the book's symbols.

dy stands for ∂L/∂y. All follow from one step. With x̂ = (x − μ_S)/√(σ²_S + ε) and g = ∂L/∂x̂,

    ∂L/∂x = (g − mean_S(g) − x̂ · mean_S(g x̂)) / √(σ²_S + ε)

`through_normalization` is that step; a method adds what is its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from normcore.functional.standardization import per_channel
from normcore.statistics import accumulation_dtype, centre, mean_over

Dims = tuple[int, ...]


def through_normalization(g: Tensor, x_hat: Tensor, inv_std: Tensor, dim: Dims) -> Tensor:
    """∂L/∂x from g = ∂L/∂x̂, S the positions along `dim`.

        dx = (g − mean_S(g) − x̂ · mean_S(g x̂)) / √(σ²_S + ε)

    The gradient loses its component along 1 (a change of the mean) and along x̂ (a change of the
    scale), since neither would change x̂.

    Source: Ioffe and Szegedy (2015), section 3, simplified.
    """
    return inv_std * (g - mean_over(g, dim) - x_hat * mean_over(g * x_hat, dim))


def batch_norm_backward(
    grad_output: Tensor, input: Tensor, weight: Tensor | None = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of a loss L through batch norm in training.

    With x̂ = (x − μ)/√(σ² + ε), y = γ x̂ + β, and sums over the m positions of a channel:

        dβ = Σ dy
        dγ = Σ dy·x̂
        dx = γ/√(σ² + ε) · (dy − dβ/m − x̂·dγ/m)

    Args:
        grad_output: dy, of the shape of input.
        input: x, (N, C) or (N, C, *).
        weight: γ, (C,); None stands for ones.
        eps: ε.

    Returns:
        dx (shape and dtype of input), dγ (C,) and dβ (C,), in the accumulation dtype.

    Raises:
        ValueError: grad_output and input of different shapes.

    Source: Ioffe and Szegedy (2015), section 3, simplified.
    """
    x, dy = checked(input, grad_output)
    dim = (0, *range(2, x.dim()))
    x_hat, inv_std = normalized(x, dim, eps)
    dbeta = dy.sum(dim)
    dgamma = (dy * x_hat).sum(dim)
    dx = through_normalization(scaled(dy, per_channel(weight, x)), x_hat, inv_std, dim)
    return dx.to(input.dtype), dgamma, dbeta


def batch_norm_eval_backward(
    grad_output: Tensor,
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients through batch norm in evaluation, where the statistics are constants.

        dβ = Σ dy,        dγ = Σ dy·x̂,        dx = γ/√(v + ε) · dy

    Arguments, returns and errors: `batch_norm_backward`, with the running averages (C,).

    Source: the chain rule on Ioffe and Szegedy (2015), Algorithm 2.
    """
    x, dy = checked(input, grad_output)
    dim = (0, *range(2, x.dim()))
    inv_std = torch.rsqrt(per_channel(running_var, x).to(x.dtype) + eps)
    x_hat = (x - per_channel(running_mean, x)) * inv_std
    dx = scaled(dy, per_channel(weight, x)) * inv_std
    return dx.to(input.dtype), (dy * x_hat).sum(dim), dy.sum(dim)


def layer_norm_backward(
    grad_output: Tensor,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients through layer norm; S is an example's trailing dimensions, γ and β have their shape.

        g = dy ⊙ γ,    dx = through_normalization(g),    dγ = Σ_n dy·x̂,    dβ = Σ_n dy

    Args:
        grad_output: dy, of the shape of input.
        input: x, (*, *normalized_shape).
        normalized_shape: the trailing dimensions.
        weight: γ, of shape normalized_shape; None stands for ones.
        eps: ε.

    Returns:
        dx, dγ, dβ.

    Source: the chain rule on Ba, Kiros and Hinton (2016), equation 3.
    """
    x, dy = checked(input, grad_output)
    dim = tuple(range(-len(normalized_shape), 0))
    x_hat, inv_std = normalized(x, dim, eps)
    dx = through_normalization(scaled(dy, weight), x_hat, inv_std, dim)
    return dx.to(input.dtype), over_examples(dy * x_hat, dim), over_examples(dy, dim)


def rms_norm_backward(
    grad_output: Tensor,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """Gradients through RMS norm: nothing is centred, so only the component along x̂ goes.

        x̂ = x/ρ, ρ = √(mean_S(x²) + ε),    g = dy ⊙ γ
        dx = (g − x̂ · mean_S(g x̂)) / ρ,    dγ = Σ_n dy·x̂

    Arguments: `layer_norm_backward`. Returns dx and dγ.

    Source: the chain rule on Zhang and Sennrich (2019), equation 4.
    """
    x, dy = checked(input, grad_output)
    dim = tuple(range(-len(normalized_shape), 0))
    inv_rms = torch.rsqrt(x.square().mean(dim, keepdim=True) + eps)
    x_hat = x * inv_rms
    g = scaled(dy, weight)
    dx = inv_rms * (g - x_hat * (g * x_hat).mean(dim, keepdim=True))
    return dx.to(input.dtype), over_examples(dy * x_hat, dim)


def group_norm_backward(
    grad_output: Tensor, input: Tensor, num_groups: int, weight: Tensor | None = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients through group norm; S is a group of C/G channels of an example.

        g = γ_c dy,    dx = through_normalization(g),    dγ_c = Σ dy·x̂,    dβ_c = Σ dy

    Args:
        grad_output: dy, of the shape of input.
        input: x, (N, C, *).
        num_groups: G.
        weight: γ, (C,); None stands for ones.
        eps: ε.

    Returns:
        dx, dγ (C,), dβ (C,).

    Source: the chain rule on Wu and He (2018), equation 7.
    """
    x, dy = checked(input, grad_output)
    g = scaled(dy, per_channel(weight, x))
    grouped, g = (t.unflatten(1, (num_groups, -1)) for t in (x, g))
    dim = tuple(range(2, grouped.dim()))
    x_hat, inv_std = normalized(grouped, dim, eps)
    dx = through_normalization(g, x_hat, inv_std, dim).flatten(1, 2)
    of_channel = (0, *range(2, x.dim()))
    return dx.to(input.dtype), (dy * x_hat.flatten(1, 2)).sum(of_channel), dy.sum(of_channel)


def instance_norm_backward(
    grad_output: Tensor, input: Tensor, weight: Tensor | None = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients through instance norm: group norm's with one channel a group.

        g = γ_c dy,    dx = through_normalization(g),    dγ_c = Σ dy·x̂,    dβ_c = Σ dy

    Arguments and returns: `group_norm_backward`.

    Source: the chain rule on Ulyanov, Vedaldi and Lempitsky (2016).
    """
    return group_norm_backward(grad_output, input, input.shape[1], weight, eps)


def batch_renorm_backward(
    grad_output: Tensor, input: Tensor, r: Tensor, d: Tensor, weight: Tensor | None = None, eps: float = 1e-3
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients through batch renormalization, y = γ (x̂ r + d) + β with r and d constant.

        dβ = Σ dy,    dγ = Σ dy·(x̂ r + d),    dx = through_normalization(r γ dy)

    Args:
        grad_output: dy, of the shape of input.
        input: x, (N, C) or (N, C, *).
        r, d: (C,).
        weight: γ, (C,); None stands for ones.
        eps: ε.

    Returns:
        dx, dγ, dβ.

    Source: Ioffe (2017), section 3.
    """
    x, dy = checked(input, grad_output)
    dim = (0, *range(2, x.dim()))
    x_hat, inv_std = normalized(x, dim, eps)
    r, d = per_channel(r, x), per_channel(d, x)
    dx = through_normalization(r * scaled(dy, per_channel(weight, x)), x_hat, inv_std, dim)
    return dx.to(input.dtype), (dy * (x_hat * r + d)).sum(dim), dy.sum(dim)


def checked(input: Tensor, grad_output: Tensor) -> tuple[Tensor, Tensor]:
    """x and dy in the accumulation dtype."""
    if grad_output.shape != input.shape:
        raise ValueError(
            f"grad_output must have the shape of input, {tuple(input.shape)}, "
            f"but it is {tuple(grad_output.shape)}"
        )
    dtype = accumulation_dtype(input.dtype)
    return input.to(dtype), grad_output.to(dtype)


def normalized(x: Tensor, dim: Dims, eps: float) -> tuple[Tensor, Tensor]:
    """x̂ and 1/√(σ² + ε)."""
    _, centred = centre(x, dim)
    inv_std = torch.rsqrt(centred.square().mean(dim, keepdim=True) + eps)
    return centred * inv_std, inv_std


def scaled(dy: Tensor, gamma: Tensor | None) -> Tensor:
    return dy if gamma is None else dy * gamma


def over_examples(t: Tensor, dim: Dims) -> Tensor:
    """Sum over all but the trailing dimensions `dim`."""
    leading = tuple(range(t.dim() - len(dim)))
    return t.sum(leading) if leading else t
