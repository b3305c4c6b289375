"""How fast the gradient grows through batch norm at initialisation (chapter: Why it works)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from normcore.experiments import stored
from normcore.experiments.grid import Grid, grid
from normcore.plotting import COLORS, figure

__all__ = ["draw", "main", "measure", "moments", "profile"]


def profile(
    batch_size: int, activation: str, width: int, depth: int, seed: int, skip: bool = False
) -> np.ndarray:
    """Mean squares of the gradient to each layer's input, from the first layer to the last, in float64.

        h_l = φ(BN(W_l h_{l−1})),   or with skip connections   h_l = h_{l−1} + φ(BN(W_l h_{l−1}))

    γ = 1, β = 0, ε = 0; weights and inputs standard normal (batch norm divides the scale out); the
    gradient that enters at the end is standard normal.

    Args:
        batch_size: B.
        activation: "linear" or "ReLU".
        width, depth: of the network.
        seed: of weights, inputs and gradient.
        skip: add what goes into a layer to what comes out.
    """
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    h = normal(batch_size, width)
    kept = []
    for _ in range(depth):
        w = normal(width, width) / width**0.5
        a = h @ w.T
        c = a - a.mean(0)
        s = c.square().mean(0).rsqrt()
        x_hat = c * s
        out = torch.relu(x_hat) if activation == "ReLU" else x_hat
        kept.append((w, s, x_hat))
        h = h + out if skip else out
    g = normal(batch_size, width)
    found = []
    for w, s, x_hat in reversed(kept):
        d = g * (x_hat > 0) if activation == "ReLU" else g
        d = s * (d - d.mean(0) - x_hat * (d * x_hat).mean(0))
        g = g + d @ w if skip else d @ w
        found.append(g.square().mean().item())
    return np.array(found[::-1])


def moments(
    batch_size: int,
    width: int,
    depth: int,
    seed: int,
    norm: bool = True,
    skip: bool = True,
    scale: float = 2.0,
) -> dict[str, np.ndarray]:
    """What goes forward through layers of linear map, batch norm and ReLU, at initialisation, in float64.

    Args:
        batch_size, width, depth, seed: as of `profile`.
        norm: normalize; ε = 0.
        skip: add what goes into a layer to what comes out.
        scale: n times the variance of the weights.

    Returns:
        By layer, (depth,): "stream", the variance over the batch of what goes into the layer, and "square",
        its mean square; "branch", the variance of what comes out of the ReLU.

    Source: after De and Smith (2020), section 2.
    """
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    h = normal(batch_size, width)
    found: dict[str, list[float]] = {"stream": [], "square": [], "branch": []}
    for _ in range(depth):
        a = h @ normal(width, width).T * (scale / width) ** 0.5
        if norm:
            a = (a - a.mean(0)) / a.std(0, correction=0)
        out = torch.relu(a)
        found["stream"].append(h.var(0, correction=0).mean().item())
        found["square"].append(h.square().mean().item())
        found["branch"].append(out.var(0, correction=0).mean().item())
        h = h + out if skip else out
    return {name: np.array(values) for name, values in found.items()}


def measure(
    batch_sizes: Sequence[int] = (8, 16, 32, 64, 128, 256),
    activations: Sequence[str] = ("linear", "ReLU"),
    seeds: Sequence[int] = range(3),
    width: int = 1000,
    depth: int = 30,
    skip: bool = False,
) -> Grid:
    """The factor per layer by which the squared gradient grows on its way back.

    From the layers in the middle: the first and the last fifth are left out.

    Returns:
        Factors by activation, seed, batch_size.
    """
    first, last = depth // 5, depth - depth // 5

    def one(activation: str, seed: int, batch_size: int) -> float:
        logs = np.log(profile(batch_size, activation, width, depth, seed, skip))
        return np.exp(-np.polyfit(np.arange(first, last), logs[first:last], 1)[0])

    axes = {"activation": activations, "seed": seeds, "batch_size": batch_sizes}
    return grid(one, axes, width=width, depth=depth, skip=skip)


def main() -> Path:
    """Measure at full size, and store it."""
    return stored.save("growth", measure(seeds=range(5)))


def draw(results: Grid) -> Figure:
    """Factor against the batch size, with (B − 2)/(B − 3) and π/(π − 1)."""
    batch_sizes = results.axes["batch_size"]
    with figure() as (fig, ax):
        for name, values in results.items():
            (line,) = ax.plot(batch_sizes, np.median(values, 0), label=name, linestyle="")
            ax.vlines(batch_sizes, values.min(0), values.max(0), color=line.get_color())
        b = np.geomspace(min(batch_sizes), max(batch_sizes), 100)
        ax.plot(b, (b - 2) / (b - 3), marker="", color=COLORS["grey"], label="(B − 2)/(B − 3)")
        ax.axhline(np.pi / (np.pi - 1), color=COLORS["grey"], linestyle=":", marker="", label="π/(π − 1)")
        ax.set(xscale="log", xlabel="batch size B", ylabel="growth of |gradient|² per layer")
        ax.set_xticks(batch_sizes, [str(b) for b in batch_sizes])
        ax.minorticks_off()
        fig.legend(loc="outside upper center", ncols=2)
    return fig
