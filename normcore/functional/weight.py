"""Normalization of weights instead of activations; the first dimension of a weight is its output."""

import torch
from torch import Tensor

from normcore.functional._checks import check_floating, shape_of
from normcore.functional.standardization import standardize
from normcore.statistics import accumulation_dtype

__all__ = ["spectral_norm", "weight_norm", "weight_standardization"]


def weight_norm(v: Tensor, g: Tensor, dim: int | None = 0) -> Tensor:
    """Weight norm: length and direction of each output's weights as separate parameters.

        w_o = g_o · v_o / ‖v_o‖,        S_o = all weights of output o

    Args:
        v: directions, any shape.
        g: lengths, size 1 in every dimension but `dim`; of the whole tensor, one without dimensions.
        dim: the dimension that keeps a length each; None, or torch's −1, for one length of the whole tensor.

    Source: Salimans and Kingma (2016), equation 2.
    """
    check_floating(v)
    if dim is None or dim == -1:
        return g * v / torch.linalg.vector_norm(v)
    others = tuple(d for d in range(v.dim()) if d != dim % v.dim())
    return g * v / torch.linalg.vector_norm(v, dim=others, keepdim=True)


def weight_standardization(
    weight: Tensor, gain: Tensor | None = None, eps: float = 1e-5, scaled: bool = False
) -> Tensor:
    """Weight standardization: each output's weights centred and scaled to deviation 1.

        ŵ_o = (w_o − μ_o) / √(σ²_o + ε) · gain_o,        S_o = all weights of output o, m of them

    With `scaled`, ŵ_o is divided by √m besides: outputs then have about the variance of the inputs,
    and no normalization of activations is needed.

    Args:
        weight: (out, in, *).
        gain: broadcast against the weight, or None.
        eps: ε.
        scaled: divide by √m.

    Raises:
        RuntimeError: a weight of fewer than two dimensions: there is nothing to average over.

    Source: Qiao, Wang, Liu, Shen and Yuille (2019); scaled: Brock, De, Smith and Simonyan
    (2021), equation 1.
    """
    if weight.dim() < 2:
        raise RuntimeError(f"weight_standardization: weight must be (out, in, *), but got {shape_of(weight)}")
    standardized = standardize(weight, tuple(range(1, weight.dim())), gain, eps=eps)
    return standardized * weight[0].numel() ** -0.5 if scaled else standardized


def spectral_norm(weight: Tensor, u: Tensor, v: Tensor, dim: int = 0) -> Tensor:
    """Spectral norm: the weight, as a matrix, divided by its largest singular value.

        W_SN = W / σ,        σ = uᵀ W v,        S = the whole matrix

    u and v are the left and right singular vectors, held constant in the backward pass.

    Args:
        weight: (out, in, *), taken as the matrix (out, in·*).
        u, v: (out,) and (in·*,), of length 1.
        dim: the dimension that is out; 1 for the weight of a transposed convolution, (in, out, *).

    Source: Miyato, Kataoka, Koyama and Yoshida (2018), equation 8.
    """
    check_floating(weight)
    sigma = torch.dot(u, _as_matrix(weight, dim).to(u.dtype) @ v)
    return weight / sigma


@torch.no_grad()
def power_iteration(
    weight: Tensor, u: Tensor, v: Tensor, steps: int, eps: float, dim: int = 0
) -> tuple[Tensor, Tensor]:
    """Better estimates of the leading singular vectors of a weight (out, in, *).

        u ← W v / ‖W v‖,        v ← Wᵀ u / ‖Wᵀ u‖,        `steps` times

    They are computed, and given, in float32 at least.

    Source: Miyato, Kataoka, Koyama and Yoshida (2018), Algorithm 1.
    """
    dtype = accumulation_dtype(weight.dtype)
    matrix, u, v = _as_matrix(weight, dim).to(dtype), u.to(dtype), v.to(dtype)
    for _ in range(steps):
        u = torch.nn.functional.normalize(matrix @ v, dim=0, eps=eps)
        v = torch.nn.functional.normalize(matrix.mT @ u, dim=0, eps=eps)
    return u, v


def _as_matrix(weight: Tensor, dim: int) -> Tensor:
    return weight.movedim(dim, 0).flatten(1)
