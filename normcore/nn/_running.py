"""Counting batches: what every layer shares that keeps running averages as torch.nn's batch norm does."""

from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase


def count_batch(norm: _NormBase) -> float | Tensor:
    """Count one more batch; the weight that it has in the running averages.

    That is the layer's momentum; with momentum None, 1/n at the n-th batch, a plain average.
    """
    assert (
        norm.num_batches_tracked is not None and norm.running_mean is not None
    )  # who has none does not count
    norm.num_batches_tracked.add_(1)
    if norm.momentum is None:
        return 1.0 / norm.num_batches_tracked.to(norm.running_mean.dtype)
    return norm.momentum
