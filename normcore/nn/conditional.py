"""γ and β from elsewhere: a class, a condition, another image."""

from torch import Tensor
from torch.nn import Embedding, Linear, Module, init

from normcore import functional as F
from normcore.nn._running import RunningNorm

__all__ = ["AdaptiveInstanceNorm", "AdaptiveLayerNorm", "ConditionalBatchNorm"]


class AdaptiveInstanceNorm(Module):
    """y = σ(s) · (x − μ(x)) / σ(x) + μ(s): the content takes on the style's channel statistics.

    Args:
        eps: ε.

    Raises:
        ValueError: content and style that differ in (N, C).

    Source: Huang and Belongie (2017), equation 8.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        return F.adaptive_instance_norm(content, style, self.eps)


class AdaptiveLayerNorm(Module):
    """y = LN(x) ⊙ (1 + γ(c)) + β(c), γ and β linear in a condition.

    The linear map starts at 0: the layer starts as layer norm without affine parameters.

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
        self.linear = Linear(condition_features, 2 * features, device=device, dtype=dtype)
        init.zeros_(self.linear.weight)
        init.zeros_(self.linear.bias)

    def forward(self, input: Tensor, condition: Tensor) -> Tensor:
        """Input (N, *, features), condition (N, condition_features)."""
        scale, shift = self.linear(condition).chunk(2, dim=-1)
        return F.adaptive_layer_norm(input, shift, scale, self.eps)


class ConditionalBatchNorm(RunningNorm):
    """Batch norm whose γ and β are looked up by a class: y = x̂ · γ_k,c + β_k,c.

    Args:
        num_features: C.
        num_classes: K.
        eps, momentum: as BatchNorm2d; momentum is a number.

    Source: Dumoulin, Shlens and Kudlur (2017), equation 5 (on instance norm); de Vries et al. (2017).
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__(num_features, eps, momentum, False, True, False, device, dtype)
        self.num_classes = num_classes
        self.weights = Embedding(num_classes, num_features, device=device, dtype=dtype)
        self.biases = Embedding(num_classes, num_features, device=device, dtype=dtype)
        init.ones_(self.weights.weight)
        init.zeros_(self.biases.weight)

    def forward(self, input: Tensor, classes: Tensor) -> Tensor:
        """Input (N, C) or (N, C, *), classes (N,) of integers below num_classes."""
        if self.training:
            self.num_batches_tracked.add_(1)
        affine = (self.weights(classes), self.biases(classes))
        averages = (self.running_mean, self.running_var)
        return F.conditional_batch_norm(input, *averages, *affine, self.training, self.momentum, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, num_classes={self.num_classes}, eps={self.eps}, momentum={self.momentum}"
        )
