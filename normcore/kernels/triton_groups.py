"""Group norm and instance norm in Triton: statistics over a block of channels that lies together in memory.

    y_nc… = (x_nc… − μ_ng) r_ng · γ_c + β_c,    r = 1/√(σ² + ε),    S_ng = the C/G channels of group g of n

Backward, with g = γ · dy and x̂ = (x − μ) r:

    dx = r (g − mean_S(g) − x̂ mean_S(g x̂)),    dγ_c = Σ_n Σ_positions dy x̂,    dβ_c = Σ_n Σ_positions dy

One program takes one group: (n, g) is C/G rows of as many entries as a channel has positions. It reads the
group once for the sums and once more for the result, while it is still in the cache. Where G = C (instance
norm) each row has a statistic of its own, and a program takes several. Sums for the parameters are kept one
an example and channel, and added up over the examples at the end: the same on every run.

Where there are fewer groups than the device has multiprocessors and they are large, each is split among
programs, by the kernels of batch norm: to them every group, or every row, is a channel of one example.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from normcore.kernels import triton_batch
from normcore.kernels.triton_tiles import (
    chunk,
    kernel,
    merge,
    minus,
    moments,
    multiprocessors,
    on,
    power_of_two,
)

TILE = 4096
LARGE = 65536  # entries of a group


def forward(
    x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """y in `dtype`, μ in float64 and σ² in float32, one an example and group."""
    x = x.contiguous()
    if _split(x, groups):
        mean, var = triton_batch.statistics(x.view(1, x.shape[0] * groups, -1))
        weight, bias = (None if p is None else p.repeat(x.shape[0]) for p in (weight, bias))
        each = _by_row(x, mean, var)
        return triton_batch.normalize(*each, weight, bias, eps, dtype).view(x.shape), mean, var
    y = torch.empty_like(x, dtype=dtype)
    count = x.shape[0] * groups
    mean = torch.empty(count, dtype=torch.float64, device=x.device)
    var = torch.empty(count, dtype=torch.float32, device=x.device)
    grid, sizes, shape = _layout(x, groups)
    with on(x.device):
        _normalize[grid](x, y, weight, bias, mean, var, *sizes, eps, **shape)
    return y, mean, var


def backward(
    dy: Tensor, x: Tensor, groups: int, weight: Tensor | None, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """dx, dγ and dβ, the last two in float32."""
    x, dy = x.contiguous(), dy.contiguous()
    if _split(x, groups):
        rows, mean, var = _by_row(x, mean, var)
        sums = triton_batch.sum_gradients(dy.view(rows.shape), rows, mean, var, eps)
        weight = None if weight is None else weight.float().repeat(x.shape[0])
        by_group = (sums if weight is None else sums * weight).view(2, x.shape[0] * groups, -1)
        along = by_group.sum(2, keepdim=True).expand_as(by_group).reshape(sums.shape)
        along = along * (x.shape[0] * groups / x.numel())
        dx = triton_batch.differentiate(dy.view(rows.shape), rows, weight, mean, var, along, eps)
        dgamma, dbeta = sums.view(2, *x.shape[:2]).sum(1)
        return dx.view(x.shape), dgamma, dbeta
    dx = torch.empty_like(x)
    sums = torch.empty(2, *x.shape[:2], dtype=torch.float32, device=x.device)
    grid, sizes, shape = _layout(x, groups)
    with on(x.device):
        _differentiate[grid](dy, x, weight, mean, var, dx, sums[0], sums[1], *sizes, eps, **shape)
    dw, db = sums.sum(1)
    return dx, dw, db


def _split(x: Tensor, groups: int) -> bool:
    count = x.shape[0] * groups
    return count < multiprocessors(x.device) and x.numel() // count >= LARGE


def _by_row(x: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x as (1, N·C, positions), and for each of these rows the statistics of its group."""
    rows = x.view(1, x.shape[0] * x.shape[1], -1)
    times = rows.shape[1] // mean.numel()
    return rows, mean.repeat_interleave(times), var.repeat_interleave(times)


