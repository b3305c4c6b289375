"""Batch normalization: one mean and variance a channel, over the batch and all positions."""

import torch
from torch import Tensor

from normcore import functional as F
from normcore.nn._leaf import leaf
from normcore.nn._running import count_batch

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"]


class BatchNorm(torch.nn.modules.batchnorm._BatchNorm):
    """What BatchNorm1d, 2d and 3d share."""

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        updates = self.training and self.track_running_stats
        momentum = count_batch(self) if updates else 0.0
        keeps = updates or not self.training
        return F.batch_norm(
            input,
            self.running_mean if keeps else None,
            self.running_var if keeps else None,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            momentum,
            self.eps,
        )


class BatchNorm1d(BatchNorm, torch.nn.BatchNorm1d):
    """Batch norm of tables and sequences: one mean and variance a channel.

        y_nc… = (x_nc… − μ_c) / √(σ²_c + ε) · γ_c + β_c,        S_c = every position of channel c

    In training μ, σ² are the batch's and the running averages follow them; in evaluation they are the
    running averages, or the batch's where track_running_stats is False.

    >>> x = torch.tensor([[0.0, 10.0], [4.0, 30.0]])
    >>> nn.BatchNorm1d(2)(x).round().tolist()
    [[-1.0, -1.0], [1.0, 1.0]]

    Shape: (N, C) or (N, C, L) to the same; S_c is N, or N and L.

    Args:
        num_features: C.
        eps: ε, under the root.
        momentum: weight of the new value in the running averages; None keeps the plain average of all
            batches seen.
        affine: learn γ and β.
        track_running_stats: keep running averages for evaluation.
        bias: with affine, learn β; from torch 2.12 on.

    Raises:
        ValueError: input of the wrong number of dimensions, or with one value a channel in training.
        RuntimeError: input whose second dimension is not num_features.

    Source: Ioffe and Szegedy (2015), Algorithms 1 and 2.
    """


class BatchNorm2d(BatchNorm, torch.nn.BatchNorm2d):
    """Batch norm of images: one mean and variance a feature map.

        y_nc… = (x_nc… − μ_c) / √(σ²_c + ε) · γ_c + β_c,        S_c = N, H and W of channel c

    >>> y = nn.BatchNorm2d(3)(torch.randn(8, 3, 4, 4))
    >>> y.mean((0, 2, 3)).abs().max().item() < 1e-6
    True

    Shape: (N, C, H, W) to the same.

    Arguments and errors: `BatchNorm1d`.

    Source: Ioffe and Szegedy (2015), section 3.2.
    """


class BatchNorm3d(BatchNorm, torch.nn.BatchNorm3d):
    """Batch norm of volumes: one mean and variance a channel.

        y_nc… = (x_nc… − μ_c) / √(σ²_c + ε) · γ_c + β_c,        S_c = N, D, H and W of channel c

    >>> nn.BatchNorm3d(3)(torch.randn(2, 3, 4, 5, 6)).shape
    torch.Size([2, 3, 4, 5, 6])

    Shape: (N, C, D, H, W) to the same.

    Arguments and errors: `BatchNorm1d`.

    Source: Ioffe and Szegedy (2015), section 3.2.
    """
