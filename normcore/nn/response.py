"""Layers that divide by a response: filter and local response norm, EvoNorm."""

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from normcore import functional as F
from normcore.nn._affine import register_affine, reset_affine
from normcore.nn._leaf import leaf

__all__ = ["EvoNormB0", "EvoNormS0", "FilterResponseNorm", "LocalResponseNorm"]


class FilterResponseNorm(Module):
    """Divided by the root mean square of a map, with a thresholded linear unit.

        y_nc… = max(x_nc… / √(ν²_nc + ε) · γ_c + β_c, τ_c),        ν²_nc = (1/m) Σ_{i∈S} x_i²
        S_nc = the positions of channel c of n

    >>> x = torch.tensor([[[5.0, -5.0]]])
    >>> nn.FilterResponseNorm(1)(x).round().tolist()
    [[[1.0, 0.0]]]

    Shape: (N, C) or (N, C, *) to the same.

    Args:
        num_features: C.
        eps: ε.
        threshold: learn τ, which starts at 0, a ReLU; otherwise no maximum is taken.

    Source: Singh and Krishnan (2020), section 3.1.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, num_features: int, eps: float = 1e-6, threshold: bool = True, device=None, dtype=None
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        register_affine(self, (num_features,), True, True, device, dtype)
        tau = Parameter(torch.empty(num_features, device=device, dtype=dtype)) if threshold else None
        self.register_parameter("threshold", tau)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """γ = 1, β = 0, τ = 0."""
        reset_affine(self)
        if self.threshold is not None:
            torch.nn.init.zeros_(self.threshold)

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        return F.filter_response_norm(input, self.weight, self.bias, self.threshold, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, threshold={self.threshold is not None}"


class LocalResponseNorm(torch.nn.LocalResponseNorm):
    """Divided by the squares of neighbouring channels at the same position.

        y_c = x_c / (k + (α/n) Σ_{c′ ∈ S} x_c′²)^β,        S_c = n channels around c, at one position

    >>> nn.LocalResponseNorm(3)(torch.randn(2, 5, 4, 4)).shape
    torch.Size([2, 5, 4, 4])

    Shape: (N, C, *) to the same.

    Args:
        size: n.
        alpha, beta, k: as in the formula.

    Source: Krizhevsky, Sutskever and Hinton (2012), section 3.3; α over n as in torch.nn.
    """

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)


class EvoNormS0(Module):
    """A swish divided by the deviation of its group; norm and activation in one.

        y_nc… = x_nc… · sigmoid(v_c x_nc…) / √(σ²_ng + ε) · γ_c + β_c
        S_ng = the C/G channels of group g of n

    >>> nn.EvoNormS0(2, 4)(torch.zeros(1, 4, 3, 3)).abs().max().item()
    0.0

    Shape: (N, C) or (N, C, *) to the same.

    Args:
        num_groups: G, a divisor of num_features.
        num_features: C.
        eps: ε.

    Source: Liu, Brock, Simonyan and Le (2020), "Evolving Normalization-Activation Layers".
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, num_groups: int, num_features: int, eps: float = 1e-5, device=None, dtype=None
    ) -> None:
        super().__init__()
        self.num_groups = num_groups
        self.num_features = num_features
        self.eps = eps
        register_affine(self, (num_features,), True, True, device, dtype)
        self.v = Parameter(torch.empty(num_features, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """γ = 1, β = 0, v = 1."""
        reset_affine(self)
        torch.nn.init.ones_(self.v)

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        return F.evonorm_s0(input, self.num_groups, self.v, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_features}, eps={self.eps}"


class EvoNormB0(Module):
    """Divided by the larger of the batch's deviation and a line through the instance's.

        y_nc… = x_nc… / max(√(σ²_c + ε), v_c x_nc… + √(σ²_nc + ε)) · γ_c + β_c
        S = those of batch norm and of instance norm

    >>> nn.EvoNormB0(3)(torch.randn(4, 3, 8, 8)).shape
    torch.Size([4, 3, 8, 8])

    Shape: (N, C) or (N, C, *) to the same.

    Args:
        num_features: C.
        eps: ε.
        momentum: weight of the new value in the running variance.

    Source: Liu, Brock, Simonyan and Le (2020), "Evolving Normalization-Activation Layers".
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, device=None, dtype=None
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        register_affine(self, (num_features,), True, True, device, dtype)
        self.v = Parameter(torch.empty(num_features, device=device, dtype=dtype))
        self.register_buffer("running_var", torch.empty(num_features, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A running variance of 1, γ = 1, β = 0, v = 1."""
        self.running_var.fill_(1)
        reset_affine(self)
        torch.nn.init.ones_(self.v)

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        gamma_beta = (self.weight, self.bias)
        return F.evonorm_b0(
            input, self.running_var, self.v, *gamma_beta, self.training, self.momentum, self.eps
        )

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
