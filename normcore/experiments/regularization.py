"""Batch norm and dropout as regularizers, and the variance shift between them (chapter: What it buys)."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import Module
from torch.nn.functional import cross_entropy

from normcore.adaptation import reestimate
from normcore.data import Split, digits
from normcore.experiments import stored
from normcore.experiments.grid import Grid, grid
from normcore.models import initialise
from normcore.plotting import COLORS, figure
from normcore.training import steps, train

__all__ = ["NETWORKS", "best", "build", "draw", "measure", "measure_noise", "measure_variance_shift"]

PARTS = ("train", "validation", "test")
QUANTITIES = tuple(f"{part} {kind}" for part in PARTS for kind in ("loss", "accuracy"))
# name → (batch norm, dropout)
NETWORKS = {
    "neither": (False, False),
    "batch norm": (True, False),
    "dropout": (False, True),
    "both": (True, True),
}


def build(network: str, dropout: float = 0.5) -> nn.Sequential:
    """One of NETWORKS: three hidden layers of 128, each linear, batch norm, ReLU, dropout; He's weights."""
    has_norm, has_dropout = NETWORKS[network]
    layers: list[Module] = []
    for fan_in in (64, 128, 128):
        layers.append(nn.Linear(fan_in, 128))
        if has_norm:
            layers.append(nn.BatchNorm1d(128))
        layers.append(nn.ReLU())
        if has_dropout:
            layers.append(nn.Dropout(dropout))
    return initialise(nn.Sequential(*layers, nn.Linear(128, 10)))


