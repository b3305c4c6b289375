"""A smooth loss undone in one network and given to another: does the gain follow? (chapter: Why it works)."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from normcore.data import Split, digits
from normcore.experiments import interventions, speed, stored
from normcore.experiments.grid import Grid, grid
from normcore.experiments.landscape import SCALED, rescale
from normcore.models import SIZES, initialise, mlp
from normcore.training import batches

__all__ = ["BOUNDED", "NETWORKS", "build", "descend", "draw", "main", "measure", "measure_lengths"]

BOUNDED = "plain, change ahead bounded"
NETWORKS = ("plain", "batch norm", SCALED, BOUNDED)


def build(network: str) -> nn.Sequential:
    """What one of NETWORKS begins with: five hidden layers of 64, He's weights."""
    return initialise(mlp(SIZES, nn.BatchNorm1d if "batch norm" in network else None))


def descend(
    model: nn.Sequential, data: Split, *, network: str, lr: float, epochs: int, batch_size: int, seed: int
) -> Iterator[tuple[float, float]]:
    """Gradient descent on the digits, as `normcore.training.steps`, with what `network` names.

    SCALED halves the weights before batch norm and divides their rate by four. BOUNDED halves the length
    t = lr of a step until the gradient changes along it by less than its own length, on the same batch:

        ‖∇L(w − t g) − g‖ < ‖g‖

    Yields:
        Loss of each batch, and t.
    """
    factors = rescale(model, 0.5 if network == SCALED else 1.0)
    parameters = list(model.parameters())
    for x, y in batches(data, epochs=epochs, batch_size=batch_size, seed=seed):
        model.train()
        loss, g = _gradient(model, x, y)
        length, t = lr, 0.0
        while True:
            _move(parameters, g, factors, t - length)
            t = length
            if network != BOUNDED or t < 1e-6 * lr or _change(g, _gradient(model, x, y)[1]) < 1:
                break
            length = t / 2
        yield loss, t
    model.eval()


def _gradient(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, list[Tensor]]:
    loss = cross_entropy(model(x), y)
    return loss.item(), list(torch.autograd.grad(loss, list(model.parameters())))


def _change(g: list[Tensor], ahead: list[Tensor]) -> float:
    moved = sum((a - b).square().sum().item() for a, b in zip(ahead, g, strict=True))
    return (moved / sum(b.square().sum().item() for b in g)) ** 0.5


@torch.no_grad()
def _move(parameters: Iterable[Tensor], g: list[Tensor], factors: list[float], by: float) -> None:
    for p, d, factor in zip(parameters, g, factors, strict=True):
        p += by * factor * d


def measure(
    learning_rates: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    seeds: Sequence[int] = range(20),
    networks: Iterable[str] = NETWORKS,
    target: float = 0.9,
    epochs: int = 10,
    batch_size: int = 32,
    every: int = 3,
) -> Grid:
    """Train on the digits by gradient descent until a target is reached; arguments as of `speed.measure`.

    Returns:
        Steps by network, on ("validation", "test"), seed, lr; inf where the target was not reached.
    """

    def one(network: str, seed: int, lr: float) -> tuple[float, float]:
        def training(model: nn.Sequential, data: Split, **how) -> Iterator[float]:
            return (loss for loss, _ in descend(model, data, network=network, **how))

        torch.manual_seed(seed)
        return speed.arrivals(
            build(network), digits(seed), target=target, every=every, training=training, lr=lr,
            epochs=epochs, batch_size=batch_size, seed=seed,
        )  # fmt: skip

    axes = {"network": networks, "seed": seeds, "lr": learning_rates}
    return grid(
        one, axes, {"on": speed.PARTS}, target=target, batch_size=batch_size, every=every,
        limit=epochs * (len(digits(0).x_train) // batch_size),
    )  # fmt: skip


def main() -> Path:
    """Measure at full size, and store it."""
    return stored.save("bounded", measure())


def measure_lengths(
    learning_rates: Sequence[float] = (0.1, 0.3, 1.0), seeds: Sequence[int] = range(5), epochs: int = 2
) -> Grid:
    """How long the steps of BOUNDED are.

    Returns:
        t by seed, lr, step.
    """

    def one(seed: int, lr: float) -> list[float]:
        torch.manual_seed(seed)
        how = {"lr": lr, "epochs": epochs, "batch_size": 32, "seed": seed}
        return [t for _, t in descend(build(BOUNDED), digits(seed), network=BOUNDED, **how)]

    return grid(one, {"seed": seeds, "lr": learning_rates}, {"step": range(42 * epochs)})


def draw(results: Grid) -> Figure:
    """Steps on the test data against the learning rate, as the other interventions."""
    return interventions.draw(results)
