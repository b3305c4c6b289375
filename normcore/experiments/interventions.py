"""One thing that batch norm does, undone or done alone: does the gain stay? (chapter: Why it works)."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from normcore.experiments import speed, stored
from normcore.experiments.grid import Grid
from normcore.models import SIZES, initialise, mlp
from normcore.plotting import figure

__all__ = ["NETWORKS", "Held", "build", "draw", "main", "measure"]

BLOCKS, WIDTH = 20, 64


class Held(torch.optim.SGD):
    """Plain gradient descent that gives each unit's weights back the length that they began with.

    Of all matrices but the last: before batch norm their length does not enter the function.
    """

    def __init__(self, params, lr: float) -> None:
        params = list(params)
        super().__init__(params, lr=lr)
        matrices = [p for p in params if p.dim() == 2][:-1]
        self.lengths = [(w, w.detach().norm(dim=1, keepdim=True)) for w in matrices]

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:
        """A step, and the lengths as before."""
        super().step(closure)
        for weight, length in self.lengths:
            weight *= length / weight.norm(dim=1, keepdim=True)


class Residual(nn.Module):
    """BLOCKS times h ← h + s · ReLU(norm(W h)), between a first and a last linear map.

    Args:
        norm: makes the normalization from a width; None for none.
        skip_init: s is learned, one number per block, and starts at 0; otherwise it is 1.
    """

    def __init__(self, norm: Callable[[int], nn.Module] | None = None, skip_init: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(SIZES[0], WIDTH)
        self.linears = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(BLOCKS))
        self.norms = nn.ModuleList(norm(WIDTH) if norm else nn.Identity() for _ in range(BLOCKS))
        self.scales = nn.Parameter(torch.zeros(BLOCKS)) if skip_init else torch.ones(BLOCKS)
        self.last_norm = norm(WIDTH) if norm else nn.Identity()
        self.last = nn.Linear(WIDTH, SIZES[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, 10), of digits, (N, 64)."""
        h = self.first(x)
        for linear, norm, scale in zip(self.linears, self.norms, self.scales, strict=True):
            h = h + scale * torch.relu(norm(linear(h)))
        return self.last(self.last_norm(h))


def _chain(norm: Callable[[int], nn.Module] | None = None) -> nn.Module:
    return initialise(mlp(SIZES, norm))


def _directions() -> nn.Module:
    """Length and direction of each hidden unit's weights are learned apart; no statistics of a batch."""
    model = _chain()
    for linear in [module for module in model.modules() if isinstance(module, nn.Linear)][:-1]:
        weight_norm(linear)
    return model


# name → what makes the network, and its optimizer; five hidden layers of 64, or 20 residual blocks
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable]] = {
    "plain": (_chain, torch.optim.SGD),
    "batch norm": (lambda: _chain(nn.BatchNorm1d), torch.optim.SGD),
    "batch norm, lengths held": (lambda: _chain(nn.BatchNorm1d), Held),
    "length and direction apart": (_directions, torch.optim.SGD),
    "residual": (lambda: initialise(Residual()), torch.optim.SGD),
    "residual, batch norm": (lambda: initialise(Residual(nn.BatchNorm1d)), torch.optim.SGD),
    "residual, branches from 0": (lambda: initialise(Residual(skip_init=True)), torch.optim.SGD),
}


def build(network: str) -> nn.Module:
    """One of NETWORKS, with He's weights."""
    return NETWORKS[network][0]()


def measure(
    learning_rates: Sequence[float] = (0.0003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    seeds: Sequence[int] = range(20),
    networks: Iterable[str] = NETWORKS,
    target: float = 0.9,
    epochs: int = 10,
    batch_size: int = 32,
    every: int = 3,
) -> Grid:
    """Train on the digits by plain gradient descent until a target is reached.

    Args:
        learning_rates: the same for all networks.
        seeds: each draws the split, the initial weights and the order of the examples.
        networks: of NETWORKS.
        target, epochs, batch_size, every: as of `speed.measure`.

    Returns:
        Steps by network, on ("validation", "test"), seed, lr; inf where the target was not reached.
    """

    def make(network: str) -> tuple[nn.Module, speed.Optimizer]:
        return build(network), NETWORKS[network][1]

    axes = {"network": networks, "seed": seeds, "lr": learning_rates}
    return speed.sweep(make, axes, target=target, epochs=epochs, batch_size=batch_size, every=every)


def main() -> Path:
    """Measure at full size, and store it."""
    return stored.save("interventions", measure())


def draw(results: Grid) -> Figure:
    """Steps on the test data against the learning rate: runs as points, at the top where none arrived."""
    rates = np.asarray(results.axes["lr"])
    panels = [[n for n in results if n.startswith("residual") is residual] for residual in (False, True)]
    panels = [names for names in panels if names]
    with figure(len(panels), 1, (5.4, 3.4 * len(panels)), squeeze=False) as (fig, axes):
        for ax, names in zip(axes.flat, panels, strict=True):
            for k, name in enumerate(names):
                shift = 1.08 ** (k - (len(names) - 1) / 2)
                speed.draw_runs(ax, rates * shift, results[name]["test"], results.settings["limit"], name)
            ax.set(xlabel="learning rate", ylabel="steps to the target")
            ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
            ax.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=2, columnspacing=1.0)
    return fig
