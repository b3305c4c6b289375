"""How far plain networks with batch norm get by their depth (chapter: Why it works)."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from normcore.data import digits
from normcore.experiments import stored
from normcore.experiments.grid import Grid, grid
from normcore.models import SIZES, initialise, mlp
from normcore.plotting import band, figure
from normcore.training import accuracy, steps

__all__ = ["best", "draw", "main", "measure"]

PARTS = ("validation", "test")


def measure(
    learning_rates: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0),
    seeds: Sequence[int] = range(5),
    depths: Sequence[int] = (10, 30, 50),
    batch_sizes: Sequence[int] = (32, 128),
    epochs: int = 20,
) -> Grid:
    """Train chains of linear map, batch norm and ReLU on the digits, of width 64, with He's weights.

    Args:
        learning_rates: of plain gradient descent, the same for all.
        seeds: each draws the split, the initial weights and the order of the examples.
        depths: hidden layers.
        batch_sizes: examples a step.
        epochs: passes.

    Returns:
        Accuracy after each pass, on ("validation", to choose rate and pass by; "test"), seed, depth,
        batch_size, lr, pass.
    """

    def one(seed: int, depth: int, batch_size: int, lr: float) -> list[tuple[float, ...]]:
        data, found = digits(seed), []
        torch.manual_seed(seed)
        model = initialise(mlp((*SIZES[:1], *SIZES[1:2] * depth, SIZES[-1]), nn.BatchNorm1d))
        per_pass = len(data.x_train) // batch_size
        run = steps(model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
        for step, _ in enumerate(run, 1):
            if step % per_pass == 0:
                found.append(tuple(accuracy(model, data, on=part) for part in PARTS))
        return found

    axes = {"seed": seeds, "depth": depths, "batch_size": batch_sizes, "lr": learning_rates}
    return grid(one, axes, {"pass": count(1), "on": PARTS}, width=SIZES[1])


def main() -> Path:
    """Measure at full size, and store it."""
    return stored.save("depth", measure())


def best(results: Grid, **where: float) -> tuple[float, int, np.ndarray]:
    """The rate and the pass that the validation data choose, by the mean over the seeds.

    Args:
        results: of `measure`.
        where: depth and batch_size.

    Returns:
        Rate, pass, and test accuracies there, (seeds,).
    """
    part = results.at(**where)
    means = part.at(on="validation").array.mean(0)
    rate, step = np.unravel_index(means.argmax(), means.shape)
    axes = part.axes
    return axes["lr"][rate], axes["pass"][step], part.at(on="test").array[:, rate, step]


def draw(results: Grid) -> Figure:
    """Test accuracy against the pass, at the rate the validation data choose; one panel per batch size."""
    sizes = results.axes["batch_size"]
    with figure(1, len(sizes), (5.4, 2.9), squeeze=False, sharey=True) as (fig, axes):
        for ax, size in zip(axes.flat, sizes, strict=True):
            for depth in results.axes["depth"]:
                where = {"batch_size": size, "depth": depth}
                rate, _, _ = best(results, **where)
                runs = results.at(on="test", lr=rate, **where).array
                label = f"{depth} layers" if ax is axes.flat[0] else None
                band(ax, results.axes["pass"], runs, label, markevery=5)
            ax.set(title=f"batches of {size}", xlabel="pass", ylabel="accuracy", ylim=(0, 1.02))
        fig.legend(loc="outside upper center", ncols=3)
    return fig
