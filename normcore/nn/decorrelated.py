"""Decorrelated batch norm: the channels of a group are whitened together."""

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from normcore import functional as F
from normcore.nn._affine import register_affine, reset_affine
from normcore.nn._leaf import leaf

__all__ = ["DecorrelatedBatchNorm"]


class DecorrelatedBatchNorm(Module):
    """The channels of a group are whitened together: centred, scaled and decorrelated.

        y = γ ⊙ Σ^(−1/2) (x − μ) + β,        Σ = (1/m) Σ_i (x_i − μ)(x_i − μ)ᵀ + ε I
        S_g = every position, the channels of group g together

    >>> x = torch.randn(100, 2) @ torch.tensor([[1.0, 0.9], [0.0, 1.0]])
    >>> covariance = nn.DecorrelatedBatchNorm(2)(x).T.cov(correction=0)
    >>> torch.allclose(covariance, torch.eye(2), atol=1e-3)
    True

    Shape: (N, C) or (N, C, *) to the same.

    Args:
        num_features: C.
        num_groups: G, a divisor of C; each group of C/G channels is whitened by itself.
        newton_steps: None for eigenvectors (decorrelated batch norm); a number for Newton's iteration
            (iterative normalization), whose gradients are stable where eigenvalues meet.
        eps: ε, added to the variances.
        momentum: weight of the new value in the running averages.
        affine: learn γ and β.

    Raises:
        ValueError: num_features not divisible by num_groups.

    Source: Huang, Yang, Lang and Deng (2018); by iteration: Huang, Zhou, Zhu, Liu and Shao (2019).
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_features: int,
        num_groups: int = 1,
        newton_steps: int | None = None,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_features % num_groups:
            raise ValueError(
                f"num_features must be divisible by num_groups, but got num_features={num_features} "
                f"and num_groups={num_groups}"
            )
        self.num_features = num_features
        self.num_groups = num_groups
        self.newton_steps = newton_steps
        self.eps = eps
        self.momentum = momentum
        register_affine(self, (num_features,), affine, affine, device, dtype)
        size = num_features // num_groups
        self.register_buffer("running_mean", torch.empty(num_features, device=device, dtype=dtype))
        self.register_buffer(
            "running_whitening", torch.empty(num_groups, size, size, device=device, dtype=dtype)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A running mean of 0, a running matrix of 1, γ = 1, β = 0."""
        self.running_mean.zero_()
        self.running_whitening.zero_().diagonal(dim1=-2, dim2=-1).fill_(1)
        reset_affine(self)

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        return F.decorrelated_batch_norm(
            input,
            self.running_mean,
            self.running_whitening,
            self.num_groups,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
            self.newton_steps,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, num_groups={self.num_groups}, newton_steps={self.newton_steps}, "
            f"eps={self.eps}, momentum={self.momentum}"
        )
