"""Layers that mix index sets, with learned proportions."""

import torch
from torch import Tensor
from torch.nn import Parameter

from normcore import functional as F
from normcore.nn._leaf import leaf
from normcore.nn._running import count_batch

__all__ = ["BatchInstanceNorm", "SwitchableNorm"]


class BatchInstanceNorm(torch.nn.modules.batchnorm._NormBase):
    """A gate a channel between batch norm and instance norm.

        y = (ρ_c · x̂_batch + (1 − ρ_c) · x̂_instance) · γ_c + β_c,        0 ≤ ρ_c ≤ 1
        S = those of batch norm and of instance norm

    >>> layer, x = nn.BatchInstanceNorm(3), torch.randn(4, 3, 8, 8)
    >>> torch.allclose(layer(x), nn.BatchNorm2d(3)(x), atol=1e-5)
    True

    Shape: (N, C) or (N, C, *) to the same.

    ρ starts at 1, batch norm. It is to stay in [0, 1]: call `clamp_gates` after each step of the
    optimizer. The paper trains it with ten times the learning rate and without weight decay.

    Args:
        num_features: C.
        eps, momentum, affine: as BatchNorm2d.

    Source: Nam and Kim (2018), "Batch-Instance Normalization".
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, device=device, dtype=dtype)
        self.gate = Parameter(torch.empty(num_features, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Running averages, γ and β as in a new batch norm, ρ = 1."""
        super().reset_parameters()
        if hasattr(self, "gate"):  # torch's constructor calls this before there are gates
            torch.nn.init.ones_(self.gate)

    @torch.no_grad()
    def clamp_gates(self) -> None:
        """ρ ← clip(ρ, 0, 1)."""
        self.gate.clamp_(0, 1)

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        momentum = count_batch(self) if self.training else 0.0
        averages = (self.running_mean, self.running_var)
        gamma_beta = (self.weight, self.bias)
        return F.batch_instance_norm(
            input, *averages, self.gate, *gamma_beta, self.training, momentum, self.eps
        )


class SwitchableNorm(torch.nn.modules.batchnorm._NormBase):
    """Means and variances of instance, layer and batch norm, averaged with learned weights.

        μ = Σ_k w_k μ_k,   σ² = Σ_k w′_k σ²_k,   k ∈ {instance, layer, batch}
        w = softmax(mean_weight),   w′ = softmax(var_weight)
        y = (x − μ) / √(σ² + ε) · γ_c + β_c,        S = those of instance, layer and batch norm

    >>> layer = nn.SwitchableNorm(3)
    >>> layer(torch.randn(4, 3, 8, 8)).shape, layer.mean_weight.tolist()
    (torch.Size([4, 3, 8, 8]), [1.0, 1.0, 1.0])

    Shape: (N, C) or (N, C, *) to the same.

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
        momentum: float | None = 0.1,
        affine: bool = True,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, device=device, dtype=dtype)
        self.mean_weight = Parameter(torch.empty(3, device=device, dtype=dtype))
        self.var_weight = Parameter(torch.empty(3, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Running averages, γ and β as in a new batch norm, the three weights even."""
        super().reset_parameters()
        if hasattr(self, "var_weight"):  # torch's constructor calls this before there are weights
            torch.nn.init.ones_(self.mean_weight)
            torch.nn.init.ones_(self.var_weight)

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        momentum = count_batch(self) if self.training else 0.0
        averages = (self.running_mean, self.running_var)
        mixing = (self.mean_weight, self.var_weight)
        gamma_beta = (self.weight, self.bias)
        return F.switchable_norm(input, *averages, *mixing, *gamma_beta, self.training, momentum, self.eps)
