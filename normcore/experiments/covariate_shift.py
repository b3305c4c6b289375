"""Covariate shift in both of its published senses (chapter: Why it works)."""

from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import Module
from torch.nn.functional import cross_entropy

from normcore.data import digits
from normcore.experiments import noisy, stored
from normcore.experiments.grid import Grid, grid
from normcore.experiments.noisy import build
from normcore.experiments.panels import draw_panels
from normcore.plotting import figure
from normcore.training import random_batches

__all__ = [
    "NETWORKS",
    "QUANTITIES",
    "build",
    "draw",
    "draw_percentiles",
    "gradient_change",
    "input_change",
    "inputs_of",
    "main",
    "measure",
    "measure_percentiles",
    "wandering",
]

NETWORKS = tuple(noisy.NETWORKS)[:3]
QUANTITIES = ("inputs", "batches", "gradients", "cosine")
PERCENTILES = (15, 50, 85)
LAYER = 2  # of the linear maps, from 0


def measure(
    lr: float = 0.1,
    seeds: Sequence[int] = range(20),
    steps: int = 168,
    every: int = 7,
    batch_size: int = 32,
    networks: Iterable[str] = NETWORKS,
) -> Grid:
    """Train, and measure the shift that each step causes at the third layer, and that from batch to batch.

    Args:
        lr: learning rate, the same for all networks.
        seeds: each draws the split, the initial weights and the order of the examples.
        steps, every: steps of training, and between two measurements.
        batch_size: examples a step.
        networks: of NETWORKS.

    Returns:
        By network, quantity, seed, step. "inputs": `input_change` of one step, over all training examples;
        "batches": the same from one batch to another, without a step; "gradients" and "cosine":
        `gradient_change` of one step.
    """

    def one(network: str, seed: int) -> list[tuple[float, ...]]:
        data, found = digits(seed), []
        torch.manual_seed(seed)
        model = build(network).train()
        others = random_batches(data, count=steps, batch_size=batch_size, seed=seed + 1_000_003)
        batches = random_batches(data, count=steps, batch_size=batch_size, seed=seed)
        for step, ((x, y), (other, _)) in enumerate(zip(batches, others, strict=True)):
            if step % every:
                _descend(model, x, y, lr)
                continue
            before, of_gradient = inputs_of(model, data.x_train), gradient_change(model, x, y, lr)
            of_batches = input_change(inputs_of(model, x), inputs_of(model, other), before.std(0))
            _descend(model, x, y, lr)
            of_inputs = input_change(before, inputs_of(model, data.x_train))
            found.append((of_inputs, of_batches, *of_gradient))
        return found

    along = {"step": count(0, every), "quantity": QUANTITIES}
    return grid(one, {"network": networks, "seed": seeds}, along, lr=lr, batch_size=batch_size)


def main() -> Path:
    """Measure at full size, and store it."""
    return stored.save("covariate_shift", measure())


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
def _run(part: Module, x: Tensor) -> Tensor:
    """Output of a part of a network, by the statistics of x; running averages stay as they were."""
    averages = {k: v.clone() for k, v in part.named_buffers()}
    h = part(x)
    for k, v in part.named_buffers():
        v.copy_(averages[k])
    return h


def inputs_of(model: nn.Sequential, x: Tensor) -> Tensor:
    """What the third linear map receives, for each example of x."""
    before, _ = _split(model)
    return _run(before, x)


def input_change(before: Tensor, after: Tensor, deviation: Tensor | None = None) -> float:
    """How far the distribution of a layer's inputs moved: root mean square over the units of Δμ/σ.

    The sense of Ioffe and Szegedy (2015): the distribution of each unit over the data, summarised by its
    mean. Units that are constant are left out.

    Args:
        before, after: (examples, units).
        deviation: σ, (units,); that of `before` if nothing is said.
    """
    sigma = before.std(0) if deviation is None else deviation
    alive = sigma > 1e-6
    return ((after.mean(0) - before.mean(0))[alive] / sigma[alive]).square().mean().sqrt().item()


