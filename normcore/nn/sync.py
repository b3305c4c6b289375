"""Batch norm over the joint batch of several processes."""

import torch
import torch.distributed as dist
from torch import Tensor

from normcore.functional.normalize import per_channel, scale_and_shift
from normcore.nn.batch import BatchNorm
from normcore.statistics import accumulation_dtype, update_running_moments

__all__ = ["SyncBatchNorm"]


class SyncBatchNorm(BatchNorm):
    """Batch norm whose index set S_c reaches over the processes of a group.

    The sums Σ x and Σ (x − μ)² are added up over the processes, one after the other, so that the result
    is that of batch norm over the joint batch and as exact. Shards may differ in size; an empty one
    takes part with zeros. Every process of the group must run forward and backward, or all fail.

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
        x = input.to(accumulation_dtype(input.dtype))
        dim = (0, *range(2, x.dim()))
        count = torch.tensor(float(input.numel() // self.num_features), dtype=torch.float64, device=x.device)
        dist.all_reduce(count, group=self.process_group)
        m = int(count)
        if m == 1:
            raise ValueError("SyncBatchNorm: expected more than 1 value per channel in the joint batch")
        if m == 0:
            return input.clone()
        mean = _AllReduce.apply(x.sum(dim), self.process_group) / m
        centred = x - per_channel(mean, x)
        var = _AllReduce.apply(centred.square().sum(dim), self.process_group) / m
        if self.training and self.track_running_stats:
            averages = (self.running_mean, self.running_var)
            update_running_moments(*averages, mean, var, m, self._count_batch())
        y = centred * per_channel(torch.rsqrt(var + self.eps), x)
        return scale_and_shift(y, per_channel(self.weight, x), per_channel(self.bias, x), input.dtype)


class _AllReduce(torch.autograd.Function):
    """Sum over processes. Each process's output depends on every input: the gradient is summed as well."""

    @staticmethod
    def forward(ctx, x: Tensor, group) -> Tensor:
        ctx.group = group
        total = x.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _AllReduce.apply(grad.contiguous(), ctx.group), None
