"""Batch norm whose statistics are taken out of the graph (chapter: The gradient)."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from normcore.data import digits
from normcore.models import mlp
from normcore.plotting import band, figure
from normcore.training import train

__all__ = ["VARIANTS", "DetachedBatchNorm", "draw", "measure"]

SIZES = (64, 64, 64, 64, 64, 64, 10)
# name → what is taken out of the graph
VARIANTS = {"right": (), "variance": ("variance",), "mean": ("mean",), "both": ("mean", "variance")}


class DetachedBatchNorm(nn.BatchNorm1d):
    """Batch norm, wrong in its gradient alone: μ, σ² or both are treated as constants.

    Args:
        num_features: C.
        detached: of "mean" and "variance".
    """

    def __init__(self, num_features: int, detached: Sequence[str]) -> None:
        super().__init__(num_features)
        self.detached = frozenset(detached)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        with torch.no_grad():
            super().forward(input)  # moves the running averages
        mean, var = input.mean(0), input.var(0, correction=0)
        if "mean" in self.detached:
            mean = mean.detach()
        if "variance" in self.detached:
            var = var.detach()
        return (input - mean) * torch.rsqrt(var + self.eps) * self.weight + self.bias


def measure(
    lr: float, seeds: Sequence[int] = range(5), epochs: int = 6, batch_size: int = 32
) -> dict[str, dict[str, np.ndarray]]:
    """Train a network with five hidden layers of 64 on the digits, with the right gradient and wrong ones.

    Args:
        lr: learning rate of plain stochastic gradient descent.
        seeds: each draws the split, the initial weights and the order of the examples.
        epochs, batch_size: of training.

    Returns:
        By variant: "loss" and "weight", the mean norm of the hidden weight matrices, after each step,
        (seeds, steps); "accuracy" on the test digits at the end, (seeds,).
    """
    results = {}
    for name, detached in VARIANTS.items():
        losses, weights, accuracies = [], [], []
        for seed in seeds:
            data, norms = digits(seed), []
            torch.manual_seed(seed)
            model = mlp(SIZES, lambda width, detached=detached: DetachedBatchNorm(width, detached))
            hidden = [m.weight for m in model if isinstance(m, nn.Linear)][:-1]

            def record(hidden=hidden, norms=norms):
                norms.append(np.mean([w.detach().norm().item() for w in hidden]))

            history = train(
                model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed, after_step=record
            )
            losses.append(history.loss)
            weights.append(norms)
            accuracies.append(history.accuracy[-1])
        results[name] = {
            "loss": np.array(losses),
            "weight": np.array(weights),
            "accuracy": np.array(accuracies),
        }
    return results


def draw(results: dict[str, dict[str, np.ndarray]], window: int = 20) -> Figure:
    """Loss, averaged over `window` steps, and length of the weights: medians and bands over the seeds."""
    labels = {"right": "right", "variance": "without σ²", "mean": "without μ", "both": "without both"}
    with figure(2, 1, (5.4, 4.6), sharex=True) as (fig, axes):
        for name, runs in results.items():
            steps = runs["loss"].shape[1] // window * window
            for ax, quantity in zip(axes, ("loss", "weight"), strict=True):
                means = runs[quantity][:, :steps].reshape(len(runs[quantity]), -1, window).mean(2)
                at = np.arange(window, steps + 1, window)
                label = labels[name] if quantity == "loss" else None
                band(ax, at, means, label, markevery=2)
        axes[0].set(ylabel="training loss")
        axes[1].set(ylabel="length of W", xlabel="step")
        fig.legend(loc="outside upper center", ncols=2)
    return fig
