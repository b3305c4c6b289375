"""Whitening: features centred, scaled and decorrelated."""

import contextlib
from collections.abc import Iterable

import torch
from torch import Tensor

from normcore.functional._by_hand import ByHand
from normcore.functional._checks import check_channels, check_floating
from normcore.statistics import accumulation_dtype, centre, update_running

__all__ = ["decorrelated_batch_norm", "inverse_root", "inverse_root_by_newton"]

# Entries up to which the whole tensor stays in the cache, and a loop over groups costs more than it saves.
SMALL = 2**18


def inverse_root(covariance: Tensor) -> Tensor:
    """Σ^(−1/2), by its eigenvectors: Σ = D Λ Dᵀ, Σ^(−1/2) = D Λ^(−1/2) Dᵀ (ZCA).

    Args:
        covariance: (*, C, C), symmetric and positive definite.

    Source: Huang, Yang, Lang and Deng (2018).
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

    Source: Huang, Yang, Lang and Deng (2018); by iteration: Huang et al. (2019).
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
    x = input.to(accumulation_dtype(input.dtype))
    with _in_full_precision(input.device.type):
        if training:
            identity = torch.eye(channels // num_groups, dtype=x.dtype, device=x.device)
            groups = None
            if x.numel() <= SMALL:
                mean, groups = _centred_groups(x, num_groups)
                m = groups.shape[-1]
                covariance = torch.baddbmm(eps * m * identity, groups, groups.mT) / m
            else:
                mean, covariance = _Covariance.of(x, num_groups)
                covariance = covariance + eps * identity
            if newton_steps is None:
                whitening = inverse_root(covariance)
            else:
                whitening = inverse_root_by_newton(covariance, newton_steps)
            if running_mean is not None:
                update_running(running_mean, mean, momentum)
                update_running(running_whitening, whitening, momentum)
        elif running_mean is None or running_whitening is None:
            raise RuntimeError(
                "decorrelated_batch_norm: running_mean and running_whitening must be given with "
                "training=False"
            )
        else:
            mean, whitening, groups = running_mean.to(x.dtype), running_whitening.to(x.dtype), None
        # diag(γ) Σ^(−1/2), so that the scale costs no pass of its own
        gamma = x.new_ones(channels) if weight is None else weight.to(x.dtype)
        matrix = gamma.view(num_groups, -1, 1) * whitening
        beta = x.new_zeros(channels) if bias is None else bias.to(x.dtype)
        if groups is None:
            y = _Product.of(x, mean, matrix, beta, training)
        else:
            y = _like(torch.baddbmm(beta.view(num_groups, -1, 1), matrix, groups), x)
    return y.to(input.dtype)


def _in_full_precision(device_type: str):
    """Autocast would take the products of matrices down to half precision."""
    return contextlib.nullcontext() if device_type == "meta" else torch.autocast(device_type, enabled=False)


def _centred_groups(x: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """μ, (C,), and x − μ, (G, C/G, m)."""
    mean, centred = centre(x.movedim(1, 0).flatten(1), 1)
    return mean.flatten(), centred.view(num_groups, -1, centred.shape[1])


def _like(groups: Tensor, x: Tensor) -> Tensor:
    """(G, C/G, m) as (N, C, *), in the memory format of x."""
    y = groups.view(x.shape[1], len(x), *x.shape[2:]).movedim(0, 1)
    last = x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return y.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _group(x: Tensor, g: int, num_groups: int) -> Tensor:
    """The channels of one group, (C/G, m): a copy small enough to stay in the cache."""
    size = x.shape[1] // num_groups
    return x[:, g * size : (g + 1) * size].movedim(1, 0).flatten(1)


def _joined(groups: Iterable[Tensor], num_groups: int, like: Tensor) -> Tensor:
    """(N, C, *) in the memory format of `like`, from groups of (C/G, m) taken one after another."""
    joined = None
    for g, group in enumerate(groups):
        if joined is None:
            # made from a group: under vmap it must be batched as the groups are
            joined = group.new_empty_strided(like.shape, torch.empty_like(like).stride())
        size = like.shape[1] // num_groups
        part = joined[:, g * size : (g + 1) * size]
        part.copy_(group.view(size, len(like), *like.shape[2:]).movedim(0, 1))
    return joined


class _Covariance(ByHand):
    """μ, (C,), and (1/m) (x − μ)(x − μ)ᵀ, (G, C/G, C/G)."""

    @staticmethod
    def formula(x: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
        mean, groups = _centred_groups(x, num_groups)
        return mean, groups @ groups.mT / groups.shape[-1]

    @staticmethod
    def forward(x: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
        means, products = [], []
        for g in range(num_groups):
            mean, centred = centre(_group(x, g, num_groups), 1)
            means.append(mean.flatten())
            products.append(centred @ centred.mT / centred.shape[1])
        return torch.cat(means), torch.stack(products)

    @staticmethod
    def first_order(inputs: tuple, grads: tuple[Tensor, ...]) -> tuple[Tensor]:
        (x, num_groups), (g_mean, g_covariance) = inputs, grads
        m = x.numel() // x.shape[1]
        symmetric = (g_covariance + g_covariance.mT) / m
        of_mean = g_mean.view(num_groups, -1, 1) / m
        dx = (
            torch.addmm(of_mean[g], symmetric[g], centre(_group(x, g, num_groups), 1)[1])
            for g in range(num_groups)
        )
        return (_joined(dx, num_groups, x),)


class _Product(ByHand):
    """A (x − μ) + β by groups; in training μ is the batch's own, and x − μ has its gradient."""

    @staticmethod
    def formula(x: Tensor, mean: Tensor, matrix: Tensor, beta: Tensor, training: bool) -> Tensor:
        flat = x.movedim(1, 0).flatten(1)
        centred = centre(flat, 1)[1] if training else flat - mean[:, None]
        return _like(matrix @ centred.view(len(matrix), -1, flat.shape[1]) + beta.view(len(matrix), -1, 1), x)

    @staticmethod
    def _centred(x: Tensor, mean: Tensor, num_groups: int, g: int, training: bool) -> Tensor:
        flat = _group(x, g, num_groups)
        return centre(flat, 1)[1] if training else flat - mean.view(num_groups, -1, 1)[g]

    @staticmethod
    def forward(x: Tensor, mean: Tensor, matrix: Tensor, beta: Tensor, training: bool) -> Tensor:
        count = len(matrix)
        y = (
            torch.addmm(b, a, _Product._centred(x, mean, count, g, training))
            for g, (a, b) in enumerate(zip(matrix, beta.view(count, -1, 1), strict=True))
        )
        return _joined(y, count, x)

    @staticmethod
    def first_order(inputs: tuple, grads: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
        (x, mean, matrix, _, training), (grad,) = inputs, grads
        count = len(matrix)
        d_matrix, d_beta = [], []

        def of_x() -> Iterable[Tensor]:
            for g, a in enumerate(matrix):
                flat = _group(grad, g, count)
                d_matrix.append(flat @ _Product._centred(x, mean, count, g, training).mT)
                d_beta.append(flat.sum(1))
                dx = a.mT @ flat
                yield dx.sub_(dx.mean(1, keepdim=True)) if training else dx

        dx = _joined(of_x(), count, x)
        d_beta = torch.cat(d_beta)
        d_mean = None if training else -(matrix.mT @ d_beta.view(count, -1, 1)).flatten()
        return dx, d_mean, torch.stack(d_matrix), d_beta
