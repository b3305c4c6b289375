"""Noise after batch norm, so that distributions shift at every step (chapter: Why it works)."""

from collections.abc import Callable, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from normcore import nn
from normcore.data import digits
from normcore.experiments.grid import Grid, grid
from normcore.models import SIZES, initialise, mlp
from normcore.plotting import band, figure
from normcore.training import accuracy, train

__all__ = ["NETWORKS", "NoisyBatchNorm", "build", "draw", "measure"]

NETWORKS = ("none", "batch norm", "noisy batch norm")


class NoisyBatchNorm(nn.BatchNorm1d):
    """Batch norm, and then, in training, noise of another distribution at every step and for every unit.

        y + m + s z,   z standard normal, drawn for each value;
        m uniform in [−a, a] and s uniform in [0, a], drawn for each unit and step

    So no unit's distribution is the same at two steps: covariate shift on purpose.

    Source: after Santurkar et al. (2018), section 2.1.
    """

    def __init__(self, num_features: int, amount: float = 1.0) -> None:
        super().__init__(num_features)
        self.amount = amount

    def forward(self, input: Tensor) -> Tensor:
        y = super().forward(input)
        if not self.training:
            return y
        mean = (2 * torch.rand(y.shape[1]) - 1) * self.amount
        return y + mean + torch.rand(y.shape[1]) * self.amount * torch.randn_like(y)


def build(network: str, amount: float = 1.0) -> torch.nn.Sequential:
    """One of NETWORKS: five hidden layers of 64, He's weights."""
    makers: dict[str, Callable[[int], torch.nn.Module] | None] = {
        "none": None,
        "batch norm": nn.BatchNorm1d,
        "noisy batch norm": lambda width: NoisyBatchNorm(width, amount),
    }
    return initialise(mlp(SIZES, makers[network]))


def measure(
    learning_rates: Sequence[float] = (0.03, 0.1, 0.3, 1.0),
    seeds: Sequence[int] = range(5),
    epochs: int = 6,
    batch_size: int = 32,
    amount: float = 1.0,
) -> Grid:
    """Train five hidden layers of 64 on the digits: without batch norm, with it, and with noise after it.

    Returns:
        Accuracies by network of NETWORKS, on ("validation", to choose by; "test"), seed, lr.
    """

    def one(network: str, seed: int, lr: float) -> tuple[float, float]:
        data = digits(seed)
        torch.manual_seed(seed)
        model = build(network, amount)
        train(model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
        return accuracy(model, data, on="validation"), accuracy(model, data)

    axes = {"network": NETWORKS, "seed": seeds, "lr": learning_rates}
    return grid(
        one, axes, {"on": ("validation", "test")}, epochs=epochs, batch_size=batch_size, amount=amount
    )


def draw(results: Grid) -> Figure:
    """Test accuracy against the learning rate: medians, and bands over the seeds."""
    with figure() as (fig, ax):
        for name, runs in results.at(on="test").items():
            band(ax, results.axes["lr"], runs, name)
        ax.set(xscale="log", ylim=(0, 1.02), xlabel="learning rate", ylabel="test accuracy")
        fig.legend(loc="outside upper center", ncols=3)
    return fig
