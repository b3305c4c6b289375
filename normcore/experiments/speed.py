"""Steps to a fixed accuracy over a grid of learning rates (chapter: What it buys)."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import Module

from normcore import nn as norms
from normcore.data import digits
from normcore.models import mlp
from normcore.plotting import COLORS, figure
from normcore.training import accuracy, train

__all__ = ["NETWORKS", "draw", "initialise", "measure"]

SIZES = (64, 64, 64, 64, 64, 64, 10)
# name → where batch norm stands
NETWORKS = {"without": None, "before": "before", "after": "after"}


def initialise(model: Module, scale: float = 1.0) -> Module:
    """He's initialisation: weights normal with variance 2/n_in, times scale²; biases 0. In place."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=scale * (2 / module.in_features) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


class _Reached(Exception):
    """Training has done its work."""


def measure(
    learning_rates: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    seeds: Sequence[int] = range(5),
    target: float = 0.9,
    epochs: int = 10,
    batch_size: int = 32,
    every: int = 7,
    activation: type[Module] = nn.ReLU,
    scale: float = 1.0,
) -> dict[str, np.ndarray]:
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
        By network of NETWORKS, steps of shape (seeds, learning rates); inf where the target was not reached.
    """
    results = {name: np.full((len(seeds), len(learning_rates)), np.inf) for name in NETWORKS}
    for name, position in NETWORKS.items():
        norm = None if position is None else norms.BatchNorm1d
        for i, seed in enumerate(seeds):
            data = digits(seed)
            for j, lr in enumerate(learning_rates):
                torch.manual_seed(seed)
                model = initialise(mlp(SIZES, norm, position or "before", activation), scale)
                steps = 0

                def test(model=model, data=data):
                    nonlocal steps
                    steps += 1
                    if steps % every == 0 and accuracy(model, data) >= target:
                        raise _Reached

                try:
                    train(
                        model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed, after_step=test
                    )
                except _Reached:
                    results[name][i, j] = steps
    return results


def draw(results: dict[str, np.ndarray], learning_rates: Sequence[float], limit: int) -> Figure:
    """Steps against the learning rate, every run a point; those that did not arrive stand at the top."""
    labels = {"without": "no batch norm", "before": "before the activation", "after": "after it"}
    with figure() as (fig, ax):
        for k, (name, runs) in enumerate(results.items()):
            x = np.asarray(learning_rates) * 1.08 ** (k - 1)
            shown = np.where(np.isfinite(runs), runs, 1.6 * limit)
            (line,) = ax.plot(x, np.median(shown, 0), label=labels[name])
            ax.plot(
                np.tile(x, len(runs)), shown.ravel(), marker=line.get_marker(), linestyle="",
                color=line.get_color(), alpha=0.35, markersize=3,
            )  # fmt: skip
        ax.axhline(1.25 * limit, color=COLORS["grey"], linewidth=0.8, linestyle="-", marker="")
        ax.text(learning_rates[0], 1.65 * limit, "not reached", va="bottom", ha="left", fontsize=9)
        ax.set(xscale="log", yscale="log", ylim=(None, 2.4 * limit), xlabel="learning rate")
        ax.set(ylabel="steps to the target")
        fig.legend(loc="outside upper center", ncols=3)
    return fig
