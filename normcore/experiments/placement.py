"""Batch norm before or after the activation, or not at all (chapter: The transform)."""

from collections.abc import Sequence
from itertools import count

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn as torch_nn

from normcore import nn
from normcore.adaptation import reestimate
from normcore.data import digits
from normcore.experiments.grid import Grid, grid
from normcore.models import SIZES, initialise, mlp
from normcore.plotting import COLORS, band, figure
from normcore.training import accuracy, steps, train

__all__ = ["POSITIONS", "build", "draw", "draw_gaps", "measure", "measure_gaps"]

PARTS = ("validation", "test")
STATISTICS = ("running averages", "precise statistics")
POSITIONS = ("none", "before", "after")


def build(
    position: str, activation: type[torch_nn.Module] = torch_nn.ReLU, scale: float | None = None
) -> torch_nn.Sequential:
    """Five hidden layers of 64 with batch norm at one of POSITIONS.

    Weights are torch's own, or `scale` times He's where a scale is given.
    """
    norm = None if position == "none" else nn.BatchNorm1d
    model = mlp(SIZES, norm, "before" if position == "none" else position, activation)
    return model if scale is None else initialise(model, scale)


def measure(
    learning_rates: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    seeds: Sequence[int] = range(5),
    epochs: int = 4,
    batch_size: int = 32,
    activation: type[torch_nn.Module] = torch_nn.ReLU,
    scale: float | None = None,
) -> Grid:
    """Accuracy on the digits of a network with five hidden layers of 64.

    Args:
        learning_rates: of plain stochastic gradient descent.
        seeds: each draws the split, the initial weights and the order of the examples.
        epochs: of training.
        batch_size: examples a step.
        activation: of the hidden layers.
        scale: of the initial weights, in units of He's; None for torch's own.

    Returns:
        Accuracies by position of POSITIONS, on ("validation", to choose by; "test"), by ("running averages",
        "precise statistics": those of all training data under the final weights), seed, lr.
    """

    def one(position: str, seed: int, lr: float) -> list[list[float]]:
        data = digits(seed)
        torch.manual_seed(seed)
        model = build(position, activation, scale)
        train(model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
        running = [accuracy(model, data, on=part) for part in PARTS]
        if position != "none":
            reestimate(model, [data.x_train])
        precise = [accuracy(model, data, on=part) for part in PARTS]
        return np.transpose([running, precise]).tolist()

    axes = {"position": POSITIONS, "seed": seeds, "lr": learning_rates}
    along = {"on": PARTS, "by": STATISTICS}
    settings = {"activation": activation.__name__, "scale": scale}
    return grid(one, axes, along, epochs=epochs, batch_size=batch_size, **settings)


def draw(results: Grid) -> Figure:
    """Test accuracy, by running averages, against the learning rate: medians and bands over the seeds."""
    labels = {"none": "no batch norm", "before": "before the activation", "after": "after the activation"}
    with figure() as (fig, ax):
        for name, runs in results.at(on="test", by="running averages").items():
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
        model = build(position)
        return [
            accuracy(model, data, batch_statistics=True) - accuracy(model, data)
            for _ in steps(model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
        ]

    axes = {"position": ("before", "after"), "seed": seeds}
    return grid(one, axes, {"step": count(1)}, lr=lr, batch_size=batch_size)


def draw_gaps(gaps: Grid, first: int) -> Figure:
    """The gap after every step after the first `first`, one line a seed, one panel a position."""
    with figure(2, 1, (5.4, 3.6), sharex=True, sharey=True) as (fig, axes):
        for ax, (position, runs) in zip(axes, gaps.items(), strict=True):
            x, y = gaps.axes["step"][first:], runs[:, first:].T
            ax.plot(x, y, marker="", linestyle="-", linewidth=1, color=COLORS["blue"])
            ax.set(title=f"{position} the activation", ylabel="gap")
        axes[-1].set_xlabel("step")
    return fig
