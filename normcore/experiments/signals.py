"""Scale of activations and gradients through a random deep network (chapter: Signals in deep networks)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from normcore.plotting import COLORS, band, figure

__all__ = ["ACTIVATIONS", "Signals", "draw", "measure", "predict", "rate"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"ReLU": torch.relu, "tanh": torch.tanh}


@dataclass(frozen=True)
class Signals:
    """Measurements, each of shape (seeds, depth), by layer from the first to the last.

    Attributes:
        forward: mean over examples and units of a², a the output of a linear map.
        backward: mean over examples and units of δ², δ = ∂L/∂a, with L = <a_last, R>, R standard normal.
        mean: mean over the units of (mean over the batch of a)².
        var: mean over the units of the variance of a over the batch; forward = mean + var.
        of_weights: mean of the squares of ∂L/∂W.
    """

    forward: np.ndarray
    backward: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    of_weights: np.ndarray


def measure(
    weight_var: float,
    activation: str = "ReLU",
    depth: int = 50,
    width: int = 256,
    batch_size: int = 64,
    seeds: Sequence[int] = range(10),
    factors: dict[int, float] | None = None,
    norm: Callable[[Tensor], Tensor] = lambda a: a,
) -> Signals:
    """Send a standard normal batch through a random network, and a random gradient back. In float64.

        a_l = W_l h_{l−1},   h_l = φ(a_l),   W_l entries normal with variance weight_var / width, no bias

    Args:
        weight_var: σ_w²: 1 is Xavier's initialisation of a square layer, 2 is He's.
        activation: "ReLU" or "tanh".
        depth: linear maps.
        width: of every layer.
        batch_size: examples.
        seeds: each draws inputs, weights and R.
        factors: by layer, from 1, what its weights are multiplied by; 0 stands for the inputs.
        norm: applied to each a before the activation.
    """
    phi = ACTIVATIONS[activation]
    runs: list[tuple] = []
    for seed in seeds:
        rng = torch.Generator().manual_seed(seed)

        def normal(*shape: int, rng=rng) -> Tensor:
            return torch.randn(shape, generator=rng, dtype=torch.float64)

        h, layers, weights = normal(batch_size, width) * (factors or {}).get(0, 1.0), [], []
        for layer in range(1, depth + 1):
            w = normal(width, width) * (weight_var / width) ** 0.5 * (factors or {}).get(layer, 1.0)
            weights.append(w.requires_grad_())
            a = norm(h @ w.T)
            layers.append(a)
            h = phi(a)
        gradients = torch.autograd.grad((layers[-1] * normal(batch_size, width)).sum(), [*layers, *weights])
        with torch.no_grad():
            runs.append(
                (
                    [a.square().mean().item() for a in layers],
                    [d.square().mean().item() for d in gradients[:depth]],
                    [a.mean(0).square().mean().item() for a in layers],
                    [a.var(0, correction=0).mean().item() for a in layers],
                    [g.square().mean().item() for g in gradients[depth:]],
                )
            )
    return Signals(*(np.array(values) for values in zip(*runs, strict=True)))


def rate(values: np.ndarray, first: int, last: int) -> np.ndarray:
    """The factor per layer between layers `first` and `last` (from 1), by seed: a slope of logarithms."""
    layers = np.arange(first, last + 1)
    return np.exp([np.polyfit(layers, np.log(run[first - 1 : last]), 1)[0] for run in values])


def predict(
    weight_var: float, activation: str = "tanh", depth: int = 50, start: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The mean field: what an infinitely wide network does.

        q_l = σ_w² E[φ(√q_{l−1} z)²],        χ_l = σ_w² E[φ′(√q_l z)²],        z standard normal

    Args:
        weight_var: σ_w².
        activation: "ReLU" or "tanh".
        depth: layers.
        start: q_1; σ_w² by default, that of a standard normal input.

    Returns:
        q and χ, (depth,): the mean square of a_l, and the factor by which the mean square of δ grows from
        layer l + 1 to layer l.

    Source: q after Poole et al. (2016), χ after Schoenholz et al. (2017).
    """
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(200)  # even: no node at the kink
    node_weights = node_weights / node_weights.sum()
    squares, slopes = {
        "ReLU": (lambda a: np.maximum(a, 0) ** 2, lambda a: (a > 0) * 1.0),
        "tanh": (lambda a: np.tanh(a) ** 2, lambda a: (1 - np.tanh(a) ** 2) ** 2),
    }[activation]
    q = [weight_var if start is None else start]
    for _ in range(depth - 1):
        q.append(weight_var * node_weights @ squares(np.sqrt(q[-1]) * nodes))
    chi = [weight_var * node_weights @ slopes(np.sqrt(v) * nodes) for v in q]
    return np.array(q), np.array(chi)


def draw(
    panels: dict[str, dict[str, np.ndarray]], predictions: dict[str, Sequence[np.ndarray]] | None = None
) -> Figure:
    """Mean squares by layer, on logarithmic axes: medians, bands over the seeds, predictions in grey.

    Args:
        panels: by what is drawn, one under the other; in each the same names, and (seeds, depth).
        predictions: by panel, arrays (depth,).
    """
    size = (5.4, 1.1 + 2.1 * len(panels))
    with figure(len(panels), 1, size, sharex=True, squeeze=False) as (fig, axes):
        for ax, (ylabel, runs) in zip(axes.flat, panels.items(), strict=True):
            for name, values in runs.items():
                band(ax, range(1, values.shape[1] + 1), values, name, markevery=7)
            for values in (predictions or {}).get(ylabel, ()):
                layers = range(1, len(values) + 1)
                ax.plot(layers, values, color=COLORS["grey"], marker="", linestyle="-", linewidth=1)
            ax.set(yscale="log", ylabel=ylabel)
        axes[-1, 0].set_xlabel("layer")
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return fig
