"""Layer normalization and its form without the mean: statistics of one example's last dimensions."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import Module

from normcore import functional as F
from normcore.nn._affine import register_affine, reset_affine

__all__ = ["LayerNorm", "RMSNorm"]


class LayerNorm(Module):
    """y_n = (x_n − μ_n) / √(σ²_n + ε) ⊙ γ + β, over the last dimensions of each example.

    Args:
        normalized_shape: the trailing dimensions, or their one size.
        eps: ε, under the root.
        elementwise_affine: learn γ and β, one entry a position of normalized_shape.
        bias: with elementwise_affine, learn β.

    Raises:
        RuntimeError: input that does not end in normalized_shape.

    Source: Ba, Kiros and Hinton (2016), equations 3 and 4.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        shape = self.normalized_shape
        register_affine(self, shape, elementwise_affine, elementwise_affine and bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """γ = 1, β = 0."""
        reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """y_n = x_n / √((1/m) Σ_i x_ni² + ε) ⊙ γ, over the last dimensions of each example.

    Args:
        normalized_shape: the trailing dimensions, or their one size.
        eps: ε, under the root; None stands for the machine epsilon of the dtype computed in.
        elementwise_affine: learn γ, one entry a position of normalized_shape.

    Raises:
        RuntimeError: input that does not end in normalized_shape.

    Source: Zhang and Sennrich (2019), equation 4.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        register_affine(self, self.normalized_shape, elementwise_affine, False, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """γ = 1."""
        reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


def _as_shape(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
