"""Whitening: features centred, scaled and decorrelated."""

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor

from normcore.functional._checks import check_channels, check_floating, check_running, shape_of
from normcore.statistics import accumulation_dtype, centre, traced, update_running

__all__ = ["decorrelated_batch_norm", "inverse_root", "inverse_root_by_newton"]

PART = 2**16  # positions that a product of matrices adds up at once


class _InverseRoot(torch.autograd.Function):
    """Σ^(−1/2) with the gradient that stays finite where eigenvalues agree.

        ∂L/∂Σ = D (K ∘ Dᵀ G D) Dᵀ,        K_ij = −1 / (√λ_i √λ_j (√λ_i + √λ_j)),   G = ∂L/∂Σ^(−1/2)

    K is the divided difference (λ_i^(−1/2) − λ_j^(−1/2)) / (λ_i − λ_j), written without the subtractions
    that are 0/0 at λ_i = λ_j. The gradients of the eigenvectors themselves do not exist there.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(covariance: Tensor, eps: float) -> Tensor:
        eigenvalues, vectors = _eigen(covariance, eps)
        return vectors * eigenvalues.rsqrt().unsqueeze(-2) @ vectors.mT

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        covariance, ctx.eps = inputs
        ctx.save_for_backward(covariance)
        ctx.save_for_forward(covariance)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (covariance,) = ctx.saved_tensors
        return _through_inverse_root(covariance, grad, ctx.eps), None

    @staticmethod
    def jvp(ctx, tangent: Tensor, _):
        (covariance,) = ctx.saved_tensors
        return _through_inverse_root(covariance, tangent, ctx.eps)  # the map is its own transpose


def _eigen(covariance: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Λ and D. What rounding has taken below ε comes back to it."""
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    return eigenvalues.clamp_min(eps), vectors


def _through_inverse_root(covariance: Tensor, grad: Tensor, eps: float) -> Tensor:
    eigenvalues, vectors = _eigen(covariance, eps)
    root = eigenvalues.sqrt()
    row, column = root.unsqueeze(-2), root.unsqueeze(-1)
    k = -1 / (row * column * (row + column))
    return vectors @ (k * (vectors.mT @ grad @ vectors)) @ vectors.mT


def inverse_root(covariance: Tensor, eps: float = 0.0) -> Tensor:
    """Σ^(−1/2), by its eigenvectors: Σ = D Λ Dᵀ, Σ^(−1/2) = D Λ^(−1/2) Dᵀ (ZCA).

    Args:
        covariance: (*, C, C), symmetric and positive definite.
        eps: the least that an eigenvalue of Σ can be. Rounding takes small ones below it, and below 0.

    Source: Huang, Yang, Lang and Deng (2018).
    """
    if traced():
        eigenvalues, vectors = _eigen(covariance, eps)
        return vectors * eigenvalues.rsqrt().unsqueeze(-2) @ vectors.mT
    return _InverseRoot.apply(covariance, eps)


