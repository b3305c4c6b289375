"""Batch norm whose statistics are taken out of the graph (chapter: The gradient)."""

from collections.abc import Sequence
from itertools import count

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from normcore.data import digits
from normcore.experiments.grid import Grid, grid
from normcore.models import SIZES, mlp
from normcore.plotting import band, figure
from normcore.training import accuracy, steps

__all__ = ["VARIANTS", "DetachedBatchNorm", "build", "draw", "measure"]

# name → what is taken out of the graph
VARIANTS = {"right": (), "variance": ("variance",), "mean": ("mean",), "both": ("mean", "variance")}


class DetachedBatchNorm(nn.BatchNorm1d):
    """Batch norm, wrong in its gradient alone: μ, σ² or both are treated as constants.

    Args:
        num_features: C.
        detached: of "mean" and "variance".
    """

    def __init__(self, num_features: int, detached: Sequence[str]) -> None:
        super().__init__(num_features)
        self.detached = frozenset(detached)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        with torch.no_grad():
            super().forward(input)  # moves the running averages
        mean, var = input.mean(0), input.var(0, correction=0)
        if "mean" in self.detached:
            mean = mean.detach()
        if "variance" in self.detached:
            var = var.detach()
        return (input - mean) * torch.rsqrt(var + self.eps) * self.weight + self.bias


def build(variant: str) -> nn.Sequential:
    """Five hidden layers of 64 with one of VARIANTS of batch norm."""
    return mlp(SIZES, lambda width: DetachedBatchNorm(width, VARIANTS[variant]))


def measure(lr: float, seeds: Sequence[int] = range(5), epochs: int = 6, batch_size: int = 32) -> Grid:
    """Train a network with five hidden layers of 64 on the digits, with the right gradient and wrong ones.

    Args:
        lr: learning rate of plain stochastic gradient descent.
        seeds: each draws the split, the initial weights and the order of the examples.
        epochs, batch_size: of training.

    Returns:
        By variant of VARIANTS, quantity, seed, step: "loss" of the step's batch; "weight", the mean norm of
        the hidden weight matrices after it; "accuracy" on the test digits, after the last step alone.
    """

    def one(variant: str, seed: int) -> list[list[float]]:
        data, found = digits(seed), []
        torch.manual_seed(seed)
        model = build(variant)
        hidden = [m.weight for m in model if isinstance(m, nn.Linear)][:-1]
        for loss in steps(model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed):
            found.append([loss, np.mean([w.detach().norm().item() for w in hidden]), np.nan])
        found[-1][2] = accuracy(model, data)
        return found

    along = {"step": count(1), "quantity": ("loss", "weight", "accuracy")}
    return grid(one, {"variant": VARIANTS, "seed": seeds}, along, lr=lr, batch_size=batch_size)


def draw(results: Grid, window: int = 20) -> Figure:
    """Loss, averaged over `window` steps, and length of the weights: medians and bands over the seeds."""
    labels = {"right": "right", "variance": "without σ²", "mean": "without μ", "both": "without both"}
    last = len(results.axes["step"]) // window * window
    with figure(2, 1, (5.4, 4.6), sharex=True) as (fig, axes):
        for name, found in results.items():
            for ax, quantity in zip(axes, ("loss", "weight"), strict=True):
                runs = found[quantity][:, :last]
                means = runs.reshape(len(runs), -1, window).mean(2)
                label = labels[name] if quantity == "loss" else None
                band(ax, results.axes["step"][window - 1 : last : window], means, label, markevery=2)
        axes[0].set(ylabel="training loss")
        axes[1].set(ylabel="length of W", xlabel="step")
        fig.legend(loc="outside upper center", ncols=2)
    return fig
