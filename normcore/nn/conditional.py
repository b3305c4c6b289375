"""γ and β from elsewhere: a class, a condition, another image."""

from typing import cast

import torch
from torch import Tensor
from torch.nn import Embedding, Linear, Module, init

from normcore import functional as F
from normcore.nn._leaf import leaf
from normcore.nn._running import count_batch

__all__ = ["AdaptiveInstanceNorm", "AdaptiveLayerNorm", "ConditionalBatchNorm"]


class AdaptiveInstanceNorm(Module):
    """The content takes on the style's channel statistics.

        y_nc… = σ_nc(s) · (x_nc… − μ_nc(x)) / σ_nc(x) + μ_nc(s),        σ = √(var + ε)
        S_nc = the positions of channel c of n, in each of the two

    >>> content = torch.randn(1, 2, 8, 8)
    >>> style = 3 * torch.randn(1, 2, 5, 5) + 7
    >>> y = nn.AdaptiveInstanceNorm()(content, style)
    >>> torch.allclose(y.mean((2, 3)), style.mean((2, 3)), atol=1e-4)
    True

    Shape: content (N, C, *) and style (N, C, *), with positions of its own, to the content's.

    Args:
        eps: ε.

    Raises:
        ValueError: content and style that differ in (N, C).

    Source: Huang and Belongie (2017), equation 8.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    @leaf
    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        return F.adaptive_instance_norm(content, style, self.eps)


class _ZeroLinear(Linear):
    """A linear map that starts at 0."""

    def reset_parameters(self) -> None:
        init.zeros_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class _ConstantEmbedding(Embedding):
    """An embedding whose entries all start at one value."""

    def __init__(self, num_embeddings: int, embedding_dim: int, value: float, device, dtype) -> None:
        self.value = value
        super().__init__(num_embeddings, embedding_dim, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        init.constant_(self.weight, self.value)


class AdaptiveLayerNorm(Module):
    """Layer norm whose γ and β are linear in a condition.

        y_n = (x_n − μ_n) / √(σ²_n + ε) ⊙ (1 + γ(c_n)) + β(c_n),        S_n = the last dimension of x

    >>> layer = nn.AdaptiveLayerNorm(4, 2)
    >>> layer(torch.randn(3, 5, 4), torch.randn(3, 2)).shape
    torch.Size([3, 5, 4])

    Shape: x (N, *, features) and c (N, condition_features) to that of x.

    The linear map gives β and then γ, as in the authors' code, and starts at 0: the layer starts as layer
    norm without affine parameters.

    Args:
        features: size of the last dimension of x.
        condition_features: size of the condition c, (N, condition_features).
        eps: ε.

    Source: Peebles and Xie (2023), section 3.2 (adaLN).
    """

    def __init__(
        self, features: int, condition_features: int, eps: float = 1e-5, device=None, dtype=None
    ) -> None:
        super().__init__()
        self.features = features
        self.eps = eps
        self.linear = _ZeroLinear(condition_features, 2 * features, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """The linear map is 0."""
        self.linear.reset_parameters()

    @leaf
    def forward(self, input: Tensor, condition: Tensor) -> Tensor:
        """Input (N, *, features), condition (N, condition_features)."""
        shift, scale = self.linear(condition).chunk(2, dim=-1)
        return F.adaptive_layer_norm(input, shift, scale, self.eps)


class ConditionalBatchNorm(torch.nn.modules.batchnorm._NormBase):
    """Batch norm whose γ and β are looked up by a class.

        y_nc… = (x_nc… − μ_c) / √(σ²_c + ε) · γ_kc + β_kc,        k the class of n
        S_c = every position of channel c

    >>> layer = nn.ConditionalBatchNorm(2, num_classes=3)
    >>> layer(torch.randn(4, 2), torch.tensor([0, 2, 1, 0])).shape
    torch.Size([4, 2])

    Shape: (N, C) or (N, C, *), and the classes (N,), to that of the input.

    Args:
        num_features: C.
        num_classes: K.
        eps, momentum: as BatchNorm2d.

    Source: Dumoulin, Shlens and Kudlur (2017), equation 5 (on instance norm); de Vries et al. (2017).
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine=False, device=device, dtype=dtype)
        self.num_classes = num_classes
        self.weights = _ConstantEmbedding(num_classes, num_features, 1.0, device, dtype)
        self.biases = _ConstantEmbedding(num_classes, num_features, 0.0, device, dtype)

    def reset_parameters(self) -> None:
        """Running averages, γ and β as in a new layer."""
        super().reset_parameters()
        for embedding in self.children():  # none yet, while torch's own part is made
            cast(_ConstantEmbedding, embedding).reset_parameters()

    @leaf
    def forward(self, input: Tensor, classes: Tensor) -> Tensor:
        """Input (N, C) or (N, C, *), classes (N,) of integers below num_classes."""
        momentum = count_batch(self) if self.training else 0.0
        gamma_beta = (self.weights(classes), self.biases(classes))
        averages = (self.running_mean, self.running_var)
        return F.conditional_batch_norm(input, *averages, *gamma_beta, self.training, momentum, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, num_classes={self.num_classes}, eps={self.eps}, momentum={self.momentum}"
        )
