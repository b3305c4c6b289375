"""Batch norm before or after the activation, or not at all (chapter: The transform)."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn as torch_nn

from normcore import nn
from normcore.data import digits
from normcore.models import mlp
from normcore.plotting import band, figure
from normcore.training import train

__all__ = ["draw", "measure"]

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
        ax.legend(loc="lower center")
    return fig
