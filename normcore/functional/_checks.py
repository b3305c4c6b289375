"""What arguments must be, and the errors that say so: of the kinds that torch raises."""

from collections.abc import Sequence

from torch import Tensor


def shape_of(tensor: Tensor) -> str:
    return f"of shape {tuple(tensor.shape)}"


def check_floating(input: Tensor) -> None:
    if not input.is_floating_point():
        raise NotImplementedError(
            f"input must be floating point, but got {input.dtype} {shape_of(input)}: convert it with .float()"
        )


def check_eps(name: str, eps: float) -> None:
    if eps < 0:
        raise ValueError(f"{name}: eps must be non-negative, but got {eps}")


def check_channels(
    name: str,
    channels: int,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
) -> None:
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for argument, vector in vectors.items():
        if vector is not None and vector.shape != (channels,):
            raise RuntimeError(
                f"{name}: {argument} must have shape ({channels},), one entry a channel of the input "
                f"{shape_of(input)}, but it is {shape_of(vector)}"
            )


def check_running(
    name: str, running_mean: Tensor | None, running_var: Tensor | None, batch: bool, mode: str
) -> None:
    if not batch and (running_mean is None or running_var is None):
        raise RuntimeError(f"{name}: running_mean and running_var must be given with {mode}")
    if (running_mean is None) != (running_var is None):
        raise ValueError(f"{name}: give both running_mean and running_var, or neither")


def check_normalized_shape(
    name: str, input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None
) -> tuple[int, ...]:
    """The trailing dimensions of the input, after checking that they are `normalized_shape`."""
    shape = tuple(normalized_shape)
    if not shape:
        raise RuntimeError(f"{name}: normalized_shape must have at least one dimension, but got {shape}")
    if tuple(input.shape[-len(shape) :]) != shape:
        raise RuntimeError(
            f"{name}: the last dimensions of the input must be normalized_shape={shape}, "
            f"but it is {shape_of(input)}"
        )
    for argument, vector in {"weight": weight, "bias": bias}.items():
        if vector is not None and tuple(vector.shape) != shape:
            raise RuntimeError(
                f"{name}: {argument} must have shape normalized_shape={shape}, but it is {shape_of(vector)}"
            )
    return tuple(range(-len(shape), 0))
