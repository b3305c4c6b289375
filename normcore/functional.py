"""Each method's forward formula, stateless, with the signature of torch.nn.functional.

Every method is `normalize` (or `normalize_rms`) over its own index set. For images, input (N, C, H, W):

    batch norm      mean over (N, H, W)        one mean a channel
    layer norm      mean over (C, H, W)        one mean an example
    instance norm   mean over (H, W)           one mean an example and channel
    group norm      mean over (C/G, H, W)      one mean an example and group of channels
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from normcore.statistics import accumulation_dtype, centre, update_running

__all__ = [
    "batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "normalize",
    "normalize_rms",
    "rms_norm",
]


def normalize(
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
    _check_floating(input)
    y, _, _ = _normalize(input, dim, weight, bias, eps)
    return y


def normalize_rms(
    input: Tensor, dim: int | tuple[int, ...], weight: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Scale by the root mean square over an index set; nothing is subtracted.

        y = x / √((1/m) Σ_{i∈S} x_i² + ε) · γ

    Arguments, result and dtypes as `normalize`.

    Source: Zhang and Sennrich (2019), equation 4.
    """
    _check_floating(input)
    x = input.to(accumulation_dtype(input.dtype))
    y = x * torch.rsqrt(x.square().mean(dim, keepdim=True) + eps)
    return _scale_and_shift(y, weight, None, input.dtype)


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
    _check_floating(input)
    if input.dim() < 2:
        raise RuntimeError(f"batch_norm: input must be (N, C) or (N, C, *), but got {_shape(input)}")
    channels = input.shape[1]
    _check_channels("batch_norm", channels, input, running_mean, running_var, weight, bias)
    _check_running("batch_norm", running_mean, running_var, training, "training=False")
    if eps < 0 or (training and eps == 0):
        bound = "positive in training" if training else "non-negative"
        raise ValueError(f"batch_norm: eps must be {bound}, but got {eps}")
    if not training:
        return _normalize_with(input, running_mean, running_var, weight, bias, eps)

    count = input.numel() // channels if channels else 0
    if count == 1:
        raise ValueError(
            f"batch_norm: expected more than 1 value per channel when training, got input {_shape(input)}: "
            "the variance of one value is 0. Use a larger batch, or eval()."
        )
    dim = (0, *range(2, input.dim()))
    y, mean, var = _normalize(input, dim, _per_channel(weight, input), _per_channel(bias, input), eps)
    if running_mean is not None and count > 0:
        update_running(running_mean, mean.flatten(), momentum)
        update_running(running_var, var.flatten() * (count / (count - 1)), momentum)
    return y


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer normalization: one mean and variance an example, over its last dimensions.

        y_n = (x_n − μ_n) / √(σ²_n + ε) ⊙ γ + β,        S_n = the trailing `normalized_shape` of example n

    γ and β have one entry a position of `normalized_shape`, and nothing depends on the batch.

    Args:
        input: (*, *normalized_shape).
        normalized_shape: the trailing dimensions averaged over.
        weight, bias: γ and β, of shape normalized_shape, or None.
        eps: ε.

    Raises:
        RuntimeError: trailing dimensions, weight or bias that are not normalized_shape.
        ValueError: eps negative.
        NotImplementedError: input that is not floating point.

    Source: Ba, Kiros and Hinton (2016), equations 3 and 4.
    """
    _check_floating(input)
    dim = _check_normalized_shape("layer_norm", input, normalized_shape, weight, bias)
    _check_eps("layer_norm", eps)
    y, _, _ = _normalize(input, dim, weight, bias, eps)
    return y


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """RMS normalization: layer norm without the mean.

        y_n = x_n / √((1/m) Σ_i x_ni² + ε) ⊙ γ

    Args and errors as `layer_norm`; there is no bias. eps=None stands for the machine epsilon of the
    dtype computed in (float32 for float16, bfloat16 and float32).

    Source: Zhang and Sennrich (2019), equation 4.
    """
    _check_floating(input)
    dim = _check_normalized_shape("rms_norm", input, normalized_shape, weight, None)
    if eps is None:
        eps = torch.finfo(accumulation_dtype(input.dtype)).eps
    _check_eps("rms_norm", eps)
    return normalize_rms(input, dim, weight, eps)


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
    _check_floating(input)
    if input.dim() < 2:
        raise RuntimeError(f"group_norm: input must be (N, C) or (N, C, *), but got {_shape(input)}")
    if num_groups < 1:
        raise ValueError(f"group_norm: num_groups must be at least 1, but got {num_groups}")
    channels = input.shape[1]
    if channels % num_groups:
        raise RuntimeError(
            f"group_norm: the number of channels must be divisible by num_groups={num_groups}, "
            f"but input {_shape(input)} has {channels}"
        )
    _check_channels("group_norm", channels, input, None, None, weight, bias)
    _check_eps("group_norm", eps)
    if channels and input.numel() == num_groups:
        raise ValueError(
            f"group_norm: expected more than 1 value per group, got input {_shape(input)} "
            f"and num_groups={num_groups}: the variance of one value is 0"
        )
    grouped = input.unflatten(1, (num_groups, channels // num_groups))
    affine = [None if p is None else _grouped(p, num_groups, grouped) for p in (weight, bias)]
    y, _, _ = _normalize(grouped, tuple(range(2, grouped.dim())), *affine, eps)
    return y.flatten(1, 2)


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

    Source: Ulyanov, Vedaldi and Lempitsky (2016), equation 4.
    """
    _check_floating(input)
    count = input.shape[2:].numel() if input.dim() > 2 else 1
    if use_input_stats and count == 1:
        raise ValueError(
            f"instance_norm: expected more than 1 spatial element, got input {_shape(input)}: "
            "the variance of one value is 0"
        )
    if input.dim() < 3:
        raise RuntimeError(f"instance_norm: input must be (N, C, *), but got {_shape(input)}")
    _check_channels("instance_norm", input.shape[1], input, running_mean, running_var, weight, bias)
    _check_running("instance_norm", running_mean, running_var, use_input_stats, "use_input_stats=False")
    _check_eps("instance_norm", eps)
    if not use_input_stats:
        return _normalize_with(input, running_mean, running_var, weight, bias, eps)

    dim = tuple(range(2, input.dim()))
    y, mean, var = _normalize(input, dim, _per_channel(weight, input), _per_channel(bias, input), eps)
    if running_mean is not None and input.numel() > 0:
        update_running(running_mean, mean.flatten(1).mean(0), momentum)
        update_running(running_var, var.flatten(1).mean(0) * (count / (count - 1)), momentum)
    return y


