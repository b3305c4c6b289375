"""The gap between training and evaluation by batch size (chapter: Training and inference)."""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import Module
from torch.nn.functional import cross_entropy

from normcore.adaptation import reestimate
from normcore.data import Split, digits
from normcore.experiments import stored
from normcore.experiments.grid import Grid, grid
from normcore.models import mlp
from normcore.plotting import band, figure
from normcore.training import train

__all__ = ["MODES", "draw", "follow", "main", "measure", "take_over", "test"]

SIZES = (64, 64, 64, 64, 10)
MODES = ("as in training", "running averages", "precise statistics")


def measure(
    batch_sizes: Sequence[int] = (2, 4, 8, 32),
    seeds: Sequence[int] = range(20),
    momenta: Sequence[float] = (0.01, 0.1, 0.99),
    lr: float = 0.1,
    epochs: int = 5,
) -> Grid:
    """Train three hidden layers of 64 with batch norm on the digits, and test them in three modes.

    Batch norm is torch's own: normcore's gives the same numbers, up to rounding, and takes longer.

    Args:
        batch_sizes: of training.
        seeds: each draws the split, the initial weights and the order of the examples.
        momenta: of the running averages.
        lr: learning rate at a batch of 32; at another size in proportion.
        epochs: of training.

    Returns:
        By mode, quantity, seed, batch_size, momentum: "accuracy" and "loss" on the test digits. "as in
        training" normalizes batches of the training's size by their own statistics; "precise statistics" are
        those of all training data under the final weights.
    """

    def one(seed: int, batch_size: int) -> list[list[tuple[float, float]]]:
        data = digits(seed)
        torch.manual_seed(seed)
        model = mlp(SIZES, nn.BatchNorm1d)
        followers = {momentum: follow(model, momentum) for momentum in momenta}
        train(model, data, lr=lr * batch_size / 32, epochs=epochs, batch_size=batch_size, seed=seed)
        as_trained = test(copy.deepcopy(model).train(), data, batch_size)
        precise = test(reestimate(copy.deepcopy(model), [data.x_train]).eval(), data, batch_size)
        found = []
        for averages in followers.values():
            take_over(model, averages)
            found.append([as_trained, test(model.eval(), data, batch_size), precise])
        return found

    along = {"momentum": momenta, "mode": MODES, "quantity": ("accuracy", "loss")}
    return grid(one, {"seed": seeds, "batch_size": batch_sizes}, along, lr=lr, epochs=epochs)


def follow(model: Module, momentum: float) -> list[nn.BatchNorm1d]:
    """Running averages beside a model's own, a layer for each of its norms: what trains does not see them.

    They move in training alone, as the model's own would with this momentum.
    """

    def move(norm: Module, inputs: tuple[Tensor]) -> None:
        if norm.training and torch.is_grad_enabled():
            beside[norm](inputs[0].detach())

    beside: dict[Module, nn.BatchNorm1d] = {
        module: nn.BatchNorm1d(module.num_features, momentum=momentum, affine=False)
        for module in model.modules()
        if isinstance(module, nn.BatchNorm1d)
    }
    for norm in beside:
        norm.register_forward_pre_hook(move)
    return list(beside.values())


def take_over(model: Module, averages: Sequence[nn.BatchNorm1d]) -> None:
    """Put the running averages of `follow` in the place of the model's own."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    for norm, moved in zip(norms, averages, strict=True):
        norm.load_state_dict(moved.state_dict(), strict=False)


def main() -> Path:
    """Measure at full size, and store it."""
    return stored.save("train_eval", measure())


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
    """Accuracy and loss against the batch size, at the middle momentum: medians, bands over the seeds."""
    momenta, batch_sizes = results.axes["momentum"], results.axes["batch_size"]
    results = results.at(momentum=momenta[len(momenta) // 2])
    with figure(2, 1, (5.4, 4.6), sharex=True) as (fig, axes):
        for mode, found in results.items():
            for ax, quantity in zip(axes, ("accuracy", "loss"), strict=True):
                band(ax, batch_sizes, found[quantity], mode if quantity == "accuracy" else None)
        axes[0].set(ylabel="test accuracy", xlabel="batch size in training")
        axes[1].set(ylabel="test loss", xlabel="batch size in training", xscale="log", ylim=(0, None))
        axes[1].set_xticks(batch_sizes, [str(b) for b in batch_sizes])
        axes[1].minorticks_off()
        fig.legend(loc="outside upper center", ncols=2)
    return fig
