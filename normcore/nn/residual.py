"""Where the norm stands in a residual block, and the blocks that do without."""

import torch
from torch import Tensor
from torch.nn import Module, Parameter

__all__ = ["DeepNorm", "PostNorm", "PreNorm", "SandwichNorm", "SkipInit", "deepnorm_constants"]


class PreNorm(Module):
    """y = x + f(norm(x)): the residual stream itself is never normalized.

    Args:
        norm, sublayer: modules from (*, C) to (*, C).

    Source: Xiong et al. (2020), figure 1b.
    """

    def __init__(self, norm: Module, sublayer: Module) -> None:
        super().__init__()
        self.norm = norm
        self.sublayer = sublayer

    def forward(self, input: Tensor) -> Tensor:
        return input + self.sublayer(self.norm(input))


class PostNorm(Module):
    """y = norm(x + f(x)): the original Transformer.

    Args:
        norm, sublayer: modules from (*, C) to (*, C).

    Source: Vaswani et al. (2017), section 3.1.
    """

    def __init__(self, norm: Module, sublayer: Module) -> None:
        super().__init__()
        self.norm = norm
        self.sublayer = sublayer

    def forward(self, input: Tensor) -> Tensor:
        return self.norm(input + self.sublayer(input))


class SandwichNorm(Module):
    """y = x + norm_out(f(norm_in(x))): a norm on both sides of the sublayer.

    Args:
        norm_in, norm_out, sublayer: modules from (*, C) to (*, C).

    Source: Ding et al. (2021), section 2.4.
    """

    def __init__(self, norm_in: Module, sublayer: Module, norm_out: Module) -> None:
        super().__init__()
        self.norm_in = norm_in
        self.sublayer = sublayer
        self.norm_out = norm_out

    def forward(self, input: Tensor) -> Tensor:
        return input + self.norm_out(self.sublayer(self.norm_in(input)))


class DeepNorm(Module):
    """y = norm(α x + f(x)): post-norm with a heavier residual, for very deep Transformers.

    The weights of f (feed-forward, value and output projections) are to start smaller by a factor β:
    `deepnorm_constants` gives both.

    Args:
        norm, sublayer: modules from (*, C) to (*, C).
        alpha: α.

    Source: Wang et al. (2022), figure 2.
    """

    def __init__(self, norm: Module, sublayer: Module, alpha: float) -> None:
        super().__init__()
        self.norm = norm
        self.sublayer = sublayer
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        return self.norm(self.alpha * input + self.sublayer(input))

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


def deepnorm_constants(layers: int) -> tuple[float, float]:
    """α = (2M)^(1/4) and β = (8M)^(−1/4) for a Transformer of M layers, encoder or decoder alone.

    Raises:
        ValueError: layers below 1.

    Source: Wang et al. (2022), figure 2.
    """
    if layers < 1:
        raise ValueError(f"layers must be at least 1, but got {layers}")
    return (2 * layers) ** 0.25, (8 * layers) ** -0.25


class SkipInit(Module):
    """y = x + α f(x), α learned and 0 at first: the block starts as the identity, without a norm.

    Args:
        sublayer: a module from (*, C) to (*, C).

    Source: De and Smith (2020).
    """

    def __init__(self, sublayer: Module, device=None, dtype=None) -> None:
        super().__init__()
        self.sublayer = sublayer
        self.alpha = Parameter(torch.empty((), device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """α = 0; the sublayer is left as it is."""
        torch.nn.init.zeros_(self.alpha)

    def forward(self, input: Tensor) -> Tensor:
        return input + self.alpha * self.sublayer(input)
