"""The one idea: average over an index set, then scale and shift. Every method is made of these."""

from typing import overload

import torch
from torch import Tensor

from normcore.functional._checks import check_floating
from normcore.kernels import fused
from normcore.kernels.by_hand import transformed
from normcore.kernels.standardize import Standardize, StandardizeRMS
from normcore.statistics import accumulation_dtype, centre, mean_square, traced


def standardize(
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
        weight, bias: γ and β, broadcast against the input; None leaves the step out. They may be of
            another floating-point dtype than the input.
        eps: ε, added to the variance under the root.

    Returns:
        y, in the shape, dtype and memory format of the input. float16 and bfloat16 are computed in
        float32 and rounded once, at the end.

    Source: Ioffe and Szegedy (2015), Algorithm 1; the axes as a choice: Wu and He (2018), section 3.1.
    """
    check_floating(input)
    return standardize_with_statistics(input, dim, weight, bias, eps, input.dtype)[0]


@Standardize.runs
def standardize_with_statistics(
    input: Tensor,
    dim: int | tuple[int, ...],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """`standardize` in a dtype, with the mean and the biased variance that it used (size 1 in `dim`)."""
    mean, centred = centre(input, dim)
    var = mean_square(centred, dim)
    y = centred * torch.rsqrt(var + eps)
    return scale_and_shift(y, weight, bias, dtype), mean, var


def standardize_rms(
    input: Tensor, dim: int | tuple[int, ...], weight: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Scale by the root mean square over an index set; nothing is subtracted.

        y = x / √((1/m) Σ_{i∈S} x_i² + ε) · γ,        S: the positions along `dim`

    Arguments, result and dtypes as `standardize`.

    Source: Zhang and Sennrich (2019), equation 4.
    """
    check_floating(input)
    return standardize_rms_with_statistics(input, dim, weight, eps, input.dtype)[0]


@StandardizeRMS.runs
def standardize_rms_with_statistics(
    input: Tensor, dim: int | tuple[int, ...], weight: Tensor | None, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """`standardize_rms` in a dtype, with the mean square that it used (size 1 in `dim`)."""
    x = input.to(accumulation_dtype(input.dtype))
    square = mean_square(x, dim)
    return scale_and_shift(x * torch.rsqrt(square + eps), weight, None, dtype), square


def autocast_dtype(input: Tensor) -> torch.dtype:
    """The result's dtype of what autocast runs in float32 on a GPU: layer, RMS and group norm.

    Source: torch, "Automatic Mixed Precision", the list of operators that autocast to float32.
    """
    halves = input.dtype in (torch.float16, torch.bfloat16)
    return torch.float32 if halves and input.is_cuda and torch.is_autocast_enabled("cuda") else input.dtype


def standardize_by(
    input: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Normalize each channel with statistics that are given, as in evaluation."""
    y = None if traced() else fused.evaluate(input, mean, var, weight, bias, eps)
    if y is not None:
        return y
    dtype = accumulation_dtype(input.dtype)
    mean, var = per_channel(mean, input).to(dtype), per_channel(var, input).to(dtype)
    scale = torch.rsqrt(var + eps)
    if weight is not None:
        scale = scale * per_channel(weight, input)
    return scale_and_shift(input.to(dtype) - mean, scale, per_channel(bias, input), input.dtype)


def scale_and_shift(y: Tensor, weight: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    if weight is None and bias is None and y.dtype == dtype:
        # autograd keeps x̂ itself; the caller may write to what it gets, as ReLU(inplace=True) does
        return y.clone() if y.requires_grad else y
    if weight is not None:
        y = y * weight
    if bias is not None:
        # in place on the product just made, which no derivative needs
        fits = weight is not None and bias.shape == weight.shape and not traced() and not transformed(bias)
        y = y.add_(bias) if fits else y + bias
    return y.to(dtype)


@overload
def per_channel(vector: Tensor, input: Tensor) -> Tensor: ...
@overload
def per_channel(vector: None, input: Tensor) -> None: ...
@overload
def per_channel(vector: Tensor | None, input: Tensor) -> Tensor | None: ...
def per_channel(vector, input):
    """(C,) as (C, 1, …, 1): broadcasts against (N, C, *)."""
    return None if vector is None else vector.view(-1, *[1] * (input.dim() - 2))
