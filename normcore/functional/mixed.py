"""Several index sets at once, with learned proportions; and statistics taken from elsewhere."""

from collections.abc import Iterable

import torch
from torch import Tensor

from normcore.functional._checks import check_channels, check_floating, check_running, shape_of
from normcore.functional.standardization import per_channel, scale_and_shift, standardize
from normcore.kernels.moments import CentredMoments, moments
from normcore.statistics import centre, mean_square, pooled, update_running, update_running_moments


def adaptive_instance_norm(content: Tensor, style: Tensor, eps: float = 1e-5) -> Tensor:
    """AdaIN: instance norm of the content, scaled and shifted by the style's own statistics.

        y_nc… = σ_nc(s) · (x_nc… − μ_nc(x)) / σ_nc(x) + μ_nc(s),        σ = √(var + ε)
        S_nc = the positions of channel c of n, in each of the two

    Args:
        content: x, (N, C, *).
        style: s, (N, C, *), with any positions of its own.
        eps: ε.

    Raises:
        ValueError: content and style that differ in N or C.

    Source: Huang and Belongie (2017), equation 8.
    """
    check_floating(content)
    check_channels("adaptive_instance_norm", content)
    if content.shape[:2] != style.shape[:2]:
        raise ValueError(
            f"adaptive_instance_norm: content and style must agree in (N, C), but they are "
            f"{shape_of(content)} and {shape_of(style)}"
        )
    check_floating(style)
    mean, var = moments(style, tuple(range(2, style.dim())))
    shape = (*content.shape[:2], *[1] * (content.dim() - 2))
    gamma, beta = torch.sqrt(var + eps).view(shape), mean.view(shape)
    return standardize(content, tuple(range(2, content.dim())), gamma, beta, eps)


def batch_instance_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    gate: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch-instance norm: a gate a channel between batch norm and instance norm.

        y = (ρ_c · x̂_batch + (1 − ρ_c) · x̂_instance) · γ_c + β_c,        0 ≤ ρ_c ≤ 1
        S = those of batch norm and of instance norm

    Args:
        input: (N, C, *).
        running_mean, running_var: (C,), for the batch's part, as `batch_norm`.
        gate: ρ, (C,).
        weight, bias: γ and β, (C,), or None.
        training, momentum, eps: as `batch_norm`.

    Source: Nam and Kim (2018), "Batch-Instance Normalization".
    """
    check_floating(input)
    averages = {"running_mean": running_mean, "running_var": running_var}
    check_channels("batch_instance_norm", input, **averages, gate=gate, weight=weight, bias=bias)
    check_running("batch_instance_norm", training, **averages)
    centred, mean, var = centre_instances(input)
    batch_mean, batch_var = pooled(mean, var, 0)
    if training:
        count = input.numel() // max(input.shape[1], 1)
        update_running_moments(running_mean, running_var, batch_mean, batch_var, count, momentum)
    else:
        assert running_mean is not None and running_var is not None  # check_running
        batch_mean, batch_var = (per_channel(s, input).to(mean.dtype) for s in (running_mean, running_var))
    # ρ (x − μ_B)/σ_B + (1 − ρ)(x − μ_I)/σ_I, as one scale and shift of x − μ_I
    rho = per_channel(gate, input).to(mean.dtype)
    of_batch = rho * torch.rsqrt(batch_var + eps)
    scale = of_batch + (1 - rho) * torch.rsqrt(var + eps)
    return affine(centred, scale, (mean - batch_mean) * of_batch, weight, bias, input)


def switchable_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    mean_weight: Tensor,
    var_weight: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Switchable norm: a learned average of the means, and one of the variances, of three index sets.

        μ = Σ_k w_k μ_k,   σ² = Σ_k w′_k σ²_k,   k ∈ {instance, layer, batch}
        w = softmax(mean_weight),   w′ = softmax(var_weight)
        y = (x − μ) / √(σ² + ε) · γ_c + β_c,        S = those of instance, layer and batch norm

    All variances are biased, the instance's too: a map of one pixel has variance 0, where the unbiased
    one would be 0/0. The running averages hold the batch's mean and (biased) variance.

    Args:
        input: (N, C, *).
        running_mean, running_var: (C,), for the batch's part; both None uses the batch in training only.
        mean_weight, var_weight: (3,), in the order instance, layer, batch.
        weight, bias: γ and β, (C,), or None.
        training, momentum, eps: as `batch_norm`.

    Raises:
        ValueError: mean_weight or var_weight that is not (3,).

    Source: Luo, Ren, Peng, Zhang and Li (2018), equations 3 to 5.
    """
    check_floating(input)
    averages = {"running_mean": running_mean, "running_var": running_var}
    check_channels("switchable_norm", input, **averages, weight=weight, bias=bias)
    check_running("switchable_norm", training, **averages)
    for name, given in {"mean_weight": mean_weight, "var_weight": var_weight}.items():
        if given.shape != (3,):
            raise ValueError(
                f"switchable_norm: {name} must have shape (3,), for instance, layer and batch, "
                f"but it is {shape_of(given)}"
            )
    centred, mean, var = centre_instances(input)
    batch = pooled(mean, var, 0)
    if not training:
        assert running_mean is not None and running_var is not None  # check_running
        batch = tuple(per_channel(s, input).to(mean.dtype) for s in (running_mean, running_var))
    elif running_mean is not None and running_var is not None and input.numel():
        update_running(running_mean, batch[0].flatten(), momentum)
        update_running(running_var, batch[1].flatten(), momentum)
    means, variances = zip((mean, var), pooled(mean, var, 1), batch, strict=True)
    mixed_mean = _weighted(mean_weight.softmax(0), means)
    mixed_var = _weighted(var_weight.softmax(0), variances)
    scale = torch.rsqrt(mixed_var + eps)
    return affine(centred, scale, (mean - mixed_mean) * scale, weight, bias, input)


def _weighted(weights: Tensor, terms: Iterable[Tensor]) -> Tensor:
    first, *others = (w * t for w, t in zip(weights, terms, strict=True))
    return sum(others, first)


def centre_instances(input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x − μ, μ and the biased σ² of each example's channels, over the positions of (N, C, *).

    Methods that mix index sets are made of these: the statistics of a batch or of a layer are pooled
    from the instances', and what follows is one scale and shift of x − μ for each example and channel.
    """
    return centred_moments(input, tuple(range(2, input.dim())))


@CentredMoments.runs
def centred_moments(input: Tensor, dim: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """x − μ, μ and the biased σ² (size 1 in `dim`)."""
    mean, centred = centre(input, dim)
    return centred, mean, mean_square(centred, dim)


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
