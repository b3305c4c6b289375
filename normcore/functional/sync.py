"""Batch norm over the joint batch of several processes."""

import torch
import torch.distributed as dist
from torch import Tensor

from normcore.functional._checks import check_channels, check_floating
from normcore.functional.standardization import per_channel, scale_and_shift
from normcore.statistics import accumulation_dtype, update_running_moments

__all__ = ["sync_batch_norm"]


def sync_batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    process_group=None,
) -> Tensor:
    """Batch norm in training, whose index set reaches over the processes of a group.

        y_nc… = (x_nc… − μ_c) / √(σ²_c + ε) · γ_c + β_c
        S_c = every position of channel c, on all processes

    The sums Σ x and Σ (x − μ)² are added up over the processes, one after the other, so that the result
    is that of batch norm over the joint batch, and as exact. Shards may differ in size; an empty one
    takes part with zeros. Every process of the group must run forward and backward.

    Args:
        input: this process's shard, (N, C) or (N, C, *).
        running_mean, running_var, weight, bias, momentum, eps: as `batch_norm`, the same everywhere.
        process_group: of torch.distributed; None for all processes.

    Raises:
        ValueError: one value a channel in the joint batch.
        RuntimeError: a vector that is not (C,); a process that is gone.

    Source: the joint batch of Ioffe and Szegedy (2015), Algorithm 1; torch.nn.SyncBatchNorm.
    """
    check_floating(input)
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    check_channels("sync_batch_norm", input, **vectors)
    x = input.to(accumulation_dtype(input.dtype))
    dim = (0, *range(2, x.dim()))
    count = torch.tensor(float(input.numel() // max(input.shape[1], 1)), dtype=torch.float64, device=x.device)
    dist.all_reduce(count, group=process_group)
    m = int(count)
    if m == 1:
        raise ValueError("sync_batch_norm: expected more than 1 value per channel in the joint batch")
    if m == 0:
        return input.clone()
    mean = _AllReduce.apply(x.sum(dim), process_group) / m
    centred = x - per_channel(mean, x)
    var = _AllReduce.apply(centred.square().sum(dim), process_group) / m
    update_running_moments(running_mean, running_var, mean, var, m, momentum)
    y = centred * per_channel(torch.rsqrt(var + eps), x)
    return scale_and_shift(y, per_channel(weight, x), per_channel(bias, x), input.dtype)


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
