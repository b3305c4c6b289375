"""Steps to a fixed accuracy from good and bad initial weights (chapter: What it buys)."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from normcore.experiments import speed, stored
from normcore.experiments.grid import Grid
from normcore.plotting import figure

__all__ = ["NETWORKS", "STARTS", "build", "draw", "main", "measure"]

NETWORKS = ("without", "before")
SCALES = (0.1, 0.3, 1.0, 3.0, 10.0)
# name → activation, weights in units of He's, and whether they are centred
STARTS = {f"ReLU, {scale:g} × He's": (nn.ReLU, scale, False) for scale in SCALES} | {
    "sigmoid, He's": (nn.Sigmoid, 1.0, False),
    "sigmoid, variance 16/n, centred": (nn.Sigmoid, 8**0.5, True),
}
# wide: before batch norm, weights a times as large take a step a² times as long for the same change
RATES = (0.0001, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def build(network: str, start: str = "ReLU, 1 × He's") -> nn.Sequential:
    """One of NETWORKS, from one of STARTS."""
    return speed.build(network, *STARTS[start])


def measure(
    learning_rates: Sequence[float] = RATES,
    seeds: Sequence[int] = range(20),
    starts: Iterable[str] = STARTS,
    target: float = 0.9,
    epochs: int = 10,
    batch_size: int = 32,
    every: int = 3,
) -> Grid:
    """Train five hidden layers of 64 on the digits by plain gradient descent, until a target is reached.

    Args:
        learning_rates: the same for both networks and all starts.
        seeds: each draws the split, the initial weights and the order of the examples.
        starts: of STARTS.
        target, epochs, batch_size, every: as of `speed.measure`.

    Returns:
        Steps by start, network of NETWORKS, on ("validation", "test"), seed, lr; inf where the target was not
        reached.
    """

    def make(start: str, network: str) -> tuple[nn.Module, speed.Optimizer]:
        return build(network, start), torch.optim.SGD

    axes = {"start": starts, "network": NETWORKS, "seed": seeds, "lr": learning_rates}
    return speed.sweep(make, axes, target=target, epochs=epochs, batch_size=batch_size, every=every)


def main() -> Path:
    """Measure at full size, and store it."""
    return stored.save("initialisation", measure())


def draw(results: Grid) -> Figure:
    """Steps on the test data at the rate that the validation data choose, from each scale of ReLU's weights.

    Every run is a point; those that did not arrive stand at the top.
    """
    starts = [start for start in results if STARTS[start][0] is nn.ReLU]
    scales = np.array([STARTS[start][1] for start in starts])
    with figure(size=(5.4, 3.0)) as (fig, ax):
        for k, network in enumerate(results.axes["network"]):
            runs = []
            for start in starts:
                found = results[start].at(network=network)
                runs.append(found["test"][:, speed.best(found)])
            label = speed.LABELS[network]
            speed.draw_runs(
                ax, scales * 1.08 ** (k - 0.5), np.transpose(runs), results.settings["limit"], label
            )
        ax.set(xlabel="initial weights, in units of He's", ylabel="steps to the target")
        ax.set_xticks(scales, [f"{scale:g}" for scale in scales])
        fig.legend(loc="outside upper center", ncols=2)
    return fig
