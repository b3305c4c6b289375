"""What layers share that torch.nn does not have: γ starts at one, β at zero, and either can be left out."""

import torch
from torch.nn import Module, Parameter


def register_affine(
    module: Module, shape: tuple[int, ...], weight: bool, bias: bool, device=None, dtype=None
) -> None:
    """Give `module` the parameters `weight` (γ) and `bias` (β) of a shape, or None in their place."""
    for name, wanted in {"weight": weight, "bias": bias}.items():
        parameter = Parameter(torch.empty(shape, device=device, dtype=dtype)) if wanted else None
        module.register_parameter(name, parameter)


def reset_affine(module: Module, gamma: float = 1.0) -> None:
    """γ = 1 (or `gamma`), β = 0: the layer starts as a pure normalization."""
    if isinstance(module.weight, Parameter):
        torch.nn.init.constant_(module.weight, gamma)
    if isinstance(module.bias, Parameter):
        torch.nn.init.zeros_(module.bias)
