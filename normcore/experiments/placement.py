"""Batch norm before or after the activation, or not at all (chapter: The transform)."""

from collections.abc import Sequence
from itertools import count

import torch
from matplotlib.figure import Figure
from torch import nn as torch_nn

from normcore import nn
from normcore.data import digits
from normcore.experiments.grid import Grid, grid
from normcore.models import SIZES, mlp
from normcore.plotting import COLORS, band, figure
from normcore.training import accuracy, steps, train

__all__ = ["draw", "draw_gaps", "measure", "measure_gaps"]


def measure(
    learning_rates: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    seeds: Sequence[int] = range(5),
    epochs: int = 4,
    batch_size: int = 32,
    activation: type[torch_nn.Module] = torch_nn.ReLU,
) -> Grid:
    """Test accuracy on the digits of a network with five hidden layers of 64.

    Args:
        learning_rates: of plain stochastic gradient descent.
        seeds: each draws the split, the initial weights and the order of the examples.
        epochs: of training.
        batch_size: examples a step.
        activation: of the hidden layers.

    Returns:
        Accuracies by position ("none", "before", "after"), seed, lr.
    """

    def one(position: str, seed: int, lr: float) -> float:
        data = digits(seed)
        torch.manual_seed(seed)
        norm = None if position == "none" else nn.BatchNorm1d
        model = mlp(SIZES, norm, "before" if position == "none" else position, activation)
        train(model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
        return accuracy(model, data)

    axes = {"position": ("none", "before", "after"), "seed": seeds, "lr": learning_rates}
    return grid(one, axes, epochs=epochs, batch_size=batch_size, activation=activation.__name__)


def draw(results: Grid) -> Figure:
    """Accuracy against the learning rate: medians, and bands from the worst to the best seed."""
    labels = {"none": "no batch norm", "before": "before the activation", "after": "after the activation"}
    with figure() as (fig, ax):
        for name, runs in results.items():
            band(ax, results.axes["lr"], runs, labels[name])
        ax.set(xscale="log", ylim=(0, 1.02), xlabel="learning rate", ylabel="test accuracy")
        fig.legend(loc="outside upper center")
    return fig


def measure_gaps(
    lr: float = 0.1, seeds: Sequence[int] = range(5), epochs: int = 4, batch_size: int = 32
) -> Grid:
    """Between training and use: what the running averages cost, after every step of training.

    Returns:
        By position ("before", "after" the ReLU), seed, step: the test accuracy by the statistics of the
        test examples minus that by the running averages.
    """

    def one(position: str, seed: int) -> list[float]:
        data = digits(seed)
        torch.manual_seed(seed)
        model = mlp(SIZES, nn.BatchNorm1d, position)
        return [
            accuracy(model, data, batch_statistics=True) - accuracy(model, data)
            for _ in steps(model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
        ]

    axes = {"position": ("before", "after"), "seed": seeds}
    return grid(one, axes, {"step": count(1)}, lr=lr, batch_size=batch_size)


def draw_gaps(gaps: Grid, first: int) -> Figure:
    """The gap after every step behind the first `first`, one line a seed, one panel a position."""
    with figure(2, 1, (5.4, 3.6), sharex=True, sharey=True) as (fig, axes):
        for ax, (position, runs) in zip(axes, gaps.items(), strict=True):
            x, y = gaps.axes["step"][first:], runs[:, first:].T
            ax.plot(x, y, marker="", linestyle="-", linewidth=1, color=COLORS["blue"])
            ax.set(title=f"{position} the activation", ylabel="gap")
        axes[-1].set_xlabel("step")
    return fig
