"""Covariate shift in both of its published senses (chapter: Why it works)."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import Module
from torch.nn.functional import cross_entropy

from normcore import nn as norms
from normcore.data import digits
from normcore.experiments.speed import SIZES, initialise
from normcore.models import mlp
from normcore.plotting import band, figure

__all__ = ["draw", "gradient_change", "input_change", "measure"]


def measure(
    lr: float = 0.1, seeds: Sequence[int] = range(5), steps: int = 168, every: int = 7, batch_size: int = 32
) -> dict[str, dict[str, np.ndarray]]:
    """Train with and without batch norm, and measure the shift that each step causes, at the third layer.

    Returns:
        By network ("without", "with"), by sense, (seeds, measurements): "inputs", `input_change` of one
        step; "gradients" and "cosine", `gradient_change` of one step.
    """
    results = {}
    for name, norm in (("without", None), ("with", norms.BatchNorm1d)):
        found: dict[str, list] = {"inputs": [], "gradients": [], "cosine": []}
        for seed in seeds:
            data = digits(seed)
            torch.manual_seed(seed)
            model = initialise(mlp(SIZES, norm)).train()
            generator = torch.Generator().manual_seed(seed)
            rows = []
            for step in range(steps):
                batch = torch.randint(len(data.x_train), (batch_size,), generator=generator)
                x, y = data.x_train[batch], data.y_train[batch]
                measured = step % every == 0
                before = inputs_of(model, data.x_train) if measured else None
                if measured:
                    gradients = gradient_change(model, x, y, lr)
                loss = cross_entropy(model(x), y)
                parameters = list(model.parameters())
                with torch.no_grad():
                    for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                        p -= lr * g
                if measured:
                    rows.append((input_change(before, inputs_of(model, data.x_train)), *gradients))
            for quantity, values in zip(found, zip(*rows, strict=True), strict=True):
                found[quantity].append(values)
        results[name] = {quantity: np.array(values) for quantity, values in found.items()}
    return results


LAYER = 2  # of the linear maps, from 0


def _linear(model: Module) -> list[int]:
    return [i for i, module in enumerate(model) if isinstance(module, nn.Linear)]


@torch.no_grad()
def inputs_of(model: Module, x: Tensor) -> Tensor:
    """What the third linear map receives, for each example of x."""
    averages = {k: v.clone() for k, v in model.named_buffers()}
    h = model[: _linear(model)[LAYER]](x)
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


def gradient_change(model: Module, x: Tensor, y: Tensor, lr: float) -> tuple[float, float]:
    """How much a layer's gradient changes because the layers before it took their step.

        ‖G − G′‖ / ‖G‖  and  <G, G′> / (‖G‖ ‖G′‖)

    G is the third layer's gradient; G′ is its gradient after the parameters of all earlier layers, and of
    those alone, took a step.

    Source: Santurkar et al. (2018), definition 2.1.
    """
    cut = _linear(model)[LAYER]
    weight = model[cut].weight
    earlier = [p for module in model[:cut] for p in module.parameters()]
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


def draw(results: dict[str, dict[str, np.ndarray]], every: int = 7) -> Figure:
    """Both senses against the step: medians, and bands over the seeds."""
    labels = {"inputs": "inputs: Δμ/σ", "gradients": "gradient: relative change"}
    with figure(2, 1, (5.4, 4.4), sharex=True) as (fig, axes):
        for name, found in results.items():
            for ax, quantity in zip(axes, labels, strict=True):
                runs = found[quantity]
                steps = np.arange(runs.shape[1]) * every
                label = f"{name} batch norm" if quantity == "inputs" else None
                band(ax, steps, runs, label, markevery=4)
                ax.set(ylabel=labels[quantity], yscale="log")
        axes[-1].set_xlabel("step")
        fig.legend(loc="outside upper center", ncols=2)
    return fig
