"""Batch norm and dropout as regularizers, and the variance shift between them (chapter: What it buys)."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import Module
from torch.nn.functional import cross_entropy

from normcore import nn as norms
from normcore.adaptation import reestimate
from normcore.data import Split, digits
from normcore.experiments.speed import initialise
from normcore.plotting import COLORS, figure
from normcore.training import train

__all__ = ["NETWORKS", "draw", "measure", "measure_noise"]

# name → (batch norm, dropout)
NETWORKS = {
    "neither": (False, False),
    "batch norm": (True, False),
    "dropout": (False, True),
    "both": (True, True),
}


def measure(
    seeds: Sequence[int] = range(10),
    examples: int = 200,
    dropout: float = 0.5,
    lr: float = 0.1,
    epochs: int = 40,
    batch_size: int = 20,
) -> dict[str, dict[str, np.ndarray]]:
    """Train three hidden layers of 128 on few digits: linear, batch norm, ReLU, dropout.

    Args:
        seeds: each draws the split, the initial weights and the order of the examples.
        examples: to train on.
        dropout: probability that a unit is left out.
        lr, epochs, batch_size: of training.

    Returns:
        By network of NETWORKS, arrays (seeds,): "train loss", "train accuracy", "test loss",
        "test accuracy", all in evaluation. For "both", also "variance ratio", (seeds, norms): the running
        variance over that of the same inputs without dropout, averaged over units.
    """
    results = {}
    for name, (has_norm, has_dropout) in NETWORKS.items():
        rows: dict[str, list] = {}
        for seed in seeds:
            whole = digits(seed)
            data = Split(whole.x_train[:examples], whole.y_train[:examples], whole.x_test, whole.y_test)
            torch.manual_seed(seed)
            model = _network(has_norm, dropout if has_dropout else None)
            train(model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
            model.eval()
            for part, x, y in (
                ("train", data.x_train, data.y_train),
                ("test", data.x_test, data.y_test),
            ):
                loss, accuracy = _test(model, x, y)
                rows.setdefault(f"{part} loss", []).append(loss)
                rows.setdefault(f"{part} accuracy", []).append(accuracy)
            if has_norm and has_dropout:
                layers = [m for m in model if isinstance(m, norms.BatchNorm1d)]
                running = [layer.running_var.mean().item() for layer in layers]
                reestimate(model, [data.x_train])  # with dropout off
                ratio = [
                    r / layer.running_var.mean().item() for r, layer in zip(running, layers, strict=True)
                ]
                rows.setdefault("variance ratio", []).append(ratio)
        results[name] = {quantity: np.array(values) for quantity, values in rows.items()}
    return results


def _network(has_norm: bool, dropout: float | None) -> Module:
    layers: list[Module] = []
    for fan_in in (64, 128, 128):
        layers.append(nn.Linear(fan_in, 128))
        if has_norm:
            layers.append(norms.BatchNorm1d(128))
        layers.append(nn.ReLU())
        if dropout is not None:
            layers.append(nn.Dropout(dropout))
    return initialise(nn.Sequential(*layers, nn.Linear(128, 10)))


@torch.no_grad()
def _test(model: Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    logits = model(x)
    return cross_entropy(logits, y).item(), (logits.argmax(1) == y).float().mean().item()


def draw(results: dict[str, dict[str, np.ndarray]]) -> Figure:
    """Training and test loss of each network, one dot a seed, a bar at the median."""
    with figure(size=(5.4, 2.8)) as (fig, ax):
        for row, found in enumerate(results.values()):
            for part, color, offset in (("train", "orange", -0.13), ("test", "blue", 0.13)):
                values = found[f"{part} loss"]
                at = np.full(len(values), row + offset)
                label = {"train": "training", "test": "test"}[part] if row == 0 else None
                ax.plot(
                    values, at, marker="o" if part == "test" else "s", linestyle="", alpha=0.5,
                    color=COLORS[color], label=label,
                )  # fmt: skip
                ax.plot([np.median(values)], at[:1], marker="|", markersize=14, color=COLORS[color])
        ax.set_yticks(range(len(results)), list(results))
        ax.set(xscale="log", xlabel="loss", ylim=(len(results) - 0.5, -0.5))
        fig.legend(loc="outside upper center", ncols=2)
    return fig


def measure_noise(
    batch_sizes: Sequence[int] = (4, 8, 16, 32, 64, 128), seeds: Sequence[int] = range(5), draws: int = 200
) -> np.ndarray:
    """How much the normalized output of one example depends on its company.

    The inputs are what a random linear map makes of the digits. An example is put into `draws` random
    batches; the standard deviation of its x̂ over them, root mean square over 20 examples and 64 units.

    Returns:
        (seeds, batch sizes).
    """
    results = np.zeros((len(seeds), len(batch_sizes)))
    for i, seed in enumerate(seeds):
        rng = torch.Generator().manual_seed(seed)
        x = digits(seed).x_train.double()
        a = x @ torch.randn(64, 64, generator=rng, dtype=torch.float64)
        for j, size in enumerate(batch_sizes):
            outputs = torch.empty(draws, 20, 64, dtype=torch.float64)
            for k in range(draws):
                company = a[20:][torch.randperm(len(a) - 20, generator=rng)[: size - 1]]
                batch = torch.cat([a[:20, None], company.expand(20, -1, -1)], 1)  # (20, m, 64)
                mean, var = batch.mean(1), batch.var(1, correction=0)
                outputs[k] = (a[:20] - mean) * torch.rsqrt(var + 1e-5)
            results[i, j] = outputs.var(0).mean().sqrt().item()
    return results
