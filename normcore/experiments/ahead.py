"""The loss along the gradient, as training goes on (chapter: Why it works)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import cross_entropy

from normcore.data import digits
from normcore.experiments import noisy, stored
from normcore.experiments.grid import Grid, grid
from normcore.plotting import COLORS, band, figure
from normcore.training import random_batches

__all__ = ["NETWORKS", "build", "draw", "measure", "rises"]

NETWORKS = {"without": "no batch norm", "with": "batch norm"}  # name → that of `noisy.NETWORKS`
# 0, and five a decade: the experiment is drawn in a browser, and is kept small
LENGTHS = (0.0, *(float(f"{10 ** (k / 5):.4g}") for k in range(-10, 6)))


def build(network: str) -> Module:
    """One of NETWORKS: five hidden layers of 64, He's weights."""
    return noisy.build(NETWORKS[network])


def measure(
    learning_rates: Sequence[float] = (0.03, 0.1, 0.3),
    lengths: Sequence[float] = LENGTHS,
    seeds: Sequence[int] = range(7),
    at: Sequence[int] = (0, 1, 2, 5, 10, 20, 50, 100),
    batch_size: int = 32,
) -> Grid:
    """Train with and without batch norm by plain gradient descent, and take slices of the loss on the way.

    With g the gradient at w on a batch, for each length t, on the same batch and by its statistics:

        L(w − t g)

    Args:
        learning_rates: of training, the same for both.
        lengths: t, the first of them 0.
        seeds: each draws the split, the initial weights and the order of the examples.
        at: steps of training that were taken before a slice, in rising order.
        batch_size: examples a step.

    Returns:
        Losses by network of NETWORKS, seed, lr, step, length.

    Raises:
        ValueError: the first length is not 0.

    Source: the idea is of Santurkar et al. (2018), section 3.2.
    """
    if not lengths or lengths[0] != 0:
        raise ValueError(f"lengths must begin with 0, but got {tuple(lengths)}")

    def one(network: str, seed: int, lr: float) -> list[list[float]]:
        data, found = digits(seed), []
        torch.manual_seed(seed)
        model = build(network).train()
        batches = random_batches(data, count=max(at) + 1, batch_size=batch_size, seed=seed)
        for step, (x, y) in enumerate(batches):
            there = [p.detach().clone() for p in model.parameters()]
            g = torch.autograd.grad(cross_entropy(model(x), y), list(model.parameters()))
            if step in at:
                found.append([_loss_at(model, x, y, there, g, t) for t in lengths])
            _move(model, there, g, lr)
        return found

    axes = {"network": NETWORKS, "seed": seeds, "lr": learning_rates}
    return grid(one, axes, {"step": tuple(at), "length": tuple(lengths)}, batch_size=batch_size)


@torch.no_grad()
def _loss_at(
    model: Module, x: Tensor, y: Tensor, there: Sequence[Tensor], g: Sequence[Tensor], t: float
) -> float:
    _move(model, there, g, t)
    return cross_entropy(model(x), y).item()


@torch.no_grad()
def _move(model: Module, there: Sequence[Tensor], g: Sequence[Tensor], t: float) -> None:
    for parameter, w, direction in zip(model.parameters(), there, g, strict=True):
        parameter.copy_(w - t * direction)


def main() -> Path:
    """Measure at full size, and store it."""
    return stored.save("ahead", measure(), digits=4)


def rises(results: Grid) -> Grid:
    """The length at which the loss is first above its value at 0; without the axis of lengths.

    Between the first length at which it is measured to be above and the one before, the logarithm of the
    loss is taken to be linear in log t. If it is above at the first length after 0, that length; if it is
    nowhere above, inf.
    """
    t = np.log(results.axes["length"][1:])
    height = np.log(results.array[..., 1:] / results.array[..., :1])
    after = (height > 0).argmax(-1)[..., None]
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(height, k, -1) for k in (before, after))
    part = np.where(after > before, -low / np.where(high > low, high - low, 1.0), 1.0)
    found = np.exp(t[before] + part * (t[after] - t[before]))[..., 0]
    axes = {name: values for name, values in results.axes.items() if name != "length"}
    return replace(results, array=np.where((height > 0).any(-1), found, np.inf), axes=axes)


def draw(results: Grid) -> Figure:
    """Where the loss rises above its value at 0, against the step, a panel a rate.

    Medians, and bands over the seeds; a thin line stands at the rate itself.
    """
    turns, rates, at = rises(results), results.axes["lr"], results.axes["step"]
    with figure(len(rates), 1, (5.4, 0.9 + 2.2 * len(rates)), squeeze=False) as (fig, axes):
        for ax, rate in zip(axes.flat, rates, strict=True):
            for network, runs in turns.at(lr=rate).items():
                band(ax, at, runs, f"{network} batch norm" if ax is axes[0, 0] else None)
            ax.axhline(rate, color=COLORS["grey"], linewidth=1, linestyle="-", marker="")
            ax.set(yscale="log", xlabel="step", ylabel=f"t, rate {rate:g}")
            ax.set_xscale("symlog", linthresh=1)
            ax.set_xlim(-0.1, 1.1 * at[-1])
            ax.set_xticks(at, [str(step) for step in at])
        fig.legend(loc="outside upper center", ncols=2)
    return fig
