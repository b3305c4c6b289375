"""Loss and gradient along the step of gradient descent (chapter: Why it works)."""

from collections.abc import Sequence
from itertools import count

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import Module
from torch.nn.functional import cross_entropy

from normcore import nn as norms
from normcore.data import digits
from normcore.experiments.grid import Grid, grid
from normcore.experiments.panels import draw_panels
from normcore.models import SIZES, initialise, mlp
from normcore.training import random_batches

__all__ = ["QUANTITIES", "build", "draw", "measure"]

NETWORKS = {"without": None, "with": norms.BatchNorm1d}
QUANTITIES = ("loss", "gradient", "smoothness")


def build(network: str) -> nn.Sequential:
    """One of NETWORKS: five hidden layers of 64, He's weights."""
    return initialise(mlp(SIZES, NETWORKS[network]))


def measure(
    lr: float = 0.1,
    lengths: Sequence[float] = (0.05, 0.1, 0.2, 0.4),
    seeds: Sequence[int] = range(5),
    steps: int = 168,
    every: int = 7,
    batch_size: int = 32,
) -> Grid:
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
        By network of NETWORKS, quantity of QUANTITIES, seed, step.

    Source: Santurkar et al. (2018), section 3.2 and figure 4.
    """

    def one(network: str, seed: int) -> list[tuple[float, ...]]:
        data, found = digits(seed), []
        torch.manual_seed(seed)
        model = build(network).train()
        for step, (x, y) in enumerate(random_batches(data, count=steps, batch_size=batch_size, seed=seed)):
            start = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
            _, g = _loss_and_gradient(model, x, y)
            if step % every == 0:
                found.append(_ahead(model, x, y, start, g, lengths))
            _move(model, start - lr * g)
        return found

    along = {"step": count(0, every), "quantity": QUANTITIES}
    settings = {"lr": lr, "lengths": tuple(lengths), "batch_size": batch_size}
    return grid(one, {"network": NETWORKS, "seed": seeds}, along, **settings)


def _ahead(
    model: Module, x: Tensor, y: Tensor, start: Tensor, g: Tensor, lengths: Sequence[float]
) -> tuple[float, ...]:
    losses, changes = [], []
    for t in lengths:
        _move(model, start - t * g)
        loss, ahead = _loss_and_gradient(model, x, y)
        losses.append(loss)
        changes.append((ahead - g).norm().item())
    length = g.norm().item()
    ratios = [c / (t * length) for c, t in zip(changes, lengths, strict=True)]
    return max(losses) - min(losses), max(changes) / length, max(ratios)


def _loss_and_gradient(model: Module, x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    loss = cross_entropy(model(x), y)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return loss.item(), torch.cat([g.flatten() for g in gradients])


def _move(model: Module, vector: Tensor) -> None:
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(vector, model.parameters())


def draw(results: Grid) -> Figure:
    """The three quantities against the step: medians, and bands over the seeds."""
    labels = {"loss": "range of the loss", "gradient": "change of gradient", "smoothness": "effective β"}
    return draw_panels(results, labels)
