"""What the Triton kernels share: the moments of a tile, their merging, and how a launch is laid out.

A kernel works on tiles, rows × BLOCK entries in the registers of one program. Rows of n entries are given
as n = chunks·CHUNK, where CHUNK is a power of two known to the compiler: so it knows how addresses are
aligned, and reads and writes 16 bytes at a time.
"""

import inspect
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import triton
import triton.language as tl


def kernel(function: Callable) -> triton.runtime.KernelInterface:
    """`triton.jit` of a function that is launched: compiled once for a tile, whatever the sizes are.

    Triton would compile again for a size of 1 and for multiples of 16; here CHUNK says what divides a size.
    Pointers are the arguments whose names end so.
    """
    arguments = inspect.signature(function).parameters.values()
    sizes = [a.name for a in arguments if a.annotation is not tl.constexpr and not a.name.endswith("_ptr")]
    return triton.jit(function, do_not_specialize=sizes)


@triton.jit
def total(x, TOGETHER: tl.constexpr):
    """The sum of each row of a tile, or, where its rows are one index set, of them all."""
    x = tl.sum(x, 1, keep_dims=True)
    if TOGETHER:
        x = tl.sum(x, 0, keep_dims=True)
    return x


@triton.jit
def moments(x, mask, count, TOGETHER: tl.constexpr):
    """Mean and Σ (x − mean)² over the `count` entries under `mask` of each row of a tile, in float64.

    A float32 mean of M is off by u·|M| (u: unit roundoff), which would move the whole row. What is left over
    is the mean of x − mean, so it is measured too.

    Source: Chan, Golub and LeVeque (1983), equation 1.7 (the corrected two-pass algorithm).
    """
    near = total(tl.where(mask, x, 0.0), TOGETHER) * (1.0 / count)
    apart = tl.where(mask, x - near, 0.0)
    residual = total(apart, TOGETHER) * (1.0 / count)
    squares = total(apart * apart, TOGETHER) - residual * residual * count
    return near.to(tl.float64) + residual.to(tl.float64), squares.to(tl.float64)


@triton.jit
def merge(count_a, mean_a, squares_a, count_b, mean_b, squares_b):
    """Count, mean and Σ (x − mean)² of two sets taken together.

    Source: Chan, Golub and LeVeque (1983), equations 1.5a and 1.5b.
    """
    count = count_a + count_b
    share = count_b / tl.maximum(count, 1.0)
    apart = mean_b - mean_a
    return count, mean_a + apart * share, squares_a + squares_b + apart * apart * (count_a * share)


@triton.jit
def minus(x, mean):
    """x − mean in float32, the mean in float64: as two float32 numbers, so that nothing of it is lost."""
    high = mean.to(tl.float32)
    return (x - high) - (mean - high.to(tl.float64)).to(tl.float32)


def chunk(n: int) -> int:
    """The largest power of two, at most 16, that divides n."""
    return math.gcd(n, 16)


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n."""
    return triton.next_power_of_2(max(n, 1))


def multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 2  # Triton's interpreter
    return torch.cuda.get_device_properties(device).multi_processor_count


def on(device: torch.device) -> AbstractContextManager:
    """Triton launches on the current device, which need not be the tensors'."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
