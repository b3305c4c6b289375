"""Batch norm in Triton: statistics of a channel, across the batch and all positions.

    y_nc… = (x_nc… − μ_c) r_c · γ_c + β_c,    r = 1/√(σ² + ε),    S_c = every position of channel c, m of them

Backward, with x̂ = (x − μ) r:

    dγ_c = Σ dy x̂,    dβ_c = Σ dy,    dx = γ r (dy − dβ/m − x̂ dγ/m)

A channel is spread over the whole tensor, and there are few of them: one program a channel would leave most
of the device idle. So a grid of blocks of channels × splits of the rest sums up, each program its part; the
parts are merged (means and variances by Chan's formula), and a second pass over the tensor writes the result.
No order depends on timing: the same result on every run.

Two layouts in memory have one form, (outer, C, inner): (N, C, *) has the positions inside; (N, C) and
channels_last have the channels inside (LAST), N and the positions outside.
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

TILE = 4096
MOST_SPLITS = 256


def forward(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """y in `dtype`, μ in float64 and the biased σ² in float32, (C,)."""
    x = _dense(x)
    mean, var = statistics(x)
    return normalize(x, mean, var, weight, bias, eps, dtype), mean, var


def backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """dx, dγ and dβ, the last two in float32."""
    x = _dense(x)
    # in the memory format of x
    dy = dy.contiguous(memory_format=torch.channels_last) if _last(x) and x.dim() == 4 else dy.contiguous()
    sums = sum_gradients(dy, x, mean, var, eps)
    along = sums / (x.numel() // x.shape[1])
    if weight is not None:
        along *= weight
    dgamma, dbeta = sums
    return differentiate(dy, x, weight, mean, var, along, eps), dgamma, dbeta


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """μ in float64 and the biased σ² in float32 of each channel, (C,). x as `_dense` gives it."""
    channels = x.shape[1]
    mean = torch.empty(channels, dtype=torch.float64, device=x.device)
    var = torch.empty(channels, dtype=torch.float32, device=x.device)
    sizes, shape = _layout(x)
    blocks, tiles, splits = _grid(x, shape)
    parts = torch.empty(2, splits, channels, dtype=torch.float64, device=x.device)
    counts = torch.empty(splits, dtype=torch.float64, device=x.device)
    with on(x.device):
        _sum_moments[(blocks, splits)](
            x, parts[0], parts[1], counts, *sizes, tiles, triton.cdiv(tiles, splits), **shape
        )
        _merge_moments[(triton.cdiv(channels, 4),)](
            parts[0], parts[1], counts, mean, var, channels, splits, SPLITS=power_of_two(splits)
        )
    return mean, var


def normalize(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    dtype: torch.dtype,
) -> Tensor:
    """(x − μ) r γ + β with statistics that are given, μ in float64."""
    x = _dense(x)
    y = torch.empty_like(x, dtype=dtype)
    sizes, shape = _layout(x)
    blocks, tiles, _ = _grid(x, shape)
    with on(x.device):
        _normalize[(tiles, blocks)](x, y, weight, bias, mean, var, *sizes, eps, **shape)
    return y


def sum_gradients(dy: Tensor, x: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    """Σ dy x̂ and Σ dy of each channel, (2, C) in float32."""
    sizes, shape = _layout(x)
    blocks, tiles, splits = _grid(x, shape)
    parts = torch.empty(2, splits, x.shape[1], dtype=torch.float32, device=x.device)
    with on(x.device):
        _sum_gradients[(blocks, splits)](
            dy, x, mean, var, parts[0], parts[1], *sizes, eps, tiles, triton.cdiv(tiles, splits), **shape
        )
    return parts.sum(1)


def differentiate(
    dy: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, var: Tensor, along: Tensor, eps: float
) -> Tensor:
    """dx = r (g − mean(g) − x̂ mean(g x̂)), g = γ dy, from `along`: mean(g x̂) and mean(g), (2, C)."""
    dx = torch.empty_like(x)
    sizes, shape = _layout(x)
    blocks, tiles, _ = _grid(x, shape)
    with on(x.device):
        _differentiate[(tiles, blocks)](
            dy, x, weight, mean, var, along[0], along[1], dx, *sizes, eps, **shape, num_warps=8
        )
    return dx


def _dense(x: Tensor) -> Tensor:
    return x if _last(x) else x.contiguous()


def _last(x: Tensor) -> bool:
    """Whether channels lie together in memory."""
    if x.dim() == 2:
        return x.is_contiguous()
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _layout(x: Tensor) -> tuple[tuple[int, int, int], dict]:
    """(channels, positions, chunks of what lies together), and the shape of a tile."""
    channels = x.shape[1]
    if _last(x):
        positions = x.numel() // channels
        count = min(power_of_two(channels), 128)
        block = min(max(TILE // count, 1), power_of_two(positions))
        shape = {"LAST": True, "CHUNK": chunk(channels), "CHANNELS": count, "BLOCK": block}
        return (channels, positions, channels // chunk(channels)), shape
    positions = x.shape[2:].numel()
    # the longest piece of which not much more falls outside than of a shorter one
    pieces = [power_of_two(min(positions, TILE)) >> i for i in range(5)]
    covered = {piece: triton.cdiv(positions, piece) * piece for piece in pieces if piece >= 64} or {
        pieces[0]: 0
    }
    block = next(piece for piece in covered if covered[piece] <= 1.15 * min(covered.values()))
    tile = TILE if block >= 512 else TILE // 2  # many short rows: addresses of their own take registers
    count = min(max(tile // block, 1), power_of_two(channels))
    shape = {"LAST": False, "CHUNK": chunk(positions), "CHANNELS": count, "BLOCK": block}
    return (channels, positions, positions // chunk(positions)), shape


def _grid(x: Tensor, shape: dict) -> tuple[int, int, int]:
    """Blocks of channels, tiles of each, and the splits that its tiles are shared among."""
    channels = x.shape[1]
    blocks = triton.cdiv(channels, shape["CHANNELS"])
    outer = 1 if shape["LAST"] else x.shape[0]
    tiles = outer * triton.cdiv(x.numel() // channels // outer, shape["BLOCK"])
    splits = min(triton.cdiv(8 * multiprocessors(x.device), blocks), tiles, MOST_SPLITS)
    return blocks, tiles, triton.cdiv(tiles, triton.cdiv(tiles, splits))


@triton.jit
def _place(
    tile, block, channels, positions, chunks,
    LAST: tl.constexpr, CHUNK: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Channels of a tile (CHANNELS, 1), where its entries lie, which are inside, and how many a channel."""
    channel = block * CHANNELS + tl.arange(0, CHANNELS)[:, None]
    if LAST:
        begin = tile * BLOCK
        position = begin + tl.arange(0, BLOCK)[None, :]
        at = position.to(tl.int64) * (chunks * CHUNK) + channel
        inside = (channel < chunks * CHUNK) & (position < positions)
    else:
        size = chunks * CHUNK
        pieces = tl.cdiv(size, BLOCK)
        begin = tile % pieces * BLOCK
        position = begin + tl.arange(0, BLOCK)[None, :]
        at = ((tile // pieces).to(tl.int64) * channels + channel) * size + position
        inside = (channel < channels) & (position < size)
    return channel, at, inside, tl.minimum(positions - begin, BLOCK)


@kernel
def _sum_moments(
    x_ptr, mean_ptr, squares_ptr, count_ptr, channels, positions, chunks, tiles, per_split,
    LAST: tl.constexpr, CHUNK: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(1) * per_split
    count = tl.zeros((1, 1), tl.float64)
    mean = tl.zeros((CHANNELS, 1), tl.float64)
    squares = tl.zeros((CHANNELS, 1), tl.float64)
    for tile in range(first, tl.minimum(first + per_split, tiles)):
        channel, at, inside, here = _place(
            tile, tl.program_id(0), channels, positions, chunks, LAST, CHUNK, CHANNELS, BLOCK
        )
        x = tl.load(x_ptr + at, inside, other=0.0).to(tl.float32)
        tile_mean, tile_squares = moments(x, inside, here, False)
        count, mean, squares = merge(count, mean, squares, here + count * 0, tile_mean, tile_squares)
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)[:, None]
    at = tl.program_id(1) * channels + channel
    tl.store(mean_ptr + at, mean, channel < channels)
    tl.store(squares_ptr + at, squares, channel < channels)
    tl.store(count_ptr + tl.program_id(1) + tl.zeros((1, 1), tl.int32), count)  # by each block, the same


@kernel
def _merge_moments(
    mean_parts_ptr, squares_parts_ptr, counts_ptr, mean_ptr, var_ptr, channels, splits, SPLITS: tl.constexpr
):
    """μ and σ² of four channels from their splits."""
    split = tl.arange(0, SPLITS)[:, None]
    channel = tl.program_id(0) * 4 + tl.arange(0, 4)[None, :]
    inside = (split < splits) & (channel < channels)
    at = split * channels + channel
    count = tl.load(counts_ptr + split + channel * 0, inside, other=0.0)
    mean = tl.load(mean_parts_ptr + at, inside, other=0.0)
    squares = tl.load(squares_parts_ptr + at, inside, other=0.0)
    count, mean, squares = tl.reduce((count, mean, squares), 0, merge, keep_dims=True)
    tl.store(mean_ptr + channel, mean, channel < channels)
    tl.store(var_ptr + channel, (squares / tl.maximum(count, 1.0)).to(tl.float32), channel < channels)


@kernel
def _normalize(
    x_ptr, y_ptr, weight_ptr, bias_ptr, mean_ptr, var_ptr, channels, positions, chunks, eps,
    LAST: tl.constexpr, CHUNK: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    channel, at, inside, _ = _place(
        tl.program_id(0), tl.program_id(1), channels, positions, chunks, LAST, CHUNK, CHANNELS, BLOCK
    )
    x = tl.load(x_ptr + at, inside, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt_rn(tl.load(var_ptr + channel, channel < channels, other=1.0) + eps)
    if weight_ptr is not None:
        scale = scale * tl.load(weight_ptr + channel, channel < channels, other=0.0).to(tl.float32)
    y = minus(x, tl.load(mean_ptr + channel, channel < channels, other=0.0)) * scale
    if bias_ptr is not None:
        y = y + tl.load(bias_ptr + channel, channel < channels, other=0.0).to(tl.float32)
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), inside)


@kernel
def _sum_gradients(
    dy_ptr, x_ptr, mean_ptr, var_ptr, dw_ptr, db_ptr, channels, positions, chunks, eps, tiles, per_split,
    LAST: tl.constexpr, CHUNK: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(1) * per_split
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)[:, None]
    mean = tl.load(mean_ptr + channel, channel < channels, other=0.0)
    inv = 1.0 / tl.sqrt_rn(tl.load(var_ptr + channel, channel < channels, other=1.0) + eps)
    dw = tl.zeros((CHANNELS, 1), tl.float32)
    db = tl.zeros((CHANNELS, 1), tl.float32)
    for tile in range(first, tl.minimum(first + per_split, tiles)):
        _, at, inside, _ = _place(
            tile, tl.program_id(0), channels, positions, chunks, LAST, CHUNK, CHANNELS, BLOCK
        )
        dy = tl.load(dy_ptr + at, inside, other=0.0).to(tl.float32)
        x = tl.load(x_ptr + at, inside, other=0.0).to(tl.float32)
        dw += tl.sum(dy * tl.where(inside, minus(x, mean) * inv, 0.0), 1, keep_dims=True)
        db += tl.sum(dy, 1, keep_dims=True)
    at = tl.program_id(1) * channels + channel
    tl.store(dw_ptr + at, dw, channel < channels)
    tl.store(db_ptr + at, db, channel < channels)


@kernel
def _differentiate(
    dy_ptr, x_ptr, weight_ptr, mean_ptr, var_ptr, along_x_hat_ptr, along_one_ptr, dx_ptr,
    channels, positions, chunks, eps,
    LAST: tl.constexpr, CHUNK: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    channel, at, inside, _ = _place(
        tl.program_id(0), tl.program_id(1), channels, positions, chunks, LAST, CHUNK, CHANNELS, BLOCK
    )
    g = tl.load(dy_ptr + at, inside, other=0.0).to(tl.float32)
    x = tl.load(x_ptr + at, inside, other=0.0).to(tl.float32)
    there = channel < channels
    inv = 1.0 / tl.sqrt_rn(tl.load(var_ptr + channel, there, other=1.0) + eps)
    x_hat = minus(x, tl.load(mean_ptr + channel, there, other=0.0)) * inv
    if weight_ptr is not None:
        g = g * tl.load(weight_ptr + channel, there, other=0.0).to(tl.float32)
    along_x_hat = tl.load(along_x_hat_ptr + channel, there, other=0.0)
    along_one = tl.load(along_one_ptr + channel, there, other=0.0)
    dx = (g - along_one - x_hat * along_x_hat) * inv
    tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), inside)
