"""Group normalization: one mean and variance an example and group of channels."""

import torch
from torch import Tensor

from normcore import functional as F
from normcore.nn._leaf import leaf

__all__ = ["GroupNorm"]


class GroupNorm(torch.nn.GroupNorm):
    """One mean and variance an example and group of channels.

        y_nc… = (x_nc… − μ_ng) / √(σ²_ng + ε) · γ_c + β_c,        S_ng = the C/G channels of group g of n

    >>> y = nn.GroupNorm(2, 4)(torch.randn(1, 4, 8, 8))
    >>> y.unflatten(1, (2, 2)).mean((2, 3, 4)).abs().max().item() < 1e-6
    True

    Shape: (N, C) or (N, C, *) to the same.

    Args:
        num_groups: G, a divisor of num_channels.
        num_channels: C.
        eps: ε, under the root.
        affine: learn γ and β, one entry a channel.
        bias: with affine, learn β; from torch 2.12 on.

    Raises:
        ValueError: num_channels not divisible by num_groups.
        RuntimeError: input (N, C, *) whose C is not num_channels.

    Source: Wu and He (2018), equation 7.
    """

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
