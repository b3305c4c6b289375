"""Normalized weights, as parametrizations: the layer is as it was, its weight is computed.

layer = weight_norm(torch.nn.Linear(10, 20))
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.utils import parametrizations, parametrize

from normcore import functional as F
from normcore.functional.weight import power_iteration

__all__ = ["initialize_from_data", "spectral_norm", "weight_norm", "weight_standardization"]


def _of(module: Module, name: str) -> Any:
    """The list of parametrizations of a parameter, with its originals."""
    lists: Any = module.parametrizations
    return lists[name]


class _WeightNorm(parametrizations._WeightNorm):
    """Parameters g = ‖w‖ (original0) and v = w (original1)."""

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return F.weight_norm(v, g, self.dim)


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Give a parameter a length and a direction, g and v, which are learned in its place.

        w_o = g_o · v_o / ‖v_o‖,        S_o = all weights of output o

    >>> layer = nn.weight_norm(torch.nn.Linear(4, 3))
    >>> sorted(name for name, _ in layer.named_parameters())
    ['bias', 'parametrizations.weight.original0', 'parametrizations.weight.original1']

    Names, shapes and errors are torch.nn.utils.parametrizations'.

    Args:
        module: changed in place.
        name: of the parameter.
        dim: the dimension that keeps a length each; None, or torch's −1, for one length of the whole.

    Returns:
        module.

    Source: Salimans and Kingma (2016), equation 2.
    """
    # torch declares dim an int, and takes None
    parametrizations.weight_norm(module, name, cast(int, dim))
    _of(module, name)[-1].__class__ = _WeightNorm
    return module


@torch.no_grad()
def initialize_from_data(module: Module, input: Tensor) -> Tensor:
    """Set g and the bias of a weight-normalized layer so that its output on a batch has mean 0, deviation 1.

        t = v·x/‖v‖,        g ← 1/σ[t],        b ← −μ[t]/σ[t]

    >>> layer = nn.weight_norm(torch.nn.Linear(4, 3))
    >>> y = nn.initialize_from_data(layer, torch.randn(50, 4))
    >>> torch.allclose(y.mean(0), torch.zeros(3), atol=1e-5)
    True

    Args:
        module: a linear or convolutional layer after `weight_norm`, a length an output, with a bias.
        input: a batch for it.

    Returns:
        The layer's output on that batch, the input of the next layer to initialize.

    Raises:
        ValueError: a layer without `weight_norm`, without a bias, or with lengths of other things than
            outputs (a transposed convolution keeps them in dim 1).

    Source: Salimans and Kingma (2016), section 3.
    """
    kinds: Any = _of(module, "weight") if parametrize.is_parametrized(module, "weight") else [None]
    bias: Any = module.bias
    if not isinstance(kinds[0], parametrizations._WeightNorm) or bias is None:
        raise ValueError("initialize_from_data needs a layer after weight_norm, with a bias")
    of_outputs = 1 if isinstance(module, torch.nn.modules.conv._ConvTransposeNd) else 0
    if kinds[0].dim != of_outputs:
        raise ValueError(
            f"initialize_from_data needs a length an output, weight_norm(…, dim={of_outputs}), "
            f"but got dim={kinds[0].dim}"
        )
    lengths = kinds.original0
    lengths.fill_(1)
    bias.zero_()
    t = module(input)
    # features stand last after a linear layer, second after a convolution
    channel = t.dim() - 1 if isinstance(module, torch.nn.Linear) else 1
    others = [d for d in range(t.dim()) if d != channel]
    mean, std = t.mean(others), t.std(others, correction=0)
    lengths.copy_((1 / std).view_as(lengths))
    bias.copy_(-mean / std)
    return module(input)


class _WeightStandardization(Module):
    def __init__(self, eps: float, gain: Parameter | None, scaled: bool) -> None:
        super().__init__()
        self.eps = eps
        self.scaled = scaled
        self.register_parameter("gain", gain)

    def reset_parameters(self) -> None:
        """A gain of 1."""
        if self.gain is not None:
            torch.nn.init.ones_(self.gain)

    def forward(self, weight: Tensor) -> Tensor:
        return F.weight_standardization(weight, self.gain, self.eps, self.scaled)


def weight_standardization(
    module: Module, name: str = "weight", eps: float = 1e-5, gain: bool = False, scaled: bool = False
) -> Module:
    """Centre and scale each output's weights.

        ŵ_o = (w_o − μ_o) / √(σ²_o + ε) · gain_o,        S_o = all weights of output o

    >>> layer = nn.weight_standardization(torch.nn.Conv2d(3, 8, 3))
    >>> layer.weight.mean((1, 2, 3)).abs().max().item() < 1e-6
    True

    Args:
        module: changed in place.
        name: of the parameter.
        eps: ε.
        gain: learn a gain an output, which starts at 1.
        scaled: divide by √m besides, m the weights of an output (scaled weight standardization).

    Returns:
        module.

    Source: Qiao et al. (2019); scaled: Brock, De, Smith and Simonyan (2021), equation 1.
    """
    weight = getattr(module, name)
    shape = (len(weight), *[1] * (weight.dim() - 1))
    learned = Parameter(torch.ones(shape, device=weight.device, dtype=weight.dtype)) if gain else None
    parametrize.register_parametrization(module, name, _WeightStandardization(eps, learned, scaled))
    return module


class _SpectralNorm(parametrizations._SpectralNorm):
    """Buffers _u and _v, the singular vectors as far as they are known."""

    def forward(self, weight: Tensor) -> Tensor:
        if weight.dim() == 1:  # a matrix of one row: its singular value is its length
            return torch.nn.functional.normalize(weight, dim=0, eps=self.eps)
        if self.training:
            steps = self.n_power_iterations
            u, v = power_iteration(weight, self._u, self._v, steps, self.eps, self.dim)
            self._u.copy_(u)
            self._v.copy_(v)
        # copies, so that a second forward before backward does not change what the first one saved
        return F.spectral_norm(weight, self._u.clone(), self._v.clone(), self.dim)


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a parameter, taken as the matrix (out, in·*), by its largest singular value.

        W_SN = W / σ,        σ = uᵀ W v,        S = the whole matrix

    >>> layer = nn.spectral_norm(torch.nn.Linear(4, 3), n_power_iterations=50)
    >>> torch.allclose(torch.linalg.matrix_norm(layer.weight, 2), torch.tensor(1.0), atol=1e-3)
    True

    The singular vectors are estimated by power iteration, which goes on at each forward in training.
    Names, shapes and errors are torch.nn.utils.parametrizations'.

    Args:
        module: changed in place.
        name: of the parameter.
        n_power_iterations: at each forward.
        eps: the smallest length that is divided by.
        dim: the dimension that is out; None for 1 in a transposed convolution, elsewhere 0.

    Returns:
        module.

    Source: Miyato, Kataoka, Koyama and Yoshida (2018), Algorithm 1.
    """
    parametrizations.spectral_norm(module, name, n_power_iterations, eps, dim)
    _of(module, name)[-1].__class__ = _SpectralNorm
    return module
