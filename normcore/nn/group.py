"""Group normalization: one mean and variance an example and group of channels."""

from torch import Tensor
from torch.nn import Module

from normcore import functional as F
from normcore.nn._affine import register_affine, reset_affine

__all__ = ["GroupNorm"]


class GroupNorm(Module):
    """y_nc… = (x_nc… − μ_ng) / √(σ²_ng + ε) · γ_c + β_c, channel c in group g.

    Args:
        num_groups: G, a divisor of num_channels.
        num_channels: C.
        eps: ε, under the root.
        affine: learn γ and β, one entry a channel.
        bias: with affine, learn β.

    Raises:
        ValueError: num_channels not divisible by num_groups.
        RuntimeError: input (N, C, *) whose C is not num_channels.

    Source: Wu and He (2018), equation 7.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device=None,
        dtype=None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"num_channels must be divisible by num_groups, but got num_channels={num_channels} "
                f"and num_groups={num_groups}"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        register_affine(self, (num_channels,), affine, affine and bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """γ = 1, β = 0."""
        reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )
