"""`normcore bench`: each method's time and memory beside its peers', in one run.

Peers are torch's own operator, the plain eager composition of the formula, and torch.compile of it. All
are timed in turn, again and again, so that a slow minute slows all alike, and the least time of each is
compared: what else the machine does can only add to it.

The floor is the time that the bytes which must move would take at the speed of a copy:

    layer norm, RMS norm, ScaleNorm, DynamicTanh     2 n forward, 3 n backward
    group and instance norm, and their relatives     2 n forward, 3 n backward
    batch norm and what builds on it                 3 n forward, 5 n backward

n elements, read or written once each time. Where an operator takes far longer than its bytes (tanh, sigmoid),
its own time in the same run is added to the floor.
"""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from normcore import nn

__all__ = ["LIMIT", "METHODS", "Method", "Row", "compare", "measure", "saved_bytes"]

LIMIT = 6.0
WARM_UP = 3
SHAPES = {
    "table": {"small": (256, 512), "middle": (4096, 512), "large": (8192, 4096), "huge": (32768, 4096)},
    "image": {
        "small": (32, 64, 8, 8),
        "middle": (64, 64, 32, 32),
        "large": (64, 256, 56, 56),
        "huge": (128, 256, 64, 64),  # 256 MB in half precision: more than a GPU's cache
    },
}

Run = Callable[..., Tensor]


@dataclass(frozen=True)
class Method:
    """What is timed under one name.

    Attributes:
        kind: "table", normalized over the last dimension, or "image".
        moves: tensors of the input's size that must move, forward and backward.
        make: features → our layer, on CPU in float32.
        peer: features → torch's own layer, or None.
        plain: (x, γ, β) → the formula as one would write it in eager torch, or None.
        operator: an elementwise operator that takes far longer than its bytes, or None.
    """

    kind: str
    moves: tuple[int, int]
    make: Callable[[int], torch.nn.Module]
    peer: Callable[[int], torch.nn.Module] | None = None
    plain: Run | None = None
    operator: Callable[[Tensor], Tensor] | None = None


def _plain(dim: tuple[int, ...]) -> Run:
    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        centred = x - x.mean(dim, keepdim=True)
        y = centred * torch.rsqrt(centred.square().mean(dim, keepdim=True) + 1e-5)
        shape = (1, -1, *[1] * (x.dim() - 2)) if dim[0] != -1 else (-1,)
        return y * weight.view(shape) + bias.view(shape)

    return run


def _plain_group(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    grouped = x.unflatten(1, (8, -1))
    centred = grouped - grouped.mean((2, 3, 4), keepdim=True)
    y = centred * torch.rsqrt(centred.square().mean((2, 3, 4), keepdim=True) + 1e-5)
    return y.flatten(1, 2) * weight.view(-1, 1, 1) + bias.view(-1, 1, 1)


def _plain_rms(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * weight


METHODS = {
    "batch norm on tables": Method("table", (3, 5), nn.BatchNorm1d, torch.nn.BatchNorm1d, _plain((0,))),
    "batch norm on images": Method("image", (3, 5), nn.BatchNorm2d, torch.nn.BatchNorm2d, _plain((0, 2, 3))),
    "layer norm": Method("table", (2, 3), nn.LayerNorm, torch.nn.LayerNorm, _plain((-1,))),
    "RMS norm": Method("table", (2, 3), nn.RMSNorm, getattr(torch.nn, "RMSNorm", None), _plain_rms),
    "group norm": Method(
        "image", (2, 3), lambda c: nn.GroupNorm(8, c), lambda c: torch.nn.GroupNorm(8, c), _plain_group
    ),
    "instance norm": Method(
        "image",
        (2, 3),
        lambda c: nn.InstanceNorm2d(c, affine=True),
        lambda c: torch.nn.InstanceNorm2d(c, affine=True),
        _plain((2, 3)),
    ),
    "local response norm": Method(
        "image", (2, 3), lambda c: nn.LocalResponseNorm(5), lambda c: torch.nn.LocalResponseNorm(5)
    ),
    "batch renorm": Method("image", (3, 5), nn.BatchRenorm),
    "ghost batch norm": Method("image", (3, 5), lambda c: nn.GhostBatchNorm(c, 16)),
    "virtual batch norm": Method("image", (3, 5), lambda c: nn.VirtualBatchNorm(c, 8)),
    "mean-only batch norm": Method("image", (3, 3), nn.MeanOnlyBatchNorm),
    "decorrelated batch norm": Method("image", (3, 5), lambda c: nn.DecorrelatedBatchNorm(c, c // 16)),
    "iterative whitening": Method("image", (3, 5), lambda c: nn.DecorrelatedBatchNorm(c, c // 16, 5)),
    "batch-instance norm": Method("image", (3, 5), nn.BatchInstanceNorm),
    "switchable norm": Method("image", (3, 5), nn.SwitchableNorm),
    "filter response norm": Method("image", (2, 3), nn.FilterResponseNorm),
    "EvoNorm-S0": Method("image", (2, 3), lambda c: nn.EvoNormS0(8, c), operator=torch.sigmoid),
    "EvoNorm-B0": Method("image", (3, 5), nn.EvoNormB0),
    "partial RMS norm": Method("table", (2, 3), lambda c: nn.PartialRMSNorm(c, 0.25)),
    "ScaleNorm": Method("table", (2, 3), nn.ScaleNorm),
    "DynamicTanh": Method("table", (2, 3), nn.DynamicTanh, operator=torch.tanh),
}


@dataclass(frozen=True)
class Row:
    """What one method took at one size; times in seconds, (forward, forward + backward).

    Attributes:
        name, shape: of the method and its input.
        times: by contestant: "ours", "torch", "plain", "compiled".
        saved: bytes kept for the backward pass over those of the input, by contestant.
        floor: the bytes' time at the speed of a copy in the same run.
    """

    name: str
    shape: tuple[int, ...]
    times: dict[str, tuple[float, float]]
    saved: dict[str, float]
    floor: tuple[float, float]


def measure(
    name: str,
    size: str,
    compiled: bool = True,
    repeats: int = 15,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Row:
    """Time one method and its peers, interleaved, after warming up.

    Args:
        name: of METHODS.
        size: "small", "middle", "large" or, for a GPU, "huge".
        compiled: time torch.compile as well; compiling takes seconds a shape.
        repeats: of each contestant; the least time is taken.
        device, dtype: of input and parameters.

    Raises:
        ValueError: a name or size that is not there.
    """
    if name not in METHODS:
        raise ValueError(f"no method named {name!r}; there are: {', '.join(METHODS)}")
    if size not in SHAPES["table"]:
        raise ValueError(f"size must be one of {', '.join(SHAPES['table'])}, but got {size!r}")
    method = METHODS[name]
    shape = SHAPES[method.kind][size]
    features = shape[1]
    torch.manual_seed(0)
    where = {"device": device, "dtype": dtype}
    x = torch.randn(shape, **where, requires_grad=True)
    upstream = torch.randn(shape, **where)
    layers: dict[str, Callable[[Tensor], Tensor]] = {"ours": method.make(features).to(**where)}
    if method.peer is not None:
        layers["torch"] = method.peer(features).to(**where)
    if method.plain is not None:
        weight, bias = (torch.randn(features, **where, requires_grad=True) for _ in range(2))
        layers["plain"] = lambda x: method.plain(x, weight, bias)
        if compiled:
            torch.compiler.reset()  # or the shapes before it count towards the limit of recompilations
            fused = torch.compile(method.plain)
            layers["compiled"] = lambda x: fused(x, weight, bias)
    elif compiled:
        torch.compiler.reset()
        layers["compiled"] = torch.compile(layers["ours"])

    runs: dict[tuple[str, int], Callable[[], object]] = {}
    for who, layer in layers.items():
        runs[who, 0] = lambda layer=layer: _forward(layer, x)
        runs[who, 1] = lambda layer=layer: _both(layer, x, upstream)
    copied = torch.empty_like(upstream)
    runs["copy", 0] = lambda: copied.copy_(upstream)
    if method.operator is not None:
        runs["operator", 0] = lambda: method.operator(upstream)
    # calls of microseconds scatter more, and cost nothing to repeat
    timed = _on_gpu if x.is_cuda else _on_cpu
    least = _interleaved(runs, repeats * (10 if x.numel() < 2**18 else 1), timed)
    one = least["copy", 0] / 2  # a copy reads n and writes n
    more = least.get(("operator", 0), 0.0)
    forward, backward = method.moves
    return Row(
        name,
        shape,
        {who: (least[who, 0], least[who, 1]) for who in layers},
        {who: saved_bytes(layer, x) / (x.numel() * x.element_size()) for who, layer in layers.items()},
        (forward * one + more, (forward + backward) * one + more),
    )


def saved_bytes(layer: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Bytes that autograd keeps between forward and backward, each storage counted once, parameters not."""
    own = {p.untyped_storage().data_ptr() for p in getattr(layer, "parameters", list)()}
    storages: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = layer(x)
    del y
    return sum(storages.values())


def compare(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """The lines of a table of ratios, and a sentence for each method over the limit.

    A method that torch has is compared with torch's; another with its floor, where torch's batch norm
    stands beside its own floor at the same size.
    """
    batch = {r.shape: r for r in rows if r.name.startswith("batch norm")}
    titles = ("ours/torch", "plain/torch", "comp./torch", "ours/floor")
    head = f"{'method':24}{'input':20}" + "".join(f"{title:>13}" for title in titles) + f"{'saved':>7}"
    lines, over = [head + "   each: forward, forward + backward"], []
    for row in rows:
        ours = row.times["ours"]
        cells = []
        for who in ("ours", "plain", "compiled"):
            if who in row.times and "torch" in row.times:
                cells.append(_ratios(row.times[who], row.times["torch"]))
            else:
                cells.append("")
        cells.append(_ratios(ours, row.floor))
        line = f"{row.name:24}{'×'.join(map(str, row.shape)):20}" + "".join(f"{c:>13}" for c in cells)
        lines.append(line + f"{row.saved['ours']:7.1f}")
        if "torch" in row.times:
            worst = max(o / t for o, t in zip(ours, row.times["torch"], strict=True))
            if worst > LIMIT:
                over.append(f"{row.name} {row.shape}: {worst:.1f} times torch's")
        elif row.shape in batch:
            peer = batch[row.shape]
            allowed = [t / f for t, f in zip(peer.times["torch"], peer.floor, strict=True)]
            worst = max(o / f / a for o, f, a in zip(ours, row.floor, allowed, strict=True))
            if worst > LIMIT:
                over.append(
                    f"{row.name} {row.shape}: {worst:.1f} times its floor × torch's batch norm over its own"
                )
    return lines, over


def environment(device: str = "cpu") -> str:
    """Where the figures come from."""
    if torch.device(device).type == "cuda":
        processor = torch.cuda.get_device_name(device)
    else:
        processor = f"{torch.get_num_threads()} threads, {platform.processor() or platform.machine()}"
    return f"torch {torch.__version__}, {processor}, {time.strftime('%Y-%m-%d')}"


@torch.no_grad()
def _forward(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return layer(x)


def _both(layer: Callable[[Tensor], Tensor], x: Tensor, upstream: Tensor) -> None:
    x.grad = None  # to add to the last one would take as long as to make it
    layer(x).backward(upstream)


def _interleaved(runs: dict, repeats: int, timed: Callable[[Callable], Callable[[], float]]) -> dict:
    times: dict = {key: [] for key in runs}
    for _ in range(WARM_UP):
        for run in runs.values():
            run()
    for _ in range(repeats):
        for key, run in runs.items():
            times[key].append(timed(run))
    return {key: min(seconds() for seconds in values) for key, values in times.items()}


def _on_cpu(run: Callable) -> Callable[[], float]:
    """Run it, and say later how many seconds it took."""
    start = time.perf_counter()
    run()
    end = time.perf_counter()
    return lambda: end - start


def _on_gpu(run: Callable) -> Callable[[], float]:
    """The same by the GPU's own clock: it works through what it is given while Python goes on."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()

    def seconds() -> float:
        end.synchronize()
        return start.elapsed_time(end) / 1000

    return seconds


def _ratios(times: tuple[float, float], peers: tuple[float, float]) -> str:
    return " ".join(f"{t / p:.2f}" for t, p in zip(times, peers, strict=True))
