"""Which Triton kernel runs in place of a standardization on a GPU, if one fits.

Rows (layer norm, RMS norm), groups (group and instance norm) and batches (batch norm) are told by the
dimensions averaged over and by where γ and β have entries. A kernel is used on a device once it has given the
formula's result there. NORMCORE_TRITON=0 in the environment does without.

The kernels are tested interpreted and as compiled for a Hopper GPU. Their times on one are not measured yet:
`normcore bench --device cuda --sizes huge` measures them.
"""

import functools
import importlib.util
import math
import os
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from normcore.kernels.by_hand import transformed
from normcore.statistics import dimensions

__all__ = ["differentiate", "evaluate", "standardize"]

DEVICES = ("cuda",)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# what each method is tried on: (rows, n), (N, G, C/G, positions) and (N, C, positions), and the index set
TRIALS: dict[str, tuple[tuple[int, ...], int | tuple[int, ...]]] = {
    "rows": ((1500, 1000), 1),
    "groups": ((3, 4, 8, 2000), (2, 3)),
    "batch": ((6, 20, 1500), (0, 2)),
}


@dataclass(frozen=True)
class Plan:
    """The kernel for an input, and its view of it.

    Attributes:
        method: "rows", "groups" or "batch".
        shape: of the view: (rows, n), (N, C, positions), or the input's own.
        groups: G, for "groups".
        statistics: shape of mean and variance, size 1 where averaged over.
    """

    method: str
    shape: tuple[int, ...]
    groups: int
    statistics: tuple[int, ...]


def standardize(
    input: Tensor,
    dim: int | tuple[int, ...],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    dtype: torch.dtype,
    centre: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor] | None:
    """y in `dtype`, μ in float64 and σ² in float32 (without `centre`: None and the mean square), or None."""
    plan = _plan(input, dim, weight, bias, dtype, centre)
    if plan is None:
        return None
    y, mean, var = _forward(plan, input.reshape(plan.shape), _flat(weight), _flat(bias), eps, dtype, centre)
    y = y.view(input.shape)
    if y.stride() != input.stride():
        y = torch.empty_like(input, dtype=dtype).copy_(y)  # in the memory format of the input
    return y, None if mean is None else mean.view(plan.statistics), var.view(plan.statistics)


def differentiate(
    grad: Tensor,
    input: Tensor,
    dim: int | tuple[int, ...],
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor,
    eps: float,
) -> list[Tensor] | None:
    """Gradients to the input and to those of γ and β that there are, from what `standardize` gave."""
    plan = _plan(input, dim, weight, bias, grad.dtype, mean is not None)
    if plan is None:
        return None
    x, dy = input.reshape(plan.shape), grad.reshape(plan.shape)
    mean = None if mean is None else mean.reshape(-1)
    dx, dw, db = _backward(plan, dy, x, _flat(weight), mean, var.reshape(-1), eps, bias is not None)
    pairs = [(dx, input), (dw, weight), (db, bias)]
    return [g.view(like.shape).to(like.dtype) for g, like in pairs if g is not None and like is not None]


