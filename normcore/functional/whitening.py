"""Whitening: features centred, scaled and decorrelated."""

import contextlib

import torch
from torch import Tensor

from normcore.functional._checks import check_channels, check_floating
from normcore.functional.normalize import per_channel, scale_and_shift
from normcore.statistics import accumulation_dtype, centre, update_running

__all__ = ["decorrelated_batch_norm", "inverse_root", "inverse_root_by_newton"]


def inverse_root(covariance: Tensor) -> Tensor:
    """Σ^(−1/2), by its eigenvectors: Σ = D Λ Dᵀ, Σ^(−1/2) = D Λ^(−1/2) Dᵀ (ZCA).

    Args:
        covariance: (*, C, C), symmetric and positive definite.

    Source: Huang, Yang, Lang and Deng (2018), equation 4.
    """
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    return vectors * eigenvalues.rsqrt().unsqueeze(-2) @ vectors.mT


def inverse_root_by_newton(covariance: Tensor, steps: int) -> Tensor:
    """Σ^(−1/2), by Newton's iteration; no eigenvectors, whose gradients are unstable.

        Σ_N = Σ / tr Σ,   P_0 = I,   P_k = (3 P_{k−1} − P_{k−1}³ Σ_N) / 2,   Σ^(−1/2) ≈ P_T / √(tr Σ)

    Args:
        covariance: (*, C, C), symmetric and positive definite.
        steps: T. The paper takes 5, which leaves small eigenvalues partly as they are. Far beyond
            convergence rounding errors grow, the faster the worse Σ is conditioned.

    Source: Huang, Zhou, Zhu, Liu and Shao (2019), Algorithm 1.
    """
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    scaled = covariance / trace
    p = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device).expand_as(
        covariance
    )
    for _ in range(steps):
        p = (3 * p - p @ p @ p @ scaled) / 2
    return p * torch.rsqrt(trace)


def decorrelated_batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_whitening: Tensor | None,
    num_groups: int = 1,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    newton_steps: int | None = None,
) -> Tensor:
    """Decorrelated batch norm: the channels of a group are whitened together.

        x̂ = Σ^(−1/2) (x − μ),        Σ = (1/m) Σ_i (x_i − μ)(x_i − μ)ᵀ + ε I
        y = x̂ · γ_c + β_c

    Args:
        input: (N, C) or (N, C, *); m counts examples and positions.
        running_mean: (C,), or None (training only).
        running_whitening: (G, C/G, C/G), running average of Σ^(−1/2), or None (training only).
        num_groups: G, a divisor of C.
        weight, bias: γ and β, (C,), or None.
        training, momentum: as `batch_norm`.
        eps: ε.
        newton_steps: T of Newton's iteration; None for eigenvectors.

    Raises:
        ValueError: C not divisible by num_groups.
        RuntimeError: evaluation without the running averages.

    Source: Huang, Yang, Lang and Deng (2018), Algorithm 1; by iteration: Huang et al. (2019).
    """
    check_floating(input)
    channels = input.shape[1]
    check_channels("decorrelated_batch_norm", channels, input, running_mean, None, weight, bias)
    if num_groups < 1 or channels % num_groups:
        raise ValueError(
            f"decorrelated_batch_norm: the number of channels must be divisible by num_groups={num_groups}, "
            f"but the input has {channels}"
        )
    if not input.numel():
        return input.clone()
    with _in_full_precision(input.device.type):
        y = _whitened(
            input, running_mean, running_whitening, num_groups, training, momentum, eps, newton_steps
        )
    return scale_and_shift(y, per_channel(weight, input), per_channel(bias, input), input.dtype)


def _in_full_precision(device_type: str):
    """Autocast would take the products of matrices down to half precision."""
    return contextlib.nullcontext() if device_type == "meta" else torch.autocast(device_type, enabled=False)


def _whitened(
    input: Tensor,
    running_mean: Tensor | None,
    running_whitening: Tensor | None,
    num_groups: int,
    training: bool,
    momentum: float,
    eps: float,
    newton_steps: int | None,
) -> Tensor:
    """x̂, in the accumulation dtype."""
    channels = input.shape[1]
    x = input.to(accumulation_dtype(input.dtype)).movedim(1, 0).flatten(1)  # (C, m)
    if training:
        mean, centred = centre(x, 1)
        groups = centred.view(num_groups, channels // num_groups, -1)
        covariance = groups @ groups.mT / groups.shape[-1]
        covariance = covariance + eps * torch.eye(channels // num_groups, dtype=x.dtype, device=x.device)
        whitening = (
            inverse_root(covariance)
            if newton_steps is None
            else inverse_root_by_newton(covariance, newton_steps)
        )
        if running_mean is not None:
            update_running(running_mean, mean.flatten(), momentum)
            update_running(running_whitening, whitening, momentum)
    elif running_mean is None or running_whitening is None:
        raise RuntimeError(
            "decorrelated_batch_norm: running_mean and running_whitening must be given with training=False"
        )
    else:
        groups = (x - running_mean.to(x.dtype)[:, None]).view(num_groups, channels // num_groups, -1)
        whitening = running_whitening.to(x.dtype)
    by_channel = input.movedim(1, 0)
    return (whitening @ groups).view(by_channel.shape).movedim(0, 1)
