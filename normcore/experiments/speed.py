"""Steps to a fixed accuracy over a grid of learning rates and optimizers (chapter: What it buys)."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn
from torch.nn import Module

from normcore.data import Split, digits
from normcore.experiments import stored
from normcore.experiments.grid import Grid, grid
from normcore.models import SIZES, initialise, mlp
from normcore.plotting import COLORS, figure
from normcore.training import accuracy, steps

__all__ = [
    "NETWORKS",
    "OPTIMIZERS",
    "arrivals",
    "best",
    "build",
    "draw",
    "draw_runs",
    "measure",
    "measure_time",
    "sweep",
]

# name → where batch norm stands
NETWORKS = {"without": None, "before": "before", "after": "after"}
LABELS = {"without": "no batch norm", "before": "before the activation", "after": "after it"}
# name → optimizer, and its learning rate in units of plain gradient descent's: one grid then suits all three
OPTIMIZERS = {
    "SGD": (torch.optim.SGD, 1.0),
    "momentum": (partial(torch.optim.SGD, momentum=0.9), 0.1),
    "Adam": (torch.optim.Adam, 0.1),
}
PARTS = ("validation", "test")
Optimizer = Callable[..., torch.optim.Optimizer]  # made from parameters and lr


def build(
    network: str, activation: type[Module] = nn.ReLU, scale: float = 1.0, centred: bool = False
) -> nn.Sequential:
    """One of NETWORKS: five hidden layers of 64, initialised with `scale` and `centred`.

    Batch norm is torch's own: normcore's gives the same numbers, and here time counts, too.
    """
    position = NETWORKS[network]
    norm = None if position is None else nn.BatchNorm1d
    return initialise(mlp(SIZES, norm, position or "before", activation), scale, centred)


def arrivals(
    model: Module, data: Split, *, target: float, every: int, training: Callable = steps, **how
) -> tuple[float, float]:
    """Train until the accuracy on the validation data, and that on the test data, have reached a target.

    Args:
        model: to train.
        data: to train on.
        target: accuracy, by running averages.
        every: steps between two tests.
        training: `normcore.training.steps`, or what trains in its stead.
        how: its arguments; after its last step, or at a loss that is not finite, a run ends in any case.

    Returns:
        The step at which each of the two is first reached; inf for never.
    """
    found = dict.fromkeys(PARTS, np.inf)
    for step, loss in enumerate(training(model, data, **how), 1):
        if not np.isfinite(loss):
            break
        if step % every:
            continue
        for part in PARTS:
            if found[part] == np.inf and accuracy(model, data, on=part) >= target:
                found[part] = step
        if max(found.values()) < np.inf:
            break
    return found["validation"], found["test"]


def measure(
    learning_rates: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    seeds: Sequence[int] = range(20),
    optimizers: Iterable[str] = OPTIMIZERS,
    target: float = 0.9,
    epochs: int = 16,
    batch_size: int = 32,
    every: int = 2,
) -> Grid:
    """Train a network with five hidden layers of 64 on the digits until its accuracy reaches a target.

    Args:
        learning_rates: of plain gradient descent, the same for all networks; the others' are a tenth of it.
        seeds: each draws the split, the initial weights and the order of the examples.
        optimizers: of OPTIMIZERS.
        target: accuracy, by running averages.
        epochs: after which a run ends in any case.
        batch_size: examples a step.
        every: steps between two tests.

    Returns:
        Steps by optimizer, network of NETWORKS, on ("validation", to choose the rate by; "test"), seed, lr;
        inf where the target was not reached.
    """

    def make(optimizer: str, network: str) -> tuple[Module, Optimizer]:
        maker, unit = OPTIMIZERS[optimizer]
        return build(network), lambda parameters, lr: maker(parameters, lr=lr * unit)

    axes = {"optimizer": optimizers, "network": NETWORKS, "seed": seeds, "lr": learning_rates}
    return sweep(make, axes, target=target, epochs=epochs, batch_size=batch_size, every=every)


def sweep(
    make: Callable[..., tuple[Module, Optimizer]],
    axes: Mapping[str, Iterable],
    *,
    target: float,
    epochs: int,
    batch_size: int,
    every: int,
) -> Grid:
    """Steps to a target over a grid of networks, seeds and rates.

    Args:
        make: from values of the other axes by name, a network and its optimizer; the seed is set before.
        axes: of the grid; "seed" and "lr" are among them.
        target, epochs, batch_size, every: as of `measure`.

    Returns:
        By the axes, with on ("validation", "test") before seed; inf where the target was not reached.
    """

    def one(seed: int, lr: float, **place: str) -> tuple[float, float]:
        torch.manual_seed(seed)
        model, optimizer = make(**place)
        return arrivals(
            model, digits(seed), target=target, every=every, lr=lr, epochs=epochs,
            batch_size=batch_size, seed=seed, optimizer=optimizer,
        )  # fmt: skip

    return grid(
        one, axes, {"on": PARTS}, target=target, batch_size=batch_size, every=every,
        limit=epochs * (len(digits(0).x_train) // batch_size),
    )  # fmt: skip


def main() -> Path:
    """Measure at full size, and store it."""
    return stored.save("speed", measure())


def best(results: Grid) -> int:
    """The place in lr of the rate that the validation data choose, for one network and optimizer.

    That with the least geometric mean of steps over the seeds; a run that did not arrive counts as one of
    all steps there were.
    """
    runs = results.at(on="validation").array
    return int(np.log(np.minimum(runs, results.settings["limit"])).mean(0).argmin())


def measure_time(
    seeds: Sequence[int] = range(15), optimizers: Iterable[str] = OPTIMIZERS, count: int = 8
) -> Grid:
    """Milliseconds a step, of the networks in turns, so that all share what else the machine does.

    Args:
        seeds: turns.
        optimizers: of OPTIMIZERS.
        count: steps a turn, of which the median counts.

    Returns:
        By optimizer, network of NETWORKS, seed.
    """

    def one(seed: int, optimizer: str, network: str) -> float:
        torch.manual_seed(seed)
        running = steps(
            build(network), digits(0), lr=0.01, epochs=1, batch_size=32, seed=seed,
            optimizer=OPTIMIZERS[optimizer][0],
        )  # fmt: skip
        taken = [time.perf_counter()]
        for _ in islice(running, count + 1):
            taken.append(time.perf_counter())
        return 1e3 * float(np.median(np.diff(taken)[1:]))  # the first one sets up

    return grid(one, {"seed": seeds, "optimizer": optimizers, "network": NETWORKS}, count=count)


def draw(results: Grid) -> Figure:
    """Steps on the test data against the learning rate, a panel for each optimizer.

    Every run is a point, and those that did not arrive stand at the top; lines go through the medians, and
    arrows from the plain network at its best rate to batch norm at that rate, and on to its own best.
    """
    rates, count = np.asarray(results.axes["lr"]), len(results.axes["optimizer"])
    with figure(count, 1, (5.4, 1.2 + 2.1 * count), squeeze=False, sharex=True) as (fig, axes):
        for ax, (optimizer, by_network) in zip(axes.flat, results.items(), strict=True):
            for k, (name, found) in enumerate(by_network.items()):
                label = LABELS[name] if ax is axes[0, 0] else None
                draw_runs(ax, rates * 1.08 ** (k - 1), found["test"], results.settings["limit"], label)
            _arrows(ax, by_network, rates)
            unit = OPTIMIZERS[optimizer][1]
            times = "" if unit == 1 else f"{1 / unit:g} × "
            ax.set(xlabel=f"{times}learning rate", ylabel=f"steps, {optimizer}")
            ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
        fig.legend(loc="outside upper center", ncols=3)
    return fig


def draw_runs(ax: Axes, x: np.ndarray, runs: np.ndarray, limit: int, label: str | None) -> None:
    """Steps, both axes logarithmic: every run a point, a line through the medians.

    Runs that did not arrive stand at the top, and where the median run did not, the line is cut.

    Args:
        ax: to draw on.
        x: (points,).
        runs: (seeds, points); inf where the target was not reached.
        limit: the most steps there could be.
        label: of the line; None for a line without one.
    """
    median = np.median(runs, 0)
    (line,) = ax.plot(x, np.where(np.isfinite(median), median, np.nan), label=label)
    ax.plot(
        np.tile(x, len(runs)), np.where(np.isfinite(runs), runs, 1.7 * limit).ravel(), alpha=0.45,
        marker=line.get_marker(), linestyle="", color=line.get_color(), markersize=4,
    )  # fmt: skip
    low = ax.dataLim.y0 / 1.4
    ticks = [tick for tick in (3, 10, 30, 100, 300, 1000) if low < tick < 1.25 * limit]
    ax.set(xscale="log", yscale="log", ylim=(low, 3.2 * limit))
    ax.set_yticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    if not ax.texts:
        ax.axhline(1.25 * limit, color=COLORS["grey"], linewidth=0.8, linestyle="-", marker="")
        ax.text(0.01, 0.99, "not reached", va="top", ha="left", fontsize=9, transform=ax.transAxes)


def _arrows(ax: Axes, by_network: Grid, rates: np.ndarray) -> None:
    if not {"without", "before"} <= set(by_network):
        return
    medians = {name: np.median(by_network[name]["test"], 0) for name in ("without", "before")}
    own, larger = (best(by_network.at(network=name)) for name in ("without", "before"))
    path = [medians["without"][own], medians["before"][own], medians["before"][larger]]
    if not np.isfinite(path).all():
        return
    for start, end in (((own, 0), (own, 1)), ((own, 1), (larger, 2))):
        ax.annotate(
            "", (rates[end[0]], path[end[1]]), (rates[start[0]], path[start[1]]),
            arrowprops={"arrowstyle": "-|>", "color": COLORS["grey"], "linewidth": 1.6},
        )  # fmt: skip
