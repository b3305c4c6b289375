"""Batch norm inside a recurrence: running averages of their own for each time step."""

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from normcore import functional as F
from normcore.functional.recurrent import valid_batch_norm
from normcore.nn._affine import register_affine, reset_affine
from normcore.nn._leaf import leaf

__all__ = ["StepBatchNorm"]


class StepBatchNorm(Module):
    """Batch norm with running averages of its own for each time step; γ and β are shared.

        y_nc = (x_nc − μ_tc) / √(σ²_tc + ε) · γ_c + β_c,        S_tc = the examples valid at t

    Training normalizes by the valid examples of the step. Where fewer than two are left, and beyond the
    longest step seen in training, the last seen step's averages are used. A step is seen when its
    averages have moved.

    >>> layer = nn.StepBatchNorm(2, max_steps=3)
    >>> x = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    >>> layer(x, step=0).mul(10).round().tolist()  # γ starts at 0.1
    [[-1.0, -1.0], [1.0, 1.0]]

    Shape: (N, C) at a step to the same.

    Args:
        num_features: C.
        max_steps: running averages are kept for so many steps; later ones share the last.
        gamma: what γ starts at; 0.1 keeps the gradient through tanh alive.
        bias: learn β.
        eps, momentum: as BatchNorm1d; momentum is a number.

    Raises:
        ValueError: a batch of one example, in training.

    Source: Cooijmans, Ballas, Laurent, Gülçehre and Courville (2016), section 3.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_features: int,
        max_steps: int,
        gamma: float = 0.1,
        bias: bool = True,
        eps: float = 1e-5,
        momentum: float = 0.1,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.max_steps = max_steps
        self.gamma = gamma
        self.eps = eps
        self.momentum = momentum
        register_affine(self, (num_features,), True, bias, device, dtype)
        shape = (max_steps, num_features)
        self.register_buffer("running_mean", torch.empty(shape, device=device, dtype=dtype))
        self.register_buffer("running_var", torch.empty(shape, device=device, dtype=dtype))
        self.register_buffer("steps_seen", torch.empty((), dtype=torch.long, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Means 0, variances 1, no step seen, γ as it was given, β = 0."""
        self.running_mean.zero_()
        self.running_var.fill_(1)
        self.steps_seen.zero_()
        reset_affine(self, self.gamma)

    @leaf
    def forward(self, input: Tensor, step: int, valid: Tensor | None = None) -> Tensor:
        """Input (N, C) at `step`, counted from 0; valid (N,) says which examples have not ended."""
        if not self.training:
            mean, var = self._last_seen(step)
            return F.batch_norm(input, mean, var, self.weight, self.bias, eps=self.eps)
        kept = min(step, self.max_steps - 1)
        averages = (self.running_mean[kept], self.running_var[kept])
        options = (self.momentum, self.eps)
        if valid is None:
            if len(input):
                self.steps_seen.clamp_(min=kept + 1)
            return F.batch_norm(input, *averages, self.weight, self.bias, True, *options)
        output, moved = valid_batch_norm(
            input, valid, *averages, self._last_seen(step), self.weight, self.bias, *options
        )
        # nothing here waits for the device: which steps are seen is known to it alone
        self.steps_seen.copy_(torch.maximum(self.steps_seen, moved * (kept + 1)))
        return output

    def _last_seen(self, step: int) -> tuple[Tensor, Tensor]:
        """The averages of `step`, or of the last one seen before it; of the first if none was."""
        index = (self.steps_seen - 1).clamp(0, step).view(1)
        return self.running_mean.index_select(0, index)[0], self.running_var.index_select(0, index)[0]

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, max_steps={self.max_steps}, gamma={self.gamma}, "
            f"bias={self.bias is not None}, eps={self.eps}, momentum={self.momentum}"
        )
