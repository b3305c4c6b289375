"""Noise after batch norm, so that distributions shift at every step (chapter: Why it works)."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from normcore import nn
from normcore.data import digits
from normcore.experiments import stored
from normcore.experiments.grid import Grid, grid
from normcore.models import SIZES, initialise, mlp
from normcore.plotting import band, figure
from normcore.training import accuracy, train

__all__ = ["NETWORKS", "NoisyBatchNorm", "best", "build", "draw", "main", "measure"]


class NoisyBatchNorm(nn.BatchNorm1d):
    """Batch norm, and then, in training, noise of another distribution at every step and for every unit.

        y + m + s z,   z standard normal, drawn for each value;
        m uniform in [−a, a] and s uniform in [0, a], drawn for each unit and step

    So no unit's distribution is the same at two steps: covariate shift on purpose.

    Source: after Santurkar et al. (2018), section 2.1.
    """

    def __init__(self, num_features: int, amount: float = 0.5) -> None:
        super().__init__(num_features)
        self.amount = amount

    def forward(self, input: Tensor) -> Tensor:
        y = super().forward(input)
        if not self.training:
            return y
        mean = (2 * torch.rand(y.shape[1]) - 1) * self.amount
        return y + mean + torch.rand(y.shape[1]) * self.amount * torch.randn_like(y)


# name → what makes the normalization of a hidden layer from its width
NETWORKS: dict[str, Callable[[int], torch.nn.Module] | None] = {
    "no batch norm": None,
    "batch norm": nn.BatchNorm1d,
    "noisy batch norm": NoisyBatchNorm,
    "four times the noise": partial(NoisyBatchNorm, amount=2.0),
}


def build(network: str) -> torch.nn.Sequential:
    """One of NETWORKS: five hidden layers of 64, He's weights."""
    return initialise(mlp(SIZES, NETWORKS[network]))


def measure(
    learning_rates: Sequence[float] = (0.03, 0.1, 0.3, 1.0, 3.0),
    seeds: Sequence[int] = range(20),
    epochs: int = 6,
    batch_size: int = 32,
) -> Grid:
    """Train five hidden layers of 64 on the digits: without batch norm, with it, and with noise after it.

    Args:
        learning_rates: the same for all networks.
        seeds: each draws the split, the initial weights and the order of the examples.
        epochs: passes.
        batch_size: examples a step.

    Returns:
        Accuracies by network of NETWORKS, on ("validation", to choose the rate by; "test"), seed, lr.
    """

    def one(network: str, seed: int, lr: float) -> tuple[float, float]:
        data = digits(seed)
        torch.manual_seed(seed)
        model = build(network)
        train(model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
        return accuracy(model, data, on="validation"), accuracy(model, data)

    axes = {"network": NETWORKS, "seed": seeds, "lr": learning_rates}
    return grid(one, axes, {"on": ("validation", "test")}, epochs=epochs, batch_size=batch_size)


def main() -> Path:
    """Measure at full size, and store it."""
    return stored.save("noisy", measure())


def best(results: Grid) -> int:
    """The place in lr of the rate with the best mean validation accuracy, for one network."""
    return int(results.at(on="validation").array.mean(0).argmax())


def draw(results: Grid) -> Figure:
    """Test accuracy against the learning rate: medians, and bands over the seeds."""
    with figure() as (fig, ax):
        for name, runs in results.at(on="test").items():
            band(ax, results.axes["lr"], runs, name)
        ax.set(xscale="log", ylim=(0, 1.02), xlabel="learning rate", ylabel="test accuracy")
        ax.set_xticks(results.axes["lr"], [f"{rate:g}" for rate in results.axes["lr"]])
        ax.minorticks_off()
        fig.legend(loc="outside upper center", ncols=2)
    return fig
