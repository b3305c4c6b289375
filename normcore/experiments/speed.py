"""Steps to a fixed accuracy over a grid of learning rates (chapter: What it buys)."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import Module

from normcore import nn as norms
from normcore.data import digits
from normcore.experiments.grid import Grid, grid
from normcore.models import SIZES, initialise, mlp
from normcore.plotting import COLORS, figure
from normcore.training import accuracy, steps

__all__ = ["NETWORKS", "draw", "measure"]

# name → where batch norm stands
NETWORKS = {"without": None, "before": "before", "after": "after"}


def measure(
    learning_rates: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    seeds: Sequence[int] = range(5),
    target: float = 0.9,
    epochs: int = 10,
    batch_size: int = 32,
    every: int = 7,
    activation: type[Module] = nn.ReLU,
    scale: float = 1.0,
) -> Grid:
    """Train a network with five hidden layers of 64 on the digits until its test accuracy reaches a target.

    Args:
        learning_rates: of plain stochastic gradient descent.
        seeds: each draws the split, the initial weights and the order of the examples.
        target: test accuracy, by running averages.
        epochs: after which a run ends in any case.
        batch_size: examples a step.
        every: steps between two tests.
        activation: of the hidden layers.
        scale: of the initial weights, in units of He's.

    Returns:
        Steps by network of NETWORKS, seed, lr; inf where the target was not reached.
    """

    def one(network: str, seed: int, lr: float) -> float:
        data = digits(seed)
        torch.manual_seed(seed)
        position = NETWORKS[network]
        norm = None if position is None else norms.BatchNorm1d
        model = initialise(mlp(SIZES, norm, position or "before", activation), scale)
        losses = steps(model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
        for step, _ in enumerate(losses, 1):
            if step % every == 0 and accuracy(model, data) >= target:
                return step
        return np.inf

    return grid(
        one, {"network": NETWORKS, "seed": seeds, "lr": learning_rates},
        target=target, batch_size=batch_size, activation=activation.__name__, scale=scale,
        limit=epochs * (len(digits(0).x_train) // batch_size),
    )  # fmt: skip


def draw(results: Grid) -> Figure:
    """Steps against the learning rate, every run a point; those that did not arrive stand at the top."""
    labels = {"without": "no batch norm", "before": "before the activation", "after": "after it"}
    limit = results.settings["limit"]
    with figure() as (fig, ax):
        for k, (name, runs) in enumerate(results.items()):
            x = np.asarray(results.axes["lr"]) * 1.08 ** (k - 1)
            shown = np.where(np.isfinite(runs), runs, 1.6 * limit)
            (line,) = ax.plot(x, np.median(shown, 0), label=labels[name])
            ax.plot(
                np.tile(x, len(runs)), shown.ravel(), marker=line.get_marker(), linestyle="",
                color=line.get_color(), alpha=0.35, markersize=3,
            )  # fmt: skip
        ax.axhline(1.25 * limit, color=COLORS["grey"], linewidth=0.8, linestyle="-", marker="")
        ax.text(results.axes["lr"][0], 1.65 * limit, "not reached", va="bottom", ha="left", fontsize=9)
        ax.set(xscale="log", yscale="log", ylim=(None, 2.4 * limit), xlabel="learning rate")
        ax.set(ylabel="steps to the target")
        fig.legend(loc="outside upper center", ncols=3)
    return fig
