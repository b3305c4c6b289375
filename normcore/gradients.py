"""Each method's backward pass, derived by hand, in the book's symbols."""

import torch
from torch import Tensor

from normcore.statistics import accumulation_dtype, centre

__all__ = ["batch_norm_backward"]


def batch_norm_backward(
    grad_output: Tensor, input: Tensor, weight: Tensor | None = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of a loss L through batch norm in training.

    With x̂ = (x − μ)/√(σ² + ε), y = γ x̂ + β, dy = ∂L/∂y, and sums over the m positions of a channel:

        dβ = Σ dy
        dγ = Σ dy·x̂
        dx = γ/√(σ² + ε) · (dy − dβ/m − x̂·dγ/m)

    The last line says what batch norm does to a gradient: it removes the component along 1 (a change
    of the mean) and the component along x̂ (a change of the scale), since neither would change y.

    Args:
        grad_output: dy, of the shape of input.
        input: x, (N, C) or (N, C, *).
        weight: γ, (C,); None stands for ones.
        eps: ε.

    Returns:
        dx (shape and dtype of input), dγ (C,) and dβ (C,), in the accumulation dtype.

    Raises:
        ValueError: grad_output and input of different shapes.

    Source: Ioffe and Szegedy (2015), section 3, simplified.
    """
    if grad_output.shape != input.shape:
        raise ValueError(
            f"grad_output must have the shape of input, {tuple(input.shape)}, "
            f"but it is {tuple(grad_output.shape)}"
        )
    dim = (0, *range(2, input.dim()))
    m = input.numel() // input.shape[1]
    dy = grad_output.to(accumulation_dtype(input.dtype))

    _, centred = centre(input, dim)
    inv_std = torch.rsqrt(centred.square().mean(dim, keepdim=True) + eps)
    x_hat = centred * inv_std

    dbeta = dy.sum(dim, keepdim=True)
    dgamma = (dy * x_hat).sum(dim, keepdim=True)
    dx = inv_std * (dy - dbeta / m - x_hat * dgamma / m)
    if weight is not None:
        dx = dx * weight.view(-1, *[1] * (input.dim() - 2))
    return dx.to(input.dtype), dgamma.flatten(), dbeta.flatten()
