"""Where results lie in memory: as torch's, so that `view` works after ours where it works after theirs."""

from torch import Tensor

from normcore.kernels.by_hand import transformed


def laid_out(input: Tensor, channels_last: bool = True) -> Tensor:
    """The input as torch's norms read it: contiguous, or channels last where it is so and that is kept.

    What follows keeps the strides that it is given. torch copies the same inputs.
    """
    if input.is_contiguous() or transformed(input) or (channels_last and _is_channels_last(input)):
        return input
    return input.contiguous()


def _is_channels_last(input: Tensor) -> bool:
    if input.dim() not in (4, 5):
        return False
    # from the fastest dimension to the slowest: C, then the positions from the last on, then N
    strides = [input.stride(d) for d in (1, *range(input.dim() - 1, 1, -1), 0)]
    return strides == sorted(strides)
