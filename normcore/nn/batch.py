"""Batch normalization: one mean and variance a channel, over the batch and all positions."""

from torch import Tensor

from normcore import functional as F
from normcore.nn._running import RunningNorm

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"]


class BatchNorm(RunningNorm):
    """y_nc… = (x_nc… − μ_c) / √(σ²_c + ε) · γ_c + β_c; what BatchNorm1d, 2d and 3d share.

    In training μ, σ² are the batch's and the running averages follow them; in evaluation they are the
    running averages, or the batch's where track_running_stats is False.

    Args:
        num_features: C.
        eps: ε, under the root.
        momentum: weight of the new value in the running averages; None keeps the plain average of all
            batches seen.
        affine: learn γ and β.
        track_running_stats: keep running averages for evaluation.
        bias: with affine, learn β.

    Raises:
        ValueError: input of the wrong number of dimensions, or with one value a channel in training.
        RuntimeError: input whose second dimension is not num_features.

    Source: Ioffe and Szegedy (2015), Algorithms 1 and 2; per channel for images: section 3.2.
    """

    _dims: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device=None,
        dtype=None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, device, dtype)

    def _check_dim(self, input: Tensor) -> None:
        if input.dim() not in self._dims:
            expected = " or ".join(f"{d}D" for d in self._dims)
            raise ValueError(
                f"{type(self).__name__}: expected {expected} input, "
                f"but got {input.dim()}D input of shape {tuple(input.shape)}"
            )

    def _count_batch(self) -> float | Tensor:
        """Count one more batch; the weight that it has in the running averages."""
        self.num_batches_tracked.add_(1)
        if self.momentum is None:
            return 1.0 / self.num_batches_tracked.to(self.running_mean.dtype)
        return self.momentum

    def forward(self, input: Tensor) -> Tensor:
        self._check_dim(input)
        updates = self.training and self.track_running_stats
        momentum = self._count_batch() if updates else 0.0
        batch_statistics = self.training or self.running_mean is None
        keeps = updates or not batch_statistics
        return F.batch_norm(
            input,
            self.running_mean if keeps else None,
            self.running_var if keeps else None,
            self.weight,
            self.bias,
            batch_statistics,
            momentum,
            self.eps,
        )


class BatchNorm1d(BatchNorm):
    """Batch norm of (N, C) over N, or of (N, C, L) over N and L. Arguments and errors: `BatchNorm`."""

    _dims = (2, 3)


class BatchNorm2d(BatchNorm):
    """Batch norm of images (N, C, H, W) over N, H and W: one statistic a feature map.

    Arguments and errors: `BatchNorm`.
    """

    _dims = (4,)


class BatchNorm3d(BatchNorm):
    """Batch norm of volumes (N, C, D, H, W) over N, D, H and W. Arguments and errors: `BatchNorm`."""

    _dims = (5,)