def inverse_root_by_newton(covariance: Tensor, steps: int) -> Tensor:
    """Σ^(−1/2), by Newton's iteration: products of matrices alone.

        Σ_N = Σ / tr Σ,   P_0 = I,   P_k = (3 P_{k−1} − P_{k−1}³ Σ_N) / 2,   Σ^(−1/2) ≈ P_T / √(tr Σ)

    Args:
        covariance: (*, C, C), symmetric and positive definite.
        steps: T. The paper takes 5, which leaves small eigenvalues partly as they are. Far beyond
            convergence rounding errors grow, the faster the worse Σ is conditioned.

    Source: Huang, Zhou, Zhu, Liu and Shao (2019), "Iterative Normalization".
    """
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    scaled = (covariance / trace).view(-1, *covariance.shape[-2:])
    # with P_k = 1.5^k R_k each step is one sum, R_{k+1} = R_k + R_k³ (c_k Σ_N), c_k = −1.5^(2k−1) / 2
    factors = -0.5 * 1.5 ** (2 * torch.arange(steps, dtype=scaled.dtype, device=scaled.device) - 1)
    r = torch.eye(scaled.shape[-1], dtype=scaled.dtype, device=scaled.device).expand_as(scaled)
    for k, term in enumerate((factors.view(-1, 1, 1, 1) * scaled).unbind()):
        r = r + term if k == 0 else torch.baddbmm(r, r @ r @ r, term)  # R_0 = I
    return r.view(covariance.shape) * (1.5**steps * torch.rsqrt(trace))


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

        y = γ ⊙ Σ^(−1/2) (x − μ) + β,        Σ = (1/m) Σ_i (x_i − μ)(x_i − μ)ᵀ + ε I
        S_g = every position, the channels of group g together

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
        ValueError: C not divisible by num_groups; one of the running averages without the other.
        RuntimeError: a vector that is not (C,); evaluation without the running averages.

    Source: Huang, Yang, Lang and Deng (2018); by iteration: Huang et al. (2019).
    """
    check_floating(input)
    check_channels("decorrelated_batch_norm", input, running_mean=running_mean, weight=weight, bias=bias)
    check_running(
        "decorrelated_batch_norm", training, running_mean=running_mean, running_whitening=running_whitening
    )
    channels = input.shape[1]
    if num_groups < 1 or channels % num_groups:
        raise ValueError(
            f"decorrelated_batch_norm: the number of channels must be divisible by num_groups={num_groups}, "
            f"but the input has {channels}"
        )
    expected = (num_groups, channels // num_groups, channels // num_groups)
    if running_whitening is not None and running_whitening.shape != expected:
        raise RuntimeError(
            f"decorrelated_batch_norm: running_whitening must have shape {expected}, one matrix a group, "
            f"but it is {shape_of(running_whitening)}"
        )
    if not input.numel():
        return input.clone()
    x = input.to(accumulation_dtype(input.dtype)).movedim(1, 0).flatten(1)
    with _in_full_precision(input.device.type):
        if training:
            mean, centred = centre(x, 1)
            groups = centred.view(num_groups, -1, x.shape[1])
            identity = torch.eye(channels // num_groups, dtype=x.dtype, device=x.device)
            sigma = covariance(groups) + eps * identity
            if newton_steps is None:
                whitening = inverse_root(sigma, eps)
            else:
                whitening = inverse_root_by_newton(sigma, newton_steps)
            if running_mean is not None and running_whitening is not None:
                update_running(running_mean, mean.flatten(), momentum)
                update_running(running_whitening, whitening, momentum)
        else:
            assert running_mean is not None and running_whitening is not None  # check_running
            groups = (x - running_mean.to(x.dtype).view(-1, 1)).view(num_groups, -1, x.shape[1])
            whitening = running_whitening.to(x.dtype)
        gamma = x.new_ones(channels) if weight is None else weight.to(x.dtype)
        beta = x.new_zeros(channels) if bias is None else bias.to(x.dtype)
        # diag(γ) Σ^(−1/2), so that the scale costs no pass of its own
        matrix = gamma.view(num_groups, -1, 1) * whitening
        shift = beta.view(num_groups, -1, 1)
        scaled = [torch.baddbmm(shift, matrix, part) for part in _parts(groups)]
        y = torch.cat(scaled, -1) if len(scaled) > 1 else scaled[0]
    return _like(y, input).to(input.dtype)


def covariance(centred: Tensor) -> Tensor:
    """(1/m) Σ_i c_i c_iᵀ of centred values (*, C, m): (*, C, C)."""
    products = [part @ part.mT for part in _parts(centred)]
    return sum(products[1:], products[0]) / centred.shape[-1]


def _parts(groups: Tensor) -> Sequence[Tensor]:
    """(G, C/G, m) in parts of the positions: a product of matrices adds naively over all of them, forward in
    the covariance and backward in the gradient to the matrix.
    """
    return (groups,) if traced() else groups.split(PART, -1)


def _in_full_precision(device_type: str):
    """Autocast would take the products of matrices down to half precision."""
    return contextlib.nullcontext() if device_type == "meta" else torch.autocast(device_type, enabled=False)


def _like(groups: Tensor, input: Tensor) -> Tensor:
    """(G, C/G, m) as (N, C, *), in the memory format of the input."""
    y = groups.view(input.shape[1], len(input), *input.shape[2:]).movedim(0, 1)
    last = (
        input.dim() == 4
        and not input.is_contiguous()
        and input.is_contiguous(memory_format=torch.channels_last)
    )
    return y.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
