"""Adaptive gradient clipping: what lets networks without normalization bear large steps."""

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["clip_grad_adaptively_"]


@torch.no_grad()
def clip_grad_adaptively_(parameters: Iterable[Tensor], clipping: float = 0.01, eps: float = 1e-3) -> None:
    """Shorten each unit's gradient that is long beside the unit's weights, in place.

        G_o ← λ · max(‖W_o‖, ε)/‖G_o‖ · G_o   where ‖G_o‖ > λ · max(‖W_o‖, ε)

    A unit is one entry of the first dimension; a parameter with fewer than two dimensions is one unit.

    Args:
        parameters: those without a gradient are passed over.
        clipping: λ.
        eps: ε, so that weights of 0 can leave 0.

    Raises:
        ValueError: clipping that is not positive.

    Source: Brock, De, Smith and Simonyan (2021), equation 3.
    """
    if clipping <= 0:
        raise ValueError(f"clipping must be positive, but got {clipping}")
    for parameter in parameters:
        if parameter.grad is None:
            continue
        dims = tuple(range(1, parameter.dim())) if parameter.dim() > 1 else None
        weight = torch.linalg.vector_norm(parameter, dim=dims, keepdim=True)
        gradient = torch.linalg.vector_norm(parameter.grad, dim=dims, keepdim=True)
        largest = clipping * weight.clamp_min(eps)
        parameter.grad.mul_(torch.where(gradient > largest, largest / gradient, 1.0))
