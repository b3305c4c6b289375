"""Where the norm stands in a residual block, and the blocks that do without."""

import torch
from torch import Tensor
from torch.nn import Module, Parameter

__all__ = ["DeepNorm", "PostNorm", "PreNorm", "SandwichNorm", "SkipInit", "deepnorm_constants"]


class PreNorm(Module):
    """The norm before the sublayer: the residual stream itself is never normalized.

        y = x + f(norm(x))

    >>> block = nn.PreNorm(nn.LayerNorm(4), torch.nn.Linear(4, 4))
    >>> block(torch.randn(2, 4)).shape
    torch.Size([2, 4])

    Shape: (*, C) to the same.

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
    """The norm after the sum: the original Transformer.

        y = norm(x + f(x))

    >>> block = nn.PostNorm(nn.LayerNorm(2), torch.nn.Linear(2, 2))
    >>> block(torch.randn(1, 2)).abs().round().tolist()
    [[1.0, 1.0]]

    Shape: (*, C) to the same.

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
    """A norm on both sides of the sublayer.

        y = x + norm_out(f(norm_in(x)))

    >>> first, last = nn.LayerNorm(4), nn.LayerNorm(4)
    >>> block = nn.SandwichNorm(first, torch.nn.Linear(4, 4), last)
    >>> block(torch.randn(2, 4)).shape
    torch.Size([2, 4])

    Shape: (*, C) to the same.

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
    """Post-norm with a heavier residual, for very deep Transformers.

        y = norm(α x + f(x))

    >>> alpha, beta = nn.deepnorm_constants(8)
    >>> block = nn.DeepNorm(nn.LayerNorm(4), torch.nn.Linear(4, 4), alpha)
    >>> block(torch.randn(2, 4)).shape
    torch.Size([2, 4])

    Shape: (*, C) to the same.

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
    """α and β of DeepNorm for a Transformer of M layers, encoder or decoder alone.

        α = (2M)^(1/4),        β = (8M)^(−1/4)

    Raises:
        ValueError: layers below 1.

    Source: Wang et al. (2022), figure 2.
    """
    if layers < 1:
        raise ValueError(f"layers must be at least 1, but got {layers}")
    return (2 * layers) ** 0.25, (8 * layers) ** -0.25


class SkipInit(Module):
    """A block without a norm that starts as the identity: α is learned, and 0 at first.

        y = x + α f(x)

    >>> x = torch.randn(2, 4)
    >>> torch.equal(nn.SkipInit(torch.nn.Linear(4, 4))(x), x)
    True

    Shape: (*, C) to the same.

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
