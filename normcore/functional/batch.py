"""Batch normalization, one mean and variance a channel, and what builds on it."""

from typing import Any

import torch
from torch import Tensor

from normcore.functional._checks import check_channels, check_floating, check_running, shape_of
from normcore.functional._layout import laid_out
from normcore.functional.mixed import affine, centre_instances
from normcore.functional.standardization import (
    per_channel,
    scale_and_shift,
    standardize_by,
    standardize_with_statistics,
)
from normcore.statistics import (
    accumulation_dtype,
    centre,
    merge,
    pooled,
    update_running,
    update_running_moments,
)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalization: one mean and variance a channel, over the batch and all positions.

        y_nc… = (x_nc… − μ_c) / √(σ²_c + ε) · γ_c + β_c,        S_c = every position of channel c

    In training μ, σ² are the batch's (σ² divides by m), and the running averages, if given, move in
    place: running ← (1 − momentum)·running + momentum·batch, with the unbiased variance σ²·m/(m−1).
    In evaluation μ, σ² are the running averages.

    Args:
        input: (N, C) or (N, C, *).
        running_mean, running_var: (C,), or both None (training only).
        weight, bias: γ and β, (C,), or None.
        training: use the batch's statistics.
        momentum: weight of the new value in the running averages.
        eps: ε.

    Raises:
        ValueError: one value a channel in training; eps negative, or zero in training; one of the
            running averages without the other.
        RuntimeError: a vector that is not (C,); evaluation without running averages.
        NotImplementedError: input that is not floating point.

    Source: Ioffe and Szegedy (2015), Algorithms 1 and 2.
    """
    check_floating(input)
    averages = {"running_mean": running_mean, "running_var": running_var}
    check_channels("batch_norm", input, **averages, weight=weight, bias=bias)
    check_running("batch_norm", training, **averages)
    input = laid_out(input)
    if eps < 0 or (training and eps == 0):
        bound = "positive in training" if training else "non-negative"
        raise ValueError(f"batch_norm: eps must be {bound}, but got {eps}")
    if not training:
        assert running_mean is not None and running_var is not None  # check_running
        return standardize_by(input, running_mean, running_var, weight, bias, eps)

    count = input.numel() // max(input.shape[1], 1)
    if count == 1:
        raise ValueError(
            f"batch_norm: expected more than 1 value per channel when training, got input {shape_of(input)}: "
            "the variance of one value is 0. Use a larger batch, or eval()."
        )
    dim = (0, *range(2, input.dim()))
    y, mean, var = standardize_with_statistics(
        input, dim, per_channel(weight, input), per_channel(bias, input), eps, input.dtype
    )
    update_running_moments(running_mean, running_var, mean, var, count, momentum)
    return y


def batch_renorm(
    input: Tensor,
    running_mean: Tensor,
    running_std: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.01,
    eps: float = 1e-3,
    r_max: float | Tensor = 3.0,
    d_max: float | Tensor = 5.0,
) -> Tensor:
    """Batch renormalization: batch norm corrected towards what the running averages would give.

        σ_B = √(σ²_c + ε)
        r = clip(σ_B / σ_run, 1/r_max, r_max),        d = clip((μ_c − μ_run) / σ_run, −d_max, d_max)
        y_nc… = ((x_nc… − μ_c) / σ_B · r + d) · γ_c + β_c,        S_c = every position of channel c

    r and d are constants in the backward pass. Where neither is clipped, the output is that of
    evaluation, (x − μ_run)/σ_run. The running averages of μ_c and σ_B then move in place.

    Args:
        input: (N, C) or (N, C, *).
        running_mean, running_std: (C,); a deviation is kept, not a variance.
        weight, bias: γ and β, (C,), or None.
        training: use and update; otherwise normalize by the running averages.
        momentum: α, weight of the new value.
        eps: ε.
        r_max, d_max: limits; 1 and 0 give batch norm.

    Raises:
        ValueError: r_max below 1, or d_max below 0.
        RuntimeError: a vector that is not (C,).

    Source: Ioffe (2017), Algorithm 1.
    """
    check_floating(input)
    vectors = {"running_mean": running_mean, "running_std": running_std, "weight": weight, "bias": bias}
    check_channels("batch_renorm", input, **vectors)
    check_running(
        "batch_renorm", False, "or without training", running_mean=running_mean, running_std=running_std
    )
    # the limits of a schedule are tensors, which a check would have to wait for
    if not isinstance(r_max, Tensor) and not isinstance(d_max, Tensor) and (r_max < 1 or d_max < 0):
        raise ValueError(
            f"batch_renorm: r_max must be at least 1 and d_max at least 0, but got {r_max} and {d_max}"
        )
    x = input.to(accumulation_dtype(input.dtype))
    gamma, beta = per_channel(weight, input), per_channel(bias, input)
    run_mean, run_std = (per_channel(s, input).to(x.dtype) for s in (running_mean, running_std))
    if not training:
        return scale_and_shift((x - run_mean) / run_std, gamma, beta, input.dtype)
    x_hat, mean, var = standardize_with_statistics(x, (0, *range(2, x.dim())), None, None, eps, x.dtype)
    mean = mean.to(x.dtype)  # a kernel gives it in float64
    std = torch.sqrt(var + eps)
    limits: Any = (1 / r_max, r_max)  # both numbers or both tensors
    r = (std / run_std).clamp(*limits).detach()
    d = ((mean - run_mean) / run_std).clamp(-d_max, d_max).detach()
    # (x̂ r + d) γ + β, with the products of small tensors taken first
    scale, shift = (r, d) if gamma is None else (r * gamma, d * gamma)
    if beta is not None:
        shift = shift + beta
    if input.numel():
        update_running(running_mean, mean.flatten(), momentum)
        update_running(running_std, std.flatten(), momentum)
    return scale_and_shift(x_hat, scale, shift, input.dtype)


def mean_only_batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
) -> Tensor:
    """Mean-only batch norm: the batch's mean is removed, nothing is divided.

        y_nc… = x_nc… − μ_c + β_c,        S_c = every position of channel c

    Meant to follow a weight-normalized layer, which sets the scale.

    Args:
        input: (N, C) or (N, C, *).
        running_mean: (C,), or None (training only).
        bias: β, (C,), or None.
        training: use the batch's mean, and move the running one.
        momentum: weight of the new value.

    Raises:
        RuntimeError: a vector that is not (C,); evaluation without running_mean.

    Source: Salimans and Kingma (2016), section 4.
    """
    check_floating(input)
    check_channels("mean_only_batch_norm", input, running_mean=running_mean, bias=bias)
    x = input.to(accumulation_dtype(input.dtype))
    if training:
        mean, y = centre(x, (0, *range(2, input.dim())))
        if running_mean is not None and input.numel():
            update_running(running_mean, mean.flatten(), momentum)
    elif running_mean is None:
        raise RuntimeError("mean_only_batch_norm: running_mean must be given with training=False")
    else:
        y = x - per_channel(running_mean, input).to(x.dtype)
    return scale_and_shift(y, None, per_channel(bias, input), input.dtype)


def virtual_batch_norm(
    input: Tensor,
    reference_size: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Virtual batch norm: each example is normalized with a reference batch, and with itself.

        y_nc… = (x_nc… − μ_nc) / √(σ²_nc + ε) · γ_c + β_c
        S_nc = all positions of channel c in the reference batch and in example n

    The reference batch stands at the head of the input, so that its statistics pass through the same
    weights, and their gradient with them. It is normalized by its own statistics.

    Args:
        input: (R + N, C) or (R + N, C, *), the R reference examples first.
        reference_size: R, at least 1.
        weight, bias: γ and β, (C,), or None.
        eps: ε.

    Raises:
        ValueError: reference_size that is not between 1 and the batch size.
        RuntimeError: a vector that is not (C,).

    Source: Salimans et al. (2016), "Improved Techniques for Training GANs", section 3.5.
    """
    check_floating(input)
    check_channels("virtual_batch_norm", input, weight=weight, bias=bias)
    if not 1 <= reference_size <= len(input):
        raise ValueError(
            f"virtual_batch_norm: reference_size must be between 1 and the batch size, but got "
            f"{reference_size} for input {shape_of(input)}"
        )
    centred, own_mean, own_var = centre_instances(input)
    ref_mean, ref_var = pooled(own_mean[:reference_size], own_var[:reference_size], 0)
    _, mean, var = merge(reference_size, ref_mean, ref_var, 1, own_mean, own_var)
    is_reference = torch.arange(len(input), device=input.device) < reference_size
    is_reference = is_reference.view(-1, *[1] * (input.dim() - 1))
    mean, var = torch.where(is_reference, ref_mean, mean), torch.where(is_reference, ref_var, var)
    scale = torch.rsqrt(var + eps)
    return affine(centred, scale, (own_mean - mean) * scale, weight, bias, input)


def ghost_batch_norm(
    input: Tensor,
    virtual_batch_size: int,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Ghost batch norm: a large batch is normalized in parts, each by its own statistics.

        y_nc… = (x_nc… − μ_kc) / √(σ²_kc + ε) · γ_c + β_c,        n in part k
        S_kc = all positions of channel c in the examples of part k

    The batch is cut into ⌈N / virtual_batch_size⌉ parts of as equal a size as possible. The running
    averages move once for each part. Evaluation is that of batch norm.

    Args:
        input: (N, C) or (N, C, *).
        virtual_batch_size: the largest size of a part, at least 1.
        others, errors: as `batch_norm`.

    Source: Hoffer, Hubara and Soudry (2017), Algorithm 1.
    """
    if virtual_batch_size < 1:
        raise ValueError(
            f"ghost_batch_norm: virtual_batch_size must be at least 1, but got {virtual_batch_size}"
        )
    arguments = (running_mean, running_var, weight, bias, training, momentum, eps)
    if not training or len(input) <= virtual_batch_size:
        return batch_norm(input, *arguments)
    parts = input.tensor_split(-(-len(input) // virtual_batch_size))
    return torch.cat([batch_norm(part, *arguments) for part in parts])
