"""Group and instance normalization: statistics of one example's channels, all positions."""

from torch import Tensor

from normcore.functional._checks import check_channels, check_eps, check_floating, check_running, shape_of
from normcore.functional._layout import laid_out
from normcore.functional.standardization import (
    autocast_dtype,
    per_channel,
    standardize_by,
    standardize_with_statistics,
)
from normcore.statistics import update_running_moments


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Group normalization: one mean and variance an example and group of channels.

        y_nc… = (x_nc… − μ_ng) / √(σ²_ng + ε) · γ_c + β_c,        S_ng = the C/G channels of group g of n

    Channels are grouped in order: group g holds channels g·C/G to (g+1)·C/G − 1. G = 1 is layer norm
    over (C, *) with one γ and β a channel; G = C is instance norm.

    Args:
        input: (N, C) or (N, C, *).
        num_groups: G, a divisor of C.
        weight, bias: γ and β, (C,), or None.
        eps: ε.

    Raises:
        RuntimeError: fewer than 2 dimensions; C not divisible by G; weight or bias not (C,).
        ValueError: num_groups below 1; one value in the whole statistic and batch; eps negative.
        NotImplementedError: input that is not floating point.

    Source: Wu and He (2018), equation 7.
    """
    check_floating(input)
    if num_groups < 1:
        raise ValueError(f"group_norm: num_groups must be at least 1, but got {num_groups}")
    check_channels("group_norm", input, weight=weight, bias=bias)
    channels = input.shape[1]
    if channels % num_groups:
        raise RuntimeError(
            f"group_norm: the number of channels must be divisible by num_groups={num_groups}, "
            f"but input {shape_of(input)} has {channels}"
        )
    check_eps("group_norm", eps)
    if channels and input.numel() == num_groups:
        raise ValueError(
            f"group_norm: expected more than 1 value per group, got input {shape_of(input)} "
            f"and num_groups={num_groups}: the variance of one value is 0"
        )
    input = laid_out(input)
    grouped = input.unflatten(1, (num_groups, channels // num_groups))
    gamma, beta = (None if p is None else grouped_vector(p, num_groups, grouped) for p in (weight, bias))
    dim = tuple(range(2, grouped.dim()))
    return standardize_with_statistics(grouped, dim, gamma, beta, eps, autocast_dtype(input))[0].flatten(1, 2)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Instance normalization: one mean and variance an example and channel.

        y_nc… = (x_nc… − μ_nc) / √(σ²_nc + ε) · γ_c + β_c,        S_nc = the positions of channel c of n

    Running averages, if given, follow the batch's average of μ_nc and of the unbiased σ²_nc.

    Args:
        input: (N, C, *), at least one dimension after C.
        running_mean, running_var: (C,), or both None.
        weight, bias: γ and β, (C,), or None.
        use_input_stats: normalize with the example's own statistics; otherwise with the running ones.
        momentum: weight of the new value in the running averages.
        eps: ε.

    Raises:
        ValueError: one position a channel with use_input_stats; eps negative.
        RuntimeError: a vector that is not (C,); running averages needed but missing.
        NotImplementedError: input that is not floating point.

    Source: Ulyanov, Vedaldi and Lempitsky (2016), "Instance Normalization".
    """
    check_floating(input)
    count = input.shape[2:].numel() if input.dim() > 2 else 1
    if use_input_stats and count == 1:
        raise ValueError(
            f"instance_norm: expected more than 1 spatial element, got input {shape_of(input)}: "
            "the variance of one value is 0"
        )
    if input.dim() < 3:
        raise RuntimeError(f"instance_norm: input must be (N, C, *), but got {shape_of(input)}")
    averages = {"running_mean": running_mean, "running_var": running_var}
    check_channels("instance_norm", input, **averages, weight=weight, bias=bias)
    check_running("instance_norm", use_input_stats, "use_input_stats=False", **averages)
    check_eps("instance_norm", eps)
    input = laid_out(input, channels_last=False)
    if not use_input_stats:
        assert running_mean is not None and running_var is not None  # check_running
        return standardize_by(input, running_mean, running_var, weight, bias, eps)

    dim = tuple(range(2, input.dim()))
    y, mean, var = standardize_with_statistics(
        input, dim, per_channel(weight, input), per_channel(bias, input), eps, input.dtype
    )
    if input.numel():
        mean, var = mean.mean(0), var.mean(0)
        update_running_moments(running_mean, running_var, mean, var, count, momentum)
    return y


def grouped_vector(vector: Tensor, num_groups: int, grouped: Tensor) -> Tensor:
    """(C,) as (G, C/G, 1, …, 1): broadcasts against (N, G, C/G, *)."""
    return vector.view(num_groups, -1 if vector.numel() else 0, *[1] * (grouped.dim() - 3))
