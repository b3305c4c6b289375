"""Batch norm before or after the activation, or not at all (chapter: The transform)."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn as torch_nn

from normcore import nn
from normcore.data import digits
from normcore.models import mlp
from normcore.plotting import COLORS, band, figure
from normcore.training import accuracy, train

__all__ = ["draw", "draw_gaps", "measure", "measure_gaps"]

SIZES = (64, 64, 64, 64, 64, 64, 10)


def measure(
    learning_rates: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    seeds: Sequence[int] = range(5),
    epochs: int = 4,
    batch_size: int = 32,
    activation: type[torch_nn.Module] = torch_nn.ReLU,
) -> dict[str, np.ndarray]:
    """Test accuracy on the digits of a network with five hidden layers of 64.

    Args:
        learning_rates: of plain stochastic gradient descent.
        seeds: each draws the split, the initial weights and the order of the examples.
        epochs: of training.
        batch_size: examples a step.
        activation: of the hidden layers.

    Returns:
        By placement ("none", "before", "after"), accuracies of shape (seeds, learning rates).
    """
    results = {name: np.zeros((len(seeds), len(learning_rates))) for name in ("none", "before", "after")}
    for name, accuracies in results.items():
        norm = None if name == "none" else nn.BatchNorm1d
        for i, seed in enumerate(seeds):
            data = digits(seed)
            for j, lr in enumerate(learning_rates):
                torch.manual_seed(seed)
                model = mlp(SIZES, norm, "before" if name == "none" else name, activation)
                history = train(model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
                accuracies[i, j] = history.accuracy[-1]
    return results


def draw(results: dict[str, np.ndarray], learning_rates: Sequence[float]) -> Figure:
    """Accuracy against the learning rate: medians, and bands from the worst to the best seed."""
    labels = {"none": "no batch norm", "before": "before the activation", "after": "after the activation"}
    with figure() as (fig, ax):
        for name, runs in results.items():
            band(ax, learning_rates, runs, labels[name])
        ax.set(xscale="log", ylim=(0, 1.02), xlabel="learning rate", ylabel="test accuracy")
        fig.legend(loc="outside upper center")
    return fig


def measure_gaps(
    lr: float = 0.1, seeds: Sequence[int] = range(5), epochs: int = 4, batch_size: int = 32
) -> dict[str, np.ndarray]:
    """Between training and use: what the running averages cost, after every step of training.

    Returns:
        By placement ("before", "after" the ReLU), (seeds, steps): the test accuracy by the statistics of
        the test examples minus that by the running averages.
    """
    results = {}
    for position in ("before", "after"):
        runs = []
        for seed in seeds:
            data, gaps = digits(seed), []
            torch.manual_seed(seed)
            model = mlp(SIZES, nn.BatchNorm1d, position)

            def measure_gap(model=model, data=data, gaps=gaps):
                gaps.append(accuracy(model, data, batch_statistics=True) - accuracy(model, data))

            train(model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed, after_step=measure_gap)
            runs.append(gaps)
        results[position] = np.array(runs)
    return results


def draw_gaps(gaps: dict[str, np.ndarray], first: int) -> Figure:
    """The gap at every step from `first` on, one line a seed, one panel a placement."""
    with figure(2, 1, (5.4, 3.6), sharex=True, sharey=True) as (fig, axes):
        for ax, (position, runs) in zip(axes, gaps.items(), strict=True):
            steps = np.arange(first, runs.shape[1])
            ax.plot(steps, runs[:, first:].T, marker="", linestyle="-", linewidth=1, color=COLORS["blue"])
            ax.set(title=f"{position} the activation", ylabel="gap")
        axes[-1].set_xlabel("step")
    return fig