def _normalize(
    input: Tensor, dim: int | tuple[int, ...], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`normalize`, with the mean and the biased variance that it used (size 1 in `dim`)."""
    mean, centred = centre(input, dim)
    var = centred.square().mean(dim, keepdim=True)
    y = centred * torch.rsqrt(var + eps)
    return _scale_and_shift(y, weight, bias, input.dtype), mean, var


def _normalize_with(
    input: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Normalize each channel with statistics that are given, as in evaluation."""
    dtype = accumulation_dtype(input.dtype)
    mean, var = (_per_channel(s, input).to(dtype) for s in (mean, var))
    y = (input.to(dtype) - mean) * torch.rsqrt(var + eps)
    return _scale_and_shift(y, _per_channel(weight, input), _per_channel(bias, input), input.dtype)


def _scale_and_shift(y: Tensor, weight: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    return y.to(dtype)


def _per_channel(vector: Tensor | None, input: Tensor) -> Tensor | None:
    """(C,) as (C, 1, …, 1): broadcasts against (N, C, *)."""
    return None if vector is None else vector.view(-1, *[1] * (input.dim() - 2))


def _grouped(vector: Tensor, num_groups: int, grouped: Tensor) -> Tensor:
    """(C,) as (G, C/G, 1, …, 1): broadcasts against (N, G, C/G, *)."""
    return vector.view(num_groups, -1 if vector.numel() else 0, *[1] * (grouped.dim() - 3))


def _shape(tensor: Tensor) -> str:
    return f"of shape {tuple(tensor.shape)}"


def _check_floating(input: Tensor) -> None:
    if not input.is_floating_point():
        raise NotImplementedError(
            f"input must be floating point, but got {input.dtype} {_shape(input)}: convert it with .float()"
        )


def _check_eps(name: str, eps: float) -> None:
    if eps < 0:
        raise ValueError(f"{name}: eps must be non-negative, but got {eps}")


def _check_channels(
    name: str,
    channels: int,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
) -> None:
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for argument, vector in vectors.items():
        if vector is not None and vector.shape != (channels,):
            raise RuntimeError(
                f"{name}: {argument} must have shape ({channels},), one entry a channel of the input "
                f"{_shape(input)}, but it is {_shape(vector)}"
            )


def _check_running(
    name: str, running_mean: Tensor | None, running_var: Tensor | None, batch: bool, mode: str
) -> None:
    if not batch and (running_mean is None or running_var is None):
        raise RuntimeError(f"{name}: running_mean and running_var must be given with {mode}")
    if (running_mean is None) != (running_var is None):
        raise ValueError(f"{name}: give both running_mean and running_var, or neither")


def _check_normalized_shape(
    name: str, input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None
) -> tuple[int, ...]:
    """The trailing dimensions of the input, after checking that they are `normalized_shape`."""
    shape = tuple(normalized_shape)
    if not shape:
        raise RuntimeError(f"{name}: normalized_shape must have at least one dimension, but got {shape}")
    if tuple(input.shape[-len(shape) :]) != shape:
        raise RuntimeError(
            f"{name}: the last dimensions of the input must be normalized_shape={shape}, "
            f"but it is {_shape(input)}"
        )
    for argument, vector in {"weight": weight, "bias": bias}.items():
        if vector is not None and tuple(vector.shape) != shape:
            raise RuntimeError(
                f"{name}: {argument} must have shape normalized_shape={shape}, but it is {_shape(vector)}"
            )
    return tuple(range(-len(shape), 0))
