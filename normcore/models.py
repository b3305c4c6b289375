"""The networks that experiments share."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

from torch import nn

__all__ = ["SIZES", "initialise", "mlp"]

# the digits' pixels, five hidden layers, the digits
SIZES = (64, 64, 64, 64, 64, 64, 10)


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
            normalization would remove it. One seed draws the same weights, with and without normalization,
            in either position: a bias that is left out is drawn all the same.
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
        linear = nn.Linear(fan_in, fan_out)
        if norm is not None and position == "before":
            linear.register_parameter("bias", None)
        layers.append(linear)
        steps = [activation()]
        if norm is not None:
            steps.insert(0 if position == "before" else 1, norm(fan_out))
        layers += steps
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


Model = TypeVar("Model", bound=nn.Module)


def initialise(model: Model, scale: float = 1.0, centred: bool = False) -> Model:
    """He's initialisation: weights normal with variance 2/n_in, times scale². In place.

    Biases are 0. A sigmoid's outputs lie around ½, and add ½ Σ_j w_ij to the sum of the next layer's unit i,
    the same on every example. Centred, its bias takes that out again:

        b_i = −½ Σ_j w_ij   where a linear map follows a sigmoid

    With scale² = 8, that is with variance 16/n_in, a network of sigmoids is then one of ½ tanh(a/2), which
    keeps small signals as they are.

    Source: He et al. (2015), section 2.2.
    """
    before = None
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=scale * (2 / module.in_features) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
                if centred and isinstance(before, nn.Sigmoid):
                    module.bias.data -= module.weight.data.sum(1) / 2
        before = module
    return model
