"""The backward passes of layers that mix index sets."""

import torch
from torch import Tensor

from normcore.functional.standardization import per_channel
from normcore.gradients.normalization import checked, normalized, scaled, through_normalization
from normcore.statistics import moments


def batch_instance_norm_backward(
    grad_output: Tensor, input: Tensor, gate: Tensor, weight: Tensor | None = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients through batch-instance norm in training, x̂ = ρ x̂_B + (1 − ρ) x̂_I.

        g = γ dy
        dx = through_normalization_B(ρ g) + through_normalization_I((1 − ρ) g)
        dρ = Σ g·(x̂_B − x̂_I),    dγ = Σ dy·x̂,    dβ = Σ dy

    Args:
        grad_output: dy, of the shape of input.
        input: x, (N, C, *).
        gate: ρ, (C,).
        weight: γ, (C,); None stands for ones.
        eps: ε.

    Returns:
        dx, dρ, dγ, dβ.

    Source: the chain rule on Nam and Kim (2018), "Batch-Instance Normalization".
    """
    x, dy = checked(input, grad_output)
    space = tuple(range(2, x.dim()))
    over = (0, *space)
    by_batch, inv_batch = normalized(x, over, eps)
    by_instance, inv_instance = normalized(x, space, eps)
    rho = per_channel(gate, x)
    g = scaled(dy, per_channel(weight, x))
    dx = through_normalization(rho * g, by_batch, inv_batch, over)
    dx = dx + through_normalization((1 - rho) * g, by_instance, inv_instance, space)
    dgate = (g * (by_batch - by_instance)).sum(over)
    dgamma = (dy * (rho * by_batch + (1 - rho) * by_instance)).sum(over)
    return dx.to(input.dtype), dgate, dgamma, dy.sum(over)


def switchable_norm_backward(
    grad_output: Tensor,
    input: Tensor,
    mean_weight: Tensor,
    var_weight: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients through switchable norm in training, μ = Σ_k w_k μ_k and σ² = Σ_k w′_k σ²_k.

        g = γ dy,   s = 1/√(σ² + ε)
        dμ_nc = −Σ g s,    dσ²_nc = −½ Σ g (x − μ) s³
        dμ_k = Σ dμ_nc over S_k
        dx = g s + Σ_k (w_k dμ_k + 2 w′_k dσ²_k (x − μ_k))/m_k
        dw_k = Σ_nc dμ_nc μ_k,    dλ = w ⊙ (dw − <w, dw>)

    The sums of dμ_nc and dσ²_nc run over the positions; dσ²_k is summed as dμ_k. λ are the weights before
    the softmax, and w′ goes as w.

    Args:
        grad_output: dy, of the shape of input.
        input: x, (N, C, *).
        mean_weight, var_weight: (3,), before the softmax, in the order instance, layer, batch.
        weight: γ, (C,); None stands for ones.
        eps: ε.

    Returns:
        dx, the gradients of mean_weight and var_weight, dγ, dβ.

    Source: the chain rule on Luo, Ren, Peng, Zhang and Li (2018), equations 3 to 5.
    """
    x, dy = checked(input, grad_output)
    space = tuple(range(2, x.dim()))
    sets = (space, (1, *space), (0, *space))
    w, w_var = mean_weight.softmax(0), var_weight.softmax(0)
    means, variances = zip(*(moments(x, dim, keepdim=True) for dim in sets), strict=True)
    mean, var = (a[0] * b[0] + a[1] * b[1] + a[2] * b[2] for a, b in ((w, means), (w_var, variances)))
    s = torch.rsqrt(var + eps)
    g = scaled(dy, per_channel(weight, x))
    dmean = -(g * s).sum(space, keepdim=True)
    dvar = -0.5 * (g * (x - mean) * s**3).sum(space, keepdim=True)

    dx = g * s
    for k, dim in enumerate(sets):
        m = x[tuple(slice(None) if d in dim else 0 for d in range(x.dim()))].numel()
        shared = tuple(d for d in dim if d < 2)  # the examples or channels that share the statistic
        of_mean, of_var = (t.sum(shared, keepdim=True) if shared else t for t in (dmean, dvar))
        dx = dx + (w[k] * of_mean + 2 * w_var[k] * of_var * (x - means[k])) / m
    dw = torch.stack([(dmean * k).sum() for k in means])
    dw_var = torch.stack([(dvar * k).sum() for k in variances])
    over = (0, *space)
    dgamma = (dy * (x - mean) * s).sum(over)
    # through the softmax
    dw, dw_var = w * (dw - (w * dw).sum()), w_var * (dw_var - (w_var * dw_var).sum())
    return dx.to(input.dtype), dw, dw_var, dgamma, dy.sum(over)
