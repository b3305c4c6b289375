"""Batch norm over the joint batch of several processes."""

import torch.distributed as dist
from torch import Tensor

from normcore import functional as F
from normcore.nn.batch import BatchNorm

__all__ = ["SyncBatchNorm"]


class SyncBatchNorm(BatchNorm):
    """Batch norm whose index set S_c reaches over the processes of a group.

    Shards may differ in size; an empty one takes part with zeros. Every process of the group must run
    forward and backward, or all fail.

    In evaluation, and where torch.distributed is not initialised, it is batch norm.

    Args:
        num_features, eps, momentum, affine, track_running_stats: as BatchNorm1d.
        process_group: of torch.distributed; None for all processes.

    Raises:
        ValueError: one value a channel in the joint batch.
        RuntimeError: input whose second dimension is not num_features; a process that is gone.

    Source: the joint batch of Ioffe and Szegedy (2015), Algorithm 1; torch.nn.SyncBatchNorm.
    """

    _dims = (2, 3, 4, 5)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group=None,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        self.process_group = process_group

    def forward(self, input: Tensor) -> Tensor:
        batch_statistics = self.training or self.running_mean is None
        if not (batch_statistics and dist.is_available() and dist.is_initialized()):
            return super().forward(input)
        self._check_dim(input)
        if input.shape[1] != self.num_features:
            raise RuntimeError(
                f"SyncBatchNorm: dimension 1 of the input must be num_features={self.num_features}, "
                f"but it is of shape {tuple(input.shape)}"
            )
        updates = self.training and self.track_running_stats
        return F.sync_batch_norm(
            input,
            self.running_mean if updates else None,
            self.running_var if updates else None,
            self.weight,
            self.bias,
            self._count_batch() if updates else 0.0,
            self.eps,
            self.process_group,
        )
