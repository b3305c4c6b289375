"""Batch renormalization: batch norm corrected towards its running averages."""

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from normcore import functional as F
from normcore.nn._affine import register_affine, reset_affine
from normcore.nn._leaf import leaf

__all__ = ["BatchRenorm", "renorm_limits"]


def renorm_limits(step: Tensor) -> tuple[Tensor, Tensor]:
    """(r_max, d_max) at a step t of training, a tensor without dimensions, as in the paper's experiments.

        r_max = 1 + 2 · clip((t − 5000) / 35000, 0, 1),        d_max = 5 · clip((t − 5000) / 20000, 0, 1)

    Batch norm (1, 0) for 5,000 steps; then r_max rises evenly to 3 at step 40,000, and d_max to 5 at
    step 25,000.

    Source: Ioffe (2017), section 4.
    """
    start = 5_000
    r = ((step - start) / (40_000 - start)).clamp(0, 1)
    d = ((step - start) / (25_000 - start)).clamp(0, 1)
    return 1.0 + 2.0 * r, 5.0 * d


class BatchRenorm(Module):
    """Batch norm corrected towards what the running averages would give.

        σ_B = √(σ²_c + ε)
        r = clip(σ_B / σ_run, 1/r_max, r_max),        d = clip((μ_c − μ_run) / σ_run, −d_max, d_max)
        y_nc… = ((x_nc… − μ_c) / σ_B · r + d) · γ_c + β_c,        S_c = every position of channel c

    Training and evaluation agree up to the clipping. The limits follow a schedule over the steps that
    the layer has seen.

    >>> layer, x = nn.BatchRenorm(2), torch.randn(6, 2)
    >>> batch_norm = nn.BatchNorm1d(2, eps=1e-3)
    >>> torch.allclose(layer(x), batch_norm(x), atol=1e-5)  # at first
    True

    Shape: (N, C) or (N, C, *) to the same.

    Args:
        num_features: C.
        eps: ε.
        momentum: weight of the new value in the running averages.
        limits: step, a tensor, → (r_max, d_max), numbers or tensors; the paper's schedule by default.
        affine: learn γ and β.

    Raises:
        RuntimeError: input (N, C, *) whose C is not num_features.

    Source: Ioffe (2017), Algorithm 1.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-3,
        momentum: float = 0.01,
        limits=renorm_limits,
        affine: bool = True,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.limits = limits
        register_affine(self, (num_features,), affine, affine, device, dtype)
        self.register_buffer("running_mean", torch.empty(num_features, device=device, dtype=dtype))
        self.register_buffer("running_std", torch.empty(num_features, device=device, dtype=dtype))
        self.register_buffer("num_batches_tracked", torch.empty((), dtype=torch.long, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A running mean of 0, a running deviation of 1, no step seen, γ = 1, β = 0."""
        self.running_mean.zero_()
        self.running_std.fill_(1)
        self.num_batches_tracked.zero_()
        reset_affine(self)

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        r_max, d_max = 1.0, 0.0
        if self.training:
            r_max, d_max = self.limits(self.num_batches_tracked)
            self.num_batches_tracked.add_(1)
        return F.batch_renorm(
            input,
            self.running_mean,
            self.running_std,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
            r_max,
            d_max,
        )

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
