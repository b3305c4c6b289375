"""Batch norm before or after the activation, or not at all (chapter: The transform)."""

from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from normcore.adaptation import reestimate
from normcore.data import digits
from normcore.experiments import stored
from normcore.experiments.grid import Grid, grid
from normcore.models import SIZES, initialise, mlp
from normcore.plotting import COLORS, band, figure
from normcore.training import accuracy, steps, train

__all__ = [
    "ACTIVATIONS",
    "POSITIONS",
    "STARTS",
    "best",
    "build",
    "draw",
    "draw_gaps",
    "main",
    "measure",
    "measure_gaps",
]

PARTS = ("validation", "test")
STATISTICS = ("running averages", "precise statistics")
POSITIONS = ("none", "before", "after")
# name → activation, and the scale of the weights, in units of He's, that keeps a signal's size with it
ACTIVATIONS = {"ReLU": (nn.ReLU, 1.0), "sigmoid": (nn.Sigmoid, 8**0.5)}
STARTS = ("PyTorch's", "suited")


def build(position: str, activation: str = "ReLU", start: str = "PyTorch's") -> nn.Sequential:
    """Five hidden layers of 64 with batch norm at one of POSITIONS, an activation of ACTIVATIONS.

    Batch norm is torch's own: normcore's gives the same numbers, up to rounding, and takes longer. Weights
    are torch's own, too, or suited to the activation: of variance 2/n for a ReLU, and for a sigmoid, whose
    slope is at most 1/4 and whose outputs lie around 1/2, of variance 16/n and centred (`initialise`).
    """
    norm = None if position == "none" else nn.BatchNorm1d
    made, scale = ACTIVATIONS[activation]
    model = mlp(SIZES, norm, "before" if position == "none" else position, made)
    return initialise(model, scale, centred=True) if start == "suited" else model


def measure(
    learning_rates: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    seeds: Sequence[int] = range(20),
    activations: Iterable[str] = ACTIVATIONS,
    starts: Iterable[str] = STARTS,
    epochs: int = 4,
    batch_size: int = 32,
) -> Grid:
    """Accuracy on the digits of a network with five hidden layers of 64.

    Args:
        learning_rates: of plain stochastic gradient descent.
        seeds: each draws the split, the initial weights and the order of the examples.
        activations: of ACTIVATIONS.
        starts: of STARTS.
        epochs: of training.
        batch_size: examples a step.

    Returns:
        Accuracies by activation, start, position of POSITIONS, on ("validation", to choose by; "test"), by
        ("running averages", "precise statistics": those of all training data under the final weights), seed,
        lr.
    """

    def one(activation: str, start: str, position: str, seed: int, lr: float) -> list[list[float]]:
        data = digits(seed)
        torch.manual_seed(seed)
        model = build(position, activation, start)
        train(model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
        running = [accuracy(model, data, on=part) for part in PARTS]
        if position != "none":
            reestimate(model, [data.x_train])
        precise = [accuracy(model, data, on=part) for part in PARTS]
        return np.transpose([running, precise]).tolist()

    axes = {"activation": activations, "start": starts, "position": POSITIONS}
    return grid(
        one, {**axes, "seed": seeds, "lr": learning_rates}, {"on": PARTS, "by": STATISTICS},
        epochs=epochs, batch_size=batch_size,
    )  # fmt: skip


def main() -> Path:
    """Measure at full size, and store it."""
    return stored.save("placement", measure())


def best(results: Grid, by: str = "running averages") -> int:
    """The place in lr of the rate that the validation data choose: that of the best median."""
    return int(np.median(results.at(on="validation", by=by).array, 0).argmax())


def draw(results: Grid) -> Figure:
    """Test accuracy, by running averages, against the learning rate: medians and bands over the seeds.

    A row an activation, a column a start.
    """
    labels = {"none": "no batch norm", "before": "before the activation", "after": "after the activation"}
    activations, starts = results.axes["activation"], results.axes["start"]
    size = (5.4, 0.8 + 2.2 * len(activations))
    with figure(len(activations), len(starts), size, squeeze=False, sharex=True, sharey=True) as (fig, axes):
        for row, activation in zip(axes, activations, strict=True):
            for ax, start in zip(row, starts, strict=True):
                shown = results.at(activation=activation, start=start, on="test", by="running averages")
                for name, runs in shown.items():
                    band(ax, results.axes["lr"], runs, labels[name] if ax is axes[0, 0] else None)
                ax.set(xscale="log", ylim=(0, 1.02), title=f"{activation}, {start} start")
                ax.set(xlabel="learning rate", ylabel="accuracy")
        fig.legend(loc="outside upper center", ncols=2)
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
