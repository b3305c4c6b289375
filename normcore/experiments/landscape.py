"""Loss and gradient along the step of gradient descent (chapter: Why it works)."""

from collections.abc import Sequence
from itertools import count

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import BatchNorm1d, Linear, Module
from torch.nn.functional import cross_entropy

from normcore.data import digits
from normcore.experiments.grid import Grid, grid
from normcore.experiments.noisy import build
from normcore.experiments.panels import draw_panels
from normcore.training import random_batches

__all__ = ["NETWORKS", "QUANTITIES", "SCALED", "build", "draw", "measure", "rescale"]

NETWORKS = ("no batch norm", "batch norm")
SCALED = "batch norm, weights halved"
QUANTITIES = ("loss", "gradient", "smoothness")


def rescale(model: Module, scale: float) -> list[float]:
    """Multiply the weights before each batch norm, all matrices but the last, by `scale`, in place.

    ε and the running variances follow, so that the function stays exactly as it was.

    Returns:
        For each parameter, the factor of its learning rate with which the network goes through the same
        functions as before: scale² for these weights, 1 for the others.
    """
    matrices = [m.weight for m in model.modules() if isinstance(m, Linear)][:-1]
    with torch.no_grad():
        for weight in matrices:
            weight *= scale
    for module in model.modules():
        if isinstance(module, BatchNorm1d):
            module.eps *= scale**2
            module.get_buffer("running_var").mul_(scale**2)
    return [scale**2 if any(p is w for w in matrices) else 1.0 for p in model.parameters()]


def measure(
    lr: float = 0.1,
    lengths: Sequence[float] = (0.05, 0.1, 0.2, 0.4),
    seeds: Sequence[int] = range(5),
    steps: int = 168,
    every: int = 14,
    batch_size: int = 32,
) -> Grid:
    """Train with and without batch norm, and look ahead along the step at every few steps.

    With g the gradient at w on a batch, and w′ = w − t g for each length t, all on the same batch:

        loss         largest L(w′) − smallest L(w′)
        gradient     largest ‖∇L(w′) − g‖ / ‖g‖
        smoothness   largest ‖∇L(w′) − g‖ / ‖w′ − w‖

    A third network is the second with the weights before batch norm halved and their rates divided by four:
    w′ = w − t r g, r the factors of `rescale`.

    Args:
        lr: of training, the same for both.
        lengths: t.
        seeds: each draws the split, the initial weights and the order of the examples.
        steps, every: steps of training, and between two measurements.
        batch_size: examples a step.

    Returns:
        By network of NETWORKS and SCALED, quantity of QUANTITIES, seed, step.

    Source: Santurkar et al. (2018), section 3.2 and figure 4.
    """

    def one(network: str, seed: int) -> list[tuple[float, ...]]:
        data, found = digits(seed), []
        torch.manual_seed(seed)
        scaled = network == SCALED
        model = build("batch norm" if scaled else network).train()
        factors = rescale(model, 0.5 if scaled else 1.0)
        sizes = [p.numel() for p in model.parameters()]
        rates = torch.tensor(factors).repeat_interleave(torch.tensor(sizes))
        for step, (x, y) in enumerate(random_batches(data, count=steps, batch_size=batch_size, seed=seed)):
            start = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
            _, g = _loss_and_gradient(model, x, y)
            if step % every == 0:
                found.append(_ahead(model, x, y, start, g, rates, lengths))
            _move(model, start - lr * rates * g)
        return found

    along = {"step": count(0, every), "quantity": QUANTITIES}
    settings = {"lr": lr, "lengths": tuple(lengths), "batch_size": batch_size}
    return grid(one, {"network": (*NETWORKS, SCALED), "seed": seeds}, along, **settings)


def _ahead(
    model: Module, x: Tensor, y: Tensor, start: Tensor, g: Tensor, rates: Tensor, lengths: Sequence[float]
) -> tuple[float, ...]:
    losses, changes = [], []
    for t in lengths:
        _move(model, start - t * rates * g)
        loss, ahead = _loss_and_gradient(model, x, y)
        losses.append(loss)
        changes.append((ahead - g).norm().item())
    gone = (rates * g).norm().item()
    ratios = [c / (t * gone) for c, t in zip(changes, lengths, strict=True)]
    return max(losses) - min(losses), max(changes) / g.norm().item(), max(ratios)


def _loss_and_gradient(model: Module, x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    loss = cross_entropy(model(x), y)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return loss.item(), torch.cat([g.flatten() for g in gradients])


def _move(model: Module, vector: Tensor) -> None:
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(vector, model.parameters())


def draw(results: Grid) -> Figure:
    """The three quantities against the step: medians, and bands over the seeds."""
    labels = {"loss": "range of the loss", "gradient": "change of gradient", "smoothness": "smoothness Λ"}
    return draw_panels(results, labels)
