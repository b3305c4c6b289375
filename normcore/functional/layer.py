"""Layer normalization and its relatives: statistics of one example's last dimensions."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from normcore.functional._checks import check_eps, check_floating, check_normalized_shape
from normcore.functional._layout import laid_out
from normcore.functional.standardization import (
    autocast_dtype,
    scale_and_shift,
    standardize_rms_with_statistics,
    standardize_with_statistics,
)
from normcore.kernels.moments import mean_square
from normcore.statistics import accumulation_dtype


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

    Source: Ba, Kiros and Hinton (2016), equation 3; with gain and bias equations 15 and 16.
    """
    check_floating(input)
    dim = check_normalized_shape("layer_norm", input, normalized_shape, weight, bias)
    input = laid_out(input, channels_last=False)
    check_eps("layer_norm", eps)
    return standardize_with_statistics(input, dim, weight, bias, eps, autocast_dtype(input))[0]


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """RMS normalization: layer norm without the mean.

        y_n = x_n / √((1/m) Σ_i x_ni² + ε) ⊙ γ,        S_n = the trailing `normalized_shape` of example n

    Args and errors as `layer_norm`; there is no bias. eps=None stands for the machine epsilon of the
    dtype computed in (float32 for float16, bfloat16 and float32).

    Source: Zhang and Sennrich (2019), equation 4.
    """
    check_floating(input)
    dim = check_normalized_shape("rms_norm", input, normalized_shape, weight, None)
    input = laid_out(input)
    if eps is None:
        eps = torch.finfo(accumulation_dtype(input.dtype)).eps
    check_eps("rms_norm", eps)
    return standardize_rms_with_statistics(input, dim, weight, eps, autocast_dtype(input))[0]


def partial_rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    fraction: float,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """RMS normalization whose root mean square is estimated from the first part of the inputs.

        y_n = x_n / √((1/k) Σ_{i≤k} x_ni² + ε) ⊙ γ
        S_n = the first k entries of example n,        k = ⌈fraction·m⌉

    Args:
        fraction: of the m entries, in order, that are averaged; above 0, at most 1.
        others, errors: as `rms_norm`.

    Raises:
        ValueError: fraction outside (0, 1].

    Source: Zhang and Sennrich (2019), section 5 (pRMSNorm).
    """
    check_floating(input)
    dim = check_normalized_shape("partial_rms_norm", input, normalized_shape, weight, None)
    if not 0 < fraction <= 1:
        raise ValueError(f"partial_rms_norm: fraction must be above 0 and at most 1, but got {fraction}")
    x = input.to(accumulation_dtype(input.dtype))
    if eps is None:
        eps = torch.finfo(x.dtype).eps
    flat = x.flatten(-len(dim))
    # 0.07 · 100 is above 7 in floating point
    k = max(1, math.ceil(round(fraction * math.prod(normalized_shape), 9)))
    square = flat[..., :k].square().mean(-1, keepdim=True)
    y = (flat * torch.rsqrt(square + eps)).view(input.shape)
    return scale_and_shift(y, weight, None, input.dtype)


def scale_norm(input: Tensor, scale: Tensor, eps: float = 1e-5) -> Tensor:
    """ScaleNorm: the last dimension is given one learned length.

        y = g · x / max(‖x‖, ε),        S = the last dimension

    RMS norm with one γ for all features: ‖x‖ = √m · RMS(x).

    Args:
        input: (*, C).
        scale: g, no dimensions.
        eps: ε, the smallest length that is divided by.

    Source: Nguyen and Salazar (2019), equation 5.
    """
    check_floating(input)
    x = input.to(accumulation_dtype(input.dtype))
    # not vector_norm, which adds one value after the other
    square = mean_square(x, -1) * x.shape[-1]
    length = square.clamp_min(max(eps**2, torch.finfo(x.dtype).tiny)).sqrt()
    return (x * (scale / length)).to(input.dtype)


def qk_norm(query: Tensor, key: Tensor, scale: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Query–key norm: both of length 1, and one scale for their products.

        q̂ = g · q / ‖q‖,    k̂ = k / ‖k‖,    so that q̂ · k̂ = g · cos(q, k)
        S = the last dimension, one head

    Args:
        query, key: (*, C), C the size of one head.
        scale: g, no dimensions.
        eps: the smallest length that is divided by.

    Source: Henry, Dachapally, Pawar and Chen (2020), "Query-Key Normalization for Transformers".
    """
    return scale_norm(query, scale, eps), scale_norm(key, torch.ones_like(scale), eps)


def dynamic_tanh(
    input: Tensor, alpha: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """DynamicTanh: no statistics at all; a learned slope and a squashing function in their place.

        y = γ ⊙ tanh(α x) + β

    Args:
        input: (*, C).
        alpha: α, no dimensions.
        weight, bias: γ and β, (C,), or None.

    Source: Zhu, Chen, He, LeCun and Liu (2025), section 4 and Algorithm 1.
    """
    check_floating(input)
    if weight is not None:
        check_normalized_shape("dynamic_tanh", input, weight.shape, weight, bias)
    x = input.to(accumulation_dtype(input.dtype))
    return scale_and_shift((alpha * x).tanh_(), weight, bias, input.dtype)
