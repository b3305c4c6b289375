"""The networks that experiments share."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

__all__ = ["mlp"]


def mlp(
    sizes: Sequence[int],
    norm: Callable[[int], nn.Module] | None = None,
    position: str = "before",
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """A fully connected network: linear maps with an activation between them, normalized or not.

    Args:
        sizes: widths from the input to the output, such as (64, 100, 100, 10).
        norm: makes the normalization of a hidden layer from its width; None for none.
        position: "before" or "after" the activation. Before it, the linear map has no bias: the
            normalization would remove it.
        activation: makes the activation.

    Raises:
        ValueError: fewer than two sizes, or an unknown position.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes must name at least an input and an output width, but got {tuple(sizes)}")
    if position not in ("before", "after"):
        raise ValueError(f"position must be 'before' or 'after' the activation, but got {position!r}")
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes[:-1]):
        layers.append(nn.Linear(fan_in, fan_out, bias=norm is None or position == "after"))
        steps = [activation()]
        if norm is not None:
            steps.insert(0 if position == "before" else 1, norm(fan_out))
        layers += steps
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
