"""Nearest neighbours on rental cars, with and without scaling (chapter: Scaling inputs)."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from normcore.data import car_rentals
from normcore.experiments.grid import Grid, grid
from normcore.plotting import COLORS, figure

__all__ = ["draw", "measure", "nearest_neighbour_error"]

# Statistics of the training data → the scaled inputs.
Scaling = Callable[[Tensor, Tensor], Tensor]


def measure(
    scalings: Mapping[str, Scaling], seeds: Sequence[int] = range(20), count: int = 300, k: int = 5
) -> Grid:
    """Mean absolute error, in euros, of predicting a car's price by its k nearest neighbours.

    Args:
        scalings: by name, functions (train, x) → x scaled with the statistics of train.
        seeds: each draws `count` cars to learn from and `count` to test on.
        count: cars of each.
        k: neighbours that are averaged.

    Returns:
        The errors by scaling, seed.
    """

    def one(scaling: str, seed: int) -> float:
        x, price = car_rentals(2 * count, seed)
        train, test = x[:count], x[count:]
        scale = scalings[scaling]
        return nearest_neighbour_error(
            scale(train, train), price[:count], scale(train, test), price[count:], k
        )

    return grid(one, {"scaling": scalings, "seed": seeds}, count=count, k=k)


def nearest_neighbour_error(x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor, k: int) -> float:
    """Mean absolute error of the average target of the k nearest neighbours, in Euclidean distance."""
    nearest = torch.cdist(x_test, x).topk(k, largest=False).indices
    return (y[nearest].mean(1) - y_test).abs().mean().item()


def draw(errors: Mapping[str, np.ndarray], floor: float | None = None) -> Figure:
    """One row a scaling, one dot a seed, a bar at the median; a line at the floor, where one is given."""
    with figure(size=(5.4, 0.55 * len(errors) + 0.9)) as (fig, ax):
        for row, values in enumerate(errors.values()):
            ax.plot(values, [row] * len(values), marker="o", linestyle="", alpha=0.6, color=COLORS["blue"])
            ax.plot([np.median(values)], [row], marker="|", markersize=18, color=COLORS["orange"])
        if floor is not None:
            ax.axvline(floor, color=COLORS["grey"], linestyle="--", linewidth=1)
            ax.annotate(
                "floor", (floor, 1), (-3, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
                ha="center", va="bottom", fontsize=9,
            )  # fmt: skip
        ax.set_yticks(range(len(errors)), list(errors))
        ax.set(xlabel="mean absolute error, € a day", xlim=(0, None), ylim=(len(errors) - 0.5, -0.5))
    return fig
