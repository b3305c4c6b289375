"""Instance normalization: one mean and variance an example and channel."""

import torch
from torch import Tensor

from normcore import functional as F
from normcore.nn._leaf import leaf

__all__ = ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]


class InstanceNorm(torch.nn.modules.instancenorm._InstanceNorm):
    """What InstanceNorm1d, 2d and 3d share."""

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        # torch's own checks, and an input without a batch dimension given one
        return super().forward(input)

    def _apply_instance_norm(self, input: Tensor) -> Tensor:
        return F.instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )


class InstanceNorm1d(InstanceNorm, torch.nn.InstanceNorm1d):
    """Instance norm of sequences: one mean and variance an example and channel.

        y_nc… = (x_nc… − μ_nc) / √(σ²_nc + ε) · γ_c + β_c,        S_nc = the positions of channel c of n

    >>> x = torch.tensor([[[0.0, 4.0]], [[10.0, 30.0]]])
    >>> nn.InstanceNorm1d(1)(x).round().tolist()
    [[[-1.0, 1.0]], [[-1.0, 1.0]]]

    Shape: (N, C, L) or (C, L) to the same.

    Args:
        num_features: C.
        eps: ε, under the root.
        momentum: weight of the new value in the running averages; None leaves them as they are.
        affine: learn γ and β (off by default, as in torch.nn).
        track_running_stats: keep running averages and use them in evaluation (off by default).
        bias: with affine, learn β; from torch 2.12 on.

    Raises:
        ValueError: input of the wrong number of dimensions, with one position a channel, or, with
            affine, whose channels are not num_features.

    Source: Ulyanov, Vedaldi and Lempitsky (2016), "Instance Normalization".
    """


class InstanceNorm2d(InstanceNorm, torch.nn.InstanceNorm2d):
    """Instance norm of images: one mean and variance an example and feature map.

        y_nc… = (x_nc… − μ_nc) / √(σ²_nc + ε) · γ_c + β_c,        S_nc = the positions of channel c of n

    >>> y = nn.InstanceNorm2d(3)(torch.randn(2, 3, 8, 8))
    >>> y.mean((2, 3)).abs().max().item() < 1e-6
    True

    Shape: (N, C, H, W) or (C, H, W) to the same.

    Arguments and errors: `InstanceNorm1d`.

    Source: Ulyanov, Vedaldi and Lempitsky (2016), "Instance Normalization".
    """


class InstanceNorm3d(InstanceNorm, torch.nn.InstanceNorm3d):
    """Instance norm of volumes: one mean and variance an example and channel.

        y_nc… = (x_nc… − μ_nc) / √(σ²_nc + ε) · γ_c + β_c,        S_nc = the positions of channel c of n

    >>> nn.InstanceNorm3d(3)(torch.randn(2, 3, 4, 5, 6)).shape
    torch.Size([2, 3, 4, 5, 6])

    Shape: (N, C, D, H, W) or (C, D, H, W) to the same.

    Arguments and errors: `InstanceNorm1d`.

    Source: Ulyanov, Vedaldi and Lempitsky (2016), "Instance Normalization".
    """
