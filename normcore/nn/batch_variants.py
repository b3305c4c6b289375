"""Batch norm over other sets of examples: parts of a batch, a reference batch; and its mean alone."""

import torch
from torch import Tensor
from torch.nn import Parameter

from normcore import functional as F
from normcore.nn._affine import register_affine, reset_affine
from normcore.nn._leaf import leaf
from normcore.nn.batch import BatchNorm

__all__ = ["GhostBatchNorm", "MeanOnlyBatchNorm", "VirtualBatchNorm"]


class GhostBatchNorm(BatchNorm):
    """Batch norm of parts of the batch, each by its own statistics; evaluation as batch norm.

        y_nc… = (x_nc… − μ_kc) / √(σ²_kc + ε) · γ_c + β_c,        n in part k
        S_kc = all positions of channel c in the examples of part k

    >>> x = torch.tensor([[0.0], [2.0], [10.0], [30.0]])
    >>> nn.GhostBatchNorm(1, virtual_batch_size=2)(x).round().tolist()
    [[-1.0], [1.0], [-1.0], [1.0]]

    Shape: (N, C) or (N, C, *) to the same.

    Args:
        num_features: C.
        virtual_batch_size: the largest size of a part.
        eps, momentum, affine: as BatchNorm1d. A part counts as a batch in num_batches_tracked.

    Raises:
        ValueError: virtual_batch_size below 1; else as BatchNorm1d.

    Source: Hoffer, Hubara and Soudry (2017), Algorithm 1.
    """

    def __init__(
        self,
        num_features: int,
        virtual_batch_size: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        device=None,
        dtype=None,
    ) -> None:
        if virtual_batch_size < 1:
            raise ValueError(f"virtual_batch_size must be at least 1, but got {virtual_batch_size}")
        super().__init__(num_features, eps, momentum, affine, device=device, dtype=dtype)
        self.virtual_batch_size = virtual_batch_size

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        if not self.training or len(input) <= self.virtual_batch_size:
            return super().forward(input)
        parts = input.tensor_split(-(-len(input) // self.virtual_batch_size))
        return torch.cat([super(GhostBatchNorm, self).forward(part) for part in parts])

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, virtual_batch_size={self.virtual_batch_size}"


class VirtualBatchNorm(torch.nn.Module):
    """Each example normalized with a reference batch, which stands at the head of every input.

        y_nc… = (x_nc… − μ_nc) / √(σ²_nc + ε) · γ_c + β_c
        S_nc = all positions of channel c in the reference batch and in example n

    >>> layer = nn.VirtualBatchNorm(2, reference_size=3)
    >>> x = torch.randn(5, 2)
    >>> torch.allclose(layer(x)[3], layer(x[:4])[3])  # fifth unseen
    True

    Shape: (R + N, C) or (R + N, C, *), the R reference examples first, to the same.

    Args:
        num_features: C.
        reference_size: examples at the head of the input that are the reference.
        eps: ε.
        affine: learn γ and β.

    Raises:
        ValueError: an input of fewer examples than reference_size.

    Source: Salimans et al. (2016), "Improved Techniques for Training GANs", section 3.5.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_features: int,
        reference_size: int,
        eps: float = 1e-5,
        affine: bool = True,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.reference_size = reference_size
        self.eps = eps
        register_affine(self, (num_features,), affine, affine, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """γ = 1, β = 0."""
        reset_affine(self)

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        return F.virtual_batch_norm(input, self.reference_size, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, reference_size={self.reference_size}, eps={self.eps}"


class MeanOnlyBatchNorm(torch.nn.Module):
    """Only the mean is removed; follows a weight-normalized layer.

        y_nc… = x_nc… − μ_c + β_c,        S_c = every position of channel c

    >>> nn.MeanOnlyBatchNorm(1)(torch.tensor([[1.0], [5.0]])).tolist()
    [[-2.0], [2.0]]

    Shape: (N, C) or (N, C, *) to the same.

    Args:
        num_features: C.
        momentum: weight of the new value in the running mean.
        bias: learn β.

    Source: Salimans and Kingma (2016), section 4.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, num_features: int, momentum: float = 0.1, bias: bool = True, device=None, dtype=None
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.momentum = momentum
        register_affine(self, (num_features,), False, bias, device, dtype)
        self.register_buffer("running_mean", torch.empty(num_features, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A running mean of 0, β = 0."""
        self.running_mean.zero_()
        reset_affine(self)

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        return F.mean_only_batch_norm(input, self.running_mean, self.bias, self.training, self.momentum)

    def extra_repr(self) -> str:
        return f"{self.num_features}, momentum={self.momentum}, bias={self.bias is not None}"