def _layout(x: Tensor, groups: int) -> tuple[tuple[int], tuple[int, ...], dict]:
    """The grid, (rows, channels, rows a program takes, chunks a row has), and the shape of a tile."""
    rows, channels = x.shape[0] * x.shape[1], x.shape[1]
    size = x.numel() // rows
    block = min(power_of_two(size), TILE)
    tile = (
        TILE if block >= 1024 else TILE // 2
    )  # many short rows: addresses and sums of their own take registers
    alone = groups == channels
    per_program = min(max(tile // block, 1), power_of_two(rows)) if alone else channels // groups
    shape = {
        "ALONE": alone,
        "STATISTICS": per_program if alone else 1,
        "CHUNK": chunk(size),
        "ROWS": min(max(tile // block, 1), power_of_two(per_program)),
        "BLOCK": block,
    }
    # a large group: fewer programs at a time, so that what they read stays in the cache
    large = per_program * size * x.element_size() > 65536
    entries = 1024 if block >= 1024 and not large else 512  # of a warp
    shape["num_warps"] = max(shape["ROWS"] * block // entries, 1)
    return (triton.cdiv(rows, per_program),), (rows, channels, per_program, size // chunk(size)), shape


@kernel
def _normalize(
    x_ptr, y_ptr, weight_ptr, bias_ptr, mean_ptr, var_ptr, rows, channels, per_program, chunks, eps,
    ALONE: tl.constexpr, STATISTICS: tl.constexpr, CHUNK: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    size = chunks * CHUNK
    first = tl.program_id(0) * per_program
    last = tl.minimum(first + per_program, rows)
    at = tl.program_id(0) * STATISTICS + tl.arange(0, STATISTICS)[:, None]
    there = at * (per_program // STATISTICS) < rows
    count = tl.zeros((1, 1), tl.float64)
    mean = tl.zeros((STATISTICS, 1), tl.float64)
    squares = tl.zeros((STATISTICS, 1), tl.float64)
    for start in range(first, last, ROWS):
        row = start + tl.arange(0, ROWS)[:, None]
        for begin in range(0, size, BLOCK):
            position = begin + tl.arange(0, BLOCK)[None, :]
            inside = (row < last) & (position < size)
            x = tl.load(
                x_ptr + row.to(tl.int64) * size + position, inside, other=0.0, eviction_policy="evict_last"
            )
            here = tl.minimum(size - begin, BLOCK)
            if not ALONE:
                here = here * tl.minimum(last - start, ROWS)
            tile_mean, tile_squares = moments(x.to(tl.float32), inside, here, not ALONE)
            count, mean, squares = merge(count, mean, squares, here + count * 0, tile_mean, tile_squares)
    var = (squares / count).to(tl.float32)
    inv = 1.0 / tl.sqrt_rn(var + eps)
    tl.store(mean_ptr + at, mean, there)
    tl.store(var_ptr + at, var, there)

    for start in range(first, last, ROWS):
        row = start + tl.arange(0, ROWS)[:, None]
        scale = inv
        if weight_ptr is not None:
            scale = inv * tl.load(weight_ptr + row % channels, row < last, other=0.0).to(tl.float32)
        for begin in range(0, size, BLOCK):
            position = begin + tl.arange(0, BLOCK)[None, :]
            inside = (row < last) & (position < size)
            x = tl.load(
                x_ptr + row.to(tl.int64) * size + position, inside, other=0.0, eviction_policy="evict_first"
            )
            y = minus(x.to(tl.float32), mean) * scale
            if bias_ptr is not None:
                y = y + tl.load(bias_ptr + row % channels, row < last, other=0.0).to(tl.float32)
            tl.store(y_ptr + row.to(tl.int64) * size + position, y.to(y_ptr.dtype.element_ty), inside)


@kernel
def _differentiate(
    dy_ptr, x_ptr, weight_ptr, mean_ptr, var_ptr, dx_ptr, dw_ptr, db_ptr,
    rows, channels, per_program, chunks, eps,
    ALONE: tl.constexpr, STATISTICS: tl.constexpr, CHUNK: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    size = chunks * CHUNK
    first = tl.program_id(0) * per_program
    last = tl.minimum(first + per_program, rows)
    at = tl.program_id(0) * STATISTICS + tl.arange(0, STATISTICS)[:, None]
    there = at * (per_program // STATISTICS) < rows
    mean = tl.load(mean_ptr + at, there, other=0.0)
    inv = 1.0 / tl.sqrt_rn(tl.load(var_ptr + at, there, other=1.0) + eps)
    along_one = tl.zeros((STATISTICS, 1), tl.float64)
    along_x_hat = tl.zeros((STATISTICS, 1), tl.float64)
    for start in range(first, last, ROWS):
        row = start + tl.arange(0, ROWS)[:, None]
        dw = tl.zeros((ROWS, 1), tl.float32)
        db = tl.zeros((ROWS, 1), tl.float32)
        for begin in range(0, size, BLOCK):
            position = begin + tl.arange(0, BLOCK)[None, :]
            inside = (row < last) & (position < size)
            at_tile = row.to(tl.int64) * size + position
            dy = tl.load(dy_ptr + at_tile, inside, other=0.0, eviction_policy="evict_last").to(tl.float32)
            x = tl.load(x_ptr + at_tile, inside, other=0.0, eviction_policy="evict_last").to(tl.float32)
            x_hat = tl.where(inside, minus(x, mean) * inv, 0.0)
            dw += tl.sum(dy * x_hat, 1, keep_dims=True)
            db += tl.sum(dy, 1, keep_dims=True)
        tl.store(dw_ptr + row, dw, row < last)
        tl.store(db_ptr + row, db, row < last)
        if weight_ptr is not None:
            weight = tl.load(weight_ptr + row % channels, row < last, other=0.0).to(tl.float32)
            dw *= weight
            db *= weight
        if not ALONE:
            dw = tl.sum(dw, 0, keep_dims=True)
            db = tl.sum(db, 0, keep_dims=True)
        along_x_hat += dw.to(tl.float64)
        along_one += db.to(tl.float64)
    entries = size * (per_program // STATISTICS)
    along_x_hat = (along_x_hat / entries).to(tl.float32)
    along_one = (along_one / entries).to(tl.float32)

    for start in range(first, last, ROWS):
        row = start + tl.arange(0, ROWS)[:, None]
        for begin in range(0, size, BLOCK):
            position = begin + tl.arange(0, BLOCK)[None, :]
            inside = (row < last) & (position < size)
            at_tile = row.to(tl.int64) * size + position
            g = tl.load(dy_ptr + at_tile, inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
            x = tl.load(x_ptr + at_tile, inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
            if weight_ptr is not None:
                g = g * tl.load(weight_ptr + row % channels, row < last, other=0.0).to(tl.float32)
            dx = (g - along_one - minus(x, mean) * inv * along_x_hat) * inv
            tl.store(dx_ptr + at_tile, dx.to(dx_ptr.dtype.element_ty), inside)
