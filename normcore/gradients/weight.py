"""The backward passes of normalized weights."""

import torch
from torch import Tensor


def weight_norm_backward(grad_weight: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients through weight norm, w_o = g_o v_o/‖v_o‖.

        dg_o = <dw_o, v_o>/‖v_o‖
        dv_o = g_o/‖v_o‖ · (dw_o − dg_o · v_o/‖v_o‖)

    dv is orthogonal to v: a step never shortens it.

    Args:
        grad_weight: dw, (out, *).
        v, g: (out, *) and (out, 1, …).

    Returns:
        dv, dg.

    Source: Salimans and Kingma (2016), equation 3.
    """
    dim = tuple(range(1, v.dim()))
    length = torch.linalg.vector_norm(v, dim=dim, keepdim=True)
    direction = v / length
    dg = (grad_weight * direction).sum(dim, keepdim=True)
    return g / length * (grad_weight - dg * direction), dg


def spectral_norm_backward(grad_weight: Tensor, weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Gradient through spectral norm, W_SN = W/σ with σ = uᵀWv, u and v constant.

        dW = (dW_SN − <dW_SN, W_SN> u vᵀ) / σ

    Args:
        grad_weight: dW_SN, of the shape of weight.
        weight: W, (out, in, *), taken as the matrix (out, in·*).
        u, v: (out,), (in·*,).

    Source: Miyato, Kataoka, Koyama and Yoshida (2018), equation 12.
    """
    matrix, grad = weight.flatten(1), grad_weight.flatten(1)
    sigma = torch.dot(u, matrix @ v)
    along = (grad * matrix).sum() / sigma
    return ((grad - along * torch.outer(u, v)) / sigma).view_as(weight)
