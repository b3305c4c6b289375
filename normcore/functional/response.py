"""Normalization by response: no mean is subtracted, or the divisor is part of the activation."""

import torch
from torch import Tensor

from normcore.functional._checks import check_channels, check_floating, shape_of
from normcore.functional.standardization import per_channel, scale_and_shift
from normcore.kernels.moments import mean_square, moments
from normcore.kernels.response import Quotient, Thresholded
from normcore.statistics import accumulation_dtype, pooled, update_running_moments


def filter_response_norm(
    input: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    threshold: Tensor | None = None,
    eps: float = 1e-6,
) -> Tensor:
    """Filter response norm, with its thresholded linear unit.

        y_nc… = max(x_nc… / √(ν²_nc + ε) · γ_c + β_c, τ_c),        ν²_nc = (1/m) Σ_{i∈S} x_i²
        S_nc = the positions of channel c of n

    Args:
        input: (N, C, *).
        weight, bias, threshold: γ, β and τ, (C,), or None; without τ there is no maximum.
        eps: ε.

    Source: Singh and Krishnan (2020), section 3.1.
    """
    check_floating(input)
    check_channels("filter_response_norm", input, weight=weight, bias=bias, threshold=threshold)
    x = input.to(accumulation_dtype(input.dtype))
    gamma, beta, tau = (per_channel(p, input) for p in (weight, bias, threshold))
    scale = torch.rsqrt(mean_square(x, tuple(range(2, x.dim()))) + eps)
    if gamma is not None:
        scale = scale * gamma
    if tau is None:
        return scale_and_shift(x, scale, beta, input.dtype)
    beta = torch.zeros_like(tau) if beta is None else beta
    return thresholded(x, scale, beta.to(x.dtype), tau.to(x.dtype)).to(input.dtype)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Local response norm: divided by the squares of neighbouring channels at the same position.

        y_c = x_c / (k + (α/n) Σ_{c′ ∈ S} x_c′²)^β,        S_c = n channels around c, at one position

    They are the n = `size` channels from c − ⌊n/2⌋ on; those outside count as 0.

    Args:
        input: (N, C, *), at least three dimensions.
        size: n.
        alpha, beta, k: as in the formula.

    Raises:
        ValueError: size below 1, or fewer than three dimensions.

    Source: Krizhevsky, Sutskever and Hinton (2012), section 3.3; α over n as in torch.nn.
    """
    check_floating(input)
    if size < 1:
        raise ValueError(f"local_response_norm: size must be at least 1, but got {size}")
    if input.dim() < 3:
        raise ValueError(f"local_response_norm: input must be (N, C, *), but got {shape_of(input)}")
    x = input.to(accumulation_dtype(input.dtype))
    around = (0, 0) * (x.dim() - 2) + (size // 2, (size - 1) // 2)
    squares = torch.nn.functional.pad(x.square(), around)
    first, *others = (squares.narrow(1, start, x.shape[1]) for start in range(size))
    sums = sum(others, first)
    return (x / (k + alpha / size * sums).pow(beta)).to(input.dtype)


def evonorm_s0(
    input: Tensor,
    num_groups: int,
    v: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """EvoNorm-S0: a swish divided by the deviation of its group; an activation and its norm in one.

        y_nc… = x_nc… · sigmoid(v_c x_nc…) / √(σ²_ng + ε) · γ_c + β_c
        S_ng = the C/G channels of group g of n

    Args:
        input: (N, C, *).
        num_groups: G, a divisor of C.
        v: (C,).
        weight, bias: γ and β, (C,), or None.
        eps: ε.

    Raises:
        ValueError: C not divisible by num_groups.

    Source: Liu, Brock, Simonyan and Le (2020), "Evolving Normalization-Activation Layers".
    """
    check_floating(input)
    check_channels("evonorm_s0", input, v=v, weight=weight, bias=bias)
    channels = input.shape[1]
    if num_groups < 1 or channels % num_groups:
        raise ValueError(
            f"evonorm_s0: the number of channels must be divisible by num_groups={num_groups}, "
            f"but input {shape_of(input)} has {channels}"
        )
    x = input.to(accumulation_dtype(input.dtype))
    grouped = x.unflatten(1, (num_groups, channels // num_groups))
    _, var = moments(grouped, tuple(range(2, grouped.dim())))
    # one factor an example and channel, its group's 1/σ and its own γ
    factor = torch.rsqrt(var + eps).expand(*grouped.shape[:3], *[1] * (grouped.dim() - 3)).flatten(1, 2)
    if weight is not None:
        factor = factor * per_channel(weight, input)
    y = x * torch.sigmoid(per_channel(v, input) * x) * factor
    if bias is not None:
        y = y.add_(per_channel(bias, input))
    return y.to(input.dtype)


def evonorm_b0(
    input: Tensor,
    running_var: Tensor | None,
    v: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """EvoNorm-B0: divided by the larger of the batch's deviation and a line through the instance's.

        y_nc… = x_nc… / max(√(σ²_c + ε), v_c x_nc… + √(σ²_nc + ε)) · γ_c + β_c
        S = those of batch norm and of instance norm

    Args:
        input: (N, C, *).
        running_var: (C,), of the batch's unbiased variance; None in training only.
        v: (C,).
        weight, bias: γ and β, (C,), or None.
        training, momentum, eps: as `batch_norm`.

    Raises:
        RuntimeError: evaluation without running_var.

    Source: Liu, Brock, Simonyan and Le (2020), "Evolving Normalization-Activation Layers".
    """
    check_floating(input)
    check_channels("evonorm_b0", input, running_var=running_var, v=v, weight=weight, bias=bias)
    x = input.to(accumulation_dtype(input.dtype))
    mean, instance_var = moments(x, tuple(range(2, x.dim())))
    if training:
        _, batch_var = pooled(mean, instance_var, 0)
        count = input.numel() // input.shape[1]
        update_running_moments(None, running_var, batch_var, batch_var, count, momentum)
    elif running_var is None:
        raise RuntimeError("evonorm_b0: running_var must be given with training=False")
    else:
        batch_var = per_channel(running_var, input).to(x.dtype)
    above, floor = torch.sqrt(instance_var + eps), torch.sqrt(batch_var + eps)
    gamma = torch.ones_like(floor) if weight is None else per_channel(weight, input).to(x.dtype)
    y = quotient(x, gamma, per_channel(v, input).to(x.dtype), above, floor)
    if bias is not None:
        y = y.add_(per_channel(bias, input))
    return y.to(input.dtype)


@Quotient.runs
def quotient(x: Tensor, f: Tensor, v: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """f x / max(v x + a, b), with f, v, a and b of size 1 along the positions."""
    return f * x / torch.maximum(v * x + a, b)


@Thresholded.runs
def thresholded(x: Tensor, r: Tensor, beta: Tensor, tau: Tensor) -> Tensor:
    """max(r x + β, τ), with r, β and τ of size 1 along the positions."""
    return torch.maximum(r * x + beta, tau)
