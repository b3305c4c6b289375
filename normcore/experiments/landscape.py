"""Loss and gradient along the step of gradient descent (chapter: Why it works)."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn.functional import cross_entropy

from normcore import nn as norms
from normcore.data import digits
from normcore.experiments.speed import SIZES, initialise
from normcore.models import mlp
from normcore.plotting import band, figure

__all__ = ["QUANTITIES", "draw", "measure"]

QUANTITIES = ("loss", "gradient", "smoothness")


def measure(
    lr: float = 0.1,
    lengths: Sequence[float] = (0.05, 0.1, 0.2, 0.4),
    seeds: Sequence[int] = range(5),
    steps: int = 168,
    every: int = 7,
    batch_size: int = 32,
) -> dict[str, dict[str, np.ndarray]]:
    """Train with and without batch norm, and look ahead along the gradient at every few steps.

    With g the gradient at w on a batch, and w′ = w − t g for each length t, all on the same batch:

        loss         largest L(w′) − smallest L(w′)
        gradient     largest ‖∇L(w′) − g‖ / ‖g‖
        smoothness   largest ‖∇L(w′) − g‖ / ‖w′ − w‖

    Args:
        lr: of training, the same for both.
        lengths: t.
        seeds: each draws the split, the initial weights and the order of the examples.
        steps, every: steps of training, and between two measurements.
        batch_size: examples a step.

    Returns:
        By network ("without", "with"), by quantity, (seeds, measurements).

    Source: Santurkar et al. (2018), section 3.2 and figure 4.
    """
    results = {}
    for name, norm in (("without", None), ("with", norms.BatchNorm1d)):
        runs = []
        for seed in seeds:
            data = digits(seed)
            torch.manual_seed(seed)
            model = initialise(mlp(SIZES, norm)).train()
            parameters = list(model.parameters())
            generator = torch.Generator().manual_seed(seed)
            rows = []
            for step in range(steps):
                batch = torch.randint(len(data.x_train), (batch_size,), generator=generator)
                x, y = data.x_train[batch], data.y_train[batch]

                def loss_and_gradient(x=x, y=y, model=model, parameters=parameters):
                    loss = cross_entropy(model(x), y)
                    gradients = torch.autograd.grad(loss, parameters)
                    return loss.item(), torch.cat([g.flatten() for g in gradients])

                _, g = loss_and_gradient()
                start = torch.nn.utils.parameters_to_vector(parameters).detach()
                if step % every == 0:
                    losses, changes = [], []
                    for t in lengths:
                        _move(start - t * g, parameters)
                        loss, ahead = loss_and_gradient()
                        losses.append(loss)
                        changes.append((ahead - g).norm().item())
                    ratios = [c / (t * g.norm().item()) for c, t in zip(changes, lengths, strict=True)]
                    rows.append((max(losses) - min(losses), max(changes) / g.norm().item(), max(ratios)))
                _move(start - lr * g, parameters)
            runs.append(rows)
        array = np.array(runs)
        results[name] = {quantity: array[..., k] for k, quantity in enumerate(QUANTITIES)}
    return results


def _move(vector, parameters) -> None:
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(vector, parameters)


def draw(results: dict[str, dict[str, np.ndarray]], every: int = 7) -> Figure:
    """The three quantities against the step: medians, and bands over the seeds."""
    labels = {"loss": "range of the loss", "gradient": "change of gradient", "smoothness": "effective β"}
    with figure(3, 1, (5.4, 5.6), sharex=True) as (fig, axes):
        for name, found in results.items():
            for ax, quantity in zip(axes, QUANTITIES, strict=True):
                runs = found[quantity]
                steps = np.arange(runs.shape[1]) * every
                label = f"{name} batch norm" if quantity == "loss" else None
                band(ax, steps, runs, label, markevery=4)
                ax.set(ylabel=labels[quantity], yscale="log")
        axes[-1].set_xlabel("step")
        fig.legend(loc="outside upper center", ncols=2)
    return fig
