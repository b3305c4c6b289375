"""γ and β from elsewhere: a class, a condition."""

from torch import Tensor

from normcore.functional._checks import check_floating, shape_of
from normcore.functional.batch import batch_norm
from normcore.functional.layer import layer_norm
from normcore.functional.standardization import scale_and_shift
from normcore.statistics import accumulation_dtype

__all__ = ["adaptive_layer_norm", "conditional_batch_norm"]


def adaptive_layer_norm(input: Tensor, shift: Tensor, scale: Tensor, eps: float = 1e-5) -> Tensor:
    """Layer norm, scaled and shifted by what a condition says of each example.

        y_n = (x_n − μ_n) / √(σ²_n + ε) ⊙ (1 + γ_n) + β_n,        S_n = the last dimension of example n

    Where x has dimensions between, each of their positions has an index set of its own.

    Args:
        input: (N, *, C).
        shift, scale: β and γ, (N, C).
        eps: ε.

    Raises:
        ValueError: shift or scale that is not (N, C).

    Source: Peebles and Xie (2023), section 3.2 (adaLN).
    """
    check_floating(input)
    expected = (len(input), input.shape[-1])
    for name, given in {"shift": shift, "scale": scale}.items():
        if tuple(given.shape) != expected:
            raise ValueError(
                f"adaptive_layer_norm: {name} must have shape {expected}, one row an example of the input "
                f"{shape_of(input)}, but it is {shape_of(given)}"
            )
    shape = (len(input), *[1] * (input.dim() - 2), input.shape[-1])
    y = layer_norm(input.to(accumulation_dtype(input.dtype)), input.shape[-1:], eps=eps)
    return scale_and_shift(y, 1 + scale.to(y.dtype).view(shape), shift.view(shape), input.dtype)


def conditional_batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch norm with γ and β of each example's own.

        y_nc… = (x_nc… − μ_c) / √(σ²_c + ε) · γ_nc + β_nc,        S_c = every position of channel c

    Args:
        input: (N, C) or (N, C, *).
        weight, bias: γ and β, (N, C): looked up by each example's class, say.
        others: as `batch_norm`.

    Raises:
        ValueError: weight or bias that is not (N, C).

    Source: Dumoulin, Shlens and Kudlur (2017), equation 5 (on instance norm); de Vries et al. (2017).
    """
    for name, given in {"weight": weight, "bias": bias}.items():
        if given.shape != input.shape[:2]:
            raise ValueError(
                f"conditional_batch_norm: {name} must have shape {tuple(input.shape[:2])}, one row an "
                f"example of the input {shape_of(input)}, but it is {shape_of(given)}"
            )
    check_floating(input)
    x = input.to(accumulation_dtype(input.dtype))
    y = batch_norm(x, running_mean, running_var, None, None, training, momentum, eps)
    shape = (*input.shape[:2], *[1] * (input.dim() - 2))
    return scale_and_shift(y, weight.view(shape), bias.view(shape), input.dtype)
