"""Covariate shift in both of its published senses (chapter: Why it works)."""

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

__all__ = ["build", "draw", "gradient_change", "input_change", "measure"]

NETWORKS = {"without": None, "with": norms.BatchNorm1d}
LAYER = 2  # of the linear maps, from 0


def build(network: str) -> nn.Sequential:
    """One of NETWORKS: five hidden layers of 64, He's weights."""
    return initialise(mlp(SIZES, NETWORKS[network]))


def measure(
    lr: float = 0.1, seeds: Sequence[int] = range(5), steps: int = 168, every: int = 7, batch_size: int = 32
) -> Grid:
    """Train with and without batch norm, and measure the shift that each step causes, at the third layer.

    Returns:
        By network of NETWORKS, quantity, seed, step: "inputs", `input_change` of one step; "gradients" and
        "cosine", `gradient_change` of one step.
    """

    def one(network: str, seed: int) -> list[tuple[float, float, float]]:
        data, found = digits(seed), []
        torch.manual_seed(seed)
        model = build(network).train()
        for step, (x, y) in enumerate(random_batches(data, count=steps, batch_size=batch_size, seed=seed)):
            if step % every:
                _descend(model, x, y, lr)
                continue
            before, of_gradient = inputs_of(model, data.x_train), gradient_change(model, x, y, lr)
            _descend(model, x, y, lr)
            found.append((input_change(before, inputs_of(model, data.x_train)), *of_gradient))
        return found

    along = {"step": count(0, every), "quantity": ("inputs", "gradients", "cosine")}
    return grid(one, {"network": NETWORKS, "seed": seeds}, along, lr=lr, batch_size=batch_size)


def _descend(model: Module, x: Tensor, y: Tensor, lr: float) -> None:
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(cross_entropy(model(x), y), parameters)
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            p -= lr * g


def _split(model: nn.Sequential) -> tuple[nn.Sequential, nn.Linear]:
    """What stands before the layer that is looked at, and the layer."""
    modules = list(model)
    place, layer = [(i, m) for i, m in enumerate(modules) if isinstance(m, nn.Linear)][LAYER]
    return nn.Sequential(*modules[:place]), layer


@torch.no_grad()
def inputs_of(model: nn.Sequential, x: Tensor) -> Tensor:
    """What the third linear map receives, for each example of x."""
    averages = {k: v.clone() for k, v in model.named_buffers()}
    before, _ = _split(model)
    h = before(x)
    for k, v in model.named_buffers():
        v.copy_(averages[k])
    return h


def input_change(before: Tensor, after: Tensor) -> float:
    """How far the distribution of a layer's inputs moved: root mean square over the units of Δμ/σ.

    The sense of Ioffe and Szegedy (2015): the distribution of each unit over the data, summarised by its
    mean. Units that are constant are left out.
    """
    deviation = before.std(0)
    alive = deviation > 1e-6
    return ((after.mean(0) - before.mean(0))[alive] / deviation[alive]).square().mean().sqrt().item()


def gradient_change(model: nn.Sequential, x: Tensor, y: Tensor, lr: float) -> tuple[float, float]:
    """How much a layer's gradient changes because the layers before it took their step.

        ‖G − G′‖ / ‖G‖  and  <G, G′> / (‖G‖ ‖G′‖)

    G is the third layer's gradient; G′ is its gradient after the parameters of all earlier layers, and of
    those alone, took a step.

    Source: Santurkar et al. (2018), definition 2.1.
    """
    before, layer = _split(model)
    weight, earlier = layer.weight, list(before.parameters())
    averages = {k: v.clone() for k, v in model.named_buffers()}
    loss = cross_entropy(model(x), y)
    g, *of_earlier = torch.autograd.grad(loss, [weight, *earlier])
    kept = [p.detach().clone() for p in earlier]
    with torch.no_grad():
        for p, d in zip(earlier, of_earlier, strict=True):
            p -= lr * d
    (moved,) = torch.autograd.grad(cross_entropy(model(x), y), weight)
    with torch.no_grad():
        for p, k in zip(earlier, kept, strict=True):
            p.copy_(k)
        for k, v in model.named_buffers():
            v.copy_(averages[k])
    change = ((g - moved).norm() / g.norm()).item()
    return change, nn.functional.cosine_similarity(g.flatten(), moved.flatten(), dim=0).item()


def draw(results: Grid) -> Figure:
    """Both senses against the step: medians, and bands over the seeds."""
    return draw_panels(results, {"inputs": "inputs: Δμ/σ", "gradients": "gradient: relative change"})