def measure(
    learning_rates: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0),
    seeds: Sequence[int] = range(20),
    passes: Sequence[int] = (40, 150),
    examples: int = 200,
    dropout: float = 0.5,
    batch_size: int = 20,
) -> Grid:
    """Train three hidden layers of 128 on few digits; of the others all but 224 are for testing.

    Args:
        learning_rates: of plain gradient descent, the same for all networks.
        seeds: each draws the split, the initial weights and the order of the examples.
        passes: over the training data, in rising order, after which a network is tested.
        examples: to train on.
        dropout: probability that a unit is left out.
        batch_size: examples a step.

    Returns:
        By network of NETWORKS, quantity of QUANTITIES, seed, lr, passes; all in evaluation. A loss that is
        not finite ends a run; its losses are inf from there on.
    """

    def one(network: str, seed: int, lr: float) -> list[tuple[float, ...]]:
        data, found = _few(seed, examples), []
        tests = [count * (examples // batch_size) for count in passes]
        torch.manual_seed(seed)
        model = build(network, dropout)
        how = {"lr": lr, "epochs": max(passes), "batch_size": batch_size, "seed": seed}
        for step, loss in enumerate(steps(model, data, **how), 1):
            if step in tests:
                found.append(_test(model.eval(), data))
            if not np.isfinite(loss):
                break
        return found + [_test(model.eval(), data)] * (len(passes) - len(found))

    axes = {"network": NETWORKS, "seed": seeds, "lr": learning_rates}
    along = {"passes": passes, "quantity": QUANTITIES}
    return grid(one, axes, along, examples=examples, dropout=dropout, batch_size=batch_size)


def main() -> Path:
    """Measure at full size, and store it."""
    return stored.save("regularization", measure())


def best(results: Grid, by: str = "accuracy") -> int:
    """The place in lr of the rate that the validation data choose, for one network.

    A network is most accurate at another rate than that of its least loss: what is compared, chooses.

    Args:
        results: of one network, after one number of passes.
        by: "accuracy", the highest mean over the seeds; or "loss", the least geometric mean.
    """
    runs = results[f"validation {by}"]
    return int(runs.mean(0).argmax() if by == "accuracy" else np.log(runs).mean(0).argmin())


def measure_variance_shift(
    seeds: Sequence[int] = range(10),
    examples: int = 200,
    dropout: float = 0.5,
    lr: float = 0.1,
    epochs: int = 40,
    batch_size: int = 20,
) -> Grid:
    """What dropout does to the running variance of the batch norms after it; arguments as of `measure`.

    Returns:
        By seed, layer: the running variance after training with both, over that of the same inputs without
        dropout, averaged over units.
    """

    def one(seed: int) -> list[float]:
        data = _few(seed, examples)
        torch.manual_seed(seed)
        model = build("both", dropout)
        train(model, data, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
        with_dropout = _variances(model)
        reestimate(model, [data.x_train])  # with dropout off
        return [a / b for a, b in zip(with_dropout, _variances(model), strict=True)]

    settings = {"examples": examples, "dropout": dropout, "lr": lr, "epochs": epochs}
    return grid(one, {"seed": seeds}, {"layer": count(1)}, batch_size=batch_size, **settings)


def _variances(model: Module) -> list[float]:
    return [v.mean().item() for name, v in model.named_buffers() if name.endswith("running_var")]


def _few(seed: int, examples: int) -> Split:
    whole = digits(seed)
    x = whole.x_train.split([examples, len(whole.x_train) - examples])
    y = whole.y_train.split([examples, len(whole.y_train) - examples])
    return Split(
        x[0], y[0], whole.x_validation, whole.y_validation,
        torch.cat([x[1], whole.x_test]), torch.cat([y[1], whole.y_test]),
    )  # fmt: skip


@torch.no_grad()
def _test(model: Module, data: Split) -> tuple[float, ...]:
    found: list[float] = []
    for part in PARTS:
        y = getattr(data, f"y_{part}")
        logits = model(getattr(data, f"x_{part}"))
        loss = cross_entropy(logits, y).item()
        found += [loss if np.isfinite(loss) else np.inf, (logits.argmax(1) == y).float().mean().item()]
    return tuple(found)


def draw(results: Grid) -> Figure:
    """Training and test loss of each network, a panel for each budget, at the rate of least validation loss.

    One dot a seed, a bar at the median.
    """
    passes = results.axes["passes"]
    parts = (("train", "training", "orange", "s", -0.15), ("test", "test", "blue", "o", 0.15))
    with figure(len(passes), 1, (5.4, 0.7 + 2.0 * len(passes)), squeeze=False, sharex=True) as (fig, axes):
        for ax, budget in zip(axes.flat, passes, strict=True):
            networks = results.at(passes=budget)
            for part, label, color, marker, offset in parts:
                kind = f"{part} loss"
                losses = np.array([found[kind][:, best(found, "loss")] for found in networks.values()])
                rows = np.arange(len(networks)) + offset
                ax.plot(
                    losses.ravel(), rows.repeat(losses.shape[1]), marker=marker, linestyle="", alpha=0.5,
                    color=COLORS[color], label=label,
                )  # fmt: skip
                ax.plot(
                    np.median(losses, 1), rows, marker="|", linestyle="", markersize=14, color=COLORS[color]
                )
            ax.set_yticks(range(len(networks)), list(networks))
            ax.set(xscale="log", xlabel="loss", ylabel=f"after {budget} passes", ylim=(3.5, -0.5))
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return fig


def measure_noise(
    batch_sizes: Sequence[int] = (4, 8, 16, 32, 64, 128), seeds: Sequence[int] = range(20), draws: int = 200
) -> Grid:
    """How much the normalized output of one example depends on its company.

    The inputs are what a random linear map makes of the digits. An example is put into `draws` random
    batches; the standard deviation of its x̂ over them, root mean square over 20 examples and 64 units.

    Returns:
        By seed, batch_size.
    """

    def one(seed: int) -> list[float]:
        rng, found = torch.Generator().manual_seed(seed), []
        x = digits(seed).x_train.double()
        a = x @ torch.randn(64, 64, generator=rng, dtype=torch.float64)
        examples, rest = (a - a.mean(0)).split([20, len(a) - 20])  # centred, for the square's sake
        for size in batch_sizes:
            drawn = [torch.randperm(len(rest), generator=rng)[: size - 1] for _ in range(draws)]
            company = rest[torch.stack(drawn)]  # (draws, m − 1, 64)
            mean = (company.sum(1)[:, None] + examples) / size  # (draws, 20, 64)
            square = (company.square().sum(1)[:, None] + examples.square()) / size
            outputs = (examples - mean) * torch.rsqrt(square - mean.square() + 1e-5)
            found.append(outputs.var(0).mean().sqrt().item())
        return found

    return grid(one, {"seed": seeds}, {"batch_size": batch_sizes}, draws=draws)
