"""The gap between training and evaluation by batch size (chapter: Training and inference)."""

import copy
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch.nn import Module
from torch.nn.functional import cross_entropy

from normcore import nn
from normcore.adaptation import reestimate
from normcore.data import Split, digits
from normcore.experiments.grid import Grid, grid
from normcore.models import mlp
from normcore.plotting import band, figure
from normcore.training import train

__all__ = ["MODES", "draw", "measure", "test"]

SIZES = (64, 64, 64, 64, 10)
MODES = ("as in training", "running averages", "precise statistics")


def measure(
    batch_sizes: Sequence[int] = (2, 4, 8, 32),
    seeds: Sequence[int] = range(5),
    lr: float = 0.1,
    epochs: int = 5,
    momentum: float = 0.1,
) -> Grid:
    """Train three hidden layers of 64 with batch norm on the digits, and test them in three modes.

    Args:
        batch_sizes: of training.
        seeds: each draws the split, the initial weights and the order of the examples.
        lr: learning rate at a batch of 32; at another size in proportion.
        epochs: of training.
        momentum: of the running averages.

    Returns:
        By mode, quantity, seed, batch_size: "accuracy" and "loss" on the test digits. "as in training"
        normalizes batches of the training's size by their own statistics; "precise statistics" are those of
        all training data under the final weights.
    """

    def one(seed: int, batch_size: int) -> list[tuple[float, float]]:
        data = digits(seed)
        torch.manual_seed(seed)
        model = mlp(SIZES, lambda width: nn.BatchNorm1d(width, momentum=momentum))
        train(model, data, lr=lr * batch_size / 32, epochs=epochs, batch_size=batch_size, seed=seed)
        return [
            test(copy.deepcopy(model).train(), data, batch_size),
            test(model.eval(), data, batch_size),
            test(reestimate(model, [data.x_train]).eval(), data, batch_size),
        ]

    along = {"mode": MODES, "quantity": ("accuracy", "loss")}
    return grid(
        one, {"seed": seeds, "batch_size": batch_sizes}, along, lr=lr, epochs=epochs, momentum=momentum
    )


@torch.no_grad()
def test(model: Module, data: Split, batch_size: int) -> tuple[float, float]:
    """Accuracy and mean cross-entropy on the test data, in the mode that the model is in.

    Examples come in batches of `batch_size`; those left over at the end are not used.
    """
    count = len(data.x_test) // batch_size * batch_size
    logits = torch.cat([model(batch) for batch in data.x_test[:count].split(batch_size)])
    targets = data.y_test[:count]
    return (logits.argmax(1) == targets).float().mean().item(), cross_entropy(logits, targets).item()


def draw(results: Grid) -> Figure:
    """Loss and accuracy against the batch size: medians and bands over the seeds."""
    batch_sizes = results.axes["batch_size"]
    with figure(2, 1, (5.4, 4.6), sharex=True) as (fig, axes):
        for mode, found in results.items():
            for ax, quantity in zip(axes, ("accuracy", "loss"), strict=True):
                band(ax, batch_sizes, found[quantity], mode if quantity == "accuracy" else None)
        axes[0].set(ylabel="test accuracy", ylim=(0, 1.02))
        axes[1].set(ylabel="test loss", xlabel="batch size in training", xscale="log", ylim=(0, None))
        axes[1].set_xticks(batch_sizes, [str(b) for b in batch_sizes])
        axes[1].minorticks_off()
        fig.legend(loc="outside upper center", ncols=2)
    return fig