def gradient_change(model: nn.Sequential, x: Tensor, y: Tensor, lr: float) -> tuple[float, float]:
    """How much a layer's gradient changes because the layers before it took their step.

        ‖G − G′‖ / ‖G‖  and  <G, G′> / (‖G‖ ‖G′‖)

    G is the third layer's gradient; G′ is its gradient after the parameters of all earlier layers, and of
    those alone, took a step. Both from the same draw of the generator: in a network with noise, the noise is
    the same for both, and what is measured is the step.

    Source: Santurkar et al. (2018), definition 2.1, which does not divide by ‖G‖.
    """
    before, layer = _split(model)
    weight, earlier = layer.weight, list(before.parameters())
    averages = {k: v.clone() for k, v in model.named_buffers()}
    with torch.random.fork_rng(devices=()):
        loss = cross_entropy(model(x), y)
    g, *of_earlier = torch.autograd.grad(loss, [weight, *earlier])
    kept = [p.detach().clone() for p in earlier]
    with torch.no_grad():
        for p, d in zip(earlier, of_earlier, strict=True):
            p -= lr * d
    with torch.random.fork_rng(devices=()):
        ahead = cross_entropy(model(x), y)
    (moved,) = torch.autograd.grad(ahead, weight)
    with torch.no_grad():
        for p, k in zip(earlier, kept, strict=True):
            p.copy_(k)
        for k, v in model.named_buffers():
            v.copy_(averages[k])
    change = ((g - moved).norm() / g.norm()).item()
    return change, nn.functional.cosine_similarity(g.flatten(), moved.flatten(), dim=0).item()


def measure_percentiles(
    lr: float = 0.1, seeds: Sequence[int] = range(5), steps: int = 168, every: int = 7, batch_size: int = 32
) -> Grid:
    """Train without and with batch norm, and follow what each unit of the third layer hands to its ReLU.

    Returns:
        Percentiles over the training examples by network, seed, percentile of PERCENTILES, step, unit.

    Source: after Ioffe and Szegedy (2015), figure 1.
    """

    def one(network: str, seed: int) -> np.ndarray:
        data, found = digits(seed), []
        torch.manual_seed(seed)
        model = build(network).train()
        place = [i for i, m in enumerate(model) if isinstance(m, nn.ReLU)][LAYER]
        batches = random_batches(data, count=steps, batch_size=batch_size, seed=seed)
        for step, (x, y) in enumerate(batches):
            if step % every == 0:
                found.append(np.percentile(_run(model[:place], data.x_train), PERCENTILES, axis=0))
            _descend(model, x, y, lr)
        return np.array(found)

    along = {"step": count(0, every), "percentile": PERCENTILES, "unit": count()}
    return grid(one, {"network": NETWORKS[:2], "seed": seeds}, along, lr=lr, batch_size=batch_size)


def wandering(percentiles: Grid) -> np.ndarray:
    """How far each unit's median wanders in training, largest minus smallest, over its mean spread.

    Args:
        percentiles: of `measure_percentiles`, of one network.

    Returns:
        (seeds, units).
    """
    low, middle, high = (percentiles.at(percentile=p).array for p in PERCENTILES)
    return np.ptp(middle, axis=1) / (high - low).mean(1)


def draw(results: Grid) -> Figure:
    """Both senses against the step: medians, and bands over the seeds."""
    return draw_panels(results, {"inputs": "inputs: Δμ/σ", "gradients": "gradient: relative change"})


def draw_percentiles(results: Grid, seed: int = 0) -> Figure:
    """One unit's three percentiles against the step, one panel per network.

    The unit whose median wanders as far as the middle one's of all units, without batch norm.
    """
    far = wandering(results.at(network=NETWORKS[0]))[results.axes["seed"].index(seed)]
    unit = int(np.argsort(far)[len(far) // 2])
    with figure(1, 2, (5.4, 2.8), sharey=True) as (fig, axes):
        for ax, name in zip(axes, results, strict=True):
            for percentile in reversed(PERCENTILES):
                label = f"{percentile} %" if ax is axes[0] else None
                where = {"network": name, "percentile": percentile, "seed": seed, "unit": unit}
                ax.plot(results.axes["step"], results.at(**where).array, label=label, markevery=4)
            ax.set(title=name, xlabel="step")
        axes[0].set_ylabel("what the ReLU receives")
        fig.legend(loc="outside upper center", ncols=3)
    return fig
