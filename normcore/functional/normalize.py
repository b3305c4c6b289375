"""The one idea: average over an index set, then scale and shift. Every method is made of these."""

import torch
from torch import Tensor

from normcore.functional._checks import check_floating
from normcore.statistics import accumulation_dtype, centre


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
    check_floating(input)
    y, _, _ = normalize_with_statistics(input, dim, weight, bias, eps)
    return y


def normalize_rms(
    input: Tensor, dim: int | tuple[int, ...], weight: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Scale by the root mean square over an index set; nothing is subtracted.

        y = x / √((1/m) Σ_{i∈S} x_i² + ε) · γ

    Arguments, result and dtypes as `normalize`.

    Source: Zhang and Sennrich (2019), equation 4.
    """
    check_floating(input)
    x = input.to(accumulation_dtype(input.dtype))
    y = x * torch.rsqrt(x.square().mean(dim, keepdim=True) + eps)
    return scale_and_shift(y, weight, None, input.dtype)


def normalize_with_statistics(
    input: Tensor, dim: int | tuple[int, ...], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`normalize`, with the mean and the biased variance that it used (size 1 in `dim`)."""
    mean, centred = centre(input, dim)
    var = centred.square().mean(dim, keepdim=True)
    y = centred * torch.rsqrt(var + eps)
    return scale_and_shift(y, weight, bias, input.dtype), mean, var


def normalize_with(
    input: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Normalize each channel with statistics that are given, as in evaluation."""
    dtype = accumulation_dtype(input.dtype)
    mean, var = (per_channel(s, input).to(dtype) for s in (mean, var))
    y = (input.to(dtype) - mean) * torch.rsqrt(var + eps)
    return scale_and_shift(y, per_channel(weight, input), per_channel(bias, input), input.dtype)


def scale_and_shift(y: Tensor, weight: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    return y.to(dtype)


def per_channel(vector: Tensor | None, input: Tensor) -> Tensor | None:
    """(C,) as (C, 1, …, 1): broadcasts against (N, C, *)."""
    return None if vector is None else vector.view(-1, *[1] * (input.dim() - 2))
