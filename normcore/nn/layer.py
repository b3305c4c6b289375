"""Layer normalization and its relatives: statistics of one example's last dimensions."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from normcore import functional as F
from normcore.nn._affine import register_affine, reset_affine
from normcore.nn._leaf import leaf

__all__ = ["DynamicTanh", "LayerNorm", "PartialRMSNorm", "QKNorm", "RMSNorm", "ScaleNorm"]


class LayerNorm(torch.nn.LayerNorm):
    """One mean and variance an example, over its last dimensions.

        y_n = (x_n − μ_n) / √(σ²_n + ε) ⊙ γ + β,        S_n = the trailing `normalized_shape` of example n

    >>> x = torch.tensor([[0.0, 4.0], [10.0, 30.0]])
    >>> nn.LayerNorm(2)(x).round().tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]

    Shape: (*, *normalized_shape) to the same.

    Args:
        normalized_shape: the trailing dimensions, or their one size.
        eps: ε, under the root.
        elementwise_affine: learn γ and β, one entry a position of normalized_shape.
        bias: with elementwise_affine, learn β.

    Raises:
        RuntimeError: input that does not end in normalized_shape.

    Source: Ba, Kiros and Hinton (2016), equation 3; with gain and bias equations 15 and 16.
    """

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(torch.nn.RMSNorm):
    """Divided by the root mean square of an example's last dimensions; nothing is subtracted.

        y_n = x_n / √((1/m) Σ_i x_ni² + ε) ⊙ γ,        S_n = the trailing `normalized_shape` of example n

    >>> x = torch.tensor([1.0, 1.0, 7.0, 7.0])  # root mean square 5
    >>> torch.allclose(nn.RMSNorm(4)(x), x / 5)
    True

    Shape: (*, *normalized_shape) to the same.

    Args:
        normalized_shape: the trailing dimensions, or their one size.
        eps: ε, under the root; None stands for the machine epsilon of the dtype computed in.
        elementwise_affine: learn γ, one entry a position of normalized_shape.

    Raises:
        RuntimeError: input that does not end in normalized_shape.

    Source: Zhang and Sennrich (2019), equation 4.
    """

    @leaf
    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)


class PartialRMSNorm(RMSNorm):
    """RMS norm whose root mean square is estimated from the first ⌈fraction·m⌉ entries.

        y_n = x_n / √((1/k) Σ_{i≤k} x_ni² + ε) ⊙ γ
        S_n = the first k entries of example n,        k = ⌈fraction·m⌉

    >>> x = torch.tensor([2.0, 2.0, 6.0, 8.0])
    >>> nn.PartialRMSNorm(4, 0.5)(x).round().tolist()
    [1.0, 1.0, 3.0, 4.0]

    Shape: (*, *normalized_shape) to the same.

    Args:
        normalized_shape, eps, elementwise_affine: as RMSNorm.
        fraction: above 0, at most 1.

    Source: Zhang and Sennrich (2019), section 5 (pRMSNorm).
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        fraction: float,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device=None,
        dtype=None,
    ) -> None:
        # torch takes any sequence, and declares a list
        super().__init__(cast(int, normalized_shape), eps, elementwise_affine, device, dtype)
        self.fraction = fraction

    @leaf
    def forward(self, x: Tensor) -> Tensor:
        return F.partial_rms_norm(x, self.normalized_shape, self.fraction, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, fraction={self.fraction}"


class ScaleNorm(Module):
    """The last dimension is given one learned length g, which starts at √C.

        y = g · x / max(‖x‖, ε),        S = the last dimension

    >>> x = torch.tensor([3.0, 0.0, 0.0, 4.0])
    >>> nn.ScaleNorm(4)(x).norm().round().item()
    2.0

    Shape: (*, C) to the same.

    Args:
        features: C, the size of the last dimension.
        eps: ε.

    Source: Nguyen and Salazar (2019), equation 5.
    """

    def __init__(self, features: int, eps: float = 1e-5, device=None, dtype=None) -> None:
        super().__init__()
        self.features = features
        self.eps = eps
        self.scale = Parameter(torch.empty((), device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """g = √C."""
        torch.nn.init.constant_(self.scale, self.features**0.5)

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        return F.scale_norm(input, self.scale, self.eps)

    def extra_repr(self) -> str:
        return f"{self.features}, eps={self.eps}"


class DynamicTanh(Module):
    """A norm's squashing without its statistics; there is no index set.

        y = γ ⊙ tanh(α x) + β

    >>> nn.DynamicTanh(2)(torch.tensor([0.0, 100.0])).tolist()
    [0.0, 1.0]

    Shape: (*, C) to the same.

    Args:
        features: C, the size of the last dimension.
        alpha_init_value: what α starts at.

    Source: Zhu, Chen, He, LeCun and Liu (2025), section 4 and Algorithm 1.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(self, features: int, alpha_init_value: float = 0.5, device=None, dtype=None) -> None:
        super().__init__()
        self.features = features
        self.alpha_init_value = alpha_init_value
        self.alpha = Parameter(torch.empty((), device=device, dtype=dtype))
        register_affine(self, (features,), True, True, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """α as it was given, γ = 1, β = 0."""
        torch.nn.init.constant_(self.alpha, self.alpha_init_value)
        reset_affine(self)

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        return F.dynamic_tanh(input, self.alpha, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.features}, alpha_init_value={self.alpha_init_value}"


class QKNorm(Module):
    """Queries and keys of length 1, and one learned scale for their products.

        q̂ = g · q / ‖q‖,    k̂ = k / ‖k‖,    so that q̂ · k̂ = g · cos(q, k)
        S = the last dimension, one head

    Use them in attention with scale 1.

    >>> query, key = torch.tensor([2.0, 0.0]), torch.tensor([5.0, 0.0])
    >>> query, key = nn.QKNorm(10.0)(query, key)
    >>> (query @ key).item()
    10.0

    Shape: two of (*, C), C the size of one head, to the same.

    Args:
        scale: what g starts at. The paper takes log₂(L² − L), L the 97.5th percentile of the lengths of
            the training sequences.
        eps: the smallest length that is divided by.

    Source: Henry, Dachapally, Pawar and Chen (2020), "Query-Key Normalization for Transformers".
    """

    def __init__(self, scale: float, eps: float = 1e-6, device=None, dtype=None) -> None:
        super().__init__()
        self.initial_scale = scale
        self.eps = eps
        self.scale = Parameter(torch.empty((), device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """g as it was given."""
        torch.nn.init.constant_(self.scale, self.initial_scale)

    @leaf
    def forward(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        return F.qk_norm(query, key, self.scale, self.eps)

    def extra_repr(self) -> str:
        return f"scale={self.initial_scale}, eps={self.eps}"
