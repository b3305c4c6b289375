"""What arguments must be, and the errors that say so: of the kinds that torch raises."""

from collections.abc import Sequence

from torch import Tensor


def shape_of(tensor: Tensor) -> str:
    return f"of shape {tuple(tensor.shape)}"


def check_floating(input: Tensor) -> None:
    if input.is_nested:
        raise NotImplementedError(
            "input must not be a nested tensor: pad it, or normalize one by one what unbind() gives"
        )
    if not input.is_floating_point():
        raise NotImplementedError(
            f"input must be floating point, but got {input.dtype} {shape_of(input)}: convert it with .float()"
        )


def check_eps(name: str, eps: float) -> None:
    if eps < 0:
        raise ValueError(f"{name}: eps must be non-negative, but got {eps}")


def check_channels(name: str, input: Tensor, **vectors: Tensor | None) -> None:
    """That the input is (N, C, *) and each vector, if given, (C,)."""
    if input.dim() < 2:
        raise RuntimeError(f"{name}: input must be (N, C) or (N, C, *), but got {shape_of(input)}")
    channels = input.shape[1]
    for argument, vector in vectors.items():
        if vector is not None and vector.shape != (channels,):
            raise RuntimeError(
                f"{name}: {argument} must have shape ({channels},), one entry a channel of the input "
                f"{shape_of(input)}, but it is {shape_of(vector)}"
            )


def check_running(name: str, training: bool, mode: str = "training=False", **averages: Tensor | None) -> None:
    """That evaluation has its running averages, and training all of them or none."""
    missing = [argument for argument, average in averages.items() if average is None]
    if missing and not training:
        raise RuntimeError(f"{name}: {' and '.join(averages)} must be given with {mode}")
    if missing and len(missing) < len(averages):
        raise ValueError(f"{name}: give both {' and '.join(averages)}, or neither")


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
