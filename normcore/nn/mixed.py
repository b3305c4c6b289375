"""Layers that mix index sets, with learned proportions."""

import torch
from torch import Tensor
from torch.nn import Parameter

from normcore import functional as F
from normcore.nn._running import RunningNorm

__all__ = ["BatchInstanceNorm", "SwitchableNorm"]


class BatchInstanceNorm(RunningNorm):
    """y = (ρ_c · x̂_batch + (1 − ρ_c) · x̂_instance) · γ_c + β_c.

    ρ starts at 1, batch norm. It is to stay in [0, 1]: call `clamp_gates` after each step of the
    optimizer. The paper trains it with ten times the learning rate and without weight decay.

    Args:
        num_features: C.
        eps, momentum, affine: as BatchNorm2d.

    Source: Nam and Kim (2018), equations 4 and 5.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, True, affine, device, dtype)
        self.gate = Parameter(torch.ones(num_features, device=device, dtype=dtype))

    @torch.no_grad()
    def clamp_gates(self) -> None:
        """ρ ← clip(ρ, 0, 1)."""
        self.gate.clamp_(0, 1)

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked.add_(1)
        averages = (self.running_mean, self.running_var)
        affine = (self.weight, self.bias)
        return F.batch_instance_norm(
            input, *averages, self.gate, *affine, self.training, self.momentum, self.eps
        )


class SwitchableNorm(RunningNorm):
    """Means and variances of instance, layer and batch norm, averaged with learned weights.

    The weights are two softmaxes, one for the means and one for the variances, that start even.

    Args:
        num_features: C.
        eps, momentum, affine: as BatchNorm2d.

    Source: Luo, Ren, Peng, Zhang and Li (2018), equations 3 to 5.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, True, affine, device, dtype)
        self.mean_weight = Parameter(torch.ones(3, device=device, dtype=dtype))
        self.var_weight = Parameter(torch.ones(3, device=device, dtype=dtype))

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked.add_(1)
        averages = (self.running_mean, self.running_var)
        mixing = (self.mean_weight, self.var_weight)
        affine = (self.weight, self.bias)
        return F.switchable_norm(input, *averages, *mixing, *affine, self.training, self.momentum, self.eps)
