"""Layer norm and RMS norm in Triton: statistics along rows that lie together in memory.

    layer norm   y = (x − μ) r · γ + β,    μ = mean(x),  r = 1/√(mean((x − μ)²) + ε)
    RMS norm     y = x r · γ,              r = 1/√(mean(x²) + ε)

over the last dimension. Backward, with g = γ · dy and x̂ = (x − μ) r:

    dx = r (g − mean(g) − x̂ mean(g x̂))     (RMS norm: without mean(g))
    dγ = Σ_rows dy x̂,        dβ = Σ_rows dy

A row of up to LONGEST entries stays in registers: x is read once and y written once; backward reads x and dy
once. Longer rows are read twice. Parameters' gradients are sums over rows: each program adds up its own, in
order, and one sum over programs follows, so that they are the same on every run. Above LONGEST_SUM entries
these sums no longer fit beside the row, and x and dy are read again for them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

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

LONGEST, LONGEST_SUM = 16384, 8192


def forward(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, centre: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None, Tensor]:
    """y in `dtype`, and one a row: μ in float64 and σ² in float32 (without `centre`, None and mean(x²))."""
    x = x.contiguous()
    n = x.shape[-1]
    rows = x.numel() // n
    y = torch.empty_like(x, dtype=dtype)
    mean = torch.empty(rows, dtype=torch.float64, device=x.device) if centre else None
    var = torch.empty(rows, dtype=torch.float32, device=x.device)
    block = min(power_of_two(n), LONGEST)
    tile_rows = min(max(2048 // block, 1), power_of_two(rows))
    shape = {"CHUNK": chunk(n), "BLOCK": block, "CENTRE": centre}
    with on(x.device):
        if n <= LONGEST:
            _normalize[(triton.cdiv(rows, tile_rows),)](
                x, y, weight, bias, mean, var, rows, n // chunk(n), eps,
                **shape, ROWS=tile_rows, num_warps=_warps(tile_rows * block, 32),
            )  # fmt: skip
        else:
            _normalize_long[(rows,)](
                x, y, weight, bias, mean, var, n // chunk(n), eps, **shape | {"BLOCK": 8192}, num_warps=8
            )
    return y, mean, var


def backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor | None,
    var: Tensor,
    eps: float,
    need_bias: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """dx, dγ (None without a weight) and dβ (None without `need_bias`), the last two in float32."""
    x, dy = x.contiguous(), dy.contiguous()
    n = x.shape[-1]
    rows = x.numel() // n
    dx = torch.empty_like(x)
    chunks = n // chunk(n)
    shape = {"CHUNK": chunk(n), "CENTRE": mean is not None}
    cores = multiprocessors(x.device)

    def parts(count: int, needed: bool) -> Tensor | None:
        return torch.empty(count, n, dtype=torch.float32, device=x.device) if needed else None

    dw = db = None
    with on(x.device):
        if n <= LONGEST:
            block = power_of_two(n)
            tile_rows = min(max(1024 // block, 1), power_of_two(rows))
            tile = tile_rows * block
            warps = _warps(tile, 16)
            # 512 threads a multiprocessor, of 128 registers: for γ and two sums beside x and dy
            programs = min(cores * (16 // warps), triton.cdiv(rows, tile_rows))
            if n <= LONGEST_SUM:
                dw, db = parts(programs, weight is not None), parts(programs, need_bias)
            _differentiate[(programs,)](
                dy, x, weight, mean, var, dx, dw, db, rows, chunks, eps,
                triton.cdiv(rows, programs * tile_rows),
                **shape, ROWS=tile_rows, BLOCK=block, num_warps=warps, maxnreg=128,
                # the next tiles of x and dy come while this one is computed, in at most 64 KB
                STAGES=1 + min(65536 // (2 * tile * x.element_size()), 2),
            )  # fmt: skip
        else:
            _differentiate_long[(rows,)](
                dy, x, weight, mean, var, dx, chunks, eps, **shape, BLOCK=8192, num_warps=8
            )
        if n > LONGEST_SUM and (weight is not None or need_bias):
            columns = triton.cdiv(n, 256)
            splits = min(triton.cdiv(rows, 16), triton.cdiv(cores * 8, columns))
            dw, db = parts(splits, weight is not None), parts(splits, need_bias)
            _sum_rows[(columns, splits)](
                dy, x, mean, var, dw, db, rows, chunks, eps, triton.cdiv(rows, splits),
                **shape, ROWS=16, BLOCK=256, num_warps=8,
            )  # fmt: skip
    return dx, None if dw is None else dw.sum(0), None if db is None else db.sum(0)


def _warps(tile: int, entries: int) -> int:
    """Warps for a tile, so that each thread holds `entries` of it."""
    return min(max(tile // (32 * entries), 1), 16)


@kernel
def _normalize(
    x_ptr, y_ptr, weight_ptr, bias_ptr, mean_ptr, var_ptr, rows, chunks, eps,
    CENTRE: tl.constexpr, CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = chunks * CHUNK
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, BLOCK)[None, :]
    inside = (row < rows) & (column < n)
    x = tl.load(x_ptr + row * n + column, inside, other=0.0).to(tl.float32)
    if CENTRE:
        near = tl.sum(x, 1, keep_dims=True) / n
        x = tl.where(inside, x - near, 0.0)
        residual = tl.sum(x, 1, keep_dims=True) / n  # `moments`, on a row that is all here
        x = tl.where(inside, x - residual, 0.0)
        tl.store(mean_ptr + row, near.to(tl.float64) + residual.to(tl.float64), row < rows)
    var = tl.sum(x * x, 1, keep_dims=True) / n
    tl.store(var_ptr + row, var, row < rows)
    y = x * (1.0 / tl.sqrt_rn(var + eps))
    if weight_ptr is not None:
        y = y * tl.load(weight_ptr + column, column < n, other=0.0).to(tl.float32)
    if bias_ptr is not None:
        y = y + tl.load(bias_ptr + column, column < n, other=0.0).to(tl.float32)
    tl.store(y_ptr + row * n + column, y.to(y_ptr.dtype.element_ty), inside)


@kernel
def _differentiate(
    dy_ptr, x_ptr, weight_ptr, mean_ptr, var_ptr, dx_ptr, dw_ptr, db_ptr, rows, chunks, eps, steps,
    CENTRE: tl.constexpr, CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    n = chunks * CHUNK
    column = tl.arange(0, BLOCK)[None, :]
    if weight_ptr is not None:
        weight = tl.load(weight_ptr + column, column < n, other=0.0).to(tl.float32)
    if dw_ptr is not None:
        dw = tl.zeros((ROWS, BLOCK), tl.float32)
    if db_ptr is not None:
        db = tl.zeros((ROWS, BLOCK), tl.float32)
    for step in tl.range(0, steps, num_stages=STAGES):
        first = (step * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * ROWS
        row = first + tl.arange(0, ROWS)[:, None]
        inside = (row < rows) & (column < n)
        dy = tl.load(dy_ptr + row * n + column, inside, other=0.0).to(tl.float32)
        x = tl.load(x_ptr + row * n + column, inside, other=0.0).to(tl.float32)
        inv = 1.0 / tl.sqrt_rn(tl.load(var_ptr + row, row < rows, other=1.0) + eps)
        if CENTRE:
            x = minus(x, tl.load(mean_ptr + row, row < rows, other=0.0))
        x_hat = tl.where(inside, x * inv, 0.0)
        g = dy
        if weight_ptr is not None:
            g = dy * weight
        dx = g - x_hat * (tl.sum(g * x_hat, 1, keep_dims=True) / n)
        if CENTRE:
            dx -= tl.sum(g, 1, keep_dims=True) / n
        tl.store(dx_ptr + row * n + column, (dx * inv).to(dx_ptr.dtype.element_ty), inside)
        if dw_ptr is not None:
            dw += dy * x_hat
        if db_ptr is not None:
            db += dy
    at = tl.program_id(0) * n + column
    if dw_ptr is not None:
        tl.store(dw_ptr + at, tl.sum(dw, 0, keep_dims=True), column < n)
    if db_ptr is not None:
        tl.store(db_ptr + at, tl.sum(db, 0, keep_dims=True), column < n)


@kernel
def _normalize_long(
    x_ptr, y_ptr, weight_ptr, bias_ptr, mean_ptr, var_ptr, chunks, eps,
    CENTRE: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = chunks * CHUNK
    row = tl.program_id(0).to(tl.int64)
    count = tl.zeros((1, 1), tl.float64)
    mean = tl.zeros((1, 1), tl.float64)
    squares = tl.zeros((1, 1), tl.float64)
    for start in range(0, n, BLOCK):
        column = start + tl.arange(0, BLOCK)[None, :]
        x = tl.load(x_ptr + row * n + column, column < n, other=0.0).to(tl.float32)
        if CENTRE:
            here = tl.minimum(n - start, BLOCK)
            tile_mean, tile_squares = moments(x, column < n, here, False)
            count, mean, squares = merge(count, mean, squares, here + count * 0, tile_mean, tile_squares)
        else:
            squares += tl.sum(x * x, 1, keep_dims=True).to(tl.float64)
    var = (squares / n).to(tl.float32)
    inv = 1.0 / tl.sqrt_rn(var + eps)
    at = row + tl.zeros((1, 1), tl.int32)
    tl.store(var_ptr + at, var)
    if CENTRE:
        tl.store(mean_ptr + at, mean)
    for start in range(0, n, BLOCK):
        column = start + tl.arange(0, BLOCK)[None, :]
        x = tl.load(x_ptr + row * n + column, column < n, other=0.0).to(tl.float32)
        if CENTRE:
            x = minus(x, mean)
        y = x * inv
        if weight_ptr is not None:
            y = y * tl.load(weight_ptr + column, column < n, other=0.0).to(tl.float32)
        if bias_ptr is not None:
            y = y + tl.load(bias_ptr + column, column < n, other=0.0).to(tl.float32)
        tl.store(y_ptr + row * n + column, y.to(y_ptr.dtype.element_ty), column < n)


@triton.jit
def _pieces(dy_ptr, x_ptr, weight_ptr, mean, inv, row, column, n, CENTRE: tl.constexpr):
    """g and x̂ of one piece of a long row."""
    g = tl.load(dy_ptr + row * n + column, column < n, other=0.0).to(tl.float32)
    x = tl.load(x_ptr + row * n + column, column < n, other=0.0).to(tl.float32)
    if CENTRE:
        x = minus(x, mean)
    if weight_ptr is not None:
        g = g * tl.load(weight_ptr + column, column < n, other=0.0).to(tl.float32)
    return g, tl.where(column < n, x * inv, 0.0)


@kernel
def _differentiate_long(
    dy_ptr, x_ptr, weight_ptr, mean_ptr, var_ptr, dx_ptr, chunks, eps,
    CENTRE: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = chunks * CHUNK
    row = tl.program_id(0).to(tl.int64)
    at = row + tl.zeros((1, 1), tl.int32)
    inv = 1.0 / tl.sqrt_rn(tl.load(var_ptr + at) + eps)
    mean = tl.zeros((1, 1), tl.float64)
    if CENTRE:
        mean = tl.load(mean_ptr + at)
    along_one = tl.zeros((1, 1), tl.float64)
    along_x_hat = tl.zeros((1, 1), tl.float64)
    for start in range(0, n, BLOCK):
        column = start + tl.arange(0, BLOCK)[None, :]
        g, x_hat = _pieces(dy_ptr, x_ptr, weight_ptr, mean, inv, row, column, n, CENTRE)
        along_one += tl.sum(g, 1, keep_dims=True).to(tl.float64)
        along_x_hat += tl.sum(g * x_hat, 1, keep_dims=True).to(tl.float64)
    along_one = (along_one / n).to(tl.float32)
    along_x_hat = (along_x_hat / n).to(tl.float32)
    for start in range(0, n, BLOCK):
        column = start + tl.arange(0, BLOCK)[None, :]
        g, x_hat = _pieces(dy_ptr, x_ptr, weight_ptr, mean, inv, row, column, n, CENTRE)
        dx = g - x_hat * along_x_hat
        if CENTRE:
            dx -= along_one
        tl.store(dx_ptr + row * n + column, (dx * inv).to(dx_ptr.dtype.element_ty), column < n)


@kernel
def _sum_rows(
    dy_ptr, x_ptr, mean_ptr, var_ptr, dw_ptr, db_ptr, rows, chunks, eps, per_split,
    CENTRE: tl.constexpr, CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dγ and dβ of a block of columns, over one split of the rows."""
    n = chunks * CHUNK
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[None, :]
    first = tl.program_id(1).to(tl.int64) * per_split
    last = tl.minimum(first + per_split, rows)
    dw = tl.zeros((ROWS, BLOCK), tl.float32)
    db = tl.zeros((ROWS, BLOCK), tl.float32)
    for start in range(first, last, ROWS):
        row = start + tl.arange(0, ROWS)[:, None]
        inside = (row < last) & (column < n)
        dy = tl.load(dy_ptr + row * n + column, inside, other=0.0).to(tl.float32)
        x = tl.load(x_ptr + row * n + column, inside, other=0.0).to(tl.float32)
        if CENTRE:
            x = minus(x, tl.load(mean_ptr + row, row < last, other=0.0))
        inv = 1.0 / tl.sqrt_rn(tl.load(var_ptr + row, row < last, other=1.0) + eps)
        dw += dy * tl.where(inside, x * inv, 0.0)
        db += dy
    at = tl.program_id(1) * n + column
    if dw_ptr is not None:
        tl.store(dw_ptr + at, tl.sum(dw, 0, keep_dims=True), column < n)
    if db_ptr is not None:
        tl.store(db_ptr + at, tl.sum(db, 0, keep_dims=True), column < n)
