"""Batch norm over the joint batch of several processes."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Module

from normcore import functional as F
from normcore.nn._leaf import leaf
from normcore.nn._running import count_batch
from normcore.nn.batch import BatchNorm
from normcore.nn.batch_variants import GhostBatchNorm

__all__ = ["SyncBatchNorm"]


class SyncBatchNorm(BatchNorm, torch.nn.SyncBatchNorm):
    """Batch norm whose index set reaches over the processes of a group.

        y_nc… = (x_nc… − μ_c) / √(σ²_c + ε) · γ_c + β_c
        S_c = every position of channel c, on all processes

    Shards may differ in size; an empty one takes part with zeros. Every process of the group must run
    forward and backward, or all fail.

    In evaluation, and where torch.distributed is not initialised, it is batch norm. Unlike torch.nn's it
    runs on a CPU too.

    >>> nn.SyncBatchNorm(1)(torch.tensor([[0.0], [2.0]])).round().tolist()
    [[-1.0], [1.0]]

    Shape: (N, C) or (N, C, *) to the same.

    Args:
        num_features, eps, momentum, affine, track_running_stats, bias: as BatchNorm1d.
        process_group: of torch.distributed; None for all processes.

    Raises:
        ValueError: one value a channel in the joint batch; input of fewer than 2 dimensions.
        RuntimeError: input whose second dimension is not num_features; a process that is gone.

    Source: the joint batch of Ioffe and Szegedy (2015), Algorithm 1; torch.nn.SyncBatchNorm.
    """

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        batch_statistics = self.training or self.running_mean is None
        if not (batch_statistics and dist.is_available() and dist.is_initialized()):
            return super().forward(input)
        self._check_input_dim(input)
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
            count_batch(self) if updates else 0.0,
            self.eps,
            self.process_group,
        )

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group=None) -> Module:
        """`module` with each batch norm in it, torch.nn's or ours, made a SyncBatchNorm of ours.

        Parameters and buffers are the same tensors, as after torch.nn's function of this name, which
        gives layers of torch.nn. A GhostBatchNorm is left: to look at a part of the batch is its point.

        Args:
            module: changed in place; a batch norm by itself gives a new layer.
            process_group: as in the constructor.
        """
        converted: dict[Module, Module] = {}

        def convert(module: Module) -> Module:
            if module in converted:
                return converted[module]
            new = module
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and not isinstance(
                module, GhostBatchNorm
            ):
                new = cls(
                    module.num_features,
                    module.eps,
                    module.momentum,
                    module.affine,
                    module.track_running_stats,
                    process_group,
                    device="meta",  # its tensors are not used
                )
                new.weight, new.bias = module.weight, module.bias
                for name, buffer in module.named_buffers(recurse=False):
                    setattr(new, name, buffer)
                new.train(module.training)
            converted[module] = new
            for name, child in list(module._modules.items()):
                if child is not None:
                    setattr(new, name, convert(child))
            return new

        return convert(module)
