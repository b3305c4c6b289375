"""One step of an LSTM and of a GRU, with a norm at each place where the literature puts one."""

from collections.abc import Callable

import torch
from torch import Tensor

from normcore.functional._checks import check_floating, shape_of
from normcore.functional.standardization import scale_and_shift
from normcore.statistics import accumulation_dtype, update_running

Norm = Callable[[Tensor], Tensor]


def _same(x: Tensor) -> Tensor:
    return x


def normalized_lstm_cell(
    input: Tensor,
    state: tuple[Tensor, ...],
    weight_hh: Tensor,
    bias: Tensor | None = None,
    norm_ih: Norm = _same,
    norm_hh: Norm = _same,
    norm_out: Norm = _same,
) -> tuple[Tensor, Tensor]:
    """One step of an LSTM whose two linear maps are normalized apart, and the cell once more.

        (f, i, o, g) = norm_ih(W_x x_t) + norm_hh(W_h h_{t−1}) + b
        c_t = σ(f) ⊙ c_{t−1} + σ(i) ⊙ tanh(g),        h_t = σ(o) ⊙ tanh(norm_out(c_t))
        S = those of the norms

    With batch norm, W_x x_t and W_h h_{t−1} have statistics of their own: their scales differ, and that
    of the second changes with t. Each norm averages over the axes that it is made for.

    Args:
        input: W_x x_t, (N, 4H); of all steps at once it is one product of matrices.
        state: h_{t−1} and c_{t−1}, (N, H) each.
        weight_hh: W_h, (4H, H), rows in the order f, i, o, g.
        bias: b, (4H,), or None.
        norm_ih, norm_hh: from (N, 4H) to (N, 4H); without an offset, which b has.
        norm_out: from (N, H) to (N, H).

    Returns:
        h_t and c_t.

    Raises:
        RuntimeError: shapes that do not fit together.

    Source: Cooijmans et al. (2016), equations 6 to 8; with layer norm Ba, Kiros and Hinton (2016),
    equations 20 to 22.
    """
    h, c = state
    _check_cell("normalized_lstm_cell", 4, input, h, weight_hh)
    a = norm_ih(input) + norm_hh(h @ weight_hh.mT)
    f, i, o, g = (a if bias is None else a + bias).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(norm_out(c)), c


def normalized_gru_cell(
    input: Tensor,
    h: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    norm_ih: Norm = _same,
    norm_hh: Norm = _same,
) -> Tensor:
    """One step of a GRU whose two linear maps are normalized apart.

        (x_r, x_z, x_n) = norm_ih(W_x x_t) + b,        (h_r, h_z, h_n) = norm_hh(W_h h_{t−1})
        r = σ(x_r + h_r),   z = σ(x_z + h_z),   n = tanh(x_n + r ⊙ h_n)
        h_t = (1 − z) ⊙ n + z ⊙ h_{t−1},        S = those of the norms

    Args:
        input: W_x x_t, (N, 3H).
        h: h_{t−1}, (N, H).
        weight_hh: W_h, (3H, H), rows in the order r, z, n.
        bias: b, (3H,), or None.
        norm_ih, norm_hh: from (N, 3H) to (N, 3H). Batch norm looks at each feature by itself; layer norm is
            to take the 2H gates and the H of the candidate n apart.

    Returns:
        h_t.

    Raises:
        RuntimeError: shapes that do not fit together.

    Source: the cell of torch.nn.GRU, normalized as by Cooijmans et al. (2016); with layer norm Ba, Kiros
    and Hinton (2016), equations 26 to 28.
    """
    _check_cell("normalized_gru_cell", 3, input, h, weight_hh)
    x = norm_ih(input)
    x_r, x_z, x_n = (x if bias is None else x + bias).chunk(3, dim=1)
    h_r, h_z, h_n = norm_hh(h @ weight_hh.mT).chunk(3, dim=1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h


def valid_batch_norm(
    input: Tensor,
    valid: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    instead: tuple[Tensor, Tensor],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """Batch norm in training of those examples that have not ended; the others become 0.

        y_nc = (x_nc − μ_c) / √(σ²_c + ε) · γ_c + β_c,        S_c = the valid examples, m of them

    One example has no variance: with m < 2 the statistics are `instead`, and the running averages stay.
    Nothing waits for the device: m is not asked for.

    Args:
        input: (N, C).
        valid: (N,), bool.
        running_mean, running_var: (C,), moved in place.
        instead: mean and variance, (C,) each.
        weight, bias: γ and β, (C,), or None.
        momentum: weight of the new value.
        eps: ε.

    Returns:
        The output, (N, C), and whether the running averages moved, a bool tensor without dimensions.

    Raises:
        ValueError: N = 1.

    Source: Cooijmans et al. (2016), section 3, over the examples that are left.
    """
    check_floating(input)
    if len(input) == 1:
        raise ValueError(
            f"expected more than 1 value per channel when training, got input {shape_of(input)}: "
            "the variance of one value is 0"
        )
    inside = valid[:, None]
    x = torch.where(inside, input.to(accumulation_dtype(input.dtype)), 0.0)
    count = valid.sum().to(x.dtype)
    moved = count >= 2
    m = count.clamp_min(1)
    mean = x.sum(0) / m
    centred = torch.where(inside, x - mean, 0.0)
    # what rounding left of the mean, as in `centre`
    residual = centred.detach().sum(0) / m
    mean, centred = mean + residual, torch.where(inside, centred - residual, 0.0)
    var = centred.square().sum(0) / m
    weight_of_new = torch.where(moved, momentum, 0.0)
    update_running(running_mean, mean, weight_of_new)
    update_running(running_var, var * (count / (count - 1).clamp_min(1)), weight_of_new)
    other_mean, other_var = (s.to(x.dtype) for s in instead)
    centred = torch.where(moved, centred, x - other_mean)
    y = centred * torch.rsqrt(torch.where(moved, var, other_var) + eps)
    return torch.where(inside, scale_and_shift(y, weight, bias, input.dtype), 0.0), moved


def _check_cell(name: str, gates: int, input: Tensor, h: Tensor, weight_hh: Tensor) -> None:
    check_floating(input)
    if h.dim() != 2:
        raise RuntimeError(f"{name}: the state must be (N, H), but it is {tuple(h.shape)}")
    size = gates * h.shape[1]
    if weight_hh.shape != (size, h.shape[1]) or input.shape != (len(h), size):
        raise RuntimeError(
            f"{name}: with a state {tuple(h.shape)} the input must be ({len(h)}, {size}) and weight_hh "
            f"({size}, {h.shape[1]}), but they are {tuple(input.shape)} and {tuple(weight_hh.shape)}"
        )