def evaluate(
    input: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor | None:
    """Each channel of (N, C, *) normalized with statistics that are given, all (C,); None inside a graph."""
    given = [t for t in (input, mean, var, weight, bias) if t is not None]
    if transformed(*given) or (torch.is_grad_enabled() and any(t.requires_grad for t in given)):
        return None
    gamma, beta = (None if v is None else v.view(-1, *[1] * (input.dim() - 2)) for v in (weight, bias))
    plan = _plan(input, (0, *range(2, input.dim())), gamma, beta, input.dtype, True)
    if plan is None:
        return None
    from normcore.kernels import triton_batch

    return triton_batch.normalize(
        input, mean.double(), var.float(), _flat(weight), _flat(bias), eps, input.dtype
    )


def _plan(
    input: Tensor,
    dim: int | tuple[int, ...],
    weight: Tensor | None,
    bias: Tensor | None,
    dtype: torch.dtype,
    centre: bool,
) -> Plan | None:
    if input.device.type not in DEVICES or os.environ.get("NORMCORE_TRITON") == "0":
        return None
    vectors = [v for v in (weight, bias) if v is not None]
    # of subclasses a kernel would see the wrong storage, and of forward mode no tangent
    if any(type(t) not in (Tensor, torch.nn.Parameter) or t.dtype not in DTYPES for t in (input, *vectors)):
        return None
    if dtype not in DTYPES or any(v.device != input.device for v in vectors):
        return None
    if transformed(input, *vectors) or torch.autograd.forward_ad._current_level >= 0 or not input.numel():
        return None
    plan = _recognize(tuple(input.shape), dimensions(dim, input.dim()), [tuple(v.shape) for v in vectors])
    if plan is None or (plan.method != "rows" and not centre) or max(plan.shape) >= 2**31:
        return None
    return plan if _works(plan.method, input.device) else None


def _recognize(shape: tuple[int, ...], dim: tuple[int, ...], vectors: list[tuple[int, ...]]) -> Plan | None:
    dim, last = tuple(sorted(dim)), len(shape)
    statistics = tuple(1 if d in dim else size for d, size in enumerate(shape))
    if not dim:
        return None
    if dim == tuple(range(dim[0], last)):
        if all(v == shape[dim[0] :] for v in vectors):
            n = math.prod(shape[dim[0] :])
            return Plan("rows", (math.prod(shape) // n, n), 0, statistics)
        for k in range(2, last + 1) if dim[0] == 2 else ():
            if all(v == shape[1:k] + (1,) * (last - k) for v in vectors):
                channels = math.prod(shape[1:k])
                return Plan("groups", (shape[0], channels, math.prod(shape[k:])), shape[1], statistics)
    if dim == (0, *range(2, last)) and all(v == shape[1:2] + (1,) * (last - 2) for v in vectors):
        return Plan("batch", shape, 0, statistics)
    return None


def _flat(vector: Tensor | None) -> Tensor | None:
    return None if vector is None else vector.reshape(-1).contiguous()


def _forward(plan: Plan, x: Tensor, weight, bias, eps: float, dtype: torch.dtype, centre: bool):
    from normcore.kernels import triton_batch, triton_groups, triton_rows

    if plan.method == "rows":
        return triton_rows.forward(x, weight, bias, eps, centre, dtype)
    if plan.method == "groups":
        return triton_groups.forward(x, plan.groups, weight, bias, eps, dtype)
    return triton_batch.forward(x, weight, bias, eps, dtype)


def _backward(plan: Plan, dy: Tensor, x: Tensor, weight, mean, var, eps: float, need_bias: bool):
    from normcore.kernels import triton_batch, triton_groups, triton_rows

    if plan.method == "rows":
        return triton_rows.backward(dy, x, weight, mean, var, eps, need_bias)
    if plan.method == "groups":
        return triton_groups.backward(dy, x, plan.groups, weight, mean, var, eps)
    return triton_batch.backward(dy, x, weight, mean, var, eps)


@functools.cache
def _works(method: str, device: torch.device) -> bool:
    """Whether the kernels of a method give the formula's output and gradient on a device.

    They are compiled when first used, and that takes more than a GPU: a C compiler, a driver that fits.
    """
    if importlib.util.find_spec("triton") is None:
        return False
    shape, dim = TRIALS[method]
    generator = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    centred = x - x.mean(dim, keepdim=True)
    inv = (centred.square().mean(dim, keepdim=True) + 1e-3).rsqrt()
    x_hat = centred * inv
    slope = dy - dy.mean(dim, keepdim=True) - x_hat * (dy * x_hat).mean(dim, keepdim=True)
    grouped = method == "groups"
    plan = Plan(method, (shape[0], shape[1] * shape[2], shape[3]) if grouped else shape, shape[1], ())
    x, dy = (t.to(device, torch.float32).view(plan.shape) for t in (x, dy))
    try:
        y, mean, var = _forward(plan, x, None, None, 1e-3, torch.float32, True)
        dx, *_ = _backward(plan, dy, x, None, mean, var, 1e-3, False)
        error = max(
            (ours.cpu().double().view(shape) - exact).abs().max().item()
            for ours, exact in ((y, x_hat), (dx, slope * inv))
        )
        problem = None if error < 1e-4 else f"results off by {error:.1g}"
    except (
        Exception
    ) as error:  # of the compiler, the driver or the launch: whatever it is, there is the formula
        problem = f"{type(error).__name__}: {error}"
    if problem:
        warnings.warn(
            f"normcore: no Triton kernel for {method} on {device}, the formula runs instead ({problem}). "
            "NORMCORE_TRITON=0 silences this.",
            stacklevel=2,
        )
    return problem is None
