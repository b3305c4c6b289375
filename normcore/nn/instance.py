"""Instance normalization: one mean and variance an example and channel."""

import warnings

from torch import Tensor

from normcore import functional as F
from normcore.nn._running import RunningNorm

__all__ = ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]


class InstanceNorm(RunningNorm):
    """y_nc… = (x_nc… − μ_nc) / √(σ²_nc + ε) · γ_c + β_c; what InstanceNorm1d, 2d and 3d share.

    Args:
        num_features: C.
        eps: ε, under the root.
        momentum: weight of the new value in the running averages; None leaves them as they are.
        affine: learn γ and β (off by default, as in torch.nn).
        track_running_stats: keep running averages and use them in evaluation (off by default).
        bias: with affine, learn β.

    Raises:
        ValueError: input of the wrong number of dimensions, with one position a channel, or, with
            affine, whose channels are not num_features.

    Source: Ulyanov, Vedaldi and Lempitsky (2016), equation 4.
    """

    _spatial: int

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device=None,
        dtype=None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        unbatched, batched = self._spatial + 1, self._spatial + 2
        if input.dim() not in (unbatched, batched):
            raise ValueError(
                f"{type(self).__name__}: expected {unbatched}D or {batched}D input, "
                f"but got {input.dim()}D input of shape {tuple(input.shape)}"
            )
        dim = input.dim() - unbatched
        if input.shape[dim] != self.num_features:
            message = (
                f"{type(self).__name__}: the size of the input at dim={dim} must be "
                f"num_features={self.num_features}, but it is of shape {tuple(input.shape)}"
            )
            if self.affine:
                raise ValueError(message)
            warnings.warn(message + " (not used, because affine=False)", stacklevel=2)
        output = F.instance_norm(
            input if dim else input.unsqueeze(0),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return output if dim else output.squeeze(0)


class InstanceNorm1d(InstanceNorm):
    """Instance norm of sequences (N, C, L) or (C, L), over L. Arguments and errors: `InstanceNorm`."""

    _spatial = 1


class InstanceNorm2d(InstanceNorm):
    """Instance norm of images (N, C, H, W) or (C, H, W), over H and W.

    Arguments and errors: `InstanceNorm`.
    """

    _spatial = 2


class InstanceNorm3d(InstanceNorm):
    """Instance norm of volumes (N, C, D, H, W) or (C, D, H, W), over D, H and W.

    Arguments and errors: `InstanceNorm`.
    """

    _spatial = 3
