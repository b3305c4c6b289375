"""Batch norm whose statistics are taken out of the graph (chapter: The gradient)."""

import copy
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from normcore.adaptation import reestimate
from normcore.data import digits
from normcore.experiments import stored
from normcore.experiments.grid import Grid, grid
from normcore.models import SIZES, initialise, mlp
from normcore.plotting import band, figure
from normcore.training import accuracy, steps

__all__ = ["VARIANTS", "DetachedBatchNorm", "build", "draw", "main", "measure"]

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
    """Five hidden layers of 64, He's initialisation, with one of VARIANTS of batch norm."""
    return initialise(mlp(SIZES, lambda width: DetachedBatchNorm(width, VARIANTS[variant])))


def measure(
    learning_rates: Sequence[float] = (0.01, 0.1, 1.0),
    seeds: Sequence[int] = range(5),
    epochs: int = 6,
    batch_size: int = 32,
) -> Grid:
    """Train a network with five hidden layers of 64 on the digits, with the right gradient and wrong ones.

    Args:
        learning_rates: of plain stochastic gradient descent.
        seeds: each draws the split, the initial weights and the order of the examples, the same for all.
        epochs, batch_size: of training.

    Returns:
        By variant of VARIANTS, quantity, seed, learning_rate, epoch: "loss", the mean of the epoch's batches;
        after it "weight", the mean norm of the hidden weight matrices, and two accuracies on the test digits:
        "accuracy" by running averages, and "precise" by the statistics of all training data.
    """

    def one(variant: str, seed: int, learning_rate: float) -> list[list[float]]:
        data, found = digits(seed), []
        torch.manual_seed(seed)
        model = build(variant)
        hidden = [m.weight for m in model if isinstance(m, nn.Linear)][:-1]
        run = steps(model, data, lr=learning_rate, epochs=epochs, batch_size=batch_size, seed=seed)
        for _ in range(epochs):
            losses = list(islice(run, len(data.x_train) // batch_size))
            length = np.mean([w.detach().norm().item() for w in hidden])
            precise = reestimate(copy.deepcopy(model), [data.x_train])
            found.append([np.mean(losses), length, accuracy(model, data), accuracy(precise, data)])
        return found

    axes = {"variant": VARIANTS, "seed": seeds, "learning_rate": learning_rates}
    along = {"epoch": range(1, epochs + 1), "quantity": ("loss", "weight", "accuracy", "precise")}
    return grid(one, axes, along, batch_size=batch_size)


def main() -> Path:
    """Measure on forty seeds, and store it."""
    return stored.save("detached", measure(seeds=range(40)))


def draw(results: Grid) -> Figure:
    """Loss and length of the weights at the middle one of the rates: medians and bands over the seeds."""
    labels = {"right": "right", "variance": "without σ²", "mean": "without μ", "both": "without both"}
    rates = results.axes["learning_rate"]
    with figure(2, 1, (5.4, 4.8)) as (fig, axes):
        for name, found in results.items():
            for ax, quantity in zip(axes, ("loss", "weight"), strict=True):
                runs = found[quantity][:, len(rates) // 2]
                band(ax, results.axes["epoch"], runs, labels[name] if quantity == "loss" else None)
        axes[0].set(ylabel="training loss", xlabel="epoch")
        axes[1].set(ylabel="length of W", xlabel="epoch")
        fig.legend(loc="outside upper center", ncols=2)
    return fig
